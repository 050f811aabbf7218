//! How fast, and next to what: the daemon against the bare pieces it is made of, in one run on one machine.
//!
//! `cargo bench --bench throughput` (add `-- --quick` for phases of about two seconds). Absolute numbers of a shared
//! machine mean little, so every row carries its ratio to a bare client, receiver or `fdatasync` measured a moment
//! earlier. One table for people, one JSON line per row for programs. All load goes to 127.0.0.1.
#![expect(clippy::print_stdout, reason = "its standard output is the report")]
#![expect(clippy::disallowed_methods, reason = "it measures real time with the real environment")]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ::http::Request;
use anyhow::Context as _;
use http_body_util::Full;
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
#[expect(dead_code, reason = "shared with the other benchmarks, which use the rest")]
mod measure;
#[path = "../tests/blackbox/poster.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod poster;
#[path = "../tests/blackbox/receiver.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod receiver;
mod report;
#[path = "../tests/blackbox/rng.rs"]
mod rng;
mod wire;

use daemon::{Daemon, Settings, Site};
use http::Connection;
use measure::{
    Counter, MISSING, Poster, Sent, cpu_seconds, disk_written_bytes, first_202, fix_port, folder_bytes, milliseconds,
    per, percentile, post_until, proc_status_kib, rate,
};
use poster::Target;
use report::{Table, Turns};
use rng::Rng;
use wire::Wire;

const CONNECTIONS: u64 = 64;
const BODY_BYTES: u64 = 1024;
/// As many as the journal may take into one group.
const GROUP_MAX: usize = 1024;
/// Long enough for any backlog this program builds; a daemon that is slower than this has failed the benchmark.
const DRAIN_WITHIN: Duration = Duration::from_secs(120);
/// How many webhooks each event goes to in the row for that.
const WIDE: u64 = 10;

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

    let socket = bare_socket(&counter, phase).await?;
    table.row("bare socket client -> receiver", socket, "requests/s", None);
    let hyper = bare_hyper(&counter, phase).await?;
    table.row("bare hyper client -> receiver", hyper, "requests/s", None);
    let reqwest = bare_reqwest(&counter, phase).await?;
    table.row("bare reqwest client -> receiver", reqwest, "requests/s", Some(("bare hyper", hyper)));
    let single = appends_alone(work.path(), phase / 2)?;
    table.row("append + fdatasync, one by one", rate(single.len() as u64, phase / 2), "appends/s", None);
    let sync = percentile(&single, 50);
    table.row("append + fdatasync, p50", sync, "ms", None);
    let grouped = appends_grouped(work.path(), phase / 2)?;
    table.row("append + fdatasync, group commit", grouped, "appends/s", None);

    let bed = Bed::start(work.path(), &counter, &mut table).await?;
    idle_latency(&bed, &counter, if quick { 100 } else { 1000 }, &mut table, sync).await?;
    accept_only(&bed, &counter, phase, &mut table).await?;
    let delivered = accept_and_deliver(&bed, &counter, phase, &mut table).await?;
    with_keys(&bed, &counter, phase, &mut table).await?;
    half_rate(&bed, &counter, phase, &mut table, delivered / 2.0).await?;
    larger_bodies(&bed, &counter, phase, &mut table).await?;
    let peak = proc_status_kib(bed.daemon.pid(), "VmHWM:")?;
    table.row("peak memory of the daemon", peak / 1024.0, "MiB", None);
    wide(&bed, &counter, phase, &mut table).await?;
    bed.daemon.stop().await?;
    #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
    let binary = std::fs::metadata(bed.site.binary)?.len() as f64;
    table.row("binary", binary / f64::from(1 << 20), "MiB", None);
    table.print();
    let missing: f64 = table.0.iter().filter(|row| row.unit == MISSING).map(|row| row.value).sum();
    anyhow::ensure!(missing == 0.0, "{missing} accepted events did not arrive within {DRAIN_WITHIN:?}");
    Ok(())
}

// --- The daemon's rows ---------------------------------------------------------------------------------------------

struct Bed {
    site: Site,
    daemon: Daemon,
    target: Target,
}

impl Bed {
    async fn start(work: &Path, counter: &Counter, table: &mut Table) -> anyhow::Result<Self> {
        let binary = std::env::var_os("POSTRIDER_BIN");
        let binary = binary.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_postrider")), PathBuf::from);
        let site = Site::create(&binary, work, work.join("state"), Settings::default())?;
        let address = fix_port(&site)?;
        let began = Instant::now();
        let mut daemon = site.spawn()?;
        first_202(&site, address, false).await?;
        table.row("start of an empty store -> 202", milliseconds(began.elapsed()), "ms", None);
        let target = daemon.target().await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        table.row("idle memory of the daemon", proc_status_kib(daemon.pid(), "VmRSS:")? / 1024.0, "MiB", None);
        site.create_webhook("bench", &format!("http://{}/", counter.address)).await?;
        Ok(Self { site, daemon, target })
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

async fn accept_only(bed: &Bed, counter: &Counter, phase: Duration, table: &mut Table) -> anyhow::Result<()> {
    bed.daemon.pause("bench").await?;
    counter.forget();
    let sent = Sent::new("accept", BODY_BYTES, false);
    let mut accepted = 0;
    let turns = Turns::take(phase, bare_grouped(bed), async |part| {
        let (posted, took) = bed.post_for(part, &sent).await?;
        accepted += posted;
        Ok(rate(posted, took))
    });
    let turns = turns.await?;
    table.in_turns("accepts only (webhook paused)", &turns, "events/s", "group commit");
    bed.daemon.resume("bench").await?;
    let began = Instant::now();
    let delivery = counter.wait_for(&sent, 1, DRAIN_WITHIN).await?;
    table.row("drain of that backlog", rate(accepted, began.elapsed()), "deliveries/s", None);
    table.row("  missing after the drain", delivery.missing, MISSING, None);
    Ok(())
}

/// Tells how many events a second were accepted and delivered.
async fn accept_and_deliver(bed: &Bed, counter: &Counter, phase: Duration, table: &mut Table) -> anyhow::Result<f64> {
    let load = deliver_in_turns(bed, counter, phase, &Sent::new("deliver", BODY_BYTES, false), 1).await?;
    table.in_turns("accepted and delivered", &load.turns, "events/s", "bare reqwest");
    table.row("  missing", load.missing, MISSING, None);
    table.row("  duplicates", load.duplicates, "events", None);
    table.row("  CPU of the daemon", load.cpu_of_ten_thousand, "s / 10,000 events", None);
    Ok(load.turns.value())
}

/// The same when each event has an idempotency key.
async fn with_keys(bed: &Bed, counter: &Counter, phase: Duration, table: &mut Table) -> anyhow::Result<()> {
    let load = deliver_in_turns(bed, counter, phase, &Sent::new("keyed", BODY_BYTES, true), 1).await?;
    table.in_turns("the same, each with an idempotency key", &load.turns, "events/s", "bare reqwest");
    table.row("  missing with keys", load.missing, MISSING, None);
    Ok(())
}

/// What was accepted and delivered in turns with the bare client, and what it took.
struct Load {
    turns: Turns,
    missing: f64,
    duplicates: f64,
    /// Seconds, for ten thousand deliveries.
    cpu_of_ten_thousand: f64,
}

/// Posts for a while and waits until everything has arrived at each of so many webhooks, in turns with the bare client.
async fn deliver_in_turns(
    bed: &Bed,
    counter: &Counter,
    phase: Duration,
    sent: &Arc<Sent>,
    webhooks: u64,
) -> anyhow::Result<Load> {
    let pid = bed.daemon.pid();
    let (mut delivered, mut cpu, mut missing, mut duplicates) = (0, 0.0, 0.0, 0.0);
    let bare = async |part| bare_reqwest(counter, part).await;
    let turns = Turns::take(phase, bare, async |part| {
        // The bare client's requests came here as well.
        counter.forget();
        sent.ids.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.clear();
        let (cpu_before, began) = (cpu_seconds(pid)?, Instant::now());
        let (accepted, _) = bed.post_for(part, sent).await?;
        let delivery = counter.wait_for(sent, webhooks, DRAIN_WITHIN).await?;
        let took = began.elapsed();
        cpu += cpu_seconds(pid)? - cpu_before;
        delivered += accepted * webhooks;
        missing += delivery.missing;
        duplicates += delivery.duplicates;
        Ok(rate(accepted * webhooks, took))
    });
    let turns = turns.await?;
    Ok(Load { turns, missing, duplicates, cpu_of_ten_thousand: per(cpu * 10_000.0, delivered) })
}

/// Posts at a steady rate, whatever the answers take, and looks when each arrives.
async fn half_rate(
    bed: &Bed,
    counter: &Counter,
    phase: Duration,
    table: &mut Table,
    per_second: f64,
) -> anyhow::Result<()> {
    counter.forget();
    let sent = Sent::new("half", BODY_BYTES, false);
    let began = Instant::now();
    let mut apps = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (target, sent) = (bed.target.clone(), Arc::clone(&sent));
        apps.spawn(async move {
            let mut poster = Poster::connect(&target, sent, number).await?;
            let mut posted = Vec::new();
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            let every = Duration::from_secs_f64(CONNECTIONS as f64 / per_second);
            #[expect(clippy::cast_possible_truncation, reason = "64 connections")]
            let mut due = began + every * number as u32 / CONNECTIONS as u32;
            while due < began + phase {
                tokio::time::sleep_until(due.into()).await;
                // Counted from when it was due: a post that had to wait for the one before is late.
                posted.push((poster.post().await?.context("told to wait")?, due));
                due += every;
            }
            anyhow::Ok(posted)
        });
    }
    let mut posted = Vec::new();
    while let Some(app) = apps.join_next().await {
        posted.extend(app??);
    }
    sent.ids.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.extend(posted.iter().map(|(id, _)| id.clone()));
    let delivery = counter.wait_for(&sent, 1, DRAIN_WITHIN).await?;
    let arrived = counter.first_bytes();
    let mut times: Vec<_> =
        posted.iter().filter_map(|(id, due)| Some(arrived.get(id)?.saturating_duration_since(*due))).collect();
    times.sort();
    table.row("at half of that rate: due -> first byte, p50", percentile(&times, 50), "ms", None);
    table.row("at half of that rate: due -> first byte, p99", percentile(&times, 99), "ms", None);
    table.row("  missing at half of that rate", delivery.missing, MISSING, None);
    Ok(())
}

/// What is written to the disk for each event.
async fn larger_bodies(bed: &Bed, counter: &Counter, phase: Duration, table: &mut Table) -> anyhow::Result<()> {
    const LARGER: u64 = 2048;
    counter.forget();
    let journal = bed.site.state.join("journal");
    // What the index still moves about is of the phases before.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (on_disk, in_journal) = (disk_written_bytes(&journal)?, folder_bytes(&journal)?);
    let sent = Sent::new("larger", LARGER, false);
    let (accepted, _) = bed.post_for(phase, &sent).await?;
    let delivery = counter.wait_for(&sent, 1, DRAIN_WITHIN).await?;
    // What the index holds back for a moment is written as well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let bodies = LARGER as f64;
    let in_journal = per(folder_bytes(&journal)? - in_journal, accepted);
    table.row("journal bytes of an event of 2 KiB", in_journal, "bytes", Some(("its body", bodies)));
    match on_disk.zip(disk_written_bytes(&journal)?) {
        Some((before, after)) => {
            let written = per(after - before, accepted);
            table.row("all the disk wrote for an event of 2 KiB", written, "bytes", Some(("its body", bodies)));
        }
        None => println!("what was written is not known: no disk that the kernel counts for is below {journal:?}"),
    }
    table.row("  missing of 2 KiB", delivery.missing, MISSING, None);
    Ok(())
}

/// Each event goes to ten webhooks.
async fn wide(bed: &Bed, counter: &Counter, phase: Duration, table: &mut Table) -> anyhow::Result<()> {
    for number in 1..WIDE {
        bed.site.create_webhook(&format!("bench-{number}"), &format!("http://{}/", counter.address)).await?;
    }
    let load = deliver_in_turns(bed, counter, phase, &Sent::new("wide", BODY_BYTES, false), WIDE).await?;
    table.in_turns("each to ten webhooks", &load.turns, "deliveries/s", "bare reqwest");
    table.row("  missing of ten", load.missing, MISSING, None);
    table.row("  CPU of the daemon with ten", load.cpu_of_ten_thousand, "s / 10,000 deliveries", None);
    Ok(())
}

/// One event at a time on an idle daemon: when it was posted, acknowledged, and its first byte at the receiver.
async fn idle_latency(bed: &Bed, counter: &Counter, posts: u64, table: &mut Table, sync: f64) -> anyhow::Result<()> {
    let mut poster = Poster::connect(&bed.target, Sent::new("idle", BODY_BYTES, false), 500).await?;
    let (mut acknowledged, mut delivered) = (Vec::new(), Vec::new());
    for _ in 0..posts {
        let began = Instant::now();
        let id = poster.post().await?.context("told to wait")?;
        acknowledged.push(began.elapsed());
        delivered.push(counter.first_byte(&id, DRAIN_WITHIN).await?.duration_since(began));
    }
    for (name, mut times) in [("idle: post -> 202", acknowledged), ("idle: post -> receiver's first byte", delivered)] {
        times.sort();
        table.row(&format!("{name}, p50"), percentile(&times, 50), "ms", Some(("fdatasync p50", sync)));
        table.row(&format!("{name}, p99"), percentile(&times, 99), "ms", None);
    }
    Ok(())
}

// --- The bare pieces -----------------------------------------------------------------------------------------------

/// What the load generator makes when nothing is between it and the receiver: no figure of the daemon can be above it.
async fn bare_socket(counter: &Counter, phase: Duration) -> anyhow::Result<f64> {
    let began = Instant::now();
    let address = counter.address;
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        clients.spawn(async move {
            let mut wire = Wire::connect(address).await?;
            let body = poster::payload(&mut Rng::new(number), "bare", BODY_BYTES);
            let head = format!(
                "POST / HTTP/1.1\r\nhost: {address}\r\nwebhook-id: bare\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let request = [head.as_bytes(), &body].concat();
            let mut done = 0;
            while began.elapsed() < phase {
                wire.write(&request).await?;
                anyhow::ensure!(wire.answer().await?.what == 200, "the receiver refused");
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    sum(clients, began).await
}

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

/// How long each took, shortest first.
fn appends_alone(work: &Path, phase: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut file = File::create(work.join("alone"))?;
    let record = [0x5A; BODY_BYTES as usize];
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < phase {
        let one = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        times.push(one.elapsed());
    }
    times.sort();
    Ok(times)
}

/// For turns with what the daemon accepts, on its disk.
fn bare_grouped(bed: &Bed) -> impl AsyncFnMut(Duration) -> anyhow::Result<f64> {
    let work = bed.site.state.with_file_name("bare");
    async move |part| {
        std::fs::create_dir_all(&work)?;
        tokio::task::block_in_place(|| appends_grouped(&work, part))
    }
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
