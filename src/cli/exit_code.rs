//! The exit codes of the program, and which failure has which.
//!
//! It says nothing to anybody and ends nothing; `main` hands the number to the system.
//!
//! Invariant: the numbers are those of `sysexits.h` where one fits, and never change: units and
//! scripts depend on them.

use std::io;

use crate::admin::client::ClientError;
use crate::admin::client::ingest::PostError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// 0
    Done,
    /// 1
    No,
    /// 64
    Usage,
    /// 65
    BadData,
    /// 66
    NoInput,
    /// 69
    Unreachable,
    /// 70
    Internal,
    /// 73
    CannotCreate,
    /// 74
    InputOutput,
    /// 75
    TryAgain,
    /// 77
    NotPermitted,
    /// 78
    BadConfig,
    /// 141: what a shell reports for signal 13.
    BrokenPipe,
    /// 128 and the number of the signal that ended the terminal UI.
    Signal(u8),
    /// What `status --check` found, as monitoring plugins number it: 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
    Check(u8),
}

impl ExitCode {
    /// All of them, for the manual.
    pub const ALL: [Self; 13] = [
        Self::Done,
        Self::No,
        Self::Usage,
        Self::BadData,
        Self::NoInput,
        Self::Unreachable,
        Self::Internal,
        Self::CannotCreate,
        Self::InputOutput,
        Self::TryAgain,
        Self::NotPermitted,
        Self::BadConfig,
        Self::BrokenPipe,
    ];

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 64,
            Self::BadData => 65,
            Self::NoInput => 66,
            Self::Unreachable => 69,
            Self::Internal => 70,
            Self::CannotCreate => 73,
            Self::InputOutput => 74,
            Self::TryAgain => 75,
            Self::NotPermitted => 77,
            Self::BadConfig => 78,
            Self::BrokenPipe => 141,
            Self::Check(number) => number,
            Self::Signal(number) => 128u8.saturating_add(number),
        }
    }

    /// What it means, for the manual.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::No => "ran, but the answer is no: not found, damaged, test failed",
            Self::Usage => "wrong usage",
            Self::BadData => "bad data: a field, payload or file is refused",
            Self::NoInput => "an input file is missing or cannot be read",
            Self::Unreachable => "the daemon cannot be reached",
            Self::Internal => "a fault in postrider",
            Self::CannotCreate => "an output file cannot be created",
            Self::InputOutput => "input or output failed",
            Self::TryAgain => "not now: try again",
            Self::NotPermitted => "not permitted",
            Self::BadConfig => "the configuration is faulty",
            Self::BrokenPipe => "whoever read the output stopped reading",
            Self::Check(_) => "what `status --check` found: 1 WARNING, 2 CRITICAL, 3 UNKNOWN",
            Self::Signal(_) => "ended by a signal: 128 and its number",
        }
    }

    /// For a refusal with this HTTP status.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::NotPermitted,
            404 | 410 => Self::No,
            408 | 429 | 503 | 507 => Self::TryAgain,
            400 | 409 | 411..=431 => Self::BadData,
            _ => Self::Internal,
        }
    }

    /// For a call to the admin socket that failed.
    #[must_use]
    pub const fn of_client(error: &ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. } => Self::Unreachable,
            ClientError::Forbidden { .. } => Self::NotPermitted,
            ClientError::Refused(problem) => Self::of_status(problem.status),
            ClientError::Protocol(_) => Self::Internal,
        }
    }

    /// For an event that was not accepted.
    #[must_use]
    pub const fn of_post(error: &PostError) -> Self {
        match error {
            PostError::Unreachable { .. } => Self::Unreachable,
            PostError::Refused(problem) => Self::of_status(problem.status),
            PostError::Protocol(_) => Self::Internal,
        }
    }

    /// For an input file that cannot be read.
    #[must_use]
    pub fn of_input(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => Self::NoInput,
            _ => Self::InputOutput,
        }
    }

    /// For standard output that cannot be written.
    #[must_use]
    pub fn of_output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe { Self::BrokenPipe } else { Self::InputOutput }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::Problem;

    #[test]
    fn every_reaction_has_its_number() {
        let refused = |status| ClientError::Refused(Problem { status, ..Problem::default() });
        let cases = [
            (ClientError::Unreachable { tried: Vec::new() }, 69),
            (ClientError::Forbidden { path: "/x".into() }, 77),
            (ClientError::Protocol(String::new()), 70),
            (refused(400), 65),
            (refused(401), 77),
            (refused(403), 77),
            (refused(404), 1),
            (refused(405), 70),
            (refused(409), 65),
            (refused(413), 65),
            (refused(415), 65),
            (refused(422), 65),
            (refused(429), 75),
            (refused(500), 70),
            (refused(503), 75),
            (refused(507), 75),
        ];
        for (error, number) in cases {
            assert_eq!(ExitCode::of_client(&error).number(), number, "{error:?}");
        }
    }

    #[test]
    fn numbers_are_distinct_and_rising() {
        assert!(ExitCode::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        assert!(ExitCode::ALL.iter().all(|code| !code.meaning().is_empty()));
    }

    #[test]
    fn a_reader_that_left_is_not_a_fault_of_the_disk() {
        let of = |kind| ExitCode::of_output(&io::Error::from(kind)).number();
        assert_eq!((of(io::ErrorKind::BrokenPipe), of(io::ErrorKind::StorageFull)), (141, 74));
        assert_eq!(ExitCode::of_input(&io::Error::from(io::ErrorKind::NotFound)).number(), 66);
    }
}
