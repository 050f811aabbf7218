//! One HTTP exchange with a receiver, and what came of it.
//!
//! Of the receiver's answer only the status code, the timings and the `Retry-After` header are
//! ever looked at; nothing else of it is kept.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::time::Timestamp;

/// Why there was no HTTP response. Shown beside code 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The name did not resolve.
    Dns,
    /// The connection was refused, or no route led to the host.
    Refused,
    /// The address policy forbids the address.
    Blocked,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The TLS handshake or the certificate check failed.
    Tls,
    /// The connection was closed or reset before a response.
    Reset,
    /// No response within the webhook's timeout.
    Timeout,
    /// Something answered, but not with HTTP as it should be.
    BadResponse,
    /// No access token could be had from the OAuth endpoint.
    Oauth,
    /// The stored event is damaged on disk; it was not sent.
    Damaged,
}

impl ErrorKind {
    /// Every kind, in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::Dns,
        Self::Refused,
        Self::Blocked,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Reset,
        Self::Timeout,
        Self::BadResponse,
        Self::Oauth,
        Self::Damaged,
    ];

    /// The word that the outside world sees.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Blocked => "blocked",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::BadResponse => "bad_response",
            Self::Oauth => "oauth",
            Self::Damaged => "damaged",
        }
    }

    /// The kind with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The class of a response code, in the words of the "recently sent" page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 0: no response.
    NoResponse,
    /// 1xx as a final answer; no receiver should do this.
    Informational,
    /// 2xx: success.
    Success,
    /// 3xx: redirection.
    Redirection,
    /// 4xx: client error.
    ClientError,
    /// 5xx: server error, and anything above.
    ServerError,
}

impl Class {
    /// The class of a code; 0 means that there was no response.
    #[must_use]
    pub const fn of(code: u16) -> Self {
        match code {
            0 => Self::NoResponse,
            1..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// `0`, `2xx`, …
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoResponse => "0",
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }

    /// The words of the page, such as `no response`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NoResponse => "no response",
            Self::Informational => "informational",
            Self::Success => "success",
            Self::Redirection => "redirection",
            Self::ClientError => "client error",
            Self::ServerError => "server error",
        }
    }

    /// The class with this short form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::NoResponse, Self::Informational, Self::Success, Self::Redirection, Self::ClientError, Self::ServerError]
            .into_iter()
            .find(|class| class.as_str() == text)
    }
}

/// Where the time of an attempt went. `None`: the phase did not happen (an address literal needs
/// no DNS, a kept-alive connection none of the first three) or was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Resolving the name.
    pub dns: Option<Duration>,
    /// Establishing the TCP connection.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request being handed to the connection until the status line was read.
    pub first_byte: Option<Duration>,
}

/// What came back from the wire. A failure is data, never an error to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The status code, or why there was none.
    pub result: Result<u16, ErrorKind>,
    /// From the first step until the status line, or until the failure.
    pub duration: Duration,
    /// Where the time went.
    pub phases: Phases,
    /// The address that was dialled, when one was.
    pub peer: Option<SocketAddr>,
    /// `Retry-After` of a 429 or 503, still as the receiver wrote it.
    pub retry_after: Option<RetryAfter>,
}

impl Outcome {
    /// A failure before any step took place.
    #[must_use]
    pub fn failed(kind: ErrorKind) -> Self {
        Self { result: Err(kind), duration: Duration::ZERO, phases: Phases::default(), peer: None, retry_after: None }
    }

    /// The code as shown: 0 when there was no response.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.result.unwrap_or(0)
    }

    /// Whether the receiver took the event: any 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.result, Ok(200..=299))
    }

    /// Whether this says that the receiver as a whole is in trouble, rather than that it did not
    /// like one event: nothing answered, or it answered 5xx, 408 or 429.
    #[must_use]
    pub fn is_receiver_trouble(&self) -> bool {
        match self.result {
            Ok(code) => code == 408 || code == 429 || code >= 500,
            Err(kind) => !matches!(kind, ErrorKind::Blocked | ErrorKind::Damaged),
        }
    }
}

/// What a `Retry-After` header asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long from now.
    Delay(Duration),
    /// Not before this instant.
    At(Timestamp),
}

impl RetryAfter {
    /// The longest wait that is honoured.
    pub const WAIT_MAX: Duration = Duration::from_hours(24);

    /// The wait it asks for at `now`, at most [`Self::WAIT_MAX`]; zero for a date in the past.
    #[must_use]
    pub fn wait(self, now: Timestamp) -> Duration {
        match self {
            Self::Delay(delay) => delay,
            Self::At(at) => at.since(now),
        }
        .min(Self::WAIT_MAX)
    }
}

/// Who asked for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The event itself, by the webhook's plan.
    Automatic,
    /// An operator's resend.
    Resend,
}

/// An attempt as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counted from 1 over all attempts of the delivery, resends included.
    pub number: u32,
    /// Who asked for it.
    pub trigger: Trigger,
    /// When it began.
    pub started_at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_page() {
        let expect = [(0, "0"), (101, "1xx"), (204, "2xx"), (302, "3xx"), (410, "4xx"), (503, "5xx"), (999, "5xx")];
        for (code, class) in expect {
            assert_eq!(Class::of(code).as_str(), class, "{code}");
        }
    }

    #[test]
    fn retry_after_is_capped() {
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(RetryAfter::Delay(Duration::from_secs(1 << 40)).wait(now), RetryAfter::WAIT_MAX);
        assert_eq!(RetryAfter::At(Timestamp::from_millis(5)).wait(now), Duration::ZERO);
        assert_eq!(RetryAfter::At(Timestamp::from_millis(1_002_000)).wait(now), Duration::from_secs(2));
    }
}
