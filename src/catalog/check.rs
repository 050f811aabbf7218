//! A schema that was made ready, and what it finds wrong with a payload.
//!
//! Knows no event types. What it reports is made from the schema alone: payloads are personal
//! data, and a reason travels into answers, logs and screens that the payload itself never sees.
//!
//! Invariant: neither path nor reason holds anything that stands in a payload but not in the
//! schema; a property that the schema does not name shows as `*`.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, JsonType, PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value;

use crate::domain::text::printable;

/// One way in which a payload does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where, as a JSON Pointer; empty for the payload itself.
    pub path: String,
    /// Why, such as `must be a string`. Follows the path in a sentence.
    pub reason: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path.is_empty() { "the payload" } else { &self.path };
        write!(f, "{place} {}", self.reason)
    }
}

/// A schema, ready to check with. Formats (`date`, `email`, …) are not checked: in 2020-12 they are
/// annotations, and an odd mail address is no reason to lose an event.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// Every name in the schema that can stand for a property.
    names: HashSet<String>,
}

/// So many misfits are told.
const MISFITS_MAX: usize = 5;
/// The longest path or reason, in characters.
const TEXT_MAX: usize = 200;
/// In a larger payload the places are not looked for: each misfit found takes memory.
const DETAILED_BYTES_MAX: usize = 256 << 10;
/// Alternatives within alternatives that are looked into.
const DEPTH_MAX: usize = 8;

/// Nothing is fetched, whatever a schema refers to.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("references lead out of the schema; put what is needed into its $defs".into())
    }
}

impl Schema {
    /// Makes a schema (2020-12) ready.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn compile(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
        if !document.is_object() && !document.is_boolean() {
            return Err("must be a JSON object, or true or false".to_owned());
        }
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            // An engine without look-around and back-references, whose time is linear.
            .with_pattern_options(PatternOptions::regex())
            .with_retriever(Nowhere)
            .should_validate_formats(false)
            .build(&document)
            .map_err(|error| {
                // The instance of this error is the schema, which is no secret.
                let place = error.instance_path().as_str();
                let place = if place.is_empty() { String::new() } else { format!("at {place}: ") };
                bounded(&printable(&format!("is not a JSON Schema (2020-12): {place}{error}")))
            })?;
        let mut names = HashSet::new();
        collect_names(&document, &mut names);
        Ok(Self { validator, names })
    }

    /// Everything that is wrong with a payload, as far as it is told; empty when it fits.
    #[must_use]
    pub fn check(&self, payload: &[u8]) -> Vec<Misfit> {
        self.misfits(payload, MISFITS_MAX)
    }

    /// One thing that is wrong with a payload, without looking for others.
    #[must_use]
    pub fn first(&self, payload: &[u8]) -> Option<Misfit> {
        self.misfits(payload, 1).into_iter().next()
    }

    fn misfits(&self, payload: &[u8], most: usize) -> Vec<Misfit> {
        let Ok(value) = serde_json::from_slice::<Value>(payload) else {
            return vec![Misfit { path: String::new(), reason: "is not JSON".to_owned() }];
        };
        if self.validator.is_valid(&value) {
            return Vec::new();
        }
        if payload.len() > DETAILED_BYTES_MAX {
            let reason = "does not fit the schema, and is too large to say where".to_owned();
            return vec![Misfit { path: String::new(), reason }];
        }
        let mut misfits: Vec<Misfit> = Vec::new();
        if most == 1 {
            // All of them are made before the first of many can be taken.
            if let Err(error) = self.validator.validate(&value) {
                self.tell(&error, &value, DEPTH_MAX, &mut misfits);
            }
        } else {
            for error in self.validator.iter_errors(&value) {
                self.tell(&error, &value, DEPTH_MAX, &mut misfits);
                if misfits.len() >= most {
                    break;
                }
            }
        }
        misfits.truncate(most);
        misfits
    }

    fn tell(&self, error: &ValidationError<'_>, payload: &Value, depth: usize, misfits: &mut Vec<Misfit>) {
        let place = error.instance_path().as_str();
        if let Some(alternative) = intended(error.kind()).filter(|_| depth > 0) {
            for inner in alternative.iter().take(MISFITS_MAX) {
                self.tell(inner, payload, depth - 1, misfits);
            }
            return;
        }
        let mut path = self.path(place, payload);
        if let ValidationErrorKind::Required { property } = error.kind()
            && let Some(name) = property.as_str()
        {
            push_segment(&mut path, name);
        }
        let misfit = Misfit { path: bounded(&path), reason: bounded(&reason(error.kind())) };
        if !misfits.contains(&misfit) {
            misfits.push(misfit);
        }
    }

    /// The place in the payload, without names that only the payload knows.
    fn path(&self, pointer: &str, payload: &Value) -> String {
        let mut shown = String::new();
        let mut here = Some(payload);
        for segment in pointer.split('/').skip(1) {
            let name = segment.replace("~1", "/").replace("~0", "~");
            let is_index = matches!(here, Some(Value::Array(_)));
            here = match here {
                Some(Value::Array(items)) => name.parse::<usize>().ok().and_then(|at| items.get(at)),
                Some(Value::Object(fields)) => fields.get(&name),
                _ => None,
            };
            push_segment(&mut shown, if is_index || self.names.contains(&name) { &name } else { "*" });
        }
        shown
    }
}

fn push_segment(path: &mut String, name: &str) {
    path.push('/');
    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// Of several alternatives none fitted. When all but one were plainly not meant, because the value
/// is not even of their type, what is wrong by that one says more.
fn intended(kind: &ValidationErrorKind) -> Option<&[ValidationError<'static>]> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = kind else {
        return None;
    };
    let shallowest = context.iter().flatten().map(|error| error.instance_path().as_str().len()).min()?;
    let is_other = |errors: &[ValidationError<'_>]| {
        errors.iter().any(|error| {
            let is_type = matches!(error.kind(), ValidationErrorKind::Type { .. });
            is_type && error.instance_path().as_str().len() == shallowest
        })
    };
    let mut meant = context.iter().filter(|errors| !errors.is_empty() && !is_other(errors));
    let only = meant.next()?;
    meant.next().is_none().then_some(only)
}

/// Why, by keyword and schema.
fn reason(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Required { .. } => "is required".to_owned(),
        Kind::Type { kind: TypeKind::Single(kind) } => format!("must be {}", article(*kind)),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            format!("must be {}", kinds.iter().map(article).collect::<Vec<_>>().join(" or "))
        }
        Kind::Enum { options } => match options.as_array() {
            Some(options) => format!("must be one of {}", options.iter().map(literal).collect::<Vec<_>>().join(", ")),
            None => "must be one of the values the schema lists".to_owned(),
        },
        Kind::Constant { expected_value } => format!("must be {}", literal(expected_value)),
        Kind::Pattern { pattern } => format!("must match {pattern}"),
        Kind::Format { format } => format!("must be a valid {format}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} properties"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} properties"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::AdditionalItems { limit } => format!("must not have more than {limit} items"),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "has a property that the schema does not allow".to_owned()
        }
        Kind::UnevaluatedItems { .. } => "has an item that the schema does not allow".to_owned(),
        Kind::PropertyNames { .. } => "has a property whose name the schema does not allow".to_owned(),
        Kind::UniqueItems => "must not hold an item twice".to_owned(),
        Kind::Contains => "must hold an item that the schema asks for".to_owned(),
        Kind::AnyOf { .. } => "must fit one of the alternatives in the schema".to_owned(),
        Kind::OneOfNotValid { .. } | Kind::OneOfMultipleValid { .. } => {
            "must fit exactly one of the alternatives in the schema".to_owned()
        }
        Kind::Not { .. } => "must not fit what the schema excludes".to_owned(),
        Kind::FalseSchema => "must not be there".to_owned(),
        // What the library may come to say besides is told by its keyword alone.
        other => format!("does not fit the keyword {}", other.keyword()),
    }
}

const fn article(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "an integer",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "an array",
        JsonType::Object => "an object",
    }
}

/// A value from the schema: words as they are, the rest as JSON.
fn literal(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn bounded(text: &str) -> String {
    if text.chars().count() <= TEXT_MAX {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(TEXT_MAX - 1).collect();
    // Writing to a String can not fail.
    let _ = cut.write_char('…');
    cut
}

/// Names of properties: the keys below `properties` and the like, and what `required` lists. Some
/// that are none come along (a property may be called `properties`); all stand in the schema.
fn collect_names(schema: &Value, names: &mut HashSet<String>) {
    match schema {
        Value::Object(fields) => {
            for (keyword, value) in fields {
                match (keyword.as_str(), value) {
                    ("properties" | "dependentRequired" | "dependentSchemas", Value::Object(listed)) => {
                        names.extend(listed.keys().cloned());
                    }
                    ("required", Value::Array(listed)) => {
                        names.extend(listed.iter().filter_map(Value::as_str).map(ToOwned::to_owned));
                    }
                    _ => {}
                }
                collect_names(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        _ => {}
    }
}
