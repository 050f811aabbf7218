//! What can be seen of the dispatcher from outside: how lanes stand, why something waits, figures.
//!
//! It changes nothing. Each call holds the lanes for a moment, however much is pending.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Dispatcher, Hold, LaneStatus, Last, Standing};
use crate::domain::counters::Counters;
use crate::domain::delivery::Delivery;
use crate::domain::figures::{Figures, Window};
use crate::domain::id::{DeliveryId, WebhookId};
use crate::domain::time::{Now, Timestamp};

impl Dispatcher {
    /// How a webhook's lane is doing; `None` before anything was due for it.
    #[must_use]
    pub fn lane(&self, webhook: WebhookId) -> Option<LaneStatus> {
        self.lanes().status(webhook)
    }

    /// Why a delivery that is due waits.
    #[must_use]
    pub fn hold(&self, id: DeliveryId, webhook: WebhookId, delivery: &Delivery) -> Option<Hold> {
        let lanes = self.lanes();
        if lanes.is_in_flight(id) { None } else { lanes.hold(id, webhook, delivery, self.now()) }
    }

    /// Pending deliveries and exchanges under way.
    #[must_use]
    pub fn load(&self) -> (u64, usize) {
        let lanes = self.lanes();
        (lanes.pending(), lanes.in_flight())
    }

    /// Attempts made since the start.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.shared.attempts.load(Ordering::Relaxed)
    }

    /// Whether an exchange of the delivery is under way.
    #[must_use]
    pub fn is_sending(&self, id: DeliveryId) -> bool {
        self.lanes().is_in_flight(id)
    }

    /// How the lanes of these webhooks stand, in their order.
    #[must_use]
    pub fn survey(&self, webhooks: &[WebhookId], now: Now) -> Vec<Option<Standing>> {
        self.lanes().survey(webhooks, now)
    }

    /// Figures of a webhook and its last attempts; `None` before the first since the start.
    #[must_use]
    pub fn figures(&self, webhook: WebhookId, window: Window, now: Now) -> Option<(Figures, Option<Last>)> {
        self.shared.tally.webhook(webhook, window, now)
    }

    /// What a webhook's attempts came to since the start; `None` before its first.
    #[must_use]
    pub fn counters(&self, webhook: WebhookId) -> Option<(Counters, Option<Last>)> {
        self.shared.tally.counters(webhook)
    }

    /// Figures of all webhooks together, those that are gone among them.
    #[must_use]
    pub fn figures_of_all(&self, window: Window, now: Now) -> Figures {
        self.shared.tally.total(window, now)
    }

    /// When counting began.
    #[must_use]
    pub fn counting_since(&self, now: Now) -> Timestamp {
        self.shared.tally.since(now)
    }

    /// When so many that are pending will be gone, at the pace of the last minutes; `None` when they
    /// do not become fewer.
    #[must_use]
    pub fn drain(&self, pending: u64, now: Now) -> Option<Duration> {
        self.shared.tally.drain(pending, now)
    }
}
