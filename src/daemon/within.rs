//! A whole daemon within another program: for the demo.
//!
//! The same parts as under `serve`, on threads of their own. It reads no configuration file and no environment, takes no
//! signals, prints and logs nothing: terminal and signals belong to the program around it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Daemon, Handed, Manager, Orders, ServeError, Setting, StateDir};
use crate::config::Config;
use crate::random::Random;
use crate::secrets::Sealer;

/// Whoever ends the program around it does not want to wait for receivers.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// A daemon that runs until this is stopped or dropped.
#[derive(Debug)]
pub struct Within {
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    listen: SocketAddr,
    socket: PathBuf,
    token_file: PathBuf,
}

/// Where a daemon that has started can be reached.
struct Reached {
    listen: SocketAddr,
    socket: PathBuf,
    token_file: PathBuf,
}

impl Within {
    /// Starts a daemon with everything it has in this directory, and returns when it can be asked and posted to.
    ///
    /// # Errors
    /// As [`super::serve`].
    pub fn start(config: Config, directory: &Path) -> Result<Self, ServeError> {
        let state_dir = StateDir::open(directory)?;
        let sealer = Sealer::from_file(&state_dir.path().join("master.key"), true, Random::Os)?;
        let setting = Setting {
            config_file: None,
            config,
            socket: state_dir.path().join("admin.sock"),
            state_dir,
            logging: None,
            is_elsewhere: true,
            patience: STOP_PATIENCE,
            manager: Manager::Program,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(2)
            .thread_name("postrider")
            .build()
            .map_err(|error| ServeError::Io(format!("there are no threads: {error}")))?;
        let stop = CancellationToken::new();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let orders = Orders::Program(stop.clone());
        let run = move || {
            let result = runtime.block_on(async move {
                let (daemon, workers) = Daemon::start(setting, Handed::default(), sealer).await?;
                let reached = Reached {
                    listen: daemon.reach.listen(),
                    socket: daemon.setting.socket.clone(),
                    token_file: daemon.token_file.clone(),
                };
                // Whoever does not wait for it any more has dropped it, and stops it.
                let _ = ready.send(reached);
                daemon.run_to_end(orders, workers).await
            });
            runtime.shutdown_timeout(STOP_PATIENCE);
            result
        };
        let thread = std::thread::Builder::new().name("postrider-daemon".to_owned()).spawn(run);
        let thread = thread.map_err(|error| ServeError::Io(format!("there are no threads: {error}")))?;
        match started.recv() {
            Ok(Reached { listen, socket, token_file }) => {
                Ok(Self { stop, thread: Some(thread), listen, socket, token_file })
            }
            Err(_) => Err(ended(thread).err().unwrap_or_else(|| ServeError::Io("it ended at its start".to_owned()))),
        }
    }

    /// Where events are posted.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The file with its first ingest token.
    #[must_use]
    pub fn token_file(&self) -> &Path {
        &self.token_file
    }

    /// Stops it; everything that was accepted is on the disk then.
    ///
    /// # Errors
    /// When it had ended before, and why.
    pub fn stop(&mut self) -> Result<(), ServeError> {
        self.stop.cancel();
        self.thread.take().map_or(Ok(()), ended)
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        // Nobody asks how it went.
        let _ = self.stop();
    }
}

fn ended(thread: JoinHandle<Result<(), ServeError>>) -> Result<(), ServeError> {
    thread.join().unwrap_or_else(|_| Err(ServeError::Io("a fault in the daemon ended it".to_owned())))
}
