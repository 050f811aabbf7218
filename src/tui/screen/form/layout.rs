//! The rows of the form from top to bottom, and the order in which Tab goes through its fields.
//!
//! It knows no values but those that make fields come and go, and draws nothing.

use super::draft::Draft;
use super::field::{Button, Field};

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// The heading of a section.
    Section(&'static str),
    /// Something that can not be changed: label and value.
    Fixed(&'static str, &'static str),
    /// A field, or several beside each other.
    Fields(Vec<Field>),
    /// What is to be known about the field above: a problem, or a secret that is shown.
    Said(Field),
}

/// All rows. `narrow` has one box a row; `said` tells how many lines there are to say under a field.
pub(super) fn rows(draft: &Draft, has_key: bool, narrow: bool, said: &dyn Fn(Field) -> usize) -> Vec<Row> {
    let put = |rows: &mut Vec<Row>, fields: &[Field]| {
        rows.push(Row::Fields(fields.to_vec()));
        for field in fields {
            rows.extend((0..said(*field)).map(|_| Row::Said(*field)));
        }
    };
    let mut rows = vec![Row::Section("General")];
    put(&mut rows, &[Field::Name]);
    put(&mut rows, &[Field::Url]);
    rows.push(Row::Fixed("Type", "Webhook (fixed)"));
    put(&mut rows, &[Field::Types]);
    put(&mut rows, &[Field::Active, Field::Paused]);
    rows.push(Row::Section("Headers"));
    if draft.headers.is_empty() {
        put(&mut rows, &[Field::AddHeader]);
    }
    for at in 0..draft.headers.len() {
        put(&mut rows, &[Field::HeaderName(at), Field::HeaderValue(at)]);
    }
    rows.push(Row::Section("Signing and failure mail"));
    put(&mut rows, &[Field::Key]);
    if has_key && draft.key.typed().is_some() {
        put(&mut rows, &[Field::KeepOld]);
    }
    if narrow {
        put(&mut rows, &[Field::MailTo]);
        put(&mut rows, &[Field::MailBody]);
    } else {
        put(&mut rows, &[Field::MailTo, Field::MailBody]);
    }
    rows.push(Row::Section("OAuth (optional)"));
    put(&mut rows, &[Field::OAuth]);
    if draft.oauth {
        [Field::Endpoint, Field::Token, Field::Request].iter().for_each(|field| put(&mut rows, &[*field]));
    }
    rows.push(Row::Section("Retries"));
    [Field::Count, Field::Interval, Field::Backoff].iter().for_each(|field| put(&mut rows, &[*field]));
    if draft.exponential {
        put(&mut rows, &[Field::IntervalMax]);
    }
    rows.push(Row::Section("Limits"));
    let limits = [Field::Timeout, Field::InFlight, Field::Rate, Field::Ordered];
    limits.iter().for_each(|field| put(&mut rows, &[*field]));
    rows.push(Row::Section("Filter"));
    if draft.conditions.is_empty() {
        put(&mut rows, &[Field::AddCondition]);
    }
    for (at, condition) in draft.conditions.iter().enumerate() {
        let fields = [Field::Path(at), Field::Test(at), Field::Value(at)];
        put(&mut rows, if condition.test.takes_value() { &fields } else { &fields[..2] });
    }
    rows.push(Row::Section("TLS (private certificates)"));
    [Field::Ca, Field::Certificate, Field::ClientKey].iter().for_each(|field| put(&mut rows, &[*field]));
    rows
}

/// The buttons below the rows.
pub(super) fn buttons(is_new: bool, read_only: bool) -> Vec<Button> {
    let all = [Button::Save, Button::Test, Button::Delete, Button::Leave];
    all.into_iter().filter(|button| !(read_only && button.mutates() || is_new && *button == Button::Delete)).collect()
}

/// Fields in the order of Tab, in groups that stand in one row.
pub(super) fn order(rows: &[Row], buttons: &[Button]) -> Vec<Vec<Field>> {
    let fields = rows.iter().filter_map(|row| match row {
        Row::Fields(fields) => Some(fields.clone()),
        _ => None,
    });
    let buttons = buttons.iter().map(|button| Field::Button(*button)).collect();
    fields.chain(std::iter::once(buttons)).collect()
}
