//! Tells people by mail about deliveries that failed for good.
//!
//! One task reads how deliveries end, in the journal's order, keeps what is to be told, and gives
//! it to the mail server when that takes it. It decides nothing about deliveries and never holds
//! one up: what it can not follow it reads from the journal later. Its invariant: a failure is told
//! by exactly one mail that a server has taken, or in the log when none would for five days; a mail
//! whose end was unclear comes again with the same `Message-ID`.

mod sending;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::time::Timestamp;
use crate::mail::message::test_letter;
use crate::mail::{MailError, MailFault, Mailer};
use crate::store::Store;

/// How mail is sent; replaced on reload.
#[derive(Clone, Debug)]
pub struct AlertOptions {
    /// What takes it; `None` sends no mail.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// The sender, a bare address.
    pub from: String,
    /// What this machine is called.
    pub host: String,
    /// How long further failures of a webhook are collected.
    pub digest: Duration,
    /// The most mails an hour, over all webhooks.
    pub per_hour: u32,
}

/// How sending mail goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Mail is sent at all.
    pub configured: bool,
    /// Mails that no server has taken yet.
    pub waiting: usize,
    /// Failures that no server has taken a mail about yet.
    pub held_failures: u64,
    /// When a server last took one.
    pub last_sent_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<Timestamp>,
    /// Mail does not get out, or its queue can not be used.
    pub failing: bool,
}

/// The task's handle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Alerts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    /// The queue's file.
    path: PathBuf,
    options: watch::Sender<AlertOptions>,
    report: Mutex<Report>,
    stopping: CancellationToken,
    stopped: CancellationToken,
}

impl Alerts {
    /// Follows this store, and keeps what is to be told in the file at `path`. Nothing happens
    /// until it is run.
    #[must_use]
    pub fn new(store: Store, path: PathBuf, options: AlertOptions) -> Self {
        let report = Report { configured: options.mailer.is_some(), ..Report::default() };
        Self {
            shared: Arc::new(Shared {
                store,
                path,
                options: watch::Sender::new(options),
                report: Mutex::new(report),
                stopping: CancellationToken::new(),
                stopped: CancellationToken::new(),
            }),
        }
    }

    /// The queue's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Runs until [`Self::stop`].
    pub async fn run(&self) {
        worker::run(self).await;
        self.shared.stopped.cancel();
    }

    /// Takes over a changed configuration file. What waits is tried again at once.
    pub fn reconfigure(&self, options: AlertOptions) {
        self.change_report(|report| report.configured = options.mailer.is_some());
        self.shared.options.send_replace(options);
    }

    /// Ends [`Self::run`]; what is to be told is kept. A mail that is just being handed over has
    /// this long to end, or comes again after the next start.
    pub async fn stop(&self, patience: Duration) {
        self.shared.stopping.cancel();
        let _ = tokio::time::timeout(patience, self.shared.stopped.cancelled()).await;
    }

    /// How it goes.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a mail that only shows that mail works, past everything that waits.
    ///
    /// # Errors
    /// What the server said, or why it could not be asked.
    pub async fn test(&self, to: &str) -> Result<(), MailError> {
        let options = self.shared.options.borrow().clone();
        let Some(mailer) = options.mailer else {
            return Err(MailError::new(MailFault::Refused, "no mail is sent: [email] smtp is \"\""));
        };
        let id = self.message_id(&options.host);
        let letter = test_letter(to, &options.from, &options.host, id, self.shared.store.clock().now());
        match mailer.send(&letter).await?.failed.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn message_id(&self, host: &str) -> String {
        format!("{:032x}@{host}", self.shared.store.random().bits())
    }

    fn change_report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.shared.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Something about mail itself went wrong. Never told by mail.
    fn complain(&self, text: &str) {
        let now = self.shared.store.clock().now();
        self.change_report(|report| {
            report.failing = true;
            report.last_error = Some(text.to_owned());
            report.last_error_at = Some(now);
        });
    }
}
