//! What attempts came to since the start, in numbers that only grow.
//!
//! Beside [`super::figures`], which forgets: these are for whoever keeps a history of its own and takes
//! differences. Invariant: nothing here ever becomes smaller.

use std::time::Duration;

use super::attempt::{Class, ErrorKind, Outcome};

/// Upper bounds of the buckets of durations, in seconds; what took longer is in none of them. The largest timeout of a webhook
/// is two minutes.
pub const DURATION_BOUNDS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The classes that are told apart, in the order they are counted in.
pub const CLASSES: [Class; 6] = [
    Class::NoResponse,
    Class::Informational,
    Class::Success,
    Class::Redirection,
    Class::ClientError,
    Class::ServerError,
];

/// Attempts by what came of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// In the order of [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// Of those without a response: why, in the order of [`ErrorKind::ALL`].
    pub errors: [u64; ErrorKind::ALL.len()],
    /// Deliveries that failed for good.
    pub failed: u64,
    /// Attempts that an operator asked for.
    pub resends: u64,
    /// How many took at most as long as the bound and longer than the one before it, in the order of [`DURATION_BOUNDS`]; the last
    /// took longer than all.
    pub durations: [u64; DURATION_BOUNDS.len() + 1],
    /// How long all of them took together.
    pub duration: Duration,
}

impl Counters {
    /// Counts an attempt.
    pub fn add(&mut self, outcome: &Outcome, is_resend: bool, gave_up: bool) {
        let class = Class::of(outcome.code());
        bump(&mut self.classes, CLASSES.iter().position(|one| *one == class));
        if let Err(kind) = outcome.result {
            bump(&mut self.errors, ErrorKind::ALL.iter().position(|one| *one == kind));
        }
        self.failed += u64::from(gave_up);
        self.resends += u64::from(is_resend);
        let seconds = outcome.duration.as_secs_f64();
        let bound = DURATION_BOUNDS.iter().position(|bound| seconds <= *bound);
        bump(&mut self.durations, Some(bound.unwrap_or(DURATION_BOUNDS.len())));
        self.duration = self.duration.saturating_add(outcome.duration);
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: &Self) {
        let add = |sums: &mut [u64], numbers: &[u64]| {
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        };
        add(&mut self.classes, &other.classes);
        add(&mut self.errors, &other.errors);
        add(&mut self.durations, &other.durations);
        self.failed += other.failed;
        self.resends += other.resends;
        self.duration = self.duration.saturating_add(other.duration);
    }
}

fn bump(counts: &mut [u64], place: Option<usize>) {
    if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(result: Result<u16, ErrorKind>, millis: u64) -> Outcome {
        Outcome { result, duration: Duration::from_millis(millis), ..Outcome::failed(ErrorKind::Dns) }
    }

    #[test]
    fn each_attempt_is_in_one_class_and_one_bucket() {
        let mut counters = Counters::default();
        let ends = [
            Ok(200),
            Ok(204),
            Ok(302),
            Ok(404),
            Ok(503),
            Ok(600),
            Ok(101),
            Err(ErrorKind::Dns),
            Err(ErrorKind::Damaged),
        ];
        for (place, result) in ends.into_iter().enumerate() {
            counters.add(&outcome(result, 5 * place as u64), place == 0, place == 4);
        }
        assert_eq!(counters.classes, [2, 1, 2, 1, 1, 2]);
        assert_eq!((counters.errors[0], counters.errors[9], counters.errors.iter().sum::<u64>()), (1, 1, 2));
        assert_eq!((counters.failed, counters.resends), (1, 1));
        // 0 and 5 ms; 10; 15, 20 and 25; 30, 35 and 40.
        assert_eq!(counters.durations[..5], [2, 1, 3, 3, 0]);
        assert_eq!(counters.duration, Duration::from_millis(5 * 36));
    }

    #[test]
    fn what_takes_longer_than_every_bound_is_counted_and_sums_add_up() {
        let mut counters = Counters::default();
        counters.add(&outcome(Err(ErrorKind::Timeout), 120_000), false, true);
        assert_eq!(counters.durations[DURATION_BOUNDS.len()], 1);
        let mut both = counters.clone();
        both.merge(&counters);
        assert_eq!((both.failed, both.duration, both.classes[0]), (2, Duration::from_secs(240), 2));
        assert_eq!(both.errors.iter().sum::<u64>(), 2);
    }
}
