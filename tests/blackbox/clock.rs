//! F34 and F35: the wall clock jumps, and the daemon is killed or suspended between two attempts.
//!
//! The daemon alone sees another time, through libfaketime and a file that is replaced while it runs; its monotonic
//! clock is the real one, as on a machine whose wall clock somebody sets.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::Signal;

use crate::bed::{BOTH, Bed, Context, LATER, NOW, Report};
use crate::poster::post_all;
use crate::receiver::Behaviour;

/// `Site::create_webhook` asks for it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Each is a jump from the one before it; the first time of all is the true one.
const JUMPS: [&str; 9] =
    ["+1h", "+0", "-1h", "+24h", "-24h", "+31d", "@1970-01-02 00:00:00", "@2100-01-01 00:00:00", "+0"];

/// A time of the daemon's own.
struct FakeTime(PathBuf);

impl FakeTime {
    /// `None` when libfaketime is not there.
    fn install(bed: &mut Bed, context: &Context) -> anyhow::Result<Option<Self>> {
        // The program knows where its library lies; it can not change the time of what it has started.
        let asked = Command::new("faketime").args(["-f", "+0", "sh", "-c", "echo \"$LD_PRELOAD\""]).output();
        let Ok(asked) = asked else { return Ok(None) };
        let library = String::from_utf8(asked.stdout)?.trim().to_owned();
        let time = Self(context.work.join("time"));
        time.set("+0")?;
        let file = time.0.to_str().context("the work directory is not UTF-8")?.to_owned();
        bed.site.environment = [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        Ok(Some(time))
    }

    fn set(&self, time: &str) -> anyhow::Result<()> {
        let unfinished = self.0.with_extension("new");
        std::fs::write(&unfinished, format!("{time}\n"))?;
        Ok(std::fs::rename(&unfinished, &self.0)?)
    }
}

/// F34. Jumps while it runs and while it is down: nothing is lost, late or deleted, and no attempt is made up.
pub(crate) async fn clock_jumps(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let Some(time) = FakeTime::install(&mut bed, &context)? else {
        return Ok(Report::Skipped("needs faketime".to_owned()));
    };
    let mut daemon = bed.first_start().await?;
    let (mut extra_max, mut slowest) = (0, Duration::ZERO);
    for (jump, at_restart) in JUMPS.iter().flat_map(|jump| [(jump, false), (jump, true)]) {
        let what = format!("{jump}{}", if at_restart { " at a restart" } else { "" });
        bed.receiver.behave(LATER, Behaviour::Status(503));
        let target = daemon.target().await?;
        let before = bed.receiver.receipts().len();
        let began = Instant::now();
        post_all(&target, &bed.ledger, &mut bed.rng, 3).await.with_context(|| what.clone())?;
        wait_receipts(&bed, LATER, before, 3).await.with_context(|| what.clone())?;
        if at_restart {
            // From the true time into another one.
            daemon.kill()?;
            time.set(jump)?;
            daemon = bed.site.start().await.with_context(|| what.clone())?;
        } else {
            time.set(jump)?;
        }
        let target = daemon.target().await?;
        post_all(&target, &bed.ledger, &mut bed.rng, 3).await.with_context(|| what.clone())?;
        tokio::time::sleep(INTERVAL / 2).await;
        bed.receiver.behave(LATER, Behaviour::Status(200));
        let healed = Instant::now();
        // A due time that went with the clock would let them wait for an hour, or for a hundred years.
        bed.settle(&mut daemon, &BOTH).await.with_context(|| what.clone())?;
        slowest = slowest.max(healed.elapsed());
        let usual = began.elapsed().as_secs() + 2;
        let extra = most_attempts(&bed, before).saturating_sub(usual);
        anyhow::ensure!(extra <= 1, "{what}: {extra} attempts more than the schedule has");
        extra_max = extra_max.max(extra);
        if at_restart {
            time.set("+0")?;
        }
    }
    let expired = expired_days(&bed)?;
    if expired == 0 {
        bed.check_searchable(30).await.context("early expiry")?;
    }
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "jumps={} acked={} lost=0 days_expired={expired} extra_attempts={extra_max} slowest_after={} ms",
        JUMPS.len() * 2,
        bed.ledger.acked_len(),
        slowest.as_millis()
    )))
}

/// F35. `kill -9` after every attempt but the last, and once a suspend: the schedule goes on where it was.
pub(crate) async fn restart_between_attempts(context: Context) -> anyhow::Result<Report> {
    const ATTEMPTS: usize = 11;
    let mut bed = Bed::plain(&context).await?;
    let Some(time) = FakeTime::install(&mut bed, &context)? else {
        return Ok(Report::Skipped("needs faketime".to_owned()));
    };
    let mut daemon = bed.first_start().await?;
    bed.receiver.behave(LATER, Behaviour::Status(503));
    let target = daemon.target().await?;
    post_all(&target, &bed.ledger, &mut bed.rng, 1).await?;
    for made in 1..ATTEMPTS {
        wait_receipts(&bed, LATER, 0, made).await.with_context(|| format!("attempt {made}"))?;
        // The outcome rides on the next commit; a kill before it would rightly make the attempt again.
        tokio::time::sleep(Duration::from_millis(250)).await;
        if made == ATTEMPTS / 2 {
            daemon.signal(Signal::STOP)?;
            time.set("+1h")?;
            tokio::time::sleep(INTERVAL * 2).await;
            daemon.signal(Signal::CONT)?;
        } else {
            daemon.kill()?;
            daemon = bed.site.start().await?;
        }
    }
    wait_receipts(&bed, LATER, 0, ATTEMPTS).await.context("the last attempt")?;
    daemon.wait_for(Duration::from_secs(5), "without pending deliveries", |status| status["pending"] == 0).await?;
    tokio::time::sleep(INTERVAL * 2).await;
    let attempts: Vec<_> = bed.receiver.receipts().into_iter().filter(|receipt| receipt.path == LATER).collect();
    let numbers: Vec<_> = attempts.iter().filter_map(|receipt| receipt.attempt).collect();
    anyhow::ensure!(numbers == (1..=11).collect::<Vec<u32>>(), "the attempts were {numbers:?}");
    let gaps: Vec<_> = attempts.windows(2).map(|two| two[1].received_at - two[0].received_at).collect();
    let (least, most) = (gaps.iter().min().copied(), gaps.iter().max().copied());
    let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
    // Never earlier; later by the jitter, by what a start takes and by the suspend, which was two intervals.
    anyhow::ensure!(least >= INTERVAL - Duration::from_millis(20), "two attempts are only {least:?} apart: {gaps:?}");
    anyhow::ensure!(most <= INTERVAL * 2 + Duration::from_secs(2), "two attempts are {most:?} apart: {gaps:?}");
    anyhow::ensure!(bed.receiver.taken_len(NOW) == 1 && bed.receiver.duplicates() == 0, "a success was repeated");
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "kills={} suspends=1 attempts={ATTEMPTS} gaps={}..{} ms",
        ATTEMPTS - 2,
        least.as_millis(),
        most.as_millis()
    )))
}

/// Until so many requests have come to a path, those before place `since` of the books left out.
async fn wait_receipts(bed: &Bed, path: &str, since: usize, wanted: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let came = bed.receiver.receipts()[since..].iter().filter(|receipt| receipt.path == path).count();
        if came >= wanted {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "{came} of {wanted} requests came to {path}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Days that went from the log of deliveries, in all. A round of maintenance that meets a clock in 2100 may let go of two
/// within an hour, which no run of the daemon here lasts.
fn expired_days(bed: &Bed) -> anyhow::Result<usize> {
    let log = std::fs::read_to_string(&bed.site.log)?;
    let mut all = 0;
    for run in log.split("is ready listen") {
        let days = run.matches("a day is past its time").count();
        anyhow::ensure!(days <= 2, "{days} days went in one run of the daemon");
        all += days;
    }
    Ok(all)
}

/// How often the event that was tried most often came to `LATER`.
fn most_attempts(bed: &Bed, since: usize) -> u64 {
    let mut counts = std::collections::HashMap::<_, u64>::new();
    for receipt in &bed.receiver.receipts()[since..] {
        if receipt.path == LATER {
            *counts.entry(receipt.event_id.clone()).or_default() += 1;
        }
    }
    counts.into_values().max().unwrap_or_default()
}
