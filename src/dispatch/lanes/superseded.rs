//! Which entries of the queues still count, after an operator changed deliveries that lay there.
//! Pure.
//!
//! A queue is not searched for what an operator changed: the old entry stays where it is and is
//! let go of when its turn comes. It does not know queues. Invariant: a delivery that is known here
//! is under way or has an entry in a queue, so what is remembered is bounded by those.

use foldhash::HashMap;

use crate::domain::id::DeliveryId;

/// Entries of a delivery that an operator changed: only those of the newest generation count.
#[derive(Clone, Copy, Debug, Default)]
struct Entries {
    generation: u32,
    /// Older entries that still lie in a queue.
    stale: u32,
    /// No entry counts any more.
    cancelled: bool,
}

/// All deliveries of which entries were superseded.
#[derive(Debug, Default)]
pub(super) struct Superseded {
    known: HashMap<DeliveryId, Entries>,
}

impl Superseded {
    pub(super) fn knows(&self, id: DeliveryId) -> bool {
        self.known.contains_key(&id)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The generation of a delivery's next entry.
    pub(super) fn generation(&self, id: DeliveryId) -> u32 {
        self.known.get(&id).map_or(0, |known| known.generation)
    }

    /// Whatever entries lie in a queue no longer count; gives the generation of the one that will.
    pub(super) fn supersede(&mut self, id: DeliveryId, entry_waits: bool, cancelled: bool) -> u32 {
        let known = self.known.entry(id).or_default();
        known.generation += 1;
        known.stale += u32::from(entry_waits);
        known.cancelled = cancelled;
        let generation = known.generation;
        if known.stale == 0 {
            self.known.remove(&id);
            return 0;
        }
        generation
    }

    /// Whether an entry that lies in a queue still counts.
    pub(super) fn counts(&self, id: DeliveryId, generation: u32) -> bool {
        self.known.get(&id).is_none_or(|known| known.generation == generation && !known.cancelled)
    }

    /// Whether an entry that was taken from a queue still counts.
    pub(super) fn claim(&mut self, id: DeliveryId, generation: u32) -> bool {
        if !self.counts(id, generation) {
            self.drop_stale(id);
            return false;
        }
        if self.known.get(&id).is_some_and(|known| known.stale == 0) {
            self.known.remove(&id);
        }
        true
    }

    /// The delivery has come to its end; of what still lies in a queue nothing counts.
    pub(super) fn end(&mut self, id: DeliveryId) {
        if let Some(known) = self.known.get_mut(&id) {
            known.cancelled = true;
            if known.stale == 0 {
                self.known.remove(&id);
            }
        }
    }

    /// A stale entry has left its queue.
    pub(super) fn drop_stale(&mut self, id: DeliveryId) {
        if let Some(known) = self.known.get_mut(&id) {
            known.stale = known.stale.saturating_sub(1);
            if known.stale == 0 && known.cancelled {
                self.known.remove(&id);
            }
        }
    }
}
