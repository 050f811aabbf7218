//! Posting the same thing twice: keys that are being written, or not in the index yet.
//!
//! Older keys are in the index. A key is claimed here first, so two posts at once can not both
//! find that nobody has used it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::id::EventId;

/// How a claimed key fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waiting,
    /// Its event is on stable storage.
    Accepted(EventId),
    /// Its event was refused; the key is free again.
    Refused,
}

#[derive(Debug)]
struct Entry {
    digest: [u8; 16],
    fate: watch::Receiver<Fate>,
}

/// What claiming a key found.
pub(super) enum Claim {
    /// It is ours: whoever holds the sender says how it fared.
    Ours(watch::Sender<Fate>),
    /// Somebody has it, with this digest.
    Theirs([u8; 16], watch::Receiver<Fate>),
}

type Key = (String, String);

#[derive(Debug, Default)]
struct Keys {
    entries: HashMap<Key, Entry>,
    /// Accepted keys by the sequence that must be in the index before they can go.
    accepted: VecDeque<(u64, Key)>,
}

#[derive(Debug, Default)]
pub(super) struct RecentKeys(Mutex<Keys>);

impl RecentKeys {
    pub(super) fn claim(&self, token: &str, key: &str, digest: [u8; 16]) -> Claim {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (token.to_owned(), key.to_owned());
        if let Some(entry) = keys.entries.get(&key) {
            return Claim::Theirs(entry.digest, entry.fate.clone());
        }
        let (sender, fate) = watch::channel(Fate::Waiting);
        keys.entries.insert(key, Entry { digest, fate });
        Claim::Ours(sender)
    }

    /// The claimed key's event has this sequence; forgets keys the index knows by now.
    pub(super) fn accepted(&self, token: &str, key: &str, sequence: u64, applied: u64) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.accepted.push_back((sequence, (token.to_owned(), key.to_owned())));
        while keys.accepted.front().is_some_and(|(sequence, _)| *sequence <= applied) {
            if let Some((_, key)) = keys.accepted.pop_front() {
                keys.entries.remove(&key);
            }
        }
    }

    /// How many keys are remembered.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    /// The claimed key was not used after all.
    pub(super) fn release(&self, token: &str, key: &str) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.entries.remove(&(token.to_owned(), key.to_owned()));
    }
}
