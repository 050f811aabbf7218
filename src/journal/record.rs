//! What the records say, and which kind of frame each becomes.
//!
//! The meta part is `postcard` over the `*V1` structs of `wire`, whose shape is frozen: a changed
//! shape is a new kind or frame version, and the old ones stay readable. Domain types are converted
//! on the way and know nothing of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::frame::{self, Frame};
use super::wire::{
    AttemptRecordV1, AttemptV1, AuditV1, CarryTracedV1, CarryV1, ChangeV1, ConfigV1, DeliveryV1, EventSkippedV1,
    EventTracedV1, EventV1, SnapshotV1, from_bytes, to_bytes, trace_of,
};
use crate::domain::attempt::Attempt;
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::Delivery;
use crate::domain::event::Event;
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
        /// Webhooks that want its type and whose filters did not let it through; their ordinals
        /// follow.
        skipped: Vec<Target>,
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
    /// Somebody did something that others may want to know of.
    Audit(AuditRecord),
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
/// An event of which something was skipped. Events of which nothing was stay of the first kind.
const KIND_EVENT_SKIPPED: u8 = 7;
const KIND_AUDIT: u8 = 8;
/// Events that belong to a trace. Those that do not stay of the kinds before.
const KIND_EVENT_TRACED: u8 = 9;
const KIND_CARRY_TRACED: u8 = 10;

impl Record {
    /// Kind, meta bytes and payload of the current version.
    #[must_use]
    pub fn encode(&self) -> (u8, Vec<u8>, Bytes) {
        match self {
            Self::Event { event: event @ Event { trace: Some(trace), .. }, targets, skipped, payload } => {
                let raw = (EventV1::from(event), targets, skipped, trace_of(trace));
                (KIND_EVENT_TRACED, to_bytes(&raw), payload.clone())
            }
            Self::Event { event, targets, payload, skipped } if skipped.is_empty() => {
                (KIND_EVENT, to_bytes(&(EventV1::from(event), targets)), payload.clone())
            }
            Self::Event { event, targets, skipped, payload } => {
                (KIND_EVENT_SKIPPED, to_bytes(&(EventV1::from(event), targets, skipped)), payload.clone())
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
                match &event.trace {
                    None => (KIND_CARRY, to_bytes(&raw), payload.clone()),
                    Some(trace) => {
                        let raw: CarryTracedV1 = (raw.0, raw.1, trace_of(trace));
                        (KIND_CARRY_TRACED, to_bytes(&raw), payload.clone())
                    }
                }
            }
            Self::Audit(record) => (KIND_AUDIT, to_bytes(&AuditV1::from(record)), Bytes::new()),
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
                Self::Event { event: event.into(), targets, skipped: Vec::new(), payload: payload() }
            }
            KIND_EVENT_SKIPPED => {
                let (event, targets, skipped): EventSkippedV1 = from_bytes(&frame.meta)?;
                Self::Event { event: event.into(), targets, skipped, payload: payload() }
            }
            KIND_EVENT_TRACED => {
                let (event, targets, skipped, trace): EventTracedV1 = from_bytes(&frame.meta)?;
                Self::Event { event: event.traced(trace), targets, skipped, payload: payload() }
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
                Self::Carry { event: event.into(), deliveries: carried_of(carried)?, payload: payload() }
            }
            KIND_CARRY_TRACED => {
                let (event, carried, trace): CarryTracedV1 = from_bytes(&frame.meta)?;
                Self::Carry { event: event.traced(trace), deliveries: carried_of(carried)?, payload: payload() }
            }
            KIND_AUDIT => Self::Audit(from_bytes::<AuditV1>(&frame.meta)?.into()),
            _ => return None,
        })
    }
}

fn carried_of(carried: Vec<(Target, DeliveryV1, Vec<AttemptV1>)>) -> Option<Vec<CarriedDelivery>> {
    let deliveries = carried.into_iter().map(|(target, delivery, attempts)| {
        let attempts = attempts.into_iter().map(AttemptV1::into_domain).collect::<Option<_>>()?;
        Some(CarriedDelivery { target, delivery: delivery.into_domain()?, attempts })
    });
    deliveries.collect()
}
