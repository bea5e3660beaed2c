//! How long ago something was, as `kubectl` shows it.

use k8s_openapi::jiff::Timestamp;

use crate::output;

/// Seconds of each unit, and from how many of them on it is used: below, the smaller one says more.
const UNITS: [(i64, i64, &str); 3] = [(86_400, 2, "d"), (3_600, 2, "h"), (60, 2, "m")];

/// `40s`, `5m`, `3h`, `12d`: the time from `then` to now; `-` if there is none.
pub(super) fn age(then: Option<Timestamp>) -> String {
    let now = i64::try_from(output::now().0).unwrap_or(i64::MAX);
    then.map_or_else(|| "-".to_owned(), |then| shown(now.saturating_sub(then.as_millisecond()) / 1_000))
}

fn shown(seconds: i64) -> String {
    // Clocks of two machines differ: what happens now may seem to come.
    let seconds = seconds.max(0);
    let unit = UNITS.into_iter().find(|(length, least, _)| seconds >= length * least);
    unit.map_or_else(|| format!("{seconds}s"), |(length, _, letter)| format!("{}{letter}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_199, "119m"),
            (7_200, "2h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (86_400 * 400, "400d"),
        ] {
            assert_eq!(shown(seconds), text);
        }
        assert_eq!(age(None), "-");
    }
}
