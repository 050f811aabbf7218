//! The local apps: concurrent keep-alive connections that post seeded JSON bodies of 100 B to 1 MiB.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::task::JoinSet;

use crate::http::{Connection, Reply};
use crate::ledger::Ledger;
use crate::rng::Rng;

pub(crate) const EVENT_TYPE: &str = "AML_MONITORING";

/// Where and as whom to post.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

impl Target {
    pub(crate) fn read(address: SocketAddr, state: &Path) -> anyhow::Result<Self> {
        let path = state.join("ingest.token");
        let token = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(Self { address, token: token.trim().to_owned() })
    }

    pub(crate) fn request(&self, reference: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        Ok(Request::builder()
            .method("POST")
            .uri(format!("/v1/events/{EVENT_TYPE}"))
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("idempotency-key", reference)
            .body(Full::new(body))?)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: u64,
    /// The load pauses itself when this much was sent, so that a fast disk does not outgrow a small test image.
    pub(crate) bytes_max: u64,
    /// What each connection waits after an event that was taken.
    pub(crate) pause: Duration,
}

impl Plan {
    /// As fast as the daemon takes them.
    pub(crate) const fn flat_out(connections: u64, bytes_max: u64) -> Self {
        Self { connections, bytes_max, pause: Duration::ZERO }
    }
}

/// A running load. Dropping it aborts the posters.
pub(crate) struct Load {
    stopping: Arc<AtomicBool>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Load {
    pub(crate) fn start(target: &Target, ledger: &Arc<Ledger>, rng: &Rng, plan: Plan) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let budget = Arc::new(AtomicI64::new(i64::try_from(plan.bytes_max).unwrap_or(i64::MAX)));
        let mut tasks = JoinSet::new();
        for number in 0..plan.connections {
            let app = App {
                target: target.clone(),
                ledger: Arc::clone(ledger),
                rng: rng.fork(number),
                stopping: Arc::clone(&stopping),
                budget: Arc::clone(&budget),
                pause: plan.pause,
            };
            tasks.spawn(app.run());
        }
        Self { stopping, tasks }
    }

    /// Lets every poster finish the request it has under way, and passes on what went wrong in the harness itself.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a poster panicked")??;
        }
        Ok(())
    }
}

struct App {
    target: Target,
    ledger: Arc<Ledger>,
    rng: Rng,
    stopping: Arc<AtomicBool>,
    budget: Arc<AtomicI64>,
    pause: Duration,
}

impl App {
    async fn run(mut self) -> anyhow::Result<()> {
        let mut connection = None;
        while !self.stopping.load(Ordering::Relaxed) && self.budget.load(Ordering::Relaxed) > 0 {
            let Some(open) = &mut connection else {
                match Connection::tcp(self.target.address).await {
                    Ok(fresh) => connection = Some(fresh),
                    // The daemon is down on purpose; the pause only keeps this loop from burning a core.
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
                continue;
            };
            let reference = self.ledger.next_reference();
            let size = body_size(&mut self.rng);
            let body = payload(&mut self.rng, &reference, size);
            self.budget.fetch_sub(i64::try_from(body.len()).unwrap_or(i64::MAX), Ordering::Relaxed);
            match post(open, &self.target, &self.ledger, &reference, body).await? {
                Some(reply) if reply.status == 202 && self.pause.is_zero() => {}
                Some(reply) if reply.status == 202 => tokio::time::sleep(self.pause).await,
                // Told to slow down or refused: an app that hammers on proves nothing.
                Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                None => connection = None,
            }
        }
        Ok(())
    }
}

/// Posts one event and enters a 202 in the ledger. `None` when the connection broke before an answer came.
pub(crate) async fn post(
    connection: &mut Connection,
    target: &Target,
    ledger: &Ledger,
    reference: &str,
    body: Bytes,
) -> anyhow::Result<Option<Reply>> {
    let request = target.request(reference, body.clone())?;
    ledger.sending(reference, &body);
    let posted_at = SystemTime::now();
    let Ok(reply) = connection.send(request).await else { return Ok(None) };
    ledger.answered(reply.status);
    if reply.status == 202 {
        let answer = reply.json()?;
        let event_id = answer["id"].as_str().context("a 202 without an id")?;
        ledger.acknowledged(event_id, reference, posted_at)?;
    }
    Ok(Some(reply))
}

/// Posts `count` events one after the other; each must be accepted.
pub(crate) async fn post_all(
    target: &Target,
    ledger: &Ledger,
    rng: &mut Rng,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let mut connection = Connection::tcp(target.address).await?;
    let mut references = Vec::with_capacity(count);
    for _ in 0..count {
        let reference = ledger.next_reference();
        let size = rng.between(100, 8_000);
        let body = payload(rng, &reference, size);
        let reply = post(&mut connection, target, ledger, &reference, body).await?;
        let reply = reply.context("the connection broke while nothing was wrong")?;
        anyhow::ensure!(reply.status == 202, "expected 202, got {}: {}", reply.status, reply.text());
        references.push(reference);
    }
    Ok(references)
}

/// Does what the contract asks of apps: whatever got no 202 is posted again with the same key, until it has one.
pub(crate) async fn post_unknown_again(target: &Target, ledger: &Ledger, within: Duration) -> anyhow::Result<usize> {
    let deadline = Instant::now() + within;
    let unknown = ledger.unknown();
    for (reference, body) in &unknown {
        loop {
            anyhow::ensure!(Instant::now() < deadline, "{reference} is still not accepted after {within:?}");
            if let Ok(mut connection) = Connection::tcp(target.address).await
                && let Some(reply) = post(&mut connection, target, ledger, reference, body.clone()).await?
                && reply.status == 202
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(unknown.len())
}

/// Mixed on purpose: storage engines change their path at page, segment and blob sizes, and small bodies alone once
/// hid the loss of every large one.
fn body_size(rng: &mut Rng) -> u64 {
    match rng.between(0, 99) {
        0..=69 => rng.between(100, 2_000),
        70..=89 => rng.between(2_000, 64_000),
        90..=97 => rng.between(64_000, 256_000),
        _ => rng.between(256_000, 1_048_576),
    }
}

/// JSON that no serialiser would write back the same way, so a re-serialised body has another hash.
pub(crate) fn payload(rng: &mut Rng, reference: &str, size: u64) -> Bytes {
    let mut text =
        format!("{{ \"scanRef\" :\"{reference}\",  \"n\": 1.50e+02, \"u\":\"\\u00e9\\/\", \"dup\":1,\"pad\":\"");
    let wanted = usize::try_from(size).unwrap_or(100).min(1_048_576).saturating_sub(4);
    while text.len() < wanted {
        let word = rng.next().to_le_bytes();
        text.push_str(&data_encoding::BASE64URL_NOPAD.encode(&word));
    }
    text.truncate(wanted.max(text.find("\"pad\":\"").map_or(0, |at| at + 7)));
    text.push_str("\"\n}");
    Bytes::from(text)
}
