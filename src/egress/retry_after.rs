//! The `Retry-After` header.
//!
//! It reads the value as the receiver wrote it and judges nothing: how long a wait is honoured is
//! `domain::attempt`'s rule. Its invariant: every text is either a wait or `None`, never an error.

use std::time::{Duration, UNIX_EPOCH};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::domain::attempt::RetryAfter;
use crate::domain::time::Timestamp;

/// What a `Retry-After` value asks for: whole seconds (more digits than fit saturate), or an
/// HTTP-date in any of its three forms. Anything else, negative numbers included, is `None`.
#[must_use]
pub fn parse_retry_after(value: &str) -> Option<RetryAfter> {
    let value = value.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(RetryAfter::Delay(Duration::from_secs(value.parse().unwrap_or(u64::MAX))));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(RetryAfter::At(Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))))
}

/// The wait asked for by a response: only 429 and 503 may ask.
pub(super) fn of_response(status: StatusCode, headers: &HeaderMap) -> Option<RetryAfter> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    parse_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_values() {
        let delay = |seconds| Some(RetryAfter::Delay(Duration::from_secs(seconds)));
        let at = |seconds: u64| Some(RetryAfter::At(Timestamp::from_millis(seconds * 1000)));
        let rows = [
            ("0", delay(0)),
            ("1", delay(1)),
            ("120", delay(120)),
            (" 60\t", delay(60)),
            ("007", delay(7)),
            ("86400", delay(86_400)),
            ("315360000", delay(315_360_000)),
            ("18446744073709551615", delay(u64::MAX)),
            ("99999999999999999999999999", delay(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", at(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", at(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", at(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", at(0)),
            ("", None),
            (" ", None),
            ("-1", None),
            ("+5", None),
            ("1.5", None),
            ("10s", None),
            ("soon", None),
            ("120, 240", None),
            ("٣", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("2030-01-01T00:00:00Z", None),
        ];
        for (value, want) in rows {
            assert_eq!(parse_retry_after(value), want, "{value:?}");
        }
        crate::egress::tests::rows::covered(
            &["F21"],
            "retry_after_values",
            "seconds, dates, garbage, negative and far away",
        );
    }

    #[test]
    fn only_429_and_503_may_ask() {
        let headers: HeaderMap = [(RETRY_AFTER, "5".parse().unwrap())].into_iter().collect();
        for (status, asks) in [(200, false), (301, false), (429, true), (500, false), (503, true)] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(of_response(status, &headers).is_some(), asks, "{status}");
        }
    }
}
