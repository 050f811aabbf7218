//! What has to be done now and then: watching the disk, letting go of old days, forgetting
//! deleted webhooks. The plans are pure; the executor is thin.
//!
//! It never deletes anything that is still pending, and never more than two days of data within
//! an hour, so that a clock that jumps ahead can not empty the store.

mod process;

pub use process::{Process, process};

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use crate::dispatch::{Dispatcher, pending_of_webhook};
use crate::domain::delivery::is_expired;
use crate::domain::time::{Day, Timestamp};
use crate::domain::webhook::Webhook;
use crate::store::{IndexState, Store, StoreError};

/// How much must stay free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// In bytes.
    pub bytes: u64,
    /// Of the file system, in percent.
    pub percent: u8,
}

impl Floor {
    /// The floor of a file system of this size: the larger of the two, but never more than half.
    #[must_use]
    pub fn bytes_of(self, total_bytes: u64) -> u64 {
        let part = u64::try_from(u128::from(total_bytes) * u128::from(self.percent) / 100).unwrap_or(u64::MAX);
        self.bytes.max(part).min(total_bytes / 2)
    }
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Files that can still be made, and in all; 0 in all where there is no such limit.
    pub free_files: u64,
    /// See `free_files`.
    pub total_files: u64,
}

impl Space {
    /// Whether there is too little room for new events. Twice as much must be free again before
    /// that is over, as far as the file system is large enough, so that it does not flutter.
    #[must_use]
    pub fn is_below(&self, floor: Floor, was_below: bool) -> bool {
        let bytes = floor.bytes_of(self.total_bytes);
        let margin = if was_below { bytes / 16 } else { 0 };
        let few_files = self.total_files > 0 && self.free_files < self.total_files / 100 * u64::from(floor.percent);
        self.free_bytes < bytes + margin || few_files
    }
}

/// The room where a path lies.
///
/// # Errors
/// As the system says.
pub fn free_space(path: &Path) -> std::io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_files: stat.f_favail,
        total_files: stat.f_files,
    })
}

/// How maintenance works; replaced on reload.
#[derive(Clone, Copy, Debug)]
pub struct MaintenanceOptions {
    /// How long deliveries stay searchable after their last attempt.
    pub retention: Duration,
    /// How much must stay free.
    pub floor: Floor,
}

/// Days that may go within an hour.
const DAYS_PER_HOUR: usize = 2;
const HOUR: Duration = Duration::from_hours(1);
/// How often the disk is looked at.
const DISK_EVERY: Duration = Duration::from_secs(1);
/// How often the rest is done.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// How many days may go now, when some went at these instants of the monotonic clock.
#[must_use]
pub fn days_allowed(went: &[Duration], now: Duration) -> usize {
    let lately = went.iter().filter(|at| now.saturating_sub(**at) < HOUR).count();
    DAYS_PER_HOUR.saturating_sub(lately)
}

/// Does the rounds.
#[derive(Debug)]
pub struct Maintenance {
    store: Store,
    dispatcher: Dispatcher,
    options: watch::Receiver<MaintenanceOptions>,
    went: Vec<Duration>,
}

impl Maintenance {
    /// Keeps this store in order.
    #[must_use]
    pub fn new(store: Store, dispatcher: Dispatcher, options: watch::Receiver<MaintenanceOptions>) -> Self {
        Self { store, dispatcher, options, went: Vec::new() }
    }

    /// Runs until dropped.
    pub async fn run(mut self) {
        let (store, options) = (self.store.clone(), self.options.clone());
        // Beside the sweeps, which may take long.
        let watching = async move {
            loop {
                watch_disk(&store, options.borrow().floor);
                tokio::time::sleep(DISK_EVERY).await;
            }
        };
        let sweeping = async move {
            loop {
                if let Err(error) = self.sweep().await {
                    tracing::warn!(%error, "maintenance could not be done; it is tried again");
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
        };
        tokio::join!(watching, sweeping);
    }

    /// One round: deleted webhooks, old keys, old days.
    ///
    /// # Errors
    /// Whatever stood in the way; the next round goes on.
    pub async fn sweep(&mut self) -> Result<(), StoreError> {
        if !matches!(self.store.index_state(), IndexState::Ready(_)) {
            return Ok(());
        }
        // One that fails must not keep the others from being done.
        let forgotten = self.forget_deleted().await;
        let now = self.store.clock().now();
        self.store.expire_idempotency(now).await?;
        self.went.retain(|at| self.store.clock().elapsed().saturating_sub(*at) < HOUR);
        let retention = self.options.borrow().retention;
        while days_allowed(&self.went, self.store.clock().elapsed()) > 0 {
            let Some(day) = self.store.expired_day(retention, now) else { break };
            match self.expire(day, retention).await {
                // A backup is being read; the next round is in time.
                Err(StoreError::Busy) => break,
                done => done?,
            }
        }
        forget_old_damage(&self.store.journal().directory().join("quarantine"), retention, now);
        forgotten
    }

    async fn expire(&mut self, day: Day, retention: Duration) -> Result<(), StoreError> {
        let expired = self.store.expire(day, retention, self.store.clock().now()).await?;
        self.went.push(self.store.clock().elapsed());
        tracing::info!(%day, dropped = expired.dropped, carried = expired.carried, "a day is past its time");
        Ok(())
    }

    /// Deleted webhooks that can not be restored any more: what is pending for them is withdrawn
    /// for good, then they are forgotten.
    async fn forget_deleted(&self) -> Result<(), StoreError> {
        let now = self.store.clock().now();
        let config = self.store.config();
        let over = config
            .webhooks
            .values()
            .filter(|webhook| webhook.deleted_at.is_some_and(|at| now.since(at) >= Webhook::RESTORE_WINDOW));
        for webhook in over {
            for id in pending_of_webhook(&self.store, webhook.id).await? {
                match self.dispatcher.cancel(id, &webhook.updated_by).await {
                    // Its day has gone meanwhile, and it with it.
                    Ok(_) | Err(StoreError::Gone) => {}
                    Err(error) => return Err(error),
                }
            }
            self.store.forget_webhook(webhook.id, &webhook.updated_by).await?;
            tracing::info!(webhook = %webhook.id, "a deleted webhook was forgotten");
        }
        Ok(())
    }
}

/// Notes whether there is room enough for new events.
pub fn watch_disk(store: &Store, floor: Floor) {
    match free_space(store.directory()) {
        Ok(space) => store.set_below_floor(space.is_below(floor, store.is_below_floor())),
        Err(error) => tracing::warn!(%error, "the room on the disk can not be told"),
    }
}

/// What was set aside holds payloads, which nobody may keep for longer than the rest.
fn forget_old_damage(folder: &Path, retention: Duration, now: Timestamp) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let since_epoch = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        if since_epoch.is_some_and(|at| is_expired(Timestamp::default().plus(at), retention, now)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Floor = Floor { bytes: 256 << 20, percent: 5 };

    #[test]
    fn the_floor_is_the_larger_of_the_two_but_never_half_of_the_disk() {
        assert_eq!(FLOOR.bytes_of(100 << 30), 5 << 30);
        assert_eq!(FLOOR.bytes_of(1 << 30), 256 << 20);
        assert_eq!(FLOOR.bytes_of(64 << 20), 32 << 20);
    }

    #[test]
    fn it_does_not_flutter_at_the_floor() {
        let space = |free_mib: u64| Space { free_bytes: free_mib << 20, total_bytes: 1 << 30, ..Space::default() };
        assert!(space(255).is_below(FLOOR, false));
        assert!(!space(256).is_below(FLOOR, false));
        assert!(space(256).is_below(FLOOR, true));
        assert!(!space(273).is_below(FLOOR, true));
        let no_files = Space { free_files: 4, total_files: 100, ..space(900) };
        assert!(no_files.is_below(FLOOR, false));
    }

    #[test]
    fn two_days_go_in_an_hour_and_not_more() {
        let minutes = |minutes: u64| Duration::from_mins(minutes);
        assert_eq!(days_allowed(&[], minutes(0)), 2);
        assert_eq!(days_allowed(&[minutes(0), minutes(0)], minutes(59)), 0);
        assert_eq!(days_allowed(&[minutes(0), minutes(30)], minutes(61)), 1);
    }
}
