//! A webhook as it travels, and what can be asked of the configuration as a whole.
//!
//! Secrets are told to be set, and no more, except one at a time to who asks for it by name.

use serde::{Deserialize, Serialize};

/// Whether a secret is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
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

/// Who is told when deliveries fail for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct FailureEmailView {
    /// Mail addresses.
    pub to: Vec<String>,
    /// Whether the payload goes along.
    pub include_body: bool,
}

/// How a webhook gets an access token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct OAuthView {
    /// The URL of the authorization server.
    pub endpoint: String,
    /// Sent to it as `Authorization`.
    pub token: SecretView,
    /// Sent to it as the body.
    pub request: SecretView,
}

/// Private certificates of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct TlsView {
    /// PEM certificates that are trusted besides the system's.
    #[serde(default)]
    pub ca: Option<String>,
    /// The PEM chain that is shown to the receiver.
    #[serde(default)]
    pub client_certificate: Option<String>,
    /// Its key.
    #[serde(default)]
    pub client_key: SecretView,
}

/// A condition on a payload; one of `equals`, `in` and `exists` is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ConditionView {
    /// JSON Pointer (RFC 6901) of a value.
    pub path: String,
    /// It equals this one; `null` is a value.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub equals: Option<serde_json::Value>,
    /// It equals one of these.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<serde_json::Value>>,
    /// It is there, or is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

/// Tells a `null` that is there from a field that is not.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(from).map(Some)
}

/// How a webhook is doing. Not part of what is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
    /// Who is told when deliveries fail for good; `null` for nobody.
    #[serde(default)]
    pub failure_email: Option<FailureEmailView>,
    /// How to get an access token; `null` for none.
    #[serde(default)]
    pub oauth: Option<OAuthView>,
    /// Private certificates; `null` for none.
    #[serde(default)]
    pub tls: Option<TlsView>,
    /// When to try again.
    pub retry: RetryView,
    /// One deadline over connecting, sending and the status line.
    pub timeout_seconds: u64,
    /// The most exchanges under way.
    pub max_in_flight: u16,
    /// The most attempts begun in a second; `null` for no limit.
    #[serde(default)]
    pub rate_per_second: Option<u32>,
    /// One delivery at a time, in order of acceptance.
    #[serde(default)]
    pub ordered: bool,
    /// Which payloads it wants: all conditions must hold.
    #[serde(default)]
    pub filter: Vec<ConditionView>,
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

/// One secret, shown to who asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct RevealView {
    /// Its name, such as `oauth.token` or `headers.Authorization`.
    pub field: String,
    /// The secret itself.
    pub value: String,
}

/// What an import did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ImportView {
    /// Nothing was done.
    pub dry_run: bool,
    /// One entry for everything that is named or would be deleted.
    pub changes: Vec<ImportChange>,
}

/// What an import does to one webhook or event type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct ImportChange {
    /// `create`, `change`, `delete` or `unchanged`.
    pub action: String,
    /// `webhook` or `event_type`.
    #[serde(default)]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The fields that change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// It was done.
    pub applied: bool,
    /// Why it was not; those after it were not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// When a webhook's deliveries are attempted while the receiver stays down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct PlanView {
    /// Earliest times after the first attempt, itself among them as 0; each retry comes up to a
    /// tenth of its wait later, and an attempt that times out adds its timeout.
    pub attempts_after_seconds: Vec<u64>,
    /// How long one attempt may take.
    pub timeout_seconds: u64,
    /// After the last attempt these are told; empty for nobody.
    pub mail_to: Vec<String>,
}
