//! Idle connections.
//!
//! Connections are shared within one key only, so that what one webhook's receiver does to its
//! connections never meets another webhook's requests. It does not dial, and it does not notice
//! that a peer has hung up: the next exchange does. Its invariant: at most [`PER_KEY_MAX`] idle
//! connections a key and origin and [`IDLE_MAX`] in all, none older than [`IDLE_TIME_MAX`] or of
//! an earlier generation of the settings.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use url::Url;

use super::connection::Connection;
use super::tls::TlsProfile;

/// As many as a webhook with a high limit has under way: fewer would be dialled anew all the time. A webhook's receivers are one
/// origin, but for a moment after its URL is edited two.
const PER_KEY_MAX: usize = 64;
const IDLE_MAX: usize = 1024;
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
const SWEEP_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Pool {
    shelves: Mutex<Shelves>,
}

#[derive(Default)]
struct Shelves {
    by_key: HashMap<u64, Vec<Idle>>,
    count: usize,
    generation: u64,
    /// Whether a sweeper runs. It ends when nothing is left, so that an idle daemon wakes up
    /// for nothing.
    swept: bool,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

impl Pool {
    /// An idle connection of this key to the origin of `url` with these certificates; the one used last, as it is the
    /// least likely to have been closed by the peer.
    pub(super) fn take(&self, key: u64, url: &Url, tls: Option<&TlsProfile>, now: Instant) -> Option<Box<Connection>> {
        let mut shelves = self.lock();
        let shelf = shelves.by_key.get_mut(&key)?;
        let fits = |idle: &Idle| now < idle.since + IDLE_TIME_MAX && idle.connection.origin.serves(url, tls);
        let at = shelf.iter().rposition(fits)?;
        let idle = shelf.remove(at);
        shelves.count -= 1;
        Some(idle.connection)
    }

    /// Keeps a connection for the next exchange, or closes it when there are enough.
    pub(super) fn put(self: &Arc<Self>, key: u64, connection: Box<Connection>, now: Instant) {
        let mut shelves = self.lock();
        if connection.generation != shelves.generation || shelves.count >= IDLE_MAX {
            drop(shelves);
            return;
        }
        let shelf = shelves.by_key.entry(key).or_default();
        let same = shelf.iter().filter(|idle| idle.connection.origin == connection.origin).count();
        if same >= PER_KEY_MAX {
            drop(shelves);
            return;
        }
        shelf.push(Idle { connection, since: now });
        shelves.count += 1;
        if !shelves.swept {
            shelves.swept = true;
            tokio::spawn(sweep(Arc::clone(self)));
        }
    }

    /// Closes everything idle, and from now on accepts connections of `generation` only.
    pub(super) fn start_over(&self, generation: u64) {
        let mut shelves = self.lock();
        // Two changes at a time may arrive here in either order.
        shelves.generation = shelves.generation.max(generation);
        shelves.count = 0;
        let old = std::mem::take(&mut shelves.by_key);
        drop(shelves);
        // Closing sockets is for after the lock.
        drop(old);
    }

    /// Idle connections, all keys together.
    pub(super) fn count(&self) -> usize {
        self.lock().count
    }

    /// Closes what has been idle for too long. False when nothing is left to watch.
    fn sweep_once(&self, now: Instant) -> bool {
        let mut old = Vec::new();
        let mut shelves = self.lock();
        shelves.by_key.retain(|_, shelf| {
            old.extend(shelf.extract_if(.., |idle| now >= idle.since + IDLE_TIME_MAX));
            !shelf.is_empty()
        });
        shelves.count -= old.len();
        shelves.swept = !shelves.by_key.is_empty();
        shelves.swept
    }

    /// A panic while the lock was held cannot leave more than a wrong count behind.
    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(pool: Arc<Pool>) {
    let pool = {
        let weak = Arc::downgrade(&pool);
        drop(pool);
        weak
    };
    loop {
        sleep(SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.sweep_once(Instant::now()) {
            return;
        }
    }
}
