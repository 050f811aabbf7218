//! F13: the index is damaged while the daemon is down. The journal is the truth, so nothing may be missing after.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::bed::{BOTH, Bed, Context, LATER, Report, milliseconds};
use crate::poster::post_all;
use crate::receiver::Behaviour;
use crate::rng::Rng;

#[derive(Debug, Clone, Copy)]
enum Damage {
    RandomBytesInTheMiddle,
    CutToHalf,
    ZeroedStart,
    NoConf,
    NoBlobs,
    Empty,
    NoDirectory,
    /// What an interrupted snapshot leaves behind; the engine takes the newest name for the newest snapshot.
    HalfWrittenSnapshot,
}

const DAMAGES: [Damage; 8] = [
    Damage::RandomBytesInTheMiddle,
    Damage::CutToHalf,
    Damage::ZeroedStart,
    Damage::NoConf,
    Damage::NoBlobs,
    Damage::Empty,
    Damage::NoDirectory,
    Damage::HalfWrittenSnapshot,
];

/// All kinds of damage one after the other on the same store, each with deliveries pending and old ones to find.
pub(crate) async fn damaged_index(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let mut daemon = bed.first_start().await?;
    let mut old = String::new();
    let mut slowest = Duration::ZERO;
    for damage in DAMAGES {
        // Refused, not hanging: a clean stop must find nothing in flight. Ten retries outlast the restart.
        bed.receiver.behave(LATER, Behaviour::Status(503));
        let target = daemon.target().await?;
        let references = post_all(&target, &bed.ledger, &mut bed.rng, 20).await?;
        if old.is_empty() {
            old = references.first().cloned().context("nothing was posted")?;
        }
        daemon.stop().await?;
        damage.inflict(&bed.site.state.join("index"), &mut bed.rng).with_context(|| format!("{damage:?}"))?;
        bed.receiver.behave(LATER, Behaviour::Status(200));

        let began = Instant::now();
        daemon = bed.site.start().await.with_context(|| format!("start after {damage:?}"))?;
        slowest = slowest.max(began.elapsed());
        bed.settle(&mut daemon, &BOTH).await.with_context(|| format!("after {damage:?}"))?;
        let within = Duration::from_secs(10);
        bed.site.find_within(&old, within).await.with_context(|| format!("the oldest event after {damage:?}"))?;
    }
    bed.check_searchable(10).await?;
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "kinds={} acked={} lost=0 slowest_start={}",
        DAMAGES.len(),
        bed.ledger.acked_len(),
        milliseconds(slowest)
    )))
}

impl Damage {
    fn inflict(self, index: &Path, rng: &mut Rng) -> anyhow::Result<()> {
        let db = index.join("db");
        match self {
            Self::RandomBytesInTheMiddle => {
                let bytes: Vec<u8> = (0..512).flat_map(|_| rng.next().to_le_bytes()).collect();
                let file = writable(&db)?;
                file.write_all_at(&bytes, file.metadata()?.len() / 2)?;
            }
            Self::CutToHalf => {
                let file = writable(&db)?;
                file.set_len(file.metadata()?.len() / 2)?;
            }
            Self::ZeroedStart => writable(&db)?.write_all_at(&[0; 64 << 10], 0)?,
            Self::Empty => writable(&db)?.set_len(0)?,
            Self::NoConf => fs::remove_file(index.join("conf"))?,
            Self::NoBlobs if index.join("blobs").exists() => fs::remove_dir_all(index.join("blobs"))?,
            Self::NoBlobs => {}
            Self::NoDirectory => fs::remove_dir_all(index)?,
            Self::HalfWrittenSnapshot => {
                let bytes: Vec<u8> = (0..16).flat_map(|_| rng.next().to_le_bytes()).collect();
                let mut options = OpenOptions::new();
                // As the daemon leaves its files: one that is open to others would be refused for that.
                let file = options.write(true).create_new(true).mode(0o600);
                file.open(index.join("snap.000000000000FFFF.generating"))?.write_all_at(&bytes, 0)?;
            }
        }
        Ok(())
    }
}

/// Never creates the file: damage to a file that is not the index would prove nothing.
fn writable(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new().read(true).write(true).open(path).with_context(|| format!("open {}", path.display()))
}
