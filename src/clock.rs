//! The only reader of the clocks.
//!
//! Wall-clock instants are for records and people; how long something takes, and how long to
//! wait, is measured by the monotonic clock. Under the simulated clock both move together with
//! tokio's paused time, so hours pass in milliseconds.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::time::{Now, Timestamp};

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The system's clocks.
    System {
        /// What `elapsed` counts from.
        start: Instant,
    },
    /// A fixed start, moved on by tokio's clock.
    Simulated {
        /// Wall-clock time at `start`.
        epoch: Timestamp,
        /// What `elapsed` counts from.
        start: Instant,
    },
}

impl Clock {
    /// The system's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::System { start: Instant::now() }
    }

    /// A simulated clock that shows `epoch` now.
    #[must_use]
    pub fn simulated(epoch: Timestamp) -> Self {
        Self::Simulated { epoch, start: Instant::now() }
    }

    /// The wall-clock time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
            Self::System { .. } => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                Timestamp::default().plus(since)
            }
            Self::Simulated { epoch, start } => epoch.plus(start.elapsed()),
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn read(&self) -> Now {
        Now { wall: self.now(), elapsed: self.elapsed() }
    }

    /// Time since the process began, by the monotonic clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match self {
            Self::System { start } | Self::Simulated { start, .. } => start.elapsed(),
        }
    }
}
