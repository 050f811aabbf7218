//! Waiting that ends at once when everything is to end.
//!
//! For threads only; tasks have cancellation tokens. It does not know what ends.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Whether it is time to end.
#[derive(Debug, Default)]
pub(super) struct Halt {
    called: Mutex<bool>,
    waiting: Condvar,
}

impl Halt {
    /// From now on nobody waits.
    pub(super) fn call(&self) {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.waiting.notify_all();
    }

    /// Whether it was called.
    pub(super) fn is_called(&self) -> bool {
        *self.called.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits so long, or until it is called; `true` when it was.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.waiting.wait_timeout_while(called, time, |called| !*called);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
