//! The catalog of event types: for each type that ships with postrider the JSON Schema of its
//! payloads and an example, and the check of a payload against a schema.
//!
//! The names, labels and groups of the types are in `domain::event_type`; this holds what belongs
//! to the names. It does not know which types an operator has added, stores nothing, counts
//! nothing, and decides nothing about a payload that does not fit.
//!
//! Invariant: nothing outside the binary is needed. A schema never reaches for a file or the
//! network, and every type in `KNOWN` has a schema, and an example that fits it.

mod check;

pub use check::{Misfit, Schema};

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::domain::event_type::{KNOWN, LEGACY};

/// Schema and example of one type.
struct Entry {
    name: &'static str,
    schema: &'static str,
    example: &'static str,
}

macro_rules! entries {
    ($($name:literal from $schema:literal),+ $(,)?) => {
        [$(Entry {
            name: $name,
            schema: include_str!(concat!("schemas/", $schema, ".json")),
            example: include_str!(concat!("examples/", $name, ".json")),
        }),+]
    };
}

/// In the order of `KNOWN`. The six identity verification events have one schema between them:
/// what differs is put in when it is asked for.
static ENTRIES: [Entry; KNOWN.len()] = entries![
    "ID_VERIFICATION" from "ID_VERIFICATION",
    "ID_VERIFICATION_AUTO_FINISHED" from "ID_VERIFICATION",
    "ID_VERIFICATION_MANUAL_FINISHED" from "ID_VERIFICATION",
    "ID_VERIFICATION_EXPIRED" from "ID_VERIFICATION",
    "ID_VERIFICATION_CANCELED" from "ID_VERIFICATION",
    "ID_VERIFICATION_RESUBMITTED" from "ID_VERIFICATION",
    "DOCUMENT_EXPIRATION" from "DOCUMENT_EXPIRATION",
    "FACIAL_AUTHENTICATION" from "FACIAL_AUTHENTICATION",
    "AML_MONITORING" from "AML_MONITORING",
    "AML_MONITORING_EXPIRATION" from "AML_MONITORING_EXPIRATION",
    "COMPANY_REVIEW" from "COMPANY_REVIEW",
    "COMPANY_DELETE" from "COMPANY_DELETE",
    "COMPANY_AML_REVIEW" from "COMPANY_AML_REVIEW",
    "COMPANY_INFO_REQUEST" from "COMPANY_INFO_REQUEST",
    "COMPANY_EXPIRATION" from "COMPANY_EXPIRATION",
    "COMPANY_SUBMIT" from "COMPANY_SUBMIT",
    "ACCOUNT_CHECK" from "ACCOUNT_CHECK",
    "GOV_ORDERED_DOCUMENT" from "GOV_ORDERED_DOCUMENT",
    "SOS_REPORT" from "SOS_REPORT",
    "BANK_VERIFICATION" from "BANK_VERIFICATION",
];

/// The one identity verification event whose body differs: a manual review is always final.
const MANUAL: &str = "ID_VERIFICATION_MANUAL_FINISHED";

/// What differs in the schema of that event.
const FINAL: (&str, &str) = ("\"final\": {\n   \"type\": \"boolean\"\n  }", "\"final\": {\n   \"const\": true\n  }");

/// Validators, made when they are first needed: most hosts see few of the types.
static VALIDATORS: [OnceLock<Option<Schema>>; KNOWN.len()] = [const { OnceLock::new() }; KNOWN.len()];

fn place(name: &str) -> Option<usize> {
    ENTRIES.iter().position(|entry| entry.name == name)
}

/// The JSON Schema (2020-12) of a type by its canonical name, as one document that needs no other.
#[must_use]
pub fn schema(name: &str) -> Option<Cow<'static, str>> {
    let place = place(name)?;
    let text = ENTRIES[place].schema;
    if name == LEGACY || !name.starts_with(LEGACY) {
        return Some(Cow::Borrowed(text));
    }
    let known = &KNOWN[place];
    let wire = known.wire_name;
    let mut patches = vec![
        ("urn:postrider:event-type:IDENTIFICATION\"".to_owned(), format!("urn:postrider:event-type:{wire}\"")),
        ("\"title\": \"IDENTIFICATION\"".to_owned(), format!("\"title\": \"{wire}\"")),
        (
            "\"x-dashboard-label\": \"ID VERIFICATION\"".to_owned(),
            format!("\"x-dashboard-label\": \"{}\"", known.label),
        ),
        (
            "\"x-idenfy-event-type-header\": \"IDENTIFICATION\"".to_owned(),
            format!("\"x-idenfy-event-type-header\": \"{wire}\""),
        ),
    ];
    if name == MANUAL {
        patches.push((FINAL.0.to_owned(), FINAL.1.to_owned()));
    }
    let patched = patches.iter().fold(text.to_owned(), |text, (from, to)| text.replacen(from, to, 1));
    Some(Cow::Owned(patched))
}

/// An example of a payload of a type, by its canonical name.
#[must_use]
pub fn example(name: &str) -> Option<&'static str> {
    Some(ENTRIES[place(name)?].example)
}

/// What checks payloads of a type, by its canonical name. Made once for each schema, which takes
/// some milliseconds, and shared.
#[must_use]
pub fn validator(name: &str) -> Option<&'static Schema> {
    let mut own = place(name)?;
    // Titles do not matter to a check, so five of the six share one validator.
    if name.starts_with(LEGACY) && name != MANUAL {
        own = place(LEGACY)?;
    }
    VALIDATORS[own].get_or_init(|| Schema::compile(&schema(KNOWN[own].name)?).ok()).as_ref()
}

#[cfg(test)]
mod tests;
