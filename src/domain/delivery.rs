//! The life of a delivery. `Delivery` changes only through `record`, `resend` and `cancel`, which
//! hold every rule: the retry plan, 410, what a resend may and may not change.

use std::time::Duration;

use super::attempt::{ErrorKind, Outcome, RetryAfter, Trigger};
use super::retry::RetryPlan;
use super::time::Timestamp;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Something is still to be sent.
    Pending,
    /// The receiver took it.
    Delivered,
    /// Given up: retries used up, 410, or blocked.
    Failed,
    /// Withdrawn by an operator, or its webhook was deleted.
    Cancelled,
    /// The webhook's filter did not match: never meant to be sent, unless an operator says so.
    Skipped,
}

impl State {
    /// The word that the outside world sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// The state with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Delivered, Self::Failed, Self::Cancelled, Self::Skipped];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

/// What may still be sent for a delivery, and what was. Pending exactly when something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it stands when no resend is waiting.
    settled: State,
    /// When the next automatic attempt is due.
    automatic_due: Option<Timestamp>,
    /// When a resend that waits was asked for.
    resend_due: Option<Timestamp>,
    /// Automatic attempts made.
    automatic_made: u16,
    /// All attempts made, resends included.
    attempts_made: u32,
}

/// What recording an attempt did besides changing the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The delivery as it is now.
    pub delivery: Delivery,
    /// The delivery became failed just now.
    pub gave_up: bool,
    /// The receiver said 410: it wants nothing any more.
    pub pause_webhook: bool,
}

impl Delivery {
    /// A delivery of an event that was just accepted: due at once.
    #[must_use]
    pub const fn accepted(now: Timestamp) -> Self {
        Self {
            settled: State::Pending,
            automatic_due: Some(now),
            resend_due: None,
            automatic_made: 0,
            attempts_made: 0,
        }
    }

    /// A delivery that the webhook's filter did not let through: nothing is due, and nothing will
    /// be by itself.
    #[must_use]
    pub const fn skipped() -> Self {
        Self { settled: State::Skipped, automatic_due: None, resend_due: None, automatic_made: 0, attempts_made: 0 }
    }

    /// Puts a stored delivery together again. `None` when the parts contradict each other, which
    /// only damage can do: pending must mean due, nothing else may be due automatically, and what
    /// was skipped was never tried automatically.
    #[must_use]
    pub fn from_parts(
        settled: State,
        automatic_due: Option<Timestamp>,
        resend_due: Option<Timestamp>,
        automatic_made: u16,
        attempts_made: u32,
    ) -> Option<Self> {
        let consistent = (settled == State::Pending) == automatic_due.is_some()
            && u32::from(automatic_made) <= attempts_made
            && (settled != State::Skipped || automatic_made == 0);
        consistent.then_some(Self { settled, automatic_due, resend_due, automatic_made, attempts_made })
    }

    /// Where it stands. A waiting resend makes it pending.
    #[must_use]
    pub const fn state(&self) -> State {
        if self.resend_due.is_some() { State::Pending } else { self.settled }
    }

    /// Where it stands apart from a waiting resend.
    #[must_use]
    pub const fn settled(&self) -> State {
        self.settled
    }

    /// When the next automatic attempt is due.
    #[must_use]
    pub const fn automatic_due(&self) -> Option<Timestamp> {
        self.automatic_due
    }

    /// When a waiting resend was asked for.
    #[must_use]
    pub const fn resend_due(&self) -> Option<Timestamp> {
        self.resend_due
    }

    /// When something is due next; `None` exactly when it is not pending.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        self.resend_due.or(self.automatic_due)
    }

    /// Automatic attempts made.
    #[must_use]
    pub const fn automatic_made(&self) -> u16 {
        self.automatic_made
    }

    /// All attempts made, resends included.
    #[must_use]
    pub const fn attempts_made(&self) -> u32 {
        self.attempts_made
    }

    /// Who would have asked for an attempt made now.
    #[must_use]
    pub const fn trigger(&self) -> Trigger {
        if self.resend_due.is_some() { Trigger::Resend } else { Trigger::Automatic }
    }

    /// Records an attempt that ended at `now` and decides what comes next.
    ///
    /// # Panics
    /// When nothing was due: an attempt was made that nobody asked for. That is a bug worth
    /// stopping at, because it means that receivers get things twice.
    #[must_use]
    pub fn record(&self, outcome: &Outcome, plan: &RetryPlan, unit_random: f64, now: Timestamp) -> Transition {
        assert!(self.due_at().is_some(), "an attempt was recorded for a delivery with nothing due");
        let mut delivery = *self;
        delivery.attempts_made += 1;
        let trigger = self.trigger();
        match trigger {
            Trigger::Resend => delivery.resend_due = None,
            Trigger::Automatic => delivery.automatic_made += 1,
        }
        let gone = outcome.result == Ok(410);
        if outcome.is_success() {
            delivery.settled = State::Delivered;
            delivery.automatic_due = None;
        } else if gone || is_final(outcome) {
            delivery.give_up();
        } else if trigger == Trigger::Automatic {
            let wish = outcome.retry_after.map(|wish: RetryAfter| wish.wait(now));
            match plan.delay_after(delivery.automatic_made, wish, unit_random) {
                Some(delay) => delivery.automatic_due = Some(now.plus(delay)),
                None => delivery.give_up(),
            }
        }
        let gave_up = self.settled == State::Pending && delivery.settled == State::Failed;
        Transition { delivery, gave_up, pause_webhook: gone }
    }

    /// An operator asks for another go, at once.
    #[must_use]
    pub const fn resend(&self, now: Timestamp) -> Self {
        let mut delivery = *self;
        if delivery.resend_due.is_none() {
            delivery.resend_due = Some(now);
        }
        delivery
    }

    /// Withdraws whatever is still to be sent. `None` when nothing is.
    #[must_use]
    pub fn cancel(&self) -> Option<Self> {
        self.due_at()?;
        let mut delivery = *self;
        delivery.resend_due = None;
        delivery.automatic_due = None;
        if delivery.settled == State::Pending {
            delivery.settled = State::Cancelled;
        }
        Some(delivery)
    }

    /// The state after an attempt that was under way when the delivery was cancelled: the attempt
    /// counts, its success is a fact, its failure changes nothing any more.
    #[must_use]
    pub fn record_after_cancel(&self, outcome: &Outcome) -> Self {
        let mut delivery = *self;
        delivery.attempts_made += 1;
        if outcome.is_success() {
            delivery.settled = State::Delivered;
        }
        delivery
    }

    fn give_up(&mut self) {
        self.automatic_due = None;
        // What a receiver took stays delivered, whatever a later resend came to.
        if self.settled == State::Pending {
            self.settled = State::Failed;
        }
    }
}

/// Failures that trying again will not mend.
fn is_final(outcome: &Outcome) -> bool {
    matches!(outcome.result, Err(ErrorKind::Blocked | ErrorKind::Damaged))
}

/// How long ago a delivery must have last been sent for its record to be dropped.
#[must_use]
pub fn is_expired(last_activity: Timestamp, retention: Duration, now: Timestamp) -> bool {
    last_activity.plus(retention) <= now
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::retry::Backoff;

    const PLAN: RetryPlan = RetryPlan {
        count: 2,
        interval: Duration::from_secs(10),
        backoff: Backoff::Fixed,
        interval_max: Duration::from_secs(10),
    };

    fn answered(code: u16) -> Outcome {
        Outcome { result: Ok(code), ..Outcome::failed(ErrorKind::Dns) }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn attempt(delivery: Delivery, outcome: &Outcome, seconds: u64) -> Transition {
        delivery.record(outcome, &PLAN, 0.0, at(seconds))
    }

    #[test]
    fn retries_by_plan_and_gives_up_once() {
        let first = attempt(Delivery::accepted(at(0)), &answered(503), 1);
        assert_eq!(first.delivery.due_at(), Some(at(11)));
        let second = attempt(first.delivery, &Outcome::failed(ErrorKind::Reset), 11);
        assert!(!second.gave_up);
        let third = attempt(second.delivery, &answered(302), 21);
        assert!(third.gave_up);
        assert_eq!((third.delivery.state(), third.delivery.due_at()), (State::Failed, None));
        assert_eq!(third.delivery.automatic_made(), 3);
    }

    #[test]
    fn gone_and_blocked_end_it_at_once() {
        let gone = attempt(Delivery::accepted(at(0)), &answered(410), 1);
        assert!(gone.gave_up && gone.pause_webhook);
        let blocked = attempt(Delivery::accepted(at(0)), &Outcome::failed(ErrorKind::Blocked), 1);
        assert!(blocked.gave_up && !blocked.pause_webhook);
    }

    #[test]
    fn a_failed_resend_leaves_the_plan_as_it_was() {
        let waiting = attempt(Delivery::accepted(at(0)), &answered(500), 1).delivery;
        let resent = waiting.resend(at(3));
        assert_eq!((resent.due_at(), resent.trigger()), (Some(at(3)), Trigger::Resend));
        let after = attempt(resent, &answered(500), 4);
        assert_eq!((after.delivery.due_at(), after.delivery.automatic_made()), (Some(at(11)), 1));
        let success = attempt(waiting.resend(at(3)), &answered(200), 4);
        assert_eq!((success.delivery.state(), success.delivery.due_at()), (State::Delivered, None));
    }

    #[test]
    fn what_was_delivered_stays_delivered() {
        let delivered = attempt(Delivery::accepted(at(0)), &answered(200), 1).delivery;
        let resent = delivered.resend(at(5));
        assert_eq!(resent.state(), State::Pending);
        let after = attempt(resent, &answered(500), 6);
        assert_eq!((after.delivery.state(), after.gave_up), (State::Delivered, false));
        assert_eq!(attempt(delivered.resend(at(5)), &answered(410), 6).delivery.state(), State::Delivered);
    }

    #[test]
    fn cancel_withdraws_and_a_late_success_is_a_fact() {
        let cancelled = Delivery::accepted(at(0)).cancel().unwrap();
        assert_eq!((cancelled.state(), cancelled.due_at()), (State::Cancelled, None));
        assert_eq!(cancelled.cancel(), None);
        assert_eq!(cancelled.record_after_cancel(&answered(200)).state(), State::Delivered);
        assert_eq!(cancelled.record_after_cancel(&answered(500)).state(), State::Cancelled);
        let failed_then_resent = attempt(Delivery::accepted(at(0)), &answered(410), 1).delivery.resend(at(2));
        assert_eq!(failed_then_resent.cancel().unwrap().state(), State::Failed);
    }

    #[test]
    fn what_was_skipped_is_sent_only_by_hand() {
        let skipped = Delivery::skipped();
        assert_eq!((skipped.state(), skipped.due_at(), skipped.cancel()), (State::Skipped, None, None));
        let resent = skipped.resend(at(5));
        assert_eq!((resent.state(), resent.due_at(), resent.trigger()), (State::Pending, Some(at(5)), Trigger::Resend));
        assert_eq!(resent.cancel().unwrap(), skipped);
        for outcome in [answered(500), answered(410), Outcome::failed(ErrorKind::Blocked)] {
            let failed = attempt(resent, &outcome, 6);
            assert_eq!((failed.delivery.state(), failed.delivery.due_at()), (State::Skipped, None));
            assert_eq!((failed.gave_up, failed.delivery.attempts_made()), (false, 1));
        }
        let delivered = attempt(resent, &answered(200), 6).delivery;
        assert_eq!((delivered.state(), delivered.automatic_made()), (State::Delivered, 0));
        assert_eq!(Delivery::from_parts(State::Skipped, None, None, 1, 1), None);
        assert_eq!(Delivery::from_parts(State::Skipped, Some(at(1)), None, 0, 0), None);
    }

    proptest! {
        #[test]
        fn pending_means_due_whatever_happens(
            skipped in proptest::bool::ANY,
            steps in proptest::collection::vec((0_u8..4, 0_u16..6), 1..40),
        ) {
            let mut delivery = if skipped { Delivery::skipped() } else { Delivery::accepted(at(0)) };
            for (seconds, (action, code)) in steps.into_iter().enumerate() {
                let now = at(seconds as u64 * 20);
                let outcome = answered([200, 302, 404, 410, 500, 503][usize::from(code)]);
                delivery = match action {
                    0 => delivery.resend(now),
                    1 => delivery.cancel().unwrap_or(delivery),
                    _ if delivery.due_at().is_some() => delivery.record(&outcome, &PLAN, 0.5, now).delivery,
                    _ => delivery,
                };
                prop_assert_eq!(delivery.state() == State::Pending, delivery.due_at().is_some());
                let most = if skipped { 0 } else { PLAN.attempts_max() };
                prop_assert!(delivery.automatic_made() <= most);
                let parts = Delivery::from_parts(delivery.settled(), delivery.automatic_due(), delivery.resend_due(),
                    delivery.automatic_made(), delivery.attempts_made());
                prop_assert_eq!(parts, Some(delivery));
            }
        }
    }
}
