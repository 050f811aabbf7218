//! The event types there are, with schemas, examples and what did not fit; and the operator's own,
//! defined, changed and removed.
//!
//! What a payload is checked against is `catalog`'s and counting is `ingest`'s. What is built in can
//! not be changed here.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::json;
use serde_json::value::RawValue;

use super::{Admin, Call, Refusal, Reply, no_such, reply};
use crate::admin::protocol::{Done, EventTypeDefinition, EventTypeView, PageView};
use crate::admin::views;
use crate::catalog::{self, Schema};
use crate::domain::event_type::{self, CustomType, Group, KNOWN, KnownType};
use crate::domain::webhook::FieldProblem;
use crate::http::typed;
use crate::store::{Config, StoreError};

/// Fields that are shown but not defined: sent back by whoever edits what was shown, and ignored.
const SHOWN_ONLY: [&str; 11] = [
    "name",
    "wire_name",
    "deprecated",
    "custom",
    "has_schema",
    "has_example",
    "webhooks",
    "drift",
    "unchecked",
    "updated_at",
    "updated_by",
];

/// A type, of either kind.
enum Named {
    BuiltIn(&'static KnownType),
    Own(Arc<CustomType>),
}

impl Admin {
    pub(super) async fn event_types(&self, call: &Call, rest: &[&str]) -> Reply {
        match rest {
            [] => {
                call.only(&Method::GET, "GET")?;
                self.list_event_types()
            }
            [text] => match call.method {
                Method::GET => {
                    let named = self.named(text)?;
                    reply(StatusCode::OK, &self.event_type_view(&named))
                }
                Method::PUT => self.define_event_type(call, text).await,
                Method::DELETE => self.remove_event_type(call, text).await,
                _ => Err(Refusal::Method("GET, PUT, DELETE")),
            },
            [text, part @ ("schema" | "example")] => {
                call.only(&Method::GET, "GET")?;
                self.event_type_text(text, *part == "schema")
            }
            _ => Err(no_such(&format!("/v1/event-types/{}", rest.join("/")))),
        }
    }

    fn list_event_types(&self) -> Reply {
        let config = self.shared.store.config();
        let built_in = KNOWN.iter().map(Named::BuiltIn);
        let own = config.event_types.values().map(|custom| Named::Own(Arc::clone(custom)));
        let items = built_in.chain(own).map(|named| self.event_type_view(&named)).collect();
        reply(StatusCode::OK, &PageView { items, cursor: None })
    }

    fn named(&self, text: &str) -> Result<Named, Refusal> {
        if let Some(known) = KnownType::find(text) {
            return Ok(Named::BuiltIn(known));
        }
        let config = self.shared.store.config();
        config.custom_type(text).map(|custom| Named::Own(Arc::clone(custom))).ok_or_else(|| unknown(text, &config))
    }

    fn event_type_view(&self, named: &Named) -> EventTypeView {
        let config = self.shared.store.config();
        let wanting = |name: &str| config.webhooks.values().filter(|webhook| webhook.wants(name).is_some()).count();
        match named {
            Named::BuiltIn(known) => {
                views::event_type(known, wanting(known.name), &self.shared.ingest.drift(known.name))
            }
            Named::Own(custom) => {
                views::custom_type(custom, wanting(&custom.name), &self.shared.ingest.custom_drift(custom))
            }
        }
    }

    fn event_type_text(&self, text: &str, wants_schema: bool) -> Reply {
        let named = self.named(text)?;
        let found = match &named {
            Named::BuiltIn(known) if wants_schema => catalog::schema(known.name).map(String::from),
            Named::BuiltIn(known) => catalog::example(known.name).map(ToOwned::to_owned),
            Named::Own(custom) if wants_schema => custom.schema.clone(),
            Named::Own(custom) => custom.example.clone(),
        };
        let (part, media_type) =
            if wants_schema { ("schema", "application/schema+json") } else { ("example", "application/json") };
        let name = match &named {
            Named::BuiltIn(known) => known.name,
            Named::Own(custom) => &custom.name,
        };
        let found = found.ok_or_else(|| Refusal::NotFound(format!("the event type {name} has no {part}")))?;
        Ok(typed(StatusCode::OK, media_type, found.into()))
    }

    async fn define_event_type(&self, call: &Call, text: &str) -> Reply {
        not_built_in(text)?;
        let custom = checked(custom_from(call, text)?).await?;
        let (saved, is_new) = self.save_event_type(call, custom).await?;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        let view = saved.map(|custom| self.event_type_view(&Named::Own(custom)));
        reply(status, &view)
    }

    /// Stores the next version of a type that was checked; `true` when it is new.
    pub(super) async fn save_event_type(
        &self,
        call: &Call,
        custom: CustomType,
    ) -> Result<(Option<Arc<CustomType>>, bool), Refusal> {
        let (name, by) = (custom.name.clone(), call.author.name.clone());
        let mut is_new = true;
        let change = |config: &Config| -> Result<Option<CustomType>, Refusal> {
            has_room(config, &custom)?;
            let before = config.event_types.get(&custom.name);
            is_new = before.is_none();
            Ok(Some(match before {
                Some(before) => CustomType {
                    version: before.version + 1,
                    created_at: before.created_at,
                    created_by: before.created_by.clone(),
                    ..custom
                },
                None => custom,
            }))
        };
        let saved = self.shared.store.change_event_type(&name, &by, change).await?;
        self.shared.ingest.types_changed();
        let action = if is_new { "event_type.create" } else { "event_type.edit" };
        self.note(call, action, &name, json!({})).await;
        Ok((saved, is_new))
    }

    async fn remove_event_type(&self, call: &Call, text: &str) -> Reply {
        not_built_in(text)?;
        let Named::Own(custom) = self.named(text)? else { return Err(unknown(text, &Config::default())) };
        self.forget_event_type(call, &custom).await?;
        reply(StatusCode::OK, &Done { done: true })
    }

    /// Removes a type that no webhook asks for.
    pub(super) async fn forget_event_type(&self, call: &Call, custom: &CustomType) -> Result<(), Refusal> {
        let change = |config: &Config| -> Result<Option<CustomType>, Refusal> {
            if !config.event_types.contains_key(&custom.name) {
                return Err(unknown(&custom.name, config));
            }
            let wanting = config.webhooks.values().filter(|webhook| webhook.exists());
            let wanting = wanting.filter(|webhook| webhook.event_types.contains(&custom.name));
            let names: Vec<&str> = wanting.map(|webhook| webhook.name.as_str()).collect();
            if names.is_empty() {
                return Ok(None);
            }
            let names = names.join(", ");
            Err(Refusal::Taken(format!("webhooks are subscribed to {}: {names}; unsubscribe them first", custom.name)))
        };
        self.shared.store.change_event_type(&custom.name, &call.author.name, change).await?;
        self.shared.ingest.types_changed();
        self.note(call, "event_type.delete", &custom.name, json!({})).await;
        Ok(())
    }
}

/// A type that is sound, or everything that is wrong with it.
pub(super) async fn checked(custom: CustomType) -> Result<CustomType, Refusal> {
    // Making a schema ready takes a while, and its patterns may take a while longer.
    let checked = tokio::task::spawn_blocking(move || {
        let problems = problems_of(&custom);
        (custom, problems)
    });
    let (custom, problems) = checked.await.map_err(|error| Refusal::Store(StoreError::Io(error.to_string())))?;
    if problems.is_empty() { Ok(custom) } else { Err(Refusal::Fields(problems)) }
}

fn not_built_in(text: &str) -> Result<(), Refusal> {
    match KnownType::find(text) {
        Some(known) => Err(Refusal::Taken(format!("the event type {} is built in", known.name))),
        None => Ok(()),
    }
}

fn unknown(text: &str, config: &Config) -> Refusal {
    let names = KNOWN.iter().map(|known| known.name).chain(config.event_types.keys().map(String::as_str));
    let nearest = event_type::nearest(text, names);
    let text: String = text.chars().take(80).collect();
    Refusal::NotFound(match nearest.first() {
        Some(nearest) => format!("there is no event type {text:?}; did you mean {nearest}?"),
        None => format!("there is no event type {text:?}"),
    })
}

/// What can be defined, besides what is shown only.
const DEFINED: [&str; 5] = ["label", "group", "meaning", "schema", "example"];

/// What a document says. A label that is left out is the name as it was written.
fn custom_from(call: &Call, text: &str) -> Result<CustomType, Refusal> {
    let wrong = |error: serde_json::Error| Refusal::Bad(format!("the body is not what it should be: {error}"));
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(&call.body).map_err(wrong)?;
    let definition: EventTypeDefinition = serde_json::from_slice(&call.body).map_err(wrong)?;
    let is_known = |field: &str| DEFINED.contains(&field) || SHOWN_ONLY.contains(&field);
    let odd = fields.keys().filter(|field| !is_known(field));
    let mut problems: Vec<FieldProblem> =
        odd.map(|field| FieldProblem::new(field.clone(), "there is no such field")).collect();
    let group = match definition.group.as_deref() {
        None => Some(Group::Other),
        Some(text) => Group::parse(text),
    };
    if group.is_none() {
        problems.push(FieldProblem::new("group", "must be KYC, AML, KYB or Other"));
    }
    if !problems.is_empty() {
        return Err(Refusal::Fields(problems));
    }
    let raw = |value: Option<Box<RawValue>>| value.map(|value| value.get().to_owned()).filter(|text| text != "null");
    Ok(CustomType {
        name: event_type::canonical(text),
        label: definition.label.unwrap_or_else(|| text.trim().to_owned()),
        group: group.unwrap_or(Group::Other),
        meaning: definition.meaning.unwrap_or_default(),
        schema: raw(definition.schema),
        example: raw(definition.example),
        version: 1,
        created_at: call.author.now,
        created_by: call.author.name.clone(),
        updated_at: call.author.now,
        updated_by: call.author.name.clone(),
    })
}

/// Everything that is wrong with it, its schema and its example.
fn problems_of(custom: &CustomType) -> Vec<FieldProblem> {
    let mut problems = custom.problems();
    let is_sound = |problems: &[FieldProblem], field: &str| !problems.iter().any(|problem| problem.field == field);
    let Some(text) = custom.schema.as_deref().filter(|_| is_sound(&problems, "schema")) else { return problems };
    match Schema::compile(text) {
        Err(why) => problems.push(FieldProblem::new("schema", why)),
        Ok(schema) => {
            if let Some(example) = custom.example.as_deref().filter(|_| is_sound(&problems, "example")) {
                let misfits = schema.check(example.as_bytes());
                let problem = |misfit: catalog::Misfit| {
                    FieldProblem::new("example", format!("does not fit the schema: {misfit}"))
                };
                problems.extend(misfits.into_iter().map(problem));
            }
        }
    }
    problems
}

/// Whether one more, or a larger one, can be had, and nobody else is called like it.
fn has_room(config: &Config, custom: &CustomType) -> Result<(), Refusal> {
    let others = || config.event_types.values().filter(|other| other.name != custom.name);
    if let Some(other) = others().find(|other| other.is_called(&custom.name) || other.is_called(&custom.label)) {
        return Err(Refusal::Taken(format!("the name or label is taken by the event type {}", other.name)));
    }
    if others().count() >= CustomType::COUNT_MAX {
        return Err(Refusal::Taken(format!("there are {} event types of your own already", CustomType::COUNT_MAX)));
    }
    if others().map(|other| other.bytes()).sum::<usize>() + custom.bytes() > CustomType::ALL_BYTES_MAX {
        let max = CustomType::ALL_BYTES_MAX;
        return Err(Refusal::Taken(format!("all event types of your own together may have {max} bytes")));
    }
    Ok(())
}
