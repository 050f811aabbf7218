//! How many events were accepted, over time.
//!
//! Counted once for each group of records that was committed, so an event that an application was
//! told to be accepted is among them; what it became is counted elsewhere.

use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;
use crate::domain::figures::{Counter, Window};
use crate::domain::time::Now;
use crate::journal::{Committed, Record};

/// The count.
#[derive(Debug)]
pub(super) struct Intake {
    clock: Clock,
    counter: Mutex<Counter<1>>,
}

impl Intake {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, counter: Mutex::new(Counter::new(clock.read())) }
    }

    pub(super) fn committed(&self, records: &[Committed]) {
        let events = records.iter().filter(|one| matches!(&*one.record, Record::Event { .. })).count();
        if events > 0 {
            let now = self.clock.read();
            let events = u32::try_from(events).unwrap_or(u32::MAX);
            self.counter.lock().unwrap_or_else(PoisonError::into_inner).add([events], now);
        }
    }

    pub(super) fn read(&self, window: Window, now: Now) -> Vec<u64> {
        let slices = self.counter.lock().unwrap_or_else(PoisonError::into_inner).read(window, now);
        slices.into_iter().map(|[events]| u64::from(events)).collect()
    }
}
