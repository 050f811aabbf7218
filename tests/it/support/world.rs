//! A whole postrider without sockets and without waiting: simulated disk, clock, chance and
//! receivers, a real index in a temporary folder, all on one thread under paused time.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use postrider::clock::Clock;
use postrider::dispatch::{DispatchOptions, Dispatcher, WireNames};
use postrider::domain::attempt::{ErrorKind, Outcome, Phases};
use postrider::domain::audit::AuditRecord;
use postrider::domain::credentials::ClientTls;
use postrider::domain::filter::{Condition, Filter, Test};
use postrider::domain::id::{EventId, WebhookId};
use postrider::domain::references::References;
use postrider::domain::retry::{Backoff, RetryPlan};
use postrider::domain::time::Timestamp;
use postrider::domain::trace_context::TraceContext;
use postrider::domain::webhook::Webhook;
use postrider::egress::{Request, TlsProblem, TlsProfile, Transport};
use postrider::index::{AuditQuery, Found, Order, Query, Walk};
use postrider::journal::Options;
use postrider::random::Random;
use postrider::secrets::Sealer;
use postrider::spans::Spans;
use postrider::store::{Accepted, NewEvent, Store, StoreError, StoreOptions};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::sim_disk::SimDisk;

/// What one exchange was, as the receivers saw it.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) webhook: String,
    pub(crate) event: String,
    pub(crate) attempt: u32,
    pub(crate) began: Timestamp,
    /// `None` while it is under way, or when the daemon went away meanwhile.
    pub(crate) ended: Option<(Timestamp, u16)>,
    pub(crate) body: Bytes,
    pub(crate) authorization: Option<String>,
    pub(crate) trace: Option<String>,
}

/// How a receiver answers at a time: a code (0: no answer) and how long it takes.
pub(crate) type Behaviour = Arc<dyn Fn(Timestamp) -> (u16, Duration) + Send + Sync>;

/// How an authorization server answers at a time: as a receiver, and with what body.
pub(crate) type Issuer = Arc<dyn Fn(Timestamp) -> (u16, Duration, String) + Send + Sync>;

/// Whether a receiver accepts what is shown to it as `Authorization` at a time.
pub(crate) type Guard = Arc<dyn Fn(Timestamp, Option<&str>) -> bool + Send + Sync>;

#[derive(Default)]
struct Ledger {
    receipts: Vec<Receipt>,
    in_flight: HashMap<String, usize>,
    most_in_flight: HashMap<String, usize>,
    most_in_all: usize,
    /// When tokens were asked for, and what came of it.
    token_requests: Vec<(Timestamp, u16)>,
}

/// All receivers; outlives the daemon.
#[derive(Clone)]
pub(crate) struct Receivers {
    clock: Clock,
    behaviours: Arc<Mutex<BTreeMap<String, Behaviour>>>,
    guards: Arc<Mutex<BTreeMap<String, Guard>>>,
    issuer: Arc<Mutex<Option<Issuer>>>,
    /// By webhook: how long its name is looked up, and whether it is found.
    names: Arc<Mutex<BTreeMap<String, (Duration, bool)>>>,
    ledger: Arc<Mutex<Ledger>>,
}

/// Counts an exchange as over, also when the daemon drops it.
struct UnderWay<'a>(&'a Receivers, String);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        *self.0.ledger.lock().unwrap().in_flight.get_mut(&self.1).unwrap() -= 1;
    }
}

impl Receivers {
    fn begin(&self, request: &Request) -> (UnderWay<'_>, usize) {
        let header = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
        let name = request.url.path().trim_start_matches('/').to_owned();
        let mut ledger = self.ledger.lock().unwrap();
        ledger.receipts.push(Receipt {
            webhook: name.clone(),
            event: header("webhook-id"),
            attempt: header("postrider-attempt").parse().unwrap(),
            began: self.clock.now(),
            ended: None,
            body: request.body.clone(),
            authorization: request.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()),
            trace: request.headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned()),
        });
        let place = ledger.receipts.len() - 1;
        let now = ledger.in_flight.entry(name.clone()).or_default();
        *now += 1;
        let now = *now;
        let most = ledger.most_in_flight.entry(name.clone()).or_default();
        *most = (*most).max(now);
        let all = ledger.in_flight.values().sum();
        ledger.most_in_all = ledger.most_in_all.max(all);
        (UnderWay(self, name), place)
    }

    pub(crate) fn set(&self, name: &str, behaviour: impl Fn(Timestamp) -> (u16, Duration) + Send + Sync + 'static) {
        self.behaviours.lock().unwrap().insert(name.to_owned(), Arc::new(behaviour));
    }

    /// Has a receiver answer 401 to what the guard does not let through.
    pub(crate) fn guard(&self, name: &str, guard: impl Fn(Timestamp, Option<&str>) -> bool + Send + Sync + 'static) {
        self.guards.lock().unwrap().insert(name.to_owned(), Arc::new(guard));
    }

    /// The name of a webhook's receiver is not known at once, or never.
    pub(crate) fn set_name(&self, name: &str, takes: Duration, is_found: bool) {
        self.names.lock().unwrap().insert(name.to_owned(), (takes, is_found));
    }

    /// As the real one: a place is lent after a moment, and taken back for the exchange.
    async fn look_up(&self, request: &Request) -> bool {
        let name = request.url.path().trim_start_matches('/');
        let Some((takes, is_found)) = self.names.lock().unwrap().get(name).copied() else { return true };
        let first = takes.min(Duration::from_millis(50));
        tokio::time::sleep(first).await;
        if takes > first {
            let slot = request.slot.as_ref().expect("a delivery has a place");
            slot.lend();
            tokio::time::sleep(takes - first).await;
            if is_found {
                slot.take_back().await;
            }
        }
        is_found
    }

    pub(crate) fn set_issuer(&self, issuer: impl Fn(Timestamp) -> (u16, Duration, String) + Send + Sync + 'static) {
        *self.issuer.lock().unwrap() = Some(Arc::new(issuer));
    }

    pub(crate) fn token_requests(&self) -> Vec<(Timestamp, u16)> {
        self.ledger.lock().unwrap().token_requests.clone()
    }

    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        self.ledger.lock().unwrap().receipts.clone()
    }

    pub(crate) fn most_in_flight(&self, name: &str) -> usize {
        self.ledger.lock().unwrap().most_in_flight.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn most_in_all(&self) -> usize {
        self.ledger.lock().unwrap().most_in_all
    }
}

impl Transport for Receivers {
    fn tls_profile(&self, tls: &ClientTls) -> Result<Option<TlsProfile>, TlsProblem> {
        TlsProfile::new(tls)
    }

    fn send<'a>(&'a self, _pool_key: u64, request: Request) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(async move {
            let asked = Instant::now();
            if !self.look_up(&request).await {
                return outcome(Err(ErrorKind::Dns), asked);
            }
            let (under_way, place) = self.begin(&request);
            let authorization = self.ledger.lock().unwrap().receipts[place].authorization.clone();
            let began = Instant::now();
            let behaviour = self.behaviours.lock().unwrap()[&under_way.1].clone();
            let (mut code, takes) = behaviour(self.clock.now());
            let guard = self.guards.lock().unwrap().get(&under_way.1).cloned();
            if code != 0 && guard.is_some_and(|guard| !guard(self.clock.now(), authorization.as_deref())) {
                code = 401;
            }
            tokio::time::sleep(takes.min(request.timeout)).await;
            let result = match code {
                _ if takes > request.timeout => Err(ErrorKind::Timeout),
                0 => Err(ErrorKind::Refused),
                code => Ok(code),
            };
            self.ledger.lock().unwrap().receipts[place].ended = Some((self.clock.now(), result.unwrap_or(0)));
            outcome(result, began)
        })
    }

    fn fetch<'a>(
        &'a self,
        _pool_key: u64,
        request: Request,
        body_max: usize,
    ) -> Pin<Box<dyn Future<Output = (Outcome, Option<Bytes>)> + Send + 'a>> {
        Box::pin(async move {
            let began = Instant::now();
            let issuer = self.issuer.lock().unwrap().clone().expect("nobody issues tokens in this world");
            let (code, takes, body) = issuer(self.clock.now());
            let place = {
                let requests = &mut self.ledger.lock().unwrap().token_requests;
                requests.push((self.clock.now(), 0));
                requests.len() - 1
            };
            tokio::time::sleep(takes.min(request.timeout)).await;
            let result = match code {
                _ if takes > request.timeout => Err(ErrorKind::Timeout),
                0 => Err(ErrorKind::Refused),
                code => Ok(code),
            };
            self.ledger.lock().unwrap().token_requests[place].1 = result.unwrap_or(0);
            let body = (result.is_ok() && body.len() <= body_max).then(|| Bytes::from(body));
            (outcome(result, began), body)
        })
    }
}

fn outcome(result: Result<u16, ErrorKind>, began: Instant) -> Outcome {
    Outcome { result, duration: began.elapsed(), phases: Phases::default(), peer: None, retry_after: None }
}

/// One running postrider and what outlives it.
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) store: Store,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) receivers: Receivers,
    pub(crate) clock: Clock,
    index: TempDir,
    index_name: u32,
    random: Random,
    tasks: Vec<JoinHandle<()>>,
}

pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_425_932_000);
pub(crate) const IN_FLIGHT_MAX: usize = 16;

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = Clock::simulated(START);
        let disk = SimDisk::with_folder("state");
        let receivers = Receivers {
            clock,
            behaviours: Arc::default(),
            guards: Arc::default(),
            issuer: Arc::default(),
            names: Arc::default(),
            ledger: Arc::default(),
        };
        Self::open(disk, receivers, clock, Random::seeded(seed), tempfile::tempdir().unwrap(), 0)
    }

    fn open(
        disk: SimDisk,
        receivers: Receivers,
        clock: Clock,
        random: Random,
        index: TempDir,
        index_name: u32,
    ) -> Self {
        let options = StoreOptions {
            directory: PathBuf::from("/state"),
            index_directory: index.path().join(index_name.to_string()),
            journal: Options { segment_bytes_max: 256 << 10 },
            index_cache_bytes: 4 << 20,
        };
        let sealer = Sealer::new(&[1; 32], random.clone());
        let (store, workers) = Store::open(Arc::new(disk.clone()), options, sealer, clock, random.clone()).unwrap();
        let mut tasks = workers.spawn_tasks();
        let names = WireNames {
            body_signature: http::HeaderName::from_static("idenfy-signature"),
            event_type: http::HeaderName::from_static("idenfy-event-type"),
            user_agent: http::HeaderValue::from_static("postrider/test"),
        };
        let options = DispatchOptions { in_flight_max: IN_FLIGHT_MAX, names };
        let dispatcher =
            Dispatcher::new(store.clone(), Arc::new(receivers.clone()), options, Spans::new(Random::seeded(0)));
        let running = dispatcher.clone();
        tasks.push(tokio::spawn(async move { running.run().await }));
        Self { disk, store, dispatcher, receivers, clock, index, index_name, random, tasks }
    }

    /// The daemon is gone from one moment to the next, the power with it; starts again on what
    /// the disk kept. The index, which is only a view, is lost as well or an older one comes back.
    pub(crate) async fn crash(self, seed: u64, lose_index: bool) -> Self {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
        // Attempts under way are tasks of the dispatcher, which drops them when it has no patience.
        self.dispatcher.stop(Duration::ZERO).await;
        let disk = self.disk.crash(seed);
        drop((self.dispatcher, self.store));
        // The old sled lets go of its folder only when everything is dropped, which paused tasks
        // may delay; a new name gives the same as a lost index.
        let index_name = if lose_index { self.index_name + 1 } else { self.index_name };
        Self::open(disk, self.receivers, self.clock, self.random, self.index, index_name)
    }

    /// As a crash, and there is no index from then on: something else lies in its place.
    pub(crate) async fn crash_without_index(self, seed: u64) -> Self {
        let place = self.index.path().join((self.index_name + 1).to_string());
        std::fs::write(place, "not an index").unwrap();
        self.crash(seed, true).await
    }

    /// Stops in good order and starts again.
    pub(crate) async fn restart(self) -> Self {
        self.dispatcher.stop(Duration::from_mins(5)).await;
        self.store.journal().close().await;
        for task in self.tasks {
            task.await.unwrap();
        }
        drop((self.dispatcher, self.store));
        Self::open(self.disk, self.receivers, self.clock, self.random, self.index, self.index_name)
    }

    pub(crate) async fn webhook(&self, name: &str, count: u16, interval_seconds: u64, in_flight: u16) -> WebhookId {
        let now = self.clock.now();
        let interval = Duration::from_secs(interval_seconds);
        let webhook = Webhook {
            id: WebhookId::new(now, self.random.bits()),
            version: 1,
            name: name.to_owned(),
            url: format!("https://receiver.example/{name}"),
            event_types: vec!["*".to_owned()],
            active: true,
            paused: false,
            headers: Vec::new(),
            signing_key: None,
            retry: RetryPlan { count, interval, backoff: Backoff::Fixed, interval_max: interval },
            timeout: Duration::from_secs(10),
            max_in_flight: in_flight,
            rate_per_second: None,
            ordered: false,
            filter: Filter::default(),
            failure_email: None,
            oauth: None,
            tls: ClientTls::default(),
            created_at: now,
            updated_at: now,
            updated_by: "test".to_owned(),
            deleted_at: None,
        };
        self.store.change_webhook(|_| Ok::<_, StoreError>(webhook)).await.unwrap().id
    }

    pub(crate) async fn change(&self, id: WebhookId, change: impl FnOnce(&mut Webhook)) {
        let changed = self.store.change_webhook(|config| {
            let mut webhook = Webhook::clone(&config.webhooks[&id]);
            change(&mut webhook);
            webhook.version += 1;
            Ok::<_, StoreError>(webhook)
        });
        changed.await.unwrap();
    }

    /// From now on the webhook gets only payloads in which this is true.
    pub(crate) async fn filter(&self, id: WebhookId, path: &str) {
        let test = Test::Equals(serde_json::Value::Bool(true));
        let filter = Filter(vec![Condition { path: path.to_owned(), test }]);
        self.change(id, |webhook| webhook.filter = filter).await;
    }

    /// The whole audit log, newest first.
    pub(crate) async fn audit(&self) -> Vec<AuditRecord> {
        let query = AuditQuery::default();
        self.store.find(move |index| index.audit(&query, None, 1_000, 10_000)).await.unwrap().rows
    }

    pub(crate) async fn post(&self, reference: &str, payload: &str) -> Result<Accepted, StoreError> {
        self.store.accept(new_event(reference, payload)).await
    }

    pub(crate) async fn post_keyed(&self, reference: &str, payload: &str, key: &str) -> Result<Accepted, StoreError> {
        let keyed = NewEvent { idempotency_key: Some(key.to_owned()), ..new_event(reference, payload) };
        self.store.accept(keyed).await
    }

    /// Every delivery there is, newest first.
    pub(crate) async fn deliveries(&self, query: Query) -> Vec<Found> {
        let mut all = Vec::new();
        let mut before = None;
        loop {
            let (query, walk) =
                (query.clone(), Walk { from: before, order: Order::NewestFirst, limit: 100, budget: 1_000 });
            let page = self.store.find(move |index| index.deliveries(&query, walk, |_| true)).await.unwrap();
            all.extend(page.rows);
            match page.next {
                Some(next) => before = Some(next),
                None => return all,
            }
        }
    }

    pub(crate) async fn find(&self, reference: &str) -> Vec<Found> {
        self.deliveries(Query { reference: Some(reference.to_owned()), ..Query::default() }).await
    }

    /// Lets time pass until nothing is pending, at most so long.
    pub(crate) async fn until_idle(&self, most: Duration) {
        let until = Instant::now() + most;
        while Instant::now() < until {
            if self.store.arrivals().is_restored() && self.dispatcher.load() == (0, 0) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Waits until the index can be searched.
    pub(crate) async fn until_ready(&self) {
        while !matches!(self.store.index_state(), postrider::store::IndexState::Ready(_)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn new_event(reference: &str, payload: &str) -> NewEvent {
    NewEvent {
        event_type: "SOS_REPORT".to_owned(),
        content_type: "application/json".to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        scan_ref: Some(reference.to_owned()),
        references: References::from(vec![reference.to_owned()]),
        token: "default".to_owned(),
        idempotency_key: None,
        trace: TraceContext::parse(TRACE, ""),
    }
}

/// What every event is posted in.
pub(crate) const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// The event's text form, as receivers see it.
pub(crate) fn text(event: EventId) -> String {
    event.to_string()
}
