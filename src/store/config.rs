//! The configuration that operators change while the daemon runs: webhooks and ingest tokens, as
//! they are stored and as they are used.
//!
//! Stored as JSON inside journal records, because it is small, seldom written, and gains fields
//! over time; secrets are sealed, tokens hashed. Knows nothing of who may change what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::event_type::KNOWN;
use crate::domain::id::WebhookId;
use crate::domain::retry::{Backoff, RetryPlan};
use crate::domain::secret::Secret;
use crate::domain::signature::SigningKey;
use crate::domain::time::Timestamp;
use crate::domain::webhook::{Header, HeaderValue, Webhook};
use crate::journal::{Collection, ConfigImage, Target};
use crate::secrets::{Sealer, SecretsError};

/// An ingest token. The token itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// Canonical names of the event types it may post; empty for all.
    pub types: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
}

impl Token {
    /// The digest a token is kept as. Tokens are long and random, so a plain hash can not be
    /// turned back.
    #[must_use]
    pub fn digest_of(token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }
}

/// Everything that is set now. Never changed in place: a change makes a new one.
#[derive(Debug, Default)]
pub struct Config {
    /// Rises with every change.
    pub generation: u64,
    /// All webhooks, the ones deleted but restorable among them.
    pub webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
    /// Ingest tokens by name.
    pub tokens: BTreeMap<String, Arc<Token>>,
    /// For each event type posted so far, who gets it: worked out once per change.
    targets: Mutex<HashMap<String, Arc<[Target]>>>,
}

impl Config {
    pub(super) fn new(
        generation: u64,
        webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
        tokens: BTreeMap<String, Arc<Token>>,
    ) -> Self {
        Self { generation, webhooks, tokens, targets: Mutex::new(HashMap::new()) }
    }

    /// Opens what is stored.
    pub(super) fn load(image: &ConfigImage, sealer: &Sealer) -> Result<Self, LoadError> {
        let mut webhooks = BTreeMap::new();
        let mut tokens = BTreeMap::new();
        for ((collection, key), (_, body)) in &image.entries {
            match collection {
                Collection::Webhook => {
                    let webhook = webhook_from_bytes(body, sealer)?;
                    webhooks.insert(webhook.id, Arc::new(webhook));
                }
                Collection::Token => {
                    let token = token_from_bytes(body)?;
                    tokens.insert(token.name.clone(), Arc::new(token));
                }
                Collection::EventType => {
                    return Err(LoadError::Format(format!("an unknown entry {:?}", String::from_utf8_lossy(key))));
                }
            }
        }
        Ok(Self::new(1, webhooks, tokens))
    }

    /// The webhooks that get an event of this type now.
    pub fn targets(&self, event_type: &str) -> Arc<[Target]> {
        let mut known = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(targets) = known.get(event_type) {
            return Arc::clone(targets);
        }
        let wanting = self.webhooks.values().filter(|webhook| webhook.wants(event_type).is_some());
        let targets: Arc<[Target]> =
            wanting.map(|webhook| Target { webhook: webhook.id, version: webhook.version }).collect();
        // Types that are not known are an app's to invent; the map must not grow with them.
        if known.len() < KNOWN.len() * 4 {
            known.insert(event_type.to_owned(), Arc::clone(&targets));
        }
        targets
    }

    /// The webhook with this id or name that is not deleted.
    #[must_use]
    pub fn webhook(&self, id_or_name: &str) -> Option<&Arc<Webhook>> {
        let by_id = WebhookId::parse(id_or_name).and_then(|id| self.webhooks.get(&id));
        by_id
            .filter(|webhook| webhook.exists())
            .or_else(|| self.webhooks.values().find(|webhook| webhook.exists() && webhook.name == id_or_name))
    }

    /// The token whose digest this is.
    #[must_use]
    pub fn token_with(&self, digest: &[u8; 32]) -> Option<&Arc<Token>> {
        use subtle::ConstantTimeEq as _;
        // Every token is compared, so that the time tells nothing.
        self.tokens.values().fold(None, |found, token| {
            if bool::from(token.digest[..].ct_eq(&digest[..])) { Some(token) } else { found }
        })
    }
}

/// Why the stored configuration can not be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A secret can not be opened.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// An entry is of a form that this version does not know.
    #[error("the stored configuration is not of this version: {0}")]
    Format(String),
}

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
struct StoredToken {
    name: String,
    sha256: String,
    types: Vec<String>,
    created_at: u64,
    created_by: String,
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
        created_at: Timestamp::from_millis(stored.created_at),
        updated_at: Timestamp::from_millis(stored.updated_at),
        updated_by: stored.updated_by,
        deleted_at: stored.deleted_at.map(Timestamp::from_millis),
    })
}

pub(super) fn token_to_bytes(token: &Token) -> Vec<u8> {
    to_json(&StoredToken {
        name: token.name.clone(),
        sha256: data_encoding::HEXLOWER.encode(&token.digest),
        types: token.types.clone(),
        created_at: token.created_at.millis(),
        created_by: token.created_by.clone(),
    })
}

fn token_from_bytes(bytes: &[u8]) -> Result<Token, LoadError> {
    let stored: StoredToken = from_json(bytes)?;
    let digest =
        data_encoding::HEXLOWER.decode(stored.sha256.as_bytes()).ok().and_then(|digest| digest.try_into().ok());
    Ok(Token {
        digest: digest.ok_or_else(|| LoadError::Format(format!("token {}", stored.name)))?,
        name: stored.name,
        types: stored.types,
        created_at: Timestamp::from_millis(stored.created_at),
        created_by: stored.created_by,
    })
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "plain structs with text keys are always JSON")]
    serde_json::to_vec(value).expect("plain structs are JSON")
}

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| LoadError::Format(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::webhook::tests::sample;
    use crate::random::Random;

    #[test]
    fn a_webhook_round_trips_and_its_secrets_are_not_readable() {
        let sealer = Sealer::new(&[9; 32], Random::seeded(3));
        let mut webhook = sample();
        let secret = || Secret::new("canary-secret".to_owned());
        webhook.headers.push(Header { name: "X-Env".to_owned(), value: HeaderValue::Plain("prod".to_owned()) });
        webhook.headers.push(Header { name: "X-Key".to_owned(), value: HeaderValue::Secret(secret()) });
        webhook.signing_key = Some(SigningKey {
            current: secret(),
            changed_at: Timestamp::from_millis(5),
            previous: Some((secret(), Timestamp::from_millis(9))),
        });
        let bytes = webhook_to_bytes(&webhook, &sealer);
        assert!(!String::from_utf8_lossy(&bytes).contains("canary"));
        assert_eq!(webhook_from_bytes(&bytes, &sealer).unwrap(), webhook);
    }

    #[test]
    fn only_active_webhooks_that_ask_for_a_type_get_it() {
        let mut inactive = sample();
        inactive.id = WebhookId::from_bytes([8; 16]);
        inactive.active = false;
        let all = [sample(), inactive].map(|webhook| (webhook.id, Arc::new(webhook)));
        let config = Config::new(1, all.into(), BTreeMap::new());
        assert_eq!(config.targets("AML_MONITORING").len(), 1);
        assert!(config.targets("SOS_REPORT").is_empty());
        assert!(config.webhook("aml-watch").is_some());
    }
}
