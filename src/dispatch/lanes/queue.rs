//! What waits in one lane, and what of it comes next. Pure.
//!
//! In a free lane, fresh deliveries go in the order they came and the others when they are due. In
//! an ordered lane the one with the smallest id goes, fresh or not, and when it is not due yet,
//! none does: it is the head, and the others stand behind it. Only what an operator sends once
//! more after it was settled goes beside that line. It does not know limits, health or policies.
//!
//! Invariants: in an ordered lane whose order is kept, `fresh` rises by id, and everything that is
//! to be sent by itself stands in `fresh` or `line`; in a free lane `line` is empty; an entry of
//! `line` always counts, while entries of the other two may have been superseded.

use std::collections::BTreeMap;

use super::backlog::Backlog;
use super::superseded::Superseded;
use crate::domain::delivery::Delivery;
use crate::domain::event::Location;
use crate::domain::id::DeliveryId;

/// Which order a lane keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// None.
    #[default]
    Free,
    /// That of acceptance; it is not known yet, because what was pending at the start is still to
    /// come, and nothing may be taken.
    Awaited,
    /// That of acceptance.
    Kept,
}

/// A delivery that was never tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    pub(super) location: Location,
    pub(super) id: DeliveryId,
}

/// A delivery in any other state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) location: Location,
    pub(super) delivery: Delivery,
    pub(super) generation: u32,
}

impl Waiting {
    fn fresh(fresh: Fresh) -> Self {
        let delivery = Delivery::accepted(fresh.id.event.created_at());
        Self { location: fresh.location, delivery, generation: 0 }
    }
}

/// Due times are milliseconds of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: Order,
    pub(super) fresh: Backlog,
    /// Of an ordered lane: deliveries that were tried, and those that came out of turn.
    pub(super) line: BTreeMap<DeliveryId, (u64, Waiting)>,
    /// By due time; of an ordered lane only what goes beside the line.
    pub(super) waiting: BTreeMap<(u64, DeliveryId, u32), Waiting>,
    /// Whose turn it is when `waiting` and the rest both have something.
    waiting_turn: bool,
}

impl Queue {
    pub(super) const fn order(&self) -> Order {
        self.order
    }

    /// Takes on an order. What lies here already is put in order, which takes a moment for each
    /// delivery; that is the price of a change which an operator makes.
    pub(super) fn set_order(&mut self, order: Order, superseded: &mut Superseded) {
        if order == self.order {
            return;
        }
        self.order = order;
        if order == Order::Free {
            for (id, (due, waiting)) in std::mem::take(&mut self.line) {
                self.waiting.insert((due, id, waiting.generation), waiting);
            }
            return;
        }
        for ((due, id, generation), waiting) in std::mem::take(&mut self.waiting) {
            if superseded.counts(id, generation) {
                self.insert(due, id, waiting);
            } else {
                superseded.drop_stale(id);
            }
        }
        if order == Order::Kept {
            self.fresh.sort();
        }
    }

    /// Adds a delivery that was never tried.
    pub(super) fn push_fresh(&mut self, fresh: Fresh) {
        if self.order == Order::Kept && self.fresh.back().is_some_and(|last| last.id > fresh.id) {
            self.line.insert(fresh.id, (0, Waiting::fresh(fresh)));
        } else {
            self.fresh.push_back(fresh);
        }
    }

    /// Adds a delivery in any other state.
    pub(super) fn insert(&mut self, due: u64, id: DeliveryId, waiting: Waiting) {
        if self.order != Order::Free && waiting.delivery.automatic_due().is_some() {
            self.line.insert(id, (due, waiting));
        } else {
            self.waiting.insert((due, id, waiting.generation), waiting);
        }
    }

    /// Takes a delivery out of the line; `false` when its entry, if there is one, lies elsewhere.
    pub(super) fn remove(&mut self, id: DeliveryId) -> bool {
        self.line.remove(&id).is_some()
    }

    /// What goes next apart from `waiting`, and when it is due. With the same id twice the fresh
    /// one comes first: it was superseded and is let go of.
    fn head(&self) -> Option<(DeliveryId, u64)> {
        let fresh = self.fresh.front().map(|fresh| (fresh.id, 0));
        let line = self.line.first_key_value().map(|(id, (due, _))| (*id, *due));
        match (fresh, line) {
            (Some(fresh), Some(line)) => Some(if line.0 < fresh.0 { line } else { fresh }),
            (fresh, line) => fresh.or(line),
        }
    }

    /// Whether another delivery has to come to its end before this one, which is to be sent by
    /// itself, has its turn.
    pub(super) fn is_behind(&self, id: DeliveryId) -> bool {
        match self.order {
            Order::Free => false,
            Order::Awaited => true,
            Order::Kept => self.head().is_some_and(|(head, _)| head < id),
        }
    }

    /// When something is due; `None` when nothing waits.
    pub(super) fn next_due(&self) -> Option<u64> {
        let waiting = self.waiting.first_key_value().map(|((due, ..), _)| *due);
        let head = self.head().map(|(_, due)| due);
        waiting.into_iter().chain(head).min()
    }

    /// Takes the next entry that is due: in turn from both, so that neither a flood of new events
    /// nor a mass of retries keeps the other waiting.
    pub(super) fn take(&mut self, now: u64) -> Option<(DeliveryId, Waiting)> {
        let head = self.head().filter(|(_, due)| *due <= now);
        let waiting = self.waiting.first_key_value().is_some_and(|((due, ..), _)| *due <= now);
        if waiting && (self.waiting_turn || head.is_none()) {
            self.waiting_turn = false;
            let ((_, id, _), waiting) = self.waiting.pop_first()?;
            return Some((id, waiting));
        }
        self.waiting_turn = true;
        let (id, _) = head?;
        if self.fresh.front().is_none_or(|fresh| fresh.id != id) {
            let (_, waiting) = self.line.remove(&id)?;
            return Some((id, waiting));
        }
        Some((id, Waiting::fresh(self.fresh.pop_front()?)))
    }

    /// The deliveries of all entries that may have been superseded.
    pub(super) fn into_ids(self) -> impl Iterator<Item = DeliveryId> {
        let fresh: Vec<DeliveryId> = self.fresh.iter().map(|fresh| fresh.id).collect();
        fresh.into_iter().chain(self.waiting.into_keys().map(|(_, id, _)| id))
    }
}
