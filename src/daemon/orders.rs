//! What tells a running daemon to stop or to read its configuration again: signals, or whoever runs it within another program.
//!
//! It does neither itself. A signal that came before somebody waits for it is not lost.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a daemon is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Stop,
    Reload,
}

/// Where orders come from.
pub(super) enum Orders {
    /// The operator of this process.
    Signals { terminate: Signal, interrupt: Signal, hangup: Signal },
    /// The program that the daemon runs within; it only stops.
    Program(CancellationToken),
}

impl Orders {
    pub(super) fn signals() -> std::io::Result<Self> {
        Ok(Self::Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> Order {
        match self {
            Self::Signals { terminate, interrupt, hangup } => tokio::select! {
                _ = terminate.recv() => Order::Stop,
                _ = interrupt.recv() => Order::Stop,
                _ = hangup.recv() => Order::Reload,
            },
            Self::Program(stop) => {
                stop.cancelled().await;
                Order::Stop
            }
        }
    }
}
