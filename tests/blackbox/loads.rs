//! F32, F33, F37, F39: little memory, a process that is stopped, a large backlog, posters without mercy.
//!
//! `FLAT_OUT=300` (seconds) and `BACKLOG=1000000` (events) make them as large as wanted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::bed::{BOTH, Bed, Context, LATER, NOW, Report, milliseconds};
use crate::daemon::{Daemon, Settings};
use crate::http::Connection;
use crate::memory;
use crate::poster::{Plan, Target, payload, post, post_unknown_again};
use crate::receiver::{Behaviour, Receipt};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Only answers that tell an application what to do: accepted, or later.
fn check_answers(bed: &Bed, fine: &[u16]) -> anyhow::Result<String> {
    let statuses = bed.ledger.statuses();
    let odd = statuses.keys().find(|status| !fine.contains(status));
    anyhow::ensure!(odd.is_none(), "answers: {statuses:?}");
    Ok(format!("{statuses:?}"))
}

/// F39. Sixty-four posters as fast as they can: what was acknowledged is there, and memory does not grow with the time.
pub(crate) async fn flat_out(context: Context) -> anyhow::Result<Report> {
    const GROWTH_MAX: u64 = 64 << 20;
    let length = Duration::from_secs(number("FLAT_OUT", 8));
    let mut bed = Bed::plain(&context).await?;
    let mut daemon = bed.first_start().await?;
    let target = daemon.target().await?;
    let began = Instant::now();
    let load = bed.load(&target, Plan::flat_out(64, 4 << 30));
    let (mut settled, mut most) = (0, 0);
    while began.elapsed() < length {
        let rss = memory::status(daemon.pid(), "VmRSS")? << 10;
        if began.elapsed() < length / 2 {
            settled = settled.max(rss);
        } else {
            most = most.max(rss);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.stop().await?;
    let answers = check_answers(&bed, &[202, 429])?;
    anyhow::ensure!(
        most <= settled + GROWTH_MAX,
        "{} in the first half, {} in the second",
        mebibytes(settled),
        mebibytes(most)
    );
    post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
    bed.settle(&mut daemon, &BOTH).await?;
    let accepted = bed.ledger.acked_len();
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "{} s, 64 connections: answers={answers} acked={accepted} lost=0 most_memory={} in the first half, {} in the second",
        length.as_secs(),
        mebibytes(settled),
        mebibytes(most)
    )))
}

/// F33. Stopped for longer than an attempt may take, in the middle of everything: it goes on where it was.
pub(crate) async fn stopped_for_a_while(context: Context) -> anyhow::Result<Report> {
    const STOPS: u32 = 3;
    let settings = Settings { timeout_seconds: 2, ..Settings::default() };
    let mut bed = Bed::new(&context, context.work.join("state"), settings).await?;
    let mut daemon = bed.first_start().await?;
    let target = daemon.target().await?;
    bed.receiver.behave(NOW, Behaviour::Delay(Duration::from_millis(20)));
    // So that there are always retries that fall due, also while it is stopped.
    bed.receiver.behave(LATER, Behaviour::Flaky(10));
    let load = bed.load(&target, Plan::flat_out(16, 256 << 20));
    for round in 1..=STOPS {
        let before = bed.ledger.acked_len();
        let deadline = Instant::now() + Duration::from_secs(20);
        while bed.ledger.acked_len() < before + 50 {
            anyhow::ensure!(Instant::now() < deadline, "it did not go on after stop {}", round - 1);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        daemon.signal(Signal::STOP)?;
        // The stop itself is what is tried here.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        daemon.signal(Signal::CONT)?;
    }
    load.stop().await?;
    let answers = check_answers(&bed, &[202, 429, 408])?;
    bed.receiver.behave(LATER, Behaviour::Status(200));
    post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
    bed.settle(&mut daemon, &BOTH).await?;
    let duplicates = bed.receiver.duplicates();
    // What was on its way when time stood still may have to be sent again, and nothing else.
    let most = u64::from(STOPS) * 128;
    anyhow::ensure!(duplicates <= most, "{duplicates} duplicates");
    let retries = check_retries(&bed.receiver.receipts())?;
    let accepted = bed.ledger.acked_len();
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "stops={STOPS} of 2.5 s, limit 2 s: answers={answers} acked={accepted} lost=0 duplicates={duplicates} retries={retries}, \
         none early, none counted twice"
    )))
}

/// Every attempt has a number of its own, and comes no earlier after the one before than the plan says. How many there were.
fn check_retries(receipts: &[Receipt]) -> anyhow::Result<u64> {
    /// The plan's second, less what a receiver on a busy machine may take to notice a request.
    const APART: Duration = Duration::from_millis(900);
    let mut last: HashMap<(&str, &str), &Receipt> = HashMap::new();
    let mut retries = 0;
    for receipt in receipts {
        let Some(before) = last.insert((&receipt.path, &receipt.event_id), receipt) else { continue };
        anyhow::ensure!(receipt.attempt > before.attempt, "an attempt counted twice: {before:?}, {receipt:?}");
        let apart = receipt.received_at - before.received_at;
        anyhow::ensure!(apart >= APART, "an attempt {apart:?} after the one before: {before:?}, {receipt:?}");
        retries += 1;
    }
    anyhow::ensure!(retries > 0, "there was no retry to look at");
    Ok(retries)
}

/// A group of processes that together may have so much memory; removed on drop.
struct MemoryLimit(PathBuf);

impl MemoryLimit {
    const GROUPS: &str = "/sys/fs/cgroup/memory";

    fn create(bytes: u64) -> anyhow::Result<Self> {
        let group = Path::new(Self::GROUPS).join(format!("postrider-blackbox-{}", std::process::id()));
        std::fs::create_dir(&group)?;
        let limit = Self(group);
        std::fs::write(limit.0.join("memory.limit_in_bytes"), bytes.to_string())?;
        // No way out into swap; where there is no such file, swap is not counted either.
        drop(std::fs::write(limit.0.join("memory.memsw.limit_in_bytes"), bytes.to_string()));
        Ok(limit)
    }

    fn hold(&self, daemon: &Daemon) -> anyhow::Result<()> {
        Ok(std::fs::write(self.0.join("cgroup.procs"), daemon.pid().to_string())?)
    }

    fn kills(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(self.0.join("memory.oom_control"))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.context("oom_kill")?.trim().parse()?)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.0));
    }
}

/// F32. 128 MiB for everything, large bodies and receivers that take nothing: it says "later", and is not killed.
pub(crate) async fn memory_limit(context: Context) -> anyhow::Result<Report> {
    const LIMIT: u64 = 128 << 20;
    if !rustix::process::geteuid().is_root() || !Path::new(MemoryLimit::GROUPS).join("memory.oom_control").exists() {
        return Ok(Report::Skipped("needs root and the memory groups of cgroup v1".to_owned()));
    }
    let limit = MemoryLimit::create(LIMIT)?;
    let mut bed = Bed::plain(&context).await?;
    let daemon = bed.site.spawn()?;
    limit.hold(&daemon)?;
    drop(daemon);
    let mut daemon = bed.site.spawn()?;
    limit.hold(&daemon)?;
    daemon.wait_for(Duration::from_secs(30), "accepting", |status| status["ingest"]["accepting"] == true).await?;
    bed.site.create_webhook("now", &bed.receiver.url(NOW)).await?;
    bed.site.create_webhook("later", &bed.receiver.url(LATER)).await?;
    bed.receiver.behave(NOW, Behaviour::Status(503));
    bed.receiver.behave(LATER, Behaviour::Status(503));
    for name in ["now", "later"] {
        bed.site.cli_ok(&["webhook", "set", name, "retry.count=100"]).await?;
    }
    let target = daemon.target().await?;
    let load = bed.load(&target, Plan::flat_out(64, 400 << 20));
    tokio::time::sleep(Duration::from_secs(number("FLAT_OUT", 8))).await;
    load.stop().await?;
    let ended = daemon.exited()?;
    anyhow::ensure!(ended.is_none() && limit.kills()? == 0, "it was killed: {ended:?}, {} times", limit.kills()?);
    let answers = check_answers(&bed, &[202, 429, 503, 507])?;
    let backlog = bed.ledger.acked_len();
    for path in BOTH {
        bed.receiver.behave(path, Behaviour::Status(200));
    }
    post_unknown_again(&target, &bed.ledger, Duration::from_secs(60)).await?;
    bed.settle(&mut daemon, &BOTH).await?;
    anyhow::ensure!(limit.kills()? == 0, "it was killed while the backlog was delivered");
    let most = memory::peak(daemon.pid())?;
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "limit=128 MiB kills=0 answers={answers} backlog={backlog} lost=0 most={}",
        mebibytes(most)
    )))
}

/// Posts so many small events over 64 connections.
async fn post_many(target: &Target, count: u64) -> anyhow::Result<()> {
    let mut posters = JoinSet::new();
    for poster in 0..64 {
        let target = target.clone();
        posters.spawn(async move {
            let mut connection = Connection::tcp(target.address).await?;
            for number in (poster..count).step_by(64) {
                let reference = format!("backlog-{number}");
                let body = format!("{{ \"scanRef\" :\"{reference}\", \"pad\":\"{}\" }}", "x".repeat(940));
                loop {
                    let reply = connection.send(target.request(&reference, Bytes::from(body.clone()))?).await?;
                    match reply.status {
                        202 => break,
                        429 => tokio::time::sleep(Duration::from_millis(20)).await,
                        other => anyhow::bail!("{other} {}", reply.text()),
                    }
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = posters.join_next().await {
        ended??;
    }
    Ok(())
}

/// One event with a key, posted as the contract asks of applications: a 503 while the index of a large store is being opened means
/// "again". How many of those there were; any other answer than that and 202 is an error.
async fn post_until_taken(bed: &mut Bed, target: &Target) -> anyhow::Result<u64> {
    let reference = bed.ledger.next_reference();
    let body = payload(&mut bed.rng, &reference, 1_000);
    let mut connection = Connection::tcp(target.address).await?;
    drop(post(&mut connection, target, &bed.ledger, &reference, body).await?);
    post_unknown_again(target, &bed.ledger, Duration::from_secs(60)).await?;
    check_answers(bed, &[202, 503])?;
    Ok(bed.ledger.statuses().get(&503).copied().unwrap_or(0))
}

/// Events posted while the backlog is delivered.
const FRESH: u64 = 20;

/// F37, F38. A backlog for a receiver that is away; a kill; and the receiver comes back, beside one that was never away.
pub(crate) async fn backlog(context: Context) -> anyhow::Result<Report> {
    let count = number("BACKLOG", 20_000);
    let mut bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    bed.receiver.behave(LATER, Behaviour::Status(503));
    bed.site.create_webhook("later", &bed.receiver.url(LATER)).await?;
    bed.site.cli_ok(&["webhook", "set", "later", "retry.count=100", "retry.interval_seconds=5"]).await?;
    let target = daemon.target().await?;
    post_many(&target, count).await?;
    let pending = |status: &serde_json::Value| status["pending"].as_u64() == Some(count);
    daemon.wait_for(Duration::from_secs(60), "with all of the backlog", pending).await?;
    let full = memory::status(daemon.pid(), "VmRSS")? << 10;
    daemon.kill()?;

    let began = Instant::now();
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    let refused = post_until_taken(&mut bed, &target).await?;
    let first = began.elapsed();
    daemon
        .wait_for(Duration::from_secs(120), "with all of the backlog again", |status| {
            status["pending"].as_u64() == Some(count + 1)
        })
        .await?;
    let known = began.elapsed();
    let again = memory::status(daemon.pid(), "VmRSS")? << 10;
    anyhow::ensure!(again <= 256 << 20, "{} with {count} pending", mebibytes(again));

    bed.site.create_webhook("now", &bed.receiver.url(NOW)).await?;
    bed.receiver.behave(LATER, Behaviour::Status(200));
    let back = Instant::now();
    let slowest = beside(&bed, &target).await?;
    let within = Duration::from_secs(120 + count / 200);
    daemon.wait_for(within, "without backlog", |status| status["pending"] == 0).await?;
    let drained = back.elapsed();
    let receipts = bed.receiver.receipts();
    let took: Vec<_> =
        receipts.iter().filter(|one| one.path == LATER && one.answered == 200).map(|one| one.received_at).collect();
    let start = took.iter().min().context("nothing was taken")?;
    let at_first = took.iter().filter(|at| **at - *start < Duration::from_secs(1)).count();
    anyhow::ensure!(at_first <= 10, "{at_first} requests in its first second");
    // Each of them, the one after the kill, and the fresh ones: counted by their ids, or a duplicate would stand in for a loss.
    let (distinct, posted) = (bed.receiver.taken_len(LATER) as u64, count + 1 + FRESH);
    anyhow::ensure!(distinct == posted, "{distinct} of {posted} were taken");
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "backlog={count} memory={} after_a_kill: first_202={} (after {refused} times 503) all_known={} memory={}; first_second={at_first} drained={} s \
         slowest_fresh_event_of_another={}",
        mebibytes(full),
        milliseconds(first),
        milliseconds(known),
        mebibytes(again),
        drained.as_secs(),
        milliseconds(slowest)
    )))
}

/// Fresh events for a webhook that was never away, while the other one has its backlog; the slowest from post to receipt.
async fn beside(bed: &Bed, target: &Target) -> anyhow::Result<Duration> {
    let mut slowest = Duration::ZERO;
    for number in 0..FRESH {
        let reference = format!("fresh-{number}");
        let body = Bytes::from(format!("{{ \"scanRef\" :\"{reference}\" }}"));
        let posted = Instant::now();
        let reply = Connection::tcp(target.address).await?.send(target.request(&reference, body)?).await?;
        anyhow::ensure!(reply.status == 202, "{}: {}", reply.status, reply.text());
        let deadline = posted + Duration::from_secs(10);
        loop {
            let receipts = bed.receiver.receipts();
            let mine = receipts.iter().rev().find(|one| one.path == NOW && one.reference == reference);
            if let Some(receipt) = mine {
                slowest = slowest.max(receipt.received_at - posted);
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "{reference} waits behind the backlog of another webhook");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(slowest)
}
