//! A small world in which deliveries live: a real daemon, receivers of several tempers, and an application that posts.
//!
//! Everything is in one directory of its own and on loopback, and goes when the world ends. It shows nothing itself: whoever
//! starts it gets the daemon's admin socket and shows what is there. The daemon is the one of `serve`, and all that is done to
//! it goes through its socket and its ingest port.
//!
//! Invariants: for one seed the same events are posted in the same order, and receivers behave alike, but for real time; after
//! [`World::end`], or when it is dropped, no port is open and the directory is gone.

mod cast;
mod folder;
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::{ServeError, Within};
use crate::listen::{Receiver, Setup};
use crate::random::Random;
use cast::CAST;
use folder::Folder;
use traffic::Traffic;

/// The daemon's configuration: nothing leaves this machine, and a nearly full disk is no reason not to show something.
const CONFIG: &str = r#"
[ingest]
listen = "127.0.0.1:0"
[egress]
allow = ["127.0.0.0/8"]
[email]
smtp = ""
[retention]
days = 1
min_free_bytes = 0
min_free_percent = 0
"#;

/// A world that runs. Its fields are dropped in this order.
pub struct World {
    traffic: Traffic,
    /// Before the daemon: what they delay is answered then, and does not have to be waited for.
    receivers: Vec<Receiver>,
    daemon: Within,
    folder: Folder,
}

impl World {
    /// Runs a world while something is shown in the foreground, which gets the daemon's admin socket.
    ///
    /// # Errors
    /// When the world could not be started, or its daemon ended badly.
    pub fn during<T>(seed: u64, folder: &Path, show: impl FnOnce(&Path) -> T) -> Result<T, ServeError> {
        let world = Self::start(seed, folder)?;
        let shown = show(world.socket());
        world.end()?;
        Ok(shown)
    }

    /// Starts a world in a new directory within `folder`; the first events are on their way when this returns.
    ///
    /// # Errors
    /// As [`crate::daemon::serve`]; then nothing is left over.
    pub fn start(seed: u64, folder: &Path) -> Result<Self, ServeError> {
        let folder = Folder::make(folder)?;
        let file = PathBuf::from("demo.toml");
        let config = Config::from_texts(&[(file, CONFIG.to_owned())]).map_err(ServeError::Config)?;
        let daemon = Within::start(config, folder.path())?;
        let chance = Random::seeded(seed);
        let clock = Clock::system();
        let mut receivers = Vec::new();
        let mut webhooks = Vec::new();
        for role in &CAST {
            let receiver = start_receiver(role, clock, &chance)?;
            webhooks.push(role.webhook(receiver.as_ref().map(Receiver::address), &chance));
            receivers.extend(receiver);
        }
        let traffic = Traffic::start(&daemon, webhooks, chance)?;
        Ok(Self { traffic, receivers, daemon, folder })
    }

    /// The daemon's admin socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.daemon.socket()
    }

    /// Ends all of it.
    ///
    /// # Errors
    /// When the daemon ended badly, or the directory can not be removed.
    pub fn end(self) -> Result<(), ServeError> {
        let Self { traffic, receivers, mut daemon, folder } = self;
        drop(traffic);
        drop(receivers);
        daemon.stop()?;
        folder.remove()
    }
}

fn start_receiver(role: &'static cast::Role, clock: Clock, chance: &Random) -> Result<Option<Receiver>, ServeError> {
    let Some(react) = role.react(clock) else { return Ok(None) };
    let setup = Setup {
        address: ([127, 0, 0, 1], 0).into(),
        key: None,
        clock,
        // Each has its own, or the order of their requests would decide what they are dealt.
        random: Random::seeded(u64::from_le_bytes(chance.bits().to_le_bytes()[..8].try_into().unwrap_or_default())),
    };
    let receiver = Receiver::start(setup, react, Arc::new(|_| ()));
    receiver.map(Some).map_err(|error| ServeError::Io(format!("a receiver can not listen: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_sound() {
        let config = Config::from_texts(&[(PathBuf::from("demo.toml"), CONFIG.to_owned())]).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }
}
