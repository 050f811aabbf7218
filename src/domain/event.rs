//! An event: what a local application posted, once. It never changes, and its payload is not part
//! of it: that stays in the journal, at the event's location.

use super::id::EventId;
use super::references::References;
use super::time::Timestamp;
use super::trace_context::TraceContext;

/// Everything about an accepted event except its payload bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id, which also tells when it was accepted.
    pub id: EventId,
    /// Canonical name of its type, such as `AML_MONITORING`.
    pub event_type: String,
    /// The media type it was posted with, sent on as it was.
    pub content_type: String,
    /// `scanRef` of the payload, when it has one.
    pub scan_ref: Option<String>,
    /// What it can be found by.
    pub references: References,
    /// Name of the ingest token it was posted with; empty when none was asked for.
    pub token: String,
    /// The app's own key against posting twice, with the digest of type and body.
    pub idempotency: Option<Idempotency>,
    /// The trace that it was posted in. Only the journal keeps it.
    pub trace: Option<TraceContext>,
}

impl Event {
    /// When it was accepted.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.id.created_at()
    }
}

/// How a repeated post is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key, unique within its token for [`Self::WINDOW`].
    pub key: String,
    /// SHA-256 over type and payload, cut to 16 bytes: the same key with another digest is a mistake.
    pub digest: [u8; 16],
}

impl Idempotency {
    /// How long a key is remembered.
    pub const WINDOW: std::time::Duration = std::time::Duration::from_hours(24);
    /// The longest key, in bytes.
    pub const KEY_LENGTH_MAX: usize = 256;
}

/// Where an event's record lies in the journal. Opaque to everyone but the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The segment, named by the sequence of its first record.
    pub segment: u64,
    /// Byte offset of the record within the segment.
    pub offset: u32,
    /// Bytes of the whole record.
    pub length: u32,
}
