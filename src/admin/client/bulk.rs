//! Asking for changes of many deliveries, and following them.
//!
//! It decides nothing and retries nothing: a job is the daemon's, and goes on when nobody asks.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value};

use super::{Call, Client, ClientError, DeliveryFilter};
use crate::admin::protocol::{BulkCount, BulkRequest, JobView, PageView};

/// Counting and looking into payloads end by themselves before this.
const COUNT_WAIT_MAX: Duration = Duration::from_secs(60);

/// What is to be done to many deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// Another go.
    Resend,
    /// Gives up the attempts that are still to come.
    Cancel,
}

impl Bulk {
    const fn path(self) -> &'static [&'static str] {
        match self {
            Self::Resend => &["resend"],
            Self::Cancel => &["cancel"],
        }
    }
}

impl DeliveryFilter {
    /// As the filter of a change of many deliveries.
    #[must_use]
    pub fn object(&self) -> Map<String, Value> {
        self.query().into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
    }
}

impl Client {
    /// How many deliveries it would be; changes nothing.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]; the same holds for every call below.
    pub async fn count_bulk(&self, bulk: Bulk, request: &BulkRequest) -> Result<BulkCount, ClientError> {
        let request = BulkRequest { dry_run: true, ..request.clone() };
        let mut call = Call::post(bulk.path()).json(&request)?;
        call.limit = COUNT_WAIT_MAX;
        self.ask(call).await
    }

    /// Starts a job. It goes on by itself.
    pub async fn start_bulk(&self, bulk: Bulk, request: &BulkRequest) -> Result<JobView, ClientError> {
        let request = BulkRequest { dry_run: false, ..request.clone() };
        self.ask(Call::post(bulk.path()).json(&request)?).await
    }

    /// The jobs under way and the last that are over.
    pub async fn jobs(&self) -> Result<PageView<JobView>, ClientError> {
        self.ask(Call::get(&["jobs"])).await
    }

    /// How far a job is.
    pub async fn job(&self, id: &str) -> Result<JobView, ClientError> {
        self.ask(Call::get(&["jobs", id])).await
    }

    /// Stops a job, and tells how far it came.
    pub async fn stop_job(&self, id: &str) -> Result<JobView, ClientError> {
        self.ask(Call::new(Method::POST, &["jobs", id, "stop"])).await
    }
}
