//! F1 and F2: the process is killed, the machine lives on.

use std::time::{Duration, Instant};

use crate::bed::{BOTH, Bed, Context, Report, milliseconds};
use crate::oracle::AtFault;
use crate::poster::{Plan, post_unknown_again};

const LOAD: Plan = Plan::flat_out(32, 24 << 20);

/// F1. `kill -9` at a random moment of a mixed load, again and again on the same store.
pub(crate) async fn kill_9_under_load(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let mut moments = context.rng().fork(9);
    let mut daemon = bed.first_start().await?;
    let (mut duplicates, mut posted_again, mut slowest_start) = (0, 0, Duration::ZERO);
    for _ in 0..context.rounds_kill {
        let target = daemon.target().await?;
        daemon.pause("later").await?;
        let load = bed.load(&target, LOAD);
        // Not synchronisation: this is the random moment of the fault.
        tokio::time::sleep(Duration::from_millis(moments.between(0, 2_000))).await;
        daemon.kill()?;
        let at_fault = AtFault::note(&bed.receiver);
        load.stop().await?;

        let began = Instant::now();
        daemon = bed.site.start().await?;
        slowest_start = slowest_start.max(began.elapsed());
        let target = daemon.target().await?;
        posted_again += post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
        daemon.resume("later").await?;
        bed.settle(&mut daemon, &BOTH).await?;
        duplicates += at_fault.check_duplicates(&bed.receiver)?;
    }
    bed.check_searchable(20).await?;
    Ok(Report::Held(format!(
        "kills={} acked={} lost=0 duplicates={duplicates} posted_again={posted_again} answers={:?} slowest_start={}",
        context.rounds_kill,
        bed.ledger.acked_len(),
        bed.ledger.statuses(),
        milliseconds(slowest_start)
    )))
}

/// F2. Ten kills within 5–200 ms of the start, so that some hit the recovery itself.
pub(crate) async fn kill_during_recovery(context: Context) -> anyhow::Result<Report> {
    const KILLS: u64 = 10;
    let mut bed = Bed::plain(&context).await?;
    let mut moments = context.rng().fork(2);
    let mut daemon = bed.first_start().await?;
    let target = daemon.target().await?;
    daemon.pause("later").await?;
    let load = bed.load(&target, LOAD);
    tokio::time::sleep(Duration::from_millis(700)).await;
    daemon.kill()?;
    load.stop().await?;

    for _ in 0..KILLS {
        let recovering = bed.site.spawn()?;
        tokio::time::sleep(Duration::from_millis(moments.between(5, 200))).await;
        // Each of these is a fault of its own; the last one is judged below, over all of them.
        recovering.kill()?;
    }
    let at_last_fault = AtFault::note(&bed.receiver);
    let began = Instant::now();
    daemon = bed.site.start().await?;
    let start = began.elapsed();
    let target = daemon.target().await?;
    post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
    daemon.resume("later").await?;
    bed.settle(&mut daemon, &BOTH).await?;
    let duplicates = at_last_fault.check_duplicates(&bed.receiver)?;
    bed.check_searchable(10).await?;
    Ok(Report::Held(format!(
        "kills={KILLS} acked={} lost=0 duplicates_after_last={duplicates} start={}",
        bed.ledger.acked_len(),
        milliseconds(start)
    )))
}
