//! The bytes behind the records: `postcard` over structs whose shape is frozen, and the way there
//! and back from domain types.
//!
//! It does not know frames, or which kind of record consists of what. Invariant: a shape never
//! changes; a new one is a new kind or frame version with structs of its own.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::{ChangeCause, ChangeRecord, Collection, ConfigRecord, Target};
use crate::domain::attempt::{Attempt, ErrorKind, Outcome, Phases, Trigger};
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::{Delivery, State};
use crate::domain::event::{Event, Idempotency};
use crate::domain::id::{DeliveryId, EventId};
use crate::domain::time::Timestamp;
use crate::domain::trace_context::TraceContext;

#[derive(Serialize, Deserialize)]
pub(super) struct EventV1 {
    id: [u8; 16],
    event_type: String,
    content_type: String,
    scan_ref: Option<String>,
    references: Vec<String>,
    token: String,
    idempotency: Option<(String, [u8; 16])>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DeliveryV1 {
    settled: u8,
    automatic_due: Option<u64>,
    resend_due: Option<u64>,
    automatic_made: u16,
    attempts_made: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AttemptV1 {
    number: u32,
    resend: bool,
    started_at: u64,
    code: u16,
    error: u8,
    /// Microseconds: duration, then DNS, connect, TLS, first byte.
    duration: u64,
    phases: [Option<u32>; 4],
    peer: Option<std::net::SocketAddr>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ChangeV1 {
    event: [u8; 16],
    ordinal: u16,
    at: u64,
    by: String,
    cause: ChangeCause,
    delivery: DeliveryV1,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ConfigV1 {
    collection: Collection,
    key: Vec<u8>,
    version: u32,
    at: u64,
    by: String,
    body: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AuditV1 {
    at: u64,
    by: String,
    uid: Option<u32>,
    action: String,
    subject: String,
    detail: String,
}

/// The event, its targets, and those whose filters did not let it through.
pub(super) type EventSkippedV1 = (EventV1, Vec<Target>, Vec<Target>);
/// Trace, parent, flags and state.
pub(super) type TraceV1 = ([u8; 16], [u8; 8], u8, String);
pub(super) type EventTracedV1 = (EventV1, Vec<Target>, Vec<Target>, TraceV1);
pub(super) type CarryTracedV1 = (EventV1, Vec<(Target, DeliveryV1, Vec<AttemptV1>)>, TraceV1);
pub(super) type SnapshotV1 = (u64, Vec<(Collection, Vec<u8>, u32, Vec<u8>)>);
pub(super) type AttemptRecordV1 = ([u8; 16], u16, Target, AttemptV1, DeliveryV1);
pub(super) type CarryV1 = (EventV1, Vec<(Target, DeliveryV1, Vec<AttemptV1>)>);

/// Most records have less beside their payloads, and are not moved while they grow.
const USUAL_BYTES: usize = 256;

pub(super) fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "postcard fails only on maps of unknown length, and there are none")]
    postcard::to_extend(value, Vec::with_capacity(USUAL_BYTES)).expect("plain structs can be encoded")
}

/// Trailing bytes are damage.
pub(super) fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

impl From<&Event> for EventV1 {
    fn from(event: &Event) -> Self {
        Self {
            id: *event.id.as_bytes(),
            event_type: event.event_type.clone(),
            content_type: event.content_type.clone(),
            scan_ref: event.scan_ref.clone(),
            references: event.references.as_slice().to_vec(),
            token: event.token.clone(),
            idempotency: event.idempotency.as_ref().map(|known| (known.key.clone(), known.digest)),
        }
    }
}

impl From<EventV1> for Event {
    fn from(raw: EventV1) -> Self {
        Self {
            id: EventId::from_bytes(raw.id),
            event_type: raw.event_type,
            content_type: raw.content_type,
            scan_ref: raw.scan_ref,
            references: raw.references.into(),
            token: raw.token,
            idempotency: raw.idempotency.map(|(key, digest)| Idempotency { key, digest }),
            trace: None,
        }
    }
}

pub(super) fn trace_of(context: &TraceContext) -> TraceV1 {
    (context.trace, context.parent, context.flags, context.state.clone())
}

impl EventV1 {
    /// The event, in this trace.
    pub(super) fn traced(self, (trace, parent, flags, state): TraceV1) -> Event {
        Event { trace: Some(TraceContext { trace, parent, flags, state }), ..self.into() }
    }
}

/// By their number on the disk: new ones go to the end.
const STATES: [State; 5] = [State::Pending, State::Delivered, State::Failed, State::Cancelled, State::Skipped];

impl From<&Delivery> for DeliveryV1 {
    fn from(delivery: &Delivery) -> Self {
        Self {
            settled: match delivery.settled() {
                State::Pending => 0,
                State::Delivered => 1,
                State::Failed => 2,
                State::Cancelled => 3,
                State::Skipped => 4,
            },
            automatic_due: delivery.automatic_due().map(Timestamp::millis),
            resend_due: delivery.resend_due().map(Timestamp::millis),
            automatic_made: delivery.automatic_made(),
            attempts_made: delivery.attempts_made(),
        }
    }
}

impl DeliveryV1 {
    pub(super) fn into_domain(self) -> Option<Delivery> {
        Delivery::from_parts(
            *STATES.get(usize::from(self.settled))?,
            self.automatic_due.map(Timestamp::from_millis),
            self.resend_due.map(Timestamp::from_millis),
            self.automatic_made,
            self.attempts_made,
        )
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

impl From<&Attempt> for AttemptV1 {
    fn from(attempt: &Attempt) -> Self {
        let outcome = &attempt.outcome;
        let error = match outcome.result {
            Ok(_) => 0,
            Err(kind) => 1 + ErrorKind::ALL.iter().position(|known| *known == kind).unwrap_or_default(),
        };
        let phases = outcome.phases;
        Self {
            number: attempt.number,
            resend: attempt.trigger == Trigger::Resend,
            started_at: attempt.started_at.millis(),
            code: outcome.code(),
            error: u8::try_from(error).unwrap_or_default(),
            duration: u64::from(micros(outcome.duration)),
            phases: [phases.dns, phases.connect, phases.tls, phases.first_byte].map(|phase| phase.map(micros)),
            peer: outcome.peer,
        }
    }
}

impl AttemptV1 {
    pub(super) fn into_domain(self) -> Option<Attempt> {
        let result = match self.error {
            0 => Ok(self.code),
            known => Err(*ErrorKind::ALL.get(usize::from(known) - 1)?),
        };
        let [dns, connect, tls, first_byte] =
            self.phases.map(|phase| phase.map(|micros| Duration::from_micros(u64::from(micros))));
        Some(Attempt {
            number: self.number,
            trigger: if self.resend { Trigger::Resend } else { Trigger::Automatic },
            started_at: Timestamp::from_millis(self.started_at),
            outcome: Outcome {
                result,
                duration: Duration::from_micros(self.duration),
                phases: Phases { dns, connect, tls, first_byte },
                peer: self.peer,
                retry_after: None,
            },
        })
    }
}

impl From<&ChangeRecord> for ChangeV1 {
    fn from(record: &ChangeRecord) -> Self {
        Self {
            event: *record.id.event.as_bytes(),
            ordinal: record.id.ordinal,
            at: record.at.millis(),
            by: record.by.clone(),
            cause: record.cause,
            delivery: DeliveryV1::from(&record.delivery),
        }
    }
}

impl ChangeV1 {
    pub(super) fn into_domain(self) -> Option<ChangeRecord> {
        Some(ChangeRecord {
            id: DeliveryId { event: EventId::from_bytes(self.event), ordinal: self.ordinal },
            at: Timestamp::from_millis(self.at),
            by: self.by,
            cause: self.cause,
            delivery: self.delivery.into_domain()?,
        })
    }
}

impl From<&ConfigRecord> for ConfigV1 {
    fn from(record: &ConfigRecord) -> Self {
        Self {
            collection: record.collection,
            key: record.key.to_vec(),
            version: record.version,
            at: record.at.millis(),
            by: record.by.clone(),
            body: record.body.as_ref().map(|body| body.to_vec()),
        }
    }
}

impl From<ConfigV1> for ConfigRecord {
    fn from(raw: ConfigV1) -> Self {
        Self {
            collection: raw.collection,
            key: raw.key.into(),
            version: raw.version,
            at: Timestamp::from_millis(raw.at),
            by: raw.by,
            body: raw.body.map(Bytes::from),
        }
    }
}

impl From<&AuditRecord> for AuditV1 {
    fn from(record: &AuditRecord) -> Self {
        Self {
            at: record.at.millis(),
            by: record.by.clone(),
            uid: record.uid,
            action: record.action.clone(),
            subject: record.subject.clone(),
            detail: record.detail.clone(),
        }
    }
}

impl From<AuditV1> for AuditRecord {
    fn from(raw: AuditV1) -> Self {
        Self {
            at: Timestamp::from_millis(raw.at),
            by: raw.by,
            uid: raw.uid,
            action: raw.action,
            subject: raw.subject,
            detail: raw.detail,
        }
    }
}
