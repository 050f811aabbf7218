//! T9, F43: sockets that a service manager holds while the daemon comes and goes.
//!
//! The suite is the service manager here: it keeps the port and the admin socket open, hands them to every start as systemd
//! does, and listens to what the daemon tells it. Posters that connect anew for every event must not notice a restart.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
use tokio::net::UnixDatagram;
use tokio::task::JoinSet;

use crate::bed::{BOTH, Bed, Context, Report, milliseconds};
use crate::daemon::Daemon;
use crate::http::Connection;
use crate::ledger::Ledger;
use crate::poster::{Target, payload, post, post_unknown_again};
use crate::rng::Rng;

const POSTERS: u64 = 8;
/// A kill breaks what it finds under way; all it may not do is to have a poster refused.
const KILLS: u64 = 5;

/// What systemd does between fork and exec: the numbers of the descriptors, and whose they are.
const HAND_OVER: &str = "exec 3<&0 4<&1 1>&2 </dev/null; exec env LISTEN_PID=$$ LISTEN_FDS=2 \"$@\"";

/// A start with two descriptors of these names.
fn handing_over(bed: &Bed, names: &str, first: OwnedFd, second: OwnedFd) -> Command {
    let site = &bed.site;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", HAND_OVER, "sh"])
        .arg(&site.binary)
        .arg("serve")
        .args(["--config".as_ref(), site.config.as_os_str(), "--state-dir".as_ref(), site.state.as_os_str()])
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(first))
        .stdout(Stdio::from(second));
    command
}

struct Manager {
    port: TcpListener,
    admin: UnixListener,
    told: UnixDatagram,
}

impl Manager {
    fn new(bed: &Bed) -> anyhow::Result<Self> {
        Ok(Self {
            port: TcpListener::bind("127.0.0.1:0")?,
            admin: UnixListener::bind(&bed.site.socket)?,
            told: UnixDatagram::bind(bed.site.config.with_file_name("notify.sock"))?,
        })
    }

    /// Starts the daemon with both sockets, and returns when it says that it is ready.
    async fn start(&self, bed: &Bed) -> anyhow::Result<Daemon> {
        let (port, admin) = (self.port.try_clone()?.into(), self.admin.try_clone()?.into());
        let mut command = handing_over(bed, "ingest:admin", port, admin);
        command
            .env("NOTIFY_SOCKET", bed.site.config.with_file_name("notify.sock"))
            .env("WATCHDOG_USEC", "3000000")
            .stderr(std::fs::OpenOptions::new().create(true).append(true).open(&bed.site.log)?);
        let daemon = Daemon::of(command.spawn()?, &bed.site);
        self.hear("READY=1").await?;
        Ok(daemon)
    }

    async fn hear(&self, wanted: &str) -> anyhow::Result<()> {
        let hearing = async {
            let mut message = vec![0; 4096];
            loop {
                let length = self.told.recv(&mut message).await?;
                let text = String::from_utf8_lossy(&message[..length]);
                if text.lines().any(|line| line.starts_with(wanted)) {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), hearing)
            .await
            .with_context(|| format!("{wanted} was not told"))?
    }
}

/// What became of the posts, by the connection.
#[derive(Default)]
struct Tally {
    stopping: AtomicBool,
    accepted: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    slowest_ms: AtomicU64,
}

/// Posts on a connection of its own per event, as a shell script with curl does, until it is told to stop.
async fn keep_posting(target: Target, ledger: Arc<Ledger>, mut rng: Rng, tally: Arc<Tally>) -> anyhow::Result<()> {
    while !tally.stopping.load(Ordering::Relaxed) {
        let began = Instant::now();
        let Ok(mut connection) = Connection::tcp(target.address).await else {
            tally.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let reference = ledger.next_reference();
        let body = payload(&mut rng, &reference, 500);
        match post(&mut connection, &target, &ledger, &reference, body).await? {
            Some(reply) if reply.status == 202 => tally.accepted.fetch_add(1, Ordering::Relaxed),
            Some(reply) => anyhow::bail!("{} {}", reply.status, reply.text()),
            None => tally.broken.fetch_add(1, Ordering::Relaxed),
        };
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tally.slowest_ms.fetch_max(took, Ordering::Relaxed);
    }
    Ok(())
}

/// Nobody else can have the port while no daemon runs, even if they are willing to share it.
fn try_to_take(address: SocketAddr) -> anyhow::Result<()> {
    let thief = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&thief, true)?;
    sockopt::set_socket_reuseport(&thief, true)?;
    let taken = bind(&thief, &address).and_then(|()| listen(&thief, 16));
    anyhow::ensure!(taken == Err(rustix::io::Errno::ADDRINUSE), "somebody else got the port {address}: {taken:?}");
    Ok(())
}

/// Restarts under posters that connect anew for each event: none is refused, and after a clean stop none is broken off.
pub(crate) async fn restarts_unnoticed(context: Context) -> anyhow::Result<Report> {
    let bed = Bed::plain(&context).await?;
    let manager = Manager::new(&bed)?;
    let mut daemon = manager.start(&bed).await?;
    bed.site.create_webhook("now", &bed.receiver.url("/now")).await?;
    bed.site.create_webhook("later", &bed.receiver.url("/later")).await?;
    let target = daemon.target().await?;
    anyhow::ensure!(target.address == manager.port.local_addr()?, "it listens on {}", target.address);
    manager.hear("WATCHDOG=1").await.context("the watchdog")?;

    let tally = Arc::new(Tally::default());
    let mut posters = JoinSet::new();
    for number in 0..POSTERS {
        let (target, ledger) = (target.clone(), Arc::clone(&bed.ledger));
        posters.spawn(keep_posting(target, ledger, bed.rng.fork(number), Arc::clone(&tally)));
    }
    for round in 0..context.rounds_restart + KILLS {
        let before = tally.accepted.load(Ordering::Relaxed);
        until(&tally, before + 2 * POSTERS, &mut posters).await?;
        if round < context.rounds_restart {
            daemon.stop().await?;
            manager.hear("STOPPING=1").await?;
        } else {
            let broken = tally.broken.load(Ordering::Relaxed);
            anyhow::ensure!(round > context.rounds_restart || broken == 0, "{broken} posts broke off at clean stops");
            daemon.kill()?;
        }
        anyhow::ensure!(bed.site.socket.exists(), "the daemon removed a socket that is not its own");
        try_to_take(target.address)?;
        daemon = manager.start(&bed).await?;
    }
    tally.stopping.store(true, Ordering::Relaxed);
    while let Some(ended) = posters.join_next().await {
        ended??;
    }
    let refused = tally.refused.load(Ordering::Relaxed);
    anyhow::ensure!(refused == 0, "{refused} posters were refused a connection");
    post_unknown_again(&target, &bed.ledger, Duration::from_secs(30)).await?;
    bed.settle(&mut daemon, &BOTH).await?;
    daemon.stop().await?;
    Ok(Report::Held(format!(
        "restarts={} kills={KILLS} posts={} refused=0 broken_by_stops=0 broken_by_kills={} lost=0 slowest_post={}",
        context.rounds_restart,
        tally.accepted.load(Ordering::Relaxed),
        tally.broken.load(Ordering::Relaxed),
        milliseconds(Duration::from_millis(tally.slowest_ms.load(Ordering::Relaxed)))
    )))
}

/// Waits until so many posts were accepted; a poster that gave up is a failure.
async fn until(tally: &Tally, accepted: u64, posters: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while tally.accepted.load(Ordering::Relaxed) < accepted {
        if let Some(ended) = posters.try_join_next() {
            ended??;
        }
        anyhow::ensure!(Instant::now() < deadline, "the posters do not get on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// What cannot be served safely is refused with 78 and told, not guessed at.
pub(crate) async fn strange_sockets(context: Context) -> anyhow::Result<Report> {
    let bed = Bed::plain(&context).await?;
    let unix = || UnixListener::bind(context.work.join(format!("{}.sock", bed.ledger.next_reference())));
    let port = || TcpListener::bind("127.0.0.1:0");
    let silent = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let cases: Vec<(&str, OwnedFd, OwnedFd, &str)> = vec![
        ("ingest:", port()?.into(), unix()?.into(), "a Unix socket with the name \"\""),
        ("ingest:operators", port()?.into(), unix()?.into(), "\"operators\""),
        ("admin:admin", unix()?.into(), unix()?.into(), "one Unix socket each"),
        ("admin:ingest", port()?.into(), unix()?.into(), "a TCP port with the name \"admin\""),
        ("ingest:admin", silent, unix()?.into(), "does not listen"),
        ("ingest:admin", std::fs::File::open("/dev/null")?.into(), unix()?.into(), "no stream socket"),
    ];
    let count = cases.len();
    for (names, first, second, told) in cases {
        let output = handing_over(&bed, names, first, second).stderr(Stdio::piped()).spawn()?;
        let output = tokio::task::spawn_blocking(move || output.wait_with_output());
        let output = tokio::time::timeout(Duration::from_secs(10), output).await.context("it serves them")???;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.code() == Some(78) && said.contains(told), "{names}: {} {said}", output.status);
        anyhow::ensure!(!bed.site.state.exists(), "{names}: a store was made");
    }
    Ok(Report::Held(format!("cases={count} exit=78")))
}
