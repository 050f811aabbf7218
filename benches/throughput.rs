//! How fast, and next to what: the daemon against the bare pieces it is made of, in one run on one machine.
//!
//! `cargo bench --bench throughput` (add `-- --quick` for phases of about two seconds). Absolute numbers of a shared
//! machine mean little, so every row carries its ratio to a bare client, receiver or `fdatasync` measured a moment
//! earlier. One table for people, one JSON line per row for programs. All load goes to 127.0.0.1.
#![expect(clippy::print_stdout, reason = "its standard output is the report")]
#![expect(clippy::disallowed_methods, reason = "it measures real time with the real environment")]

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use ::http::{Request, Response};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
#[path = "../tests/blackbox/daemon.rs"]
mod daemon;
#[path = "../tests/blackbox/http.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod http;
#[path = "../tests/blackbox/ledger.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod ledger;
#[path = "../tests/blackbox/poster.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod poster;
#[path = "../tests/blackbox/receiver.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod receiver;
#[path = "../tests/blackbox/rng.rs"]
mod rng;

use daemon::{Daemon, Settings, Site};
use http::Connection;
use poster::Target;
use rng::Rng;

const CONNECTIONS: u64 = 64;
const BODY_BYTES: u64 = 1024;
/// As many as the journal may take into one group.
const GROUP_MAX: usize = 1024;
/// The unit of rows that must be 0, or no rate above them means anything.
const MISSING: &str = "events missing";
/// Long enough for any backlog this program builds; a daemon that is slower than this has failed the benchmark.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    if !quick && !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts benchmarks too, in an unoptimised build: figures nobody should read.
        println!("SKIP: run with `cargo bench --bench throughput`");
        return Ok(());
    }
    // reqwest comes without a TLS provider of its own. Already installed is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(if quick { Duration::from_secs(2) } else { Duration::from_secs(6) }, quick))
}

async fn measure(phase: Duration, quick: bool) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("postrider-bench-").tempdir()?;
    let mut table = Table::default();
    let counter = Counter::start().await?;

    let bare = bare_hyper(&counter, phase).await?;
    table.row("bare hyper client -> receiver", bare, "requests/s", None);
    let reqwest = bare_reqwest(&counter, phase).await?;
    table.row("bare reqwest client -> receiver", reqwest, "requests/s", Some(("bare hyper", bare)));
    let single = appends_alone(work.path(), phase / 2)?;
    table.row("append + fdatasync, one by one", single, "appends/s", None);
    let grouped = appends_grouped(work.path(), phase / 2)?;
    table.row("append + fdatasync, group commit", grouped, "appends/s", Some(("one by one", single)));

    let bed = Bed::start(work.path(), &counter).await?;
    idle_latency(&bed, &counter, if quick { 100 } else { 500 }, &mut table).await?;
    accept_only(&bed, &counter, phase, &mut table, grouped).await?;
    accept_and_deliver(&bed, &counter, phase, &mut table, bare).await?;
    let peak = proc_status_kib(bed.daemon.pid(), "VmHWM:")?;
    table.row("peak memory of the daemon", peak / 1024.0, "MiB", None);
    bed.daemon.stop().await?;
    table.print();
    let missing: f64 = table.0.iter().filter(|row| row.unit == MISSING).map(|row| row.value).sum();
    anyhow::ensure!(missing == 0.0, "{missing} accepted events did not arrive within {DRAIN_WITHIN:?}");
    Ok(())
}

// --- The daemon's rows ---------------------------------------------------------------------------------------------

struct Bed {
    daemon: Daemon,
    target: Target,
}

impl Bed {
    async fn start(work: &Path, counter: &Counter) -> anyhow::Result<Self> {
        let binary = std::env::var_os("POSTRIDER_BIN");
        let binary = binary.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_postrider")), PathBuf::from);
        let site = Site::create(&binary, work, work.join("state"), Settings::default())?;
        let mut daemon = site.start().await?;
        site.create_webhook("bench", &format!("http://{}/", counter.address)).await?;
        let target = daemon.target().await?;
        Ok(Self { daemon, target })
    }

    /// 64 connections post until the phase is over; returns how many were accepted and how long it really took.
    async fn post_for(&self, phase: Duration, sent: &Arc<Sent>) -> anyhow::Result<(u64, Duration)> {
        let began = Instant::now();
        let mut apps = JoinSet::new();
        for number in 0..CONNECTIONS {
            apps.spawn(post_until(self.target.clone(), Arc::clone(sent), number, began + phase));
        }
        let mut accepted = 0;
        while let Some(app) = apps.join_next().await {
            accepted += app??;
        }
        Ok((accepted, began.elapsed()))
    }
}

/// The ids of what was accepted, to hold against what arrived.
struct Sent {
    /// Part of every reference: the same one in two phases would be one idempotency key, and so one event.
    phase: &'static str,
    next: AtomicU64,
    ids: Mutex<Vec<String>>,
}

impl Sent {
    fn new(phase: &'static str) -> Arc<Self> {
        Arc::new(Self { phase, next: AtomicU64::new(0), ids: Mutex::default() })
    }
}

async fn post_until(target: Target, sent: Arc<Sent>, number: u64, end: Instant) -> anyhow::Result<u64> {
    let mut connection = Connection::tcp(target.address).await?;
    let mut rng = Rng::new(number);
    let mut ids = Vec::new();
    while Instant::now() < end {
        let reference = format!("{}-{number}-{}", sent.phase, sent.next.fetch_add(1, Ordering::Relaxed));
        let body = poster::payload(&mut rng, &reference, BODY_BYTES);
        let reply = connection.send(target.request(&reference, body)?).await?;
        if reply.status == 429 {
            // Backlog: the honest answer of a bounded queue. Wait like an app would.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
        ids.push(reply.json()?["id"].as_str().context("a 202 without an id")?.to_owned());
    }
    let accepted = ids.len() as u64;
    sent.ids.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.append(&mut ids);
    Ok(accepted)
}

async fn accept_only(
    bed: &Bed,
    counter: &Counter,
    phase: Duration,
    table: &mut Table,
    grouped: f64,
) -> anyhow::Result<()> {
    bed.daemon.pause("bench").await?;
    counter.forget();
    let sent = Sent::new("accept");
    let (accepted, took) = bed.post_for(phase, &sent).await?;
    table.row("accepts only (webhook paused)", rate(accepted, took), "events/s", Some(("group commit", grouped)));
    bed.daemon.resume("bench").await?;
    let began = Instant::now();
    let delivery = counter.wait_for(&sent, DRAIN_WITHIN).await?;
    table.row("drain of that backlog", rate(accepted, began.elapsed()), "deliveries/s", None);
    table.row("  missing after the drain", delivery.missing, MISSING, None);
    Ok(())
}

async fn accept_and_deliver(
    bed: &Bed,
    counter: &Counter,
    phase: Duration,
    table: &mut Table,
    bare: f64,
) -> anyhow::Result<()> {
    counter.forget();
    let pid = bed.daemon.pid();
    let cpu_before = cpu_seconds(pid)?;
    let sent = Sent::new("deliver");
    let began = Instant::now();
    let (accepted, took) = bed.post_for(phase, &sent).await?;
    let delivery = counter.wait_for(&sent, DRAIN_WITHIN).await?;
    let total = began.elapsed();
    let cpu = cpu_seconds(pid)? - cpu_before;
    let half = Some(("bare hyper", bare));
    table.row("accepted while delivering", rate(accepted, took), "events/s", half);
    table.row("accepted and delivered", rate(accepted, total), "events/s", half);
    table.row("  missing", delivery.missing, MISSING, None);
    table.row("  duplicates", delivery.duplicates, "events", None);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let per_ten_thousand = cpu * 10_000.0 / accepted.max(1) as f64;
    table.row("CPU of the daemon", per_ten_thousand, "s / 10,000 events", None);
    Ok(())
}

/// One event at a time on an idle daemon: when it was posted, acknowledged, and its first byte at the receiver.
async fn idle_latency(bed: &Bed, counter: &Counter, posts: u64, table: &mut Table) -> anyhow::Result<()> {
    let mut connection = Connection::tcp(bed.target.address).await?;
    let mut rng = Rng::new(500);
    let (mut acknowledged, mut delivered) = (Vec::new(), Vec::new());
    for number in 0..posts {
        let reference = format!("idle-{number}");
        let body = poster::payload(&mut rng, &reference, BODY_BYTES);
        let began = Instant::now();
        let reply = connection.send(bed.target.request(&reference, body)?).await?;
        acknowledged.push(began.elapsed());
        anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
        let answer = reply.json()?;
        let id = answer["id"].as_str().context("a 202 without an id")?;
        delivered.push(counter.first_byte(id, DRAIN_WITHIN).await?.duration_since(began));
    }
    for (name, mut times) in [("idle: post -> 202", acknowledged), ("idle: post -> receiver's first byte", delivered)] {
        times.sort();
        table.row(&format!("{name}, p50"), percentile(&times, 50), "ms", None);
        table.row(&format!("{name}, p99"), percentile(&times, 99), "ms", None);
    }
    Ok(())
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, Duration::as_secs_f64) * 1000.0
}

// --- The receiver --------------------------------------------------------------------------------------------------

/// Counts by event id and does nothing else: the suite's receiver hashes and verifies, which would cost the daemon
/// half of the two cores it is measured on.
struct Counter {
    address: SocketAddr,
    seen: Arc<Mutex<HashMap<String, Seen>>>,
    _server: JoinSet<()>,
}

struct Seen {
    times: u64,
    first_byte: Instant,
}

struct Delivery {
    missing: f64,
    duplicates: f64,
}

impl Counter {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&seen)));
        Ok(Self { address, seen, _server: server })
    }

    fn forget(&self) {
        self.books().clear();
    }

    /// Waits until all of `sent` arrived or the time is up; what is missing then is a figure, and a bad one.
    async fn wait_for(&self, sent: &Sent, within: Duration) -> anyhow::Result<Delivery> {
        let ids = sent.ids.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.clone();
        let deadline = Instant::now() + within;
        while self.books().len() < ids.len() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let books = self.books();
        let missing = ids.iter().filter(|id| !books.contains_key(*id)).count();
        let duplicates: u64 = books.values().map(|seen| seen.times - 1).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let delivery = Delivery { missing: missing as f64, duplicates: duplicates as f64 };
        Ok(delivery)
    }

    async fn first_byte(&self, id: &str, within: Duration) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(seen) = self.books().get(id) {
                return Ok(seen.first_byte);
            }
            anyhow::ensure!(Instant::now() < deadline, "{id} did not arrive in {within:?}");
            // The arrival is stamped at the receiver; how often this looks does not change the figure.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn books(&self) -> std::sync::MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<HashMap<String, Seen>>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let seen = Arc::clone(&seen);
                connections.spawn(async move {
                    drop(stream.set_nodelay(true));
                    let service = service_fn(move |request| count(request, Arc::clone(&seen)));
                    let server = hyper::server::conn::http1::Builder::new();
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn count(
    request: Request<Incoming>,
    seen: Arc<Mutex<HashMap<String, Seen>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let first_byte = Instant::now();
    let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    request.into_body().collect().await?;
    let mut books = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    books.entry(id).or_insert(Seen { times: 0, first_byte }).times += 1;
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

// --- The bare pieces -----------------------------------------------------------------------------------------------

async fn bare_hyper(counter: &Counter, phase: Duration) -> anyhow::Result<f64> {
    let began = Instant::now();
    let address = counter.address;
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        clients.spawn(async move {
            let mut connection = Connection::tcp(address).await?;
            let body = poster::payload(&mut Rng::new(number), "bare", BODY_BYTES);
            let mut done = 0;
            while began.elapsed() < phase {
                let request = Request::post("/").header("host", address.to_string()).header("webhook-id", "bare");
                connection.send(request.body(Full::new(body.clone()))?).await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    sum(clients, began).await
}

async fn bare_reqwest(counter: &Counter, phase: Duration) -> anyhow::Result<f64> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{}/", counter.address);
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (client, url) = (client.clone(), url.clone());
        clients.spawn(async move {
            let body = poster::payload(&mut Rng::new(number), "bare", BODY_BYTES);
            let mut done = 0;
            while began.elapsed() < phase {
                let request = client.post(&url).header("webhook-id", "bare").body(body.clone());
                request.send().await?.bytes().await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    sum(clients, began).await
}

async fn sum(mut clients: JoinSet<anyhow::Result<u64>>, began: Instant) -> anyhow::Result<f64> {
    let mut total = 0;
    while let Some(client) = clients.join_next().await {
        total += client??;
    }
    Ok(rate(total, began.elapsed()))
}

fn appends_alone(work: &Path, phase: Duration) -> anyhow::Result<f64> {
    let mut file = File::create(work.join("alone"))?;
    let record = [0x5A; BODY_BYTES as usize];
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < phase {
        file.write_all(&record)?;
        file.sync_data()?;
        done += 1;
    }
    Ok(rate(done, began.elapsed()))
}

/// 64 producers, one committer that takes what has gathered, writes it at once and syncs once: the ceiling for any
/// journal on this disk.
fn appends_grouped(work: &Path, phase: Duration) -> anyhow::Result<f64> {
    let mut file = File::create(work.join("grouped"))?;
    let (append, appended) = mpsc::sync_channel::<mpsc::SyncSender<()>>(GROUP_MAX);
    let began = Instant::now();
    let mut done = 0;
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let append = append.clone();
            scope.spawn(move || {
                let (durable, wait) = mpsc::sync_channel(1);
                while began.elapsed() < phase && append.send(durable.clone()).is_ok() && wait.recv().is_ok() {}
            });
        }
        drop(append);
        while let Ok(first) = appended.recv() {
            let group: Vec<_> = std::iter::once(first).chain(appended.try_iter()).take(GROUP_MAX).collect();
            file.write_all(&vec![0x5A; group.len() * BODY_BYTES as usize])?;
            file.sync_data()?;
            done += group.len() as u64;
            for producer in group {
                // A producer whose phase is over does not wait for its last answer.
                let _gone = producer.send(());
            }
        }
        anyhow::Ok(())
    })?;
    Ok(rate(done, began.elapsed()))
}

// --- Figures -------------------------------------------------------------------------------------------------------

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

/// User and system time of the process so far; fields 14 and 15 of `stat`, counted after the name in parentheses.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
    let per_second = Command::new("getconf").arg("CLK_TCK").output()?;
    let per_second: f64 = String::from_utf8(per_second.stdout)?.trim().parse().context("getconf CLK_TCK")?;
    Ok(ticks / per_second)
}

fn proc_status_kib(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    line.split_whitespace().next().context("an empty field")?.parse().context("not a number")
}

#[derive(Default)]
struct Table(Vec<Row>);

struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    baseline: Option<(&'static str, f64)>,
}

impl Table {
    fn row(&mut self, name: &str, value: f64, unit: &'static str, baseline: Option<(&'static str, f64)>) {
        self.0.push(Row { name: name.to_owned(), value, unit, baseline });
    }

    fn print(&self) {
        for row in &self.0 {
            let decimals = if row.value >= 100.0 || row.value == 0.0 { 0 } else { 2 };
            let ratio = row.ratio().map_or_else(String::new, |(ratio, name)| format!("  {ratio:.2} x {name}"));
            println!("{:<42} {:>10.decimals$} {:<18}{ratio}", row.name, row.value, row.unit);
        }
        println!();
        for row in &self.0 {
            let (ratio, to) = row.ratio().unzip();
            let name = row.name.trim();
            println!("{}", json!({"name": name, "value": row.value, "unit": row.unit, "ratio": ratio, "to": to}));
        }
    }
}

impl Row {
    fn ratio(&self) -> Option<(f64, &'static str)> {
        self.baseline.map(|(name, value)| (self.value / value.max(1e-9), name))
    }
}
