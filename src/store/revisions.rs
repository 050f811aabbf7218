//! What changed since somebody last looked, as numbers that only rise: for those who wait for a
//! change, and then ask what it was.
//!
//! It keeps nothing of the changes themselves and holds nobody up: it is told once for each group of
//! records. Invariant: when a revision says that deliveries changed, a search that begins then finds
//! the change, unless the index is away; the index coming or going is a change as well.

use tokio::sync::watch;

use crate::domain::time::Timestamp;
use crate::journal::{Committed, Record};

/// How far things are. Revisions begin at the start's instant in milliseconds, so that one of an
/// earlier run lies below all of this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Rises with every change.
    pub revision: u64,
    /// The revision at which an event was last accepted, or a delivery last changed.
    pub deliveries: u64,
    /// The revision at which the configuration last changed.
    pub configuration: u64,
    /// Deliveries made since the start, skipped ones among them.
    pub made: u64,
    /// The revision this run began with.
    pub first: u64,
}

/// Where changes are told.
#[derive(Debug)]
pub(super) struct Revisions {
    now: watch::Sender<Changed>,
}

impl Revisions {
    pub(super) fn new(start: Timestamp) -> Self {
        let first = start.millis();
        let now = Changed { revision: first, deliveries: first, configuration: first, made: 0, first };
        Self { now: watch::Sender::new(now) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Changed> {
        self.now.subscribe()
    }

    pub(super) fn configuration_changed(&self) {
        self.now.send_modify(|now| {
            now.revision += 1;
            now.configuration = now.revision;
        });
    }

    pub(super) fn deliveries_changed(&self) {
        self.now.send_modify(|now| {
            now.revision += 1;
            now.deliveries = now.revision;
        });
    }

    /// These were committed. With an index they count as changes when they are in it.
    pub(super) fn committed(&self, records: &[Committed], is_indexed: bool) {
        let made = records.iter().map(|one| match &*one.record {
            Record::Event { targets, skipped, .. } => targets.len() + skipped.len(),
            _ => 0,
        });
        let made = made.sum::<usize>() as u64;
        if made > 0 {
            // Wakes nobody: whoever waits is woken by the change itself.
            self.now.send_if_modified(|now| {
                now.made += made;
                false
            });
        }
        if !is_indexed && records.iter().any(|one| concerns_deliveries(&one.record)) {
            self.deliveries_changed();
        }
    }
}

/// Whether a list of events or deliveries may look different afterwards.
pub(super) fn concerns_deliveries(record: &Record) -> bool {
    matches!(record, Record::Event { .. } | Record::Attempt(_) | Record::Change(_))
}
