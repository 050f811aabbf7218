//! Changes of many deliveries, one after the other at a rate: jobs, their progress, their end.
//!
//! What a resend or a withdrawal means is the dispatcher's to decide, and each is durable before
//! it counts as done; the job itself lives in memory and ends with the daemon. Invariants: a job
//! goes from newer to older deliveries only, so it changes none twice; it changes none of an event
//! that was accepted after it began; a delivery that no longer matches when its turn comes is left
//! alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::selection::Selection;
use crate::admin::protocol::JobView;
use crate::dispatch::Dispatcher;
use crate::domain::id::{DeliveryId, WebhookId, encode_opaque};
use crate::domain::time::Timestamp;
use crate::index::Page;
use crate::store::{Store, StoreError};

/// Jobs under way at once.
pub const RUNNING_MAX: usize = 4;
/// Jobs that are over and still shown.
const FINISHED_MAX: usize = 50;
/// Changes of one job that wait to be durable at once: the journal writes them as one group.
const UNDER_WAY_MAX: usize = 16;
/// Deliveries that are looked up at once.
const LOOKED_UP_MAX: usize = 100;
/// How long to wait when the journal or the index is behind.
const BEHIND_PAUSE: Duration = Duration::from_millis(200);
/// A job that was held up makes up for no more than this.
const CATCH_UP_MAX: Duration = Duration::from_millis(100);
/// How long somebody who stops a job waits for what it has under way.
const STOP_WAIT_MAX: Duration = Duration::from_secs(12);

/// What is done to each delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Another go.
    Resend,
    /// Gives up what is still to come.
    Cancel,
}

impl JobKind {
    /// The word that the outside world sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resend => "resend",
            Self::Cancel => "cancel",
        }
    }
}

/// What a job is to do.
#[derive(Clone, Debug)]
pub struct JobOrder {
    /// What is done to each.
    pub kind: JobKind,
    /// To which; what was accepted after the start does not count, whatever it says.
    pub selection: Selection,
    /// How many match, as far as they were counted.
    pub matched: u64,
    /// All were counted.
    pub complete: bool,
    /// Deliveries per second, at most; at least 1.
    pub rate_per_second: u32,
    /// Who asked for it.
    pub by: String,
}

/// The jobs of a daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    dispatcher: Dispatcher,
    /// Newest first.
    list: Mutex<VecDeque<Arc<Job>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Job {
    id: String,
    kind: JobKind,
    selection: Arc<Selection>,
    matched: u64,
    complete: bool,
    rate: u32,
    by: String,
    started_at: Timestamp,
    changed: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    stage: Mutex<Stage>,
    stop: CancellationToken,
    /// It has ended.
    over: CancellationToken,
}

/// What changes seldom.
#[derive(Clone, Debug, Default)]
struct Stage {
    finished_at: Option<Timestamp>,
    waits: Option<String>,
    error: Option<String>,
    stopped: bool,
}

/// What came of one delivery.
enum Change {
    Changed,
    Skipped,
    Failed,
}

/// Why nothing came of one delivery yet.
enum Hindrance {
    /// Nothing was asked for; it can be later.
    Behind(StoreError),
    /// The job is at its end.
    Fatal(StoreError),
}

impl Jobs {
    /// No jobs yet, for this store.
    #[must_use]
    pub fn new(store: Store, dispatcher: Dispatcher) -> Self {
        let (list, tasks, stop) = (Mutex::default(), TaskTracker::new(), CancellationToken::new());
        Self { shared: Arc::new(Shared { store, dispatcher, list, tasks, stop }) }
    }

    /// Starts a job; `None` when [`RUNNING_MAX`] are under way, or the daemon is stopping.
    #[must_use]
    pub fn start(&self, order: JobOrder) -> Option<JobView> {
        let shared = &self.shared;
        let now = shared.store.clock().now();
        let mut selection = order.selection;
        selection.query.until = Some(selection.query.until.map_or(now, |until| until.min(now)));
        let id = WebhookId::new(now, shared.store.random().bits());
        let job = Arc::new(Job {
            id: format!("job_{}", encode_opaque(id.as_bytes())),
            kind: order.kind,
            selection: Arc::new(selection),
            matched: order.matched,
            complete: order.complete,
            rate: order.rate_per_second.max(1),
            by: order.by,
            started_at: now,
            changed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            stage: Mutex::default(),
            stop: shared.stop.child_token(),
            over: CancellationToken::new(),
        });
        let mut list = shared.list();
        let running = list.iter().filter(|job| !job.over.is_cancelled()).count();
        if running >= RUNNING_MAX || shared.tasks.is_closed() {
            return None;
        }
        list.push_front(Arc::clone(&job));
        let mut finished = 0;
        list.retain(|job| {
            finished += usize::from(job.over.is_cancelled());
            !job.over.is_cancelled() || finished <= FINISHED_MAX
        });
        drop(list);
        tracing::info!(job = job.id, kind = job.kind.as_str(), by = job.by, matched = job.matched, "a job began");
        let view = job.view();
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let ending = Ending { job: &job, store: &shared.store };
            job.run(&shared).await;
            ending.in_order();
        });
        Some(view)
    }

    /// A job by its id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<JobView> {
        self.shared.find(id).map(|job| job.view())
    }

    /// All of them, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<JobView> {
        self.shared.list().iter().map(|job| job.view()).collect()
    }

    /// Stops a job and waits until what it has under way is done. One that is over stays as it is.
    pub async fn stop(&self, id: &str) -> Option<JobView> {
        let job = self.shared.find(id)?;
        job.stop.cancel();
        let _ = tokio::time::timeout(STOP_WAIT_MAX, job.over.cancelled()).await;
        Some(job.view())
    }

    /// Stops all of them for good; waits at most `patience`.
    pub async fn close(&self, patience: Duration) {
        self.shared.tasks.close();
        self.shared.stop.cancel();
        let _ = tokio::time::timeout(patience, self.shared.tasks.wait()).await;
    }
}

impl Shared {
    fn list(&self) -> MutexGuard<'_, VecDeque<Arc<Job>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.list().iter().find(|job| job.id == id).cloned()
    }
}

/// Marks a job as over however it ends, also by a bug that makes its task panic.
struct Ending<'a> {
    job: &'a Job,
    store: &'a Store,
}

impl Ending<'_> {
    fn in_order(self) {
        self.mark(None);
        std::mem::forget(self);
    }

    fn mark(&self, fault: Option<&str>) {
        let job = self.job;
        let mut stage = job.stage();
        stage.finished_at = Some(self.store.clock().now());
        stage.waits = None;
        stage.error = stage.error.take().or_else(|| fault.map(str::to_owned));
        drop(stage);
        job.over.cancel();
        let view = job.view();
        tracing::info!(job = job.id, state = view.state, changed = view.changed, skipped = view.skipped, "a job ended");
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.mark(Some("a fault in postrider; the log says more"));
    }
}

impl Job {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> JobView {
        let stage = self.stage().clone();
        let state = match &stage {
            Stage { finished_at: None, .. } => "running",
            Stage { error: Some(_), .. } => "failed",
            Stage { stopped: true, .. } => "stopped",
            _ => "done",
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (changed, skipped, failed) = (count(&self.changed), count(&self.skipped), count(&self.failed));
        JobView {
            id: self.id.clone(),
            kind: self.kind.as_str().to_owned(),
            state: state.to_owned(),
            matched: self.matched,
            complete: self.complete,
            done: changed + skipped + failed,
            changed,
            skipped,
            failed,
            rate_per_second: self.rate,
            started_at: self.started_at.to_string(),
            finished_at: stage.finished_at.map(|at| at.to_string()),
            by: self.by.clone(),
            waits: stage.waits,
            error: stage.error,
        }
    }

    /// Goes through all of them, and ends when everything it asked for is durable or has failed.
    async fn run(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut under_way = JoinSet::new();
        let (mut before, mut last) = (None, None);
        let mut pace = Pace::new(self.rate, shared.store.clock().elapsed());
        while let Some(page) = self.page(shared, before).await {
            for id in page.rows {
                // Whatever a cursor may do: never back, so never twice.
                if last.is_some_and(|last| id >= last) {
                    continue;
                }
                last = Some(id);
                let pause = pace.next(shared.store.clock().elapsed());
                if !self.pause(pause).await {
                    break;
                }
                if under_way.len() >= UNDER_WAY_MAX {
                    self.landed(under_way.join_next().await);
                }
                let (job, shared) = (Arc::clone(self), Arc::clone(shared));
                under_way.spawn(async move { job.one(&shared, id).await });
            }
            before = page.next;
            if before.is_none() {
                break;
            }
            if self.stop.is_cancelled() {
                self.stage().stopped = true;
                break;
            }
        }
        while let Some(landed) = under_way.join_next().await {
            self.landed(Some(landed));
        }
    }

    /// A bug in one change is that delivery's failure, not the job's.
    fn landed(&self, landed: Option<Result<(), tokio::task::JoinError>>) {
        if landed.is_some_and(|landed| landed.is_err()) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits; `false` when the job is stopped meanwhile.
    async fn pause(&self, pause: Duration) -> bool {
        let going = self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some();
        if !going || self.stop.is_cancelled() {
            self.stage().stopped = true;
            return false;
        }
        true
    }

    /// The next deliveries, when they can be had; `None` at the job's end.
    async fn page(&self, shared: &Shared, before: Option<DeliveryId>) -> Option<Page<DeliveryId>> {
        loop {
            match self.selection.page(&shared.store, before, LOOKED_UP_MAX).await {
                Ok(page) => return Some(page),
                Err(error) => {
                    if !self.hindered(hindrance(error)).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Waits for what hinders it; `false` when the job is at its end.
    async fn hindered(&self, hindrance: Hindrance) -> bool {
        match hindrance {
            Hindrance::Behind(error) => {
                self.stage().waits = Some(error.to_string());
                self.pause(BEHIND_PAUSE).await
            }
            Hindrance::Fatal(error) => {
                self.stage().error = Some(error.to_string());
                self.stop.cancel();
                false
            }
        }
    }

    /// Changes one delivery, as soon as that is possible.
    async fn one(&self, shared: &Shared, id: DeliveryId) {
        loop {
            match self.change(shared, id).await {
                Ok(change) => {
                    let counter = match change {
                        Change::Changed => &self.changed,
                        Change::Skipped => &self.skipped,
                        Change::Failed => &self.failed,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    self.stage().waits = None;
                    return;
                }
                Err(hindrance) => {
                    if !self.hindered(hindrance).await {
                        return;
                    }
                }
            }
        }
    }

    async fn change(&self, shared: &Shared, id: DeliveryId) -> Result<Change, Hindrance> {
        let (store, dispatcher) = (&shared.store, &shared.dispatcher);
        if store.journal().facts_wait() {
            return Err(Hindrance::Behind(StoreError::Full));
        }
        // Its page may be some time ago.
        let found = store.find(move |index| index.delivery(id)).await.map_err(hindrance)?;
        let Some(found) = found.filter(|found| self.selection.matches(found)) else { return Ok(Change::Skipped) };
        if !store.config().webhooks.get(&found.webhook).is_some_and(|webhook| webhook.exists()) {
            return Ok(Change::Skipped);
        }
        let asked = match self.kind {
            JobKind::Resend => dispatcher.resend(id, &self.by).await.map(|()| true),
            JobKind::Cancel => dispatcher.cancel(id, &self.by).await,
        };
        match asked {
            Ok(true) => Ok(Change::Changed),
            Ok(false) | Err(StoreError::Gone) => Ok(Change::Skipped),
            // Both are told before anything was decided.
            Err(error @ (StoreError::Busy | StoreError::IndexAway(_))) => Err(Hindrance::Behind(error)),
            Err(error @ StoreError::Failed(_)) => Err(Hindrance::Fatal(error)),
            Err(error) => {
                // It may be in force and only wait for room: asking again could send it twice.
                tracing::warn!(job = self.id, delivery = %id, %error, "a delivery of a job is not known to be changed");
                Ok(Change::Failed)
            }
        }
    }
}

/// What an error of a search means to a job.
fn hindrance(error: StoreError) -> Hindrance {
    match error {
        StoreError::Busy | StoreError::IndexAway(_) | StoreError::Full => Hindrance::Behind(error),
        error => Hindrance::Fatal(error),
    }
}

/// Spreads deliveries evenly over time.
struct Pace {
    step: Duration,
    next: Duration,
}

impl Pace {
    fn new(rate: u32, now: Duration) -> Self {
        Self { step: Duration::from_secs(1) / rate, next: now }
    }

    /// How long to wait for the next turn. What was missed is made up for in part only.
    fn next(&mut self, now: Duration) -> Duration {
        let turn = self.next.max(now.saturating_sub(CATCH_UP_MAX));
        self.next = turn + self.step;
        turn.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_evenly_and_what_was_missed_is_not_made_up_for_in_a_burst() {
        let at = Duration::from_millis;
        let mut pace = Pace::new(50, at(0));
        assert_eq!([pace.next(at(0)), pace.next(at(0)), pace.next(at(30))], [at(0), at(20), at(10)]);
        // Held up for ten seconds: five turns of 20 ms at once, then evenly again.
        let waits: Vec<Duration> = (0..8).map(|_| pace.next(at(10_000))).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 20, 40].map(at));
    }
}
