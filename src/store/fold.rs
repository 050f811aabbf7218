//! What is pending, from the journal alone: for deliveries that must not wait for an index that
//! can not be had.
//!
//! Holds what is pending and nothing else. Knows no rows.

use std::collections::HashMap;

use self::outstanding::Outstanding;
use crate::domain::delivery::Delivery;
use crate::domain::id::DeliveryId;
use crate::index::Pending;
use crate::journal::{Committed, Journal, JournalError, Record};

mod outstanding;

/// Everything that is pending after the record with sequence `until`, and how many that are; in order of their ids. `each` sees
/// every record up to there.
///
/// # Errors
/// When the journal can not be read.
pub(super) fn pending(
    journal: &Journal,
    until: u64,
    each: &dyn Fn(&Committed),
) -> Result<(usize, impl Iterator<Item = Pending> + use<>), JournalError> {
    let mut fold = Fold::default();
    journal.replay(1, until, |one| -> Result<(), JournalError> {
        fold.apply(&one);
        each(&one);
        Ok(())
    })?;
    if !fold.resent.is_empty() {
        // Something delivered long ago is to be sent again: where it lies and where it goes has
        // been let go of, and is looked up.
        journal.replay(1, until, |one| -> Result<(), JournalError> {
            fold.look_up(&one);
            Ok(())
        })?;
    }
    Ok((fold.pending.len(), fold.pending.into_iter()))
}

/// The state of a pass over the journal.
#[derive(Debug, Default)]
struct Fold {
    pending: Outstanding,
    /// Due, but their events were let go of when they were delivered.
    resent: HashMap<DeliveryId, Delivery>,
}

impl Fold {
    fn apply(&mut self, one: &Committed) {
        match &*one.record {
            Record::Event { .. } | Record::Carry { .. } => {
                for new in deliveries_of(one) {
                    self.resent.remove(&new.id);
                    if new.delivery.due_at().is_some() {
                        self.pending.insert(new);
                    } else {
                        self.pending.remove(new.id);
                    }
                }
            }
            Record::Attempt(record) => self.settle(record.id, record.delivery),
            Record::Change(record) => self.settle(record.id, record.delivery),
            Record::Config(_) | Record::Snapshot { .. } | Record::Audit(_) => {}
        }
    }

    fn settle(&mut self, id: DeliveryId, delivery: Delivery) {
        if delivery.due_at().is_none() {
            self.pending.remove(id);
            self.resent.remove(&id);
        } else if !self.pending.update(id, delivery) {
            self.resent.insert(id, delivery);
        }
    }

    fn look_up(&mut self, one: &Committed) {
        for found in deliveries_of(one) {
            if let Some(delivery) = self.resent.get(&found.id) {
                self.pending.insert(Pending { delivery: *delivery, ..found });
            }
        }
    }
}

/// The deliveries that a record makes or carries.
fn deliveries_of(one: &Committed) -> Vec<Pending> {
    let location = one.location;
    match &*one.record {
        Record::Event { event, targets, skipped, .. } => {
            let targets = targets.iter().map(|target| (target, Delivery::accepted(event.created_at())));
            let skipped = skipped.iter().map(|target| (target, Delivery::skipped()));
            (0..)
                .zip(targets.chain(skipped))
                .map(|(ordinal, (target, delivery))| {
                    let id = DeliveryId { event: event.id, ordinal };
                    Pending { id, webhook: target.webhook, location, delivery }
                })
                .collect()
        }
        Record::Carry { event, deliveries, .. } => (0..)
            .zip(deliveries)
            .map(|(ordinal, carried)| {
                let id = DeliveryId { event: event.id, ordinal };
                Pending { id, webhook: carried.target.webhook, location, delivery: carried.delivery }
            })
            .collect(),
        _ => Vec::new(),
    }
}
