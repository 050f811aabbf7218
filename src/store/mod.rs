//! Journal and index behind the few verbs the rest uses: accept, record, change, configure, find.
//!
//! Decides nothing about deliveries (`domain::delivery` does) and sends nothing. Its invariant:
//! what a verb has returned `Ok` for is on stable storage; what is only in the index is never
//! taken for true.

mod accept;
mod applier;
mod changes;
mod config;
mod endings;
mod fold;
mod handover;
mod idempotency;
mod intake;
mod moment;
mod retention;
mod revisions;
mod sight;
mod slot;
mod stored;

pub use accept::{Accepted, NewEvent};
pub use config::{Config, LoadError, Targets, Token};
pub use endings::{Ended, Endings};
pub use handover::{Arrival, Arrivals, Workers};
pub use moment::Moment;
pub use retention::Expired;
pub use revisions::Changed;
pub use slot::IndexState;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::domain::audit::AuditRecord;
use crate::domain::delivery::Delivery;
use crate::domain::event::Location;
use crate::domain::id::{DeliveryId, EventId, EventIds, WebhookId};
use crate::domain::secret::Secret;
use crate::domain::webhook::Webhook;
use crate::index::{Index, IndexError, Pending};
use crate::journal::{
    AttemptRecord, ChangeRecord, Committed, Disk, Journal, JournalError, Options, Record, RecoveryReport, Ticket,
};
use crate::random::Random;
use crate::secrets::Sealer;
use applier::Applier;
use idempotency::RecentKeys;
use intake::Intake;
use revisions::Revisions;
use slot::{Feed, Slot};

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
    endings: Arc<Endings>,
    revisions: Arc<Revisions>,
    intake: Arc<Intake>,
    config: ArcSwap<Config>,
    /// One configuration change at a time.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Written to by whoever lets go of a day, read by whoever needs all of them.
    days_stay: Arc<tokio::sync::RwLock<()>>,
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
    /// The longest that a search waits for an index that is just being opened.
    const OPENING_WAIT_MAX: Duration = Duration::from_secs(2);
    /// The longest that an operator waits to hear that a change is durable.
    const CHANGE_WAIT_MAX: Duration = Duration::from_secs(10);

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
        let (revisions, intake) = (Arc::new(Revisions::new(clock.now())), Arc::new(Intake::new(clock)));
        let slot = Arc::new(Slot::new(Arc::clone(&revisions)));
        let arrivals = Arc::new(Arrivals::default());
        let endings = Arc::new(Endings::default());
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
            handed_up_to: None,
        };
        let feed = Feed { slot: Arc::clone(&slot), queue: sender };
        let workers = Workers {
            committer: opened.committer,
            applier,
            arrivals: Arc::clone(&arrivals),
            endings: Arc::clone(&endings),
            revisions: Arc::clone(&revisions),
            intake: Arc::clone(&intake),
            feed,
        };
        let shared = StoreShared {
            journal: opened.journal,
            slot,
            arrivals,
            endings,
            revisions,
            intake,
            config: ArcSwap::from_pointee(config),
            changing: Arc::default(),
            days_stay: Arc::default(),
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

    /// Seals a secret for a document that leaves the store, bound to the kind of field it is
    /// for. The same secret is sealed to the same text every time.
    #[must_use]
    pub fn seal_for_export(&self, kind: &str, secret: &Secret) -> String {
        self.shared.sealer.seal_same(&format!("export/{kind}"), secret)
    }

    /// Opens what [`Self::seal_for_export`] sealed.
    ///
    /// # Errors
    /// What to do about a text that was sealed with another master key or for another field.
    pub fn open_exported(&self, kind: &str, sealed: &str) -> Result<Secret, String> {
        self.shared.sealer.open(&format!("export/{kind}"), sealed).map_err(|_| {
            "can not be opened: it was sealed by a daemon with another master key, or for another field; \
             write the secret itself, or {\"file\": \"…\"}"
                .to_owned()
        })
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

    /// Notes what somebody did; await the answer to know that it is durable. It has happened, so it
    /// is never refused: on a full disk it becomes durable when there is room.
    ///
    /// # Errors
    /// `Full` when there is no room yet, `Failed`.
    pub fn audit(&self, record: AuditRecord) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let noted = self.shared.journal.append_awaited_fact(Record::Audit(record));
        let store = self.clone();
        async move { store.durable(noted?).await }
    }

    /// Waits until a fact is durable, but not for ever.
    async fn durable(&self, ticket: Ticket) -> Result<(), StoreError> {
        match tokio::time::timeout(Self::CHANGE_WAIT_MAX, ticket).await {
            Ok(answer) => self.settle(answer).map(|_| ()),
            Err(_) => Err(StoreError::Full),
        }
    }

    /// Notes an operator's change of a delivery, which is in force in the lanes already; await
    /// the answer to know that it is durable. On a full disk it becomes so when there is room.
    ///
    /// # Errors
    /// `Failed`: the daemon has to start anew, and it is as if nothing was asked.
    pub fn change(
        &self,
        record: ChangeRecord,
    ) -> Result<impl Future<Output = Result<(), StoreError>> + use<>, StoreError> {
        let ticket = self.shared.journal.append_awaited_fact(Record::Change(record))?;
        let store = self.clone();
        Ok(async move { store.durable(ticket).await })
    }

    /// Reads an event and its payload back. Does not block unless the event is cold.
    ///
    /// # Errors
    /// `Damaged`, `Gone`, `Io`.
    pub async fn read(&self, location: Location) -> Result<Arc<Record>, StoreError> {
        let journal = &self.shared.journal;
        if let Some(record) = journal.read_recent(location) {
            return Ok(record);
        }
        let _turn = journal.turn(location).await;
        if let Some(record) = journal.read_recent(location) {
            return Ok(record);
        }
        let journal = journal.clone();
        blocking(move || journal.read(location)).await?.map_err(StoreError::from)
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
        Ok(bytes.and_then(|bytes| stored::webhook_from_bytes(&bytes, &self.shared.sealer).ok()))
    }

    /// Searches the index for somebody who looks: what was just done is in it, unless the index
    /// is far behind.
    ///
    /// # Errors
    /// `IndexAway`, `Failed`.
    pub async fn look<T: Send + 'static>(
        &self,
        search: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match self.freshen().await {
            Ok(()) | Err(StoreError::IndexAway(_)) => self.read_index(search).await,
            Err(error) => Err(error),
        }
    }

    /// Waits until everything that was done before the call is in the index.
    async fn freshen(&self) -> Result<(), StoreError> {
        // After a failure the journal makes no progress; what is in the index can still be read.
        if self.shared.journal.failure().is_some() {
            return Ok(());
        }
        if matches!(self.shared.slot.state(), IndexState::Opening) {
            // Just started: it is there in a moment.
            self.ready_within(Self::OPENING_WAIT_MAX).await;
        }
        let target = self.shared.journal.barrier().await?;
        let mut applied = self.shared.slot.watch_applied();
        let caught_up = async {
            while *applied.borrow_and_update() < target && matches!(self.shared.slot.state(), IndexState::Ready(_)) {
                if applied.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(Self::FRESHNESS_WAIT_MAX, caught_up)
            .await
            .map_err(|_| StoreError::IndexAway("the index is behind; try again shortly".to_owned()))
    }

    /// Searches the index for somebody who acts on the answer: everything that was done before
    /// the call is in it.
    ///
    /// # Errors
    /// `IndexAway`, `Failed`.
    pub async fn find<T: Send + 'static>(
        &self,
        search: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.freshen().await?;
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
        if self.shared.journal.facts_wait() {
            // What happened to it last may not be known to the index.
            return Err(StoreError::Full);
        }
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Io(error.to_string()))
}
