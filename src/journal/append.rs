//! What is queued for the committer: records, encoded by whoever queues them, and those who wait for them.
//!
//! Nothing is written here. Which folder a record belongs in is decided here, because it follows from the record alone.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::frame::FRAME_LENGTH;
use super::{CarriedDelivery, Committed, JournalError, Record};
use crate::domain::time::Day;

/// A record on its way to the disk, already encoded by whoever queued it.
#[derive(Debug)]
pub struct Append {
    /// `None` for a barrier, which only waits for those before it.
    pub(super) record: Option<Encoded>,
    pub(super) urgent: bool,
    /// Has happened already: kept when the disk is full, and tried again.
    pub(super) fact: bool,
    /// Nothing is taken after this one.
    pub(super) close: bool,
    pub(super) done: Option<oneshot::Sender<Result<Committed, JournalError>>>,
}

#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) record: Arc<Record>,
    pub(super) kind: u8,
    pub(super) meta: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) body_crc: u32,
    /// The folder it belongs in, when that is not today's.
    pub(super) day: Option<Day>,
}

impl Append {
    pub(super) fn new(
        record: Record,
        urgent: bool,
        done: Option<oneshot::Sender<Result<Committed, JournalError>>>,
    ) -> Self {
        // One of another's would be taken for the committer's, and the answers go to the wrong askers.
        assert!(!matches!(record, Record::Snapshot { .. }), "snapshots are written by the committer alone");
        Self { record: Some(Encoded::new(record)), urgent, fact: done.is_none(), close: false, done }
    }

    pub(super) fn barrier(done: oneshot::Sender<Result<Committed, JournalError>>) -> Self {
        Self { record: None, urgent: true, fact: false, close: false, done: Some(done) }
    }

    /// A fact that somebody waits for.
    pub(super) fn fact(record: Record, done: oneshot::Sender<Result<Committed, JournalError>>) -> Self {
        Self { fact: true, ..Self::new(record, true, Some(done)) }
    }

    pub(super) fn close(done: oneshot::Sender<Result<Committed, JournalError>>) -> Self {
        Self { close: true, ..Self::barrier(done) }
    }

    pub(super) fn size(&self) -> usize {
        self.record.as_ref().map_or(0, Encoded::size)
    }

    pub(super) fn finish(self, result: Result<Committed, JournalError>) {
        if let Some(done) = self.done {
            // The asker may have given up waiting; the record stands all the same.
            let _ = done.send(result);
        }
    }
}

impl Encoded {
    pub(super) fn new(record: Record) -> Self {
        let (kind, meta, payload) = record.encode();
        let body_crc = crc32c::crc32c_append(crc32c::crc32c(&meta), &payload);
        let day = match &record {
            Record::Event { event, .. } => Some(event.created_at().day()),
            // A carried event belongs to the day it was last touched: from then its time runs.
            Record::Carry { event, deliveries, .. } => last_activity_day(event.created_at().day(), deliveries),
            // What was done on a day goes with it.
            Record::Audit(record) => Some(record.at.day()),
            _ => None,
        };
        Self { record: Arc::new(record), kind, meta, payload, body_crc, day }
    }

    pub(super) fn size(&self) -> usize {
        FRAME_LENGTH + self.meta.len() + self.payload.len()
    }
}

/// `None` (today) while something is still to be sent.
fn last_activity_day(created: Day, deliveries: &[CarriedDelivery]) -> Option<Day> {
    if deliveries.iter().any(|carried| carried.delivery.due_at().is_some()) {
        return None;
    }
    let last = deliveries.iter().flat_map(|carried| &carried.attempts).map(|attempt| attempt.started_at.day()).max();
    Some(last.unwrap_or(created).max(created))
}
