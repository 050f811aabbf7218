//! A webhook as it is stored: JSON inside a journal record, because it is seldom written and gains
//! fields over time. Fields that came later may be absent.
//!
//! Does not judge what it holds; it was judged when it was saved. Invariant: no secret is stored
//! but sealed, each bound to its webhook and field.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{LoadError, from_json, to_json};
use crate::domain::credentials::{ClientTls, OAuth};
use crate::domain::email::FailureEmail;
use crate::domain::filter::{Condition, Filter, Test};
use crate::domain::id::WebhookId;
use crate::domain::retry::{Backoff, RetryPlan};
use crate::domain::secret::Secret;
use crate::domain::signature::SigningKey;
use crate::domain::time::Timestamp;
use crate::domain::webhook::{Header, HeaderValue, Webhook};
use crate::secrets::{Sealer, SecretsError};

#[derive(Serialize, Deserialize)]
struct StoredWebhook {
    id: String,
    version: u32,
    name: String,
    url: String,
    event_types: Vec<String>,
    active: bool,
    paused: bool,
    headers: Vec<StoredHeader>,
    signing_key: Option<StoredKey>,
    retry_count: u16,
    retry_interval_ms: u64,
    retry_exponential: bool,
    retry_interval_max_ms: u64,
    timeout_ms: u64,
    max_in_flight: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_per_second: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ordered: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    filter: Vec<StoredCondition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure_email: Option<StoredEmail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oauth: Option<StoredOAuth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<StoredTls>,
    created_at: u64,
    updated_at: u64,
    updated_by: String,
    deleted_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct StoredHeader {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    sealed: String,
    changed_at: u64,
    previous: Option<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
struct StoredCondition {
    path: String,
    #[serde(flatten)]
    test: StoredTest,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredTest {
    Equals(Value),
    In(Vec<Value>),
    Exists(bool),
}

#[derive(Serialize, Deserialize)]
struct StoredEmail {
    to: Vec<String>,
    include_body: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredOAuth {
    endpoint: String,
    /// Sealed.
    token: Option<String>,
    /// Sealed.
    request: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredTls {
    ca: Option<String>,
    client_certificate: Option<String>,
    /// Sealed.
    client_key: Option<String>,
}

/// What a sealed value is bound to.
fn field(id: WebhookId, name: &str) -> String {
    format!("{id}/{name}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The stored form of a webhook.
pub(super) fn webhook_to_bytes(webhook: &Webhook, sealer: &Sealer) -> Vec<u8> {
    let id = webhook.id;
    let header = |header: &Header| match &header.value {
        HeaderValue::Plain(value) => {
            StoredHeader { name: header.name.clone(), plain: Some(value.clone()), sealed: None }
        }
        HeaderValue::Secret(value) => {
            let sealed = sealer.seal(&field(id, "header"), value);
            StoredHeader { name: header.name.clone(), plain: None, sealed: Some(sealed) }
        }
    };
    let seal = |name: &str, secret: Option<&Secret>| secret.map(|secret| sealer.seal(&field(id, name), secret));
    let stored = StoredWebhook {
        id: id.to_string(),
        version: webhook.version,
        name: webhook.name.clone(),
        url: webhook.url.clone(),
        event_types: webhook.event_types.clone(),
        active: webhook.active,
        paused: webhook.paused,
        headers: webhook.headers.iter().map(header).collect(),
        signing_key: webhook.signing_key.as_ref().map(|key| StoredKey {
            sealed: sealer.seal(&field(id, "signing_key"), &key.current),
            changed_at: key.changed_at.millis(),
            previous: key
                .previous
                .as_ref()
                .map(|(previous, until)| (sealer.seal(&field(id, "signing_key"), previous), until.millis())),
        }),
        retry_count: webhook.retry.count,
        retry_interval_ms: millis(webhook.retry.interval),
        retry_exponential: webhook.retry.backoff == Backoff::Exponential,
        retry_interval_max_ms: millis(webhook.retry.interval_max),
        timeout_ms: millis(webhook.timeout),
        max_in_flight: webhook.max_in_flight,
        rate_per_second: webhook.rate_per_second,
        ordered: webhook.ordered,
        filter: webhook.filter.0.iter().map(condition_to_stored).collect(),
        failure_email: webhook
            .failure_email
            .as_ref()
            .map(|email| StoredEmail { to: email.to.clone(), include_body: email.include_body }),
        oauth: webhook.oauth.as_ref().map(|oauth| StoredOAuth {
            endpoint: oauth.endpoint.clone(),
            token: seal("oauth.token", oauth.token.as_ref()),
            request: seal("oauth.request", oauth.request.as_ref()),
        }),
        tls: Some(&webhook.tls).filter(|tls| !tls.is_empty()).map(|tls| StoredTls {
            ca: tls.ca.clone(),
            client_certificate: tls.client_certificate.clone(),
            client_key: seal("tls.client_key", tls.client_key.as_ref()),
        }),
        created_at: webhook.created_at.millis(),
        updated_at: webhook.updated_at.millis(),
        updated_by: webhook.updated_by.clone(),
        deleted_at: webhook.deleted_at.map(Timestamp::millis),
    };
    to_json(&stored)
}

/// The webhook behind its stored form.
pub(super) fn webhook_from_bytes(bytes: &[u8], sealer: &Sealer) -> Result<Webhook, LoadError> {
    let stored: StoredWebhook = from_json(bytes)?;
    let id = WebhookId::parse(&stored.id).ok_or_else(|| LoadError::Format(stored.id.clone()))?;
    let header = |header: StoredHeader| {
        let value = match (header.plain, header.sealed) {
            (_, Some(sealed)) => HeaderValue::Secret(sealer.open(&field(id, "header"), &sealed)?),
            (plain, None) => HeaderValue::Plain(plain.unwrap_or_default()),
        };
        Ok(Header { name: header.name, value })
    };
    let open_key = |sealed: &str| sealer.open(&field(id, "signing_key"), sealed);
    let signing_key = |stored: StoredKey| -> Result<SigningKey, SecretsError> {
        let previous = stored
            .previous
            .map(|(sealed, until)| open_key(&sealed).map(|key: Secret| (key, Timestamp::from_millis(until))));
        Ok(SigningKey {
            current: open_key(&stored.sealed)?,
            changed_at: Timestamp::from_millis(stored.changed_at),
            previous: previous.transpose()?,
        })
    };
    let open =
        |name: &str, sealed: Option<String>| sealed.map(|sealed| sealer.open(&field(id, name), &sealed)).transpose();
    let oauth = |stored: StoredOAuth| -> Result<OAuth, SecretsError> {
        Ok(OAuth {
            endpoint: stored.endpoint,
            token: open("oauth.token", stored.token)?,
            request: open("oauth.request", stored.request)?,
        })
    };
    let tls = |stored: StoredTls| -> Result<ClientTls, SecretsError> {
        Ok(ClientTls {
            ca: stored.ca,
            client_certificate: stored.client_certificate,
            client_key: open("tls.client_key", stored.client_key)?,
        })
    };
    Ok(Webhook {
        id,
        version: stored.version,
        name: stored.name,
        url: stored.url,
        event_types: stored.event_types,
        active: stored.active,
        paused: stored.paused,
        headers: stored.headers.into_iter().map(header).collect::<Result<_, SecretsError>>()?,
        signing_key: stored.signing_key.map(signing_key).transpose()?,
        retry: RetryPlan {
            count: stored.retry_count,
            interval: Duration::from_millis(stored.retry_interval_ms),
            backoff: if stored.retry_exponential { Backoff::Exponential } else { Backoff::Fixed },
            interval_max: Duration::from_millis(stored.retry_interval_max_ms),
        },
        timeout: Duration::from_millis(stored.timeout_ms),
        max_in_flight: stored.max_in_flight,
        rate_per_second: stored.rate_per_second,
        ordered: stored.ordered,
        filter: Filter(stored.filter.into_iter().map(condition_from_stored).collect()),
        failure_email: stored
            .failure_email
            .map(|email| FailureEmail { to: email.to, include_body: email.include_body }),
        oauth: stored.oauth.map(oauth).transpose()?,
        tls: stored.tls.map(tls).transpose()?.unwrap_or_default(),
        created_at: Timestamp::from_millis(stored.created_at),
        updated_at: Timestamp::from_millis(stored.updated_at),
        updated_by: stored.updated_by,
        deleted_at: stored.deleted_at.map(Timestamp::from_millis),
    })
}

fn condition_to_stored(condition: &Condition) -> StoredCondition {
    let test = match &condition.test {
        Test::Equals(value) => StoredTest::Equals(value.clone()),
        Test::In(values) => StoredTest::In(values.clone()),
        Test::Exists(exists) => StoredTest::Exists(*exists),
    };
    StoredCondition { path: condition.path.clone(), test }
}

fn condition_from_stored(stored: StoredCondition) -> Condition {
    let test = match stored.test {
        StoredTest::Equals(value) => Test::Equals(value),
        StoredTest::In(values) => Test::In(values),
        StoredTest::Exists(exists) => Test::Exists(exists),
    };
    Condition { path: stored.path, test }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::webhook::tests::sample;
    use crate::random::Random;

    fn full() -> Webhook {
        let mut webhook = sample();
        let secret = || Secret::new("canary-secret".to_owned());
        webhook.headers.push(Header { name: "X-Env".to_owned(), value: HeaderValue::Plain("prod".to_owned()) });
        webhook.headers.push(Header { name: "X-Key".to_owned(), value: HeaderValue::Secret(secret()) });
        webhook.signing_key = Some(SigningKey {
            current: secret(),
            changed_at: Timestamp::from_millis(5),
            previous: Some((secret(), Timestamp::from_millis(9))),
        });
        webhook.rate_per_second = Some(10);
        webhook.ordered = true;
        let tests = [Test::Equals(json!({"a": [1, null]})), Test::In(vec![json!("x"), json!(2)]), Test::Exists(false)];
        webhook.filter = Filter(tests.map(|test| Condition { path: "/a~1b".to_owned(), test }).into());
        webhook.failure_email = Some(FailureEmail { to: vec!["ops@example.com".to_owned()], include_body: true });
        webhook.oauth = Some(OAuth {
            endpoint: "https://auth.example.net/token".to_owned(),
            token: Some(secret()),
            request: Some(secret()),
        });
        webhook.tls = ClientTls {
            ca: Some("ca".to_owned()),
            client_certificate: Some("chain".to_owned()),
            client_key: Some(secret()),
        };
        webhook
    }

    #[test]
    fn a_webhook_round_trips_and_its_secrets_are_not_readable() {
        let sealer = Sealer::new(&[9; 32], Random::seeded(3));
        let bytes = webhook_to_bytes(&full(), &sealer);
        assert!(!String::from_utf8_lossy(&bytes).contains("canary"));
        assert_eq!(webhook_from_bytes(&bytes, &sealer).unwrap(), full());
    }

    /// The form before there was mail, OAuth and the rest.
    #[test]
    fn a_webhook_without_the_later_fields_is_read() {
        let sealer = Sealer::new(&[9; 32], Random::seeded(3));
        let bytes = webhook_to_bytes(&sample(), &sealer);
        let stored: Value = serde_json::from_slice(&bytes).unwrap();
        for later in ["rate_per_second", "ordered", "filter", "failure_email", "oauth", "tls"] {
            assert!(stored.get(later).is_none(), "{later}");
        }
        assert_eq!(webhook_from_bytes(&bytes, &sealer).unwrap(), sample());
    }
}
