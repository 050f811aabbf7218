//! How many attempts of a webhook may begin in a second. Pure: a token bucket told by the time at
//! which it will be full again (GCRA), so that there is nothing to refill and no timer to run.
//!
//! It neither waits nor counts what is due; whoever asks goes by `next_start`. Invariant: between
//! two changes of the limit, no window of one second sees more starts than the limit and one burst.

use std::time::Duration;

/// A limit in the form it is reckoned with.
#[derive(Clone, Copy, Debug)]
struct Limit {
    /// Between two starts, when evenly spaced. Rounded up to a nanosecond.
    interval: Duration,
    /// Starts that may follow each other at once.
    burst: u32,
    /// How far the bucket's time may lie ahead when a start is allowed.
    tolerance: Duration,
}

/// The most that a start which came late brings the next one forward: wake-ups are late by a
/// millisecond or two, and without this each of them would lower the rate for good.
const LATENESS_MAX: Duration = Duration::from_millis(10);

impl Limit {
    fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let interval = Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(per_second)));
        let burst = Rate::burst(per_second);
        // Less than one interval more than the burst needs: it gives no further start at once.
        let tolerance = interval * (burst - 1) + LATENESS_MAX.min(interval / 2);
        Self { interval, burst, tolerance }
    }
}

/// The bucket of one webhook. Times are of the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    limit: Option<Limit>,
    /// When the bucket is full, if nothing starts before.
    full_at: Duration,
    last_start: Option<Duration>,
}

impl Rate {
    /// Starts that may follow each other at once after a rest: a tenth of a second's worth.
    #[must_use]
    pub(super) const fn burst(per_second: u32) -> u32 {
        if per_second < 20 { 1 } else { per_second / 10 }
    }

    /// Changes the limit; `None` is no limit. The bucket is then as if the last start had emptied
    /// it, so that changing the limit to and fro gains nobody a burst.
    pub(super) fn set(&mut self, per_second: Option<u32>) {
        self.limit = per_second.map(Limit::new);
        self.full_at = match (self.limit, self.last_start) {
            (Some(limit), Some(last)) => last + limit.interval * limit.burst,
            _ => Duration::ZERO,
        };
    }

    /// The earliest instant the next attempt may begin.
    #[must_use]
    pub(super) fn next_start(&self) -> Duration {
        self.limit.map_or(Duration::ZERO, |limit| self.full_at.saturating_sub(limit.tolerance))
    }

    /// An attempt begins.
    pub(super) fn started(&mut self, now: Duration) {
        self.last_start = Some(now);
        if let Some(limit) = self.limit {
            self.full_at = self.full_at.max(now) + limit.interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limited(per_second: u32) -> Rate {
        let mut rate = Rate::default();
        rate.set(Some(per_second));
        rate
    }

    /// The most starts within one second, over all windows.
    fn most_in_a_second(starts: &[Duration]) -> usize {
        let from = |start: Duration| move |later: &&Duration| **later >= start && **later < start + SECOND;
        starts.iter().map(|start| starts.iter().filter(from(*start)).count()).max().unwrap_or(0)
    }

    #[test]
    fn a_rest_gives_one_burst_and_no_more() {
        for (per_second, burst) in [(1, 1), (10, 1), (19, 1), (20, 2), (100, 10), (10_000, 1_000)] {
            assert_eq!(Rate::burst(per_second), burst);
            let mut rate = limited(per_second);
            for rest in [Duration::ZERO, SECOND * 3, Duration::from_hours(9)] {
                let mut at_once = 0;
                while rate.next_start() <= rest {
                    rate.started(rest);
                    at_once += 1;
                }
                assert_eq!(at_once, burst, "{per_second} per second after {rest:?}");
            }
        }
    }

    #[test]
    fn a_changed_limit_begins_with_an_empty_bucket() {
        let mut rate = Rate::default();
        rate.started(SECOND);
        rate.set(Some(100));
        let next = rate.next_start();
        assert!(next > SECOND && next <= SECOND + Duration::from_millis(10), "{next:?}");
        rate.set(Some(1));
        let next = rate.next_start();
        assert!(next > SECOND * 2 - LATENESS_MAX * 2 && next <= SECOND * 2, "{next:?}");
        rate.set(None);
        assert_eq!(rate.next_start(), Duration::ZERO);
    }

    proptest! {
        /// Whenever attempts are wanted, and however late whoever starts them is woken.
        #[test]
        fn no_second_has_more_than_the_limit_and_a_burst(
            per_second in 1_u32..400,
            wanted in proptest::collection::vec((0_u64..3_000_000, 1_u8..200, 0_u64..30_000), 1..12),
        ) {
            let mut rate = limited(per_second);
            let (mut now, mut starts) = (Duration::ZERO, Vec::new());
            for (rest, count, late) in wanted {
                now += Duration::from_micros(rest);
                for _ in 0..count {
                    if rate.next_start() > now {
                        now = rate.next_start() + Duration::from_micros(late);
                    }
                    rate.started(now);
                    starts.push(now);
                }
            }
            prop_assert!(most_in_a_second(&starts) <= (per_second + Rate::burst(per_second)) as usize);
        }

        /// Wake-ups that are late by milliseconds do not lower the rate.
        #[test]
        fn the_rate_is_reached(per_second in 1_u32..=10_000) {
            let mut rate = limited(per_second);
            let (mut now, mut count) = (Duration::ZERO, 0_u64);
            while now < SECOND * 10 {
                while rate.next_start() <= now {
                    rate.started(now);
                    count += 1;
                }
                // As the lanes' timers do: on whole milliseconds, and one more.
                now = Duration::from_millis(u64::try_from(rate.next_start().as_millis()).unwrap() + 2);
            }
            let wanted = u64::from(per_second) * 10;
            // A few nanoseconds each go to rounding.
            prop_assert!(count + 1 + wanted / 50_000 >= wanted, "{count} of {wanted}");
            prop_assert!(count <= wanted + u64::from(Rate::burst(per_second)));
        }
    }
}
