//! What the records say, and their bytes.
//!
//! The meta part is `postcard` over the private `*V1` structs below, whose shape is frozen: a
//! changed shape is a new frame version with structs of its own, and the old ones stay readable.
//! Domain types are converted here and know nothing of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::frame::{self, Frame};
use crate::domain::attempt::{Attempt, ErrorKind, Outcome, Phases, Trigger};
use crate::domain::delivery::{Delivery, State};
use crate::domain::event::{Event, Idempotency};
use crate::domain::id::{DeliveryId, EventId, WebhookId};
use crate::domain::time::Timestamp;

/// A webhook an event goes to, as it was at acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The webhook.
    #[serde(with = "webhook_id")]
    pub webhook: WebhookId,
    /// Its version then.
    pub version: u32,
}

mod webhook_id {
    use super::{Deserialize, Serialize, WebhookId};

    pub(super) fn serialize<S: serde::Serializer>(id: &WebhookId, to: S) -> Result<S::Ok, S::Error> {
        id.as_bytes().serialize(to)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<WebhookId, D::Error> {
        <[u8; 16]>::deserialize(from).map(WebhookId::from_bytes)
    }
}

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An event was accepted, for these webhooks, in this order.
    Event {
        /// All but its bytes.
        event: Event,
        /// Its deliveries: the place in this list is the ordinal.
        targets: Vec<Target>,
        /// The bytes as posted.
        payload: Bytes,
    },
    /// An attempt was made.
    Attempt(AttemptRecord),
    /// An operator changed what is due.
    Change(ChangeRecord),
    /// A part of the configuration was set or removed.
    Config(ConfigRecord),
    /// The whole configuration; the first record of every segment.
    Snapshot {
        /// When.
        at: Timestamp,
        /// Everything that is set.
        image: ConfigImage,
    },
    /// An event that outlives the folder it was in, with all that is known of it.
    Carry {
        /// All but its bytes.
        event: Event,
        /// Its deliveries in their order, with their histories.
        deliveries: Vec<CarriedDelivery>,
        /// The bytes as posted.
        payload: Bytes,
    },
}

/// An attempt and the delivery after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The delivery.
    pub id: DeliveryId,
    /// The webhook and the version of it that was used.
    pub target: Target,
    /// The exchange.
    pub attempt: Attempt,
    /// The delivery as it stands after it.
    pub delivery: Delivery,
}

/// Why a delivery changed without an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeCause {
    /// Another go was asked for.
    Resend,
    /// It was withdrawn.
    Cancel,
}

/// A delivery changed by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRecord {
    /// The delivery.
    pub id: DeliveryId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// What.
    pub cause: ChangeCause,
    /// The delivery as it stands after it.
    pub delivery: Delivery,
}

/// What a piece of configuration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Collection {
    /// Webhooks, by id.
    Webhook,
    /// Ingest tokens, by name.
    Token,
    /// Event types of the operator's own, by name.
    EventType,
}

/// A part of the configuration was set, or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRecord {
    /// What it belongs to.
    pub collection: Collection,
    /// Its key there.
    pub key: Bytes,
    /// Its version.
    pub version: u32,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// The new value; `None` removes it.
    pub body: Option<Bytes>,
}

/// A delivery within [`Record::Carry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedDelivery {
    /// The webhook and the version last used.
    pub target: Target,
    /// How it stands.
    pub delivery: Delivery,
    /// What was tried.
    pub attempts: Vec<Attempt>,
}

/// The configuration as a map of opaque values, each with its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigImage {
    /// By collection and key.
    pub entries: BTreeMap<(Collection, Bytes), (u32, Bytes)>,
}

impl ConfigImage {
    /// Applies a record; other kinds change nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Snapshot { image, .. } => self.clone_from(image),
            Record::Config(config) => {
                let key = (config.collection, config.key.clone());
                match &config.body {
                    Some(body) => self.entries.insert(key, (config.version, body.clone())),
                    None => self.entries.remove(&key),
                };
            }
            _ => {}
        }
    }
}

const KIND_EVENT: u8 = 1;
const KIND_ATTEMPT: u8 = 2;
const KIND_CHANGE: u8 = 3;
const KIND_CONFIG: u8 = 4;
const KIND_SNAPSHOT: u8 = 5;
const KIND_CARRY: u8 = 6;

#[derive(Serialize, Deserialize)]
struct EventV1 {
    id: [u8; 16],
    event_type: String,
    content_type: String,
    scan_ref: Option<String>,
    references: Vec<String>,
    token: String,
    idempotency: Option<(String, [u8; 16])>,
}

#[derive(Serialize, Deserialize)]
struct DeliveryV1 {
    settled: u8,
    automatic_due: Option<u64>,
    resend_due: Option<u64>,
    automatic_made: u16,
    attempts_made: u32,
}

#[derive(Serialize, Deserialize)]
struct AttemptV1 {
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
struct ChangeV1 {
    event: [u8; 16],
    ordinal: u16,
    at: u64,
    by: String,
    cause: ChangeCause,
    delivery: DeliveryV1,
}

#[derive(Serialize, Deserialize)]
struct ConfigV1 {
    collection: Collection,
    key: Vec<u8>,
    version: u32,
    at: u64,
    by: String,
    body: Option<Vec<u8>>,
}

type SnapshotV1 = (u64, Vec<(Collection, Vec<u8>, u32, Vec<u8>)>);
type AttemptRecordV1 = ([u8; 16], u16, Target, AttemptV1, DeliveryV1);
type CarryV1 = (EventV1, Vec<(Target, DeliveryV1, Vec<AttemptV1>)>);

impl Record {
    /// Kind, meta bytes and payload of the current version.
    pub(super) fn encode(&self) -> (u8, Vec<u8>, Bytes) {
        match self {
            Self::Event { event, targets, payload } => {
                (KIND_EVENT, to_bytes(&(EventV1::from(event), targets)), payload.clone())
            }
            Self::Attempt(record) => {
                let raw: AttemptRecordV1 = (
                    *record.id.event.as_bytes(),
                    record.id.ordinal,
                    record.target,
                    AttemptV1::from(&record.attempt),
                    DeliveryV1::from(&record.delivery),
                );
                (KIND_ATTEMPT, to_bytes(&raw), Bytes::new())
            }
            Self::Change(record) => (KIND_CHANGE, to_bytes(&ChangeV1::from(record)), Bytes::new()),
            Self::Config(record) => (KIND_CONFIG, to_bytes(&ConfigV1::from(record)), Bytes::new()),
            Self::Snapshot { at, image } => {
                let entries = image.entries.iter();
                let raw: SnapshotV1 = (
                    at.millis(),
                    entries.map(|((c, key), (version, body))| (*c, key.to_vec(), *version, body.to_vec())).collect(),
                );
                (KIND_SNAPSHOT, to_bytes(&raw), Bytes::new())
            }
            Self::Carry { event, deliveries, payload } => {
                let carried = deliveries.iter().map(|carried| {
                    let attempts = carried.attempts.iter().map(AttemptV1::from).collect();
                    (carried.target, DeliveryV1::from(&carried.delivery), attempts)
                });
                let raw: CarryV1 = (EventV1::from(event), carried.collect());
                (KIND_CARRY, to_bytes(&raw), payload.clone())
            }
        }
    }

    /// What a frame says; `None` for a kind or version that is not known, or contents that
    /// contradict themselves.
    #[must_use]
    pub fn decode(frame: &Frame) -> Option<Self> {
        if frame.version != frame::VERSION {
            return None;
        }
        let payload = || frame.payload.clone();
        Some(match frame.kind {
            KIND_EVENT => {
                let (event, targets): (EventV1, Vec<Target>) = from_bytes(&frame.meta)?;
                Self::Event { event: event.into(), targets, payload: payload() }
            }
            KIND_ATTEMPT => {
                let (event, ordinal, target, attempt, delivery): AttemptRecordV1 = from_bytes(&frame.meta)?;
                Self::Attempt(AttemptRecord {
                    id: DeliveryId { event: EventId::from_bytes(event), ordinal },
                    target,
                    attempt: attempt.into_domain()?,
                    delivery: delivery.into_domain()?,
                })
            }
            KIND_CHANGE => Self::Change(from_bytes::<ChangeV1>(&frame.meta)?.into_domain()?),
            KIND_CONFIG => Self::Config(from_bytes::<ConfigV1>(&frame.meta)?.into()),
            KIND_SNAPSHOT => {
                let (at, entries): SnapshotV1 = from_bytes(&frame.meta)?;
                let entries = entries
                    .into_iter()
                    .map(|(collection, key, version, body)| ((collection, key.into()), (version, body.into())));
                let image = ConfigImage { entries: entries.collect() };
                Self::Snapshot { at: Timestamp::from_millis(at), image }
            }
            KIND_CARRY => {
                let (event, carried): CarryV1 = from_bytes(&frame.meta)?;
                let deliveries = carried.into_iter().map(|(target, delivery, attempts)| {
                    let attempts = attempts.into_iter().map(AttemptV1::into_domain).collect::<Option<_>>()?;
                    Some(CarriedDelivery { target, delivery: delivery.into_domain()?, attempts })
                });
                Self::Carry { event: event.into(), deliveries: deliveries.collect::<Option<_>>()?, payload: payload() }
            }
            _ => return None,
        })
    }
}

fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "postcard fails only on maps of unknown length, and there are none")]
    postcard::to_stdvec(value).expect("plain structs can be encoded")
}

/// Trailing bytes are damage.
fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
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
        }
    }
}

const STATES: [State; 4] = [State::Pending, State::Delivered, State::Failed, State::Cancelled];

impl From<&Delivery> for DeliveryV1 {
    fn from(delivery: &Delivery) -> Self {
        Self {
            settled: match delivery.settled() {
                State::Pending => 0,
                State::Delivered => 1,
                State::Failed => 2,
                State::Cancelled => 3,
            },
            automatic_due: delivery.automatic_due().map(Timestamp::millis),
            resend_due: delivery.resend_due().map(Timestamp::millis),
            automatic_made: delivery.automatic_made(),
            attempts_made: delivery.attempts_made(),
        }
    }
}

impl DeliveryV1 {
    fn into_domain(self) -> Option<Delivery> {
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
    fn into_domain(self) -> Option<Attempt> {
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
    fn into_domain(self) -> Option<ChangeRecord> {
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
