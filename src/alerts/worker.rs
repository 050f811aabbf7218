//! The task behind [`Alerts`]: takes in how deliveries end, makes mails of it, hands them over.
//!
//! When there is a mail is decided in `mail::digest`, how it reads in `mail::message`. Its
//! invariant: a mail is handed over only when the queue that knows it is on the disk.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{AlertOptions, Alerts};
use crate::clock::Clock;
use crate::domain::id::{DeliveryId, WebhookId};
use crate::domain::time::Timestamp;
use crate::domain::webhook::Webhook;
use crate::mail::digest::{Entry, Kind, Told};
use crate::mail::queue::{About, Found, Notice, Queue, QueueError};
use crate::mail::{MailError, MailFault, Receipt};
use crate::store::{Config, Ended, StoreError};

/// How long a mail is offered to the server.
const LIFE: Duration = Duration::from_hours(24 * 5);
/// How long endings wait for more of them.
const GATHER: Duration = Duration::from_millis(100);
/// The queue is written at most so often, unless there is a mail.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// How often when nothing has changed but how far the journal was read.
const WRITE_POSITION_EVERY: Duration = Duration::from_mins(1);
/// The loop looks round at least this often: clocks are set, webhooks change.
pub(super) const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How long to wait after something of our own failed.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(5);
/// Sequences of the journal that are read at a time.
const REPLAY_STEP: u64 = 50_000;
/// Mails about one webhook that wait for some of their recipients, while others have them.
const LAGGING_MAX: usize = 5;
/// Events that are looked up at a time.
const LOOK_UP_MAX: usize = 500;

/// What the file does not know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unwritten {
    Nothing,
    Position,
    Failures,
    Mail,
}

/// A mail that is being handed over.
pub(super) struct Sending {
    pub(super) message_id: String,
    pub(super) to: Vec<String>,
    pub(super) task: JoinHandle<Result<Receipt, MailError>>,
}

pub(super) struct Worker {
    pub(super) alerts: Alerts,
    pub(super) options: watch::Receiver<AlertOptions>,
    pub(super) clock: Clock,
    pub(super) queue: Queue,
    pub(super) unwritten: Unwritten,
    /// By the monotonic clock.
    written_at: Duration,
    /// The last write failed, then.
    write_failed_at: Option<Duration>,
    /// What is before the live endings was not read yet.
    catching_up: bool,
    /// Failures of the server as a whole, in a row, and until when it is left alone.
    pub(super) server_tries: u32,
    pub(super) server_until: Duration,
    pub(super) sending: Option<Sending>,
}

pub(super) async fn run(alerts: &Alerts) {
    let Some(queue) = alerts.shared.stopping.run_until_cancelled(begin(alerts)).await.flatten() else { return };
    let clock = alerts.shared.store.clock();
    let mut worker = Worker {
        alerts: alerts.clone(),
        options: alerts.shared.options.subscribe(),
        clock,
        queue,
        unwritten: Unwritten::Mail,
        written_at: clock.elapsed(),
        write_failed_at: None,
        catching_up: true,
        server_tries: 0,
        server_until: Duration::ZERO,
        sending: None,
    };
    while !alerts.shared.stopping.is_cancelled() {
        worker.incorporate().await;
        let next = worker.make_mails();
        worker.write_if_due().await;
        let next = next.min(worker.start_sending().await);
        worker.tell();
        worker.wait(next).await;
    }
    worker.end().await;
}

/// Reads what was kept; waits while it can not be read.
async fn begin(alerts: &Alerts) -> Option<Queue> {
    let store = &alerts.shared.store;
    loop {
        let (path, now) = (alerts.shared.path.clone(), store.clock().now());
        let last = store.journal().last_committed();
        let loaded = tokio::task::spawn_blocking(move || Queue::load(&path, now)).await.ok()?;
        match loaded {
            Ok(Found::Kept(mut queue)) => {
                // A journal that was put back from a backup may end earlier.
                queue.position = queue.position.min(last);
                return Some(*queue);
            }
            Ok(Found::Nothing) => return Some(Queue::starting_at(last)),
            Ok(Found::Damaged(aside)) => {
                let text = format!("the mail queue was damaged and moved to {}", aside.display());
                tracing::error!("{text}; failures that were not told yet are not told any more");
                alerts.complain(&text);
                return Some(Queue::starting_at(last));
            }
            Err(error) => {
                tracing::error!(%error, "the mail queue can not be read; no mail is sent");
                alerts.complain(&error.to_string());
                if matches!(error, QueueError::Newer(_)) {
                    alerts.shared.stopping.cancelled().await;
                    return None;
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
    }
}

/// What mail needs to know of a webhook; `None` when nobody wants any.
pub(super) fn about(webhook: &Webhook) -> Option<About> {
    let email = webhook.failure_email.as_ref()?;
    Some(About {
        name: webhook.name.clone(),
        url: webhook.url.clone(),
        to: email.to.clone(),
        include_body: email.include_body,
    })
}

impl Worker {
    pub(super) fn note(&mut self, unwritten: Unwritten) {
        self.unwritten = self.unwritten.max(unwritten);
    }

    /// Takes in everything that is committed.
    async fn incorporate(&mut self) {
        let store = self.alerts.shared.store.clone();
        loop {
            let mut fresh = false;
            if self.catching_up {
                // Successes of these were not waited for so far, so some may have gone by.
                fresh = self.awaiting().into_iter().filter(|id| store.endings().watch(*id)).count() > 0;
            }
            let started = self.catching_up;
            // In this order: what is at or below `seen` is then either taken or missed.
            let seen = store.journal().last_committed();
            let live = store.endings().take();
            let missed = store.endings().missed().max(if started { seen } else { 0 });
            let behind = missed > self.queue.position;
            if behind && let Err(error) = self.replay(missed.max(seen)).await {
                tracing::error!(%error, "the journal can not be read for mail; it is tried again");
                self.alerts.complain(&error.to_string());
                store.endings().skipped(live.last().map_or(missed, |one| one.sequence).max(missed));
                return;
            }
            if behind && self.alerts.shared.stopping.is_cancelled() {
                // It may have ended half way; what was taken meanwhile is read by the next start.
                return;
            }
            self.catching_up |= behind;
            let fresh_ones: Vec<Ended> = live.into_iter().filter(|one| one.sequence > self.queue.position).collect();
            let last = fresh_ones.last().map_or(0, |one| one.sequence);
            self.apply(fresh_ones).await;
            self.advance(seen.max(last));
            if !behind && !fresh {
                self.catching_up = false;
            }
            if !self.catching_up || self.alerts.shared.stopping.is_cancelled() {
                return;
            }
        }
    }

    fn advance(&mut self, position: u64) {
        if position > self.queue.position {
            self.queue.position = position;
            self.note(Unwritten::Position);
        }
    }

    /// Webhooks whose next success matters.
    fn awaiting(&self) -> HashSet<WebhookId> {
        self.queue.episodes.iter().filter(|(_, episode)| episode.awaits_success()).map(|(id, _)| *id).collect()
    }

    async fn replay(&mut self, to: u64) -> Result<(), StoreError> {
        while self.queue.position < to && !self.alerts.shared.stopping.is_cancelled() {
            let from = self.queue.position + 1;
            let step = to.min(self.queue.position + REPLAY_STEP);
            let ended = self.alerts.shared.store.endings_between(from, step, self.awaiting()).await?;
            self.apply(ended).await;
            self.advance(step);
        }
        Ok(())
    }

    async fn apply(&mut self, ended: Vec<Ended>) {
        let config = self.alerts.shared.store.config();
        let is_on = self.options.borrow().mailer.is_some();
        let is_wanted = |one: &Ended| {
            let webhook = config.webhooks.get(&one.webhook).filter(|webhook| webhook.exists());
            is_on && one.gave_up && webhook.is_some_and(|webhook| webhook.failure_email.is_some())
        };
        let now = self.clock.now();
        for some in ended.chunks(LOOK_UP_MAX) {
            let wanted: Vec<DeliveryId> = some.iter().filter(|one| is_wanted(one)).map(|one| one.delivery).collect();
            let mut names = self.look_up(wanted).await.into_iter();
            for one in some {
                if is_wanted(one) {
                    let (event_type, scan_ref) = names.next().flatten().unwrap_or_default();
                    let entry = entry(one, event_type, scan_ref, now);
                    self.queue.episodes.entry(one.webhook).or_default().failed(entry);
                    self.note(Unwritten::Failures);
                } else if let Some(episode) = self.queue.episodes.get_mut(&one.webhook).filter(|_| !one.gave_up) {
                    episode.succeeded(one.at.min(now));
                    self.note(Unwritten::Failures);
                }
            }
        }
    }

    /// Event types and `scanRef`s, in this order; `None` for those that the index does not tell.
    pub(super) async fn look_up(&self, ids: Vec<DeliveryId>) -> Vec<Option<(String, Option<String>)>> {
        if ids.is_empty() {
            return Vec::new();
        }
        let count = ids.len();
        let found = self
            .alerts
            .shared
            .store
            .look(move |index| ids.iter().map(|id| index.event(id.event)).collect::<Result<Vec<_>, _>>());
        match found.await {
            Ok(found) => {
                found.into_iter().map(|one| one.map(|one| (one.event.event_type, one.event.scan_ref))).collect()
            }
            // Looked up again when the mail is written.
            Err(_) => vec![None; count],
        }
    }

    /// Makes the mails that are due; tells how long until the next.
    fn make_mails(&mut self) -> Duration {
        let config = self.alerts.shared.store.config();
        let options = self.options.borrow().clone();
        let now = self.clock.now();
        self.give_up_old(now);
        if options.mailer.is_none() {
            self.queue.episodes.clear();
            return SLEEP_MAX;
        }
        self.close_unwanted(&config, &options, now);
        let mut due: Vec<(Timestamp, WebhookId, Kind)> = Vec::new();
        for (id, episode) in &self.queue.episodes {
            // While nobody has the last one, what comes meanwhile is for the next.
            let mut waiting = self.queue.outgoing.iter().filter(|notice| notice.webhook == *id);
            let waits = waiting.any(|notice| notice.settled.is_empty());
            let next = episode.next(options.digest, now).filter(|_| !waits);
            due.extend(next.map(|(at, kind)| (at, *id, kind)));
        }
        due.sort_unstable_by_key(|(at, id, _)| (*at, *id));
        for (at, id, kind) in due {
            if self.queue.outgoing.len() >= Queue::OUTGOING_MAX {
                break;
            }
            let at = at.max(self.queue.hour.next(options.per_hour, now));
            if at > now {
                return at.since(now);
            }
            let Some(about) = config.webhooks.get(&id).and_then(|webhook| about(webhook)) else { continue };
            if let Some(episode) = self.queue.episodes.get_mut(&id) {
                let told = episode.take(kind, now);
                self.queue_notice(id, about, told, &options, now);
            }
        }
        SLEEP_MAX
    }

    fn queue_notice(&mut self, webhook: WebhookId, about: About, told: Told, options: &AlertOptions, now: Timestamp) {
        let of_it = |notice: &Notice| notice.webhook == webhook;
        if self.queue.outgoing.iter().filter(|notice| of_it(notice)).count() >= LAGGING_MAX
            && let Some(oldest) = self.queue.outgoing.iter().position(of_it)
        {
            self.queue.outgoing.remove(oldest);
            tracing::error!(%webhook, "a mail is given up for recipients that have not taken it; others have");
            self.alerts.complain("a mail was given up for recipients that had not taken it; others have it");
        }
        let message_id = self.alerts.message_id(&options.host);
        self.queue.hour.note(now);
        let (settled, tries) = (Vec::new(), 0);
        let notice = Notice { message_id, made_at: now, webhook, about, told, settled, tries, next_try_at: now };
        self.queue.outgoing.push(notice);
        self.note(Unwritten::Mail);
    }

    /// Ends the episodes of webhooks that are deleted, after a last word, or that want no mail.
    fn close_unwanted(&mut self, config: &Config, options: &AlertOptions, now: Timestamp) {
        let mut last_words = Vec::new();
        let before = self.queue.episodes.len();
        self.queue.episodes.retain(|id, episode| {
            let webhook = config.webhooks.get(id);
            let about = webhook.and_then(|webhook| about(webhook));
            match (webhook, about) {
                (Some(webhook), Some(_)) if webhook.exists() => !episode.is_over(options.digest, now),
                (Some(_), Some(about)) if episode.untold() > 0 => {
                    last_words.push((*id, about, episode.take(Kind::Failures, now)));
                    false
                }
                _ => false,
            }
        });
        if self.queue.episodes.len() != before {
            self.note(Unwritten::Failures);
        }
        for (id, about, told) in last_words {
            self.queue_notice(id, about, told, options, now);
        }
    }

    fn give_up_old(&mut self, now: Timestamp) {
        let under_way = self.sending.as_ref().map(|sending| sending.message_id.clone());
        let is_old =
            |notice: &Notice| now.since(notice.made_at) > LIFE && under_way.as_ref() != Some(&notice.message_id);
        let (old, kept) = std::mem::take(&mut self.queue.outgoing).into_iter().partition::<Vec<_>, _>(is_old);
        self.queue.outgoing = kept;
        for notice in old {
            let (webhook, failures) = (notice.webhook, notice.told.fresh.count);
            tracing::error!(%webhook, failures, "no server took a mail within 5 days; it is given up");
            self.alerts.complain(&format!("no server took a mail about {failures} failures within 5 days"));
            self.note(Unwritten::Mail);
        }
    }

    pub(super) async fn write_if_due(&mut self) {
        let every = match self.unwritten {
            Unwritten::Nothing => return,
            Unwritten::Mail => Duration::ZERO,
            Unwritten::Failures => WRITE_EVERY,
            Unwritten::Position => WRITE_POSITION_EVERY,
        };
        let since = |at: Duration| self.clock.elapsed().saturating_sub(at);
        if since(self.written_at) >= every && self.write_failed_at.is_none_or(|at| since(at) >= RETRY_EVERY) {
            self.write().await;
        }
    }

    async fn write(&mut self) {
        let (queue, path) = (self.queue.clone(), self.alerts.shared.path.clone());
        let written = tokio::task::spawn_blocking(move || queue.write(&path)).await;
        match written.map_err(|error| error.to_string()).and_then(|written| written.map_err(|error| error.to_string()))
        {
            Ok(()) => {
                self.unwritten = Unwritten::Nothing;
                self.written_at = self.clock.elapsed();
                self.write_failed_at = None;
            }
            Err(error) => {
                tracing::error!(error, "the mail queue can not be written; mail waits");
                self.alerts.complain(&error);
                self.write_failed_at = Some(self.clock.elapsed());
            }
        }
    }

    pub(super) fn tell(&self) {
        let untold: u64 = self.queue.episodes.values().map(|episode| episode.untold()).sum();
        let waiting: u64 = self.queue.outgoing.iter().map(|notice| notice.told.fresh.count).sum();
        self.alerts.change_report(|report| {
            report.waiting = self.queue.outgoing.len();
            report.held_failures = untold + waiting;
        });
    }

    async fn wait(&mut self, next: Duration) {
        let left = |from: Duration, wait: Duration| wait.saturating_sub(self.clock.elapsed().saturating_sub(from));
        let until_written = match (self.unwritten, self.write_failed_at) {
            (Unwritten::Failures | Unwritten::Mail, Some(failed_at)) => left(failed_at, RETRY_EVERY),
            (Unwritten::Failures, None) => left(self.written_at, WRITE_EVERY),
            (Unwritten::Mail, None) => Duration::ZERO,
            _ => SLEEP_MAX,
        };
        let pause = next.min(SLEEP_MAX).min(until_written.max(Duration::from_millis(10)));
        let shared = std::sync::Arc::clone(&self.alerts.shared);
        let under_way = async {
            match &mut self.sending {
                Some(sending) => (&mut sending.task).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = under_way => Some(ended),
            () = shared.store.endings().wake.notified() => {
                // A burst is taken in as one.
                let _ = tokio::time::timeout(GATHER, shared.stopping.cancelled()).await;
                None
            }
            _ = self.options.changed() => {
                // Whatever was wrong may be right now.
                let now = self.clock.now();
                (self.server_tries, self.server_until) = (0, Duration::ZERO);
                self.queue.outgoing.iter_mut().for_each(|notice| notice.next_try_at = now);
                None
            }
            () = shared.stopping.cancelled() => None,
            () = tokio::time::sleep(pause) => None,
        };
        if let Some(ended) = ended
            && let Some(sending) = self.sending.take()
        {
            let lost = |_| Err(MailError::new(MailFault::Later, "sending it ended by itself"));
            self.settle(&sending, ended.unwrap_or_else(lost));
        }
    }

    /// Lets a mail that is under way end, and keeps everything.
    async fn end(mut self) {
        if let Some(mut sending) = self.sending.take()
            && let Ok(Ok(result)) = tokio::time::timeout(RETRY_EVERY, &mut sending.task).await
        {
            self.settle(&sending, result);
        }
        if self.unwritten > Unwritten::Nothing {
            self.write().await;
        }
        self.tell();
    }
}

fn entry(one: &Ended, event_type: String, scan_ref: Option<String>, now: Timestamp) -> Entry {
    Entry {
        delivery: one.delivery.to_string(),
        event_type,
        scan_ref,
        accepted_at: one.delivery.event.created_at(),
        at: one.at.min(now),
        attempts: one.attempts,
        result: match one.result {
            Ok(code) => code.to_string(),
            Err(kind) => kind.as_str().to_owned(),
        },
    }
}
