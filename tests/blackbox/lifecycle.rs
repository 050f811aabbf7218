//! F14, F40, F43 and the receivers' menu (F15, F16): nothing breaks here but other people's programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;

use crate::bed::{BOTH, Bed, Context, Report, milliseconds};
use crate::daemon::Settings;
use crate::poster::{Plan, post_all, post_unknown_again};
use crate::receiver::Behaviour;

/// F14. A second daemon on the same state directory gives way at once and says why.
pub(crate) async fn second_daemon(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let mut first = bed.first_start().await?;
    let target = first.target().await?;
    let mut slowest = Duration::ZERO;
    for number in 0..3 {
        let log = context.work.join(format!("second-{number}.log"));
        let began = Instant::now();
        let mut second = bed.site.spawn_at(&context.work.join("second.sock"), &log)?;
        let status = second.wait_exit(Duration::from_secs(2)).await.context("the second daemon")?;
        slowest = slowest.max(began.elapsed());
        anyhow::ensure!(status.code() == Some(75), "the second daemon ended with {status}, not with exit code 75");
        let said = std::fs::read_to_string(&log)?;
        let named = bed.site.state.to_str().is_some_and(|path| said.contains(path));
        anyhow::ensure!(named, "the second daemon does not name the state directory: {said}");
        post_all(&target, &bed.ledger, &mut bed.rng, 5).await.context("the first daemon after the second")?;
    }
    bed.settle(&mut first, &BOTH).await?;
    first.stop().await?;
    Ok(Report::Held(format!("attempts=3 exit=75 slowest={}", milliseconds(slowest))))
}

/// F40. A store that a later version wrote: refused with 78 and a remedy, and not one byte or time of it is changed.
pub(crate) async fn unknown_format(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let mut daemon = bed.first_start().await?;
    let target = daemon.target().await?;
    post_all(&target, &bed.ledger, &mut bed.rng, 10).await?;
    bed.settle(&mut daemon, &BOTH).await?;
    daemon.stop().await?;
    let path = bed.site.state.join("FORMAT");
    let known = std::fs::read(&path)?;
    let foreign: [&[u8]; 3] = [b"postrider store 2\n", b"postrider store 10 with more\n", b"\xff\xfe"];
    for format in foreign {
        std::fs::write(&path, format)?;
        let before = tree(&bed.site.state)?;
        let log = context.work.join("refused.log");
        let mut refused = bed.site.spawn_at(&bed.site.socket, &log)?;
        let status = refused.wait_exit(Duration::from_secs(5)).await?;
        let said = std::fs::read_to_string(&log)?;
        anyhow::ensure!(status.code() == Some(78), "a store {format:?} ended it with {status}: {said}");
        let named = path.to_str().is_some_and(|path| said.contains(path)) && said.contains("newer");
        anyhow::ensure!(named, "neither the file nor the remedy is named: {said}");
        let after = tree(&bed.site.state)?;
        anyhow::ensure!(before == after, "the store was touched: {:?}", differing(&before, &after));
    }
    std::fs::write(&path, known)?;
    let mut daemon = bed.site.start().await.context("the right version after a wrong one")?;
    let target = daemon.target().await?;
    post_all(&target, &bed.ledger, &mut bed.rng, 5).await?;
    bed.settle(&mut daemon, &BOTH).await?;
    bed.check_searchable(15).await?;
    daemon.stop().await?;
    Ok(Report::Held(format!("formats={} exit=78 files_touched=0 lost=0", foreign.len())))
}

/// Every file with its bytes and when it was changed, but for the lock, which says who holds it.
type Tree = BTreeMap<PathBuf, (Vec<u8>, SystemTime)>;

fn tree(folder: &Path) -> anyhow::Result<Tree> {
    let mut found = Tree::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut tree(&path)?);
        } else if path.is_file() && !path.ends_with("lock") {
            found.insert(path.clone(), (std::fs::read(&path)?, path.metadata()?.modified()?));
        }
    }
    Ok(found)
}

fn differing<'a>(before: &'a Tree, after: &'a Tree) -> Vec<&'a PathBuf> {
    before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect()
}

/// F43. SIGTERM under load: out within ten seconds, nothing lost, nothing sent twice.
pub(crate) async fn stop_under_load(context: Context) -> anyhow::Result<Report> {
    let mut bed = Bed::plain(&context).await?;
    let mut moments = context.rng().fork(43);
    let mut daemon = bed.first_start().await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..context.rounds_stop {
        let target = daemon.target().await?;
        let load = bed.load(&target, Plan::flat_out(32, 16 << 20));
        tokio::time::sleep(Duration::from_millis(moments.between(100, 900))).await;
        slowest = slowest.max(daemon.stop().await?);
        load.stop().await?;
        daemon = bed.site.start().await?;
        let target = daemon.target().await?;
        post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
        bed.settle(&mut daemon, &BOTH).await?;
        let duplicates = bed.receiver.duplicates();
        anyhow::ensure!(duplicates == 0, "a clean stop caused {duplicates} duplicates");
    }
    daemon.stop().await?;
    let acked = bed.ledger.acked_len();
    Ok(Report::Held(format!(
        "stops={} acked={acked} lost=0 duplicates=0 slowest_stop={}",
        context.rounds_stop,
        milliseconds(slowest)
    )))
}

/// F15, F16. Receivers that refuse, hang, reset, dawdle or fail now and then; the healthy one must not notice.
pub(crate) async fn misbehaving_receivers(context: Context) -> anyhow::Result<Report> {
    const EVENTS: usize = 20;
    let settings = Settings { timeout_seconds: 1, ..Settings::default() };
    let mut bed = Bed::new(&context, context.work.join("state"), settings).await?;
    let mut daemon = bed.site.start().await?;
    let menu = [
        ("/healthy", Behaviour::Status(200)),
        ("/flaky", Behaviour::Flaky(30)),
        ("/slow", Behaviour::Delay(Duration::from_millis(200))),
        ("/failing", Behaviour::Status(500)),
        ("/redirecting", Behaviour::Status(302)),
        ("/hanging", Behaviour::Hang),
        ("/resetting", Behaviour::Reset),
    ];
    for (path, behaviour) in menu {
        bed.receiver.behave(path, behaviour);
        bed.site.create_webhook(&path[1..], &bed.receiver.url(path)).await?;
    }
    let target = daemon.target().await?;
    let began = Instant::now();
    post_all(&target, &bed.ledger, &mut bed.rng, EVENTS).await?;
    wait_taken(&bed, "/healthy", EVENTS, Duration::from_secs(5)).await.context("the healthy receiver")?;
    let healthy = began.elapsed();
    // Each bad receiver must have been tried before it is cured, or the retries would not be what delivers.
    for (path, _) in menu {
        wait_tried(&bed, path, Duration::from_secs(5)).await?;
    }
    for path in ["/failing", "/redirecting", "/hanging", "/resetting"] {
        anyhow::ensure!(bed.receiver.taken_len(path) == 0, "{path} took a delivery while it was misbehaving");
        bed.receiver.behave(path, Behaviour::Status(200));
    }
    bed.settle(&mut daemon, &menu.map(|(path, _)| path)).await?;
    let retried = bed.receiver.receipts().iter().filter(|receipt| receipt.attempt > Some(1)).count();
    anyhow::ensure!(bed.receiver.duplicates() == 0, "a delivery was sent again after its 2xx");
    let refused = bed.receiver.receipts().iter().filter(|receipt| receipt.answered >= 300).count();
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "receivers={} events={EVENTS} healthy_after={} refused={refused} retries={retried} all_after={}",
        menu.len(),
        milliseconds(healthy),
        milliseconds(began.elapsed())
    )))
}

async fn wait_taken(bed: &Bed, path: &str, wanted: usize, within: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    while bed.receiver.taken_len(path) < wanted {
        let taken = bed.receiver.taken_len(path);
        anyhow::ensure!(Instant::now() < deadline, "{path} took {taken} of {wanted} within {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn wait_tried(bed: &Bed, path: &str, within: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + within;
    while !bed.receiver.receipts().iter().any(|receipt| receipt.path == path) {
        anyhow::ensure!(Instant::now() < deadline, "{path} was not tried within {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
