//! The daemon: puts the parts together, keeps them running, and takes them apart in order.
//!
//! The only place that names concrete adapters together. It decides nothing that concerns an
//! event; what it decides is what happens at start, reload and stop.

mod first_token;
mod handed;
mod manager;
mod orders;
mod restore;
mod settings;
mod sockets;
mod state_dir;
mod trust;
mod within;

pub use restore::restore;
pub use state_dir::{StateDir, StateDirError};
pub use within::Within;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::server::Admin;
use crate::alerts::Alerts;
use crate::clock::Clock;
use crate::config::paths::{self, Environment};
use crate::config::{Config, Problem};
use crate::dispatch::Dispatcher;
use crate::domain::audit::AuditRecord;
use crate::egress::Egress;
use crate::http::Server;
use crate::ingest::Ingest;
use crate::journal::{JournalError, RealDisk};
use crate::logging::{self, Logging};
use crate::maintenance::{Maintenance, MaintenanceOptions, watch_disk};
use crate::random::Random;
use crate::secrets::{Sealer, SecretsError};
use crate::spans::Spans;
use crate::store::{OpenError, Store, StoreOptions, Workers};
use first_token::ensure_default_token;
use handed::Handed;
use manager::Manager;
use orders::{Order, Orders};
use sockets::{Faces, Reach};

/// Where things are, from flags; the rest comes from environment and configuration.
#[derive(Clone, Debug, Default)]
pub struct ServeFlags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--socket`
    pub socket: Option<PathBuf>,
}

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration can not be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// Something that the configuration or the state directory says can not be used.
    #[error("{0}")]
    Unusable(String),
    /// Somebody else uses it: another daemon, or another program on the port.
    #[error("{0}")]
    InUse(String),
    /// The system does not let us.
    #[error("{0}")]
    NotPermitted(String),
    /// The disk or the system failed.
    #[error("{0}")]
    Io(String),
    /// There is a store where one was to be made.
    #[error("{0}")]
    Occupied(String),
    /// There is no such backup.
    #[error("{0}")]
    NoInput(String),
    /// What was to be restored is no backup, or not whole.
    #[error("{0}")]
    BadData(String),
}

impl ServeError {
    /// How the program should end, as `sysexits.h` has it.
    #[must_use]
    pub const fn exit_number(&self) -> u8 {
        match self {
            Self::BadData(_) => 65,
            Self::NoInput(_) => 66,
            Self::Occupied(_) => 73,
            Self::Io(_) => 74,
            Self::InUse(_) => 75,
            Self::NotPermitted(_) => 77,
            Self::Config(_) | Self::Unusable(_) => 78,
        }
    }
}

impl From<OpenError> for ServeError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Config(error) => Self::Unusable(error.to_string()),
            OpenError::Journal(error) => Self::from(error),
        }
    }
}

impl From<JournalError> for ServeError {
    fn from(error: JournalError) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<SecretsError> for ServeError {
    fn from(error: SecretsError) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// How long requests and attempts under way may take to end at a stop.
const STOP_PATIENCE: Duration = Duration::from_secs(9);
/// sled's cache; about three times as much memory is used. The system keeps the file in memory as well, where there is some.
const INDEX_CACHE_BYTES: u64 = 8 << 20;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Why it did not start, or had to end.
pub fn serve(flags: &ServeFlags, environment: Environment<'_>) -> Result<(), ServeError> {
    // Files that libraries make are nobody else's business either.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Before there are threads: it takes what it has read out of the environment.
    let handed = Handed::take(environment)?;
    // What lies in memory is not for a file that a crash would leave.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    settings::allow_descriptors();
    let config_file = paths::config_file(flags.config.as_deref(), environment, &|path| path.exists());
    let config_file = config_file.map(|located| located.path);
    let config = Config::load(config_file.as_deref()).map_err(ServeError::Config)?;
    check_files(&config)?;
    let clock_for_logs = move || Clock::system().now();
    let logging = logging::init(config.log.level, config.log.format, environment, Box::new(clock_for_logs))
        .map_err(|error| ServeError::Io(error.to_string()))?;
    tell_warnings(&config);
    let is_root = rustix::process::geteuid().is_root();
    let located = paths::state_dir(flags.state_dir.as_deref(), environment, &config, is_root)
        .map_err(|error| ServeError::Unusable(error.to_string()))?;
    let state_dir = StateDir::open(&located.path)?;
    let socket = match handed.admin_path() {
        Some(path) => path,
        None => paths::server_socket(flags.socket.as_deref(), environment, &config, state_dir.path()).path,
    };
    let sealer = open_sealer(&config, &state_dir, environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("postrider")
        .build()
        .map_err(|error| ServeError::Io(format!("there are no threads: {error}")))?;
    let set = |name: &str| environment(name).is_some_and(|value| !value.is_empty());
    let is_elsewhere = flags.config.is_some()
        || flags.state_dir.is_some()
        || flags.socket.is_some()
        || ["POSTRIDER_CONFIG", "POSTRIDER_STATE_DIR", "POSTRIDER_SOCKET"].into_iter().any(set);
    let patience = STOP_PATIENCE;
    let manager = Manager::of_process();
    let logging = Some(logging);
    let setting = Setting { config_file, config, state_dir, socket, logging, is_elsewhere, patience, manager };
    runtime.block_on(async move {
        // First of all: a signal during a long start must not end it as if it were none of ours.
        let orders = Orders::signals().map_err(|error| ServeError::Io(format!("no signals: {error}")))?;
        let (daemon, workers) = Daemon::start(setting, handed, sealer).await?;
        daemon.announce();
        daemon.run_to_end(orders, workers).await
    })
}

/// Refuses configuration files that somebody else may have written.
fn check_files(config: &Config) -> Result<(), ServeError> {
    let urls = [&config.egress.proxy, &config.tracing.collector];
    let holds_secrets = urls.into_iter().flatten().any(|url| url.with_password().password().is_some());
    for file in &config.files {
        trust::check_configuration(file, holds_secrets)?;
        trust::check_parents(file)?;
    }
    Ok(())
}

fn tell_warnings(config: &Config) {
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
}

fn open_sealer(config: &Config, state_dir: &StateDir, environment: Environment<'_>) -> Result<Sealer, ServeError> {
    match key_file(config, state_dir, environment) {
        Some(path) => Ok(Sealer::from_file(&path, true, Random::Os)?),
        None => Ok(Sealer::from_file(&credential(environment).unwrap_or_default(), false, Random::Os)?),
    }
}

/// The master key that systemd hands over, if it does.
fn credential(environment: Environment<'_>) -> Option<PathBuf> {
    let folder = environment("CREDENTIALS_DIRECTORY")?;
    Some(PathBuf::from(folder).join("master.key")).filter(|path| path.exists())
}

/// Where the master key lies, unless systemd hands it over.
fn key_file(config: &Config, state_dir: &StateDir, environment: Environment<'_>) -> Option<PathBuf> {
    if credential(environment).is_some() {
        return None;
    }
    Some(config.secrets.key_file.clone().unwrap_or_else(|| state_dir.path().join("master.key")))
}

/// What the daemon was started with.
struct Setting {
    config_file: Option<PathBuf>,
    config: Config,
    state_dir: StateDir,
    socket: PathBuf,
    /// `None` when whoever runs this daemon logs, or nobody.
    logging: Option<Logging>,
    /// Flags or environment say where things are, so that clients without them look elsewhere.
    is_elsewhere: bool,
    /// How long requests and attempts under way may take to end at a stop.
    patience: Duration,
    manager: Manager,
}

struct Daemon {
    setting: Setting,
    store: Store,
    dispatcher: Dispatcher,
    ingest: Ingest,
    egress: Arc<Egress>,
    alerts: Alerts,
    spans: Spans,
    admin: Admin,
    faces: Faces,
    reach: Reach,
    maintenance: watch::Sender<MaintenanceOptions>,
    token_file: PathBuf,
    /// Why the last reload changed nothing, if it did not.
    refused: Option<String>,
    /// Parts that run until the stop; one that ends earlier is a bug that must not go unseen.
    parts: JoinSet<()>,
}

impl Daemon {
    async fn start(
        setting: Setting,
        handed: Handed,
        sealer: Sealer,
    ) -> Result<(Self, Vec<std::thread::JoinHandle<()>>), ServeError> {
        let config = &setting.config;
        let egress = Egress::new(settings::egress(config)).map_err(|error| ServeError::Unusable(error.to_string()))?;
        let egress = Arc::new(egress);
        // The port comes first: a second daemon should not disturb anything before it notices.
        let ports = sockets::ports(handed.ports, config).await?;
        let metrics_port = sockets::metrics_port(config).await?;
        let (store, workers) = open_store(&setting.state_dir, sealer.clone())?;
        // Not before: beside a store that was made with another key, a new one would be taken for the right one.
        sealer.keep()?;
        let threads = spawn(workers)?;
        let spans = Spans::new(Random::Os);
        spans.reconfigure(settings::spans(config)).map_err(|error| ServeError::Unusable(error.to_string()))?;
        let dispatch = settings::dispatch(config)?;
        let dispatcher = Dispatcher::new(store.clone(), Arc::clone(&egress) as _, dispatch, spans.clone());
        let alerts = Alerts::new(store.clone(), setting.state_dir.path().join("mail.json"), settings::alerts(config));
        let (ingest_sockets, mut reach) = sockets::ingest_faces(ports, handed.ingest, config).await?;
        reach.metrics = metrics_port.as_ref().and_then(|port| port.local_addr().ok());
        let ingest = Ingest::new(store.clone(), settings::ingest(config, &reach), spans.clone());
        let (maintenance, maintenance_options) = watch::channel(settings::maintenance(config));
        let rounds = Maintenance::new(store.clone(), dispatcher.clone(), maintenance_options);
        watch_disk(&store, settings::floor(config));
        let token_file = setting.state_dir.path().join("ingest.token");
        ensure_default_token(&store, &token_file).await?;

        let ingest_server = Server::new(settings::ingest(config, &reach).limits);
        let admin_options = settings::admin(config, &reach, setting.config_file.as_deref(), store.clock().now())?;
        let connections = ingest_server.clone();
        let admin = Admin::new(
            store.clone(),
            dispatcher.clone(),
            ingest.clone(),
            Arc::clone(&egress),
            alerts.clone(),
            admin_options,
            move || connections.connections(),
        );
        let admin_server = Server::new(settings::ADMIN_LIMITS);
        let mut faces = Faces::of(ingest_server, admin_server);
        faces.serve_ingest(ingest_sockets, &ingest);
        faces.serve_admin(handed.admin, &setting.socket, config, &admin).await?;
        faces.serve_read_only(handed.read_only, &setting.socket, config, &admin).await?;
        if let Some(port) = metrics_port {
            faces.serve_metrics(port, &admin);
        }
        let mut parts = JoinSet::new();
        let running = dispatcher.clone();
        parts.spawn(async move { running.run().await });
        let telling = alerts.clone();
        parts.spawn(async move { telling.run().await });
        parts.spawn(rounds.run());
        // Never the first record: by that the next start knows that there is no token yet.
        if store.journal().last_committed() > 0 {
            note(&store, "daemon.start", serde_json::json!({"version": env!("CARGO_PKG_VERSION")}));
        }
        let daemon = Self {
            setting,
            store,
            dispatcher,
            ingest,
            egress,
            alerts,
            spans,
            admin,
            faces,
            reach,
            maintenance,
            token_file,
            refused: None,
            parts,
        };
        Ok((daemon, threads))
    }

    async fn run_to_end(self, orders: Orders, workers: Vec<std::thread::JoinHandle<()>>) -> Result<(), ServeError> {
        let result = self.run(orders).await;
        // The journal commits what is queued and the index what is committed.
        for worker in workers {
            let _ = tokio::task::spawn_blocking(move || worker.join()).await;
        }
        result
    }

    async fn run(mut self, mut orders: Orders) -> Result<(), ServeError> {
        let mut alive = tokio::time::interval(self.setting.manager.interval());
        alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let failure = loop {
            tokio::select! {
                order = orders.next() => match order {
                    Order::Stop => break None,
                    Order::Reload => self.reload(),
                },
                _ = alive.tick() => self.tell_manager(),
                ended = self.parts.join_next() => {
                    break Some(format!("a part of the daemon ended by itself: {ended:?}").into());
                }
                why = self.store.journal().failed() => break Some(why),
            }
        };
        self.stop(failure.is_some()).await;
        match failure {
            None => Ok(()),
            Some(why) => Err(ServeError::Io(format!("it can not go on: {why}"))),
        }
    }

    /// Accepts nothing more, ends what is under way, keeps the rest.
    async fn stop(self, failed: bool) {
        tracing::info!("stopping");
        self.setting.manager.stopping();
        // After a failure the answers under way are 503s, which should still get out.
        let patience = if failed { Duration::from_millis(500) } else { self.setting.patience };
        let (left, (), ()) =
            tokio::join!(self.dispatcher.stop(patience), self.admin.stop(patience), self.faces.stop(patience));
        if left > 0 {
            tracing::warn!(left, "attempts did not end in time; they are made again after the next start");
        }
        // What was not taken in by now is read from the journal after the next start.
        self.alerts.stop(patience).await;
        self.spans.close().await;
        if !failed {
            note(&self.store, "daemon.stop", serde_json::json!({}));
        }
        self.store.journal().close().await;
        tracing::info!("stopped");
    }

    /// Takes over a changed configuration file; a bad one changes nothing.
    fn reload(&mut self) {
        self.setting.manager.reloading();
        let taken = self.take_over_file();
        let outcome = if taken.is_ok() { "taken over" } else { "refused" };
        note(&self.store, "daemon.reload", serde_json::json!({"outcome": outcome}));
        if let Err(reasons) = &taken {
            reasons.iter().for_each(|reason| tracing::error!("reload refused: {reason}"));
            self.admin.reload_refused(&reasons.join("; "));
        }
        self.refused = taken.err().map(|reasons| format!("reload refused: {}", reasons.join("; ")));
        self.setting.manager.ready();
        self.tell_manager();
    }

    fn tell_manager(&self) {
        let told = self.refused.clone().or_else(|| self.ingest.obstacle());
        self.setting.manager.alive(&self.dispatcher, told.as_deref());
    }

    /// Why everything is as it was, if it is.
    fn take_over_file(&mut self) -> Result<(), Vec<String>> {
        let all = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<String>>();
        let config = Config::load(self.setting.config_file.as_deref()).map_err(all)?;
        let (file, read_at) = (self.setting.config_file.as_deref(), self.store.clock().now());
        let one = |error: ServeError| vec![error.to_string()];
        check_files(&config).map_err(one)?;
        let dispatch = settings::dispatch(&config).map_err(one)?;
        let admin = settings::admin(&config, &self.reach, file, read_at).map_err(one)?;
        self.egress.update(settings::egress(&config)).map_err(|error| vec![error.to_string()])?;
        self.spans.reconfigure(settings::spans(&config)).map_err(|error| vec![error.to_string()])?;
        self.dispatcher.reconfigure(dispatch);
        self.admin.reconfigure(admin);
        self.ingest.reconfigure(settings::ingest(&config, &self.reach));
        self.maintenance.send_replace(settings::maintenance(&config));
        self.alerts.reconfigure(settings::alerts(&config));
        if let Some(logging) = &self.setting.logging {
            logging.set_level(config.log.level);
        }
        tell_warnings(&config);
        for key in settings::needs_restart(&self.setting.config, &config) {
            tracing::warn!("{key} has changed; that takes effect at the next start");
        }
        self.setting.config = config;
        tracing::info!("the configuration was read again");
        Ok(())
    }

    /// Tells whoever started it where things are and what to try.
    fn announce(&self) {
        let report = self.store.recovery();
        tracing::info!(
            listen = %self.reach.listen(),
            state = %self.setting.state_dir.path().display(),
            socket = %self.setting.socket.display(),
            cut_bytes = report.cut_bytes,
            "postrider {} is ready",
            env!("CARGO_PKG_VERSION")
        );
        let program = std::env::args().next().unwrap_or_else(|| "postrider".to_owned());
        // Another terminal does not have these flags, nor perhaps this environment.
        let socket = self.setting.socket.display();
        let program = if self.setting.is_elsewhere { format!("{program} --socket '{socket}'") } else { program };
        let text = settings::welcome(
            &program,
            self.reach.listen(),
            self.setting.state_dir.path(),
            &self.setting.socket,
            &self.token_file,
            self.setting.config.built_in_trial,
        );
        // Whoever is not there to read it does not need it.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
        self.setting.manager.ready();
    }
}

fn open_store(state_dir: &StateDir, sealer: Sealer) -> Result<(Store, Workers), ServeError> {
    let options = StoreOptions {
        directory: state_dir.path().to_owned(),
        index_directory: state_dir.path().join("index"),
        journal: crate::journal::Options::default(),
        index_cache_bytes: INDEX_CACHE_BYTES,
    };
    Ok(Store::open(Arc::new(RealDisk), options, sealer, Clock::system(), Random::Os)?)
}

/// Notes what the daemon did in the audit log. Nothing waits for it.
fn note(store: &Store, action: &'static str, detail: serde_json::Value) {
    let noted = store.audit(AuditRecord::own(store.clock().now(), action, "", detail.to_string()));
    tokio::spawn(async move {
        if let Err(error) = noted.await {
            tracing::warn!(action, %error, "what the daemon did could not be noted in the audit log");
        }
    });
}

fn spawn(workers: Workers) -> Result<Vec<std::thread::JoinHandle<()>>, ServeError> {
    workers.spawn_threads().map_err(|error| ServeError::Io(format!("there are no threads: {error}")))
}
