//! Why a command came to nothing: an exit code, a text, and what to do next.
//!
//! It does not print itself.
//!
//! Invariant: a failure that is shown always says something; only a reader that left is silent.

use std::io;
use std::path::Path;

use super::exit_code::ExitCode;
use crate::admin::client::ClientError;
use crate::admin::client::ingest::PostError;
use crate::domain::text::printable;

/// A command that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends.
    pub exit: ExitCode,
    /// What is wrong; may have several lines.
    pub text: String,
    /// What to do next, if that is known.
    pub advice: Option<String>,
}

impl Failure {
    /// A failure without advice.
    #[must_use]
    pub fn new(exit: ExitCode, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), advice: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The command was called in a way that makes no sense.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, text)
    }

    /// Output could not be written.
    pub(super) fn output(error: &io::Error) -> Self {
        Self::new(ExitCode::of_output(error), format!("the output cannot be written: {error}"))
    }

    /// A file could not be read.
    pub(super) fn input(path: &Path, error: &io::Error) -> Self {
        Self::new(ExitCode::of_input(error), format!("{}: {error}", printable(&path.to_string_lossy())))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(ExitCode::of_client(&error), error.to_string());
        match error.advice() {
            Some(advice) => failure.advise(advice),
            None => failure,
        }
    }
}

impl From<PostError> for Failure {
    fn from(error: PostError) -> Self {
        let failure = Self::new(ExitCode::of_post(&error), error.to_string());
        match &error {
            PostError::Unreachable { .. } => {
                failure.advise("it is not known whether the event was accepted: post it again with the same --key")
            }
            PostError::Refused(problem) if matches!(problem.status, 401 | 403) => failure
                .advise("name the file with the token by --token-file, or make one with `postrider key create NAME`"),
            PostError::Refused(problem) if problem.status == 422 => {
                failure.advise("`postrider event types` lists the event types")
            }
            _ => failure,
        }
    }
}
