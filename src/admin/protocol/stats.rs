//! Figures over the last hour or day, and what changed since somebody last looked.
//!
//! Series are counts per slice of time, oldest first, all of the same length within one answer.
//! Counts are of this run of the daemon: `counting_since` tells from when on they are complete.

use serde::{Deserialize, Serialize};

/// The answer to `GET /v1/stats?window=1h`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct StatsView {
    /// When it was made.
    pub at: String,
    /// When the first slice begins, aligned to `slice_seconds`.
    pub starts_at: String,
    /// When the daemon began to count, if that is within the window: before it everything is 0.
    #[serde(default)]
    pub counting_since: Option<String>,
    /// How long a slice is: 60 for an hour, 1800 for a day.
    pub slice_seconds: u64,
    /// Events accepted in each slice.
    pub accepted: Vec<u64>,
    /// Over all webhooks, those that are gone by now among them.
    pub total: SeriesView,
    /// Each webhook there is, in the order of their names.
    pub webhooks: Vec<WebhookStats>,
    /// Pending deliveries, without those of deleted webhooks.
    pub pending: u64,
    /// Of these: due now and not on their way.
    pub due: u64,
    /// Of these: wait for their retry.
    pub waiting_retry: u64,
    /// When all that is pending will be gone, at the pace of the last minutes; `None` when it does not shrink.
    #[serde(default)]
    pub drain_seconds: Option<u64>,
}

/// Attempts by what came of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct SeriesView {
    /// No response (class `0`), per slice.
    pub no_response: Vec<u64>,
    /// 2xx.
    pub success: Vec<u64>,
    /// 3xx.
    pub redirection: Vec<u64>,
    /// 4xx.
    pub client_error: Vec<u64>,
    /// 5xx, and codes outside of every class.
    pub server_error: Vec<u64>,
    /// Deliveries that failed for good, per slice.
    pub failed: Vec<u64>,
    /// Attempts within the window that an operator asked for.
    pub resent: u64,
    /// Half of the attempts within the window that got a response took at most this long; `None` without any.
    /// Off by a third at most; reaches back up to ten minutes, or three hours, further than the slices.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// 95 of 100.
    #[serde(default)]
    pub p95_ms: Option<f64>,
    /// 99 of 100.
    #[serde(default)]
    pub p99_ms: Option<f64>,
}

/// How one webhook did, and does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct WebhookStats {
    /// `wh_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Within the window.
    pub series: SeriesView,
    /// Code of its last attempt since the daemon started.
    #[serde(default)]
    pub last_code: Option<u16>,
    /// Why there was no response to it.
    #[serde(default)]
    pub last_error: Option<String>,
    /// When that attempt began.
    #[serde(default)]
    pub last_at: Option<String>,
    /// When its last attempt that succeeded began.
    #[serde(default)]
    pub last_success_at: Option<String>,
    /// When the first of the failures since its last success began.
    #[serde(default)]
    pub failing_since: Option<String>,
    /// An operator should look.
    pub failing: bool,
    /// Pending deliveries.
    pub pending: u64,
    /// Exchanges under way.
    pub in_flight: u16,
    /// When its next attempt can begin, if it is not paused and something waits: a retry that is due then,
    /// or `at` when only room is missing.
    #[serde(default)]
    pub next_attempt_at: Option<String>,
    /// When the event of the oldest pending delivery was accepted. `None` also while the index is away, and
    /// when the oldest 20,000 pending deliveries are all of others.
    #[serde(default)]
    pub oldest_pending_at: Option<String>,
}

/// The answer to `GET /v1/changes?after=REVISION&wait=SECONDS`. It comes when anything changed after
/// that revision, or when the time is over. A revision counts within one run of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ChangesView {
    /// To be sent as `after` the next time.
    pub revision: u64,
    /// Which run of the daemon this is; when it differs, everything has to be asked for anew.
    pub run: String,
    /// The revision at which an event was last accepted or a delivery last changed.
    pub deliveries: u64,
    /// The revision at which webhooks, event types or tokens last changed.
    pub configuration: u64,
    /// Deliveries made since the start of the daemon, skipped ones among them: each is a row of the list.
    pub made: u64,
}
