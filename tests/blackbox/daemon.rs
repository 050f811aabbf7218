//! The finished program as an operator has it: start it, ask it, stop it, kill it.
//!
//! Nothing here links to the crate. What is asked for goes over the command line, the admin socket and signals.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http;
use crate::poster::Target;
use crate::receiver::SIGNING_KEY;

/// Generous, because a debug build on a busy two-core machine replays a journal slowly; a hang is still a failure.
const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// One installation: where its state, its socket, its configuration and its log lie.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) binary: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
    /// What the daemon, and only the daemon, finds in its environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// The settings that differ from scenario to scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) min_free_bytes: u64,
    pub(crate) timeout_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        // A low floor, so that the suite tests faults and not how full the machine's disk is.
        Self { min_free_bytes: 16 << 20, timeout_seconds: 10 }
    }
}

impl Site {
    /// Writes the configuration into `work`; `state` may lie on another file system.
    pub(crate) fn create(binary: &Path, work: &Path, state: PathBuf, settings: Settings) -> anyhow::Result<Self> {
        let site = Self {
            binary: binary.to_owned(),
            state,
            socket: work.join("admin.sock"),
            config: work.join("postrider.toml"),
            log: work.join("daemon.log"),
            environment: Vec::new(),
        };
        let text = format!(
            "[ingest]\nlisten = \"127.0.0.1:0\"\nschema = \"off\"\n\
             [delivery]\nmax_in_flight = 128\nper_webhook_in_flight = 64\ntimeout_seconds = {}\n\
             [egress]\nallow = [\"127.0.0.0/8\"]\n\
             [retention]\nmin_free_bytes = {}\nmin_free_percent = 1\n\
             [email]\nsmtp = \"\"\n\
             [log]\nformat = \"text\"\n",
            settings.timeout_seconds, settings.min_free_bytes
        );
        std::fs::write(&site.config, text)?;
        std::fs::write(work.join("signing.key"), SIGNING_KEY)?;
        Ok(site)
    }

    /// Starts the daemon and does not wait for anything.
    pub(crate) fn spawn(&self) -> anyhow::Result<Daemon> {
        self.spawn_at(&self.socket, &self.log)
    }

    pub(crate) fn spawn_at(&self, socket: &Path, log: &Path) -> anyhow::Result<Daemon> {
        let output: File = OpenOptions::new().create(true).append(true).open(log)?;
        let child = self
            .command()
            .arg("serve")
            .args([Path::new("--config"), &self.config, Path::new("--state-dir"), &self.state])
            .args([Path::new("--socket"), socket])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        Ok(Daemon { child, site: self.clone() })
    }

    /// Starts the daemon and waits until it accepts events.
    pub(crate) async fn start(&self) -> anyhow::Result<Daemon> {
        let mut daemon = self.spawn()?;
        daemon.wait_for(READY_WITHIN, "accepting events", |status| status["ingest"]["accepting"] == true).await?;
        Ok(daemon)
    }

    /// Runs one verb of the command line against this installation. Never through a shell.
    pub(crate) async fn cli(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command();
        command.args(arguments).env("POSTRIDER_SOCKET", &self.socket).env("POSTRIDER_CONFIG", &self.config);
        command.env("POSTRIDER_STATE_DIR", &self.state).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output()).await?.context("run the command line")
    }

    /// As `cli`, but anything else than exit 0 is an error that quotes what was said.
    pub(crate) async fn cli_ok(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.cli(arguments).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`postrider {}`: {}; {said}", arguments.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// `status --json` once, or nothing while the daemon can not be reached.
    pub(crate) async fn status(&self) -> anyhow::Result<Option<Value>> {
        let output = self.cli(&["status", "--json"]).await?;
        // Exit 1 is "ran, and something is wrong": the report is as good as any.
        let answered = matches!(output.status.code(), Some(0 | 1)) && !output.stdout.is_empty();
        if !answered {
            return Ok(None);
        }
        let report = serde_json::from_slice(&output.stdout);
        report.map(Some).with_context(|| format!("status --json: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// A webhook for every event type, signed with the suite's key, retried quickly.
    pub(crate) async fn create_webhook(&self, name: &str, url: &str) -> anyhow::Result<()> {
        let key = self.config.with_file_name("signing.key");
        let key = key.to_str().context("the work directory is not UTF-8")?;
        let arguments = ["webhook", "create", "--name", name, "--url", url, "--event-type", "*"];
        let more = ["--signing-key-file", key, "--retry-count", "10", "--retry-interval", "1", "--json"];
        self.cli_ok(&[&arguments[..], &more[..]].concat()).await?;
        Ok(())
    }

    /// Whether `delivery list --ref` shows a delivery with this reference.
    pub(crate) async fn finds(&self, reference: &str) -> anyhow::Result<bool> {
        // All of them: it may be the beginning of many younger ones, which come first.
        let lines = self.cli_ok(&["delivery", "list", "--ref", reference, "--all", "--json"]).await?;
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let delivery: Value = serde_json::from_str(line).with_context(|| format!("delivery list: {line}"))?;
            let references = delivery["references"].as_array().context("a delivery without references")?;
            if references.iter().any(|found| found == reference) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As `finds`, but the index may lag behind the journal for a moment.
    pub(crate) async fn find_within(&self, reference: &str, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while !self.finds(reference).await? {
            anyhow::ensure!(Instant::now() < deadline, "`delivery list --ref {reference}` finds nothing");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for name in ["POSTRIDER_CONFIG", "POSTRIDER_STATE_DIR", "POSTRIDER_SOCKET", "STATE_DIRECTORY"] {
            command.env_remove(name);
        }
        // A daemon that keeps its work directory busy could not be unmounted.
        command.env_remove("RUNTIME_DIRECTORY").env_remove("NOTIFY_SOCKET").current_dir("/");
        command
    }
}

/// A running daemon. Killed and reaped on drop, so that nothing outlives a failed scenario.
pub(crate) struct Daemon {
    child: Child,
    site: Site,
}

impl Daemon {
    /// One that was started by other means.
    pub(crate) fn of(child: Child, site: &Site) -> Self {
        Self { child, site: site.clone() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no such process id")?;
        kill_process(pid, signal).with_context(|| format!("{signal:?} to the daemon"))
    }

    /// `kill -9`, and gone when this returns.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn exited(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub(crate) async fn wait_exit(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < deadline, "the daemon still runs after {within:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGTERM, exit code 0 within ten seconds.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.signal(Signal::TERM)?;
        let status = self.wait_exit(Duration::from_secs(10)).await.context("after SIGTERM")?;
        anyhow::ensure!(status.code() == Some(0), "after SIGTERM the daemon ended with {status}");
        Ok(began.elapsed())
    }

    /// Asks `status --json` until it says what is waited for.
    pub(crate) async fn wait_for(
        &mut self,
        within: Duration,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let deadline = Instant::now() + within;
        let mut last = None;
        loop {
            if let Some(status) = self.exited()? {
                anyhow::bail!("the daemon ended with {status} before it was {what}");
            }
            if let Some(report) = self.site.status().await? {
                if wanted(&report) {
                    return Ok(report);
                }
                last = Some(report);
            }
            anyhow::ensure!(Instant::now() < deadline, "not {what} after {within:?}; last status: {last:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Where the ingest port of this run is, and the token to use it.
    pub(crate) async fn target(&mut self) -> anyhow::Result<Target> {
        let report = self.wait_for(READY_WITHIN, "listening", |status| status["ingest"]["listen"].is_string()).await?;
        let listen = report["ingest"]["listen"].as_str().unwrap_or_default();
        let address: SocketAddr = listen.parse().with_context(|| format!("ingest.listen is {listen:?}"))?;
        anyhow::ensure!(address.port() != 0, "status tells port 0 and not the one in use");
        Target::read(address, &self.site.state)
    }

    /// Deliveries are made for a paused webhook and wait; the suite uses that to prove that they survive.
    pub(crate) async fn pause(&self, webhook: &str) -> anyhow::Result<()> {
        self.switch(webhook, "pause").await
    }

    pub(crate) async fn resume(&self, webhook: &str) -> anyhow::Result<()> {
        self.switch(webhook, "resume").await
    }

    async fn switch(&self, webhook: &str, verb: &str) -> anyhow::Result<()> {
        let path = format!("/v1/webhooks/{webhook}/{verb}");
        let reply = http::admin(&self.site.socket, "POST", &path, None).await?;
        anyhow::ensure!((200..300).contains(&reply.status), "{verb} {webhook}: {} {}", reply.status, reply.text());
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already reaped is fine; anything else can not be helped in a drop.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
