//! The parts of a webhook that may be absent: mail, OAuth, TLS, filter and rate. As with every
//! field, what is left out stays, `null` clears, and the form in which a part is shown changes nothing.
//!
//! Only the form is checked here; what the values must be is the domain's to say.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{is_shown_secret, plain, set};
use crate::domain::credentials::OAuth;
use crate::domain::email::FailureEmail;
use crate::domain::filter::{Condition, Filter, Test};
use crate::domain::secret::Secret;
use crate::domain::webhook::Webhook;

/// A field that is left out, cleared, or set.
#[derive(Debug, Default)]
enum Given<T> {
    #[default]
    Kept,
    Cleared,
    Set(T),
}

impl<T> Given<T> {
    fn apply(self, target: &mut Option<T>) {
        match self {
            Self::Kept => {}
            Self::Cleared => *target = None,
            Self::Set(value) => *target = Some(value),
        }
    }
}

/// The object behind a value, whose keys must be among `known`.
fn object<'a>(value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let fields = value.as_object().ok_or_else(|| format!("must be an object with {}", known.join(", ")))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(format!("has no field {unknown:?}; there are {}", known.join(", "))),
        None => Ok(fields),
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<Given<String>, String> {
    match fields.get(name) {
        None => Ok(Given::Kept),
        Some(Value::Null) => Ok(Given::Cleared),
        Some(Value::String(text)) => Ok(Given::Set(text.clone())),
        Some(_) => Err(format!("{name} must be a text, or null for none")),
    }
}

/// A secret; the shown form, an object that says whether it is set, keeps it.
fn secret(fields: &Map<String, Value>, name: &str) -> Result<Given<Secret>, String> {
    if fields.get(name).is_some_and(is_shown_secret) {
        return Ok(Given::Kept);
    }
    Ok(match text(fields, name)? {
        Given::Kept => Given::Kept,
        Given::Cleared => Given::Cleared,
        Given::Set(text) => Given::Set(Secret::new(text)),
    })
}

pub(super) fn set_failure_email(value: &Value, webhook: &mut Webhook) -> Result<(), String> {
    if value.is_null() {
        webhook.failure_email = None;
        return Ok(());
    }
    let fields = object(value, &["to", "include_body"])?;
    let mut email = webhook.failure_email.take().unwrap_or(FailureEmail { to: Vec::new(), include_body: false });
    match fields.get("to") {
        None => {}
        // One address may stand alone.
        Some(Value::String(one)) => email.to = vec![one.trim().to_owned()],
        Some(list) => set(list, &mut email.to).map_err(|detail| format!("to {detail}"))?,
    }
    if let Some(include) = fields.get("include_body") {
        set(include, &mut email.include_body).map_err(|detail| format!("include_body {detail}"))?;
    }
    webhook.failure_email = Some(email);
    Ok(())
}

pub(super) fn set_oauth(value: &Value, webhook: &mut Webhook) -> Result<(), String> {
    if value.is_null() {
        webhook.oauth = None;
        return Ok(());
    }
    let fields = object(value, &["endpoint", "token", "request"])?;
    let before = webhook.oauth.clone();
    let mut oauth = before.unwrap_or(OAuth { endpoint: String::new(), token: None, request: None });
    match text(fields, "endpoint")? {
        Given::Kept => {}
        Given::Cleared => return Err("endpoint can not be cleared alone; write \"oauth\": null".to_owned()),
        Given::Set(endpoint) => oauth.endpoint = endpoint,
    }
    secret(fields, "token")?.apply(&mut oauth.token);
    secret(fields, "request")?.apply(&mut oauth.request);
    webhook.oauth = Some(oauth);
    Ok(())
}

pub(super) fn set_tls(value: &Value, webhook: &mut Webhook) -> Result<(), String> {
    if value.is_null() {
        webhook.tls = crate::domain::credentials::ClientTls::default();
        return Ok(());
    }
    let fields = object(value, &["ca", "client_certificate", "client_key"])?;
    let (ca, certificate) = (text(fields, "ca")?, text(fields, "client_certificate")?);
    let key = secret(fields, "client_key")?;
    ca.apply(&mut webhook.tls.ca);
    certificate.apply(&mut webhook.tls.client_certificate);
    key.apply(&mut webhook.tls.client_key);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionInput {
    path: String,
    /// Given even when it is `null`, which is a value to compare with.
    #[serde(default, deserialize_with = "given")]
    equals: Option<Value>,
    #[serde(default, rename = "in")]
    one_of: Option<Vec<Value>>,
    #[serde(default)]
    exists: Option<bool>,
}

fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

pub(super) fn set_filter(value: &Value, webhook: &mut Webhook) -> Result<(), String> {
    if value.is_null() {
        webhook.filter = Filter::default();
        return Ok(());
    }
    let inputs = Vec::<ConditionInput>::deserialize(value).map_err(|error| plain(&error))?;
    let mut conditions = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.into_iter().enumerate() {
        let test = match (input.equals, input.one_of, input.exists) {
            (Some(value), None, None) => Test::Equals(value),
            (None, Some(values), None) => Test::In(values),
            (None, None, Some(exists)) => Test::Exists(exists),
            _ => return Err(format!("condition {place} needs one of \"equals\", \"in\" and \"exists\"")),
        };
        conditions.push(Condition { path: input.path, test });
    }
    webhook.filter = Filter(conditions);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::webhook::tests::sample;

    #[test]
    fn parts_are_set_kept_and_cleared() {
        let mut webhook = sample();
        set_oauth(&json!({"endpoint": "https://a/t", "token": "T", "request": "R"}), &mut webhook).unwrap();
        // What was shown, sent back with a new endpoint.
        let shown = json!({"endpoint": "https://b/t", "token": {"set": true}, "request": {"set": true}});
        set_oauth(&shown, &mut webhook).unwrap();
        set_oauth(&json!({"request": null}), &mut webhook).unwrap();
        let oauth = webhook.oauth.clone().unwrap();
        assert_eq!(oauth.endpoint, "https://b/t");
        assert_eq!((oauth.token.unwrap().expose(), oauth.request), ("T", None));
        set_oauth(&Value::Null, &mut webhook).unwrap();
        assert_eq!(webhook.oauth, None);

        set_failure_email(&json!({"to": "ops@example.com"}), &mut webhook).unwrap();
        set_failure_email(&json!({"include_body": true}), &mut webhook).unwrap();
        let email = webhook.failure_email.clone().unwrap();
        assert_eq!((email.to, email.include_body), (vec!["ops@example.com".to_owned()], true));

        set_tls(&json!({"ca": "CA", "client_certificate": "C", "client_key": "K"}), &mut webhook).unwrap();
        set_tls(&json!({"ca": null, "client_key": {"set": true}}), &mut webhook).unwrap();
        assert_eq!(webhook.tls.ca, None);
        assert_eq!(webhook.tls.client_key.clone().unwrap().expose(), "K");
    }

    #[test]
    fn conditions_have_one_test_each() {
        let mut webhook = sample();
        let all = json!([
            {"path": "/final", "equals": true},
            {"path": "/x", "equals": null},
            {"path": "/status/overall", "in": ["APPROVED", "DENIED"]},
            {"path": "/AML", "exists": false},
        ]);
        set_filter(&all, &mut webhook).unwrap();
        let tests: Vec<&Test> = webhook.filter.0.iter().map(|condition| &condition.test).collect();
        assert_eq!(*tests[0], Test::Equals(json!(true)));
        assert_eq!(*tests[1], Test::Equals(Value::Null));
        assert_eq!(*tests[3], Test::Exists(false));
        for bad in [json!([{"path": "/a"}]), json!([{"path": "/a", "equals": 1, "exists": true}]), json!([{"pth": ""}])]
        {
            assert!(set_filter(&bad, &mut webhook).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_forms_are_refused_in_words() {
        let mut webhook = sample();
        assert!(set_oauth(&json!("x"), &mut webhook).unwrap_err().contains("endpoint, token, request"));
        assert!(set_tls(&json!({"key": "x"}), &mut webhook).unwrap_err().contains("client_key"));
        assert!(set_failure_email(&json!({"to": 5}), &mut webhook).unwrap_err().starts_with("to "));
        // A secret that was wrapped by mistake is not taken for one that is kept.
        let wrapped = json!({"endpoint": "https://a/t", "token": {"value": "canary"}});
        assert_eq!(set_oauth(&wrapped, &mut webhook).unwrap_err(), "token must be a text, or null for none");
    }
}
