//! The signals by which a person or a supervisor ends a command that runs until it is told to.
//!
//! Only for commands that have something to clear up or to say at the end; the others are ended by the system.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ExitCode, Failure};

/// ^C, a supervisor, and a terminal that goes away.
pub(super) struct Ends([Signal; 3]);

impl Ends {
    /// From now on these signals do not end the process. To be called within a runtime.
    pub(super) fn new() -> Result<Self, Failure> {
        let all = || {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [interrupt, terminate, hangup] = kinds.map(signal);
            Ok([interrupt?, terminate?, hangup?])
        };
        let failed = |error: std::io::Error| Failure::new(ExitCode::Internal, format!("no signals: {error}"));
        all().map(Self).map_err(failed)
    }

    /// One of them came, also if nobody waited at that moment.
    pub(super) async fn came(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
