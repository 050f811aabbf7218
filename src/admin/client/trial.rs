//! The calls that test a webhook.
//!
//! They take longer than others, and say nothing of what a test is. Invariant: as for every call,
//! they end within a time limit.

use std::time::Duration;

use super::{Call, Client, ClientError};
use crate::admin::protocol::{NewTest, TestView};

/// A test may wait twice for a webhook's longest timeout, and for a name.
const TEST_MAX: Duration = Duration::from_secs(270);

impl Client {
    /// Tests a saved webhook, with the fields of `test.webhook` merged over it.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; the same holds for the call below.
    pub async fn test_webhook(&self, webhook: &str, test: &NewTest) -> Result<TestView, ClientError> {
        self.ask(Call::post(&["webhooks", webhook, "test"]).json(test)?.within(TEST_MAX)).await
    }

    /// Tests `test.webhook`, which is not saved.
    pub async fn test_unsaved(&self, test: &NewTest) -> Result<TestView, ClientError> {
        self.ask(Call::post(&["webhooks", "test"]).json(test)?.within(TEST_MAX)).await
    }
}
