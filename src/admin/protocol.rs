//! What travels over the admin socket: plain structs, the same for server, command line and UI.
//!
//! Instants are RFC 3339 texts in UTC. Fields are only ever added. Secrets travel inwards only.

mod bulk;
mod email;
mod event_types;
mod keys;
mod stats;
mod trial;
mod webhook;

#[cfg(test)]
mod tests;

pub use bulk::{BulkCount, BulkRequest, DeadLinkSample, JobView, Resent};
pub use email::{EmailStatus, EmailTest, EmailTested};
pub use event_types::{DriftView, EventTypeDefinition, EventTypeView};
pub use keys::{KeyView, NewKey};
pub use stats::{ChangesView, SeriesView, StatsView, WebhookStats};
pub use trial::{NewTest, StepView, TestView};
pub use webhook::{
    ConditionView, FailureEmailView, HeaderView, ImportChange, ImportView, LaneView, OAuthView, PlanView, RetryView,
    RevealView, SecretView, TlsView, WebhookView,
};

use serde::{Deserialize, Serialize};

/// All calls and what travels in them, as OpenAPI 3.1 (JSON).
pub const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// A problem, RFC 9457 (`application/problem+json`). `type` is always `about:blank`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
    #[cfg_attr(test, schema(value_type = Option<WebhookView>))]
    pub current: Option<Box<WebhookView>>,
    /// On a conflict of versions: what was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted: Option<serde_json::Value>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct FieldError {
    /// The field, such as `retry.count` or `headers[2].name`.
    pub field: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// An attempt as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
    /// `pending`, `delivered`, `failed`, `cancelled`, or `skipped` when the webhook's filter did not match.
    pub state: String,
    /// Why it waits although it is due: `paused`, `rate`, `in_flight`, `cooling_down`.
    pub hold: Option<String>,
    /// An exchange is under way.
    #[serde(default)]
    pub sending: bool,
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
    /// When the last attempt began; `None` before the first.
    #[serde(default)]
    pub last_attempt_at: Option<String>,
    /// How long it took, until the status line or the failure.
    #[serde(default)]
    pub last_duration_ms: Option<f64>,
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
    /// Links in the payload that likely no longer work; only when one delivery is asked for, and
    /// not for a payload over 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_links: Option<usize>,
}

/// A request as it is sent, secrets masked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RequestView {
    /// Always `POST`.
    pub method: String,
    /// The receiver URL.
    pub url: String,
    /// Name and value, secret values as `…`.
    #[cfg_attr(test, schema(value_type = Vec<Vec<String>>))]
    pub headers: Vec<(String, String)>,
    /// How long the receiver has to answer.
    #[serde(default)]
    pub timeout_seconds: u64,
}

/// An event as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
    /// How many deliveries it has, without the skipped ones.
    pub deliveries: u16,
    /// How many webhooks' filters did not let it through.
    #[serde(default)]
    pub skipped: u16,
    /// The deliveries; only when one event is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_list: Option<Vec<DeliveryView>>,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageView<T> {
    /// Newest first, or as `order` asked for.
    pub items: Vec<T>,
    /// To be sent as `cursor` for what follows; absent at the end. A page can be short, even
    /// empty, and yet have one: a filter that matches little is searched for a bounded time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An entry of the audit log as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct AuditView {
    /// When it was done.
    pub at: String,
    /// Who did it: a name, with `(sudo)` behind it when root acted for somebody; `postrider` for the
    /// daemon itself.
    pub by: String,
    /// The user id that the kernel told; `None` for the daemon itself.
    pub uid: Option<u32>,
    /// `webhook.create`, `webhook.edit`, `key.revoke`, `delivery.resend`, …
    pub action: String,
    /// The name of the webhook or token, or the id of the delivery.
    pub subject: String,
    /// What changed; secrets are only told to be `set`, `replaced` or `cleared`.
    pub detail: serde_json::Value,
}

/// Where ingest listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
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

/// What deliveries need of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EgressStatus {
    /// There is a certificate authority, so https receivers can be verified.
    pub verifies_tls: bool,
    /// There is a name server to ask.
    pub resolves_names: bool,
}

/// What the daemon takes of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ProcessStatus {
    /// Memory in use.
    pub resident_bytes: u64,
    /// Processor time used since the start.
    pub cpu_seconds: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// The most there may be.
    pub descriptors_max: u64,
}

/// How the daemon is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
    /// Mail about failures.
    #[serde(default)]
    pub email: EmailStatus,
    /// What an operator should know, in plain words; empty when all is well.
    pub problems: Vec<String>,
    /// The configuration file, if there is one.
    pub config_file: Option<String>,
    /// Loopback receivers are permitted because there is no configuration file.
    pub trial: bool,
    /// Whoever asks may look and change nothing.
    #[serde(default)]
    pub read_only: bool,
    /// How many days deliveries are kept after their last attempt.
    #[serde(default)]
    pub retention_days: u64,
    /// When the configuration file was last read with success.
    #[serde(default)]
    pub config_read_at: Option<String>,
    /// What deliveries need of the machine.
    #[serde(default)]
    pub egress: Option<EgressStatus>,
    /// What the daemon takes of it.
    #[serde(default)]
    pub process: Option<ProcessStatus>,
    /// Where metrics can be read besides the admin socket, if anywhere.
    #[serde(default)]
    pub metrics_listen: Option<String>,
    /// Why the file was refused the last time it was read, if it was.
    #[serde(default)]
    pub config_refused: Option<String>,
}

/// What checking the whole store found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Done {
    /// Whether anything was to be done.
    pub done: bool,
}
