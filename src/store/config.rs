//! The configuration that operators change while the daemon runs: webhooks, ingest tokens and event
//! types of their own, as they are stored and as they are used.
//!
//! Stored as JSON inside journal records, because it is small, seldom written, and gains fields
//! over time; secrets are sealed, tokens hashed. Knows nothing of who may change what.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::event_type::{CustomType, Group, KNOWN};
use crate::domain::id::WebhookId;
use crate::domain::time::Timestamp;
use crate::domain::webhook::Webhook;
use crate::journal::{Collection, ConfigImage, Target};
use crate::secrets::{Sealer, SecretsError};

use super::stored::webhook_from_bytes;

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
    /// The operator's own event types by name.
    pub event_types: BTreeMap<String, Arc<CustomType>>,
    /// For each event type posted so far, who wants it: worked out once per change.
    subscribers: Mutex<HashMap<String, Arc<Subscribers>>>,
}

/// The webhooks that want an event type, in the order of their ids.
#[derive(Debug)]
struct Subscribers {
    webhooks: Vec<Arc<Webhook>>,
    /// Some of them do not want every payload, so that payloads have to be looked into.
    filtered: bool,
}

/// The webhooks that want an event's type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Those that get it.
    pub targets: Vec<Target>,
    /// Those whose filters do not let it through.
    pub skipped: Vec<Target>,
}

impl Config {
    pub(super) fn new(
        generation: u64,
        webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
        tokens: BTreeMap<String, Arc<Token>>,
        event_types: BTreeMap<String, Arc<CustomType>>,
    ) -> Self {
        Self { generation, webhooks, tokens, event_types, subscribers: Mutex::default() }
    }

    /// Opens what is stored.
    pub(super) fn load(image: &ConfigImage, sealer: &Sealer) -> Result<Self, LoadError> {
        let mut webhooks = BTreeMap::new();
        let mut tokens = BTreeMap::new();
        let mut event_types = BTreeMap::new();
        for ((collection, _), (version, body)) in &image.entries {
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
                    let custom = event_type_from_bytes(*version, body)?;
                    event_types.insert(custom.name.clone(), Arc::new(custom));
                }
            }
        }
        Ok(Self::new(1, webhooks, tokens, event_types))
    }

    /// The webhooks that get an event now, and those that would but for their filters. A payload
    /// that can not be read as JSON matches no filter.
    #[must_use]
    pub fn targets(&self, event_type: &str, payload: &[u8]) -> Targets {
        let subscribers = self.subscribers(event_type);
        let target = |webhook: &Arc<Webhook>| Target { webhook: webhook.id, version: webhook.version };
        if !subscribers.filtered {
            return Targets { targets: subscribers.webhooks.iter().map(target).collect(), skipped: Vec::new() };
        }
        let payload: Option<serde_json::Value> = serde_json::from_slice(payload).ok();
        let wants = |webhook: &&Arc<Webhook>| {
            webhook.filter.is_empty() || payload.as_ref().is_some_and(|payload| webhook.filter.matches(payload))
        };
        let (targets, skipped): (Vec<_>, Vec<_>) = subscribers.webhooks.iter().partition(wants);
        let [targets, skipped] = [targets, skipped].map(|webhooks| webhooks.into_iter().map(target).collect());
        Targets { targets, skipped }
    }

    fn subscribers(&self, event_type: &str) -> Arc<Subscribers> {
        let mut known = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscribers) = known.get(event_type) {
            return Arc::clone(subscribers);
        }
        let wanting = self.webhooks.values().filter(|webhook| webhook.wants(event_type).is_some());
        let webhooks: Vec<_> = wanting.cloned().collect();
        let filtered = webhooks.iter().any(|webhook| !webhook.filter.is_empty());
        let subscribers = Arc::new(Subscribers { webhooks, filtered });
        // Types that are not known are an app's to invent; the map must not grow with them.
        if known.len() < KNOWN.len() * 4 + self.event_types.len() {
            known.insert(event_type.to_owned(), Arc::clone(&subscribers));
        }
        subscribers
    }

    /// The webhook with this id or name that is not deleted.
    #[must_use]
    pub fn webhook(&self, id_or_name: &str) -> Option<&Arc<Webhook>> {
        let by_id = WebhookId::parse(id_or_name).and_then(|id| self.webhooks.get(&id));
        by_id
            .filter(|webhook| webhook.exists())
            .or_else(|| self.webhooks.values().find(|webhook| webhook.exists() && webhook.name == id_or_name))
    }

    /// The operator's own event type with this name or label, in any letter case.
    #[must_use]
    pub fn custom_type(&self, text: &str) -> Option<&Arc<CustomType>> {
        // The common case is the canonical name as it stands.
        self.event_types.get(text).or_else(|| self.event_types.values().find(|custom| custom.is_called(text)))
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
struct StoredToken {
    name: String,
    sha256: String,
    types: Vec<String>,
    created_at: u64,
    created_by: String,
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

#[derive(Serialize, Deserialize)]
struct StoredEventType {
    name: String,
    label: String,
    group: String,
    meaning: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    example: Option<String>,
    created_at: u64,
    created_by: String,
    updated_at: u64,
    updated_by: String,
}

pub(super) fn event_type_to_bytes(custom: &CustomType) -> Vec<u8> {
    to_json(&StoredEventType {
        name: custom.name.clone(),
        label: custom.label.clone(),
        group: custom.group.as_str().to_owned(),
        meaning: custom.meaning.clone(),
        schema: custom.schema.clone(),
        example: custom.example.clone(),
        created_at: custom.created_at.millis(),
        created_by: custom.created_by.clone(),
        updated_at: custom.updated_at.millis(),
        updated_by: custom.updated_by.clone(),
    })
}

fn event_type_from_bytes(version: u32, bytes: &[u8]) -> Result<CustomType, LoadError> {
    let stored: StoredEventType = from_json(bytes)?;
    let group = Group::parse(&stored.group);
    Ok(CustomType {
        group: group.ok_or_else(|| LoadError::Format(format!("event type {}", stored.name)))?,
        name: stored.name,
        label: stored.label,
        meaning: stored.meaning,
        schema: stored.schema,
        example: stored.example,
        version,
        created_at: Timestamp::from_millis(stored.created_at),
        created_by: stored.created_by,
        updated_at: Timestamp::from_millis(stored.updated_at),
        updated_by: stored.updated_by,
    })
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "plain structs with text keys are always JSON")]
    serde_json::to_vec(value).expect("plain structs are JSON")
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| LoadError::Format(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::filter::{Condition, Filter, Test};
    use crate::domain::webhook::tests::sample;
    use crate::random::Random;

    #[test]
    fn only_active_webhooks_that_ask_for_a_type_get_it() {
        let mut inactive = sample();
        inactive.id = WebhookId::from_bytes([8; 16]);
        inactive.active = false;
        let all = [sample(), inactive].map(|webhook| (webhook.id, Arc::new(webhook)));
        let config = Config::new(1, all.into(), BTreeMap::new(), BTreeMap::new());
        assert_eq!(config.targets("AML_MONITORING", b"{}").targets.len(), 1);
        assert_eq!(config.targets("SOS_REPORT", b"{}"), Targets::default());
        assert!(config.webhook("aml-watch").is_some());
    }

    #[test]
    fn an_event_type_round_trips() {
        let custom = CustomType {
            name: "ORDER".to_owned(),
            label: "Order".to_owned(),
            group: Group::Kyb,
            meaning: "Somebody ordered.".to_owned(),
            schema: Some("{ \"type\": \"object\" }".to_owned()),
            example: None,
            version: 7,
            created_at: Timestamp::from_millis(1),
            created_by: "alice".to_owned(),
            updated_at: Timestamp::from_millis(2),
            updated_by: "bob".to_owned(),
        };
        let mut image = ConfigImage::default();
        let body = event_type_to_bytes(&custom).into();
        image.entries.insert((Collection::EventType, "ORDER".into()), (7, body));
        let config = Config::load(&image, &Sealer::new(&[9; 32], Random::seeded(3))).unwrap();
        assert_eq!(config.custom_type("order").map(|one| &**one), Some(&custom));
        image.entries.insert((Collection::EventType, "ODD".into()), (1, "{}".into()));
        assert!(Config::load(&image, &Sealer::new(&[9; 32], Random::seeded(3))).is_err());
    }

    #[test]
    fn a_filter_tells_who_gets_a_payload_and_who_is_skipped() {
        let webhooks = [0, 1, 2].map(|number: u8| {
            let mut webhook = sample();
            webhook.id = WebhookId::from_bytes([number; 16]);
            if number != 1 {
                let test = Test::Equals(serde_json::json!(number == 0));
                webhook.filter = Filter(vec![Condition { path: "/final".to_owned(), test }]);
            }
            (webhook.id, Arc::new(webhook))
        });
        let config = Config::new(1, webhooks.into(), BTreeMap::new(), BTreeMap::new());
        let numbers = |list: Vec<Target>| list.iter().map(|to| to.webhook.as_bytes()[0]).collect::<Vec<_>>();
        for (payload, targets, skipped) in [
            ("{\"final\":true}", vec![0, 1], vec![2]),
            ("{\"final\":false}", vec![1, 2], vec![0]),
            ("{}", vec![1], vec![0, 2]),
            ("not JSON", vec![1], vec![0, 2]),
        ] {
            let found = config.targets("AML_MONITORING", payload.as_bytes());
            assert_eq!((numbers(found.targets), numbers(found.skipped)), (targets, skipped), "{payload}");
        }
        assert_eq!(config.targets("SOS_REPORT", b"{}"), Targets::default(), "what nobody asked for is not skipped");
    }
}
