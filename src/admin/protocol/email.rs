//! What travels about mail. It knows nothing of how mail is sent.
//!
//! Fields are only ever added; texts of mail servers are bounded and printable already.

use serde::{Deserialize, Serialize};

/// Mail about failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EmailStatus {
    /// There is a mail server.
    pub configured: bool,
    /// Mails that it has not taken yet.
    pub waiting: usize,
    /// Failures that no mail has told yet.
    pub held_failures: u64,
    /// When it last took a mail, since the start.
    pub last_sent_at: Option<String>,
    /// What went wrong last, since the start.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<String>,
    /// Mail does not get out.
    pub failing: bool,
}

/// A mail that shows that mail works.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EmailTest {
    /// Whom it goes to.
    pub to: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct EmailTested {
    /// The server took it.
    pub sent: bool,
    /// What it said, or why it could not be asked.
    pub error: Option<String>,
}
