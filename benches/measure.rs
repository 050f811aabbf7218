//! What both benchmarks measure with: posters, a receiver that only counts, and the table.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::http::Request;
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::daemon::Site;
use crate::http::Connection;
use crate::poster::{self, Target};
use crate::rng::Rng;
use crate::wire::Wire;

/// The unit of rows that must be 0, or no rate above them means anything.
pub(crate) const MISSING: &str = "events missing";

/// The ids of what was accepted, to hold against what arrived.
pub(crate) struct Sent {
    /// Part of every reference: the same one in two phases would be one idempotency key, and so one event.
    phase: &'static str,
    /// Whether each event has an idempotency key.
    keyed: bool,
    body_bytes: u64,
    next: AtomicU64,
    pub(crate) ids: Mutex<Vec<String>>,
}

impl Sent {
    pub(crate) fn new(phase: &'static str, body_bytes: u64, keyed: bool) -> Arc<Self> {
        Arc::new(Self { phase, keyed, body_bytes, next: AtomicU64::new(0), ids: Mutex::default() })
    }

    pub(crate) fn request(&self, target: &Target, rng: &mut Rng, number: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        let reference = format!("{}-{number}-{}", self.phase, self.next.fetch_add(1, Ordering::Relaxed));
        let mut request = target.request(&reference, poster::payload(rng, &reference, self.body_bytes))?;
        if !self.keyed {
            request.headers_mut().remove("idempotency-key");
        }
        Ok(request)
    }
}

/// One app that posts events that differ in their reference, one after the other, on one connection.
pub(crate) struct Poster {
    wire: Wire,
    sent: Arc<Sent>,
    /// A whole request, and where in it the number of the event stands.
    request: Vec<u8>,
    places: Vec<usize>,
}

/// Digits of the number of an event in its reference.
const DIGITS: usize = 12;

impl Poster {
    pub(crate) async fn connect(target: &Target, sent: Arc<Sent>, app: u64) -> anyhow::Result<Self> {
        let first = format!("{}-{app}-{:0DIGITS$}", sent.phase, 0);
        let body = poster::payload(&mut Rng::new(app), &first, sent.body_bytes);
        let key = if sent.keyed { format!("idempotency-key: {first}\r\n") } else { String::new() };
        let mut request = format!(
            "POST /v1/events/{} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n{key}content-length: {}\r\n\r\n",
            poster::EVENT_TYPE,
            target.address,
            target.token,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        let places = memchr::memmem::find_iter(&request, &first).map(|at| at + first.len() - DIGITS).collect();
        Ok(Self { wire: Wire::connect(target.address).await?, sent, request, places })
    }

    /// The id of what was accepted; `None` when the daemon asked to wait.
    pub(crate) async fn post(&mut self) -> anyhow::Result<Option<String>> {
        #[derive(serde::Deserialize)]
        struct Accepted {
            id: String,
        }
        let number = self.sent.next.fetch_add(1, Ordering::Relaxed);
        for place in &self.places {
            write!(&mut self.request[*place..place + DIGITS], "{number:0DIGITS$}")?;
        }
        self.wire.write(&self.request).await?;
        let answer = self.wire.answer().await?;
        if answer.what == 429 {
            return Ok(None);
        }
        anyhow::ensure!(answer.what == 202, "{}: {}", answer.what, String::from_utf8_lossy(&answer.body));
        Ok(Some(serde_json::from_slice::<Accepted>(&answer.body)?.id))
    }
}

pub(crate) async fn post_until(target: Target, sent: Arc<Sent>, number: u64, end: Instant) -> anyhow::Result<u64> {
    let mut poster = Poster::connect(&target, Arc::clone(&sent), number).await?;
    let mut ids = Vec::new();
    while Instant::now() < end {
        match poster.post().await? {
            Some(id) => ids.push(id),
            // Backlog: the honest answer of a bounded queue. Wait like an app would.
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    let accepted = ids.len() as u64;
    sent.ids.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.append(&mut ids);
    Ok(accepted)
}

/// Events of one request of [`post_batches`].
const BATCH: u64 = 200;
const BATCH_CONNECTIONS: u64 = 16;

/// The reference of an event.
pub(crate) fn reference(number: u64) -> String {
    // Random to the eye, as references are: neighbours in time are none in order.
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    format!("{mixed:016x}-{number}")
}

/// Posts these events with bodies of 1 KiB, in batches, and as fast as they are taken.
pub(crate) async fn post_batches(target: &Target, numbers: std::ops::Range<u64>) -> anyhow::Result<Arc<Sent>> {
    let sent = Sent::new("batches", 1024, false);
    let mut posters = JoinSet::new();
    for poster in 0..BATCH_CONNECTIONS {
        let (target, sent, numbers) = (target.clone(), Arc::clone(&sent), numbers.clone());
        posters.spawn(async move {
            let mut connection = Connection::tcp(target.address).await?;
            let mut rng = Rng::new(poster);
            let firsts =
                (numbers.start + poster * BATCH..numbers.end).step_by(usize::try_from(BATCH_CONNECTIONS * BATCH)?);
            for first in firsts {
                post_batch(&mut connection, &target, &sent, &mut rng, first..(first + BATCH).min(numbers.end)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(poster) = posters.join_next().await {
        poster??;
    }
    Ok(sent)
}

async fn post_batch(
    connection: &mut Connection,
    target: &Target,
    sent: &Sent,
    rng: &mut Rng,
    numbers: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let mut body = Vec::new();
    for number in numbers {
        let payload = poster::payload(rng, &reference(number), sent.body_bytes);
        let payload = String::from_utf8(payload.to_vec())?.replace('\n', " ");
        body.extend_from_slice(format!("{{\"type\":\"{}\",\"payload\":{payload}}}\n", poster::EVENT_TYPE).as_bytes());
    }
    let body = Bytes::from(body);
    let reply = loop {
        let request = Request::post("/v1/events/batch")
            .header("host", target.address.to_string())
            .header("authorization", format!("Bearer {}", target.token))
            .header("content-type", "application/x-ndjson")
            .body(Full::new(body.clone()))?;
        let reply = connection.send(request).await?;
        if reply.status != 429 {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
    let mut ids = Vec::new();
    for line in std::str::from_utf8(&reply.body)?.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        ids.push(line["id"].as_str().context("a line without an id")?.to_owned());
    }
    sent.ids.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.append(&mut ids);
    Ok(())
}

pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, Duration::as_secs_f64) * 1000.0
}

// --- The receiver --------------------------------------------------------------------------------------------------

/// Notes the id of each event that arrives and answers, nothing else: the suite's receiver hashes and verifies, which would cost
/// the daemon half of the two cores it is measured on. What arrived how often is counted when somebody asks.
pub(crate) struct Counter {
    pub(crate) address: SocketAddr,
    arrivals: Arc<Arrivals>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct Arrivals {
    noted: Mutex<Vec<(String, Instant)>>,
    counted: Mutex<HashMap<String, Seen>>,
    total: AtomicU64,
}

struct Seen {
    times: u64,
    first_byte: Instant,
}

pub(crate) struct Delivery {
    pub(crate) missing: f64,
    pub(crate) duplicates: f64,
}

impl Counter {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let arrivals = Arc::<Arrivals>::default();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&arrivals)));
        Ok(Self { address, arrivals, _server: server })
    }

    pub(crate) fn forget(&self) {
        self.books().clear();
        self.arrivals.total.store(0, Ordering::Relaxed);
    }

    /// Waits until all of `sent` arrived `copies` times or the time is up; what is missing then is a figure, and a bad one.
    pub(crate) async fn wait_for(&self, sent: &Sent, copies: u64, within: Duration) -> anyhow::Result<Delivery> {
        let ids = sent.ids.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.clone();
        let wanted = ids.len() as u64 * copies;
        let deadline = Instant::now() + within;
        let delivery = loop {
            while self.arrivals.total.load(Ordering::Relaxed) < wanted && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let delivery = self.delivery(&ids, copies);
            // Others arrive here too, and may have come before the last of these.
            if delivery.missing == 0.0 || Instant::now() >= deadline {
                break delivery;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Ok(delivery)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn delivery(&self, ids: &[String], copies: u64) -> Delivery {
        let books = self.books();
        let missing =
            ids.iter().map(|id| copies.saturating_sub(books.get(id).map_or(0, |seen| seen.times))).sum::<u64>();
        let duplicates: u64 = books.values().map(|seen| seen.times.saturating_sub(copies)).sum();
        Delivery { missing: missing as f64, duplicates: duplicates as f64 }
    }

    /// When the first byte of each event that arrived did.
    pub(crate) fn first_bytes(&self) -> HashMap<String, Instant> {
        self.books().iter().map(|(id, seen)| (id.clone(), seen.first_byte)).collect()
    }

    pub(crate) async fn first_byte(&self, id: &str, within: Duration) -> anyhow::Result<Instant> {
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
        let mut counted = self.arrivals.counted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let noted = std::mem::take(&mut *self.arrivals.noted());
        for (id, first_byte) in noted {
            counted.entry(id).or_insert(Seen { times: 0, first_byte }).times += 1;
        }
        counted
    }
}

impl Arrivals {
    fn noted(&self) -> std::sync::MutexGuard<'_, Vec<(String, Instant)>> {
        self.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, arrivals: Arc<Arrivals>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                // A connection that ends in the middle of something shows as an event that is missing.
                connections.spawn(receive(stream, Arc::clone(&arrivals)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn receive(stream: TcpStream, arrivals: Arc<Arrivals>) -> anyhow::Result<()> {
    let mut wire = Wire::over(stream)?;
    while let Some(request) = wire.request().await? {
        arrivals.noted().push((request.what, request.first_byte));
        arrivals.total.fetch_add(1, Ordering::Relaxed);
        wire.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    }
    Ok(())
}

// --- Figures -------------------------------------------------------------------------------------------------------

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

/// A figure for each of so many.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn per(total: f64, count: u64) -> f64 {
    total / count.max(1) as f64
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Has the daemon listen where its clients know it to be before it says so.
pub(crate) fn fix_port(site: &Site) -> anyhow::Result<SocketAddr> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = std::fs::read_to_string(&site.config)?;
    std::fs::write(&site.config, config.replace("127.0.0.1:0\"", &format!("{address}\"")))?;
    Ok(address)
}

/// Posts until something is accepted.
pub(crate) async fn first_202(site: &Site, address: SocketAddr, keyed: bool) -> anyhow::Result<()> {
    let sent = Sent::new(if keyed { "first-keyed" } else { "first" }, 100, keyed);
    let mut rng = Rng::new(std::process::id().into());
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        if let Ok(target) = Target::read(address, &site.state)
            && let Ok(mut connection) = Connection::tcp(address).await
            && let Ok(reply) = connection.send(sent.request(&target, &mut rng, rand_number())?).await
            && reply.status == 202
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    anyhow::bail!("nothing was accepted within two minutes")
}

/// So that no reference comes twice in one store.
fn rand_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0) + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What the disk under a folder has written so far, whoever asked for it and the file system's own notes among it; `None` where
/// the kernel counts nothing, as of memory. What it counts of a process is no measure of this: a page that becomes dirty counts as
/// all that it was cached with, sixteen times what is written of it and more.
pub(crate) fn disk_written_bytes(folder: &Path) -> anyhow::Result<Option<f64>> {
    // What waits belongs to what came before.
    anyhow::ensure!(Command::new("sync").arg("-f").arg(folder).status()?.success(), "sync failed");
    let device = std::fs::metadata(folder)?.dev();
    let wanted = [rustix::fs::major(device).to_string(), rustix::fs::minor(device).to_string()];
    let stats = std::fs::read_to_string("/proc/diskstats")?;
    let mut lines = stats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let Some(line) = lines.find(|line| line.starts_with(&[&wanted[0], &wanted[1]])) else { return Ok(None) };
    let sectors: f64 = line.get(9).context("no sectors written")?.parse()?;
    Ok(Some(sectors * 512.0))
}

/// Bytes of all files below a folder.
pub(crate) fn folder_bytes(folder: &Path) -> anyhow::Result<f64> {
    let mut total = 0.0;
    for entry in std::fs::read_dir(folder)?.flatten() {
        let known = entry.metadata()?;
        #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
        let own = known.len() as f64;
        total += if known.is_dir() { folder_bytes(&entry.path())? } else { own };
    }
    Ok(total)
}

/// User and system time of the process so far; fields 14 and 15 of `stat`, counted after the name in parentheses.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
    let per_second = Command::new("getconf").arg("CLK_TCK").output()?;
    let per_second: f64 = String::from_utf8(per_second.stdout)?.trim().parse().context("getconf CLK_TCK")?;
    Ok(ticks / per_second)
}

pub(crate) fn proc_status_kib(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    line.split_whitespace().next().context("an empty field")?.parse().context("not a number")
}
