//! How a day's folder goes: a file at a time, and then the folder.
//!
//! It is not decided here which day's time is up, nor what has to be carried forward before. Invariant: the newest segment stays, and
//! of the others the oldest goes first.

use std::io;
use std::sync::PoisonError;

use super::{Journal, JournalError, segment_name, segment_path};
use crate::domain::time::Day;

impl Journal {
    /// Removes one file of a day's folder, or the folder when nothing is left in it; tells whether that was the last of it. The
    /// caller has carried forward what is still needed. Blocks on the disk, and not for long.
    ///
    /// The newest segment stays, whatever its day: the configuration and the next sequence are
    /// known from it alone. Whatever is appended on a later day begins a newer one.
    ///
    /// # Errors
    /// `Io`. What is left is removed by the next call.
    pub fn remove_some_of(&self, day: Day) -> Result<bool, JournalError> {
        self.shared.going.lock().unwrap_or_else(PoisonError::into_inner).insert(day);
        let is_over = self.remove_one_of(day)?;
        if is_over {
            self.shared.going.lock().unwrap_or_else(PoisonError::into_inner).remove(&day);
        }
        Ok(is_over)
    }

    fn remove_one_of(&self, day: Day) -> Result<bool, JournalError> {
        let newest = {
            let mut segments = self.shared.segments.write().unwrap_or_else(PoisonError::into_inner);
            let newest = segments.last_key_value().map(|(name, segment)| (*name, segment.day));
            segments.retain(|name, segment| segment.day != day || newest.is_some_and(|(kept, _)| *name == kept));
            newest
        };
        let folder = self.shared.directory.join(day.to_string());
        let files = match self.shared.disk.list(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            files => files.map_err(JournalError::io(&folder))?,
        };
        // What is on the disk counts, not what is known: a call that failed half way has
        // forgotten the rest. One newer than all that are known is just being written.
        let goes = |name: u64| newest.is_none_or(|(kept, kept_in)| name < kept || (name == kept && kept_in != day));
        // The oldest first: whatever is left after a kill, no event is without the attempts that were made of it.
        let names = files.iter().filter_map(|file| segment_name(&file.name));
        if let Some(name) = names.filter(|name| goes(*name)).min() {
            let path = segment_path(&self.shared.directory, day, name);
            return match self.shared.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::io(&path)(error)),
                _ => Ok(false),
            };
        }
        if newest.is_some_and(|(_, kept_in)| kept_in == day) {
            return Ok(true);
        }
        match self.shared.disk.remove_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(JournalError::io(&folder)(error)),
            _ => Ok(true),
        }
    }
}
