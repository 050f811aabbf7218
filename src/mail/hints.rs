//! What to look at when deliveries fail: one sentence for each error kind and code.
//!
//! It does not know the delivery, only its last answer. Its invariant: there is a hint for every
//! error kind and every code.

use crate::domain::attempt::ErrorKind;

/// What to look at when there was no response.
#[must_use]
pub const fn of_error(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Dns => "the receiver's name does not resolve: check the URL and the DNS of this machine",
        ErrorKind::Refused => {
            "nobody takes connections there: is the receiver running, is the port right, does a firewall refuse?"
        }
        ErrorKind::Blocked => {
            "the address is not globally routable: list its network in [egress] allow, or correct the URL"
        }
        ErrorKind::ConnectTimeout => "no connection in time: the host is down, or a firewall drops packets",
        ErrorKind::Tls => {
            "the TLS handshake failed: check the certificate's name, end date and chain, or set egress.ca_file"
        }
        ErrorKind::Reset => {
            "the connection was closed before an answer: see the logs of the receiver and of proxies before it"
        }
        ErrorKind::Timeout => {
            "no answer within timeout_seconds: let the receiver answer first and work afterwards, or allow more time"
        }
        ErrorKind::BadResponse => "what answered did not speak HTTP as it should: check port and proxies",
        ErrorKind::Oauth => "no access token was to be had: check the webhook's OAuth endpoint, token and request",
        ErrorKind::Damaged => {
            "the stored event is damaged and can not be sent: run `postrider verify` and check the disk"
        }
    }
}

/// What to look at when this was the answer.
#[must_use]
pub const fn of_code(code: u16) -> &'static str {
    match code {
        0..=199 => "this is no final answer: check what stands before the receiver",
        200..=299 => "the receiver took it",
        300..=399 => "redirects are not followed: enter the URL that it leads to",
        401 | 403 => {
            "the receiver does not let us in: check its Authorization header, signing key and allowed addresses"
        }
        404 | 405 => "the receiver knows no such path or no POST there: check the URL",
        408 | 429 => "the receiver can not keep up: lower rate_per_second or max_in_flight",
        410 => "the receiver answered 410 Gone; the webhook is paused until somebody resumes it",
        413 => "the payload is too large for the receiver: raise its limit",
        400..=499 => "the receiver does not accept these events: see its logs for the reason",
        502..=504 => "the proxy before the receiver got no answer from it: is the receiver running?",
        _ => "the receiver failed while it handled the event: see its logs",
    }
}

/// What to look at after a result as digests hold it: a code, or the word of an error kind.
#[must_use]
pub fn of_result(result: &str) -> &'static str {
    match (ErrorKind::parse(result), result.parse()) {
        (Some(kind), _) => of_error(kind),
        (None, Ok(code)) => of_code(code),
        (None, Err(_)) => "see `postrider delivery show ID`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_hint_for_everything() {
        for kind in ErrorKind::ALL {
            assert_eq!(of_result(kind.as_str()), of_error(kind));
        }
        for code in 1..=999_u16 {
            assert!(of_result(&code.to_string()).len() > 10);
        }
        assert!(of_result("410").contains("410 Gone; the webhook is paused"));
    }
}
