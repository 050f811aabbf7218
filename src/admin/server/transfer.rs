//! Exporting and importing the configuration: a plan first, and all of it checked before anything
//! is changed.
//!
//! What the document means is decided in `transfer`. Invariant: an import changes no webhook that
//! has changed since its plan was made.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use super::audit;
use super::event_types::checked;
use super::webhooks::{name_is_free, still_there};
use super::{Admin, Call, Refusal, Reply, reply};
use crate::admin::protocol::{ImportChange, ImportView};
use crate::admin::transfer::{self, MARK, VERSION};
use crate::admin::writes::{self, OwnTypes};
use crate::domain::event_type::CustomType;
use crate::domain::id::WebhookId;
use crate::domain::text::printable;
use crate::domain::webhook::{FieldProblem, Webhook};
use crate::store::{Config, StoreError};

/// More than this is a mistake rather than a configuration.
const WEBHOOKS_MAX: usize = 10_000;
/// Webhooks that are checked at a time.
const CHECKS_AT_ONCE: usize = 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportInput {
    document: Value,
    /// Delete what the document does not name.
    #[serde(default)]
    prune: bool,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    dry_run: bool,
}

type Documents = Vec<Map<String, Value>>;

/// What one step of an import is about.
enum Subject {
    Webhook(Box<Webhook>),
    EventType(Box<CustomType>),
}

/// One step of an import.
struct Step {
    change: ImportChange,
    subject: Subject,
}

impl Step {
    fn webhook(action: &str, fields: Vec<String>, webhook: Webhook) -> Self {
        let change = change("webhook", action, &webhook.name, fields);
        Self { change, subject: Subject::Webhook(Box::new(webhook)) }
    }

    fn event_type(action: &str, fields: Vec<String>, custom: CustomType) -> Self {
        let change = change("event_type", action, &custom.name, fields);
        Self { change, subject: Subject::EventType(Box::new(custom)) }
    }
}

impl Admin {
    /// `GET /v1/export`: everything that is configured, secrets sealed under the master key.
    pub(super) fn export(&self, call: &Call) -> Reply {
        call.only(&Method::GET, "GET")?;
        call.check_params(&[])?;
        let config = self.shared.store.config();
        let mut webhooks: Vec<&Arc<Webhook>> = config.webhooks.values().filter(|webhook| webhook.exists()).collect();
        webhooks.sort_by(|a, b| a.name.cmp(&b.name));
        let seal = |kind: &str, secret: &_| self.shared.store.seal_for_export(kind, secret);
        let webhooks: Vec<Value> = webhooks.iter().map(|webhook| transfer::exported(webhook, &seal)).collect();
        let mut document = json!({MARK: VERSION, "webhooks": webhooks});
        if !config.event_types.is_empty() {
            document["event_types"] =
                config.event_types.values().map(|custom| transfer::exported_type(custom)).collect();
        }
        reply(StatusCode::OK, &document)
    }

    /// `POST /v1/import`.
    pub(super) async fn import(&self, call: &Call) -> Reply {
        call.only(&Method::POST, "POST")?;
        let input: ImportInput = serde_json::from_slice(&call.body)
            .map_err(|error| Refusal::Bad(format!("the body is not what it should be: {error}")))?;
        let (types, webhooks) = sections(input.document)?;
        // Two at once would plan against what the other is changing.
        let Ok(_turn) = self.shared.imports.try_acquire() else {
            return Err(Refusal::Busy("an import is under way; wait until it has ended".to_owned()));
        };
        let config = self.shared.store.config();
        let mut problems = Vec::new();
        // Types come before the webhooks that ask for them, and go after them.
        let mut steps = plan_types(call, &config, &types, &mut problems).await?;
        let own_types = known_with(&config, &steps, input.prune);
        problems.extend(room_for(&own_types));
        steps.extend(self.plan_webhooks(call, &config, webhooks, &own_types, &mut problems).await?);
        if !problems.is_empty() {
            return Err(Refusal::Fields(problems));
        }
        if input.prune {
            steps.extend(pruned(&config, &steps));
        }
        let mut changes: Vec<ImportChange> = steps.iter().map(|step| step.change.clone()).collect();
        if !input.dry_run {
            for (step, change) in steps.into_iter().zip(&mut changes) {
                if let Err(refusal) = self.apply(call, step).await {
                    // What came before it stands, and is said to.
                    change.problem = Some(refusal.detail());
                    break;
                }
                change.applied = true;
            }
        }
        reply(StatusCode::OK, &ImportView { dry_run: input.dry_run, changes })
    }

    /// What each document would change; all that is wrong with any of them is told at once.
    async fn plan_webhooks(
        &self,
        call: &Call,
        config: &Config,
        documents: Documents,
        own_types: &OwnTypes,
        all: &mut Vec<FieldProblem>,
    ) -> Result<Vec<Step>, Refusal> {
        let existing = config.webhooks.values().filter(|webhook| webhook.exists());
        let by_name: HashMap<&str, &Webhook> = existing.map(|webhook| (webhook.name.as_str(), &**webhook)).collect();
        let mut seen = HashSet::new();
        let mut checks = VecDeque::new();
        let mut steps: Vec<Step> = Vec::with_capacity(documents.len());
        for (place, mut document) in documents.into_iter().enumerate() {
            let name = document.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let current = by_name.get(name.as_str()).copied();
            let open = |kind: &str, sealed: &str| self.shared.store.open_exported(kind, sealed);
            let mut problems = transfer::open_secrets(&mut document, current.is_none(), &open);
            if !seen.insert(name.clone()) {
                problems.push(FieldProblem::new("name", "is there twice"));
            }
            let (webhook, wrong) = self.imported(call, current, document, own_types);
            problems.extend(wrong);
            let fields = current.map(|current| transfer::differences(current, &webhook));
            // Checking asks for names, which may take seconds each: several at a time, in tasks, so that
            // nobody else waits for this one.
            let admin = self.clone();
            checks.push_back(tokio::spawn(async move {
                let checked = admin.check(&webhook, problems).await;
                (place, name, webhook, fields, checked)
            }));
            if checks.len() >= CHECKS_AT_ONCE {
                take_check(&mut checks, &mut steps, all).await?;
            }
        }
        while !checks.is_empty() {
            take_check(&mut checks, &mut steps, all).await?;
        }
        Ok(steps)
    }

    /// The webhook a document stands for. What it leaves out has its default, except that secrets
    /// are kept, and whether it is paused.
    fn imported(
        &self,
        call: &Call,
        current: Option<&Webhook>,
        document: Map<String, Value>,
        own_types: &OwnTypes,
    ) -> (Webhook, Vec<FieldProblem>) {
        let defaults = &self.shared.options.load().defaults;
        let document = Value::Object(document);
        match current {
            Some(current) => {
                let (mut webhook, problems) = writes::replaced(current, &document, &call.author, defaults, own_types);
                webhook.paused = current.paused;
                (webhook, problems)
            }
            None => {
                let id = WebhookId::new(call.author.now, self.shared.store.random().bits());
                let mut webhook = writes::blank(id, &call.author, defaults);
                let problems = writes::merge(&mut webhook, &document, &call.author, defaults, own_types);
                (webhook, problems)
            }
        }
    }

    async fn apply(&self, call: &Call, step: Step) -> Result<(), Refusal> {
        let action = step.change.action.as_str();
        match step.subject {
            _ if action == "unchanged" => Ok(()),
            Subject::EventType(custom) if action == "delete" => self.forget_event_type(call, &custom).await,
            Subject::EventType(custom) => self.save_event_type(call, *custom).await.map(drop),
            Subject::Webhook(webhook) if action == "create" => {
                let saved = self.save(call, *webhook, name_is_free).await?;
                self.note_webhook(call, "webhook.create", &saved, audit::created(&saved)).await;
                Ok(())
            }
            Subject::Webhook(mut webhook) => {
                let before = self.find_webhook(&webhook.id.to_string())?;
                if action == "delete" {
                    webhook.deleted_at = Some(call.author.now);
                    let saved = self.save(call, *webhook, still_there).await?;
                    self.note_webhook(call, "webhook.delete", &saved, Map::new()).await;
                } else {
                    let saved = self.save(call, *webhook, still_there).await?;
                    self.note_edit(call, &before, &saved).await;
                }
                Ok(())
            }
        }
    }
}

type Check = JoinHandle<(usize, String, Webhook, Option<Vec<String>>, Result<(), Refusal>)>;

/// Waits for the check that was begun first, so that steps stay in the order of the document.
async fn take_check(
    checks: &mut VecDeque<Check>,
    steps: &mut Vec<Step>,
    all: &mut Vec<FieldProblem>,
) -> Result<(), Refusal> {
    let Some(check) = checks.pop_front() else { return Ok(()) };
    let (place, name, webhook, fields, checked) =
        check.await.map_err(|error| Refusal::Store(StoreError::Io(error.to_string())))?;
    match checked {
        Ok(()) => steps.push(Step::webhook(action(fields.as_ref()), fields.unwrap_or_default(), webhook)),
        Err(Refusal::Fields(problems)) => all.extend(placed("webhooks", place, &name, problems)),
        Err(other) => return Err(other),
    }
    Ok(())
}

async fn plan_types(
    call: &Call,
    config: &Config,
    documents: &Documents,
    all: &mut Vec<FieldProblem>,
) -> Result<Vec<Step>, Refusal> {
    let mut steps: Vec<Step> = Vec::with_capacity(documents.len());
    for (place, document) in documents.iter().enumerate() {
        let written = document.get("name").and_then(Value::as_str).unwrap_or_default();
        let custom = match transfer::imported_type(document, &call.author) {
            Ok(custom) => checked(custom).await,
            Err(problems) => Err(Refusal::Fields(problems)),
        };
        match custom {
            Ok(custom) if steps.iter().any(|step| step.change.name == custom.name) => {
                let twice = vec![FieldProblem::new("name", "is there twice")];
                all.extend(placed("event_types", place, written, twice));
            }
            Ok(custom) => {
                let current = config.event_types.get(&custom.name);
                let fields = current.map(|current| transfer::type_differences(current, &custom));
                steps.push(Step::event_type(action(fields.as_ref()), fields.unwrap_or_default(), custom));
            }
            Err(Refusal::Fields(problems)) => all.extend(placed("event_types", place, written, problems)),
            Err(other) => return Err(other),
        }
    }
    Ok(steps)
}

/// The types that webhooks may ask for once the plan is done.
fn known_with(config: &Config, steps: &[Step], prune: bool) -> OwnTypes {
    let mut types = if prune { OwnTypes::new() } else { config.event_types.clone() };
    for step in steps {
        if let Subject::EventType(custom) = &step.subject {
            types.insert(custom.name.clone(), Arc::new(CustomType::clone(custom)));
        }
    }
    types
}

/// What keeps these types from being all there are.
fn room_for(types: &OwnTypes) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    for custom in types.values() {
        let others = types.values().filter(|other| other.name < custom.name);
        if let Some(other) =
            others.into_iter().find(|other| other.is_called(&custom.name) || other.is_called(&custom.label))
        {
            let detail = format!("{} and {} have the same name or label", other.name, custom.name);
            problems.push(FieldProblem::new("event_types", detail));
        }
    }
    if types.len() > CustomType::COUNT_MAX
        || types.values().map(|one| one.bytes()).sum::<usize>() > CustomType::ALL_BYTES_MAX
    {
        let (count, bytes) = (CustomType::COUNT_MAX, CustomType::ALL_BYTES_MAX);
        let detail = format!("would be more than {count}, or more than {bytes} bytes together");
        problems.push(FieldProblem::new("event_types", detail));
    }
    problems
}

/// Event types and webhooks of a document, which must be an export of a version that is known.
fn sections(document: Value) -> Result<(Documents, Documents), Refusal> {
    let Value::Object(mut document) = document else {
        return Err(Refusal::Bad("the document must be an object".to_owned()));
    };
    match document.remove(MARK) {
        Some(version) if version == VERSION => {}
        Some(version) => {
            return Err(Refusal::Bad(format!("{MARK} = {version} is not known; this version reads {VERSION}")));
        }
        None => return Err(Refusal::Bad(format!("this is no export: {MARK} = {VERSION} is missing"))),
    }
    let mut section = |name: &str| -> Result<Documents, Refusal> {
        let list = document.remove(name).unwrap_or_else(|| json!([]));
        serde_json::from_value(list).map_err(|error| Refusal::Bad(format!("{name} must be a list of objects: {error}")))
    };
    let (types, webhooks) = (section("event_types")?, section("webhooks")?);
    if let Some(unknown) = document.keys().next() {
        return Err(Refusal::Bad(format!("there is no section {unknown:?} in an export")));
    }
    if types.len().max(webhooks.len()) > WEBHOOKS_MAX {
        return Err(Refusal::Bad(format!("there are more than {WEBHOOKS_MAX} webhooks in it")));
    }
    Ok((types, webhooks))
}

/// What becomes of something, from how it differs from what is there.
fn action(differences: Option<&Vec<String>>) -> &'static str {
    match differences {
        None => "create",
        Some(fields) if fields.is_empty() => "unchanged",
        Some(_) => "change",
    }
}

fn change(kind: &str, action: &str, name: &str, fields: Vec<String>) -> ImportChange {
    let (action, kind, name) = (action.to_owned(), kind.to_owned(), name.to_owned());
    ImportChange { action, kind, name, fields, ..ImportChange::default() }
}

/// Problems with the place in the document before their fields.
fn placed(section: &str, place: usize, name: &str, problems: Vec<FieldProblem>) -> Vec<FieldProblem> {
    let shown: String = printable(name).chars().take(64).collect();
    let field = |field: String| format!("{section}[{place}] ({shown}).{field}");
    problems.into_iter().map(|one| FieldProblem::new(field(one.field), one.detail)).collect()
}

/// What the document does not name: webhooks first, so that nothing asks for the types any more.
fn pruned(config: &Config, steps: &[Step]) -> Vec<Step> {
    let all: HashSet<(&str, &str)> =
        steps.iter().map(|step| (step.change.kind.as_str(), step.change.name.as_str())).collect();
    let named = |kind: &str, name: &str| all.contains(&(kind, name));
    let webhooks = config.webhooks.values().filter(|webhook| webhook.exists() && !named("webhook", &webhook.name));
    let types = config.event_types.values().filter(|custom| !named("event_type", &custom.name));
    webhooks
        .map(|webhook| Step::webhook("delete", Vec::new(), Webhook::clone(webhook)))
        .chain(types.map(|custom| Step::event_type("delete", Vec::new(), CustomType::clone(custom))))
        .collect()
}
