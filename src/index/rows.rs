//! Rows and keys as bytes. A row is `postcard` and then its CRC32C over key and value, so a row
//! that sled hands back under another key is seen as well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IndexError, Pending, Result};
use crate::domain::attempt::{Attempt, ErrorKind, Outcome, Phases, Trigger};
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::{Delivery, State};
use crate::domain::event::{Event, Location};
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::time::Timestamp;

/// Attempts that a delivery row holds itself; older ones move to rows of as many.
pub(super) const ATTEMPTS_INLINE: usize = 16;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EventRow {
    pub(super) event_type: String,
    pub(super) content_type: String,
    pub(super) scan_ref: Option<String>,
    pub(super) references: Vec<String>,
    pub(super) token: String,
    pub(super) location: (u64, u32, u32),
    pub(super) payload_length: u32,
    /// Deliveries that were really meant to be made.
    pub(super) targets: u16,
    /// Deliveries that a filter did not let through; their ordinals follow.
    pub(super) skipped: u16,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeliveryRow {
    pub(super) webhook: [u8; 16],
    pub(super) version: u32,
    pub(super) parts: DeliveryParts,
    /// Full rows of older attempts that exist beside this one.
    pub(super) older_chunks: u8,
    pub(super) attempts: Vec<AttemptRow>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct DeliveryParts {
    settled: u8,
    automatic_due: Option<u64>,
    resend_due: Option<u64>,
    automatic_made: u16,
    attempts_made: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AttemptRow {
    pub(super) number: u32,
    resend: bool,
    started_at: u64,
    code: u16,
    error: u8,
    duration: u32,
    phases: [Option<u32>; 4],
    peer: Option<std::net::SocketAddr>,
}

#[derive(Serialize, Deserialize)]
struct AuditRow {
    by: String,
    uid: Option<u32>,
    action: String,
    subject: String,
    detail: String,
}

#[derive(Serialize, Deserialize)]
struct PendingRow {
    webhook: [u8; 16],
    location: (u64, u32, u32),
    parts: DeliveryParts,
}

pub(super) fn damaged(what: &str) -> IndexError {
    IndexError::Damaged(format!("{what} does not check out"))
}

/// Appends the checksum over key and value.
pub(super) fn seal_keyed(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

/// The value, when the checksum over key and value is right.
pub(super) fn unseal_keyed<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (value, crc) = row.split_last_chunk::<4>()?;
    (crc32c::crc32c_append(crc32c::crc32c(key), value) == u32::from_le_bytes(*crc)).then_some(value)
}

/// Most rows are no longer, and none is moved while it grows.
const USUAL_BYTES: usize = 160;

pub(super) fn encode<T: Serialize>(key: &[u8], row: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "postcard fails only on maps of unknown length, and there are none")]
    seal_keyed(key, postcard::to_extend(row, Vec::with_capacity(USUAL_BYTES)).expect("plain structs can be encoded"))
}

pub(super) fn decode<'a, T: Deserialize<'a>>(key: &[u8], row: &'a [u8], what: &str) -> Result<T> {
    let value = unseal_keyed(key, row).ok_or_else(|| damaged(what))?;
    postcard::from_bytes(value).map_err(|_| damaged(what))
}

/// Reads a value as every kind of row there is, with a checksum that fits; tells as how many it could be read. For whoever tries
/// what rows do that somebody else has made.
///
/// # Errors
/// A row that is not read as it was written.
pub fn readable_as(key: &[u8], value: &[u8]) -> Result<usize> {
    let row = seal_keyed(key, value.to_vec());
    let event = decode::<EventRow>(key, &row, "a row").map(|row| {
        let id = EventId::from_bytes([7; 16]);
        row.into_event(id)
    });
    let delivery = decode::<DeliveryRow>(key, &row, "a row").and_then(|row| {
        let attempts = row.attempts.into_iter().map(AttemptRow::into_domain).collect::<Result<Vec<_>>>();
        attempts.and(row.parts.into_domain())
    });
    let kinds = [
        event.is_ok(),
        delivery.is_ok(),
        decode::<Vec<AttemptRow>>(key, &row, "a row").is_ok(),
        pending_from(key, &row).is_ok(),
        audit_from(key, &row).is_ok(),
        idempotency_from(key, &row).is_ok(),
        decode::<u64>(key, &row, "a row").is_ok(),
        event_of_reference(key).is_some(),
    ];
    if let Ok(pending) = pending_from(key, &row)
        && pending_from(key, &pending_row(key, &pending))? != pending
    {
        return Err(damaged("a pending row that was just written"));
    }
    if let Ok(record) = audit_from(key, &row)
        && audit_from(key, &audit_row(key, &record))? != record
    {
        return Err(damaged("an audit row that was just written"));
    }
    let is_pack = super::pack::rows_of_pack(key, &row).is_ok();
    Ok(kinds.into_iter().filter(|is_readable| *is_readable).count() + usize::from(is_pack))
}

pub(super) fn chunk_key(id: DeliveryId, chunk: u8) -> [u8; 19] {
    let mut key = [chunk; 19];
    key[..18].copy_from_slice(&id.to_bytes());
    key
}

pub(super) fn reference_key(reference: &str, event: EventId) -> Vec<u8> {
    let mut key = reference.replace('\0', " ").into_bytes();
    key.push(0);
    key.extend_from_slice(event.as_bytes());
    key
}

/// The event at the end of a reference key.
pub(super) fn event_of_reference(key: &[u8]) -> Option<EventId> {
    Some(EventId::from_bytes(*key.last_chunk::<16>()?))
}

pub(super) fn idempotency_key(token: &str, key: &str) -> Vec<u8> {
    [token.as_bytes(), b"\0", key.as_bytes()].concat()
}

pub(super) fn version_key(webhook: WebhookId, version: u32) -> Vec<u8> {
    [&webhook.as_bytes()[..], &version.to_be_bytes()].concat()
}

pub(super) fn idempotency_row(key: &[u8], event: EventId, digest: [u8; 16]) -> Vec<u8> {
    seal_keyed(key, [*event.as_bytes(), digest].concat())
}

pub(super) fn idempotency_from(key: &[u8], row: &[u8]) -> Result<(EventId, [u8; 16])> {
    let value = unseal_keyed(key, row).ok_or_else(|| damaged("an idempotency row"))?;
    let (event, digest) = value.split_at_checked(16).ok_or_else(|| damaged("an idempotency row"))?;
    match (event.try_into(), digest.try_into()) {
        (Ok(event), Ok(digest)) => Ok((EventId::from_bytes(event), digest)),
        _ => Err(damaged("an idempotency row")),
    }
}

pub(super) const fn location_from((segment, offset, length): (u64, u32, u32)) -> Location {
    Location { segment, offset, length }
}

pub(super) const fn location_parts(location: Location) -> (u64, u32, u32) {
    (location.segment, location.offset, location.length)
}

pub(super) fn pending_row(key: &[u8], pending: &Pending) -> Vec<u8> {
    let row = PendingRow {
        webhook: *pending.webhook.as_bytes(),
        location: location_parts(pending.location),
        parts: DeliveryParts::from(&pending.delivery),
    };
    encode(key, &row)
}

pub(super) fn pending_from(key: &[u8], row: &[u8]) -> Result<Pending> {
    let id = DeliveryId::from_bytes(key).ok_or_else(|| damaged("a pending row"))?;
    let row: PendingRow = decode(key, row, "a pending row")?;
    Ok(Pending {
        id,
        webhook: WebhookId::from_bytes(row.webhook),
        location: location_from(row.location),
        delivery: row.parts.into_domain()?,
    })
}

/// In order of time, and of the journal where that is the same.
pub(super) fn audit_key(at: Timestamp, sequence: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&at.millis().to_be_bytes());
    key[8..].copy_from_slice(&sequence.to_be_bytes());
    key
}

pub(super) fn audit_row(key: &[u8], record: &AuditRecord) -> Vec<u8> {
    let row = AuditRow {
        by: record.by.clone(),
        uid: record.uid,
        action: record.action.clone(),
        subject: record.subject.clone(),
        detail: record.detail.clone(),
    };
    encode(key, &row)
}

pub(super) fn audit_from(key: &[u8], row: &[u8]) -> Result<AuditRecord> {
    let millis = key.first_chunk::<8>().map(|millis| u64::from_be_bytes(*millis));
    let at = millis.map(Timestamp::from_millis).ok_or_else(|| damaged("an audit row"))?;
    let AuditRow { by, uid, action, subject, detail } = decode(key, row, "an audit row")?;
    Ok(AuditRecord { at, by, uid, action, subject, detail })
}

impl EventRow {
    pub(super) fn new(
        event: &Event,
        location: Location,
        payload_length: usize,
        targets: usize,
        skipped: usize,
    ) -> Self {
        Self {
            event_type: event.event_type.clone(),
            content_type: event.content_type.clone(),
            scan_ref: event.scan_ref.clone(),
            references: event.references.as_slice().to_vec(),
            token: event.token.clone(),
            location: location_parts(location),
            payload_length: u32::try_from(payload_length).unwrap_or(u32::MAX),
            targets: u16::try_from(targets).unwrap_or(u16::MAX),
            skipped: u16::try_from(skipped).unwrap_or(u16::MAX),
        }
    }

    pub(super) fn into_event(self, id: EventId) -> Event {
        Event {
            id,
            event_type: self.event_type,
            content_type: self.content_type,
            scan_ref: self.scan_ref,
            references: self.references.into(),
            token: self.token,
            idempotency: None,
            trace: None,
        }
    }
}

impl From<&Delivery> for DeliveryParts {
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

impl DeliveryParts {
    pub(super) fn into_domain(self) -> Result<Delivery> {
        let settled = match self.settled {
            0 => State::Pending,
            1 => State::Delivered,
            2 => State::Failed,
            3 => State::Cancelled,
            4 => State::Skipped,
            _ => return Err(damaged("the state of a delivery")),
        };
        let (automatic, resend) = (self.automatic_due, self.resend_due);
        Delivery::from_parts(
            settled,
            automatic.map(Timestamp::from_millis),
            resend.map(Timestamp::from_millis),
            self.automatic_made,
            self.attempts_made,
        )
        .ok_or_else(|| damaged("the state of a delivery"))
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

impl From<&Attempt> for AttemptRow {
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
            duration: micros(outcome.duration),
            phases: [phases.dns, phases.connect, phases.tls, phases.first_byte].map(|phase| phase.map(micros)),
            peer: outcome.peer,
        }
    }
}

impl AttemptRow {
    pub(super) fn into_domain(self) -> Result<Attempt> {
        let result = match self.error {
            0 => Ok(self.code),
            known => Err(*ErrorKind::ALL.get(usize::from(known) - 1).ok_or_else(|| damaged("an attempt"))?),
        };
        let [dns, connect, tls, first_byte] =
            self.phases.map(|phase| phase.map(|micros| Duration::from_micros(u64::from(micros))));
        Ok(Attempt {
            number: self.number,
            trigger: if self.resend { Trigger::Resend } else { Trigger::Automatic },
            started_at: Timestamp::from_millis(self.started_at),
            outcome: Outcome {
                result,
                duration: Duration::from_micros(u64::from(self.duration)),
                phases: Phases { dns, connect, tls, first_byte },
                peer: self.peer,
                retry_after: None,
            },
        })
    }
}
