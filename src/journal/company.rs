//! How long a batch that somebody waits for waits for company. Pure.
//!
//! Many who post one event after the other come back together: those few who are quickest would have a sync of their own, and all
//! the rest wait for its end. So when the last two batches were of many, the next waits until it is as large as a third of both
//! together: then some of those who post are answered while others are made durable. It waits no longer than a sync takes, and
//! where one alone posts one event after the other, or two do, not at all. Outcomes of attempts do not count.

use std::time::Duration;

/// The longest wait; disks without a cache of their own take longer to sync.
const PATIENCE_MAX: Duration = Duration::from_millis(1);

/// What is known of the batches before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Company {
    /// How many records somebody waited for in the last two that had any.
    before: [usize; 2],
    /// How long a batch took lately.
    took: Duration,
}

impl Company {
    /// How often it is looked whether enough have come.
    pub(super) const LOOK_EVERY: Duration = Duration::from_micros(100);

    /// From how many records on a batch waits for no more.
    pub(super) const fn enough(&self) -> usize {
        (self.before[0] + self.before[1]) / 3
    }

    /// How long it waits at most.
    pub(super) fn patience(&self) -> Duration {
        self.took.min(PATIENCE_MAX)
    }

    /// A batch of so many records was written and synced within this time.
    pub(super) fn note(&mut self, records: usize, took: Duration) {
        self.before = [self.before[1], records];
        // One that took much longer than the others counts for little.
        self.took = (self.took * 7 + took.min(PATIENCE_MAX * 4)) / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(400);

    #[test]
    fn who_posts_alone_never_waits() {
        let mut company = Company::default();
        for _ in 0..10 {
            assert!(company.enough() <= 1);
            company.note(1, SYNC);
        }
    }

    #[test]
    fn a_crowd_is_waited_for_and_forgotten_at_once() {
        let mut company = Company::default();
        for records in [3, 61, 20, 44] {
            company.note(records, SYNC);
        }
        assert_eq!(company.enough(), 21);
        company.note(1, SYNC);
        company.note(1, SYNC);
        assert_eq!(company.enough(), 0);
    }

    #[test]
    fn the_wait_follows_the_disk_up_to_a_bound() {
        let mut company = Company::default();
        assert_eq!(company.patience(), Duration::ZERO);
        for _ in 0..50 {
            company.note(1, SYNC);
        }
        assert!(company.patience().abs_diff(SYNC) < SYNC / 20);
        company.note(1, Duration::from_secs(5));
        assert!(company.patience() <= PATIENCE_MAX);
        for _ in 0..50 {
            company.note(1, SYNC);
        }
        assert!(company.patience().abs_diff(SYNC) < SYNC / 20);
    }
}
