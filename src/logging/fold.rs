//! Messages of one kind that come in floods are folded: so many are shown, then how many more there were.
//!
//! It decides by the kind alone, never by the text, and reads no clock. Invariant: what is not shown is counted, and the count is
//! told as soon as anything is logged after its minute.

use std::collections::HashMap;

use crate::domain::time::Timestamp;

/// So many of a kind within [`WINDOW_SECONDS`] are shown.
pub(super) const SHOWN_MAX: u32 = 20;
/// How long the count of a kind goes on.
pub(super) const WINDOW_SECONDS: u64 = 60;
/// Kinds that are told apart; what comes beyond is shown.
const KINDS_MAX: usize = 1000;

/// What is one kind: the place in the program, and whom it is about.
pub(super) type Kind = (usize, String);

#[derive(Debug)]
struct Count {
    began: Timestamp,
    shown: u32,
    folded: u32,
    text: String,
}

/// The kinds of the last minute.
#[derive(Debug, Default)]
pub(super) struct Folding {
    counts: HashMap<Kind, Count>,
}

impl Folding {
    /// Whether a message is to be shown.
    pub(super) fn admits(&mut self, kind: Kind, text: &str, now: Timestamp) -> bool {
        if let Some(count) = self.counts.get_mut(&kind) {
            let is_shown = count.shown < SHOWN_MAX;
            *if is_shown { &mut count.shown } else { &mut count.folded } += 1;
            return is_shown;
        }
        if self.counts.len() < KINDS_MAX {
            let count = Count { began: now, shown: 1, folded: 0, text: text.to_owned() };
            self.counts.insert(kind, count);
        }
        true
    }

    /// What was folded of kinds whose minute is over, to be told now. A clock that is set back ends every minute.
    pub(super) fn over(&mut self, now: Timestamp) -> Vec<String> {
        let is_over = |count: &Count| now < count.began || now.since(count.began).as_secs() >= WINDOW_SECONDS;
        if !self.counts.values().any(is_over) {
            return Vec::new();
        }
        let mut told = Vec::new();
        self.counts.retain(|(_, whom), count| {
            if is_over(count) && count.folded > 0 {
                let whom = if whom.is_empty() { String::new() } else { format!(" ({whom})") };
                told.push(format!("{} more in {WINDOW_SECONDS} s: {}{whom}", count.folded, count.text));
            }
            !is_over(count)
        });
        told.sort();
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_795_425_932_000 + seconds * 1000)
    }

    #[test]
    fn a_flood_is_counted_and_told_when_its_minute_is_over() {
        let mut folding = Folding::default();
        let of = |whom: &str| (7, whom.to_owned());
        let shown = (0..432).filter(|_| folding.admits(of("aml"), "an attempt failed", at(3))).count();
        assert_eq!(shown as u32, SHOWN_MAX);
        assert!(folding.admits(of("other"), "an attempt failed", at(3)), "others have their own count");
        assert!(folding.over(at(62)).is_empty());
        assert_eq!(folding.over(at(63)), ["412 more in 60 s: an attempt failed (aml)"]);
        assert!(folding.over(at(64)).is_empty() && folding.admits(of("aml"), "an attempt failed", at(64)));
    }

    #[test]
    fn a_clock_that_is_set_back_hides_nothing() {
        let mut folding = Folding::default();
        assert_eq!((0..30).filter(|_| folding.admits((1, String::new()), "x", at(1000))).count(), 20);
        assert_eq!(folding.over(at(1)), ["10 more in 60 s: x"]);
        assert!(folding.admits((1, String::new()), "x", at(1)));
    }

    #[test]
    fn kinds_without_end_take_no_memory_without_end() {
        let mut folding = Folding::default();
        assert!((0..5000_usize).all(|place| folding.admits((place, String::new()), "x", at(0))));
        assert_eq!(folding.counts.len(), KINDS_MAX);
    }
}
