//! F41: backups of a daemon under load, each of them restored and started beside it.
//!
//! What was acknowledged before a backup began has to come out of it, and what was delivered well before has to stay
//! delivered: the receiver's books count both, for the restored daemon sends to the same places.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::bed::{Bed, Context, LATER, NOW, Report, milliseconds};
use crate::daemon::{Settings, Site};
use crate::poster::Plan;

const LOAD: Plan = Plan { connections: 8, bytes_max: 1 << 20 };
/// An outcome is durable after so long, and then it is in the backup.
const SETTLED: Duration = Duration::from_millis(500);

pub(crate) async fn backup_under_load(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let mut moments = context.rng().fork(41);
    let mut daemon = bed.first_start().await?;
    daemon.pause("later").await?;
    let file = context.work.join("backup.tar");
    let file = file.to_str().context("the work directory is not UTF-8")?;
    let (mut checked, mut slowest, mut bytes) = (0, Duration::ZERO, 0);
    for round in 0..context.rounds_backup {
        let target = daemon.target().await?;
        let load = bed.load(&target, LOAD);
        tokio::time::sleep(Duration::from_millis(moments.between(0, 200))).await;
        let acked = bed.ledger.acked();
        let delivered: HashMap<String, u32> = settled(&bed);
        let began = Instant::now();
        bed.site.cli_ok(&["backup", file]).await?;
        slowest = slowest.max(began.elapsed());
        bytes = std::fs::metadata(file)?.len();
        load.stop().await?;

        let work = context.work.join(format!("restored-{round}"));
        std::fs::create_dir(&work)?;
        let restored = Site::create(&context.binary, &work, work.join("state"), Settings::default())?;
        restored.cli_ok(&["restore", file]).await?;
        std::fs::copy(bed.site.state.join("master.key"), restored.state.join("master.key"))?;
        let before = bed.receiver.taken(LATER);
        let mut other = restored.start().await?;
        other.resume("later").await?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let taken = bed.receiver.taken(LATER);
            let count = |books: &HashMap<String, u32>, id: &str| books.get(id).copied().unwrap_or(0);
            let missing = acked.keys().filter(|id| count(&taken, id) == count(&before, id)).count();
            if missing == 0 {
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "round {round}: {missing} of {} events are lost", acked.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        other.wait_for(Duration::from_secs(30), "without pending deliveries", |status| status["pending"] == 0).await?;
        restored.cli_ok(&["verify"]).await?;
        other.stop().await?;
        std::fs::remove_dir_all(&work)?;
        let now = bed.receiver.taken(NOW);
        let again = delivered.iter().filter(|(id, count)| now.get(*id).is_some_and(|after| after > count)).count();
        anyhow::ensure!(again == 0, "round {round}: {again} events were delivered again");
        checked += acked.len();
    }
    daemon.wait_for(Duration::from_secs(30), "able to go on", |status| status["ingest"]["accepting"] == true).await?;
    Ok(Report::Held(format!(
        "backups={} restored={} events_checked={checked} lost=0 delivered_again=0 slowest_backup={} last_bytes={bytes}",
        context.rounds_backup,
        context.rounds_backup,
        milliseconds(slowest)
    )))
}

/// Events that the receiver of `now` has had for long enough, and how often.
fn settled(bed: &Bed) -> HashMap<String, u32> {
    let recent: Vec<String> = bed
        .receiver
        .receipts()
        .iter()
        .rev()
        .take_while(|receipt| receipt.received_at.elapsed() < SETTLED)
        .map(|receipt| receipt.event_id.clone())
        .collect();
    let mut taken = bed.receiver.taken(NOW);
    taken.retain(|id, _| !recent.contains(id));
    taken
}
