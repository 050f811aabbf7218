//! F7, F8 and F9: fdatasync, writes and reads fail.
//!
//! After a failed sync nothing is certain, so the only honest thing is to stop; a write that found no room is taken
//! back; what can not be read now may be readable later, and is not given up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;

use crate::bed::{BOTH, Bed, Context, NOW, Report};
use crate::disk::has_tool;
use crate::poster::{Plan, post_all, post_unknown_again};

/// Fail-stop on the n-th fdatasync of a thread: no 202 for anything posted after it, exit code 74, nothing lost.
pub(crate) async fn journal_io_error(context: Context) -> anyhow::Result<Report> {
    if !has_tool("strace") {
        return Ok(Report::Skipped("needs strace".to_owned()));
    }
    let mut bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    bed.site.create_webhook("now", &bed.receiver.url(NOW)).await?;
    let mut calls = vec![1, 2, 7];
    calls.push(context.rng().fork(7).between(10, 50));
    for &call in &calls {
        let target = daemon.target().await?;
        let inject = format!("fdatasync:error=EIO:when={call}");
        let injector = match Injector::attach(daemon.pid(), &inject, &[], &context.work).await? {
            Ok(injector) => injector,
            Err(reason) => return Ok(Report::Skipped(reason)),
        };
        let load = bed.load(&target, Plan::flat_out(8, 64 << 20));
        let status = daemon.wait_exit(Duration::from_secs(20)).await;
        let failed_at = injector.failed_at()?;
        drop(injector);
        let status = status.with_context(|| format!("fdatasync failed at call {call}"))?;
        load.stop().await?;
        anyhow::ensure!(status.code() == Some(74), "after EIO the daemon ended with {status}, not with exit code 74");
        let late = bed.ledger.acked().values().filter(|ack| ack.posted_at > failed_at).count();
        anyhow::ensure!(late == 0, "{late} events posted after the first EIO were acknowledged");

        daemon = bed.site.start().await?;
        let target = daemon.target().await?;
        post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
        bed.settle(&mut daemon, &[NOW]).await?;
    }
    daemon.stop().await?;
    let acked = bed.ledger.acked_len();
    Ok(Report::Held(format!("failed_calls={calls:?} exit=74 late_acks=0 acked={acked} lost=0")))
}

/// F8. Writes to the journal fail, once and from then on: nothing lost, no panic, exit code 74 or a 507 that passes.
pub(crate) async fn journal_write_error(context: Context) -> anyhow::Result<Report> {
    if !has_tool("strace") {
        return Ok(Report::Skipped("needs strace".to_owned()));
    }
    let mut bed = Bed::plain(&context).await?;
    let mut daemon = bed.site.start().await?;
    bed.site.create_webhook("now", &bed.receiver.url(NOW)).await?;
    let call = context.rng().fork(8).between(2, 30);
    let (mut injected, mut resumed) = (0, Duration::ZERO);
    for fault in ["EIO:when=1", "ENOSPC:when=1", "ENOSPC:when=1+", "EIO:when=N", "ENOSPC:when=N", "ENOSPC:when=N+"] {
        let fault = fault.replace("=N", &format!("={call}"));
        let target = daemon.target().await?;
        let inject = format!("pwrite64:error={fault}");
        let attached = Injector::attach(daemon.pid(), &inject, &segments(&bed.site.state)?, &context.work).await?;
        let injector = match attached {
            Ok(injector) => injector,
            Err(reason) => return Ok(Report::Skipped(reason)),
        };
        let load = bed.load(&target, Plan::flat_out(8, 8 << 20));
        let ends = fault.starts_with("EIO");
        let let_go_before = fs::read_to_string(&bed.site.log)?.matches("(os error 38)").count();
        let deadline = Instant::now() + Duration::from_secs(20);
        while injector.injected()? == 0 {
            anyhow::ensure!(Instant::now() < deadline, "no write was made to fail ({fault})");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if ends {
            let status = daemon.wait_exit(Duration::from_secs(10)).await.context(inject)?;
            anyhow::ensure!(status.code() == Some(74), "after EIO the daemon ended with {status}");
        } else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let ended = daemon.exited()?;
            anyhow::ensure!(ended.is_none(), "a full disk ended the daemon: {ended:?} ({fault})");
        }
        load.stop().await?;
        injected += injector.injected()?;
        drop(injector);
        // Let go of in the middle of a call that was to fail, the daemon sees a call that does not exist: a failure like EIO.
        let let_go = fs::read_to_string(&bed.site.log)?.matches("(os error 38)").count() > let_go_before;
        if let_go && !ends {
            let status = daemon.wait_exit(Duration::from_secs(10)).await?;
            anyhow::ensure!(status.code() == Some(74), "after ENOSYS the daemon ended with {status}");
        }
        if ends || let_go {
            daemon = bed.site.start().await?;
        }
        let (target, again) = (daemon.target().await?, Instant::now());
        post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
        resumed = resumed.max(again.elapsed());
        bed.settle(&mut daemon, &[NOW]).await.with_context(|| format!("after {fault}"))?;
    }
    daemon.stop().await?;
    no_panics(&bed)?;
    let acked = bed.ledger.acked_len();
    Ok(Report::Held(format!(
        "kinds=6 nth={call} failed_writes={injected} acked={acked} lost=0 panics=0 all_accepted_after={} ms",
        resumed.as_millis()
    )))
}

/// F9. Segments can not be read for a while: what waits for its payload goes on waiting, and is delivered afterwards.
pub(crate) async fn journal_read_error(context: Context) -> anyhow::Result<Report> {
    if !has_tool("strace") {
        return Ok(Report::Skipped("needs strace".to_owned()));
    }
    let mut bed = Bed::plain(&context).await?;
    let mut daemon = bed.first_start().await?;
    let (mut injected, mut exits) = (0, 0);
    for fault in ["EIO:when=1", "EIO:when=1+"] {
        let target = daemon.target().await?;
        daemon.pause("later").await?;
        post_all(&target, &bed.ledger, &mut bed.rng, 30).await?;
        // From here on the payloads are on the disk only.
        daemon.kill()?;
        daemon = bed.site.start().await?;
        let inject = format!("pread64:error={fault}");
        let attached = Injector::attach(daemon.pid(), &inject, &segments(&bed.site.state)?, &context.work).await?;
        let injector = match attached {
            Ok(injector) => injector,
            Err(reason) => return Ok(Report::Skipped(reason)),
        };
        daemon.resume("later").await?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while injector.injected()? == 0 {
            anyhow::ensure!(Instant::now() < deadline, "no read was made to fail ({fault})");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        injected += injector.injected()?;
        drop(injector);
        if let Some(status) = daemon.exited()? {
            anyhow::ensure!(status.code() == Some(74), "after a read error the daemon ended with {status}");
            exits += 1;
            daemon = bed.site.start().await?;
        }
        bed.settle(&mut daemon, &BOTH).await.with_context(|| format!("after {fault}"))?;
    }
    daemon.stop().await?;
    no_panics(&bed)?;
    let acked = bed.ledger.acked_len();
    Ok(Report::Held(format!("failed_reads={injected} exits_with_74={exits} acked={acked} lost=0 panics=0")))
}

fn no_panics(bed: &Bed) -> anyhow::Result<()> {
    let log = fs::read_to_string(&bed.site.log)?;
    let panic = log.lines().find(|line| line.contains("panicked"));
    anyhow::ensure!(panic.is_none(), "a panic: {panic:?}");
    Ok(())
}

/// The files of the journal as they are now.
fn segments(state: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for day in fs::read_dir(state.join("journal"))? {
        for file in fs::read_dir(day?.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|end| end == "seg") {
                found.push(path);
            }
        }
    }
    anyhow::ensure!(!found.is_empty(), "the journal has no segments");
    Ok(found)
}

/// A strace that makes calls of the daemon fail. Detached, at the latest, on drop.
struct Injector {
    strace: Child,
    trace: PathBuf,
}

impl Injector {
    /// The inner error is the reason why this machine can not do it.
    async fn attach(pid: u32, inject: &str, paths: &[PathBuf], work: &Path) -> anyhow::Result<Result<Self, String>> {
        let (trace, said) = (work.join("strace.log"), work.join("strace.err"));
        let call = format!("trace={}", inject.split(':').next().unwrap_or_default());
        let inject = format!("inject={inject}");
        let strace = Command::new("strace")
            .args(["-f", "-ttt", "-e", &call, "-e", &inject, "-p", &pid.to_string()])
            .args(paths.iter().flat_map(|path| [Path::new("-P"), path]))
            .arg("-o")
            .arg(&trace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said)?)
            .spawn()?;
        let mut injector = Self { strace, trace };
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let text = fs::read_to_string(&said)?;
            if text.contains("attached") {
                return Ok(Ok(injector));
            }
            if injector.strace.try_wait()?.is_some() || Instant::now() > deadline {
                return Ok(Err(format!("strace can not attach: {}", text.trim())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How often the kernel returned an error that it was told to.
    fn injected(&self) -> anyhow::Result<usize> {
        Ok(fs::read_to_string(&self.trace)?.matches("(INJECTED)").count())
    }

    /// When the kernel returned the first injected error.
    fn failed_at(&self) -> anyhow::Result<SystemTime> {
        let text = fs::read_to_string(&self.trace)?;
        let line = text.lines().find(|line| line.contains("(INJECTED)"));
        let line = line.context("no fdatasync was made to fail: does the journal use another call?")?;
        let seconds = line.split_whitespace().find_map(|word| word.parse::<f64>().ok().filter(|_| word.contains('.')));
        let seconds = seconds.with_context(|| format!("no time in {line:?}"))?;
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds))
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        // Asked to end, it lets go of the daemon first; killed, it may leave a call half done.
        if let Some(pid) = i32::try_from(self.strace.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        for _ in 0..200 {
            if !matches!(self.strace.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(self.strace.kill());
        drop(self.strace.wait());
    }
}
