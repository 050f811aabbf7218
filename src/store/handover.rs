//! What goes on behind the store: committed records are handed to the dispatcher and the index,
//! by workers on threads of their own.
//!
//! Nothing here decides or reads the disk. Invariant: the dispatcher hears of an event before the
//! application does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::applier::Applier;
use super::endings::Endings;
use super::intake::Intake;
use super::revisions::Revisions;
use super::slot::Feed;
use crate::domain::event::Location;
use crate::domain::id::{EventId, WebhookId};
use crate::index::Pending;
use crate::journal::{Committed, Committer, Record, Sink};

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
    /// Some of what was pending at the start, in order of acceptance.
    Restoring(Vec<Pending>),
    /// All that was pending at the start has come; once, also when it was nothing.
    Restored,
}

/// While so many parts of what was pending at the start wait for the dispatcher, it is not read on.
const RESTORING_MAX: usize = 8;

#[derive(Debug, Default)]
struct Waiting {
    arrivals: Vec<Arrival>,
    /// How many of them are parts of what was pending at the start.
    restoring: usize,
}

/// What waits for the dispatcher.
#[derive(Debug, Default)]
pub struct Arrivals {
    waiting: Mutex<Waiting>,
    /// It was taken.
    taken: Notify,
    restored: AtomicBool,
    /// Something arrived, or the configuration changed.
    pub wake: Notify,
}

impl Arrivals {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, arrivals: impl IntoIterator<Item = Arrival>) {
        self.waiting().arrivals.extend(arrivals);
        self.wake.notify_one();
    }

    pub(super) fn restoring(&self, pending: Vec<Pending>) {
        self.waiting().restoring += 1;
        self.push([Arrival::Restoring(pending)]);
    }

    /// Waits while much of what was pending at the start has not been taken. Millions at once would be in memory twice, and keep the
    /// dispatcher for seconds.
    pub(super) async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            if self.waiting().restoring < RESTORING_MAX {
                return;
            }
            taken.await;
        }
    }

    pub(super) fn restored(&self) {
        self.push([Arrival::Restored]);
        self.restored.store(true, Ordering::Release);
    }

    /// Takes everything that waits.
    #[must_use]
    pub fn take(&self) -> Vec<Arrival> {
        let Waiting { arrivals, restoring } = std::mem::take(&mut *self.waiting());
        if restoring > 0 {
            self.taken.notify_waiters();
        }
        arrivals
    }

    /// Whether what was pending at the start has been handed over.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.restored.load(Ordering::Acquire)
    }
}

pub(super) struct Publisher {
    arrivals: Arc<Arrivals>,
    endings: Arc<Endings>,
    revisions: Arc<Revisions>,
    intake: Arc<Intake>,
    feed: Feed,
}

impl Sink for Publisher {
    fn committed(&mut self, records: &[Committed]) {
        self.feed.send(records);
        self.endings.note(records);
        self.intake.committed(records);
        self.revisions.committed(records, self.feed.slot.is_ready());
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

/// The work that goes on behind a store; has to be run for anything to happen.
#[derive(Debug)]
pub struct Workers {
    pub(super) committer: Committer,
    pub(super) applier: Applier,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) endings: Arc<Endings>,
    pub(super) revisions: Arc<Revisions>,
    pub(super) intake: Arc<Intake>,
    pub(super) feed: Feed,
}

impl Workers {
    /// Runs on two threads of its own until every handle of the store is gone, and gives their
    /// handles back to wait for.
    ///
    /// # Errors
    /// When the system has no threads.
    pub fn spawn_threads(self) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
        let (committer, applier, publisher) = self.taken_apart();
        let committer = committer.answering_on(tokio::runtime::Handle::try_current().ok());
        Ok(vec![
            spawn_thread("journal", async move { committer.run(publisher).await })?,
            spawn_thread("index", async move { applier.run().await })?,
        ])
    }

    /// Runs as tasks of the current runtime, for simulations under paused time.
    #[must_use]
    pub fn spawn_tasks(self) -> Vec<tokio::task::JoinHandle<()>> {
        let (committer, applier, publisher) = self.taken_apart();
        vec![tokio::spawn(committer.run(publisher)), tokio::spawn(applier.run())]
    }

    pub(super) fn taken_apart(self) -> (Committer, Applier, Publisher) {
        let Self { committer, applier, arrivals, endings, revisions, intake, feed } = self;
        (committer, applier, Publisher { arrivals, endings, revisions, intake, feed })
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
