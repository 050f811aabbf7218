//! What a bad receiver costs its neighbours: a thousand webhooks, all healthy; then one that hangs; then a hundred that are slow.
//!
//! `cargo bench --bench neighbours` (about three minutes). Each event goes to all of them; the time from its post to the first byte at each
//! healthy receiver is taken, and held against the run in which all are healthy. One table for people, one JSON line
//! per row for programs. All load goes to 127.0.0.1.
#![expect(clippy::print_stdout, reason = "its standard output is the report")]
#![expect(clippy::disallowed_methods, reason = "it measures real time with the real environment")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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

#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
#[path = "../tests/blackbox/daemon.rs"]
mod daemon;
#[path = "../tests/blackbox/http.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod http;
#[path = "../tests/blackbox/ledger.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod ledger;
#[expect(dead_code, reason = "shared with the other benchmarks, which use the rest")]
mod measure;
#[path = "../tests/blackbox/poster.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod poster;
#[path = "../tests/blackbox/receiver.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod receiver;
#[expect(dead_code, reason = "shared with the other benchmarks, which use the rest")]
mod report;
#[path = "../tests/blackbox/rng.rs"]
mod rng;
mod wire;

use daemon::{Settings, Site};
use http::Connection;
use measure::{MISSING, Sent, percentile, proc_status_kib};
use report::Table;
use rng::Rng;

const WEBHOOKS: u64 = 1000;
const EVENTS: u32 = 60;
/// 2,000 deliveries/s, a tenth of what they could be.
const POST_EVERY: Duration = Duration::from_millis(500);
const SLOW: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    if !std::env::args().skip(1).any(|argument| argument == "--bench") {
        println!("SKIP: run with `cargo bench --bench neighbours`");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure())
}

/// All receivers in one: by the number in the path.
#[derive(Default)]
struct Receivers {
    /// Numbers below never answer.
    hanging: AtomicU64,
    /// Numbers below answer late.
    slow: AtomicU64,
    /// First byte, by event and number.
    seen: Mutex<HashMap<(String, u64), Instant>>,
}

impl Receivers {
    async fn start() -> anyhow::Result<(Arc<Self>, SocketAddr)> {
        let receivers = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::clone(&receivers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    drop(stream.set_nodelay(true));
                    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Ok((receivers, address))
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Receivers>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let at = Instant::now();
    let number: u64 = request.uri().path().trim_start_matches('/').parse().unwrap_or(u64::MAX);
    let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    request.into_body().collect().await?;
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).entry((id, number)).or_insert(at);
    if number < shared.hanging.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    if number < shared.slow.load(Ordering::Relaxed) {
        tokio::time::sleep(SLOW).await;
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

async fn measure() -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("postrider-neighbours-").tempdir()?;
    let mut table = Table::default();
    let binary = std::env::var_os("POSTRIDER_BIN");
    let binary = binary.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_postrider")), PathBuf::from);
    let site = Site::create(&binary, work.path(), work.path().join("state"), Settings::default())?;
    let mut daemon = site.start().await?;
    let (receivers, address) = Receivers::start().await?;
    for number in 0..WEBHOOKS {
        let body = json!({"name": format!("w{number}"), "url": format!("http://{address}/{number}"), "event_types": ["*"],
            "retry": {"count": 20, "interval_seconds": 2}});
        let reply = http::admin(&site.socket, "POST", "/v1/webhooks", Some(&body.to_string())).await?;
        anyhow::ensure!(reply.status == 201, "{}: {}", reply.status, reply.text());
    }
    let target = daemon.target().await?;
    let mut healthy: Option<[f64; 2]> = None;
    let (mut rng, mut missing) = (Rng::new(7), 0.0);
    for (name, hanging, slow) in
        [("all healthy", 0, 0), ("1 hangs", 1, 0), ("100 answer after 3 s", 0, 100), ("all healthy again", 0, 0)]
    {
        receivers.hanging.store(hanging, Ordering::Relaxed);
        receivers.slow.store(slow, Ordering::Relaxed);
        let sent = Sent::new(name, 1024, false);
        let mut connection = Connection::tcp(target.address).await?;
        let mut posted = HashMap::new();
        let began = Instant::now();
        for number in 0..EVENTS {
            tokio::time::sleep_until((began + POST_EVERY * number).into()).await;
            let at = Instant::now();
            let reply = connection.send(sent.request(&target, &mut rng, u64::from(number))?).await?;
            anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
            posted.insert(reply.json()?["id"].as_str().context("a 202 without an id")?.to_owned(), at);
        }
        let of_healthy = |seen: &HashMap<(String, u64), Instant>| -> Vec<Duration> {
            let healthy = seen.iter().filter(|((_, number), _)| *number >= hanging.max(slow));
            healthy.filter_map(|((id, _), at)| posted.get(id).map(|posted| *at - *posted)).collect()
        };
        let expected = usize::try_from(u64::from(EVENTS) * (WEBHOOKS - hanging.max(slow)))?;
        let until = Instant::now() + PATIENCE;
        let mut times = loop {
            let times = of_healthy(&receivers.seen.lock().unwrap_or_else(PoisonError::into_inner));
            if times.len() >= expected || Instant::now() > until {
                break times;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let lost = expected.saturating_sub(times.len()) as f64;
        missing += lost;
        times.sort();
        let found = [percentile(&times, 50), percentile(&times, 99)];
        let baseline = healthy.get_or_insert(found);
        for ((what, value), healthy) in ["p50", "p99"].into_iter().zip(found).zip(*baseline) {
            table.row(&format!("{name}: {what} of the healthy ones"), value, "ms", Some(("all healthy", healthy)));
        }
        table.row(&format!("{name}: missing at healthy ones"), lost, MISSING, None);
        receivers.hanging.store(0, Ordering::Relaxed);
        receivers.slow.store(0, Ordering::Relaxed);
        // What hangs is let go by its timeout, and tried again.
        daemon.wait_for(PATIENCE, "without backlog", |status| status["pending"] == 0).await?;
        receivers.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
    table.row("memory with 1,000 webhooks", proc_status_kib(daemon.pid(), "VmRSS:")? / 1024.0, "MiB", None);
    daemon.stop().await?;
    table.print();
    anyhow::ensure!(missing == 0.0, "{missing} deliveries did not arrive");
    Ok(())
}
