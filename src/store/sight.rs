//! What can be seen of the store from outside: where the index stands, how far things are, how much
//! was accepted, how long something waits.
//!
//! It changes nothing, and waits neither for the disk nor for the index to be in step.

use std::collections::{HashMap, HashSet};

use tokio::sync::watch;

use super::{Changed, IndexState, Store};
use crate::domain::figures::Window;
use crate::domain::id::WebhookId;
use crate::domain::time::{Now, Timestamp};

/// Pending deliveries that are looked at, from the oldest on, to find the oldest of each webhook.
const OLDEST_LOOKED_AT_MAX: usize = 20_000;

impl Store {
    /// How far things are, for whoever waits for a change.
    #[must_use]
    pub fn watch_changes(&self) -> watch::Receiver<Changed> {
        self.shared.revisions.watch()
    }

    /// Where the index stands.
    #[must_use]
    pub fn index_state(&self) -> IndexState {
        self.shared.slot.state()
    }

    /// How often an index was moved aside since the start.
    #[must_use]
    pub fn index_rebuilds(&self) -> usize {
        self.shared.slot.rebuilt()
    }

    /// The sequence up to which the index is in step.
    #[must_use]
    pub fn index_position(&self) -> u64 {
        self.shared.slot.applied()
    }

    /// When the oldest pending delivery was accepted that goes to one of these webhooks, as far as
    /// the index knows.
    pub async fn oldest_pending(&self, of: impl Fn(WebhookId) -> bool + Send + 'static) -> Option<Timestamp> {
        self.read_index(move |index| index.oldest_pending(&of)).await.ok().flatten()
    }

    /// The same for each of these webhooks; one whose deliveries all lie behind many of others is
    /// left out, because nothing is kept to find them by.
    pub async fn oldest_pending_of(&self, webhooks: HashSet<WebhookId>) -> HashMap<WebhookId, Timestamp> {
        let search = move |index: &crate::index::Index| index.oldest_pending_of(webhooks, OLDEST_LOOKED_AT_MAX);
        self.read_index(search).await.unwrap_or_default()
    }

    /// How many events were accepted in each slice of the window, since the start.
    #[must_use]
    pub fn accepted_over(&self, window: Window, now: Now) -> Vec<u64> {
        self.shared.intake.read(window, now)
    }
}
