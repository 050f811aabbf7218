//! Journal and index behind the few verbs the rest uses: accept, record, change, configure, find.
//!
//! Decides nothing about deliveries (`domain::delivery` does) and sends nothing. Its invariant:
//! what a verb has returned `Ok` for is on stable storage; what is only in the index is never
//! taken for true.

mod applier;
mod config;
mod idempotency;
mod retention;

pub use applier::IndexState;
pub use config::{Config, LoadError, Token};
pub use retention::Expired;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::domain::delivery::Delivery;
use crate::domain::event::{Event, Idempotency, Location};
use crate::domain::id::{DeliveryId, EventId, EventIds, WebhookId};
use crate::domain::references::References;
use crate::domain::time::Timestamp;
use crate::domain::webhook::Webhook;
use crate::index::{Index, IndexError, Pending};
use crate::journal::{
    AttemptRecord, ChangeRecord, Collection, Committed, Committer, ConfigRecord, Disk, Journal, JournalError, Options,
    Record, RecoveryReport, Sink,
};
use crate::random::Random;
use crate::secrets::Sealer;
use applier::{Applier, Feed, Slot};
use idempotency::{Claim, Fate, RecentKeys};

/// What a caller of the store can react to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal failed; the daemon has to start anew.
    #[error("{0}")]
    Failed(String),
    /// The disk is full, or below its floor.
    #[error("there is too little room on the disk")]
    Full,
    /// Too much waits to be written; try again shortly.
    #[error("the journal is behind; try again shortly")]
    Busy,
    /// The index can not answer now, and why.
    #[error("{0}")]
    IndexAway(String),
    /// The idempotency key was used for something else; with that event's id.
    #[error("this idempotency key was used for another body (event {0})")]
    KeyReused(EventId),
    /// Reading failed.
    #[error("{0}")]
    Io(String),
    /// The record does not check out.
    #[error("the stored event is damaged")]
    Damaged,
    /// What was asked for is not there, or no longer.
    #[error("it is not, or no longer, in the store")]
    Gone,
}

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Full => Self::Full,
            JournalError::Failed(_) => Self::Failed(error.to_string()),
            JournalError::Busy(_) => Self::Busy,
            JournalError::Damaged(_) => Self::Damaged,
            JournalError::Gone(_) => Self::Gone,
            JournalError::Io { .. } | JournalError::TooLong(_) => Self::Io(error.to_string()),
        }
    }
}

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
}

/// The answer to an accepted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: EventId,
    /// How many webhooks get it; for a duplicate, how many got the first.
    pub deliveries: usize,
    /// The same thing was posted before.
    pub duplicate: bool,
}

/// Something the dispatcher has to know, in the order it happened.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// An event was accepted: one delivery for each webhook, in ordinal order.
    Accepted {
        /// Its record.
        location: Location,
        /// The event.
        event: EventId,
        /// Where it goes.
        webhooks: Vec<WebhookId>,
    },
    /// What was pending at the start.
    Restored(Vec<Pending>),
}

/// What waits for the dispatcher.
#[derive(Debug, Default)]
pub struct Arrivals {
    waiting: Mutex<Vec<Arrival>>,
    restored: AtomicBool,
    /// Something arrived, or the configuration changed.
    pub wake: Notify,
}

impl Arrivals {
    fn push(&self, arrivals: impl IntoIterator<Item = Arrival>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(arrivals);
        self.wake.notify_one();
    }

    fn restored(&self, pending: Vec<Pending>) {
        self.push([Arrival::Restored(pending)]);
        self.restored.store(true, Ordering::Release);
    }

    /// Takes everything that waits.
    #[must_use]
    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether what was pending at the start has been handed over.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Acquire)
    }
}

struct Publisher {
    arrivals: Arc<Arrivals>,
    feed: Feed,
}

impl Sink for Publisher {
    fn committed(&mut self, records: &[Committed]) {
        self.feed.send(records);
        let accepted = records.iter().filter_map(|one| match &*one.record {
            Record::Event { event, targets, .. } if !targets.is_empty() => Some(Arrival::Accepted {
                location: one.location,
                event: event.id,
                webhooks: targets.iter().map(|target| target.webhook).collect(),
            }),
            _ => None,
        });
        let accepted: Vec<Arrival> = accepted.collect();
        if !accepted.is_empty() {
            self.arrivals.push(accepted);
        }
    }
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The folder of the journal; it exists and is ours alone.
    pub directory: PathBuf,
    /// The folder of the index; made when it is not there.
    pub index_directory: PathBuf,
    /// How the journal is kept.
    pub journal: Options,
    /// sled's cache; about three times as much memory is used.
    pub index_cache_bytes: u64,
}

/// The work that goes on behind a store; has to be run for anything to happen.
#[derive(Debug)]
pub struct Workers {
    committer: Committer,
    applier: Applier,
    arrivals: Arc<Arrivals>,
    feed: Feed,
}

impl Workers {
    /// Runs on two threads of its own until every handle of the store is gone, and gives their
    /// handles back to wait for.
    ///
    /// # Errors
    /// When the system has no threads.
    pub fn spawn_threads(self) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
        let publisher = Publisher { arrivals: self.arrivals, feed: self.feed };
        let (committer, applier) = (self.committer, self.applier);
        Ok(vec![
            spawn_thread("journal", async move { committer.run(publisher).await })?,
            spawn_thread("index", async move { applier.run().await })?,
        ])
    }

    /// Runs as tasks of the current runtime, for simulations under paused time.
    #[must_use]
    pub fn spawn_tasks(self) -> Vec<tokio::task::JoinHandle<()>> {
        let publisher = Publisher { arrivals: self.arrivals, feed: self.feed };
        vec![tokio::spawn(self.committer.run(publisher)), tokio::spawn(self.applier.run())]
    }
}

/// A thread that may block on the disk, with a runtime of its own for timers and queues.
fn spawn_thread(
    name: &str,
    work: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name(format!("postrider-{name}")).spawn(move || runtime.block_on(work))
}

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<StoreShared>,
}

#[derive(Debug)]
struct StoreShared {
    journal: Journal,
    slot: Arc<Slot>,
    arrivals: Arc<Arrivals>,
    config: ArcSwap<Config>,
    /// One configuration change at a time.
    changing: tokio::sync::Mutex<()>,
    ids: Mutex<EventIds>,
    recent_keys: RecentKeys,
    sealer: Sealer,
    clock: Clock,
    random: Random,
    /// Too little room: nothing new is accepted.
    below_floor: AtomicBool,
    report: RecoveryReport,
}

impl Store {
    /// The longest that a search waits for what was just committed.
    const FRESHNESS_WAIT_MAX: Duration = Duration::from_secs(5);

    /// Opens journal and configuration. Searching becomes possible when the workers have brought
    /// the index in step.
    ///
    /// # Errors
    /// When the journal can not be read, or the configuration in it not be understood.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: StoreOptions,
        sealer: Sealer,
        clock: Clock,
        random: Random,
    ) -> Result<(Self, Workers), OpenError> {
        let opened = Journal::open(disk, options.directory.join("journal"), clock, options.journal)?;
        let config = Config::load(&opened.image, &sealer)?;
        let slot = Arc::new(Slot::new());
        let arrivals = Arc::new(Arrivals::default());
        let (sender, queue) = mpsc::unbounded_channel();
        let applier = Applier {
            journal: opened.journal.clone(),
            slot: Arc::clone(&slot),
            directory: options.index_directory,
            cache_bytes: options.index_cache_bytes,
            clock,
            queue,
            arrivals: Arc::clone(&arrivals),
            boundary: opened.journal.last_committed(),
            handed_over: false,
        };
        let feed = Feed { slot: Arc::clone(&slot), queue: sender };
        let workers = Workers { committer: opened.committer, applier, arrivals: Arc::clone(&arrivals), feed };
        let shared = StoreShared {
            journal: opened.journal,
            slot,
            arrivals,
            config: ArcSwap::from_pointee(config),
            changing: tokio::sync::Mutex::new(()),
            ids: Mutex::new(EventIds::default()),
            recent_keys: RecentKeys::default(),
            sealer,
            clock,
            random,
            below_floor: AtomicBool::new(false),
            report: opened.report,
        };
        Ok((Self { shared: Arc::new(shared) }, workers))
    }

    /// The journal, for what concerns it alone.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// What the start found in the journal.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.shared.report
    }

    /// What waits for the dispatcher.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        &self.shared.arrivals
    }

    /// What is configured now.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.shared.config.load_full()
    }

    /// The clock everything is dated by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Where chance comes from.
    #[must_use]
    pub fn random(&self) -> &Random {
        &self.shared.random
    }

    /// Tells whether there is room enough on the disk for new events.
    pub fn set_below_floor(&self, below: bool) {
        if self.shared.below_floor.swap(below, Ordering::Relaxed) != below {
            if below {
                tracing::error!("too little room on the disk: new events are refused");
            } else {
                tracing::info!("there is room on the disk again: new events are accepted");
            }
        }
    }

    /// Whether new events are refused for want of room.
    #[must_use]
    pub fn is_below_floor(&self) -> bool {
        self.shared.below_floor.load(Ordering::Relaxed)
    }

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
        let known = self.read_index(move |index| index.idempotency(&of_token, &of_key, now)).await?;
        if let Some((id, known_digest)) = known.filter(|(id, _)| now.since(id.created_at()) < Idempotency::WINDOW) {
            drop(claim);
            return self.duplicate(id, known_digest == digest).await;
        }
        let (accepted, sequence) = self.append_event(new, Some(Idempotency { key: key.clone(), digest })).await?;
        claim.keep(accepted.id);
        self.shared.recent_keys.accepted(&token, &key, sequence, self.shared.slot.applied());
        Ok(accepted)
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
        let id = self.shared.ids.lock().unwrap_or_else(PoisonError::into_inner).next(now, chance);
        let targets = self.shared.config.load().targets(&new.event_type).to_vec();
        let deliveries = targets.len();
        let event = Event {
            id,
            event_type: new.event_type,
            content_type: new.content_type,
            scan_ref: new.scan_ref,
            references: new.references,
            token: new.token,
            idempotency,
        };
        let ticket = self.shared.journal.append(Record::Event { event, targets, payload: new.payload })?;
        let committed = self.settle(ticket.await)?;
        Ok((Accepted { id, deliveries, duplicate: false }, committed.sequence))
    }

    fn settle(
        &self,
        answer: Result<Result<Committed, JournalError>, tokio::sync::oneshot::error::RecvError>,
    ) -> Result<Committed, StoreError> {
        match answer {
            Ok(result) => Ok(result?),
            Err(_) => {
                let why = self.shared.journal.failure().unwrap_or_else(|| "it was closed".into());
                Err(JournalError::Failed(why).into())
            }
        }
    }

    /// Notes an attempt. It has happened, so it is never refused; it is durable within 50 ms.
    pub fn record_attempt(&self, record: AttemptRecord) {
        if let Err(error) = self.shared.journal.append_fact(Record::Attempt(record)) {
            tracing::error!(%error, "an attempt could not be noted; it will be made again after the next start");
        }
    }

    /// Queues an operator's change of a delivery; await the answer to know that it is durable.
    ///
    /// # Errors
    /// `Failed`, `Full`, `Busy`: nothing was kept.
    pub fn change(
        &self,
        record: ChangeRecord,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + use<>, StoreError> {
        let ticket = self.shared.journal.append(Record::Change(record))?;
        let store = self.clone();
        Ok(async move { store.settle(ticket.await).map(|_| ()) })
    }

    /// Reads an event and its payload back. Does not block unless the event is cold.
    ///
    /// # Errors
    /// `Damaged`, `Gone`, `Io`.
    pub async fn read(&self, location: Location) -> Result<Arc<Record>, StoreError> {
        if let Some(record) = self.shared.journal.read_recent(location) {
            return Ok(record);
        }
        let journal = self.shared.journal.clone();
        blocking(move || journal.read(location)).await?.map_err(StoreError::from)
    }

    /// Changes a webhook: `change` gets the present configuration and says what to store.
    ///
    /// # Errors
    /// What `change` says, or that it could not be made durable.
    pub async fn change_webhook<E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Config) -> Result<Webhook, E>,
    ) -> Result<Arc<Webhook>, E> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let config = self.config();
        let webhook = Arc::new(change(&config)?);
        let record = ConfigRecord {
            collection: Collection::Webhook,
            key: Bytes::copy_from_slice(webhook.id.as_bytes()),
            version: webhook.version,
            at: webhook.updated_at,
            by: webhook.updated_by.clone(),
            body: Some(config::webhook_to_bytes(&webhook, &self.shared.sealer).into()),
        };
        self.append_config(record).await?;
        let mut webhooks = config.webhooks.clone();
        webhooks.insert(webhook.id, Arc::clone(&webhook));
        self.publish(&config, webhooks, config.tokens.clone());
        Ok(webhook)
    }

    /// Removes a deleted webhook for good.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn forget_webhook(&self, id: WebhookId, by: &str) -> Result<(), StoreError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let config = self.config();
        let mut webhooks = config.webhooks.clone();
        let Some(webhook) = webhooks.remove(&id) else { return Ok(()) };
        self.append_config(ConfigRecord {
            collection: Collection::Webhook,
            key: Bytes::copy_from_slice(id.as_bytes()),
            version: webhook.version + 1,
            at: self.shared.clock.now(),
            by: by.to_owned(),
            body: None,
        })
        .await?;
        self.publish(&config, webhooks, config.tokens.clone());
        Ok(())
    }

    /// Sets (`Some`) or removes an ingest token.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn change_token(&self, name: &str, token: Option<Token>, by: &str) -> Result<(), StoreError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let config = self.config();
        self.append_config(ConfigRecord {
            collection: Collection::Token,
            key: Bytes::copy_from_slice(name.as_bytes()),
            version: 1,
            at: self.shared.clock.now(),
            by: by.to_owned(),
            body: token.as_ref().map(|token| config::token_to_bytes(token).into()),
        })
        .await?;
        let mut tokens: BTreeMap<_, _> = config.tokens.clone();
        match token {
            Some(token) => tokens.insert(name.to_owned(), Arc::new(token)),
            None => tokens.remove(name),
        };
        self.publish(&config, config.webhooks.clone(), tokens);
        Ok(())
    }

    async fn append_config(&self, record: ConfigRecord) -> Result<(), StoreError> {
        let ticket = self.shared.journal.append(Record::Config(record))?;
        self.settle(ticket.await).map(|_| ())
    }

    fn publish(
        &self,
        before: &Config,
        webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
        tokens: BTreeMap<String, Arc<Token>>,
    ) {
        self.shared.config.store(Arc::new(Config::new(before.generation + 1, webhooks, tokens)));
        self.shared.arrivals.wake.notify_one();
    }

    /// A webhook as it was at a version.
    ///
    /// # Errors
    /// `IndexAway`.
    pub async fn webhook_version(&self, id: WebhookId, version: u32) -> Result<Option<Webhook>, StoreError> {
        if let Some(current) = self.config().webhooks.get(&id).filter(|webhook| webhook.version == version) {
            return Ok(Some(Webhook::clone(current)));
        }
        let bytes = self.read_index(move |index| index.webhook_version(id, version)).await?;
        Ok(bytes.and_then(|bytes| config::webhook_from_bytes(&bytes, &self.shared.sealer).ok()))
    }

    /// Where the index stands.
    #[must_use]
    pub fn index_state(&self) -> IndexState {
        self.shared.slot.state()
    }

    /// How often an index was moved aside since the start.
    #[must_use]
    pub fn index_rebuilds(&self) -> usize {
        self.shared.slot.rebuilt()
    }

    /// The sequence up to which the index is in step.
    #[must_use]
    pub fn index_position(&self) -> u64 {
        self.shared.slot.applied()
    }

    /// Searches the index, after everything that was done before the call is in it.
    ///
    /// # Errors
    /// `IndexAway`, `Failed`.
    pub async fn find<T: Send + 'static>(
        &self,
        search: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // After a failure the journal makes no progress; what is in the index can still be read.
        if self.shared.journal.failure().is_none() {
            let target = self.shared.journal.barrier().await?;
            let mut applied = self.shared.slot.watch_applied();
            let ready = |state: &IndexState| !matches!(state, IndexState::Ready(_));
            let caught_up = async {
                while *applied.borrow_and_update() < target && !ready(&self.shared.slot.state()) {
                    if applied.changed().await.is_err() {
                        return;
                    }
                }
            };
            let _ = tokio::time::timeout(Self::FRESHNESS_WAIT_MAX, caught_up).await;
        }
        self.read_index(search).await
    }

    /// Searches the index as it is.
    async fn read_index<T: Send + 'static>(
        &self,
        search: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let index = match self.shared.slot.state() {
            IndexState::Ready(index) => index,
            IndexState::Opening => return Err(StoreError::IndexAway("the index is being opened".to_owned())),
            IndexState::Rebuilding { done, total } => {
                let percent = done * 100 / total.max(1);
                return Err(StoreError::IndexAway(format!("the index is being built: {percent} % done")));
            }
            IndexState::Unavailable(why) => return Err(StoreError::IndexAway(why.to_string())),
        };
        let result = blocking(move || search(&index)).await?;
        result.map_err(|error| {
            if let IndexError::Damaged(why) = &error {
                self.shared.slot.report_damage(why);
            }
            StoreError::IndexAway(error.to_string())
        })
    }

    /// A delivery as it stands, for those who want to change it.
    ///
    /// # Errors
    /// `Gone`, `IndexAway`.
    pub async fn pending_of(&self, id: DeliveryId) -> Result<Pending, StoreError> {
        let found = self.find(move |index| index.delivery(id)).await?.ok_or(StoreError::Gone)?;
        let delivery: Delivery = found.delivery;
        Ok(Pending { id, webhook: found.webhook, location: found.event.location, delivery })
    }

    /// Where an event lies now; it moves when it is carried forward.
    ///
    /// # Errors
    /// `Gone`, `IndexAway`.
    pub async fn locate(&self, event: EventId) -> Result<Location, StoreError> {
        let found = self.read_index(move |index| index.event(event)).await?;
        found.map(|found| found.location).ok_or(StoreError::Gone)
    }

    /// When the oldest pending delivery was accepted, as far as the index knows.
    pub async fn oldest_pending(&self) -> Option<Timestamp> {
        self.read_index(Index::oldest_pending).await.ok().flatten()
    }

    /// The folder that journal and index are in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        let journal = self.shared.journal.directory();
        journal.parent().unwrap_or(journal)
    }
}

/// Why a store can not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal can not be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The configuration in it can not be understood.
    #[error(transparent)]
    Config(#[from] LoadError),
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Io(error.to_string()))
}
