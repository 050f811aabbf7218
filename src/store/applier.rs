//! Keeps the index in step with the journal, on a thread of its own.
//!
//! It opens the index, or moves a bad one aside and builds a new one; applies the journal up to
//! where it was at the start and hands what was pending then to the dispatcher; and from there on
//! applies what is committed. When it falls behind it reads the journal again instead of holding
//! what it missed. The index being away never stops delivery, nor acceptance but of keyed posts: whether
//! their key was used is for the index to say, which knows the keys before it is in step.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::revisions::concerns_deliveries;
use super::slot::{GATHER, IndexState, Slot};
use super::{Arrivals, fold};
use crate::clock::Clock;
use crate::domain::attempt::Attempt;
use crate::domain::delivery::Delivery;
use crate::domain::id::{DeliveryId, WebhookId};
use crate::index::{self, Batch, Index, IndexError, Pending, session};
use crate::journal::{Collection, Committed, Journal, JournalError, Record};

/// The applier's own state.
#[derive(Debug)]
pub(super) struct Applier {
    pub(super) journal: Journal,
    pub(super) slot: Arc<Slot>,
    pub(super) directory: PathBuf,
    pub(super) cache_bytes: u64,
    pub(super) clock: Clock,
    pub(super) queue: mpsc::UnboundedReceiver<Vec<Committed>>,
    pub(super) arrivals: Arc<Arrivals>,
    /// The last sequence at the start: what was pending then has to be handed over once.
    pub(super) boundary: u64,
    pub(super) handed_over: bool,
    /// The last of those that were, while it is not over.
    pub(super) handed_up_to: Option<DeliveryId>,
}

/// How often an index that could not be had is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// Records to apply from which on nobody waits for the index who can do without.
const LONG_REBUILD: u64 = 50_000;
/// How many records are read in the time that one is applied, at the least.
const READ_PER_APPLIED: u64 = 3;
/// Deliveries that are handed over at a time.
const HANDED_OVER_AT_ONCE: usize = 1024;
/// How often it is looked, while the dispatcher takes nothing, whether the store was closed.
const LOOK_UP: Duration = Duration::from_millis(100);
/// Facts of one write.
const BATCH_MAX: usize = 4096;

#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Applier {
    /// Runs until the store is closed.
    pub(super) async fn run(mut self) {
        loop {
            match self.open() {
                Ok(index) => {
                    let index = Arc::new(index);
                    match self.follow(&index).await {
                        Ok(()) => {
                            self.close(index).await;
                            return;
                        }
                        Err(_) if self.queue.is_closed() => {
                            tracing::info!("the index is not in step yet; the next start goes on with it");
                            self.slot.set(IndexState::Unavailable("the store is closed".into()));
                            return;
                        }
                        Err(error) => self.give_up(index, &error).await,
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the index can not be opened; it is tried again");
                    self.slot.set(IndexState::Unavailable(error.to_string().into()));
                }
            }
            if self.queue.is_closed() {
                return;
            }
            self.hand_over_without_index(|_| {}).await;
            if self.wait_before_retry().await.is_err() {
                return;
            }
        }
    }

    /// Opens the index; a bad one is moved aside and begun anew.
    fn open(&mut self) -> Result<Index, ApplyError> {
        self.slot.set(IndexState::Opening);
        if !session::begin(&self.directory) && self.directory.exists() {
            tracing::warn!("the index was in use when the machine went down: it is built anew");
            self.slot.rebuilt.fetch_add(1, Ordering::Relaxed);
            std::fs::remove_dir_all(&self.directory).map_err(|error| IndexError::Io(error.to_string()))?;
        }
        let opened = Index::open(&self.directory, self.cache_bytes).and_then(|index| {
            let (position, last) = (index.position(), self.journal.last_committed());
            if position > last {
                return Err(IndexError::Damaged(format!("it is at {position}, the journal at {last}")));
            }
            Ok(index)
        });
        match opened {
            Err(IndexError::Damaged(why)) => {
                self.move_aside(&why);
                Ok(Index::open(&self.directory, self.cache_bytes)?)
            }
            other => Ok(other?),
        }
    }

    fn move_aside(&self, why: &str) {
        self.slot.rebuilt.fetch_add(1, Ordering::Relaxed);
        match index::move_aside(&self.directory, self.clock.now()) {
            Ok(path) => tracing::error!(why, to = %path.display(), "the index was moved aside and is built anew"),
            Err(error) => tracing::error!(why, %error, "the damaged index could not be moved aside"),
        }
    }

    /// Catches up, hands over what was pending, and follows the journal.
    async fn follow(&mut self, index: &Arc<Index>) -> Result<(), ApplyError> {
        // What an index before this one had counts no more.
        self.slot.applied.send_replace(index.position());
        if self.journal.last_committed().saturating_sub(index.position()) > LONG_REBUILD {
            self.look_ahead(index).await?;
        }
        self.catch_up(index, self.boundary)?;
        if !self.handed_over {
            let (mut last, mut count) = (None, 0);
            loop {
                let part = index.pending_after(last, HANDED_OVER_AT_ONCE)?;
                let Some(one) = part.last() else { break };
                last = Some(one.id);
                count += part.len();
                self.hand_over(part).await?;
            }
            tracing::info!(pending = count, "the index is in step with the journal");
            self.all_handed_over();
        }
        self.catch_up(index, self.journal.last_committed())?;
        self.slot.set(IndexState::Ready(Arc::clone(index)));
        while let Some(records) = self.gather().await {
            if let Some(why) = self.slot.take_damage() {
                return Err(IndexError::Damaged(why.to_string()).into());
            }
            let before = self.slot.applied();
            self.apply_live(index, &records)?;
            let (applied, told) = (self.slot.applied().saturating_sub(before), records.len() as u64);
            // Of what was read from the journal instead nothing is known here.
            if applied > told || applied > 0 && records.iter().any(|one| concerns_deliveries(&one.record)) {
                self.slot.revisions.deliveries_changed();
            }
        }
        // The store closes: what is committed by now is applied, so that the next start is quick.
        self.catch_up(index, self.journal.last_committed())
    }

    /// Reads what the index does not have yet, and does at once what can be done without it: keys that were used are known, and,
    /// where to apply it all takes longer than to read the whole journal, deliveries go on.
    async fn look_ahead(&mut self, index: &Arc<Index>) -> Result<(), ApplyError> {
        let (position, last) = (index.position(), self.journal.last_committed());
        let note = |one: &Committed| {
            if let Record::Event { event, .. } = &*one.record {
                index.note_key(event);
            }
        };
        let oldest = self.journal.segments().first_key_value().map_or(0, |(first, _)| *first);
        let mut from = position + 1;
        if !self.handed_over && (last - position).saturating_mul(READ_PER_APPLIED) > last - oldest.min(last) {
            if !self.hand_over_without_index(note).await {
                return Ok(());
            }
            from = self.boundary + 1;
        }
        self.journal.replay(from, last, |one| -> Result<(), ApplyError> {
            note(&one);
            Ok(())
        })?;
        self.slot.keys_are_known(index);
        Ok(())
    }

    /// Waits for committed records, a little longer for more of them; `None` when there will be none.
    async fn gather(&mut self) -> Option<Vec<Committed>> {
        let mut records = tokio::select! {
            first = self.queue.recv() => first?,
            () = self.slot.hurry.notified() => Vec::new(),
        };
        // Whoever is in a hurry has waited for the commit already.
        if !records.is_empty() {
            let since = Instant::now();
            *self.slot.gathering() = Some(since);
            tokio::select! {
                () = self.slot.hurry.notified() => {}
                () = tokio::time::sleep_until(since + GATHER) => {}
            }
            *self.slot.gathering() = None;
        }
        while let Ok(more) = self.queue.try_recv() {
            records.extend(more);
        }
        self.slot.queued.store(0, Ordering::Relaxed);
        Some(records)
    }

    fn apply_live(&mut self, index: &Index, records: &[Committed]) -> Result<(), ApplyError> {
        let position = self.slot.applied();
        let mut fresh = records.iter().skip_while(|one| one.sequence <= position).peekable();
        if let Some(first) = fresh.peek()
            && first.sequence > position + 1
        {
            self.catch_up(index, first.sequence - 1)?;
        }
        let mut batch = index.batch(false);
        let mut last = self.slot.applied();
        for one in fresh {
            if one.sequence != last + 1 {
                // A stretch in the middle was left to the journal.
                batch.commit(Some(last))?;
                self.slot.applied.send_replace(last);
                return self.catch_up(index, self.journal.last_committed());
            }
            apply(&mut batch, one)?;
            last = one.sequence;
            if batch.len() >= BATCH_MAX {
                std::mem::replace(&mut batch, index.batch(false)).commit(Some(last))?;
                self.slot.applied.send_replace(last);
            }
        }
        if !batch.is_empty() {
            batch.commit(Some(last))?;
        }
        self.slot.applied.send_replace(last);
        // Nothing waits, and yet the journal is ahead: records were left to it.
        if self.slot.queued.load(Ordering::Relaxed) == 0 && self.queue.is_empty() {
            self.catch_up(index, self.journal.last_committed())?;
        }
        Ok(())
    }

    /// Applies the journal from the index's position up to `target`.
    fn catch_up(&self, index: &Index, target: u64) -> Result<(), ApplyError> {
        let from = index.position();
        if from >= target {
            self.slot.applied.send_replace(from);
            return Ok(());
        }
        let announce = target - from > BATCH_MAX as u64;
        let mut batch = Some(index.batch(true));
        let mut last = from;
        self.journal.replay(from + 1, target, |one| -> Result<(), ApplyError> {
            let Some(current) = batch.as_mut() else { return Ok(()) };
            apply(current, &one)?;
            last = one.sequence;
            if current.len() >= BATCH_MAX
                && let Some(full) = batch.replace(index.batch(true))
            {
                full.commit(Some(last))?;
                self.slot.applied.send_replace(last);
                if self.queue.is_closed() {
                    // A stop does not wait for a long rebuild; the next start goes on with it.
                    return Err(closed().into());
                }
                if announce && !matches!(self.slot.state(), IndexState::Ready(_)) {
                    self.slot.set(IndexState::Rebuilding { done: last - from, total: target - from });
                }
            }
            Ok(())
        })?;
        if let Some(rest) = batch {
            // Sequences without a record were damaged or have expired.
            rest.commit(Some(target))?;
        }
        self.slot.applied.send_replace(target);
        Ok(())
    }

    /// Closes the index, so that the next start can trust it.
    async fn close(&self, index: Arc<Index>) {
        let flushed = index.flush();
        self.let_go(index, "the store is closed").await;
        let settled = flushed.and_then(|()| Index::settle(&self.directory, self.cache_bytes));
        let noted = settled.map_err(|error| std::io::Error::other(error.to_string()));
        if let Err(error) = noted.and_then(|()| session::end(&self.directory)) {
            tracing::warn!(%error, "the index was not closed in good order; it may be built anew at the next start");
        }
    }

    /// Waits until the last search has let go of the index, and with it sled of its lock.
    async fn let_go(&self, index: Arc<Index>, why: &str) {
        self.slot.set(IndexState::Unavailable(why.into()));
        for _ in 0..100 {
            if Arc::strong_count(&index) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets go of an index that failed.
    async fn give_up(&self, index: Arc<Index>, error: &ApplyError) {
        tracing::error!(%error, "the index failed");
        self.let_go(index, &error.to_string()).await;
        if let ApplyError::Index(IndexError::Damaged(why)) = error {
            self.move_aside(why);
        }
    }

    /// Deliveries must not wait for an index that can not be had: what is pending is worked out
    /// from the journal alone. `each` sees every record on the way; whether all was done is told.
    async fn hand_over_without_index(&mut self, each: impl Fn(&Committed)) -> bool {
        if self.handed_over {
            return false;
        }
        let (count, mut pending) = match fold::pending(&self.journal, self.boundary, &each) {
            Ok(pending) => pending,
            Err(error) => {
                tracing::error!(%error, "what is pending could not be read from the journal; it is tried again");
                return false;
            }
        };
        tracing::warn!(pending = count, "delivering before the index is in step");
        loop {
            let part: Vec<Pending> = pending.by_ref().take(HANDED_OVER_AT_ONCE).collect();
            if part.is_empty() {
                break;
            }
            if self.hand_over(part).await.is_err() {
                return false;
            }
        }
        self.all_handed_over();
        true
    }

    /// Hands deliveries that were pending at the start over to the dispatcher, as fast as it takes them. They come in order, so after
    /// an index that failed half way it goes on where that was. `Err` when the store was closed meanwhile.
    async fn hand_over(&mut self, mut part: Vec<Pending>) -> Result<(), JournalError> {
        if let Some(last) = self.handed_up_to {
            part.retain(|one| one.id > last);
        }
        let Some(last) = part.last() else { return Ok(()) };
        self.handed_up_to = Some(last.id);
        self.arrivals.restoring(part);
        while tokio::time::timeout(LOOK_UP, self.arrivals.room()).await.is_err() {
            if self.queue.is_closed() {
                return Err(closed());
            }
        }
        Ok(())
    }

    fn all_handed_over(&mut self) {
        self.arrivals.restored();
        self.handed_over = true;
    }

    /// `Err` when the store was closed meanwhile.
    async fn wait_before_retry(&mut self) -> Result<(), ()> {
        let until = Instant::now() + RETRY_EVERY;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                records = self.queue.recv() => match records {
                    // Left to the journal.
                    Some(_) => self.slot.queued.store(0, Ordering::Relaxed),
                    None => return Err(()),
                },
            }
        }
    }
}

fn closed() -> JournalError {
    JournalError::Failed("the store is closed".into())
}

fn apply(batch: &mut Batch<'_>, one: &Committed) -> Result<(), IndexError> {
    match &*one.record {
        Record::Event { event, targets, skipped, payload } => {
            let [targets, skipped] = [targets, skipped]
                .map(|list| list.iter().map(|to| (to.webhook, to.version)).collect::<Vec<(WebhookId, u32)>>());
            batch.accepted(event, &targets, &skipped, one.location, payload.len());
        }
        Record::Attempt(record) => {
            batch.attempted(record.id, record.target.version, &record.attempt, &record.delivery)?;
        }
        Record::Change(record) => batch.changed(record.id, &record.delivery)?,
        Record::Config(record) => {
            let webhook = <[u8; 16]>::try_from(&*record.key).map(WebhookId::from_bytes);
            if let (Collection::Webhook, Ok(webhook), Some(body)) = (record.collection, webhook, &record.body) {
                batch.webhook_version(webhook, record.version, body);
            }
        }
        Record::Snapshot { image, .. } => {
            // Versions set in a folder that has expired are known from here.
            for ((collection, key), (version, body)) in &image.entries {
                let webhook = <[u8; 16]>::try_from(&**key).map(WebhookId::from_bytes);
                if let (Collection::Webhook, Ok(webhook)) = (collection, webhook) {
                    batch.webhook_version(webhook, *version, body);
                }
            }
        }
        Record::Carry { event, deliveries, payload } => {
            let deliveries: Vec<((WebhookId, u32), Delivery, &[Attempt])> = deliveries
                .iter()
                .map(|one| ((one.target.webhook, one.target.version), one.delivery, &one.attempts[..]))
                .collect();
            batch.carried(event, &deliveries, one.location, payload.len())?;
        }
        Record::Audit(record) => batch.audited(record, one.sequence),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
