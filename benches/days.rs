//! How it is after weeks: each day so many events, all delivered; then days expire while events go on coming.
//!
//! `cargo bench --bench days` (add `-- DAYS EVENTS RETENTION` for other than 30 days of 200,000 events each, kept for 30 days; within an hour no more than
//! two days may go, so keep them for at least as many days). The daemon's
//! wall clock is moved by libfaketime from day to day; everything else is real, so a million
//! events take minutes, and 1.6 GB of disk. One table for people, one JSON line per row for programs. All load goes to 127.0.0.1.
#![expect(clippy::print_stdout, reason = "its standard output is the report")]
#![expect(clippy::disallowed_methods, reason = "it measures real time with the real environment")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Context as _;

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

use daemon::{Daemon, Settings, Site};
use http::Connection;
use measure::{
    Counter, MISSING, Sent, cpu_seconds, first_202, fix_port, folder_bytes, milliseconds, per, percentile,
    post_batches, proc_status_kib, reference,
};
use report::Table;
use rng::Rng;

const PATIENCE: Duration = Duration::from_secs(300);
const SEARCHES: u64 = 300;
/// How long events are posted while days expire, and how far apart.
const LOOK_ON: Duration = Duration::from_secs(60);
const POST_EVERY: Duration = Duration::from_millis(10);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    if numbers.is_empty() && !arguments.iter().any(|argument| argument == "--bench") {
        println!("SKIP: run with `cargo bench --bench days`");
        return Ok(());
    }
    let number = |at: usize, default: u64| numbers.get(at).copied().unwrap_or(default);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(number(0, 30), number(1, 200_000), number(2, 30)))
}

/// A wall clock of the daemon's own, some days ahead. Its monotonic clock is the real one.
struct Calendar(PathBuf);

impl Calendar {
    fn install(site: &mut Site, work: &Path) -> anyhow::Result<Self> {
        let asked = Command::new("faketime").args(["-f", "+0", "sh", "-c", "echo \"$LD_PRELOAD\""]).output();
        let library = String::from_utf8(asked.context("it needs faketime")?.stdout)?.trim().to_owned();
        let calendar = Self(work.join("time"));
        calendar.set(0)?;
        site.environment = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", calendar.0.to_str().context("the work directory is not UTF-8")?),
            // Reading the file at each look at the clock would be what is measured.
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        Ok(calendar)
    }

    fn set(&self, day: u64) -> anyhow::Result<()> {
        let unfinished = self.0.with_extension("new");
        std::fs::write(&unfinished, format!("+{day}d\n"))?;
        Ok(std::fs::rename(&unfinished, &self.0)?)
    }
}

async fn measure(days: u64, events: u64, retention: u64) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("postrider-days-").tempdir()?;
    let mut table = Table::default();
    let counter = Counter::start().await?;
    let binary = std::env::var_os("POSTRIDER_BIN");
    let binary = binary.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_postrider")), PathBuf::from);
    let mut site = Site::create(&binary, work.path(), work.path().join("state"), Settings::default())?;
    let config = std::fs::read_to_string(&site.config)?;
    std::fs::write(&site.config, config.replace("[retention]\n", &format!("[retention]\ndays = {retention}\n")))?;
    let address = fix_port(&site)?;
    let calendar = Calendar::install(&mut site, work.path())?;
    let mut daemon = site.start().await?;
    site.create_webhook("bench", &format!("http://{}/", counter.address)).await?;
    let target = daemon.target().await?;
    let mut missing = 0.0;
    for day in 0..days {
        counter.forget();
        let sent = post_batches(&target, day * events..(day + 1) * events).await?;
        missing += counter.wait_for(&sent, 1, PATIENCE).await?.missing;
        daemon.wait_for(PATIENCE, "without backlog", |status| status["pending"] == 0).await?;
        println!("day {}: {} deliveries in the log", day + 1, (day + 1) * events);
        if [5, 10, 20, 30].contains(&(day + 1)) {
            tokio::time::sleep(Duration::from_secs(3)).await;
            look(&site, &daemon, day + 1, events, &mut table).await?;
            daemon.stop().await?;
            let began = Instant::now();
            daemon = site.spawn()?;
            first_202(&site, address, false).await?;
            table.row(&format!("day {}: start -> 202", day + 1), milliseconds(began.elapsed()), "ms", None);
            first_202(&site, address, true).await?;
            table.row(&format!("day {}: start -> 202 with a key", day + 1), milliseconds(began.elapsed()), "ms", None);
            // A start waits for nobody who searches, so the first search shows what is read from a cold index.
            let began = Instant::now();
            search(&site, &reference(day * events + 1)).await?;
            table.row(&format!("day {}: first search after it", day + 1), milliseconds(began.elapsed()), "ms", None);
            daemon.target().await?;
        }
        calendar.set(day + 1)?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    table.row("missing", missing, MISSING, None);
    expire(&site, &mut daemon, &calendar, (days, retention), &mut table).await?;
    daemon.stop().await?;
    table.print();
    anyhow::ensure!(missing == 0.0, "{missing} events did not arrive");
    Ok(())
}

async fn search(site: &Site, wanted: &str) -> anyhow::Result<()> {
    let reply = http::admin(&site.socket, "GET", &format!("/v1/deliveries?ref={wanted}&limit=20"), None).await?;
    let found = reply.json()?;
    anyhow::ensure!(found["items"].as_array().is_some_and(|rows| rows.len() == 1), "{wanted}: {}", reply.text());
    Ok(())
}

/// Memory, disk, searches over all days and pages from the newest on.
async fn look(site: &Site, daemon: &Daemon, day: u64, events: u64, table: &mut Table) -> anyhow::Result<()> {
    let named = |what: &str| format!("day {day}: {what}");
    table.row(&named("memory"), proc_status_kib(daemon.pid(), "VmRSS:")? / 1024.0, "MiB", None);
    let bytes = folder_bytes(&site.state.join("journal"))? + folder_bytes(&site.state.join("index"))?;
    table.row(&named("journal and index"), per(bytes, day * events), "bytes/event", None);
    let (mut rng, mut searches, mut pages, mut cursor) = (Rng::new(day), Vec::new(), Vec::new(), String::new());
    for _ in 0..SEARCHES {
        let wanted = reference(rng.next() % (day * events));
        let began = Instant::now();
        search(site, &wanted).await?;
        searches.push(began.elapsed());
    }
    let cpu_before = cpu_seconds(daemon.pid())?;
    for _ in 0..SEARCHES {
        let began = Instant::now();
        let reply = http::admin(&site.socket, "GET", &format!("/v1/deliveries?limit=50{cursor}"), None).await?;
        pages.push(began.elapsed());
        let next = reply.json()?["cursor"].as_str().unwrap_or_default().to_owned();
        cursor = if next.is_empty() { String::new() } else { format!("&cursor={next}") };
    }
    let cpu = cpu_seconds(daemon.pid())? - cpu_before;
    for (what, mut times) in [("search by reference", searches), ("page of the log", pages)] {
        times.sort();
        table.row(&named(&format!("{what}, p50")), percentile(&times, 50), "ms", None);
        table.row(&named(&format!("{what}, p99")), percentile(&times, 99), "ms", None);
    }
    table.row(&named("  CPU of a page"), per(cpu * 1000.0, SEARCHES), "ms", None);
    Ok(())
}

/// Two days go, as many as may within an hour; meanwhile somebody posts and somebody searches.
async fn expire(
    site: &Site,
    daemon: &mut Daemon,
    calendar: &Calendar,
    (days, retention): (u64, u64),
    table: &mut Table,
) -> anyhow::Result<()> {
    let folders = std::fs::read_dir(site.state.join("journal"))?.flatten().map(|entry| entry.path());
    let oldest = folders.filter(|path| path.is_dir()).min().context("a journal without days")?;
    let before = folder_bytes(&site.state)?;
    let target = daemon.target().await?;
    let (mut connection, mut rng) = (Connection::tcp(target.address).await?, Rng::new(days));
    let sent = Sent::new("meanwhile", 1024, true);
    // What anybody's sync has to wait for while the file system gives back files of 64 MiB.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let mut beside = std::fs::File::create(site.state.with_extension("beside"))?;
    let bare = std::thread::spawn(move || -> std::io::Result<Vec<Duration>> {
        let mut times = Vec::new();
        while stopped.recv_timeout(POST_EVERY) == Err(RecvTimeoutError::Timeout) {
            let asked = Instant::now();
            beside.write_all(&[0; 1024])?;
            beside.sync_data()?;
            times.push(asked.elapsed());
        }
        Ok(times)
    });
    calendar.set(days + retention + 1)?;
    let (began, mut gone_at, mut posts, mut searches, mut memory) =
        (Instant::now(), None, Vec::new(), Vec::new(), 0.0_f64);
    while began.elapsed() < LOOK_ON {
        let asked = Instant::now();
        let reply = connection.send(sent.request(&target, &mut rng, 0)?).await?;
        anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
        posts.push(asked.elapsed());
        let asked = Instant::now();
        http::admin(&site.socket, "GET", "/v1/deliveries?limit=50", None).await?;
        searches.push(asked.elapsed());
        memory = memory.max(proc_status_kib(daemon.pid(), "VmRSS:")? / 1024.0);
        if gone_at.is_none() && !oldest.exists() {
            gone_at = Some(began.elapsed());
        }
        tokio::time::sleep(POST_EVERY).await;
    }
    let after = folder_bytes(&site.state)?;
    let gone_at = gone_at.context("no day went")?;
    table.row("expiry: a day is gone after", gone_at.as_secs_f64(), "s", None);
    table.row("expiry: disk given back", (before - after) / 1_048_576.0, "MiB", None);
    drop(stop);
    let mut bare = bare.join().map_err(|_| anyhow::anyhow!("the thread that syncs panicked"))??;
    bare.sort();
    let ends = |times: &[Duration]| (percentile(times, 99), milliseconds(times.last().copied().unwrap_or_default()));
    let (bare_99, bare_slowest) = ends(&bare);
    for (what, mut times) in [("a post", posts), ("a page of the log", searches)] {
        times.sort();
        let (p99, slowest) = ends(&times);
        let beside = |bare| (what == "a post").then_some(("bare fdatasync beside it", bare));
        table.row(&format!("expiry: {what} meanwhile, p99"), p99, "ms", beside(bare_99));
        table.row(&format!("expiry: {what} meanwhile, slowest"), slowest, "ms", beside(bare_slowest));
    }
    table.row("expiry: highest memory meanwhile", memory, "MiB", None);
    Ok(())
}
