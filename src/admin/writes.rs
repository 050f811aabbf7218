//! From what an operator sends to a webhook: a document is merged into what is there, field by
//! field, and everything that is wrong with the result is told at once. Pure.

mod optional;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::domain::credentials::ClientTls;
use crate::domain::event_type::{self, CustomType, KnownType};
use crate::domain::filter::Filter;
use crate::domain::id::WebhookId;
use crate::domain::retry::{Backoff, RetryPlan};
use crate::domain::secret::Secret;
use crate::domain::signature::SigningKey;
use crate::domain::time::Timestamp;
use crate::domain::webhook::{FieldProblem, Header, HeaderValue, Webhook};

/// What a new webhook has unless it says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// When to try again.
    pub retry: RetryPlan,
    /// One deadline over connecting, sending and the status line.
    pub timeout: Duration,
    /// The most exchanges under way.
    pub max_in_flight: u16,
    /// Types that are not known may be subscribed to.
    pub accept_unknown_types: bool,
}

/// The operator's own event types by name.
pub(super) type OwnTypes = BTreeMap<String, Arc<CustomType>>;

/// Who changes something, and when.
#[derive(Clone, Debug)]
pub(super) struct Author {
    /// The name that is recorded.
    pub name: String,
    /// Who it is, as the kernel tells it.
    pub uid: Option<u32>,
    /// The wall-clock time.
    pub now: Timestamp,
}

/// Fields that are shown but not configured: sent back by whoever edits what was shown, and ignored.
const SHOWN_ONLY: [&str; 9] =
    ["id", "type", "lane", "created_at", "updated_at", "updated_by", "deleted_at", "version", "v"];

/// A webhook with nothing configured but the defaults.
pub(super) fn blank(id: WebhookId, author: &Author, defaults: &Defaults) -> Webhook {
    Webhook {
        id,
        version: 0,
        name: String::new(),
        url: String::new(),
        event_types: Vec::new(),
        active: true,
        paused: false,
        headers: Vec::new(),
        signing_key: None,
        retry: defaults.retry,
        timeout: defaults.timeout,
        max_in_flight: defaults.max_in_flight,
        rate_per_second: None,
        ordered: false,
        filter: Filter::default(),
        failure_email: None,
        oauth: None,
        tls: ClientTls::default(),
        created_at: author.now,
        updated_at: author.now,
        updated_by: String::new(),
        deleted_at: None,
    }
}

/// Merges a document into a webhook. What is left out stays; `null` clears what can be cleared.
pub(super) fn merge(
    webhook: &mut Webhook,
    document: &Value,
    author: &Author,
    defaults: &Defaults,
    own_types: &OwnTypes,
) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let Value::Object(fields) = document else {
        return vec![FieldProblem::new("", "the body must be a JSON object")];
    };
    for (field, value) in fields {
        let result = match field.as_str() {
            "name" => set(value, &mut webhook.name),
            "url" => set(value, &mut webhook.url),
            "event_types" => set_event_types(value, webhook, defaults, own_types),
            "active" => set(value, &mut webhook.active),
            "paused" => set(value, &mut webhook.paused),
            "headers" => set_headers(value, webhook),
            "signing_key" => set_signing_key(value, webhook, author.now),
            "retry" => set_retry(value, webhook, defaults),
            "timeout_seconds" => set_seconds(value, &mut webhook.timeout),
            "max_in_flight" => set(value, &mut webhook.max_in_flight),
            "rate_per_second" => set(value, &mut webhook.rate_per_second),
            "ordered" => set(value, &mut webhook.ordered),
            "filter" => optional::set_filter(value, webhook),
            "failure_email" => optional::set_failure_email(value, webhook),
            "oauth" => optional::set_oauth(value, webhook),
            "tls" => optional::set_tls(value, webhook),
            shown if SHOWN_ONLY.contains(&shown) => Ok(()),
            _ => Err("there is no such field".to_owned()),
        };
        if let Err(detail) = result {
            problems.push(FieldProblem::new(field.clone(), detail));
        }
    }
    problems
}

/// A webhook as a document alone describes it: what is left out has its default, except that
/// secrets are kept and what is no configuration stays.
pub(super) fn replaced(
    current: &Webhook,
    document: &Value,
    author: &Author,
    defaults: &Defaults,
    own_types: &OwnTypes,
) -> (Webhook, Vec<FieldProblem>) {
    // Parts that hold secrets are merged into, so that those left out are kept.
    let Webhook { version, created_at, signing_key, headers, oauth, tls, .. } = current.clone();
    let blank = blank(current.id, author, defaults);
    let mut webhook = Webhook { version, created_at, signing_key, headers, oauth, tls, ..blank };
    let problems = merge(&mut webhook, document, author, defaults, own_types);
    let is_absent = |field: &str| document.get(field).is_none();
    webhook.headers.retain(|_| !is_absent("headers"));
    webhook.oauth = webhook.oauth.filter(|_| !is_absent("oauth"));
    webhook.tls = if is_absent("tls") { ClientTls::default() } else { webhook.tls };
    (webhook, problems)
}

/// The version a document was made from, when it says so.
pub(super) fn version_of(document: &Value) -> Option<u64> {
    document.get("version").and_then(Value::as_u64)
}

fn set<T: for<'de> Deserialize<'de>>(value: &Value, target: &mut T) -> Result<(), String> {
    *target = T::deserialize(value).map_err(|error| plain(&error))?;
    Ok(())
}

fn set_seconds(value: &Value, target: &mut Duration) -> Result<(), String> {
    let mut seconds: u64 = 0;
    set(value, &mut seconds)?;
    *target = Duration::from_secs(seconds);
    Ok(())
}

/// serde's words without its talk of types of ours.
fn plain(error: &serde_json::Error) -> String {
    format!("is not what it should be: {error}")
}

fn set_event_types(
    value: &Value,
    webhook: &mut Webhook,
    defaults: &Defaults,
    own_types: &OwnTypes,
) -> Result<(), String> {
    let mut given: Vec<String> = Vec::new();
    set(value, &mut given)?;
    let mut names = Vec::with_capacity(given.len());
    for text in given {
        names.push(resolve_type(&text, defaults.accept_unknown_types, own_types)?);
    }
    webhook.event_types = names;
    Ok(())
}

/// The canonical name behind any spelling of an event type.
pub(super) fn resolve_type(text: &str, accept_unknown: bool, own_types: &OwnTypes) -> Result<String, String> {
    if text == event_type::WILDCARD {
        return Ok(text.to_owned());
    }
    if let Some(known) = KnownType::find(text) {
        return Ok(known.name.to_owned());
    }
    if let Some(own) = own_types.values().find(|own| own.is_called(text)) {
        return Ok(own.name.clone());
    }
    let name = event_type::canonical(text);
    if accept_unknown && event_type::is_valid_name(&name) {
        return Ok(name);
    }
    let names = event_type::KNOWN.iter().map(|known| known.name).chain(own_types.keys().map(String::as_str));
    let nearest = event_type::nearest(text, names);
    let text: String = text.chars().take(80).collect();
    Err(match nearest.first() {
        Some(nearest) => format!("there is no event type {text:?}; did you mean {nearest}?"),
        None => format!("there is no event type {text:?}; `postrider event types` lists them"),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderInput {
    name: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    secret: bool,
    /// As shown; says nothing.
    #[serde(default, rename = "set")]
    _set: bool,
}

fn set_headers(value: &Value, webhook: &mut Webhook) -> Result<(), String> {
    // What a parser says of other forms quotes them, and they may hold a secret.
    let list = value.as_array().filter(|list| list.iter().all(Value::is_object));
    let list = list.ok_or_else(|| "must be a list of objects with name, value and secret".to_owned())?;
    let mut inputs: Vec<HeaderInput> = Vec::with_capacity(list.len());
    for (place, one) in list.iter().enumerate() {
        let is = |field: &str, fits: fn(&Value) -> bool| one.get(field).is_none_or(fits);
        if !is("name", Value::is_string) || !is("value", |value| value.is_string() || value.is_null()) {
            return Err(format!("header {place}: name and value must be texts"));
        }
        if !is("secret", Value::is_boolean) || !is("set", Value::is_boolean) {
            return Err(format!("header {place}: secret must be true or false; what is secret goes into value"));
        }
        inputs.push(HeaderInput::deserialize(one).map_err(|error| plain(&error))?);
    }
    let mut headers = Vec::with_capacity(inputs.len());
    for input in inputs {
        let value = match (input.value, input.secret) {
            (Some(value), false) => HeaderValue::Plain(value),
            (Some(value), true) => HeaderValue::Secret(Secret::new(value)),
            // Left out: what is there stays.
            (None, _) => {
                // Of several with one name, each keeps its own.
                let same = |name: &str| name.eq_ignore_ascii_case(&input.name);
                let before = headers.iter().filter(|header: &&Header| same(&header.name)).count();
                let known = webhook.headers.iter().filter(|known| same(&known.name)).nth(before);
                let known = known.filter(|known| matches!(known.value, HeaderValue::Secret(_)) == input.secret);
                known.map(|known| known.value.clone()).ok_or_else(|| format!("{:?} has no value", input.name))?
            }
        };
        headers.push(Header { name: input.name, value });
    }
    webhook.headers = headers;
    Ok(())
}

/// The form in which a secret is shown, which says only whether there is one. Sent back, it keeps
/// the secret; anything else that is no text is a mistake and must not look like a change.
fn is_shown_secret(value: &Value) -> bool {
    value.get("set").is_some_and(Value::is_boolean)
}

fn set_signing_key(value: &Value, webhook: &mut Webhook, now: Timestamp) -> Result<(), String> {
    webhook.signing_key = match value {
        Value::Null => None,
        Value::String(key) => {
            let unchanged = webhook.signing_key.as_ref().is_some_and(|known| known.current.expose() == key);
            if unchanged {
                return Ok(());
            }
            Some(SigningKey { current: Secret::new(key.clone()), changed_at: now, previous: None })
        }
        shown if is_shown_secret(shown) => return Ok(()),
        _ => return Err("must be a text, or null for none".to_owned()),
    };
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryInput {
    #[serde(default)]
    count: Option<u16>,
    #[serde(default)]
    interval_seconds: Option<u64>,
    #[serde(default)]
    backoff: Option<String>,
    #[serde(default)]
    max_interval_seconds: Option<u64>,
}

fn set_retry(value: &Value, webhook: &mut Webhook, defaults: &Defaults) -> Result<(), String> {
    if value.is_null() {
        webhook.retry = defaults.retry;
        return Ok(());
    }
    let input = RetryInput::deserialize(value).map_err(|error| plain(&error))?;
    let retry = &mut webhook.retry;
    retry.count = input.count.unwrap_or(retry.count);
    if let Some(seconds) = input.interval_seconds {
        retry.interval = Duration::from_secs(seconds);
        // A cap that nobody has set follows the interval up.
        if input.max_interval_seconds.is_none() {
            retry.interval_max = retry.interval_max.max(retry.interval);
        }
    }
    if let Some(seconds) = input.max_interval_seconds {
        retry.interval_max = Duration::from_secs(seconds);
    }
    retry.backoff = match input.backoff.as_deref() {
        None => retry.backoff,
        Some("fixed") => Backoff::Fixed,
        Some("exponential") => Backoff::Exponential,
        Some(_) => return Err("backoff must be \"fixed\" or \"exponential\"".to_owned()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::webhook::tests::sample;

    fn author() -> Author {
        Author { name: "alice".to_owned(), uid: Some(1000), now: Timestamp::from_millis(1_000) }
    }

    fn defaults() -> Defaults {
        let sample = sample();
        Defaults {
            retry: sample.retry,
            timeout: sample.timeout,
            max_in_flight: sample.max_in_flight,
            accept_unknown_types: false,
        }
    }

    fn merged(document: &Value) -> (Webhook, Vec<String>) {
        let mut webhook = sample();
        webhook.headers.push(Header {
            name: "Authorization".to_owned(),
            value: HeaderValue::Secret(Secret::new("kept".to_owned())),
        });
        let problems = merge(&mut webhook, document, &author(), &defaults(), &OwnTypes::new());
        (webhook, problems.into_iter().map(|problem| problem.field).collect())
    }

    #[test]
    fn what_is_left_out_stays() {
        let (webhook, problems) = merged(&json!({"name": "new", "retry": {"count": 3}}));
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            (webhook.name.as_str(), webhook.retry.count, webhook.url.as_str()),
            ("new", 3, sample().url.as_str())
        );
    }

    #[test]
    fn a_secret_header_without_a_value_keeps_it_and_types_are_resolved() {
        let document = json!({
            "headers": [{"name": "authorization", "secret": true, "set": true}, {"name": "X-Env", "value": "prod"}],
            "event_types": ["aml monitoring", "IDENTIFICATION_CANCELLED"],
        });
        let (webhook, problems) = merged(&document);
        assert_eq!(problems, [""; 0]);
        assert_eq!(webhook.headers[0].value.expose(), "kept");
        assert_eq!(webhook.event_types, ["AML_MONITORING", "ID_VERIFICATION_CANCELED"]);
    }

    #[test]
    fn secret_headers_of_one_name_keep_their_own_values() {
        let secret = |value: &str| HeaderValue::Secret(Secret::new(value.to_owned()));
        let header = |value: &str| Header { name: "X-K".to_owned(), value: secret(value) };
        let mut webhook = sample();
        webhook.headers = vec![header("one"), header("two")];
        let shown = json!({"headers": [{"name": "x-k", "secret": true}, {"name": "X-K", "secret": true}]});
        assert_eq!(merge(&mut webhook, &shown, &author(), &defaults(), &OwnTypes::new()), []);
        let values: Vec<&str> = webhook.headers.iter().map(|header| header.value.expose()).collect();
        assert_eq!(values, ["one", "two"]);
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let (_, mut problems) = merged(&json!({"nam": 1, "url": 5, "event_types": ["AML_MONITORIN"], "oauth": 5}));
        problems.sort();
        assert_eq!(problems, ["event_types", "nam", "oauth", "url"]);
    }

    #[test]
    fn what_has_the_wrong_form_is_refused_without_being_repeated() {
        for wrong in [
            json!({"headers": "canary"}),
            json!({"headers": ["canary"]}),
            json!({"headers": [{"name": "X", "secret": "canary"}]}),
            json!({"headers": [{"name": "X", "value": {"file": "canary"}}]}),
            json!({"headers": [{"name": ["canary"], "value": "x"}]}),
            json!({"headers": [{"name": "X", "secret": true, "set": "canary"}]}),
            json!({"signing_key": {"value": "canary"}}),
            json!({"signing_key": ["canary"]}),
            json!({"oauth": {"endpoint": "https://a.example/t", "token": {"value": "canary"}}}),
            json!({"tls": {"client_key": ["canary"]}}),
        ] {
            let mut webhook = sample();
            let problems = merge(&mut webhook, &wrong, &author(), &defaults(), &OwnTypes::new());
            assert_eq!(problems.len(), 1, "{wrong}");
            assert!(!problems[0].detail.contains("canary"), "{problems:?}");
        }
    }
}
