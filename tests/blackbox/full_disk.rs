//! F10 to F12: the disk fills up, slowly or at once, and the daemon lives with it; or it turns read-only.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;

use crate::bed::{BOTH, Bed, Context, NOW, Report, SETTLE_WITHIN, milliseconds};
use crate::daemon::Settings;
use crate::disk::{LoopFs, missing_prerequisite};
use crate::http::{Connection, Reply};
use crate::poster::{self, Plan, Target, post_all, post_unknown_again};
use crate::receiver::Behaviour;

const DISK_BYTES: u64 = 384 << 20;
const FLOOR_BYTES: u64 = 48 << 20;
const WITHIN: Duration = Duration::from_secs(5);
const FILLER: &str = "filler";

fn settings() -> Settings {
    Settings { min_free_bytes: FLOOR_BYTES, ..Settings::default() }
}

/// F11. Not one free block, and a restart in that state: start, say so, deliver what was pending, recover.
pub(crate) async fn full_disk_restart(context: Context) -> anyhow::Result<Report> {
    if let Some(reason) = missing_prerequisite() {
        return Ok(Report::Skipped(reason));
    }
    let disk = LoopFs::create(&context.work, DISK_BYTES)?;
    let mut bed = Bed::new(&context, disk.path().join("state"), settings()).await?;
    let mut daemon = bed.site.start().await?;
    bed.site.create_webhook("now", &bed.receiver.url(NOW)).await?;
    // Hanging receivers keep the deliveries pending without using up their retries.
    bed.receiver.behave(NOW, Behaviour::Hang);
    let target = daemon.target().await?;
    post_all(&target, &bed.ledger, &mut bed.rng, 50).await?;
    let free = disk.fill(FILLER)?;
    daemon.kill()?;
    bed.receiver.behave(NOW, Behaviour::Status(200));

    let began = Instant::now();
    let mut daemon = bed.site.spawn()?;
    daemon.wait_for(WITHIN, "answering status on a full disk", |_| true).await?;
    let answered = began.elapsed();
    let target = daemon.target().await?;
    wait_status(&bed, &target, 507, WITHIN).await?;
    let health = healthz(&target).await?;
    anyhow::ensure!(health.status == 503, "/healthz says {} on a full disk", health.status);
    wait_taken(&bed, 50).await.context("pending deliveries on a full disk")?;

    disk.give_back(FILLER)?;
    let freed = Instant::now();
    wait_status(&bed, &target, 202, WITHIN).await?;
    let resumed = freed.elapsed();
    post_unknown_again(&target, &bed.ledger, WITHIN).await?;
    bed.settle(&mut daemon, &[NOW]).await?;
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "free={free} B status_after={} resumed_after={} acked={}",
        milliseconds(answered),
        milliseconds(resumed),
        bed.ledger.acked_len()
    )))
}

/// F10. Another program eats the disk: refuse in time, go on delivering, resume by itself.
pub(crate) async fn full_disk_gradual(context: Context) -> anyhow::Result<Report> {
    if let Some(reason) = missing_prerequisite() {
        return Ok(Report::Skipped(reason));
    }
    let disk = LoopFs::create(&context.work, DISK_BYTES)?;
    let mut bed = Bed::new(&context, disk.path().join("state"), settings()).await?;
    let mut daemon = bed.first_start().await?;
    let target = daemon.target().await?;
    daemon.pause("later").await?;
    let mut steps = 0;
    while disk.free_bytes()? > FLOOR_BYTES + (32 << 20) {
        steps += 1;
        disk.take(&format!("{FILLER}-{steps}"), 16 << 20)?;
        post_all(&target, &bed.ledger, &mut bed.rng, 5).await.context("refused although above the floor")?;
    }
    let above = disk.free_bytes()?.saturating_sub(FLOOR_BYTES / 2);
    disk.take(FILLER, above)?;
    let refusal = wait_status(&bed, &target, 507, WITHIN).await?;
    let refused_at = disk.free_bytes()?;
    anyhow::ensure!(refused_at > 0, "refused only when nothing was left");
    // Deliveries and the operator's verbs go on below the floor.
    daemon.resume("later").await?;
    bed.settle(&mut daemon, &BOTH).await.context("deliveries below the floor")?;

    disk.give_back(FILLER)?;
    let freed = Instant::now();
    wait_status(&bed, &target, 202, WITHIN).await?;
    let resumed = freed.elapsed();
    post_unknown_again(&target, &bed.ledger, WITHIN).await?;
    bed.settle(&mut daemon, &BOTH).await?;
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "refused_with_free={} MiB retry_after={:?} resumed_after={} acked={}",
        refused_at >> 20,
        refusal.headers.get("retry-after"),
        milliseconds(resumed),
        bed.ledger.acked_len()
    )))
}

/// F12. The file system turns read-only under load: stop with 74 and say why, do not start until it is better.
pub(crate) async fn disk_turns_read_only(context: Context) -> anyhow::Result<Report> {
    if let Some(reason) = missing_prerequisite() {
        return Ok(Report::Skipped(reason));
    }
    let mut disk = LoopFs::create(&context.work, DISK_BYTES)?;
    let settings = Settings { min_free_bytes: 16 << 20, ..Settings::default() };
    let mut bed = Bed::new(&context, disk.path().join("state"), settings).await?;
    let mut daemon = bed.first_start().await?;
    daemon.pause("later").await?;
    let target = daemon.target().await?;
    let load = bed.load(&target, Plan::flat_out(8, 64 << 20));
    tokio::time::sleep(Duration::from_millis(700)).await;
    // With a sync under way, ext4 (6.18) loses what a bare append and fdatasync was told to be safe, 1 of 8 times.
    daemon.signal(Signal::STOP)?;
    tokio::time::sleep(Duration::from_millis(40)).await;
    if let Some(reason) = disk.turn_read_only()? {
        return Ok(Report::Skipped(reason));
    }
    daemon.signal(Signal::CONT)?;
    let began = Instant::now();
    let status = daemon.wait_exit(Duration::from_secs(10)).await.context("on a read-only disk")?;
    let stopped = began.elapsed();
    anyhow::ensure!(status.code() == Some(74), "on a read-only disk the daemon ended with {status}");
    load.stop().await?;
    let said = std::fs::read_to_string(&bed.site.log)?;
    anyhow::ensure!(said.contains("Read-only file system"), "the log does not say what is wrong");
    let mut futile = bed.site.spawn()?;
    let status = futile.wait_exit(Duration::from_secs(10)).await.context("a start on a read-only disk")?;
    anyhow::ensure!(matches!(status.code(), Some(73 | 74)), "a start on a read-only disk ended with {status}");

    disk.power_on().await?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
    daemon.resume("later").await?;
    bed.settle(&mut daemon, &BOTH).await?;
    daemon.stop().await?;
    let acked = bed.ledger.acked_len();
    Ok(Report::Held(format!("exit=74 after={} acked={acked} lost=0", milliseconds(stopped))))
}

/// Posts until the wanted status comes.
pub(crate) async fn wait_status(bed: &Bed, target: &Target, wanted: u16, within: Duration) -> anyhow::Result<Reply> {
    let deadline = Instant::now() + within;
    let mut rng = bed.rng.fork(0x507);
    let reference = bed.ledger.next_reference();
    let body = poster::payload(&mut rng, &reference, 500);
    loop {
        let mut connection = Connection::tcp(target.address).await?;
        // Always the same event and key: an app does not make up new ones while it is refused.
        let reply = poster::post(&mut connection, target, &bed.ledger, &reference, body.clone()).await?;
        let status = reply.as_ref().map(|reply| reply.status);
        if let Some(reply) = reply
            && reply.status == wanted
        {
            return Ok(reply);
        }
        anyhow::ensure!(Instant::now() < deadline, "no {wanted} within {within:?}; the last answer was {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn healthz(target: &Target) -> anyhow::Result<Reply> {
    let request = Request::builder().uri("/healthz").header("host", target.address.to_string());
    Connection::tcp(target.address).await?.send(request.body(Full::new(Bytes::new()))?).await
}

async fn wait_taken(bed: &Bed, wanted: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_WITHIN;
    while bed.receiver.taken_len(NOW) < wanted {
        let taken = bed.receiver.taken_len(NOW);
        anyhow::ensure!(Instant::now() < deadline, "{taken} of {wanted} arrived within {SETTLE_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
