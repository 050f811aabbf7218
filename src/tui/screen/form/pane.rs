//! What stands beside the form on a large screen: what the field means, the request as it will be sent,
//! and what a save changes.
//!
//! It is a preview made here: what is sent in truth is told by a test.

use super::Form;
use super::draft::Draft;
use super::field::Field;
use crate::tui::message::{Ask, Effects};
use crate::tui::model::Model;
use crate::tui::text::{plural, wrapped};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// Lines of the example that are shown.
const EXAMPLE_LINES: usize = 6;

impl Form {
    /// Gets an example payload for the preview, if there is a preview.
    pub(super) fn want_example(&mut self, model: &Model, out: &mut Effects) {
        if !model.is_large() {
            return;
        }
        let Some(name) = self.draft.types.first() else { return };
        let has_one = model.types.iter().any(|one| one.name == *name && one.has_example);
        if has_one && self.example.as_ref().is_none_or(|(of, _)| of != name) {
            self.example = Some((name.clone(), None));
            out.ask(Ask::TypeExample(name.clone()));
        }
    }

    pub(super) fn pane(&self, model: &Model, pen: &mut Pen<'_>) {
        let mut lines: Vec<(String, Role)> = Vec::new();
        let columns = pen.width().saturating_sub(1);
        lines.push((self.focus.label().to_owned(), Role::Heading));
        lines.extend(wrapped(self.focus.help(), columns).into_iter().map(|line| (line, Role::Text)));
        if self.focus == Field::Types {
            self.meanings(model, columns, &mut lines);
        }
        lines.push((String::new(), Role::Text));
        lines.push(("Request preview".to_owned(), Role::Heading));
        lines.extend(request(&self.draft).into_iter().map(|line| (line, Role::Text)));
        self.example_lines(&mut lines);
        lines.push((String::new(), Role::Text));
        let mut changes: Vec<(String, Role)> = Vec::new();
        self.change_lines(model, columns, &mut changes);
        // What changes matters more than the end of the preview.
        let room = pen.height().saturating_sub(changes.len().min(pen.height() / 2) + 1);
        if lines.len() > room {
            lines.truncate(room.saturating_sub(1));
            lines.push((String::new(), Role::Text));
        }
        lines.extend(changes);
        for (y, (text, role)) in lines.iter().take(pen.height()).enumerate() {
            pen.text(0, y, text, *role);
        }
    }

    fn meanings(&self, model: &Model, columns: usize, lines: &mut Vec<(String, Role)>) {
        for name in self.draft.types.iter().take(3) {
            let Some(kind) = model.types.iter().find(|one| one.name == *name) else { continue };
            lines.push((String::new(), Role::Text));
            lines.push((kind.label.clone(), Role::Text));
            lines.extend(wrapped(&kind.meaning, columns).into_iter().map(|line| (line, Role::Dim)));
        }
    }

    fn example_lines(&self, lines: &mut Vec<(String, Role)>) {
        let Some((_, Some(text))) = &self.example else { return };
        let pretty = serde_json::from_str::<serde_json::Value>(text)
            .ok()
            .and_then(|value| serde_json::to_string_pretty(&value).ok())
            .unwrap_or_else(|| text.clone());
        lines.push((String::new(), Role::Text));
        let number = pretty.lines().count();
        lines.extend(pretty.lines().take(EXAMPLE_LINES).map(|line| (line.to_owned(), Role::Text)));
        if number > EXAMPLE_LINES {
            let more = plural((number - EXAMPLE_LINES) as u64, "more line", "more lines");
            lines.push((format!("  ... {more}"), Role::Dim));
        }
    }

    fn change_lines(&self, model: &Model, columns: usize, lines: &mut Vec<(String, Role)>) {
        let Some(hook) = &self.hook else {
            lines.push(("A new webhook".to_owned(), Role::Heading));
            lines.extend(
                wrapped("What is left empty has the defaults that the daemon is configured with.", columns)
                    .into_iter()
                    .map(|line| (line, Role::Text)),
            );
            return;
        };
        lines.push(("What changes when you save".to_owned(), Role::Heading));
        let changes = self.changes(model);
        if changes.is_empty() {
            lines.push(("nothing".to_owned(), Role::Dim));
            return;
        }
        for change in &changes {
            let before = change.before.as_ref().map(|before| (format!("- {}: {before}", change.label), Role::Text));
            let after = change.after.as_ref().map(|after| (format!("+ {}: {after}", change.label), Role::Heading));
            lines.extend(before.into_iter().chain(after));
        }
        if hook.lane.pending > 0 {
            let waiting = plural(hook.lane.pending, "waiting delivery goes", "waiting deliveries go");
            lines.push((String::new(), Role::Text));
            let text = format!("{waiting} by what is saved, from the next try on.");
            lines.extend(wrapped(&text, columns).into_iter().map(|line| (line, Role::Dim)));
        }
    }
}

/// The request line and the headers, secrets masked.
fn request(draft: &Draft) -> Vec<String> {
    let Ok(url) = url::Url::parse(draft.url.value().trim()) else {
        return vec!["(no receiver URL yet)".to_owned()];
    };
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = url.port().map_or_else(
        || url.host_str().unwrap_or("").to_owned(),
        |port| format!("{}:{port}", url.host_str().unwrap_or("")),
    );
    let mut lines =
        vec![format!("POST {path} HTTP/1.1"), format!("host: {host}"), "content-type: application/json".to_owned()];
    for header in &draft.headers {
        let value = if header.secret { "********" } else { header.value.value() };
        lines.push(format!("{}: {value}", header.name.value().to_lowercase()));
    }
    if draft.oauth {
        lines.push("authorization: Bearer ********".to_owned());
    }
    lines.push("webhook-id: evt_...".to_owned());
    lines.push("webhook-timestamp: ...".to_owned());
    if draft.key.is_there() {
        lines.push("webhook-signature: v1,********".to_owned());
    }
    lines
}
