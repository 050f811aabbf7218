//! Letting go of days: their rows, runs and tables, bit by bit, so that nobody waits for it.
//!
//! It is not decided here which days go, or whether all that is still wanted of them was carried forward. Invariant: whatever this is
//! broken off by, what is left of a day is its newest rows, and it can be let go of again.

use std::sync::PoisonError;

use super::runs::Kind;
use super::{Index, LOG, Result, contained, pause_a_moment};
use crate::domain::time::Day;

impl Index {
    /// Drops a day's log and what was done on it. The caller has carried forward what is still needed.
    ///
    /// # Errors
    /// When the index can not be written.
    pub fn drop_day(&self, day: Day) -> Result<()> {
        contained(|| {
            self.drop_shelf(&format!("{LOG}{day}"))?;
            // Also what was left of one before, because somebody searched it just then.
            self.runs.drop_days(&self.db, Kind::Reference, |of| of <= day)?;
            self.drop_shelf(&format!("audit.{day}"))?;
            // What is gone must not be applied again.
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            self.save()
        })
    }

    /// Drops the idempotency keys of days before `day`.
    ///
    /// # Errors
    /// When the index can not be written.
    pub fn drop_idempotency_before(&self, day: Day) -> Result<()> {
        contained(|| self.runs.drop_days(&self.db, Kind::Idempotency, |of| of < day))
    }

    /// Bit by bit, so that nobody waits for it.
    fn drop_shelf(&self, name: &str) -> Result<()> {
        let Some(shelf) = self.existing(name)? else { return Ok(()) };
        loop {
            {
                let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
                writing.forget(name);
                if shelf.remove_some()? {
                    return self.drop_tree(name);
                }
            }
            pause_a_moment();
        }
    }

    fn drop_tree(&self, name: &str) -> Result<()> {
        self.shelves.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.db.drop_tree(name)?;
        Ok(())
    }
}
