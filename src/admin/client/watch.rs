//! The calls of somebody who keeps looking: figures, and what changed.
//!
//! They change nothing. Waiting for a change is the daemon's part: it answers in time, changed or not.

use std::time::Duration;

use super::{Call, Client, ClientError, DeliveryFilter, EventFilter};
use crate::admin::protocol::{ChangesView, DeliveryView, EventView, PageView, StatsView};

/// Which way a list is walked, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// The id of a row: those beyond it are wanted. `None` begins at the end of the list.
    pub from: Option<String>,
    /// The cursor of the answer before, which goes on where that one stopped; then `from` is not sent.
    pub cursor: Option<String>,
    /// From older to newer; the answer's rows come in that order.
    pub oldest_first: bool,
    /// At most so many rows.
    pub limit: usize,
}

impl Walk {
    fn query(&self, mut filter: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
        filter.push(("limit", self.limit.to_string()));
        match (&self.cursor, &self.from) {
            (Some(cursor), _) => filter.push(("cursor", cursor.clone())),
            (None, Some(from)) => filter.push(("from", from.clone())),
            (None, None) => {}
        }
        filter.extend(self.oldest_first.then(|| ("order", "oldest".to_owned())));
        filter
    }
}

/// Longer than the daemon lets anybody wait.
const CHANGES_MAX: Duration = Duration::from_secs(90);

impl Client {
    /// Figures over `window`: `1h` or `24h`.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; the same holds for the call below.
    pub async fn stats(&self, window: &str) -> Result<StatsView, ClientError> {
        self.ask(Call::get(&["stats"]).query(vec![("window", window.to_owned())])).await
    }

    /// What changed after `after`; waits at most `wait` for something to.
    pub async fn changes(&self, after: u64, wait: Duration) -> Result<ChangesView, ClientError> {
        let query = vec![("after", after.to_string()), ("wait", wait.as_secs().to_string())];
        self.ask(Call::get(&["changes"]).query(query).within(CHANGES_MAX)).await
    }

    /// Part of the deliveries, in either direction from a row.
    pub async fn walk_deliveries(
        &self,
        filter: &DeliveryFilter,
        walk: &Walk,
    ) -> Result<PageView<DeliveryView>, ClientError> {
        self.ask(Call::get(&["deliveries"]).query(walk.query(filter.query()))).await
    }

    /// Part of the events, in either direction from a row.
    pub async fn walk_events(&self, filter: &EventFilter, walk: &Walk) -> Result<PageView<EventView>, ClientError> {
        self.ask(Call::get(&["events"]).query(walk.query(filter.query()))).await
    }
}
