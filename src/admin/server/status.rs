//! How the daemon is doing, in figures and in plain words; and the check of the whole store.
//!
//! It only reads: whatever it finds wrong is told, and mended by nobody here.

use std::collections::HashSet;

use http::{Method, StatusCode};

use super::{Access, Admin, Call, Refusal, Reply, reply};
use crate::admin::protocol::{
    DiskStatus, EgressStatus, EmailStatus, IndexStatus, IngestStatus, JournalStatus, ProcessStatus, Status,
    VerifyReport,
};
use crate::domain::id::WebhookId;
use crate::maintenance::{free_space, process};
use crate::store::{IndexState, StoreError};

impl Admin {
    pub(super) async fn status(&self, call: &Call) -> Reply {
        call.only(&Method::GET, "GET")?;
        let report = self.report().await;
        reply(StatusCode::OK, &Status { read_only: call.access == Access::ReadOnly, ..report })
    }

    /// The whole report. Never waits for the index.
    pub async fn report(&self) -> Status {
        let store = &self.shared.store;
        let options = self.shared.options.load_full();
        let config = store.config();
        let now = store.clock().now();
        let (_, in_flight) = self.shared.dispatcher.load();
        let existing = config.webhooks.values().filter(|webhook| webhook.exists());
        // What a deleted webhook holds back until it can not be restored any more is not going to be sent.
        let lanes = existing.clone().filter_map(|webhook| self.shared.dispatcher.lane(webhook.id));
        let pending: u64 = lanes.map(|lane| lane.pending).sum();
        let ids: HashSet<WebhookId> = existing.clone().map(|webhook| webhook.id).collect();
        let failing = existing.clone().filter(|webhook| {
            webhook.active && self.shared.dispatcher.lane(webhook.id).is_some_and(|lane| lane.failing)
        });
        let oldest = store.oldest_pending(move |webhook| ids.contains(&webhook)).await;
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: store.clock().elapsed().as_secs(),
            ingest: self.ingest_status(),
            pending,
            in_flight,
            attempts: self.shared.dispatcher.attempts(),
            oldest_pending_seconds: oldest.filter(|_| pending > 0).map(|at| now.since(at).as_secs()),
            failing_webhooks: failing.map(|webhook| webhook.name.clone()).collect(),
            webhooks: existing.count(),
            journal: self.journal_status(),
            index: self.index_status(),
            disk: self.disk_status(),
            email: self.email_status(),
            problems: Vec::new(),
            config_file: options.config_file.clone(),
            egress: Some(EgressStatus {
                verifies_tls: self.shared.egress.verifies_tls(),
                resolves_names: self.shared.egress.resolves_names(),
            }),
            process: Some(process_status()),
            metrics_listen: options.metrics_listen.clone(),
            trial: options.trial,
            read_only: false,
            retention_days: options.retention_days,
            config_read_at: options.config_read_at.map(|at| at.to_string()),
            config_refused: self.shared.config_refused.load().as_ref().map(|why| String::clone(why)),
        };
        status.problems = problems(&status);
        status.problems.extend(mail_problem(&status.email, self.mailed_webhooks()));
        status
    }

    fn ingest_status(&self) -> IngestStatus {
        let options = self.shared.options.load_full();
        let obstacle = self.shared.ingest.obstacle();
        let (accepted, refused) = self.shared.ingest.counts();
        IngestStatus {
            listen: options.ingest_listen.clone(),
            socket: options.ingest_socket.clone(),
            accepting: obstacle.is_none(),
            reason: obstacle,
            connections: (self.shared.ingest_connections)(),
            accepted,
            refused,
        }
    }

    fn journal_status(&self) -> JournalStatus {
        let journal = self.shared.store.journal();
        let segments = journal.segments();
        JournalStatus {
            sequence: journal.last_committed(),
            segments: segments.len(),
            bytes: segments.values().map(|segment| segment.length).sum(),
            oldest_day: segments.values().map(|segment| segment.day).min().map(|day| day.to_string()),
            waiting_bytes: journal.waiting_bytes(),
            quarantined: journal.quarantined(),
            failure: journal.failure().map(|why| why.to_string()),
        }
    }

    fn index_status(&self) -> IndexStatus {
        let (state, detail, bytes) = match self.shared.store.index_state() {
            IndexState::Opening => ("opening", None, 0),
            IndexState::Rebuilding { done, total } => ("rebuilding", Some(format!("{done} of {total} records")), 0),
            IndexState::Ready(index) => ("ready", None, index.size_on_disk()),
            IndexState::Unavailable(why) => ("unavailable", Some(why.to_string()), 0),
        };
        IndexStatus {
            state: state.to_owned(),
            detail,
            position: self.shared.store.index_position(),
            rebuilds: self.shared.store.index_rebuilds(),
            bytes,
        }
    }

    fn disk_status(&self) -> DiskStatus {
        let store = &self.shared.store;
        let floor = self.shared.options.load().floor;
        let space = free_space(store.directory()).unwrap_or_default();
        DiskStatus {
            path: store.directory().display().to_string(),
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
            floor_bytes: floor.bytes_of(space.total_bytes),
            below_floor: store.is_below_floor(),
        }
    }

    pub(super) async fn verify(&self, call: &Call) -> Reply {
        call.only(&Method::POST, "POST")?;
        let store = self.shared.store.clone();
        let index = match store.index_state() {
            IndexState::Ready(index) => Some(index),
            _ => None,
        };
        // Everything up to here is checked; what is accepted meanwhile is not.
        let last = match store.journal().failure() {
            None => store.journal().barrier().await.map_err(StoreError::from)?,
            Some(_) => store.journal().last_committed(),
        };
        let directory = store.directory().to_owned();
        let journal = store.journal().clone();
        let work = tokio::task::spawn_blocking(move || {
            let before = journal.quarantined();
            let mut report = VerifyReport { segments: journal.segments().len(), ..VerifyReport::default() };
            let read = journal.replay(1, last, |_| {
                report.records += 1;
                Ok::<_, crate::journal::JournalError>(())
            });
            read?;
            report.damaged = journal.quarantined().max(before);
            if let Some(index) = index {
                match index.verify() {
                    Ok(rows) => report.index_rows = rows,
                    Err(error) => report.index_problem = Some(error.to_string()),
                }
            }
            let blobs = std::fs::read_dir(directory.join("index/blobs"));
            report.index_blobs = blobs.map_or(0, |entries| entries.count());
            Ok::<_, crate::journal::JournalError>(report)
        });
        let report = work.await.map_err(|error| Refusal::Store(StoreError::Io(error.to_string())))?;
        reply(StatusCode::OK, &report.map_err(StoreError::from)?)
    }
}

fn process_status() -> ProcessStatus {
    let process = process();
    ProcessStatus {
        resident_bytes: process.resident_bytes,
        cpu_seconds: process.cpu.as_secs(),
        descriptors: process.descriptors,
        descriptors_max: process.descriptors_max,
    }
}

/// What an operator should know, and what to do about it.
fn problems(status: &Status) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(why) = &status.journal.failure {
        problems.push(format!("nothing is accepted: {why}; mend the disk and restart the daemon"));
    }
    if status.disk.below_floor {
        problems.push(format!(
            "new events are refused: {} MiB free at {}, at least {} MiB are wanted; free some space",
            status.disk.free_bytes >> 20,
            status.disk.path,
            status.disk.floor_bytes >> 20
        ));
    }
    match status.index.state.as_str() {
        "ready" => {}
        "rebuilding" => problems.push(format!(
            "the index is being built ({}); searching works when it is done, accepting and delivering work now",
            status.index.detail.as_deref().unwrap_or_default()
        )),
        "opening" => problems.push("the index is being opened; searching works shortly".to_owned()),
        _ => problems.push(format!(
            "searching does not work: {}; accepting and delivering go on",
            status.index.detail.as_deref().unwrap_or("the index is unavailable")
        )),
    }
    if status.journal.quarantined > 0 {
        problems.push(format!(
            "{} damaged stretches of the journal were set aside in {}/journal/quarantine; check the disk",
            status.journal.quarantined, status.disk.path
        ));
    }
    if let Some(why) = &status.config_refused {
        problems.push(format!(
            "the configuration file was refused when it was read again, and what was in force still is: {why}; \
             mend it (`postrider check-config`) and send SIGHUP"
        ));
    }
    for name in &status.failing_webhooks {
        let name = crate::domain::text::printable(name);
        problems.push(format!("webhook {name} is failing; see `postrider delivery list --webhook {name}`"));
    }
    problems
}

/// What is wrong with mail, when `webhooks` of them want some.
fn mail_problem(email: &EmailStatus, webhooks: usize) -> Option<String> {
    if !email.configured {
        let text =
            "webhooks name an address for failures, but no mail is sent: set [email] smtp, or take the address out";
        return (webhooks > 0).then(|| text.to_owned());
    }
    email.failing.then(|| {
        let why = email.last_error.as_deref().unwrap_or("see the log");
        let failures = email.held_failures;
        format!("mail does not get out, {failures} failures are not told: {why}; try `postrider email test ADDRESS`")
    })
}
