//! Accepting events: once for each idempotency key, and durable before the answer.
//!
//! It does not check what is posted; that is ingest's. Invariant: a key whose event was not
//! accepted is free again, also when its poster has gone away.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::idempotency::{Claim, Fate, RecentKeys};
use super::slot::Slot;
use super::{Store, StoreError, Targets};
use crate::domain::event::{Event, Idempotency};
use crate::domain::id::EventId;
use crate::domain::references::References;
use crate::domain::trace_context::TraceContext;
use crate::index::Index;
use crate::journal::{JournalError, Record};

/// An event as an application posts it.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Canonical name of its type.
    pub event_type: String,
    /// The media type of its payload.
    pub content_type: String,
    /// The payload, exactly as posted.
    pub payload: Bytes,
    /// `scanRef` of the payload.
    pub scan_ref: Option<String>,
    /// What it can be found by.
    pub references: References,
    /// Name of the token it was posted with.
    pub token: String,
    /// The app's key against posting twice.
    pub idempotency_key: Option<String>,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

/// The answer to an accepted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: EventId,
    /// How many webhooks get it, without those whose filters do not let it through; for a
    /// duplicate, how many got the first.
    pub deliveries: usize,
    /// The same thing was posted before.
    pub duplicate: bool,
}

/// How long a keyed post waits for an index that is still being opened or built: after most
/// starts it is there in a moment.
const KEYED_WAIT_MAX: Duration = Duration::from_secs(3);

/// Keys that are remembered until an index which is being built has them; some 200 bytes each.
const UNINDEXED_KEYS_MAX: usize = 100_000;

impl Store {
    /// Makes an event durable, together with the list of webhooks it goes to.
    ///
    /// # Errors
    /// `Failed`, `Full`, `Busy`: nothing was kept. `KeyReused`: the key belongs to another body.
    /// `IndexAway`: it can not be told yet whether the key was used before.
    pub async fn accept(&self, new: NewEvent) -> Result<Accepted, StoreError> {
        if let Some(why) = self.shared.journal.failure() {
            return Err(JournalError::Failed(why).into());
        }
        if self.is_below_floor() {
            return Err(StoreError::Full);
        }
        let Some(key) = new.idempotency_key.clone() else {
            return self.append_event(new, None).await.map(|(accepted, _)| accepted);
        };
        // Goes on when the poster goes away meanwhile: the event may be on its way to the disk,
        // and the next post with its key must find it.
        let store = self.clone();
        let accepting = tokio::spawn(async move { store.accept_keyed(new, key).await });
        accepting.await.unwrap_or_else(|error| Err(StoreError::Io(error.to_string())))
    }

    async fn accept_keyed(&self, new: NewEvent, key: String) -> Result<Accepted, StoreError> {
        let digest = digest_of(&new);
        let token = new.token.clone();
        loop {
            match self.shared.recent_keys.claim(&token, &key, digest) {
                Claim::Ours(fate) => return self.accept_claimed(new, key, digest, fate).await,
                Claim::Theirs(theirs, mut fate) => {
                    let settled = fate.wait_for(|fate| *fate != Fate::Waiting).await.map(|fate| *fate);
                    if let Ok(Fate::Accepted(id)) = settled {
                        return self.duplicate(id, theirs == digest).await;
                    }
                }
            }
        }
    }

    /// The key is ours in memory; the index knows whether it was used earlier.
    async fn accept_claimed(
        &self,
        new: NewEvent,
        key: String,
        digest: [u8; 16],
        fate: tokio::sync::watch::Sender<Fate>,
    ) -> Result<Accepted, StoreError> {
        let token = new.token.clone();
        let now = self.shared.clock.now();
        let claim = ReleaseOnDrop { keys: &self.shared.recent_keys, token: &token, key: &key, fate: Some(fate) };
        let (of_token, of_key) = (token.clone(), key.clone());
        let patience = Instant::now() + KEYED_WAIT_MAX;
        let certainly_new =
            self.keys_within(KEYED_WAIT_MAX).await.is_some_and(|index| !index.may_know(&token, &key, now));
        let known = if certainly_new {
            None
        } else {
            self.ready_within(patience.saturating_duration_since(Instant::now())).await;
            self.read_index(move |index| index.idempotency(&of_token, &of_key, now)).await?
        };
        if let Some((id, known_digest)) = known.filter(|(id, _)| now.since(id.created_at()) < Idempotency::WINDOW) {
            drop(claim);
            return self.duplicate(id, known_digest == digest).await;
        }
        let (accepted, sequence) = self.append_event(new, Some(Idempotency { key: key.clone(), digest })).await?;
        claim.keep(accepted.id);
        self.shared.recent_keys.accepted(&token, &key, sequence, self.shared.slot.applied());
        Ok(accepted)
    }

    /// Waits until the index can be searched, or for so long.
    pub(super) async fn ready_within(&self, most: Duration) {
        self.slot_within(most, |slot| slot.is_ready().then_some(())).await;
    }

    /// The index that tells which keys were certainly never used, as soon as there is one, or within so long.
    async fn keys_within(&self, most: Duration) -> Option<Arc<Index>> {
        let known = self.slot_within(most, Slot::knows_keys).await?;
        // What is newer than an index is remembered here, which has an end.
        (self.shared.slot.is_ready() || self.shared.recent_keys.len() < UNINDEXED_KEYS_MAX).then_some(known)
    }

    async fn slot_within<T>(&self, most: Duration, wanted: impl Fn(&Slot) -> Option<T>) -> Option<T> {
        let slot = &self.shared.slot;
        if let Some(found) = wanted(slot) {
            return Some(found);
        }
        let mut changes = slot.watch_applied();
        let found = async {
            loop {
                if let Some(found) = wanted(slot) {
                    return Some(found);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(most, found).await.ok().flatten()
    }

    async fn duplicate(&self, id: EventId, same_body: bool) -> Result<Accepted, StoreError> {
        if !same_body {
            return Err(StoreError::KeyReused(id));
        }
        let first = self.find(move |index| index.event(id)).await?;
        let deliveries = first.map_or(0, |event| usize::from(event.targets));
        Ok(Accepted { id, deliveries, duplicate: true })
    }

    async fn append_event(
        &self,
        new: NewEvent,
        idempotency: Option<Idempotency>,
    ) -> Result<(Accepted, u64), StoreError> {
        let now = self.shared.clock.now();
        let chance = self.shared.random.bits();
        let Targets { targets, skipped } = self.shared.config.load().targets(&new.event_type, &new.payload);
        let deliveries = targets.len();
        let (id, ticket) = {
            // Held until the event is queued: events are in the journal in the order of their ids,
            // and ordered webhooks go by that.
            let mut ids = self.shared.ids.lock().unwrap_or_else(PoisonError::into_inner);
            let id = ids.next(now, chance);
            let event = Event {
                id,
                event_type: new.event_type,
                content_type: new.content_type,
                scan_ref: new.scan_ref,
                references: new.references,
                token: new.token,
                idempotency,
                trace: new.trace,
            };
            (id, self.shared.journal.append(Record::Event { event, targets, skipped, payload: new.payload })?)
        };
        let committed = self.settle(ticket.await)?;
        Ok((Accepted { id, deliveries, duplicate: false }, committed.sequence))
    }
}

/// Gives a claimed key back when its event is not accepted, also when the poster has gone away.
struct ReleaseOnDrop<'a> {
    keys: &'a RecentKeys,
    token: &'a str,
    key: &'a str,
    fate: Option<tokio::sync::watch::Sender<Fate>>,
}

impl ReleaseOnDrop<'_> {
    fn keep(mut self, id: EventId) {
        if let Some(fate) = self.fate.take() {
            fate.send_replace(Fate::Accepted(id));
        }
    }
}

impl Drop for ReleaseOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(fate) = self.fate.take() {
            self.keys.release(self.token, self.key);
            fate.send_replace(Fate::Refused);
        }
    }
}

fn digest_of(new: &NewEvent) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(new.event_type.as_bytes());
    hash.update([0]);
    hash.update(&new.payload);
    let whole: [u8; 32] = hash.finalize().into();
    let mut cut = [0; 16];
    cut.copy_from_slice(&whole[..16]);
    cut
}
