//! F44. Work without an end: a steady rate of events, receivers that fail and come back, and a look at memory and
//! descriptors. `SOAK=8h` (or `m`, `s`) makes it as long as wanted; what is short only finds what is large.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::bed::{Bed, Context, Report};
use crate::http::Connection;
use crate::memory;
use crate::poster;
use crate::receiver::Behaviour;

const PER_SECOND: u64 = 200;
/// The index fills its cache, connections are opened, allocators take what they like to keep.
const WARM_UP: Duration = Duration::from_secs(6);
/// More than this in a short run is no cache that fills.
const GROWTH_MAX: u64 = 48 << 20;
/// What eight hours may show: the goal is 1 MiB an hour.
const PER_HOUR_MAX: f64 = 1.0;

/// What may wait when posting ends: who fails one request in five, or one second in twenty, must keep up with the others.
const BEHIND_MAX: u64 = PER_SECOND * 30;

/// How long it is asked to be.
pub(crate) fn length() -> Duration {
    let text = std::env::var("SOAK").unwrap_or_default();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = number.parse().unwrap_or(14)
        * match unit {
            "h" => 3600,
            "m" => 60,
            _ => 1,
        };
    WARM_UP + Duration::from_secs(seconds)
}

/// Memory, and descriptors without those of the store, which has a file for each part of the log.
fn look(pid: u32, bed: &Bed) -> anyhow::Result<(u64, usize)> {
    Ok((memory::status(pid, "VmRSS")? << 10, memory::descriptors_beside(pid, &bed.site.state)?))
}

/// Mebibytes an hour, by least squares.
fn slope(samples: &[(f64, u64)]) -> f64 {
    let count = samples.len() as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), (at, rss)| (x + at / count, y + *rss as f64 / count));
    let (mut above, mut below) = (0.0, 0.0);
    for (at, rss) in samples {
        above += (at - x) * (*rss as f64 - y);
        below += (at - x) * (at - x);
    }
    if below == 0.0 { 0.0 } else { above / below * 3600.0 / f64::from(1 << 20) }
}

/// The same when nothing is left to do. Connections that nobody needs any more are closed after half a minute.
async fn at_rest(pid: u32, bed: &Bed, most: usize) -> anyhow::Result<(u64, usize)> {
    let settled = Instant::now();
    loop {
        let (rss, open) = look(pid, bed)?;
        if open <= most || settled.elapsed() > Duration::from_secs(60) {
            return Ok((rss, open));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

pub(crate) async fn soak(context: Context) -> anyhow::Result<Report> {
    let bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    let paths = ["/steady", "/flaky", "/resetting"];
    for path in paths {
        bed.site.create_webhook(&path[1..], &bed.receiver.url(path)).await?;
    }
    bed.receiver.behave("/flaky", Behaviour::Flaky(20));
    let target = daemon.target().await?;
    let (_, before) = look(daemon.pid(), &bed)?;
    let (began, wanted) = (Instant::now(), length());
    let (mut samples, mut descriptors, mut posted) = (Vec::new(), Vec::new(), 0_u64);
    let mut rng = bed.rng.clone();
    let mut connection = Connection::tcp(target.address).await?;
    while began.elapsed() < wanted {
        // A receiver that goes away and comes back, every twenty seconds.
        let away = began.elapsed().as_secs() % 20 == 3;
        bed.receiver.behave("/resetting", if away { Behaviour::Reset } else { Behaviour::Status(200) });
        while posted < began.elapsed().as_millis() as u64 * PER_SECOND / 1000 {
            let reference = bed.ledger.next_reference();
            let size = rng.between(100, 2_000);
            let body = poster::payload(&mut rng, &reference, size);
            let reply = poster::post(&mut connection, &target, &bed.ledger, &reference, body).await?;
            let status = reply.context("the connection broke")?.status;
            anyhow::ensure!(status == 202, "answered {status}");
            posted += 1;
            if began.elapsed() > wanted {
                break;
            }
        }
        if began.elapsed() > WARM_UP {
            let (rss, open) = look(daemon.pid(), &bed)?;
            samples.push((began.elapsed().as_secs_f64(), rss));
            descriptors.push(open);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let behind = |status: &serde_json::Value| status["pending"].as_u64().is_some_and(|pending| pending <= BEHIND_MAX);
    daemon.wait_for(Duration::from_secs(1), "in step with receivers that fail now and then", behind).await?;
    bed.receiver.behave("/flaky", Behaviour::Status(200));
    bed.receiver.behave("/resetting", Behaviour::Status(200));
    let pid = daemon.pid();
    bed.settle(&mut daemon, &paths).await?;
    let (rss, open) = at_rest(pid, &bed, before + 16).await?;
    let of_store = memory::descriptors(pid)?.saturating_sub(open);
    daemon.stop().await?;
    let (first, most) = (samples.first().context("no sample")?.1, descriptors.iter().max().context("no sample")?);
    let growth = samples.last().context("no sample")?.1.saturating_sub(first);
    // What grows only while caches fill is no growth.
    let per_hour = slope(&samples[samples.len() / 2..]);
    let quarters: Vec<u64> = (1..4).map(|quarter| samples[samples.len() * quarter / 4].1 >> 20).collect();
    // Segments of the journal, tables of the index (those of small runs are merged), and what sled has open.
    anyhow::ensure!(of_store <= 128, "{of_store} files of the store are open");
    // Each webhook may keep a connection for each place it has, and no more.
    anyhow::ensure!(*most <= 64 * paths.len() + 64, "{most} descriptors");
    anyhow::ensure!(
        open <= before + 16,
        "{open} descriptors when nothing is left to do, {before} before there was anything"
    );
    anyhow::ensure!(growth <= GROWTH_MAX, "memory grew by {growth} bytes in {wanted:?}");
    let is_long = wanted > Duration::from_secs(3600);
    anyhow::ensure!(!is_long || per_hour <= PER_HOUR_MAX, "memory grows by {per_hour:.2} MiB an hour");
    Ok(Report::Held(format!(
        "{} s at {PER_SECOND}/s asked for, {posted} events to 3 webhooks (2 of them failing now and then): RSS {} MiB after warm-up, \
         {quarters:?} by quarters, {} MiB at the end, {per_hour:+.1} MiB/h in the second half; at most {most} descriptors, {open} at the end, and {of_store} of the store",
        wanted.as_secs(),
        first >> 20,
        rss >> 20
    )))
}
