//! What can be typed after `:`, and which of it is meant by what was typed. (Skeleton: to be filled in.)
//!
//! It does nothing itself.

use super::model::Model;

/// Something that can be typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// What is typed in the end.
    pub completion: String,
    /// What it does.
    pub help: String,
}

/// What may be meant, the best first.
#[must_use]
pub fn matches(_model: &Model, _typed: &str) -> Vec<Match> {
    Vec::new()
}
