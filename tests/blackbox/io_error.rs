//! F7: fdatasync fails. After that nothing is certain, so the only honest thing is to stop.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;

use crate::bed::{Bed, Context, NOW, Report};
use crate::disk::has_tool;
use crate::poster::{Plan, post_unknown_again};

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
        let injector = match Injector::attach(daemon.pid(), call, &context.work).await? {
            Ok(injector) => injector,
            Err(reason) => return Ok(Report::Skipped(reason)),
        };
        let load = bed.load(&target, Plan { connections: 8, bytes_max: 64 << 20 });
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

/// A strace that makes one fdatasync of the daemon fail. Detached, at the latest, on drop.
struct Injector {
    strace: Child,
    trace: PathBuf,
}

impl Injector {
    /// The inner error is the reason why this machine can not do it.
    async fn attach(pid: u32, call: u64, work: &Path) -> anyhow::Result<Result<Self, String>> {
        let (trace, said) = (work.join(format!("strace-{call}.log")), work.join("strace.err"));
        let inject = format!("inject=fdatasync:error=EIO:when={call}");
        let strace = Command::new("strace")
            .args(["-f", "-ttt", "-e", "trace=fdatasync", "-e", &inject, "-p", &pid.to_string(), "-o"])
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
        drop(self.strace.kill());
        drop(self.strace.wait());
    }
}
