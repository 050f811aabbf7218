//! Mail, as far as operators ask for it: one that shows that it works. What was asked for is not
//! kept, and nothing of the queue can be changed here.

use http::{Method, StatusCode};

use super::{Admin, Call, Refusal, Reply, reply};
use crate::admin::protocol::{EmailStatus, EmailTest, EmailTested};
use crate::domain::email::check_address;

impl Admin {
    /// Answers 200 whatever the mail server said: that is what was asked for.
    pub(super) async fn test_email(&self, call: &Call) -> Reply {
        call.only(&Method::POST, "POST")?;
        let wanted: EmailTest = serde_json::from_slice(&call.body)
            .map_err(|error| Refusal::Bad(format!("the body is not what it should be: {error}")))?;
        check_address(&wanted.to).map_err(|what| Refusal::Bad(format!("the address {what}")))?;
        let error = self.shared.alerts.test(&wanted.to).await.err().map(|error| error.text);
        reply(StatusCode::OK, &EmailTested { sent: error.is_none(), error })
    }

    pub(super) fn email_status(&self) -> EmailStatus {
        let report = self.shared.alerts.report();
        EmailStatus {
            configured: report.configured,
            waiting: report.waiting,
            held_failures: report.held_failures,
            last_sent_at: report.last_sent_at.map(|at| at.to_string()),
            last_error: report.last_error,
            last_error_at: report.last_error_at.map(|at| at.to_string()),
            failing: report.failing,
        }
    }

    /// Names of webhooks whose failures would be mailed.
    pub(super) fn mailed_webhooks(&self) -> usize {
        let config = self.shared.store.config();
        config.webhooks.values().filter(|webhook| webhook.exists() && webhook.failure_email.is_some()).count()
    }
}
