//! What travels over the admin socket: plain structs, the same for server, command line and UI.
//!
//! Instants are RFC 3339 texts in UTC. Fields are only ever added. Secrets travel inwards only.

use serde::{Deserialize, Serialize};

/// A problem, RFC 9457 (`application/problem+json`). `type` is always `about:blank`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The status code.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What is wrong, and what to do.
    pub detail: String,
    /// What is wrong with single fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FieldError>,
    /// On a conflict of versions: the webhook as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Box<WebhookView>>,
    /// On a conflict of versions: what was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<serde_json::Value>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field, such as `retry.count` or `headers[2].name`.
    pub field: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// Whether a secret is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// It is set.
    pub set: bool,
    /// When it was set.
    #[serde(default)]
    pub changed_at: Option<String>,
    /// Until when the key it replaced signs as well.
    #[serde(default)]
    pub previous_until: Option<String>,
}

/// A header of the operator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderView {
    /// Its name.
    pub name: String,
    /// Its value, unless it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value is not shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// A secret value is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub set: bool,
}

/// A retry plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryView {
    /// Attempts after the first.
    pub count: u16,
    /// Seconds after the first attempt.
    pub interval_seconds: u64,
    /// `fixed` or `exponential`.
    pub backoff: String,
    /// The longest wait of an exponential plan, in seconds.
    pub max_interval_seconds: u64,
}

/// How a webhook is doing. Not part of what is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneView {
    /// Deliveries that are pending.
    pub pending: u64,
    /// Exchanges under way.
    pub in_flight: u16,
    /// An operator should look.
    pub failing: bool,
    /// The receiver is in trouble and is asked gently.
    pub cooling_down: bool,
    /// Failures since the last success.
    pub failures: u32,
}

/// A webhook as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookView {
    /// `wh_…`
    pub id: String,
    /// Rises with every change; to be sent along with the next one.
    pub version: u32,
    /// Always `Webhook`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The receiver URL.
    pub url: String,
    /// Names of event types, or `*`.
    pub event_types: Vec<String>,
    /// Deliveries are made for it.
    pub active: bool,
    /// Deliveries are made, and wait.
    pub paused: bool,
    /// The operator's own headers.
    pub headers: Vec<HeaderView>,
    /// The signing key.
    pub signing_key: SecretView,
    /// When to try again.
    pub retry: RetryView,
    /// One deadline over connecting, sending and the status line.
    pub timeout_seconds: u64,
    /// The most exchanges under way.
    pub max_in_flight: u16,
    /// When it was created.
    pub created_at: String,
    /// When it last changed.
    pub updated_at: String,
    /// Who changed it last.
    pub updated_by: String,
    /// When it was deleted, while it can still be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// How it is doing.
    #[serde(default)]
    pub lane: LaneView,
}

/// An attempt as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Counted from 1 over all attempts, resends included.
    pub number: u32,
    /// `event` or `resend`.
    pub cause: String,
    /// When it began.
    pub started_at: String,
    /// Until the status line, or until the failure.
    pub duration_ms: f64,
    /// The status code; 0 when there was no response.
    pub code: u16,
    /// `0`, `2xx`, …
    pub class: String,
    /// Why there was no response.
    pub error: Option<String>,
    /// Resolving the name.
    pub dns_ms: Option<f64>,
    /// Establishing the connection.
    pub connect_ms: Option<f64>,
    /// The TLS handshake.
    pub tls_ms: Option<f64>,
    /// From sending to the status line.
    pub first_byte_ms: Option<f64>,
    /// The address that was dialled.
    pub peer: Option<String>,
}

/// A delivery as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// `dlv_…`
    pub id: String,
    /// `evt_…`
    pub event_id: String,
    /// `wh_…`
    pub webhook_id: String,
    /// The webhook's name.
    pub webhook_name: String,
    /// Name of the event type.
    pub event_type: String,
    /// `scanRef` of the payload.
    pub scan_ref: Option<String>,
    /// Everything it can be found by.
    pub references: Vec<String>,
    /// `pending`, `delivered`, `failed` or `cancelled`.
    pub state: String,
    /// Why it waits although it is due: `paused`, `rate`, `in_flight`, `cooling_down`.
    pub hold: Option<String>,
    /// Where it goes.
    pub url: String,
    /// When the event was accepted.
    pub created_at: String,
    /// When the next attempt is due.
    pub next_attempt_at: Option<String>,
    /// Automatic attempts made.
    pub attempts_made: u16,
    /// Automatic attempts in all.
    pub attempts_max: u16,
    /// Code of the last attempt; `None` before the first.
    pub last_code: Option<u16>,
    /// Its class.
    pub last_class: Option<String>,
    /// Why there was no response to it.
    pub last_error: Option<String>,
    /// Bytes of the payload.
    pub payload_bytes: u32,
    /// `event`, `resend` or `test`: who asked for the last or next attempt.
    pub cause: String,
    /// What was tried, oldest first; only when one delivery is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
    /// The request as it is sent, secrets masked; only when one delivery is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestView>,
}

/// A request as it is sent, secrets masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// Always `POST`.
    pub method: String,
    /// The receiver URL.
    pub url: String,
    /// Name and value, secret values as `…`.
    pub headers: Vec<(String, String)>,
}

/// An event as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// `evt_…`
    pub id: String,
    /// Name of its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it was accepted.
    pub created_at: String,
    /// The media type it was posted with.
    pub content_type: String,
    /// `scanRef` of the payload.
    pub scan_ref: Option<String>,
    /// Everything it can be found by.
    pub references: Vec<String>,
    /// Name of the token it was posted with.
    pub token: String,
    /// Bytes of the payload.
    pub payload_bytes: u32,
    /// How many deliveries it has.
    pub deliveries: u16,
    /// The deliveries; only when one event is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_list: Option<Vec<DeliveryView>>,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageView<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// To be sent as `cursor` for what follows; absent at the end. A page can be short, even
    /// empty, and yet have one: a filter that matches little is searched for a bounded time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An event type as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTypeView {
    /// Canonical name.
    pub name: String,
    /// What people read.
    pub label: String,
    /// What receivers read.
    pub wire_name: String,
    /// `KYC`, `AML`, `KYB` or `Other`.
    pub group: String,
    /// What it means, in one line.
    pub meaning: String,
    /// New webhooks should choose something else.
    pub deprecated: bool,
}

/// An ingest token as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its name.
    pub name: String,
    /// Event types it may post; empty for all.
    pub types: Vec<String>,
    /// When it was made.
    pub created_at: String,
    /// Who made it.
    pub created_by: String,
    /// When it was last used since the daemon started.
    pub last_used_at: Option<String>,
    /// The token itself; only in the answer to making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A new ingest token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// Event types it may post; empty or absent for all.
    #[serde(default)]
    pub types: Vec<String>,
}

/// Where ingest listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestStatus {
    /// The address and port in use.
    pub listen: String,
    /// The Unix socket, if any.
    pub socket: Option<String>,
    /// New events can be made durable.
    pub accepting: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Open connections.
    pub connections: usize,
    /// Events accepted since the start.
    pub accepted: u64,
    /// Requests refused since the start.
    pub refused: u64,
}

/// The journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// The last committed sequence.
    pub sequence: u64,
    /// Segments there are.
    pub segments: usize,
    /// Bytes on disk.
    pub bytes: u64,
    /// The oldest day kept.
    pub oldest_day: Option<String>,
    /// Bytes that wait to be written.
    pub waiting_bytes: usize,
    /// Damaged stretches found and set aside, over all starts.
    pub quarantined: u64,
    /// Why nothing is accepted any more.
    pub failure: Option<String>,
}

/// The index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexStatus {
    /// `opening`, `rebuilding`, `ready` or `unavailable`.
    pub state: String,
    /// Why it is unavailable, or how far the rebuilding is.
    pub detail: Option<String>,
    /// The sequence up to which it is in step.
    pub position: u64,
    /// How often one was moved aside since the start.
    pub rebuilds: usize,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The file system of the state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// The state directory.
    pub path: String,
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Below this, new events are refused.
    pub floor_bytes: u64,
    /// New events are refused.
    pub below_floor: bool,
}

/// How the daemon is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Of the daemon.
    pub version: String,
    /// Of the daemon.
    pub pid: u32,
    /// Since the start.
    pub uptime_seconds: u64,
    /// The port for local applications.
    pub ingest: IngestStatus,
    /// Pending deliveries.
    pub pending: u64,
    /// Exchanges under way.
    pub in_flight: usize,
    /// Attempts made since the start.
    pub attempts: u64,
    /// Age of the oldest pending delivery.
    pub oldest_pending_seconds: Option<u64>,
    /// Names of webhooks that an operator should look at.
    pub failing_webhooks: Vec<String>,
    /// How many webhooks there are.
    pub webhooks: usize,
    /// The journal.
    pub journal: JournalStatus,
    /// The index.
    pub index: IndexStatus,
    /// The file system of the state directory.
    pub disk: DiskStatus,
    /// What an operator should know, in plain words; empty when all is well.
    pub problems: Vec<String>,
    /// The configuration file, if there is one.
    pub config_file: Option<String>,
    /// Loopback receivers are permitted because there is no configuration file.
    pub trial: bool,
}

/// What checking the whole store found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: usize,
    /// Records that check out.
    pub records: u64,
    /// Stretches that do not.
    pub damaged: u64,
    /// Rows of the index that check out.
    pub index_rows: u64,
    /// What is wrong with the index.
    pub index_problem: Option<String>,
    /// Large-value files in the index, of which there must be none.
    pub index_blobs: usize,
}

/// A plain acknowledgement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Whether anything was to be done.
    pub done: bool,
}
