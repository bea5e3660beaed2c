use proptest::prelude::*;

use super::*;

/// A number that is read, set, and set if it is what one thinks.
#[derive(Debug)]
struct Register;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Read,
    Write(u8),
    Swap(u8, u8),
}

/// What a read found, whether a swap swapped; a write says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Value(u8),
    Swapped(bool),
    Written,
}

impl Model for Register {
    type State = u8;
    type Operation = Work;
    type Answer = Told;

    fn step(state: &u8, operation: &Work, answer: Option<&Told>) -> Option<u8> {
        let (next, told) = match *operation {
            Work::Read => (*state, Told::Value(*state)),
            Work::Write(value) => (value, Told::Written),
            Work::Swap(old, new) if old == *state => (new, Told::Swapped(true)),
            Work::Swap(..) => (*state, Told::Swapped(false)),
        };
        answer.is_none_or(|answer| *answer == told).then_some(next)
    }
}

type Step = Record<Work, Told>;

fn known(operation: Work, called: u64, answered: u64, answer: Told) -> Step {
    let answered = Some((Duration::from_millis(answered), answer));
    Record { client: 0, operation, called: Duration::from_millis(called), answered }
}

fn unknown(operation: Work, called: u64) -> Step {
    Record { client: 0, operation, called: Duration::from_millis(called), answered: None }
}

fn verdict(history: &[Step]) -> Result<u64, Failure> {
    check::<Register>(&0, history, 1_000_000)
}

fn is_violation(history: &[Step]) -> bool {
    matches!(verdict(history), Err(Failure::Violation { .. }))
}

#[test]
fn nothing_is_linearizable() {
    assert_eq!(verdict(&[]), Ok(0));
}

#[test]
fn an_answered_write_is_seen() {
    let write = known(Work::Write(1), 0, 1, Told::Written);
    assert!(verdict(&[write.clone(), known(Work::Read, 2, 3, Told::Value(1))]).is_ok());
    assert!(is_violation(&[write.clone(), known(Work::Read, 2, 3, Told::Value(0))]));
    // The two are concurrent: either value is fine. Equal times are concurrent too.
    for called in [0, 1] {
        for value in [0, 1] {
            assert!(verdict(&[write.clone(), known(Work::Read, called, 3, Told::Value(value))]).is_ok());
        }
    }
}

#[test]
fn a_value_once_read_does_not_vanish() {
    let write = known(Work::Write(1), 0, 9, Told::Written);
    let first = known(Work::Read, 1, 2, Told::Value(1));
    assert!(verdict(&[write.clone(), first.clone(), known(Work::Read, 3, 4, Told::Value(1))]).is_ok());
    assert!(is_violation(&[write, first, known(Work::Read, 3, 4, Told::Value(0))]));
}

#[test]
fn an_unknown_write_takes_effect_late_or_never() {
    let write = unknown(Work::Write(1), 0);
    let reads = |values: [u8; 3]| {
        let mut history = vec![write.clone()];
        for (index, value) in values.into_iter().enumerate() {
            let called = 10 * index as u64 + 1;
            history.push(known(Work::Read, called, called + 1, Told::Value(value)));
        }
        history
    };
    for fine in [[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]] {
        assert!(verdict(&reads(fine)).is_ok(), "{fine:?}");
    }
    for wrong in [[1, 0, 0], [0, 1, 0], [1, 0, 1]] {
        assert!(is_violation(&reads(wrong)), "{wrong:?}: it took effect and was undone, or twice");
    }
    // Not before its call.
    assert!(is_violation(&[known(Work::Read, 0, 1, Told::Value(1)), unknown(Work::Write(1), 2)]));
}

#[test]
fn only_one_of_two_swaps_wins() {
    let swap = |new, won| known(Work::Swap(0, new), 0, 5, Told::Swapped(won));
    assert!(verdict(&[swap(1, true), swap(2, false)]).is_ok());
    assert!(is_violation(&[swap(1, true), swap(2, true)]));
    assert!(is_violation(&[swap(1, false), swap(2, false)]));
}

#[test]
fn a_swap_that_failed_without_a_rival_had_an_unknown_one() {
    let lost = known(Work::Swap(0, 1), 5, 6, Told::Swapped(false));
    assert!(is_violation(std::slice::from_ref(&lost)));
    assert!(verdict(&[unknown(Work::Swap(0, 2), 0), lost]).is_ok());
}

#[test]
fn the_explanation_names_what_is_wrong() {
    let history = [known(Work::Write(3), 0, 1, Told::Written), known(Work::Read, 2, 3, Told::Value(0))];
    let text = verdict(&history).unwrap_err().to_string();
    assert!(text.contains("does not explain client 0"), "{text}");
    assert!(text.contains("Value(0): Read"), "{text}");
    assert!(text.contains("Write(3) -> 3"), "{text}");
}

#[test]
fn what_takes_too_long_is_an_error() {
    // Concurrent writes of different values, and then a value that nobody wrote: every order is tried.
    let mut history: Vec<Step> =
        (1..=12).map(|value| known(Work::Write(value), 0, 5, Told::Written)).collect();
    history.push(known(Work::Read, 6, 7, Told::Value(99)));
    assert_eq!(
        check::<Register>(&0, &history, 1_000),
        Err(Failure::Undecided { budget: 1_000, operations: 13 })
    );
    // The memory of configurations makes it few enough to be decided: not 12!, but at most 12 * 2^12.
    assert!(is_violation(&history));
}

#[test]
fn more_than_64_operations_are_told_apart() {
    let mut history: Vec<Step> = (0..200_u64)
        .map(|index| known(Work::Write(index as u8), 2 * index, 2 * index + 1, Told::Written))
        .collect();
    history.push(known(Work::Read, 400, 401, Told::Value(199)));
    assert!(verdict(&history).is_ok());
    history.push(known(Work::Read, 402, 403, Told::Value(198)));
    assert!(is_violation(&history));
}

/// Tries every order of every choice of unknown operations.
fn brute_force(state: u8, left: &[&Step]) -> bool {
    if left.iter().all(|step| step.answered.is_none()) {
        return true;
    }
    (0..left.len()).any(|index| {
        let step = left[index];
        let others: Vec<&Step> =
            left.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| *other).collect();
        let too_late =
            others.iter().any(|other| other.answered.as_ref().is_some_and(|(time, _)| *time < step.called));
        let answer = step.answered.as_ref().map(|(_, answer)| answer);
        !too_late
            && Register::step(&state, &step.operation, answer).is_some_and(|next| brute_force(next, &others))
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = 0..3_u8;
    let step = (0..3_u8, value.clone(), value.clone(), 0..12_u64, 0..6_u64, value, any::<bool>(), 0..5_u8)
        .prop_map(|(kind, first, second, called, takes, read, won, outcome)| {
            let (operation, answer) = match kind {
                0 => (Work::Read, Told::Value(read)),
                1 => (Work::Write(first), Told::Written),
                _ => (Work::Swap(first, second), Told::Swapped(won)),
            };
            if outcome == 0 {
                unknown(operation, called)
            } else {
                known(operation, called, called + takes, answer)
            }
        });
    prop::collection::vec(step, 0..7)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn the_search_agrees_with_trying_every_order(history in steps()) {
        let expected = brute_force(0, &history.iter().collect::<Vec<_>>());
        match verdict(&history) {
            Ok(_) => prop_assert!(expected, "passed, and is not linearizable"),
            Err(Failure::Violation { .. }) => prop_assert!(!expected, "refused, and is linearizable"),
            Err(undecided) => prop_assert!(false, "{undecided}"),
        }
    }
}
