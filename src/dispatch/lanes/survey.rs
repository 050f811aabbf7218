//! How every lane stands, for somebody who looks: what of it is due, what waits for its retry, and
//! when the next attempt can begin. Pure.
//!
//! It changes nothing, not even what it finds to be superseded. Invariant: one look passes a bounded
//! number of entries, whatever lies in the lanes; what it could not count is taken to be due.

use std::time::Duration;

use super::queue::Queue;
use super::superseded::Superseded;
use super::{LaneStatus, Lanes, Order, millis};
use crate::domain::id::WebhookId;
use crate::domain::time::Now;

/// Entries that one look may pass.
const PASSED_MAX: usize = 50_000;

/// How a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is known of it anyway.
    pub status: LaneStatus,
    /// When its next attempt can begin, if its webhook sends and something waits; in the past when
    /// only room is missing. Of the monotonic clock.
    pub next_start: Option<Duration>,
    /// Pending deliveries that are due and not on their way.
    pub due: u64,
    /// Pending deliveries that wait for their retry.
    pub waiting_retry: u64,
}

impl Lanes {
    /// How the lanes of these webhooks stand, in their order; `None` for one without a lane.
    #[must_use]
    pub fn survey(&self, webhooks: &[WebhookId], now: Now) -> Vec<Option<Standing>> {
        let mut budget = PASSED_MAX;
        webhooks.iter().map(|webhook| self.standing(*webhook, now, &mut budget)).collect()
    }

    fn standing(&self, webhook: WebhookId, now: Now, budget: &mut usize) -> Option<Standing> {
        let (status, lane) = (self.status(webhook)?, self.lanes.get(&webhook)?);
        let waits = lane.pending.saturating_sub(u64::from(lane.in_flight));
        // Superseded entries are counted as well, so there may seem to be more than there are.
        let waiting_retry = lane.queue.not_due(millis(now.elapsed), budget).min(waits);
        let next_due = lane.queue.next_that_counts(&self.superseded, budget).map(Duration::from_millis);
        let next_due = next_due.filter(|_| waits > 0 && lane.policy.open && lane.queue.order() != Order::Awaited);
        let next_start = next_due.map(|due| due.max(lane.health.next_start()).max(lane.rate.next_start()));
        Some(Standing { status, next_start, due: waits - waiting_retry, waiting_retry })
    }
}

impl Queue {
    /// How many entries are not due yet: of those that were never tried, none.
    fn not_due(&self, now: u64, budget: &mut usize) -> u64 {
        let behind = self.line.values().take(*budget);
        let (mut passed, mut count) = (0, 0);
        for (due, _) in behind {
            passed += 1;
            count += u64::from(*due > now);
        }
        *budget -= passed;
        // From both ends, because one of them is likely near.
        let mut due = self.waiting.keys().take_while(|(due, ..)| *due <= now);
        let mut not_due = self.waiting.keys().rev().take_while(|(due, ..)| *due > now);
        let mut passed = 0;
        while *budget > 0 {
            *budget -= 1;
            if due.next().is_none() {
                return count + (self.waiting.len() - passed) as u64;
            }
            if not_due.next().is_none() {
                break;
            }
            passed += 1;
        }
        count + passed as u64
    }

    /// When something is due that was not superseded.
    fn next_that_counts(&self, superseded: &Superseded, budget: &mut usize) -> Option<u64> {
        if self.order() != Order::Free {
            return self.next_due();
        }
        let mut passed = 0;
        let mut fresh = self.fresh.iter().take(*budget).inspect(|_| passed += 1);
        let is_fresh = fresh.any(|fresh| superseded.counts(fresh.id, 0));
        *budget = budget.saturating_sub(passed);
        if is_fresh {
            return Some(0);
        }
        let mut passed = 0;
        let mut waiting = self.waiting.keys().take(*budget).inspect(|_| passed += 1);
        let next = waiting.find(|(_, id, generation)| superseded.counts(*id, *generation)).map(|(due, ..)| *due);
        *budget = budget.saturating_sub(passed);
        next
    }
}
