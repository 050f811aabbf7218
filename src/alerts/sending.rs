//! Hands mails over, one at a time, and notes what became of each.
//!
//! It does not decide when there is a mail or what it tells. Its invariant: a mail leaves the queue
//! when every recipient is settled: has it, or will never be taken by the server.

use std::time::Duration;

use super::AlertOptions;
use super::worker::{RETRY_EVERY, SLEEP_MAX, Sending, Unwritten, Worker, about};
use crate::domain::id::DeliveryId;
use crate::journal::Record;
use crate::mail::digest::{Entry, Tally};
use crate::mail::message::{ATTACHED_MAX, Payload, compose};
use crate::mail::queue::Notice;
use crate::mail::{Letter, MailError, MailFault, Receipt};
use crate::store::StoreError;

/// The first wait after a failure; it doubles.
const BACKOFF_MIN: Duration = Duration::from_mins(1);
const BACKOFF_MAX: Duration = Duration::from_hours(1);

impl Worker {
    /// Hands the next mail over, if it is time; tells how long until it is.
    pub(super) async fn start_sending(&mut self) -> Duration {
        let options = self.options.borrow().clone();
        let Some(mailer) = options.mailer.clone().filter(|_| self.sending.is_none()) else { return SLEEP_MAX };
        loop {
            if self.unwritten == Unwritten::Mail {
                return RETRY_EVERY;
            }
            let now = self.clock.now();
            let server_wait = self.server_until.saturating_sub(self.clock.elapsed());
            // One further away than any back-off was noted before the clock was set back.
            let wait = |notice: &Notice| notice.next_try_at.since(now).min(BACKOFF_MAX * 2);
            let next = self.queue.outgoing.iter().enumerate().min_by_key(|(_, notice)| wait(notice));
            let Some((place, until)) = next.map(|(place, notice)| (place, wait(notice).max(server_wait))) else {
                return SLEEP_MAX;
            };
            if !until.is_zero() {
                return until;
            }
            let Some(letter) = self.letter(place, &options).await else {
                self.queue.outgoing.remove(place);
                self.note(Unwritten::Mail);
                self.write_if_due().await;
                continue;
            };
            let (message_id, to) = (letter.message_id.clone(), letter.to.clone());
            let task = tokio::spawn(async move { mailer.send(&letter).await });
            self.sending = Some(Sending { message_id, to, task });
            return SLEEP_MAX;
        }
    }

    /// The mail as it is to be sent now; `None` when nobody is left to get it.
    async fn letter(&mut self, place: usize, options: &AlertOptions) -> Option<Letter> {
        let notice = self.queue.outgoing.get(place)?;
        let config = self.alerts.shared.store.config();
        let mut about_now = match config.webhooks.get(&notice.webhook).filter(|webhook| webhook.exists()) {
            Some(webhook) => about(webhook)?,
            None => notice.about.clone(),
        };
        about_now.to.retain(|one| !notice.settled.contains(one));
        if about_now.to.is_empty() {
            return None;
        }
        let mut notice = notice.clone();
        self.name_unknown(&mut notice.told.fresh).await;
        let payloads = if about_now.include_body { self.payloads(&notice.told.fresh).await } else { Vec::new() };
        Some(compose(&notice, &about_now, payloads, &options.from, &options.host))
    }

    /// Looks up what was not known while the index was away.
    async fn name_unknown(&self, tally: &mut Tally) {
        let unknown: Vec<usize> =
            (0..tally.listed.len()).filter(|place| tally.listed[*place].event_type.is_empty()).collect();
        let ids: Option<Vec<DeliveryId>> =
            unknown.iter().map(|place| DeliveryId::parse(&tally.listed[*place].delivery)).collect();
        let names = self.look_up(ids.unwrap_or_default()).await;
        for (place, name) in unknown.into_iter().zip(names) {
            if let Some((event_type, scan_ref)) = name {
                tally.name(place, event_type, scan_ref);
            }
        }
    }

    async fn payloads(&self, tally: &Tally) -> Vec<(String, Payload)> {
        let mut payloads = Vec::new();
        for entry in tally.listed.iter().take(ATTACHED_MAX) {
            payloads.push((entry.delivery.clone(), self.payload(entry).await.map_err(|error| error.to_string())));
        }
        payloads
    }

    async fn payload(&self, entry: &Entry) -> Result<(String, Vec<u8>), StoreError> {
        let store = &self.alerts.shared.store;
        let id = DeliveryId::parse(&entry.delivery).ok_or(StoreError::Gone)?;
        match &*store.read(store.locate(id.event).await?).await? {
            Record::Event { event, payload, .. } | Record::Carry { event, payload, .. } => {
                Ok((event.content_type.clone(), payload.to_vec()))
            }
            _ => Err(StoreError::Gone),
        }
    }

    /// What became of the mail that was handed over.
    pub(super) fn settle(&mut self, sending: &Sending, result: Result<Receipt, MailError>) {
        let now = self.clock.now();
        let Some(place) = self.queue.outgoing.iter().position(|one| one.message_id == sending.message_id) else {
            return;
        };
        let wait = backoff(self.queue.outgoing[place].tries, self.alerts.shared.store.random().unit());
        let notice = &mut self.queue.outgoing[place];
        let webhook = notice.webhook;
        notice.tries += 1;
        notice.next_try_at = now.plus(wait);
        let failed = match result {
            Ok(receipt) => receipt.failed,
            Err(error) if error.fault == MailFault::Server => {
                notice.next_try_at = now;
                let wait = backoff(self.server_tries, self.alerts.shared.store.random().unit());
                self.server_tries += 1;
                self.server_until = self.clock.elapsed() + wait;
                tracing::warn!(%webhook, %error, wait_seconds = wait.as_secs(), "the mail server can not be used");
                self.alerts.complain(&error.text);
                return self.note(Unwritten::Failures);
            }
            Err(error) => sending.to.iter().map(|to| (to.clone(), error.clone())).collect(),
        };
        self.server_tries = 0;
        let taken = |to: &&String| failed.iter().all(|(one, _)| one != *to);
        let took: Vec<String> = sending.to.iter().filter(taken).cloned().collect();
        let recipients = took.len();
        notice.settled.extend(took);
        notice
            .settled
            .extend(failed.iter().filter(|(_, why)| why.fault == MailFault::Refused).map(|(to, _)| to.clone()));
        let failures = notice.told.fresh.count;
        if sending.to.iter().all(|to| notice.settled.contains(to)) {
            self.queue.outgoing.remove(place);
        }
        if recipients > 0 {
            tracing::info!(%webhook, failures, recipients, "mail was sent");
            self.alerts.change_report(|report| {
                report.last_sent_at = Some(now);
                report.failing = false;
            });
        }
        // What is given up last, so that this is what the status tells.
        let given_up = |error: &MailError| error.fault == MailFault::Refused;
        for (_, error) in failed
            .iter()
            .filter(|(_, error)| !given_up(error))
            .chain(failed.iter().filter(|(_, error)| given_up(error)))
        {
            tracing::warn!(%webhook, %error, given_up = given_up(error), "the mail server did not take a mail");
            self.alerts.complain(&error.text);
        }
        self.tell();
        self.note(Unwritten::Mail);
    }
}

/// How long to wait after so many failures before the one just now: 1 minute, doubling, at most an
/// hour; and up to a quarter more.
fn backoff(tries: u32, unit_random: f64) -> Duration {
    let wait = BACKOFF_MIN.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX)).min(BACKOFF_MAX);
    wait.mul_f64(1.0 + unit_random / 4.0)
}
