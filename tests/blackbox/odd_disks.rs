//! F10, F14: memory disks, disks with hardly a free file, and one store under several paths.
//!
//! What is there besides an ordinary disk, and where two daemons might miss that they want the same.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::bed::{BOTH, Bed, Context, Report, milliseconds};
use crate::daemon::{Settings, Site};
use crate::disk::has_tool;
use crate::full_disk::wait_status;
use crate::poster::{post_all, post_unknown_again};

const WITHIN: Duration = Duration::from_secs(5);

/// A mount that is undone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(arguments: &[&str], at: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(at)?;
        let status = Command::new("mount").args(arguments).arg(at).status()?;
        anyhow::ensure!(status.success(), "mount {arguments:?}");
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

fn cannot_mount() -> Option<Report> {
    if rustix::process::geteuid().is_root() && has_tool("mount") {
        return None;
    }
    Some(Report::Skipped("needs root for mounts".to_owned()))
}

/// Takes something until next to nothing is left, gives it back, and measures how long it takes until it accepts again.
async fn refuse_and_resume(
    bed: &mut Bed,
    take: impl Fn(usize) -> anyhow::Result<bool>,
    give_back: impl Fn(),
) -> anyhow::Result<String> {
    let mut daemon = bed.first_start().await?;
    let target = daemon.target().await?;
    daemon.pause("later").await?;
    post_all(&target, &bed.ledger, &mut bed.rng, 30).await?;
    let mut taken = 0;
    while take(taken)? {
        taken += 1;
    }
    wait_status(bed, &target, 507, WITHIN).await.context("next to nothing is left, and it accepts")?;
    daemon.resume("later").await?;
    bed.settle(&mut daemon, &BOTH).await.context("deliveries when next to nothing is left")?;
    bed.site.cli_ok(&["webhook", "delete", "later", "--yes"]).await.context("the operator's verbs then")?;
    bed.site.cli_ok(&["webhook", "restore", "later"]).await?;
    give_back();
    let freed = Instant::now();
    wait_status(bed, &target, 202, WITHIN).await?;
    let resumed = freed.elapsed();
    post_unknown_again(&target, &bed.ledger, WITHIN).await?;
    bed.settle(&mut daemon, &BOTH).await?;
    daemon.stop().await?;
    Ok(format!("resumed_after={} acked={}", milliseconds(resumed), bed.ledger.acked_len()))
}

/// F10. 64 MiB of memory as the disk; and a disk with room but with hardly a file left.
pub(crate) async fn small_disks(context: Context) -> anyhow::Result<Report> {
    if let Some(report) = cannot_mount() {
        return Ok(report);
    }
    let disk = Mount::new(&["-t", "tmpfs", "-o", "size=64m", "tmpfs"], &context.work.join("small"))?;
    let mut bed = Bed::new(&context, disk.0.join("state"), Settings::default()).await?;
    let filler = |number: usize| disk.0.join(format!("filler-{number}"));
    let take = |number| {
        std::fs::write(filler(number), vec![7; 1 << 20])?;
        let left = rustix::fs::statvfs(&disk.0)?;
        Ok(left.f_bavail * left.f_frsize > 6 << 20)
    };
    let give_back = || (0..64).for_each(|number| drop(std::fs::remove_file(filler(number))));
    let bytes = refuse_and_resume(&mut bed, take, give_back).await.context("64 MiB")?;

    let disk = Mount::new(&["-t", "tmpfs", "-o", "size=512m,nr_inodes=300", "tmpfs"], &context.work.join("files"))?;
    let inner = Context { work: context.work.join("inner"), ..context.clone() };
    std::fs::create_dir(&inner.work)?;
    let mut bed = Bed::new(&inner, disk.0.join("state"), Settings::default()).await?;
    let filler = |number: usize| disk.0.join(format!("filler-{number}"));
    let take = |number| {
        File::create(filler(number))?;
        Ok(rustix::fs::statvfs(&disk.0)?.f_favail > 2)
    };
    let give_back = || (0..300).for_each(|number| drop(std::fs::remove_file(filler(number))));
    let files = refuse_and_resume(&mut bed, take, give_back).await.context("300 files")?;
    Ok(Report::Held(format!("64 MiB: {bytes}; 300 files: {files}")))
}

/// F14. The same store through a link and through another mount, the same port with another store, and after a kill.
pub(crate) async fn second_ways(context: Context) -> anyhow::Result<Report> {
    if let Some(report) = cannot_mount() {
        return Ok(report);
    }
    let mut bed = Bed::plain(&context).await?;
    // What a killed daemon leaves behind is in nobody's way.
    bed.site.start().await?.kill()?;
    let mut first = bed.first_start().await?;
    let target = first.target().await?;
    let bound = context.work.join("bound");
    let state = bed.site.state.to_str().context("UTF-8")?;
    let _mount = Mount::new(&["--bind", state], &bound)?;
    let link = context.work.join("link");
    std::os::unix::fs::symlink(&context.work, &link)?;
    let other_port = |site: &Site| -> anyhow::Result<()> {
        let text = std::fs::read_to_string(&site.config)?;
        std::fs::write(&site.config, text.replace("127.0.0.1:0", &target.address.to_string()))?;
        Ok(())
    };
    let mut slowest = Duration::ZERO;
    for (number, (what, state, same_port)) in [
        ("another mount", bound.clone(), false),
        ("a link above it", link.join("state"), false),
        ("the same path with dots", bed.site.state.join("../state"), false),
        ("the same port", context.work.join("other"), true),
    ]
    .into_iter()
    .enumerate()
    {
        let work = context.work.join(format!("second-{number}"));
        std::fs::create_dir(&work)?;
        let site = Site::create(&bed.site.binary, &work, state, Settings::default())?;
        if same_port {
            other_port(&site)?;
        }
        let began = Instant::now();
        let mut second = site.spawn()?;
        let status =
            second.wait_exit(Duration::from_secs(2)).await.with_context(|| format!("a second one by {what}"))?;
        slowest = slowest.max(began.elapsed());
        let said = std::fs::read_to_string(&site.log)?;
        anyhow::ensure!(status.code() == Some(75), "by {what} it ended with {status}: {said}");
        post_all(&target, &bed.ledger, &mut bed.rng, 3).await.with_context(|| format!("the first, after {what}"))?;
    }
    bed.settle(&mut first, &BOTH).await?;
    first.stop().await?;
    Ok(Report::Held(format!("ways=4 exit=75 slowest={} after_a_kill=starts", milliseconds(slowest))))
}
