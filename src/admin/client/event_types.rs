//! The calls about event types.
//!
//! Like the others: each says what it asks, none knows what the answer means.

use reqwest::Method;

use super::{Call, Client, ClientError, Payload};
use crate::admin::protocol::{Done, EventTypeDefinition, EventTypeView, PageView};

impl Client {
    /// All event types.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; the same holds for every call below.
    pub async fn event_types(&self) -> Result<PageView<EventTypeView>, ClientError> {
        self.ask(Call::get(&["event-types"])).await
    }

    /// One event type, by any of its names.
    pub async fn event_type(&self, name: &str) -> Result<EventTypeView, ClientError> {
        self.ask(Call::get(&["event-types", name])).await
    }

    /// Defines an event type, or defines it anew; fields left out have their defaults.
    pub async fn define_event_type(
        &self,
        name: &str,
        definition: &EventTypeDefinition,
    ) -> Result<EventTypeView, ClientError> {
        self.ask(Call::new(Method::PUT, &["event-types", name]).json(definition)?).await
    }

    /// Removes an event type that was defined.
    pub async fn undefine_event_type(&self, name: &str) -> Result<Done, ClientError> {
        self.ask(Call::new(Method::DELETE, &["event-types", name])).await
    }

    /// The JSON Schema of an event type.
    pub async fn event_type_schema(&self, name: &str) -> Result<Payload, ClientError> {
        self.payload(Call::get(&["event-types", name, "schema"])).await
    }

    /// An example of a payload of an event type.
    pub async fn event_type_example(&self, name: &str) -> Result<Payload, ClientError> {
        self.payload(Call::get(&["event-types", name, "example"])).await
    }
}
