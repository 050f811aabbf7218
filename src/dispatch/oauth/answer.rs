//! What an authorization server answers: the token in it and how long it lives.
//!
//! It does not ask, wait or remember. Its invariant: what is wrong with an answer is told in words
//! of ours, never in those of the answer; and a token that comes out can stand in a header.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::secret::Secret;

/// The longest access token, in bytes. Receivers take less in a header.
const TOKEN_MAX: usize = 16 << 10;
/// How long a token is used when the server does not say.
const LIFE_DEFAULT: Duration = Duration::from_mins(5);
/// How long a token is used at most, whatever the server says.
const LIFE_MAX: Duration = Duration::from_hours(24);

/// What matters of an answer; the rest is not even read into memory of its own.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    access_token: Value,
    #[serde(default)]
    token_type: Value,
    #[serde(default)]
    expires_in: Value,
}

/// The value of `Authorization` and the life of the token in it, or what is wrong with the answer.
///
/// # Errors
/// What is wrong, in words of ours.
pub fn read(body: &[u8]) -> Result<(Secret, Duration), &'static str> {
    // An array would do for serde, and does not for RFC 6749.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err("the answer is not a JSON object");
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "the answer is not a JSON object")?;
    let token = match answer.access_token {
        Value::String(token) => Secret::new(token),
        Value::Null => return Err("the answer holds no access_token"),
        _ => return Err("the access_token is not a string"),
    };
    match answer.token_type {
        Value::Null => {}
        Value::String(kind) if kind.trim().eq_ignore_ascii_case("bearer") => {}
        _ => return Err("the token_type is not Bearer, and no other is supported"),
    }
    match token.expose() {
        "" => Err("the access_token is empty"),
        text if text.len() > TOKEN_MAX => Err("the access_token is longer than 16 KiB"),
        text if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("the access_token holds something else than visible ASCII characters")
        }
        text => Ok((Secret::new(format!("Bearer {text}")), life(&answer.expires_in))),
    }
}

/// What `expires_in` says: seconds, as a number or, as some servers have it, in a string.
fn life(expires_in: &Value) -> Duration {
    let seconds = match expires_in {
        Value::Number(seconds) => seconds.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match seconds {
        None => LIFE_DEFAULT,
        // The comparison is false for what is no number at all, too.
        Some(seconds) if seconds > 0.0 => Duration::try_from_secs_f64(seconds).unwrap_or(LIFE_MAX).min(LIFE_MAX),
        Some(_) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let long = format!("{{\"access_token\":\"{}\"}}", "x".repeat(TOKEN_MAX + 1));
        let cases = [
            ("", "not a JSON object"),
            ("[\"token\"]", "not a JSON object"),
            ("\"token\"", "not a JSON object"),
            ("{\"access_token\":\"a\"", "not a JSON object"),
            ("{\"access_token\":\"a\"} x", "not a JSON object"),
            ("{\"access_token\":\"a\",\"access_token\":\"b\"}", "not a JSON object"),
            ("{}", "no access_token"),
            ("{\"access_token\":null}", "no access_token"),
            ("{\"access_token\":5}", "not a string"),
            ("{\"access_token\":[\"a\"]}", "not a string"),
            ("{\"access_token\":\"\"}", "is empty"),
            ("{\"access_token\":\"a\\r\\nX-Evil: 1\"}", "visible ASCII"),
            ("{\"access_token\":\"a b\"}", "visible ASCII"),
            ("{\"access_token\":\"a\\u0000\"}", "visible ASCII"),
            ("{\"access_token\":\"zażółć\"}", "visible ASCII"),
            (long.as_str(), "longer than 16 KiB"),
            ("{\"access_token\":\"a\",\"token_type\":\"DPoP\"}", "not Bearer"),
            ("{\"access_token\":\"a\",\"token_type\":\"mac\"}", "not Bearer"),
            ("{\"access_token\":\"a\",\"token_type\":1}", "not Bearer"),
        ];
        for (body, expected) in cases {
            let failure = read(body.as_bytes()).unwrap_err();
            assert!(failure.contains(expected), "{body}: {failure}");
        }
        let accepted = [
            "{\"access_token\":\"a.b-c_d~e+f/g=\"}",
            " \n{\"token_type\":\"BEARER\",\"refresh_token\":{\"x\":[1]},\"access_token\":\"a.b-c_d~e+f/g=\"}\n",
            "{\"access_token\":\"a.b-c_d~e+f/g=\",\"token_type\":null,\"expires_in\":{}}",
        ];
        for body in accepted {
            assert_eq!(read(body.as_bytes()).unwrap().0.expose(), "Bearer a.b-c_d~e+f/g=", "{body}");
        }
    }
}
