//! The fields of the form: their labels, what each means, and which part of a webhook each belongs to.
//!
//! It holds no values and draws nothing. Every field that the daemon takes is here, under the name that
//! it has in the daemon's answers, so that what the daemon finds wrong can be shown where it was typed.

use crate::tui::keymap::Action;

/// A place in the form that can have the focus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is explained by `help`, which is what the user reads")]
pub enum Field {
    Name,
    Url,
    Types,
    Active,
    Paused,
    HeaderName(usize),
    HeaderValue(usize),
    AddHeader,
    Key,
    KeepOld,
    MailTo,
    MailBody,
    OAuth,
    Endpoint,
    Token,
    Request,
    Count,
    Interval,
    Backoff,
    IntervalMax,
    Timeout,
    InFlight,
    Rate,
    Ordered,
    Path(usize),
    Test(usize),
    Value(usize),
    AddCondition,
    Ca,
    Certificate,
    ClientKey,
    Button(Button),
}

/// What can be done with the form as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Button {
    /// Saves and closes.
    Save,
    /// Tests what is typed.
    Test,
    /// Deletes the webhook, after a question.
    Delete,
    /// Closes, after a question if anything was typed.
    Leave,
}

impl Button {
    /// What stands on it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Save => "Save",
            Self::Test => "Test",
            Self::Delete => "Delete",
            Self::Leave => "Leave",
        }
    }

    /// Whether it changes anything, or has a receiver asked.
    #[must_use]
    pub const fn mutates(self) -> bool {
        !matches!(self, Self::Leave)
    }
}

impl Field {
    /// What it is called.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Name => "Name",
            Self::Url => "Receiver (URL)",
            Self::Types => "Event type",
            Self::Active => "Status",
            Self::Paused => "Paused",
            Self::HeaderName(_) => "Header name",
            Self::HeaderValue(_) => "Header value",
            Self::AddHeader => "Headers",
            Self::Key => "Signing key",
            Self::KeepOld => "Old key",
            Self::MailTo => "Failed email",
            Self::MailBody => "Body in email",
            Self::OAuth => "OAuth",
            Self::Endpoint => "Endpoint",
            Self::Token => "Token",
            Self::Request => "Request",
            Self::Count => "Retry count",
            Self::Interval => "Interval (sec)",
            Self::Backoff => "Backoff",
            Self::IntervalMax => "Longest (sec)",
            Self::Timeout => "Timeout (sec)",
            Self::InFlight => "At once",
            Self::Rate => "Per second",
            Self::Ordered => "Order",
            Self::Path(_) => "Condition path",
            Self::Test(_) => "Condition",
            Self::Value(_) => "Condition value",
            Self::AddCondition => "Conditions",
            Self::Ca => "CA",
            Self::Certificate => "Certificate",
            Self::ClientKey => "Client key",
            Self::Button(button) => button.label(),
        }
    }

    /// The part of a webhook, as the daemon calls it.
    #[must_use]
    pub fn part(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Url => "url",
            Self::Types => "event_types",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::HeaderName(_) | Self::HeaderValue(_) | Self::AddHeader => "headers",
            Self::Key | Self::KeepOld => "signing_key",
            Self::MailTo | Self::MailBody => "failure_email",
            Self::OAuth | Self::Endpoint | Self::Token | Self::Request => "oauth",
            Self::Count | Self::Interval | Self::Backoff | Self::IntervalMax => "retry",
            Self::Timeout => "timeout_seconds",
            Self::InFlight => "max_in_flight",
            Self::Rate => "rate_per_second",
            Self::Ordered => "ordered",
            Self::Path(_) | Self::Test(_) | Self::Value(_) | Self::AddCondition => "filter",
            Self::Ca | Self::Certificate | Self::ClientKey => "tls",
            Self::Button(_) => "",
        }
    }

    /// The field that the daemon means, such as `retry.count` or `headers[2].name`.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let (part, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
        let place = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let number = place.and_then(|(number, _)| number.parse::<usize>().ok());
        let last = path.rsplit_once('.').map_or("", |(_, last)| last);
        Some(match (part, number, last) {
            ("name", ..) => Self::Name,
            ("url", ..) => Self::Url,
            ("event_types" | "event_type", ..) => Self::Types,
            ("active", ..) => Self::Active,
            ("paused", ..) => Self::Paused,
            ("headers", Some(at), "value") => Self::HeaderValue(at),
            ("headers", Some(at), _) => Self::HeaderName(at),
            ("headers", None, _) => Self::HeaderName(0),
            ("signing_key", ..) => Self::Key,
            ("failure_email", _, "include_body") => Self::MailBody,
            ("failure_email", ..) => Self::MailTo,
            ("oauth", _, "token") => Self::Token,
            ("oauth", _, "request") => Self::Request,
            ("oauth", ..) => Self::Endpoint,
            ("retry", _, "interval_seconds") => Self::Interval,
            ("retry", _, "max_interval_seconds") => Self::IntervalMax,
            ("retry", _, "backoff") => Self::Backoff,
            ("retry", ..) => Self::Count,
            ("timeout_seconds", ..) => Self::Timeout,
            ("max_in_flight", ..) => Self::InFlight,
            ("rate_per_second", ..) => Self::Rate,
            ("ordered", ..) => Self::Ordered,
            ("filter", Some(at), "path") => Self::Path(at),
            ("filter", at, _) => Self::Value(at.unwrap_or(0)),
            ("tls", _, "client_certificate") => Self::Certificate,
            ("tls", _, "client_key") => Self::ClientKey,
            ("tls", ..) => Self::Ca,
            _ => return None,
        })
    }

    /// Whether a number is typed in it.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Count | Self::Interval | Self::IntervalMax | Self::Timeout | Self::InFlight | Self::Rate)
    }

    /// Whether a text is a certificate or a key, over many lines.
    #[must_use]
    pub const fn is_pem(self) -> bool {
        matches!(self, Self::Ca | Self::Certificate | Self::ClientKey)
    }

    /// Whether Space switches it.
    #[must_use]
    pub const fn is_box(self) -> bool {
        matches!(self, Self::Active | Self::Paused | Self::KeepOld | Self::MailBody | Self::OAuth | Self::Ordered)
    }

    /// Whether it is one of several words.
    #[must_use]
    pub const fn is_choice(self) -> bool {
        matches!(self, Self::Backoff | Self::Test(_))
    }

    /// The key that does something special in it.
    #[must_use]
    pub const fn action(self) -> Option<Action> {
        match self {
            Self::Types => Some(Action::Schema),
            Self::Key => Some(Action::NewKey),
            Self::Request | Self::Ca | Self::Certificate | Self::ClientKey => Some(Action::Editor),
            Self::AddHeader | Self::AddCondition => Some(Action::AddHeader),
            _ => None,
        }
    }

    /// How the daemon calls the secret in it; of a header that is `headers.NAME`.
    #[must_use]
    pub const fn secret_name(self) -> Option<&'static str> {
        match self {
            Self::Key => Some("signing_key"),
            Self::Token => Some("oauth.token"),
            Self::Request => Some("oauth.request"),
            Self::ClientKey => Some("tls.client_key"),
            _ => None,
        }
    }

    /// What it means, in a sentence or two.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Name => "what it is called, also in the command line; 1 to 64 characters",
            Self::Url => "where events are posted to; https:// wherever you can",
            Self::Types => "which events trigger this webhook; Space chooses",
            Self::Active => "an inactive webhook gets nothing: no deliveries are made for it",
            Self::Paused => "deliveries are made and wait until it goes on",
            Self::HeaderName(_) => "sent with every request; may not be one that is set anyway",
            Self::HeaderValue(_) => "visible ASCII; a secret one is masked everywhere",
            Self::AddHeader => "headers of your own, sent with every request",
            Self::Key => "signs every request, so that the receiver can trust it",
            Self::KeepOld => "signs as well for 24 hours; switch that off when it has leaked",
            Self::MailTo => "who is told when a delivery fails for good; commas between",
            Self::MailBody => "the payload goes along as an attachment, up to 32 KiB",
            Self::OAuth => "an access token is fetched and sent as Authorization",
            Self::Endpoint => "URL of the server that gives the access token",
            Self::Token => "sent to the endpoint as Authorization; a bare word as Bearer",
            Self::Request => "body for the endpoint, a form or JSON; none: client_credentials",
            Self::Count => "tries after the first, 0 to 100; 0 is no retry",
            Self::Interval => "seconds between tries, 1 to 86400; never less",
            Self::Backoff => "fixed, or exponential: each wait is twice the one before",
            Self::IntervalMax => "the longest wait of an exponential plan",
            Self::Timeout => "connecting, sending and the answer, 1 to 120 seconds",
            Self::InFlight => "requests under way at the same time, 1 to 1000",
            Self::Rate => "requests begun in a second, 1 to 10000; empty for no limit",
            Self::Ordered => "one delivery at a time; one that fails holds up the rest",
            Self::Path(_) => "JSON Pointer to a value in the payload, such as /a/b",
            Self::Test(_) => "equals one value, is in a list of values, exists, or is absent",
            Self::Value(_) => "JSON: true, 5, \"APPROVED\"; for in: [\"A\", \"B\"]",
            Self::AddCondition => "only payloads that meet all are sent, others are skipped",
            Self::Ca => "PEM certificates to trust for this receiver, besides the system's",
            Self::Certificate => "PEM chain shown to the receiver, the own certificate first",
            Self::ClientKey => "PEM key of the client certificate",
            Self::Button(Button::Save) => "saves what was changed and closes the form",
            Self::Button(Button::Test) => "sends one marked example with what is typed; saves nothing",
            Self::Button(Button::Delete) => "deletes it, after its name was typed; can be taken back",
            Self::Button(Button::Leave) => "closes the form; asks when something was changed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_daemon_finds_wrong_has_a_place() {
        for (path, field) in [
            ("name", Field::Name),
            ("headers[2].name", Field::HeaderName(2)),
            ("headers[0].value", Field::HeaderValue(0)),
            ("failure_email.to[1]", Field::MailTo),
            ("oauth.endpoint", Field::Endpoint),
            ("oauth", Field::Endpoint),
            ("retry.max_interval_seconds", Field::IntervalMax),
            ("filter[3].path", Field::Path(3)),
            ("filter[3].in", Field::Value(3)),
            ("filter", Field::Value(0)),
            ("tls.client_key", Field::ClientKey),
        ] {
            assert_eq!(Field::of_path(path), Some(field), "{path}");
        }
        assert_eq!(Field::of_path(""), None);
        assert_eq!(Field::of_path("nonsense"), None);
    }
}
