//! Who gets how much of a budget. Decides, and waits for nobody.

use std::collections::VecDeque;

use super::{Asked, Class, Line};

/// Who has how much, and who waits. `T` is whom a grant goes to.
#[derive(Debug)]
pub(super) struct State<T> {
    total: u64,
    lines: Vec<Vec<Kind<T>>>,
    peak: u64,
    /// The line with which the next round of giving begins, so that none has to wait for ever for the common part.
    turn: usize,
    next: u64,
}

/// The work of one class.
#[derive(Debug)]
struct Kind<T> {
    share: u64,
    least: u64,
    /// The share is kept also while nobody uses it.
    always: bool,
    taken: u64,
    grants: u64,
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    number: u64,
    asked: Asked,
    to: T,
}

/// What somebody gets.
#[derive(Debug)]
pub(super) struct Given<T> {
    pub(super) class: Class,
    pub(super) bytes: u64,
    pub(super) to: T,
}

impl<T> Kind<T> {
    fn is_used(&self) -> bool {
        self.taken > 0 || !self.waiting.is_empty()
    }
}

impl<T> State<T> {
    /// `total` bytes, or as many as are always kept for somebody.
    pub(super) fn new(total: u64, lines: &[Line]) -> Self {
        let kinds = |line: &Line| {
            let kind = |(place, share): (usize, &super::Share)| Kind {
                share: share.bytes.max(share.least),
                least: share.least,
                always: place < line.always,
                taken: 0,
                grants: 0,
                waiting: VecDeque::new(),
            };
            line.classes.iter().enumerate().map(kind).collect()
        };
        let lines: Vec<Vec<Kind<T>>> = lines.iter().map(kinds).collect();
        let kept = lines.iter().flatten().filter(|kind| kind.always).map(|kind| kind.share);
        Self { total: total.max(kept.sum()), lines, peak: 0, turn: 0, next: 0 }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    pub(super) fn taken(&self) -> u64 {
        self.lines.iter().flatten().map(|kind| kind.taken).sum()
    }

    pub(super) fn waiting(&self) -> usize {
        self.lines.iter().flatten().map(|kind| kind.waiting.len()).sum()
    }

    fn kind(&self, Class { line, place }: Class) -> Option<&Kind<T>> {
        self.lines.get(line)?.get(place)
    }

    fn kind_mut(&mut self, Class { line, place }: Class) -> Option<&mut Kind<T>> {
        self.lines.get_mut(line)?.get_mut(place)
    }

    /// Puts somebody last of those of a class who wait; of a class that is not known nobody does. Answers the number in the
    /// queue.
    pub(super) fn wait(&mut self, class: Class, asked: Asked, to: T) -> u64 {
        let number = self.next;
        self.next += 1;
        if let Some(kind) = self.kind_mut(class) {
            kind.waiting.push_back(Waiting { number, asked, to });
        }
        number
    }

    /// Takes somebody out of the queue.
    pub(super) fn leave(&mut self, number: u64) {
        for kind in self.lines.iter_mut().flatten() {
            kind.waiting.retain(|waiting| waiting.number != number);
        }
    }

    /// Takes bytes back, and perhaps with them all that somebody had.
    pub(super) fn back(&mut self, class: Class, bytes: u64, all: bool) {
        if let Some(kind) = self.kind_mut(class) {
            kind.taken = kind.taken.saturating_sub(bytes);
            kind.grants = kind.grants.saturating_sub(u64::from(all));
        }
    }

    /// Each class of a line with its share: the last classes have one only if they, or later ones, are in use.
    fn shares(line: &[Kind<T>]) -> impl Iterator<Item = (usize, &Kind<T>, u64)> {
        let used = line.iter().rposition(Kind::is_used);
        line.iter().enumerate().map(move |(place, kind)| {
            let has = kind.always || used.is_some_and(|used| place <= used);
            (place, kind, if has { kind.share } else { 0 })
        })
    }

    /// Bytes that are taken or kept for somebody. For a class of a line what is kept for those after it does not count.
    fn bound(&self, seen_by: Option<Class>) -> u64 {
        let of_line = |(number, line): (usize, &Vec<Kind<T>>)| -> u64 {
            let last = seen_by.filter(|class| class.line == number).map_or(usize::MAX, |class| class.place);
            let kept = Self::shares(line).map(
                |(place, kind, share)| {
                    if place <= last { kind.taken.max(share) } else { kind.taken }
                },
            );
            kept.sum()
        };
        self.lines.iter().enumerate().map(of_line).sum()
    }

    /// The total, or as much as the classes in use have as shares.
    fn capacity(&self) -> u64 {
        let shares = |line: &Vec<Kind<T>>| -> u64 { Self::shares(line).map(|(.., share)| share).sum() };
        self.total.max(self.lines.iter().map(shares).sum())
    }

    /// What one more of a class has to leave of the common part: those that it waits for must find room too, as many of
    /// each class as there would be of its own. Otherwise it would hold its bytes and wait.
    fn left_for_others(&self, class: Class, kind: &Kind<T>) -> u64 {
        let Some(line) = self.lines.get(class.line) else { return 0 };
        let need = |(_, before, share): (usize, &Kind<T>, u64)| {
            ((kind.grants + 1) * before.least).saturating_sub(before.taken.max(share))
        };
        Self::shares(line).take(class.place).map(need).sum()
    }

    /// How many bytes can be given to a class now.
    fn fits(&self, class: Class, asked: Asked) -> Option<u64> {
        let kind = self.kind(class)?;
        // The share of a class that was not in use is there only when enough has come back for all before it as well.
        let is_kept = kind.always || self.bound(Some(class)) <= self.capacity();
        let own = if is_kept { kind.share.saturating_sub(kind.taken) } else { 0 };
        let common = self.total.saturating_sub(self.bound(None));
        let room = own + common.saturating_sub(self.left_for_others(class, kind));
        let plenty = asked.most <= room && self.taken() + asked.most <= self.total / 4;
        // While others wait nobody gets more than he needs.
        if plenty && self.waiting() == 1 {
            Some(asked.most)
        } else {
            (asked.least <= room).then_some(asked.least)
        }
    }

    /// The first class of a line that can be given something, and how much: classes that others wait for come first.
    fn next_of(&self, line: usize) -> Option<(Class, u64)> {
        let kinds = self.lines.get(line)?.iter().enumerate();
        let mut waiting = kinds.filter_map(|(place, kind)| Some((place, kind.waiting.front()?.asked)));
        waiting.find_map(|(place, asked)| {
            let class = Class { line, place };
            self.fits(class, asked).map(|bytes| (class, bytes))
        })
    }

    /// Grants what can be granted: to one of each line in turn.
    pub(super) fn give(&mut self) -> Vec<Given<T>> {
        let mut given = Vec::new();
        let mut refused = 0;
        while refused < self.lines.len() {
            let line = self.turn % self.lines.len();
            self.turn = (line + 1) % self.lines.len();
            refused += 1;
            let Some((class, bytes)) = self.next_of(line) else { continue };
            let Some(kind) = self.kind_mut(class) else { continue };
            let Some(Waiting { to, .. }) = kind.waiting.pop_front() else { continue };
            kind.taken += bytes;
            kind.grants += 1;
            refused = 0;
            given.push(Given { class, bytes, to });
        }
        self.peak = self.peak.max(self.taken());
        given
    }
}

#[cfg(test)]
mod tests {
    use super::super::Share;
    use super::*;

    /// One line in which everybody needs `least`, and the first three classes always have room for one.
    fn line(total: u64, least: u64, classes: usize) -> State<&'static str> {
        let classes = vec![Share { bytes: least, least }; classes];
        State::new(total, &[Line { classes, always: 3 }])
    }

    fn at(place: usize) -> Class {
        Class { line: 0, place }
    }

    /// Whether one more of this class would get something now.
    fn takes(state: &mut State<&'static str>, place: usize, bytes: u64) -> bool {
        let number = state.wait(at(place), Asked { least: bytes, most: bytes }, "");
        let given = state.give();
        state.leave(number);
        assert!(given.iter().all(|given| given.class == at(place)));
        !given.is_empty()
    }

    #[test]
    fn those_that_others_wait_for_come_first() {
        let mut state = line(5, 1, 3);
        for place in [2, 1, 0, 0, 0] {
            assert!(takes(&mut state, place, 1));
        }
        for (place, to) in [(2, "head"), (1, "middle"), (0, "tail"), (0, "another tail")] {
            state.wait(at(place), Asked { least: 1, most: 2 }, to);
        }
        assert!(state.give().is_empty());
        state.back(at(0), 2, true);
        let order: Vec<_> = state.give().into_iter().map(|given| (given.to, given.bytes)).collect();
        assert_eq!(order, [("tail", 1), ("another tail", 1)], "and nobody gets more than the least");
        state.back(at(2), 1, true);
        let heads = state.give();
        assert_eq!(heads.iter().map(|given| given.to).collect::<Vec<_>>(), ["head"], "its share is its own");
    }

    #[test]
    fn no_more_begin_than_can_find_what_they_wait_for() {
        let mut state = line(12, 2, 3);
        let begin = |state: &mut State<_>, place| (0..10).take_while(|_| takes(state, place, 2)).count();
        assert_eq!([2, 1, 0].map(|place| begin(&mut state, place)), [2, 2, 2]);
        assert_eq!((state.taken(), state.peak()), (12, 12));
    }

    #[test]
    fn a_deep_class_has_a_share_while_it_is_used_and_waits_until_it_is_there() {
        let mut state = line(6, 1, 16);
        for _ in 0..4 {
            assert!(takes(&mut state, 0, 1), "nothing is kept for what nobody uses");
        }
        state.wait(at(4), Asked { least: 1, most: 1 }, "deep");
        assert!(state.give().is_empty(), "what it would wait for has no room yet");
        assert!(!takes(&mut state, 0, 1), "but nobody else takes any of it");
        assert!(
            takes(&mut state, 1, 1) && takes(&mut state, 2, 1),
            "the shares that are always kept are there"
        );
        for _ in 0..3 {
            state.back(at(0), 1, true);
        }
        assert_eq!(state.give().len(), 1);
        assert!(takes(&mut state, 3, 1), "the share of those that it waits for");
        state.back(at(4), 1, true);
        state.back(at(3), 1, true);
        assert!(takes(&mut state, 0, 1), "it is common again");
    }

    /// Whatever comes and goes, a share that is always kept is there when it is asked for, and that of a class when somebody
    /// of a class after it holds anything.
    #[test]
    fn those_that_others_wait_for_find_their_shares() {
        let mut random = 7_u64;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let share = Share { bytes: 2, least: 2 };
        let lines =
            [(1, 1), (8, 3), (1, 1)].map(|(count, always)| Line { classes: vec![share; count], always });
        let mut state = State::new(24, &lines);
        let mut held: Vec<(Class, u64)> = Vec::new();
        for _ in 0..20_000 {
            if next(2) == 0 && !held.is_empty() {
                let (class, bytes) = held.swap_remove(next(held.len() as u64) as usize);
                state.back(class, bytes, true);
            } else if state.waiting() < 6 {
                let line = next(3) as usize;
                let place = if line == 1 { next(8) as usize } else { 0 };
                state.wait(Class { line, place }, Asked { least: 2, most: 4 }, "");
            }
            held.extend(state.give().into_iter().map(|given| (given.class, given.bytes)));
            assert!(state.taken() <= 24);
            let deepest =
                held.iter().filter(|(class, _)| class.line == 1).map(|(class, _)| class.place).max();
            for place in 0..deepest.unwrap_or(0).max(3) {
                let kind = &state.lines[1][place];
                assert!(kind.taken > 0 || kind.waiting.is_empty(), "{place} waits for its own share");
            }
            for line in [0, 2] {
                let kind = &state.lines[line][0];
                assert!(kind.taken > 0 || kind.waiting.is_empty(), "line {line} waits for its own share");
            }
        }
    }

    #[test]
    fn a_line_that_is_longer_than_the_total_gets_its_shares_all_the_same() {
        let mut state = line(5, 1, 16);
        for place in (0..16).rev() {
            assert!(takes(&mut state, place, 1), "{place}");
        }
        assert!((0..16).all(|place| !takes(&mut state, place, 1)));
    }
}
