//! A webhook: one configuration of a receiver, and what makes it a valid one.
//!
//! Whether its addresses may be dialled is not judged here, because names change what they mean.

use std::time::Duration;

use url::Url;

use super::credentials::{ClientTls, OAuth};
use super::email::FailureEmail;
use super::event_type;
use super::filter::Filter;
use super::id::WebhookId;
use super::retry::{Backoff, RetryPlan};
use super::secret::Secret;
use super::signature::SigningKey;
use super::time::Timestamp;

/// One receiver and how to reach it.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Stable over renaming.
    pub id: WebhookId,
    /// Rises by one with every change, from 1.
    pub version: u32,
    /// Unique among the webhooks that are not deleted; 1–64 characters.
    pub name: String,
    /// The receiver URL.
    pub url: String,
    /// Canonical names of event types, or `*`.
    pub event_types: Vec<String>,
    /// Inactive: no deliveries are made for it.
    pub active: bool,
    /// Paused: deliveries are made, and wait.
    pub paused: bool,
    /// The operator's own headers, in order.
    pub headers: Vec<Header>,
    /// Signs what is sent.
    pub signing_key: Option<SigningKey>,
    /// When to try again.
    pub retry: RetryPlan,
    /// One deadline over connecting, sending and the status line.
    pub timeout: Duration,
    /// The most exchanges under way at once.
    pub max_in_flight: u16,
    /// The most attempts begun in a second; `None` for no limit.
    pub rate_per_second: Option<u32>,
    /// One delivery at a time, in order of acceptance; one that fails holds up those behind it.
    pub ordered: bool,
    /// Which payloads it gets; the others are shown as skipped.
    pub filter: Filter,
    /// Who is told when deliveries fail for good.
    pub failure_email: Option<FailureEmail>,
    /// How to get an access token.
    pub oauth: Option<OAuth>,
    /// Private certificates.
    pub tls: ClientTls,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Who changed it last.
    pub updated_by: String,
    /// When it was deleted; it can be restored for [`Webhook::RESTORE_WINDOW`].
    pub deleted_at: Option<Timestamp>,
}

/// A header of the operator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As entered.
    pub name: String,
    /// What is sent.
    pub value: HeaderValue,
}

/// The value of a header of the operator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// May be shown.
    Plain(String),
    /// Is masked wherever it would be shown.
    Secret(Secret),
}

impl HeaderValue {
    /// What is sent.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(value) => value,
            Self::Secret(value) => value.expose(),
        }
    }
}

/// What is wrong with one field of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The field, as in the JSON form: `url`, `retry.count`, `headers[2].name`.
    pub field: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl FieldProblem {
    /// A problem of a field.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

/// Headers that postrider or HTTP itself sets; the operator's own may not replace them.
const RESERVED_HEADERS: [&str; 20] = [
    "content-type",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "postrider-delivery",
    "postrider-attempt",
    "postrider-attempts-left",
    "postrider-test",
    "host",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

impl Webhook {
    /// The longest name, in characters.
    pub const NAME_LENGTH_MAX: usize = 64;
    /// The longest receiver URL, in bytes.
    pub const URL_LENGTH_MAX: usize = 2048;
    /// The most headers of the operator's own.
    pub const HEADERS_MAX: usize = 64;
    /// The longest value of one of them, in bytes.
    pub const HEADER_VALUE_LENGTH_MAX: usize = 8192;
    /// The bounds of the timeout.
    pub const TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);
    /// The most exchanges a webhook may have under way.
    pub const IN_FLIGHT_MAX: u16 = 1000;
    /// The highest rate that can be asked for.
    pub const RATE_MAX: u32 = 10_000;
    /// How long a deleted webhook can be restored.
    pub const RESTORE_WINDOW: Duration = Duration::from_mins(10);
    /// How long a replaced signing key goes on signing, unless said otherwise.
    pub const ROTATION_WINDOW: Duration = Duration::from_hours(24);
    /// The longest it may.
    pub const ROTATION_WINDOW_MAX: Duration = Duration::from_hours(24 * 30);

    /// Whether it can be seen and used.
    #[must_use]
    pub const fn exists(&self) -> bool {
        self.deleted_at.is_none()
    }

    /// The subscription an event type matches, when deliveries are to be made for it.
    #[must_use]
    pub fn wants(&self, event_type: &str) -> Option<&str> {
        if self.active && self.exists() { event_type::matching(&self.event_types, event_type) } else { None }
    }

    /// Everything that is wrong with it, apart from what needs the network or other webhooks.
    /// `reserved` are the configured names of the event type and body signature headers.
    #[must_use]
    pub fn problems(&self, reserved: &[&str]) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        self.check_name(&mut problems);
        self.check_url(&mut problems);
        self.check_event_types(&mut problems);
        self.check_headers(reserved, &mut problems);
        self.check_signing_key(&mut problems);
        self.check_numbers(&mut problems);
        problems.extend(self.filter.problems());
        problems.extend(self.failure_email.as_ref().map(FailureEmail::problems).unwrap_or_default());
        problems.extend(self.tls.problems());
        if !self.tls.is_empty() && Url::parse(&self.url).is_ok_and(|url| url.scheme() == "http") {
            let detail = "is of no use with an http:// URL, where nothing is encrypted; use https://, or clear it";
            problems.push(FieldProblem::new("tls", detail));
        }
        self.check_oauth(&mut problems);
        problems
    }

    fn check_name(&self, problems: &mut Vec<FieldProblem>) {
        let length = self.name.chars().count();
        if length == 0 || length > Self::NAME_LENGTH_MAX {
            problems.push(FieldProblem::new("name", format!("has {length} characters; 1 to 64 are allowed")));
        }
        if self.name.chars().any(char::is_control) || self.name.trim() != self.name {
            problems.push(FieldProblem::new("name", "may not hold control characters, nor begin or end with a blank"));
        }
        if self.name.starts_with("wh_") {
            problems.push(FieldProblem::new("name", "may not begin with \"wh_\", which is how ids begin"));
        }
        if self.name.contains('/') {
            problems.push(FieldProblem::new("name", "may not hold \"/\", because names are used in paths"));
        }
    }

    fn check_url(&self, problems: &mut Vec<FieldProblem>) {
        if let Err(detail) = Self::check_url_shape(&self.url) {
            problems.push(FieldProblem::new("url", detail));
        }
    }

    /// Whether a text can be the URL of a receiver or an authorization server.
    pub(super) fn check_url_shape(text: &str) -> Result<(), String> {
        if text.len() > Self::URL_LENGTH_MAX {
            return Err("is longer than 2048 bytes".to_owned());
        }
        match Url::parse(text) {
            Err(error) => Err(format!("is not a URL: {error}; expected https://host/path")),
            Ok(url) if !matches!(url.scheme(), "https" | "http") => {
                Err("must begin with https:// or http://".to_owned())
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                Err("may not hold a user name or password; send them in a secret Authorization header instead"
                    .to_owned())
            }
            Ok(_) => Ok(()),
        }
    }

    fn check_oauth(&self, problems: &mut Vec<FieldProblem>) {
        let Some(oauth) = &self.oauth else { return };
        problems.extend(oauth.problems());
        for (place, header) in self.headers.iter().enumerate() {
            if header.name.eq_ignore_ascii_case("authorization") {
                let detail = "is set from the OAuth access token; remove one of the two";
                problems.push(FieldProblem::new(format!("headers[{place}].name"), detail));
            }
        }
    }

    fn check_event_types(&self, problems: &mut Vec<FieldProblem>) {
        if self.event_types.is_empty() {
            problems.push(FieldProblem::new("event_types", "is empty; name at least one type, or \"*\" for all"));
        }
        for (place, name) in self.event_types.iter().enumerate() {
            if self.event_types[..place].contains(name) {
                problems.push(FieldProblem::new("event_types", format!("names {name} twice")));
            }
        }
    }

    fn check_headers(&self, reserved: &[&str], problems: &mut Vec<FieldProblem>) {
        if self.headers.len() > Self::HEADERS_MAX {
            problems.push(FieldProblem::new("headers", "has more than 64 entries"));
        }
        for (place, header) in self.headers.iter().enumerate() {
            let lower = header.name.to_ascii_lowercase();
            let mut wrong = |part: &str, detail: &str| {
                problems.push(FieldProblem::new(format!("headers[{place}].{part}"), detail));
            };
            if http::HeaderName::from_bytes(header.name.as_bytes()).is_err() {
                wrong("name", "is not a header name: letters, digits and !#$%&'*+-.^_`|~ are allowed");
            } else if RESERVED_HEADERS.contains(&lower.as_str())
                || reserved.iter().any(|name| name.eq_ignore_ascii_case(&lower))
            {
                wrong("name", "is set by postrider or by HTTP itself and can not be replaced");
            }
            let value = header.value.expose();
            if value.len() > Self::HEADER_VALUE_LENGTH_MAX {
                wrong("value", "is longer than 8192 bytes");
            } else if http::HeaderValue::from_str(value).is_err() {
                wrong("value", "may hold visible ASCII characters, blanks and tabs only");
            }
        }
    }

    fn check_signing_key(&self, problems: &mut Vec<FieldProblem>) {
        let Some(key) = &self.signing_key else { return };
        let entered = key.current.expose();
        if entered.is_empty() || entered.len() > SigningKey::LENGTH_MAX {
            problems.push(FieldProblem::new("signing_key", "must have 1 to 512 bytes; leave it out for no signature"));
        }
        if entered.chars().any(char::is_control) {
            problems.push(FieldProblem::new("signing_key", "may not hold control characters such as line ends"));
        }
    }

    fn check_numbers(&self, problems: &mut Vec<FieldProblem>) {
        let mut check = |ok: bool, field: &str, detail: &str| {
            if !ok {
                problems.push(FieldProblem::new(field, detail));
            }
        };
        let second = Duration::from_secs(1);
        let retry = &self.retry;
        check(retry.count <= RetryPlan::COUNT_MAX, "retry.count", "must be 0 to 100");
        let interval_range = second..=RetryPlan::INTERVAL_MAX;
        check(interval_range.contains(&retry.interval), "retry.interval_seconds", "must be 1 to 86400");
        check(interval_range.contains(&retry.interval_max), "retry.max_interval_seconds", "must be 1 to 86400");
        check(
            retry.backoff == Backoff::Fixed || retry.interval_max >= retry.interval,
            "retry.max_interval_seconds",
            "may not be below the interval",
        );
        check(Self::TIMEOUT_RANGE.contains(&self.timeout), "timeout_seconds", "must be 1 to 120");
        check((1..=Self::IN_FLIGHT_MAX).contains(&self.max_in_flight), "max_in_flight", "must be 1 to 1000");
        let rate_ok = self.rate_per_second.is_none_or(|rate| (1..=Self::RATE_MAX).contains(&rate));
        check(rate_ok, "rate_per_second", "must be 1 to 10000, or null for no limit");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A valid webhook to start a test from.
    pub(crate) fn sample() -> Webhook {
        Webhook {
            id: WebhookId::from_bytes([7; 16]),
            version: 1,
            name: "aml-watch".to_owned(),
            url: "https://risk.example.net/aml".to_owned(),
            event_types: vec!["AML_MONITORING".to_owned()],
            active: true,
            paused: false,
            headers: Vec::new(),
            signing_key: None,
            retry: RetryPlan {
                count: 5,
                interval: Duration::from_mins(1),
                backoff: Backoff::Fixed,
                interval_max: Duration::from_hours(1),
            },
            timeout: Duration::from_secs(10),
            max_in_flight: 8,
            rate_per_second: None,
            ordered: false,
            filter: Filter::default(),
            failure_email: None,
            oauth: None,
            tls: ClientTls::default(),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            updated_by: "root".to_owned(),
            deleted_at: None,
        }
    }

    fn fields(change: impl FnOnce(&mut Webhook)) -> Vec<String> {
        let mut webhook = sample();
        change(&mut webhook);
        webhook.problems(&["Idenfy-Signature"]).into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn each_field_is_checked() {
        assert_eq!(fields(|_| {}), [""; 0]);
        assert_eq!(fields(|w| w.name.clear()), ["name"]);
        assert_eq!(fields(|w| w.name = "a\r\nBcc: x".to_owned()), ["name"]);
        assert_eq!(fields(|w| w.url = "ftp://x/".to_owned()), ["url"]);
        assert_eq!(fields(|w| w.url = "https://u:p@x/".to_owned()), ["url"]);
        assert_eq!(fields(|w| w.event_types.clear()), ["event_types"]);
        assert_eq!(fields(|w| w.retry.interval = Duration::ZERO), ["retry.interval_seconds"]);
        assert_eq!(fields(|w| w.timeout = Duration::from_secs(121)), ["timeout_seconds"]);
        assert_eq!(fields(|w| w.max_in_flight = 0), ["max_in_flight"]);
    }

    #[test]
    fn certificates_are_of_no_use_without_tls() {
        let with = |url: &str| {
            let ca = Some("-----BEGIN CERTIFICATE-----".to_owned());
            fields(|w| (w.url, w.tls) = (url.to_owned(), ClientTls { ca, ..ClientTls::default() }))
        };
        assert_eq!(with("http://risk.example.net/"), ["tls"]);
        assert_eq!(with("https://risk.example.net/"), [""; 0]);
    }

    #[test]
    fn own_headers_can_not_replace_or_inject() {
        let with = |name: &str, value: &str| {
            let header = Header { name: name.to_owned(), value: HeaderValue::Plain(value.to_owned()) };
            fields(|w| w.headers.push(header))
        };
        assert_eq!(with("X-Env", "prod"), [""; 0]);
        assert_eq!(with("Authorization", "Basic eDp5"), [""; 0]);
        for reserved in ["Host", "content-LENGTH", "webhook-id", "idenfy-signature", "Postrider-Test"] {
            assert_eq!(with(reserved, "x"), ["headers[0].name"], "{reserved}");
        }
        assert_eq!(with("X Y", "x"), ["headers[0].name"]);
        assert_eq!(with("X-Y", "a\r\nb: c"), ["headers[0].value"]);
    }
}
