//! How it grows: memory, start, search and disk with a large backlog and a long log.
//!
//! `cargo bench --bench scale` (add `-- 100000` for another number of events than a million, which takes some minutes and 3 GB of
//! disk). One table for people, one JSON line per row for programs. All load goes to 127.0.0.1.
#![expect(clippy::print_stdout, reason = "its standard output is the report")]
#![expect(clippy::disallowed_methods, reason = "it measures real time with the real environment")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
#[path = "../tests/blackbox/daemon.rs"]
mod daemon;
#[path = "../tests/blackbox/http.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod http;
#[path = "../tests/blackbox/ledger.rs"]
#[expect(dead_code, reason = "shared with the black-box suite, which uses the rest")]
mod ledger;
#[expect(dead_code, reason = "shared with the other benchmark, which uses the rest")]
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

use daemon::{Daemon, Settings, Site};
use measure::{
    Counter, MISSING, Sent, cpu_seconds, first_202, fix_port, folder_bytes, milliseconds, per, percentile,
    post_batches, proc_status_kib, rate, reference,
};
use report::Table;
use rng::Rng;

const PATIENCE: Duration = Duration::from_secs(900);
/// How often each search is made.
const SEARCHES: u64 = 500;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let asked = arguments.iter().find_map(|argument| argument.parse::<u64>().ok());
    if asked.is_none() && !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts benchmarks too, in an unoptimised build: figures nobody should read.
        println!("SKIP: run with `cargo bench --bench scale`");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(asked.unwrap_or(1_000_000)))
}

async fn measure(count: u64) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("postrider-scale-").tempdir()?;
    let mut table = Table::default();
    let counter = Counter::start().await?;
    let binary = std::env::var_os("POSTRIDER_BIN");
    let binary = binary.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_postrider")), PathBuf::from);
    let site = Site::create(&binary, work.path(), work.path().join("state"), Settings::default())?;
    let address = fix_port(&site)?;
    let mut daemon = site.start().await?;
    site.create_webhook("bench", &format!("http://{}/", counter.address)).await?;
    daemon.pause("bench").await?;
    let target = daemon.target().await?;

    let began = Instant::now();
    let sent = post_batches(&target, 0..count).await?;
    table.row("events posted, in batches, all pending", rate(count, began.elapsed()), "events/s", None);
    memory(&daemon, "memory with all pending", &mut table)?;
    settle(&mut daemon, count).await?;
    let (index, journal) = (folder_bytes(&site.state.join("index"))?, folder_bytes(&site.state.join("journal"))?);
    table.row("journal on disk", per(journal, count), "bytes/event", None);
    table.row("index on disk", per(index, count), "bytes/event", None);

    daemon.kill()?;
    let mut daemon = starts(&site, address, "after kill -9", &mut table).await?;
    settle(&mut daemon, count).await?;
    memory(&daemon, "memory with all pending after that", &mut table)?;
    daemon.stop().await?;
    let daemon = starts(&site, address, "after a stop", &mut table).await?;
    daemon.stop().await?;
    let mut daemon = rebuild(&site, address, count, &mut table).await?;

    drain(&mut daemon, &counter, &sent, count, &mut table).await?;
    searches(&site, &daemon, count, &mut table).await?;
    memory(&daemon, "memory with all in the log", &mut table)?;
    daemon.stop().await?;
    let daemon = starts(&site, address, "with all in the log", &mut table).await?;
    memory(&daemon, "memory after that start", &mut table)?;
    searches(&site, &daemon, count, &mut table).await?;
    daemon.stop().await?;
    table.print();
    let missing: f64 = table.0.iter().filter(|row| row.unit == MISSING).map(|row| row.value).sum();
    anyhow::ensure!(missing == 0.0, "{missing} events did not arrive");
    Ok(())
}

fn memory(daemon: &Daemon, name: &str, table: &mut Table) -> anyhow::Result<()> {
    table.row(name, proc_status_kib(daemon.pid(), "VmRSS:")? / 1024.0, "MiB", None);
    Ok(())
}

/// Waits until all is known to be pending and what is written in the background is written.
async fn settle(daemon: &mut Daemon, count: u64) -> anyhow::Result<()> {
    let pending = |status: &serde_json::Value| status["pending"].as_u64().is_some_and(|pending| pending >= count);
    daemon.wait_for(PATIENCE, "with all pending", pending).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

async fn starts(site: &Site, address: std::net::SocketAddr, how: &str, table: &mut Table) -> anyhow::Result<Daemon> {
    let began = Instant::now();
    let daemon = site.spawn()?;
    first_202(site, address, false).await?;
    table.row(&format!("start {how} -> 202"), milliseconds(began.elapsed()), "ms", None);
    first_202(site, address, true).await?;
    table.row(&format!("start {how} -> 202 with a key"), milliseconds(began.elapsed()), "ms", None);
    Ok(daemon)
}

/// Takes the index away; it is built anew from the journal while events are accepted.
async fn rebuild(site: &Site, address: std::net::SocketAddr, count: u64, table: &mut Table) -> anyhow::Result<Daemon> {
    std::fs::remove_dir_all(site.state.join("index"))?;
    let began = Instant::now();
    let mut daemon = site.spawn()?;
    first_202(site, address, false).await?;
    table.row("start without an index -> 202", milliseconds(began.elapsed()), "ms", None);
    first_202(site, address, true).await?;
    table.row("start without an index -> 202 with a key", milliseconds(began.elapsed()), "ms", None);
    daemon.wait_for(PATIENCE, "with an index", |status| status["index"]["state"] == "ready").await?;
    table.row("index built anew", rate(count, began.elapsed()), "events/s", None);
    let peak = proc_status_kib(daemon.pid(), "VmHWM:")? / 1024.0;
    table.row("  highest memory meanwhile", peak, "MiB", None);
    Ok(daemon)
}

async fn drain(
    daemon: &mut Daemon,
    counter: &Counter,
    sent: &Sent,
    count: u64,
    table: &mut Table,
) -> anyhow::Result<()> {
    counter.forget();
    let cpu_before = cpu_seconds(daemon.pid())?;
    daemon.resume("bench").await?;
    let began = Instant::now();
    let delivery = counter.wait_for(sent, 1, PATIENCE).await?;
    table.row("drain", rate(count, began.elapsed()), "deliveries/s", None);
    table.row("  missing after the drain", delivery.missing, MISSING, None);
    table.row("  duplicates", delivery.duplicates, "events", None);
    let cpu = cpu_seconds(daemon.pid())? - cpu_before;
    table.row("  CPU of the drain", per(cpu * 10_000.0, count), "s / 10,000 deliveries", None);
    daemon.wait_for(PATIENCE, "without backlog", |status| status["pending"] == 0).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// One search after the other, as the terminal UI makes them.
async fn searches(site: &Site, daemon: &Daemon, count: u64, table: &mut Table) -> anyhow::Result<()> {
    let mut rng = Rng::new(count);
    let (mut by_reference, mut pages, mut cursor) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..SEARCHES {
        let wanted = reference(rng.next() % count);
        let began = Instant::now();
        let reply = http::admin(&site.socket, "GET", &format!("/v1/deliveries?ref={wanted}&limit=20"), None).await?;
        by_reference.push(began.elapsed());
        let found = reply.json()?;
        anyhow::ensure!(found["items"].as_array().is_some_and(|rows| rows.len() == 1), "{wanted}: {}", reply.text());
    }
    let cpu_before = cpu_seconds(daemon.pid())?;
    for _ in 0..SEARCHES {
        let began = Instant::now();
        let reply = http::admin(&site.socket, "GET", &format!("/v1/deliveries?limit=50{cursor}"), None).await?;
        pages.push(began.elapsed());
        let page = reply.json()?;
        let next = page["cursor"].as_str().unwrap_or_default();
        cursor = if next.is_empty() { String::new() } else { format!("&cursor={next}") };
    }
    let cpu = cpu_seconds(daemon.pid())? - cpu_before;
    for (name, mut times) in [("search by reference", by_reference), ("page of the log", pages)] {
        times.sort();
        table.row(&format!("{name}, p50"), percentile(&times, 50), "ms", None);
        table.row(&format!("{name}, p99"), percentile(&times, 99), "ms", None);
    }
    table.row("  CPU of a page", per(cpu * 1000.0, SEARCHES), "ms", None);
    Ok(())
}
