//! Resending and cancelling many deliveries by a filter: what is meant, how many that is, and the
//! jobs that do it.
//!
//! It changes no delivery itself: `jobs` does, one by one. Its invariant: nothing is changed
//! without a filter or the words that all are meant.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::deliveries::query;
use super::jobs::{JobKind, JobOrder, RUNNING_MAX};
use super::links::dead_in;
use super::selection::Selection;
use super::{Admin, Call, Params, Refusal, Reply, no_such, reply};
use crate::admin::protocol::{BulkCount, BulkRequest, DeadLinkSample, PageView};
use crate::domain::delivery::State;
use crate::domain::event::Location;
use crate::domain::id::WebhookId;
use crate::domain::time::Timestamp;
use crate::domain::webhook::FieldProblem;
use crate::index::{Found, Query};
use crate::store::{Config, StoreError};

const RATE_DEFAULT: u32 = 50;
const RATE_MAX: u32 = 1000;
/// How long a dry run counts, and a run before it begins.
const COUNT_TIME_MAX: Duration = Duration::from_secs(20);
const COUNT_FIRST_TIME_MAX: Duration = Duration::from_secs(5);
/// Payloads that a dry run looks into, and how long.
const SAMPLE_MAX: usize = 200;
const SAMPLE_TIME_MAX: Duration = Duration::from_secs(5);

const FIELDS: [&str; 9] = ["ref", "q", "webhook", "type", "class", "code", "state", "since", "until"];
/// Fields that may be lists.
const LISTS: [&str; 3] = ["class", "code", "state"];

impl Admin {
    /// `POST /v1/resend` and `POST /v1/cancel`.
    pub(super) async fn bulk(&self, call: &Call, kind: JobKind) -> Reply {
        call.only(&Method::POST, "POST")?;
        let wanted: BulkRequest = serde_json::from_slice(&call.body).map_err(|error| {
            Refusal::Bad(format!("the body has to be JSON such as {{\"filter\": {{\"state\": \"failed\"}}}}: {error}"))
        })?;
        let now = self.shared.store.clock().now();
        let selection = selection(&wanted, kind, &self.shared.store.config(), now)?;
        let rate_per_second = wanted.rate_per_second.unwrap_or(RATE_DEFAULT);
        if !(1..=RATE_MAX).contains(&rate_per_second) {
            return Err(wrong("rate_per_second", format!("must be from 1 to {RATE_MAX}")));
        }
        if wanted.dry_run {
            return reply(StatusCode::OK, &self.count(selection, kind).await?);
        }
        let tally = self.tally(&Arc::new(selection.clone()), COUNT_FIRST_TIME_MAX).await?;
        let (matched, complete, by) = (tally.matched, tally.complete, call.author.name.clone());
        let order = JobOrder { kind, selection, matched, complete, rate_per_second, by };
        match self.shared.jobs.start(order) {
            Some(job) => {
                let mut detail = json!({"filter": wanted.filter, "matched": job.matched});
                if wanted.all {
                    detail["all"] = true.into();
                }
                self.note(call, &format!("bulk.{}", job.kind), &job.id, detail).await;
                reply(StatusCode::ACCEPTED, &job)
            }
            None => Err(Refusal::Taken(format!("{RUNNING_MAX} jobs are under way; stop one, or wait for its end"))),
        }
    }

    async fn stop_job(&self, call: &Call, id: &str) -> Reply {
        let job = self.shared.jobs.stop(id).await.ok_or_else(no_job)?;
        self.note(call, "bulk.stop", &job.id, json!({"done": job.done})).await;
        reply(StatusCode::OK, &job)
    }

    /// `/v1/jobs` and what is below it.
    pub(super) async fn jobs(&self, call: &Call, rest: &[&str]) -> Reply {
        let jobs = &self.shared.jobs;
        match rest {
            [] => {
                call.only(&Method::GET, "GET")?;
                reply(StatusCode::OK, &PageView { items: jobs.list(), cursor: None })
            }
            [id] if call.method == Method::DELETE => self.stop_job(call, id).await,
            [id] => {
                call.only(&Method::GET, "GET and DELETE")?;
                reply(StatusCode::OK, &jobs.get(id).ok_or_else(no_job)?)
            }
            [id, "stop"] => {
                call.only(&Method::POST, "POST")?;
                self.stop_job(call, id).await
            }
            _ => Err(no_such(&format!("/v1/jobs/{}", rest.join("/")))),
        }
    }

    /// What a run would be.
    async fn count(&self, selection: Selection, kind: JobKind) -> Result<BulkCount, Refusal> {
        let tally = self.tally(&Arc::new(selection), COUNT_TIME_MAX).await?;
        let config = self.shared.store.config();
        let mut by_webhook: BTreeMap<String, u64> = BTreeMap::new();
        for (id, count) in &tally.by_webhook {
            let name = config.webhooks.get(id).map_or_else(|| id.to_string(), |webhook| webhook.name.clone());
            *by_webhook.entry(name).or_default() += count;
        }
        let dead_links = match kind {
            JobKind::Resend => Some(self.sample(&tally.sample.taken).await),
            JobKind::Cancel => None,
        };
        Ok(BulkCount {
            matched: tally.matched,
            by_webhook,
            oldest: tally.oldest.map(|at| at.to_string()),
            newest: tally.newest.map(|at| at.to_string()),
            dead_links,
            complete: tally.complete,
        })
    }

    /// Counts page by page, so that nobody else waits for it.
    async fn tally(&self, selection: &Arc<Selection>, most: Duration) -> Result<Tally, StoreError> {
        let store = &self.shared.store;
        let until = store.clock().elapsed() + most;
        let (mut tally, mut before) = (Tally::default(), None);
        loop {
            (tally, before) = selection.fold(store, before, tally, Tally::add).await?;
            if before.is_none() {
                tally.complete = true;
                return Ok(tally);
            }
            if store.clock().elapsed() >= until {
                return Ok(tally);
            }
        }
    }

    async fn sample(&self, payloads: &[Payload]) -> DeadLinkSample {
        let store = &self.shared.store;
        let until = store.clock().elapsed() + SAMPLE_TIME_MAX;
        let mut sample = DeadLinkSample::default();
        for payload in payloads {
            if store.clock().elapsed() >= until {
                break;
            }
            if let Some(dead) = dead_in(store, payload.location, payload.length, payload.posted).await {
                sample.sampled += 1;
                sample.with += u64::from(dead.count > 0);
            }
        }
        sample
    }
}

fn no_job() -> Refusal {
    Refusal::NotFound("there is no such job; they are forgotten at a restart".to_owned())
}

/// What was counted.
#[derive(Default)]
struct Tally {
    matched: u64,
    by_webhook: HashMap<WebhookId, u64>,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    sample: Sample,
    complete: bool,
}

impl Tally {
    fn add(&mut self, found: &Found) {
        let posted = found.event.event.created_at();
        self.matched += 1;
        *self.by_webhook.entry(found.webhook).or_default() += 1;
        self.oldest = Some(self.oldest.map_or(posted, |oldest| oldest.min(posted)));
        self.newest = Some(self.newest.map_or(posted, |newest| newest.max(posted)));
        self.sample.offer(|| Payload { location: found.event.location, length: found.event.payload_length, posted });
    }
}

/// Where a payload is.
#[derive(Clone, Copy)]
struct Payload {
    location: Location,
    length: u32,
    posted: Timestamp,
}

/// Some of many, evenly chosen while it is not known how many there are: every n-th, and n doubles
/// whenever there are too many.
struct Sample<T = Payload> {
    taken: Vec<T>,
    offered: u64,
    stride: u64,
}

impl<T> Default for Sample<T> {
    fn default() -> Self {
        Self { taken: Vec::new(), offered: 0, stride: 1 }
    }
}

impl<T> Sample<T> {
    fn offer(&mut self, one: impl FnOnce() -> T) {
        if self.offered.is_multiple_of(self.stride) {
            self.taken.push(one());
            if self.taken.len() > SAMPLE_MAX {
                let mut place = 0;
                self.taken.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
                self.stride *= 2;
            }
        }
        self.offered += 1;
    }
}

fn wrong(field: &str, detail: impl Into<String>) -> Refusal {
    Refusal::Fields(vec![FieldProblem { field: field.to_owned(), detail: detail.into() }])
}

/// The fields of a filter as the parameters of a list; those that are empty are left out.
fn params(wanted: &BulkRequest) -> Result<Vec<(String, String)>, Refusal> {
    let mut params = Vec::new();
    for (name, value) in &wanted.filter {
        let field = format!("filter.{name}");
        if !FIELDS.contains(&name.as_str()) {
            return Err(wrong(&field, format!("there is no such field; there are {}", FIELDS.join(", "))));
        }
        let word = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let text = match value {
            Value::Null => continue,
            Value::Array(items) if LISTS.contains(&name.as_str()) => {
                items.iter().map(word).collect::<Option<Vec<String>>>().map(|words| words.join(","))
            }
            value => word(value),
        };
        let text = text.ok_or_else(|| wrong(&field, "must be a text"))?;
        // A shell variable that was never set must not mean everything.
        if text.is_empty() || (LISTS.contains(&name.as_str()) && text.split(',').any(|word| word.trim().is_empty())) {
            return Err(wrong(&field, "is empty, or has an empty word; leave it out if it does not matter"));
        }
        params.push((name.clone(), text));
    }
    if params.is_empty() && !wanted.all {
        let text = "it is empty, which means all deliveries; say \"all\": true if that is what you want";
        return Err(wrong("filter", text));
    }
    Ok(params)
}

/// What a list with these parameters would look for.
fn looked_for(params: &[(String, String)], config: &Config) -> Result<Option<Query>, Refusal> {
    query(&Params(params.to_vec()), config)
}

fn selection(wanted: &BulkRequest, kind: JobKind, config: &Config, now: Timestamp) -> Result<Selection, Refusal> {
    let mut selection = Selection::default();
    let mut rest = Vec::new();
    for (name, text) in params(wanted)? {
        let field = format!("filter.{name}");
        let read = |text: &str| {
            let read = looked_for(&[(name.clone(), text.to_owned())], config);
            read.map_err(|refusal| match refusal {
                Refusal::Bad(detail) => wrong(&field, detail),
                other => other,
            })
        };
        // The index looks for one state and one code at most; more are told apart here.
        match name.as_str() {
            "state" => {
                for word in text.split(',').map(str::trim) {
                    selection.states.extend(read(word)?.and_then(|query| query.state));
                }
            }
            "code" => {
                for word in text.split(',').map(str::trim) {
                    selection.codes.extend(read(word)?.and_then(|query| query.code));
                }
            }
            "q" => selection.text = Some(text.to_lowercase()),
            _ => {
                read(&text)?.ok_or_else(|| wrong(&field, "there is no such webhook"))?;
                rest.push((name, text));
            }
        }
    }
    selection.query = looked_for(&rest, config)?.unwrap_or_default();
    selection.query.until = Some(selection.query.until.map_or(now, |until| until.min(now)));
    match kind {
        JobKind::Resend if selection.states.is_empty() => selection.states = vec![State::Failed],
        JobKind::Resend => {}
        JobKind::Cancel if selection.states.is_empty() || selection.states.contains(&State::Pending) => {
            selection.states = vec![State::Pending];
        }
        JobKind::Cancel => return Err(wrong("filter.state", "only what is pending can be cancelled")),
    }
    Ok(selection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_even_and_bounded() {
        for many in [0_u64, 1, 200, 201, 1_000, 123_456] {
            let mut sample = Sample::default();
            for number in 0..many {
                sample.offer(|| number);
            }
            let taken = sample.taken;
            assert!(taken.len() <= SAMPLE_MAX && taken.len() as u64 >= many.min(SAMPLE_MAX as u64 / 2), "{many}");
            let steps: std::collections::BTreeSet<u64> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(steps.len() <= 1, "{many}: {steps:?}");
        }
    }
}
