//! F3 and F6: the power goes, and with it everything that was not on stable storage.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::{BOTH, Bed, Context, LATER, NOW, Report, milliseconds};
use crate::daemon::{Daemon, Settings};
use crate::disk::{Control, LoopFs, missing_prerequisite};
use crate::oracle::AtFault;
use crate::poster::{Plan, post_all, post_unknown_again};

const DISK_BYTES: u64 = 512 << 20;
/// A store lives through this many cuts before it is replaced: old events must survive later cuts too, and the
/// image must not fill up.
const CUTS_PER_DISK: u64 = 5;

/// Below this the disk floor, not the fault, would decide the outcome on so small a disk.
fn settings() -> Settings {
    Settings { min_free_bytes: 32 << 20, ..Settings::default() }
}

/// F3. Power cuts under a mixed load, with a bare append + fdatasync file on the same disk as control.
pub(crate) async fn power_cut(context: Context) -> anyhow::Result<Report> {
    if let Some(reason) = missing_prerequisite() {
        return Ok(Report::Skipped(reason));
    }
    let mut figures = Figures::default();
    let mut left = context.rounds_power;
    while left > 0 {
        let cuts = left.min(CUTS_PER_DISK);
        // Other moments and bodies on every disk.
        let seed = context.seed.wrapping_add(left);
        cut_repeatedly(&Context { seed, ..context.clone() }, cuts, &mut figures).await?;
        left -= cuts;
    }
    Ok(Report::Held(format!(
        "cuts={} acked={} lost=0 control={} duplicates={} slowest_start={}",
        context.rounds_power,
        figures.acked,
        figures.control,
        figures.duplicates,
        milliseconds(figures.slowest_start)
    )))
}

#[derive(Default)]
struct Figures {
    acked: usize,
    control: u64,
    duplicates: u64,
    slowest_start: Duration,
}

async fn cut_repeatedly(context: &Context, cuts: u64, figures: &mut Figures) -> anyhow::Result<()> {
    // Declared first, dropped last: the daemon must be gone before its disk can be unmounted.
    let mut disk = LoopFs::create(&context.work, DISK_BYTES)?;
    let mut bed = Bed::new(context, disk.path().join("state"), settings()).await?;
    let mut moments = context.rng().fork(3);
    let mut daemon = bed.first_start().await?;
    for round in 0..cuts {
        let target = daemon.target().await?;
        daemon.pause("later").await?;
        let mut control = Control::start(disk.path(), &format!("control-{round}"))?;
        let load = bed.load(&target, Plan::flat_out(32, 24 << 20));
        tokio::time::sleep(Duration::from_millis(moments.between(50, 1_200))).await;
        stop_the_world(&daemon).await?;
        let appended = control.stop()?;
        disk.cut_power()?;
        daemon.kill()?;
        let at_fault = AtFault::note(&bed.receiver);
        load.stop().await?;

        disk.power_on().await?;
        let found = control.recovered()?;
        anyhow::ensure!(found >= appended, "the cut lost {} records of the control", appended - found);
        figures.control += appended;
        let began = Instant::now();
        daemon = bed.site.start().await?;
        figures.slowest_start = figures.slowest_start.max(began.elapsed());
        let target = daemon.target().await?;
        post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
        daemon.resume("later").await?;
        bed.settle(&mut daemon, &BOTH).await?;
        figures.duplicates += at_fault.check_duplicates(&bed.receiver)?;
    }
    bed.check_searchable(10).await?;
    figures.acked += bed.ledger.acked_len();
    daemon.kill()?;
    disk.unmount().await
}

/// F6. The power goes within half a second of the very first start, on an empty directory.
pub(crate) async fn power_cut_at_first_start(context: Context) -> anyhow::Result<Report> {
    if let Some(reason) = missing_prerequisite() {
        return Ok(Report::Skipped(reason));
    }
    let mut moments = context.rng().fork(6);
    let mut before_ready = 0;
    for _ in 0..context.rounds_power {
        let mut disk = LoopFs::create(&context.work, 256 << 20)?;
        let bed = Bed::new(&context, disk.path().join("state"), settings()).await?;
        let daemon = bed.site.spawn()?;
        tokio::time::sleep(Duration::from_millis(moments.between(0, 500))).await;
        if !bed.site.state.join("ingest.token").exists() {
            before_ready += 1;
        }
        stop_the_world(&daemon).await?;
        disk.cut_power()?;
        daemon.kill()?;
        disk.power_on().await?;

        let mut daemon = bed.first_start().await?;
        let target = daemon.target().await?;
        post_all(&target, &bed.ledger, &mut bed.rng.clone(), 5).await?;
        bed.settle(&mut daemon, &[NOW, LATER]).await?;
        daemon.kill()?;
        disk.unmount().await?;
    }
    Ok(Report::Held(format!("cuts={} before_first_ready={before_ready} failed_starts=0", context.rounds_power)))
}

/// Fired while an fdatasync is under way the shutdown ioctl loses the newest batch of any program. So: stop the
/// daemon, and give a running fdatasync the time to return.
async fn stop_the_world(daemon: &Daemon) -> anyhow::Result<()> {
    daemon.signal(Signal::STOP)?;
    tokio::time::sleep(Duration::from_millis(40)).await;
    Ok(())
}
