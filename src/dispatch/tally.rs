//! What attempts came to since the start: of each webhook, and of all together.
//!
//! Counted when an attempt is settled, read by whoever wants to see it; nothing is decided by it and
//! nothing of it outlives the process. Invariant: whoever reads holds up the counting of one webhook
//! at a time, and that only for as long as it takes to add up a few hundred numbers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use foldhash::HashMap;

use crate::domain::attempt::{Attempt, Class, ErrorKind, Trigger};
use crate::domain::counters::Counters;
use crate::domain::figures::{Ended, Figures, Pace, Series, Window};
use crate::domain::id::WebhookId;
use crate::domain::time::{Now, Timestamp};

/// The last attempts of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// What came of the last one.
    pub result: Result<u16, ErrorKind>,
    /// When that one began.
    pub at: Timestamp,
    /// When the last one that succeeded began.
    pub success_at: Option<Timestamp>,
    /// When the first failure since then began.
    pub failing_since: Option<Timestamp>,
}

#[derive(Debug)]
struct OfWebhook {
    series: Series,
    counters: Counters,
    last: Option<Last>,
}

/// All figures.
#[derive(Debug)]
pub(super) struct Tally {
    since: Now,
    /// Made at a webhook's first attempt.
    webhooks: RwLock<HashMap<WebhookId, Arc<Mutex<OfWebhook>>>>,
    total: Mutex<Series>,
    pace: Mutex<Pace>,
}

impl Tally {
    pub(super) fn new(now: Now) -> Self {
        let (total, pace) = (Mutex::new(Series::new(now)), Mutex::new(Pace::new(now)));
        Self { since: now, webhooks: RwLock::default(), total, pace }
    }

    /// Counts an attempt; with `is_over` its delivery is no longer pending.
    pub(super) fn attempted(&self, webhook: WebhookId, attempt: &Attempt, gave_up: bool, is_over: bool, now: Now) {
        let outcome = &attempt.outcome;
        let ended = Ended {
            class: Class::of(outcome.code()),
            is_resend: attempt.trigger == Trigger::Resend,
            gave_up,
            duration: outcome.duration,
        };
        lock(&self.total).add(&ended, now);
        if is_over {
            lock(&self.pace).ended(now);
        }
        let of_webhook = self.of(webhook).unwrap_or_else(|| {
            let new = || {
                Arc::new(Mutex::new(OfWebhook { series: Series::new(now), counters: Counters::default(), last: None }))
            };
            let mut webhooks = self.webhooks.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(webhooks.entry(webhook).or_insert_with(new))
        });
        let mut of_webhook = lock(&of_webhook);
        of_webhook.series.add(&ended, now);
        of_webhook.counters.add(outcome, ended.is_resend, gave_up);
        let (at, before) = (attempt.started_at, of_webhook.last);
        let is_success = outcome.is_success();
        of_webhook.last = Some(Last {
            result: outcome.result,
            at,
            success_at: if is_success { Some(at) } else { before.and_then(|before| before.success_at) },
            failing_since: (!is_success).then(|| before.and_then(|before| before.failing_since).unwrap_or(at)),
        });
    }

    /// Deliveries began to be pending.
    pub(super) fn made(&self, count: usize, now: Now) {
        lock(&self.pace).made(u32::try_from(count).unwrap_or(u32::MAX), now);
    }

    /// Forgets webhooks that are gone.
    pub(super) fn retain(&self, keep: impl Fn(WebhookId) -> bool) {
        self.webhooks.write().unwrap_or_else(PoisonError::into_inner).retain(|id, _| keep(*id));
    }

    /// Figures of a webhook; `None` before its first attempt.
    pub(super) fn webhook(&self, webhook: WebhookId, window: Window, now: Now) -> Option<(Figures, Option<Last>)> {
        let of_webhook = self.of(webhook)?;
        let mut of_webhook = lock(&of_webhook);
        Some((of_webhook.series.read(window, now), of_webhook.last))
    }

    /// What the attempts of a webhook came to since the start; `None` before its first.
    pub(super) fn counters(&self, webhook: WebhookId) -> Option<(Counters, Option<Last>)> {
        let of_webhook = self.of(webhook)?;
        let of_webhook = lock(&of_webhook);
        Some((of_webhook.counters.clone(), of_webhook.last))
    }

    pub(super) fn total(&self, window: Window, now: Now) -> Figures {
        lock(&self.total).read(window, now)
    }

    pub(super) fn drain(&self, pending: u64, now: Now) -> Option<std::time::Duration> {
        lock(&self.pace).drain(pending, now)
    }

    /// When counting began, by the clock as it is set now.
    pub(super) fn since(&self, now: Now) -> Timestamp {
        now.wall.minus(now.elapsed.saturating_sub(self.since.elapsed))
    }

    fn of(&self, webhook: WebhookId) -> Option<Arc<Mutex<OfWebhook>>> {
        self.webhooks.read().unwrap_or_else(PoisonError::into_inner).get(&webhook).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
