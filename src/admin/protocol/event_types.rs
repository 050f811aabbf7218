//! Event types as they are shown and defined.
//!
//! Schemas and examples travel as the JSON they were given as, not as something that was read and
//! written anew.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What did not fit the schema of an event type since the daemon started, or since the schema changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DriftView {
    /// Payloads that did not fit.
    pub count: u64,
    /// When the last of them was posted.
    pub last_at: String,
    /// Where the first thing was wrong with it, as a JSON Pointer; empty for the whole payload.
    pub last_path: String,
    /// Why, such as `must be a string`.
    pub last_reason: String,
}

/// An event type as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
    /// Defined by an operator; the others are built in.
    #[serde(default)]
    pub custom: bool,
    /// Payloads can be checked.
    #[serde(default)]
    pub has_schema: bool,
    /// There is an example of a payload.
    #[serde(default)]
    pub has_example: bool,
    /// How many active webhooks get its events.
    #[serde(default)]
    pub webhooks: usize,
    /// What did not fit its schema, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftView>,
    /// Payloads that were accepted without the check, because too many waited for it.
    #[serde(default)]
    pub unchecked: u64,
    /// When an operator last changed it; only of the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// Who did; only of the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_by: Option<String>,
}

/// An event type of the operator's own, as it is defined.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EventTypeDefinition {
    /// What people read; the name when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `KYC`, `AML`, `KYB` or `Other`, which it is when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What it means, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<String>,
    /// The JSON Schema of its payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    pub schema: Option<Box<RawValue>>,
    /// An example of a payload; has to fit the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    pub example: Option<Box<RawValue>>,
}
