//! Ingest tokens as they travel over the admin socket.
//!
//! A token itself travels once, in the answer to making it; it is in no other answer.

use serde::{Deserialize, Serialize};

/// An ingest token as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
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
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// Event types it may post; empty or absent for all.
    #[serde(default)]
    pub types: Vec<String>,
}
