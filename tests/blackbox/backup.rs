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

/// Goes on until the backup is there, however fast the machine is, and with events few enough to look at each of them.
const LOAD: Plan = Plan { connections: 4, bytes_max: 64 << 20, pause: Duration::from_millis(8) };
/// Each backup has all that came before it: with all of them of one installation, most of the time would be spent on the same events.
const ROUNDS_EACH: u64 = 20;
/// An outcome is durable after so long, and then it is in the backup.
const SETTLED: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Figures {
    backups: u64,
    checked: usize,
    slowest: Duration,
    most_bytes: u64,
    /// Backups during which events were taken.
    under_load: u64,
}

pub(crate) async fn backup_under_load(context: Context) -> anyhow::Result<Report> {
    let mut figures = Figures::default();
    while figures.backups < context.rounds_backup {
        let work = context.work.join(format!("installation-{}", figures.backups));
        std::fs::create_dir(&work)?;
        let seed = context.seed.wrapping_add(figures.backups);
        backups_of_one(Context { work: work.clone(), seed, ..context.clone() }, &mut figures).await?;
        std::fs::remove_dir_all(&work)?;
    }
    let Figures { backups, checked, slowest, most_bytes, under_load } = figures;
    anyhow::ensure!(under_load * 2 > backups, "events were taken during {under_load} of {backups} backups only");
    Ok(Report::Held(format!(
        "backups={backups} restored={backups} taken_meanwhile={under_load} events_checked={checked} lost=0 delivered_again=0 slowest_backup={} most_bytes={most_bytes}",
        milliseconds(slowest)
    )))
}

async fn backups_of_one(context: Context, figures: &mut Figures) -> anyhow::Result<()> {
    let mut bed = Bed::plain(&context).await?;
    let mut moments = context.rng().fork(41);
    let mut daemon = bed.first_start().await?;
    daemon.pause("later").await?;
    let file = context.work.join("backup.tar");
    let file = file.to_str().context("the work directory is not UTF-8")?;
    let until = context.rounds_backup.min(figures.backups + ROUNDS_EACH);
    for round in figures.backups..until {
        let target = daemon.target().await?;
        let (load, known) = (bed.load(&target, LOAD), bed.ledger.acked_len());
        let loaded = Instant::now();
        while bed.ledger.acked_len() == known {
            anyhow::ensure!(loaded.elapsed() < Duration::from_secs(30), "round {round}: no event is taken");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(moments.between(0, 200))).await;
        let acked = bed.ledger.acked();
        let delivered: HashMap<String, u32> = settled(&bed);
        let began = Instant::now();
        bed.site.cli_ok(&["backup", file]).await?;
        figures.slowest = figures.slowest.max(began.elapsed());
        figures.under_load += u64::from(bed.ledger.acked_len() > acked.len());
        figures.most_bytes = figures.most_bytes.max(std::fs::metadata(file)?.len());
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
        figures.checked += acked.len();
        figures.backups += 1;
    }
    daemon.wait_for(Duration::from_secs(30), "able to go on", |status| status["ingest"]["accepting"] == true).await?;
    daemon.stop().await?;
    Ok(())
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
