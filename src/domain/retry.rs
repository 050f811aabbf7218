//! When to try again: a pure function of the plan, the count, the receiver's wish and chance.
//!
//! Invariant: neither the receiver nor chance ever brings an attempt forward.

use std::time::Duration;

/// How the waits between attempts grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// The same interval every time.
    Fixed,
    /// The interval doubles after every attempt, up to the plan's cap.
    Exponential,
}

impl Backoff {
    /// The word that the outside world sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Exponential => "exponential",
        }
    }
}

/// A webhook's retry plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPlan {
    /// Automatic attempts after the first.
    pub count: u16,
    /// The wait after the first attempt.
    pub interval: Duration,
    /// How the waits grow.
    pub backoff: Backoff,
    /// The longest wait of an exponential plan; never below the interval.
    pub interval_max: Duration,
}

impl RetryPlan {
    /// The most retries a plan may have.
    pub const COUNT_MAX: u16 = 100;
    /// The longest interval a plan may have.
    pub const INTERVAL_MAX: Duration = Duration::from_hours(24);
    /// The part of a wait that chance may add, so that deliveries that failed together do not
    /// come back together.
    pub const JITTER_MAX: f64 = 0.10;

    /// Automatic attempts in all: the first and the retries.
    #[must_use]
    pub const fn attempts_max(&self) -> u16 {
        self.count.saturating_add(1)
    }

    /// When each automatic attempt is made at the earliest, counted from the first, if none
    /// succeeds and none takes any time.
    #[must_use]
    pub fn schedule(&self) -> Vec<Duration> {
        let mut at = Duration::ZERO;
        let mut times = vec![at];
        while let Some(delay) = self.delay_after(u16::try_from(times.len()).unwrap_or(u16::MAX), None, 0.0) {
            at = at.saturating_add(delay);
            times.push(at);
        }
        times
    }

    /// How long to wait after `attempts_made` automatic attempts, or `None` when the plan is used
    /// up. `retry_after` may only push the attempt later, and jitter (`unit_random` in `[0, 1)`)
    /// never brings it forward.
    #[must_use]
    pub fn delay_after(&self, attempts_made: u16, retry_after: Option<Duration>, unit_random: f64) -> Option<Duration> {
        if attempts_made == 0 || attempts_made >= self.attempts_max() {
            return None;
        }
        let planned = match self.backoff {
            Backoff::Fixed => self.interval,
            Backoff::Exponential => {
                let doublings = u32::from(attempts_made - 1).min(31);
                self.interval.saturating_mul(1 << doublings).min(self.interval_max.max(self.interval))
            }
        };
        let jitter = planned.mul_f64(Self::JITTER_MAX * unit_random.clamp(0.0, 1.0));
        Some(planned.saturating_add(jitter).max(retry_after.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(count: u16, backoff: Backoff) -> RetryPlan {
        RetryPlan { count, interval: Duration::from_secs(10), backoff, interval_max: Duration::from_secs(60) }
    }

    #[test]
    fn fixed_and_exponential_waits() {
        let fixed = plan(3, Backoff::Fixed);
        let waits: Vec<_> = (1..=4).map(|made| fixed.delay_after(made, None, 0.0).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(10), Some(10), Some(10), None]);
        let doubling = plan(5, Backoff::Exponential);
        let waits: Vec<_> = (1..=6).map(|made| doubling.delay_after(made, None, 0.0).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(10), Some(20), Some(40), Some(60), Some(60), None]);
    }

    #[test]
    fn the_schedule_adds_the_waits_up() {
        let seconds = |plan: RetryPlan| plan.schedule().iter().map(Duration::as_secs).collect::<Vec<_>>();
        assert_eq!(seconds(plan(0, Backoff::Fixed)), [0]);
        assert_eq!(seconds(plan(2, Backoff::Fixed)), [0, 10, 20]);
        assert_eq!(seconds(plan(5, Backoff::Exponential)), [0, 10, 30, 70, 130, 190]);
    }

    proptest! {
        #[test]
        fn never_early_and_never_later_than_asked(
            count in 0_u16..=100, made in 0_u16..=120, seconds in 1_u64..=86_400, unit in 0.0_f64..1.0,
            wish in proptest::option::of(0_u64..=86_400), exponential: bool,
        ) {
            let backoff = if exponential { Backoff::Exponential } else { Backoff::Fixed };
            let interval = Duration::from_secs(seconds);
            let plan = RetryPlan { count, interval, backoff, interval_max: Duration::from_secs(86_400) };
            let wish = wish.map(Duration::from_secs);
            match plan.delay_after(made, wish, unit) {
                None => prop_assert!(made == 0 || made > count),
                Some(delay) => {
                    prop_assert!(delay >= interval && delay >= wish.unwrap_or_default());
                    prop_assert!(delay <= Duration::from_secs(86_400).mul_f64(1.1).max(wish.unwrap_or_default()));
                }
            }
        }
    }
}
