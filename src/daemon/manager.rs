//! What the service manager is told: that the daemon is ready, reads its configuration again, stops, and lives.
//!
//! It tells nothing when nobody asked (`NOTIFY_SOCKET`), and what cannot be told is nobody's loss. Invariant: it says
//! "alive" only for a dispatcher that goes its rounds, so that a daemon which answers but delivers nothing is restarted.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::dispatch::Dispatcher;

/// How often the line of `systemctl status` is brought up to date.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The dispatcher goes a round at least every ten seconds; this long without one, it hangs.
const ROUND_MAX: Duration = Duration::from_secs(20);

/// Whoever started the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    /// The service manager of the system, if it was that.
    System {
        /// How often it wants to hear that the daemon lives.
        watchdog: Option<Duration>,
    },
    /// A program that the daemon runs within.
    Program,
}

impl Manager {
    /// Whoever started this process.
    pub(super) fn of_process() -> Self {
        Self::System { watchdog: sd_notify::watchdog_enabled() }
    }

    /// How often [`Self::alive`] is to be called.
    pub(super) fn interval(self) -> Duration {
        match self {
            Self::System { watchdog: Some(watchdog) } => TELL_EVERY.min(watchdog / 3),
            Self::System { watchdog: None } | Self::Program => TELL_EVERY,
        }
    }

    pub(super) fn ready(self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The configuration is being read again; [`Self::ready`] ends that.
    pub(super) fn reloading(self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    pub(super) fn stopping(self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// How the daemon stands, and that it lives, if it does.
    pub(super) fn alive(self, dispatcher: &Dispatcher, told: Option<&str>) {
        let (pending, in_flight) = dispatcher.load();
        let line = match told {
            Some(why) => format!("{pending} to deliver, {in_flight} under way; {why}"),
            None => format!("{pending} to deliver, {in_flight} under way"),
        };
        self.tell(&[NotifyState::Status(&line.replace('\n', "; "))]);
        if dispatcher.since_last_round() < ROUND_MAX {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn tell(self, states: &[NotifyState<'_>]) {
        if self == Self::Program {
            return;
        }
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}
