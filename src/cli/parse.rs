//! What is written on the command line, as values: durations, instants, headers, `FIELD=VALUE`.
//!
//! Pure; it reads no clock and no file. Whether a field exists and a number is in range is for
//! the daemon to say, which names the field.
//!
//! Invariant: every error says what would be right.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::domain::time::Timestamp;

/// `90`, `90s`, `15m`, `1h`, `2d`, `1w`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration; write it like 90s, 15m, 1h or 2d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(wrong)
}

/// How long ago (`1h`), an instant (RFC 3339), or a day (`2026-11-23`, from its midnight), as
/// RFC 3339 in UTC.
pub(super) fn instant(text: &str, now: Timestamp, zone: &TimeZone) -> Result<String, String> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(instant.to_string());
    }
    if let Some(day) = (text.len() == 10).then(|| text.parse::<jiff::civil::Date>().ok()).flatten() {
        let midnight = day.to_zoned(zone.clone()).map_err(|error| error.to_string())?;
        return Ok(midnight.timestamp().to_string());
    }
    // A bare number could be seconds, hours or a year.
    let ago = duration(text).ok().filter(|_| !text.ends_with(|c: char| c.is_ascii_digit()));
    ago.map(|ago| now.minus(ago).to_string())
        .ok_or_else(|| format!("\"{text}\" is not a time; write 1h or 2d (ago), 2026-11-23, or 2026-11-23T09:30:00Z"))
}

/// `Name: value` as a header of a webhook.
pub(super) fn header(text: &str, secret: bool) -> Result<Value, String> {
    let (name, value) = text.split_once(':').unwrap_or_default();
    if name.trim().is_empty() {
        // A secret is not repeated in an error.
        let shown = if secret { "a secret header" } else { text };
        return Err(format!("{shown}: write a header as 'Name: value'"));
    }
    let mut header = json!({"name": name.trim(), "value": value.trim()});
    if secret {
        header["secret"] = Value::Bool(true);
    }
    Ok(header)
}

/// Fields whose values are always text, even if they look like a number.
const TEXT_FIELDS: [&str; 4] = ["name", "url", "retry.backoff", "oauth.endpoint"];
/// Fields whose values are lists of words.
const LIST_FIELDS: [&str; 2] = ["event_types", "failure_email.to"];
/// Fields that hold a secret, which must not be seen in the process list.
const SECRET_FIELDS: [&str; 4] = ["signing_key", "oauth.token", "oauth.request", "tls.client_key"];
/// Fields whose values can come from a file besides.
const PEM_FIELDS: [&str; 2] = ["tls.ca", "tls.client_certificate"];

/// `FIELD=@FILE`, for the fields that can come from a file.
pub(super) fn file_of(pair: &str) -> Option<(&str, &str)> {
    let (field, file) = pair.split_once("=@")?;
    (SECRET_FIELDS.contains(&field) || PEM_FIELDS.contains(&field)).then_some((field, file))
}

/// `FIELD=VALUE`, as the field and its value.
pub(super) fn field(pair: &str) -> Result<(&str, Value), String> {
    let (field, text) = pair
        .split_once('=')
        .filter(|(field, _)| !field.is_empty() && !field.split('.').any(str::is_empty))
        .ok_or_else(|| format!("\"{pair}\": write FIELD=VALUE, such as retry.count=3"))?;
    Ok((field, value(field, text)?))
}

/// Puts the value of a field with a dotted name into its place.
pub(super) fn insert(object: &mut Map<String, Value>, field: &str, value: Value) -> Result<(), String> {
    let twice = || format!("{field} is given twice");
    if let Some((outer, inner)) = field.split_once('.') {
        let nested = object.entry(outer).or_insert_with(|| Value::Object(Map::new()));
        return insert(nested.as_object_mut().ok_or_else(twice)?, inner, value);
    }
    match object.insert(field.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(twice()),
    }
}

/// A condition of a filter: `/final=true`, `/status/overall=["APPROVED","DENIED"]` (one of them),
/// `/AML` (is there), `!/AML` (is absent). What is no JSON value is a text.
pub(super) fn condition(text: &str) -> Result<Value, String> {
    let (absent, rest) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let wrong = || format!("\"{text}\" is not a condition; write /final=true, /AML or !/AML");
    if !rest.starts_with('/') {
        return Err(wrong());
    }
    match rest.split_once('=') {
        None => Ok(json!({"path": rest, "exists": !absent})),
        Some(_) if absent => Err(wrong()),
        Some((path, value)) => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            let test = if value.is_array() { "in" } else { "equals" };
            Ok(json!({"path": path, test: value}))
        }
    }
}

fn value(field: &str, text: &str) -> Result<Value, String> {
    if SECRET_FIELDS.contains(&field) && text != "null" {
        return Err(format!(
            "{field} is a secret and would be seen in the process list; write {field}=@FILE, or clear it with {field}=null"
        ));
    }
    if TEXT_FIELDS.contains(&field) {
        return Ok(Value::String(text.to_owned()));
    }
    let json = || serde_json::from_str::<Value>(text).map_err(|error| format!("{field}: not a JSON value: {error}"));
    if text.starts_with(['[', '{']) {
        return json();
    }
    if LIST_FIELDS.contains(&field) {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        return Ok(words.collect());
    }
    // Numbers, true, false and null; anything else is the text itself.
    Ok(json().ok().filter(|value| !value.is_string()).unwrap_or_else(|| Value::String(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_short_to_write() {
        let cases = [
            ("/final=true", json!({"path": "/final", "equals": true})),
            ("/status/overall=APPROVED", json!({"path": "/status/overall", "equals": "APPROVED"})),
            ("/a=[1,2]", json!({"path": "/a", "in": [1, 2]})),
            ("/a=null", json!({"path": "/a", "equals": null})),
            ("/AML", json!({"path": "/AML", "exists": true})),
            ("!/AML", json!({"path": "/AML", "exists": false})),
        ];
        for (text, expected) in cases {
            assert_eq!(condition(text), Ok(expected), "{text}");
        }
        for text in ["", "final=true", "!/a=1", "!"] {
            assert!(condition(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        let cases =
            [("90", 90), ("90s", 90), ("15m", 900), ("15min", 900), ("1h", 3600), ("2d", 172_800), ("1w", 604_800)];
        for (text, seconds) in cases {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "h", "1x", "-1h", "1.5h", "1h30m", "99999999999999999999d", "18446744073709551615w", "1 h"] {
            assert!(duration(text).is_err_and(|error| error.contains("1h")), "{text}");
        }
    }

    #[test]
    fn instants_are_ago_or_absolute() {
        let now = Timestamp::from_millis(1_795_425_932_000);
        let zone = TimeZone::posix("CET-1").unwrap();
        let at = |text| instant(text, now, &zone);
        assert_eq!(at("1h"), Ok("2026-11-23T08:25:32.000Z".to_owned()));
        assert_eq!(at("2d"), Ok("2026-11-21T09:25:32.000Z".to_owned()));
        assert_eq!(at("2026-11-23T10:00:00+01:00"), Ok("2026-11-23T09:00:00Z".to_owned()));
        assert_eq!(at("2026-11-23"), Ok("2026-11-22T23:00:00Z".to_owned()));
        for text in ["", "yesterday", "2026", "90", "2026-13-01", "-1h"] {
            assert!(at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_are_name_and_value() {
        assert_eq!(header("X-Env: prod", false), Ok(json!({"name": "X-Env", "value": "prod"})));
        assert_eq!(header("X:a:b", false), Ok(json!({"name": "X", "value": "a:b"})));
        assert_eq!(header("A: b", true), Ok(json!({"name": "A", "value": "b", "secret": true})));
        assert!(header("novalue", false).is_err_and(|error| error.contains("novalue")));
        assert!(header("hunter2", true).is_err_and(|error| !error.contains("hunter2")));
    }

    fn parsed(pairs: &[&str]) -> Result<Value, String> {
        let mut object = Map::new();
        for pair in pairs {
            let (field, value) = field(pair)?;
            insert(&mut object, field, value)?;
        }
        Ok(Value::Object(object))
    }

    #[test]
    fn fields_become_nested_json() {
        let pairs = [
            "name=007",
            "url=https://a.example/?x=1&y=2",
            "max_in_flight=64",
            "active=false",
            "retry.count=3",
            "retry.backoff=exponential",
            "event_types=A, B",
            "failure_email.to=",
            r#"filter=[{"path":"/final","equals":true}]"#,
            "signing_key=null",
            "later=some text",
        ];
        let expected = json!({
            "name": "007", "url": "https://a.example/?x=1&y=2", "max_in_flight": 64, "active": false,
            "retry": {"count": 3, "backoff": "exponential"}, "event_types": ["A", "B"],
            "failure_email": {"to": []}, "filter": [{"path": "/final", "equals": true}],
            "signing_key": null, "later": "some text",
        });
        assert_eq!(parsed(&pairs), Ok(expected));
        assert_eq!(parsed(&["event_types=*"]), Ok(json!({"event_types": ["*"]})));
        assert_eq!(parsed(&[r#"event_types=["A"]"#]), Ok(json!({"event_types": ["A"]})));
    }

    #[test]
    fn fields_that_make_no_sense_are_refused() {
        for pairs in [&["name"][..], &["=x"], &["retry.=1"], &["a=1", "a=2"], &["a=1", "a.b=2"], &["filter=[1"]] {
            assert!(parsed(pairs).is_err(), "{pairs:?}");
        }
        let secret = parsed(&["signing_key=hunter2"]).unwrap_err();
        assert!(secret.contains("signing_key=@FILE") && !secret.contains("hunter2"));
        assert_eq!(file_of("oauth.token=@/run/token"), Some(("oauth.token", "/run/token")));
        assert_eq!(file_of("name=@home"), None);
    }
}
