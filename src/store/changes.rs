//! Changing the configuration: one change at a time, durable before it is in force.
//!
//! It does not check what is stored; that is the admin server's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{Config, Store, StoreError, Token, config};
use crate::domain::id::WebhookId;
use crate::domain::webhook::Webhook;
use crate::journal::{Collection, ConfigRecord, Record};

impl Store {
    /// Changes a webhook: `change` gets the present configuration and says what to store.
    ///
    /// # Errors
    /// What `change` says, or that it could not be made durable.
    pub async fn change_webhook<E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Config) -> Result<Webhook, E>,
    ) -> Result<Arc<Webhook>, E> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let config = self.config();
        let webhook = Arc::new(change(&config)?);
        let record = ConfigRecord {
            collection: Collection::Webhook,
            key: Bytes::copy_from_slice(webhook.id.as_bytes()),
            version: webhook.version,
            at: webhook.updated_at,
            by: webhook.updated_by.clone(),
            body: Some(config::webhook_to_bytes(&webhook, &self.shared.sealer).into()),
        };
        self.append_config(record).await?;
        let mut webhooks = config.webhooks.clone();
        webhooks.insert(webhook.id, Arc::clone(&webhook));
        self.publish(&config, webhooks, config.tokens.clone());
        Ok(webhook)
    }

    /// Removes a deleted webhook for good.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn forget_webhook(&self, id: WebhookId, by: &str) -> Result<(), StoreError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let config = self.config();
        let mut webhooks = config.webhooks.clone();
        let Some(webhook) = webhooks.remove(&id) else { return Ok(()) };
        self.append_config(ConfigRecord {
            collection: Collection::Webhook,
            key: Bytes::copy_from_slice(id.as_bytes()),
            version: webhook.version + 1,
            at: self.shared.clock.now(),
            by: by.to_owned(),
            body: None,
        })
        .await?;
        self.publish(&config, webhooks, config.tokens.clone());
        Ok(())
    }

    /// Sets (`Some`) or removes an ingest token.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn change_token(&self, name: &str, token: Option<Token>, by: &str) -> Result<(), StoreError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let config = self.config();
        self.append_config(ConfigRecord {
            collection: Collection::Token,
            key: Bytes::copy_from_slice(name.as_bytes()),
            version: 1,
            at: self.shared.clock.now(),
            by: by.to_owned(),
            body: token.as_ref().map(|token| config::token_to_bytes(token).into()),
        })
        .await?;
        let mut tokens: BTreeMap<_, _> = config.tokens.clone();
        match token {
            Some(token) => tokens.insert(name.to_owned(), Arc::new(token)),
            None => tokens.remove(name),
        };
        self.publish(&config, config.webhooks.clone(), tokens);
        Ok(())
    }

    async fn append_config(&self, record: ConfigRecord) -> Result<(), StoreError> {
        let ticket = self.shared.journal.append(Record::Config(record))?;
        self.settle(ticket.await).map(|_| ())
    }

    fn publish(
        &self,
        before: &Config,
        webhooks: BTreeMap<WebhookId, Arc<Webhook>>,
        tokens: BTreeMap<String, Arc<Token>>,
    ) {
        self.shared.config.store(Arc::new(Config::new(before.generation + 1, webhooks, tokens)));
        self.shared.arrivals.wake.notify_one();
    }
}
