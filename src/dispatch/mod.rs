//! Sends what is due, and notes what came of it.
//!
//! The loop never acts on what woke it: it takes what arrived, asks the lanes what is due, and
//! starts as many attempts as they allow. An attempt that ends is settled and noted in one step
//! under one lock, so the journal has changes of a delivery in the order they were decided; the
//! task that made it goes on with the next due delivery, whosoever it is.
//!
//! It does not decide when to retry (`domain`), which addresses may be dialled (`egress`), or
//! what is durable (`store`).

mod aftermath;
mod attempt;
mod lanes;
mod oauth;
mod rate;
mod rehearsal;
mod seat;
mod sight;
mod tally;
mod withdraw;

pub use crate::domain::time::Now;
pub use attempt::{Place, Prepared, WireNames};
pub use lanes::{Hold, Job, LanePolicy, LaneStatus, Lanes, Settled, Standing};
pub use oauth::{AccessToken, OAuthFailure, Tokens, read_answer};
pub use rehearsal::{Rehearsal, State as StepState, Step, Trial, rehearse};
pub use tally::Last;
pub use withdraw::pending_of_webhook;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::domain::attempt::{Attempt, ErrorKind, Outcome};
use crate::domain::id::{DeliveryId, WebhookId};
use crate::domain::webhook::Webhook;
use crate::egress::{Request, Slot, Transport};
use crate::journal::{AttemptRecord, ChangeCause, ChangeRecord, Record, Target};
use crate::random::Random;
use crate::spans::Spans;
use crate::store::{Arrival, Config, Store, StoreError};
use aftermath::Tale;
use attempt::trace_headers;
use seat::Seat;
use tally::Tally;

/// How the dispatcher works.
#[derive(Clone, Debug)]
pub struct DispatchOptions {
    /// The most exchanges under way in all.
    pub in_flight_max: usize,
    /// Header names and values that the configuration may change.
    pub names: WireNames,
}

/// The dispatcher. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    /// Sends, with an access token where a webhook asks for one.
    tokens: Tokens,
    clock: Clock,
    random: Random,
    spans: Spans,
    names: ArcSwap<WireNames>,
    lanes: Mutex<Lanes>,
    prepared: ArcSwap<PreparedWebhooks>,
    tasks: TaskTracker,
    /// Attempts under way end at once; their connections close.
    abandon: CancellationToken,
    stopping: AtomicBool,
    /// Something earlier than the loop sleeps for became due, or a place is free.
    recheck: Notify,
    /// A place is free, and somebody may wait to have his back.
    place_freed: Notify,
    /// What the loop sleeps for, in milliseconds of the monotonic clock.
    sleeps_until: AtomicU64,
    tally: Tally,
    /// Attempts made since the start.
    attempts: AtomicU64,
    /// When the loop last went round, in milliseconds of the monotonic clock.
    last_round: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct PreparedWebhooks {
    generation: u64,
    webhooks: HashMap<WebhookId, Arc<Prepared>>,
}

/// How long a delivery that could not be read waits until it is tried again.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);
/// The loop looks round at least this often, so that a clock that stepped is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Bytes that may wait for the journal before nothing more is sent: what was sent and could not be
/// noted would be sent again after a crash.
const UNNOTED_MAX: usize = 32 << 20;
/// How long to wait then.
const BEHIND_PAUSE: Duration = Duration::from_millis(200);
/// How often an operator's change is tried anew when the delivery changes meanwhile.
const CHANGE_TRIES: usize = 8;

impl Dispatcher {
    /// A dispatcher that sends what the store hands over. Nothing happens until it is run.
    #[must_use]
    pub fn new(store: Store, transport: Arc<dyn Transport>, options: DispatchOptions, spans: Spans) -> Self {
        let (clock, random) = (store.clock(), store.random().clone());
        Self {
            shared: Arc::new(Shared {
                store,
                tokens: Tokens::new(transport, clock),
                clock,
                random,
                spans,
                names: ArcSwap::from_pointee(options.names),
                lanes: Mutex::new(Lanes::new(options.in_flight_max)),
                prepared: ArcSwap::from_pointee(PreparedWebhooks::default()),
                tasks: TaskTracker::new(),
                abandon: CancellationToken::new(),
                stopping: AtomicBool::new(false),
                recheck: Notify::new(),
                place_freed: Notify::new(),
                sleeps_until: AtomicU64::new(0),
                tally: Tally::new(clock.read()),
                attempts: AtomicU64::new(0),
                last_round: AtomicU64::new(0),
            }),
        }
    }

    /// Takes over a changed configuration file.
    pub fn reconfigure(&self, options: DispatchOptions) {
        self.shared.names.store(Arc::new(options.names));
        self.lanes().set_in_flight_max(options.in_flight_max);
        self.shared.place_freed.notify_waiters();
        self.shared.recheck.notify_one();
    }

    /// Runs until [`Self::stop`].
    pub async fn run(&self) {
        while !self.shared.stopping.load(Ordering::Acquire) {
            let now = self.now();
            self.shared.last_round.store(millis(now.elapsed), Ordering::Relaxed);
            let wake = {
                let mut lanes = self.lanes();
                self.take_arrivals(&mut lanes);
                self.start_due(&mut lanes);
                lanes.next_wake()
            };
            let behind = self.shared.store.journal().waiting_bytes() >= UNNOTED_MAX;
            let latest = now.elapsed + if behind { BEHIND_PAUSE } else { SLEEP_MAX };
            let until = wake.map_or(latest, |wake| wake.min(latest));
            self.shared.sleeps_until.store(millis(until), Ordering::Release);
            let pause = until.saturating_sub(self.shared.clock.elapsed());
            tokio::select! {
                () = self.shared.store.arrivals().wake.notified() => {}
                () = self.shared.recheck.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts nothing more, and waits until what is under way has ended, at most `patience`.
    /// Tells how many attempts were given up on; they will be made again after the next start.
    pub async fn stop(&self, patience: Duration) -> usize {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.recheck.notify_one();
        self.shared.tasks.close();
        let _ = tokio::time::timeout(patience, self.shared.tasks.wait()).await;
        let left = self.lanes().in_flight();
        self.shared.abandon.cancel();
        self.shared.tasks.wait().await;
        left
    }

    /// An operator asks for another go at a delivery, at once. Resolves when that is durable.
    ///
    /// # Errors
    /// `Gone`, `IndexAway`, or that it could not be made durable.
    pub async fn resend(&self, id: DeliveryId, by: &str) -> Result<(), StoreError> {
        let durable = self.change(id, by, ChangeCause::Resend).await?;
        match durable {
            Some(durable) => durable.await,
            None => Ok(()),
        }
    }

    /// An operator withdraws a delivery. `false` when nothing was to be sent any more.
    ///
    /// # Errors
    /// `Gone`, `IndexAway`, or that it could not be made durable.
    pub async fn cancel(&self, id: DeliveryId, by: &str) -> Result<bool, StoreError> {
        match self.change(id, by, ChangeCause::Cancel).await? {
            Some(durable) => durable.await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Decides a change under the lock, on a delivery that is known not to have moved since it
    /// was looked up.
    async fn change(
        &self,
        id: DeliveryId,
        by: &str,
        cause: ChangeCause,
    ) -> Result<Option<impl Future<Output = Result<(), StoreError>> + use<>>, StoreError> {
        for _ in 0..CHANGE_TRIES {
            let count = self.lanes().settled_count();
            let known = self.shared.store.pending_of(id).await?;
            let mut lanes = self.lanes();
            self.take_arrivals(&mut lanes);
            if lanes.settled_since(id, count) {
                continue;
            }
            let now = self.now();
            let changed = match cause {
                ChangeCause::Resend => Some(lanes.resend(&known, now)),
                ChangeCause::Cancel => lanes.cancel(&known),
            };
            let Some(delivery) = changed else { return Ok(None) };
            if known.delivery.due_at().is_none() && delivery.due_at().is_some() {
                self.shared.tally.made(1, now);
            }
            let record = ChangeRecord { id, at: now.wall, by: by.to_owned(), cause, delivery };
            let durable = self.shared.store.change(record)?;
            drop(lanes);
            self.shared.recheck.notify_one();
            return Ok(Some(durable));
        }
        Err(StoreError::Busy)
    }

    /// How long ago the loop last went round: a watchdog's measure.
    #[must_use]
    pub fn since_last_round(&self) -> Duration {
        let last = Duration::from_millis(self.shared.last_round.load(Ordering::Relaxed));
        self.shared.clock.elapsed().saturating_sub(last)
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        self.shared.clock.read()
    }

    fn take_arrivals(&self, lanes: &mut Lanes) {
        let config = self.shared.store.config();
        if config.generation != self.shared.prepared.load().generation {
            self.prepare(&config, lanes);
        }
        for arrival in self.shared.store.arrivals().take() {
            match arrival {
                Arrival::Accepted { location, event, webhooks } => {
                    self.shared.tally.made(webhooks.len(), self.now());
                    lanes.accept(event, location, &webhooks);
                }
                Arrival::Restoring(pending) => {
                    let now = self.now();
                    for one in &pending {
                        lanes.restore(one, now);
                    }
                }
                Arrival::Restored => lanes.restored(),
            }
        }
    }

    /// Takes over a changed configuration: what is sent with, and what the lanes must know.
    fn prepare(&self, config: &Config, lanes: &mut Lanes) {
        let before = self.shared.prepared.load();
        let mut webhooks = HashMap::with_capacity(config.webhooks.len());
        for (id, webhook) in &config.webhooks {
            let unchanged = before.webhooks.get(id).filter(|known| known.webhook.version == webhook.version);
            let prepared = unchanged.cloned().or_else(|| self.prepared(webhook));
            if let Some(prepared) = prepared {
                webhooks.insert(*id, prepared);
            }
            lanes.set_policy(*id, policy_of(webhook));
        }
        let gone: Vec<WebhookId> = lanes.webhooks().filter(|id| !config.webhooks.contains_key(id)).collect();
        for id in gone {
            if !lanes.remove_if_empty(id) {
                lanes.set_policy(id, LanePolicy::CLOSED);
            }
        }
        self.shared.tokens.retain(|id| config.webhooks.get(&id).is_some_and(|webhook| webhook.exists()));
        self.shared.tally.retain(|id| config.webhooks.contains_key(&id));
        self.shared.prepared.store(Arc::new(PreparedWebhooks { generation: config.generation, webhooks }));
    }

    fn prepared(&self, webhook: &Arc<Webhook>) -> Option<Arc<Prepared>> {
        let tls = self.shared.tokens.transport().tls_profile(&webhook.tls);
        if let Err(problem) = &tls {
            tracing::error!(webhook = %webhook.id, %problem, "nothing can be sent: its certificates are of no use");
        }
        Prepared::new(Arc::clone(webhook), tls).map(Arc::new)
    }

    fn start_due(&self, lanes: &mut Lanes) {
        while !self.shared.stopping.load(Ordering::Acquire)
            && self.shared.store.journal().waiting_bytes() < UNNOTED_MAX
            && let Some(job) = lanes.next(self.now())
        {
            let dispatcher = self.clone();
            let work = async move {
                dispatcher.shared.abandon.run_until_cancelled(dispatcher.work(job)).await;
            };
            // Some kilobytes, which would be copied at each step from here to the runtime, and once more at the end.
            self.shared.tasks.spawn(Box::pin(work));
        }
    }

    /// Attempts one delivery after the other while there is something due.
    async fn work(&self, job: Job) {
        let mut next = Some(job);
        while let Some(job) = next {
            let flight = Flight { dispatcher: self, id: job.id, landed: false };
            next = match self.attempt(&job).await {
                Some((attempt, version)) => self.settle(flight, &job, attempt, version),
                None => None,
            };
        }
        // A lane may have become due earlier than the loop sleeps for.
        let wake = self.lanes().next_wake();
        if wake.is_some_and(|wake| millis(wake) < self.shared.sleeps_until.load(Ordering::Acquire)) {
            self.shared.recheck.notify_one();
        }
    }

    /// Makes one attempt; `None` when the event could not be read now.
    async fn attempt(&self, job: &Job) -> Option<(Attempt, u32)> {
        let prepared = self.shared.prepared.load().webhooks.get(&job.webhook).cloned()?;
        let number = job.delivery.attempts_made() + 1;
        let trigger = job.delivery.trigger();
        let started_at = self.shared.clock.now();
        let outcome = match self.read(job).await {
            Ok(_) if prepared.tls_problem().is_some() => Outcome::failed(ErrorKind::Tls),
            Ok(record) => {
                let (Record::Event { event, payload, .. } | Record::Carry { event, payload, .. }) = &*record else {
                    return None;
                };
                let names = self.shared.names.load();
                let place = Place::next(&job.delivery);
                let slot: Arc<dyn Slot> = Arc::new(Seat { dispatcher: self.clone(), id: job.id });
                let span = self.shared.spans.attempt(event.trace.as_ref(), started_at);
                let request = || {
                    let mut request = prepared.request(&names, event, job.id, place, payload.clone(), started_at);
                    if let Some(span) = &span {
                        trace_headers(&mut request.headers, span.context());
                    }
                    Request { slot: Some(Arc::clone(&slot)), ..request }
                };
                let sent = self.shared.tokens.send(&prepared.webhook, &names.user_agent, request).await;
                if let Some(oauth) = sent.1 {
                    tracing::info!(delivery = %job.id, webhook = %job.webhook, detail = %oauth, "no access token");
                }
                if let Some(span) = span {
                    aftermath::end_span(span, job, number, &prepared, &sent.0);
                }
                sent.0
            }
            Err(StoreError::Damaged | StoreError::Gone) => Outcome::failed(ErrorKind::Damaged),
            Err(error) => {
                tracing::error!(delivery = %job.id, %error, "an event could not be read; it is tried again");
                return None;
            }
        };
        self.shared.attempts.fetch_add(1, Ordering::Relaxed);
        Some((Attempt { number, trigger, started_at, outcome }, prepared.webhook.version))
    }

    async fn read(&self, job: &Job) -> Result<Arc<Record>, StoreError> {
        match self.shared.store.read(job.location).await {
            // Carried forward since it was queued.
            Err(StoreError::Gone) => {
                let location = self.shared.store.locate(job.id.event).await?;
                self.shared.store.read(location).await
            }
            other => other,
        }
    }

    /// Settles an attempt, notes it, and gives the next delivery to attempt.
    fn settle(&self, mut flight: Flight<'_>, job: &Job, attempt: Attempt, version: u32) -> Option<Job> {
        let prepared = self.shared.prepared.load();
        let webhook = prepared.webhooks.get(&job.webhook).map(|prepared| Arc::clone(&prepared.webhook))?;
        let plan = webhook.retry;
        let unit = self.shared.random.unit();
        let mut lanes = self.lanes();
        let now = self.now();
        let settled = lanes.settle(job.id, &attempt.outcome, &plan, unit, now);
        flight.landed = true;
        self.shared.place_freed.notify_one();
        let tale = Tale::of(&attempt, &settled);
        let is_over = settled.delivery.due_at().is_none();
        self.shared.tally.attempted(job.webhook, &attempt, settled.gave_up, is_over, now);
        let target = Target { webhook: job.webhook, version };
        self.shared.store.record_attempt(AttemptRecord { id: job.id, target, attempt, delivery: settled.delivery });
        if settled.pause_webhook {
            self.pause_gone(job.webhook);
        }
        self.take_arrivals(&mut lanes);
        let next = if self.shared.stopping.load(Ordering::Acquire) { None } else { lanes.next(now) };
        if next.is_some() {
            // A lane that may do more now gets more tasks.
            self.start_due(&mut lanes);
        }
        drop(lanes);
        tale.tell(job, &webhook.name);
        next
    }

    fn release(&self, id: DeliveryId) {
        let now = self.now();
        self.lanes().release(id, UNREADABLE_PAUSE, now);
        self.shared.place_freed.notify_one();
        self.shared.recheck.notify_one();
    }
}

/// Gives a delivery's place back when its attempt ends in any way but by being settled: it could
/// not be read, or a bug made the task panic.
struct Flight<'a> {
    dispatcher: &'a Dispatcher,
    id: DeliveryId,
    landed: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.dispatcher.release(self.id);
        }
    }
}

/// What the lanes must know of a webhook.
fn policy_of(webhook: &Webhook) -> LanePolicy {
    LanePolicy {
        open: webhook.exists() && webhook.active && !webhook.paused,
        in_flight_max: webhook.max_in_flight,
        ordered: webhook.ordered,
        rate_per_second: webhook.rate_per_second,
        version: webhook.version,
    }
}

/// Connections are shared within a webhook only.
fn pool_key(webhook: WebhookId) -> u64 {
    let (_, tail) = webhook.as_bytes().split_at(8);
    tail.iter().fold(0, |key, byte| (key << 8) | u64::from(*byte))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
