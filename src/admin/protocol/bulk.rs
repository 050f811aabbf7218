//! Changes of many deliveries as they travel over the admin socket: what is asked for, how many it
//! would be, and how far it is.
//!
//! It checks nothing: the daemon does, and names the field that is wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What `POST /v1/resend` and `POST /v1/cancel` take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    /// The fields of the query of `GET /v1/deliveries`; `class`, `code` and `state` may be lists.
    #[serde(default)]
    #[cfg_attr(test, schema(value_type = std::collections::HashMap<String, Value>))]
    pub filter: Map<String, Value>,
    /// Permits an empty filter, which means all there are.
    #[serde(default)]
    pub all: bool,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
    /// Deliveries per second, from 1 to 1000; 50 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<u32>,
}

/// What a change of many deliveries would be: the answer to a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct BulkCount {
    /// Deliveries that match; at least so many when it is not complete.
    pub matched: u64,
    /// The same for each webhook, by its name, or its id when it is gone.
    pub by_webhook: BTreeMap<String, u64>,
    /// When the event of the oldest was accepted.
    pub oldest: Option<String>,
    /// When the event of the newest was accepted.
    pub newest: Option<String>,
    /// How many payloads hold links that no longer work; only for a resend.
    pub dead_links: Option<DeadLinkSample>,
    /// All were counted. Counting ends after some 20 seconds.
    pub complete: bool,
}

/// Payloads with links that no longer work, among some that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DeadLinkSample {
    /// Payloads that were looked at, at most 200, evenly chosen.
    pub sampled: u64,
    /// Those with such links.
    pub with: u64,
}

/// A change of many deliveries, under way or over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct JobView {
    /// `job_…`
    pub id: String,
    /// `resend` or `cancel`.
    pub kind: String,
    /// `running`, `done`, `stopped` or `failed`.
    pub state: String,
    /// Deliveries that matched at the start; at least so many when it is not complete.
    pub matched: u64,
    /// All that match were counted.
    pub complete: bool,
    /// Deliveries that are dealt with: the sum of the next three.
    pub done: u64,
    /// Resent, or cancelled.
    pub changed: u64,
    /// Left alone: the webhook is gone, or the delivery no longer matched when its turn came.
    pub skipped: u64,
    /// Could not be changed.
    pub failed: u64,
    /// Deliveries per second, at most.
    pub rate_per_second: u32,
    /// When it began; deliveries of events accepted later are not touched.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Who asked for it.
    pub by: String,
    /// What it waits for, if it does: the journal or the index.
    pub waits: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// The answer to resending one delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Resent {
    /// It will be sent again.
    pub done: bool,
    /// What the receiver may not like about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
