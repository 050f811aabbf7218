//! The journal as it is at one moment, held until somebody has read it.
//!
//! Segments only grow at the end and go as whole days, so a moment is a list of lengths and the promise that no day
//! goes meanwhile. It copies nothing.

use tokio::sync::OwnedRwLockReadGuard;

use super::{Store, StoreError};
use crate::journal::Segment;

/// Segments that stay as they are, up to these lengths, for as long as this lives.
#[derive(Debug)]
pub struct Moment {
    /// Every record up to this sequence is in them.
    pub position: u64,
    /// By the sequence of their first record.
    pub segments: Vec<(u64, Segment)>,
    _stays: OwnedRwLockReadGuard<()>,
}

impl Store {
    /// Everything that was done before the call. No day is let go of while the answer lives; one that is just being
    /// let go of is waited for.
    ///
    /// # Errors
    /// `Failed`.
    pub async fn moment(&self) -> Result<Moment, StoreError> {
        let stays = self.shared.days_stay.clone().read_owned().await;
        let position = self.shared.journal.barrier().await?;
        let segments = self.shared.journal.segments().into_iter().collect();
        Ok(Moment { position, segments, _stays: stays })
    }
}
