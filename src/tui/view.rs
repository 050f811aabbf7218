//! The whole screen, drawn from the model and from nothing else.
//!
//! Two lines at the top say where one is and how fresh that is, two at the bottom what was said and
//! what can be done; on a small screen one each. Invariant: when all is drawn, no cell holds a
//! character that would steer the terminal or mislead the eye, whatever a screen put there.

pub mod chart;
pub mod pen;
pub mod table;

use ratatui::buffer::Buffer;

use self::pen::Pen;
use super::model::{Asking, Link, Model, Tab};
use super::screen::{deliveries, events, overview, system, webhooks};
use super::text::{Glyphs, Shown, fit, fit_middle, shown, width, zone_name};
use super::theme::Role;
use crate::domain::text::misleads;

/// Draws the screen.
pub fn view(model: &Model, buffer: &mut Buffer) {
    let area = buffer.area;
    let mut pen = Pen::new(buffer, area, &model.theme, model.glyphs);
    if model.is_too_small() {
        too_small(model, &mut pen);
    } else {
        top(model, &mut pen);
        body(model, &mut pen);
        bottom(model, &mut pen);
        for dialog in &model.dialogs {
            dialog.view(model, &mut pen);
        }
    }
    scrub(buffer, model.glyphs == Glyphs::ASCII);
}

/// Whatever a screen forgot to make safe is not shown; nor is what the terminal has no characters for.
fn scrub(buffer: &mut Buffer, ascii: bool) {
    for cell in &mut buffer.content {
        let symbol = cell.symbol();
        if ascii && symbol == "…" {
            cell.set_symbol("~");
        } else if symbol.chars().any(misleads) || (ascii && !symbol.is_ascii()) {
            cell.set_symbol("?");
        }
    }
}

fn too_small(model: &Model, pen: &mut Pen<'_>) {
    let (columns, rows) = model.size;
    let y = pen.height() / 2;
    pen.text(0, y, &format!("need 60x12, have {columns}x{rows}"), Role::Text);
    pen.text(0, y + 1, "q: quit", Role::Dim);
    if let Some(prompt) = &model.prompt {
        let last = pen.height().saturating_sub(1);
        let x = pen.text(0, last, prompt.label, Role::Key);
        let columns = pen.width().saturating_sub(x);
        pen.field(x, last, columns, &prompt.input, true);
    }
}

/// Names of where one is, from the tab on.
fn trail(model: &Model) -> String {
    let mut trail = vec![match model.tab {
        Tab::Deliveries if model.pages.is_empty() && !model.is_small() => "Deliveries (recently sent)".to_owned(),
        tab => tab.title().to_owned(),
    }];
    trail.extend(model.pages.iter().map(|page| page.title()));
    if !model.is_small() {
        trail.insert(0, "postrider".to_owned());
    }
    trail.join(" > ")
}

/// How fresh what is shown is.
fn freshness(model: &Model) -> (String, Role) {
    let clock = |at| format!("{} {}", shown(at, &model.zone, Shown::Time), zone_name(at, &model.zone));
    let read_only = if model.read_only { "READ-ONLY  " } else { "" };
    match (&model.link, model.heard_at) {
        (Link::Lost(since, _), _) => (format!("NOT CONNECTED since {}", clock(*since)), Role::Bad),
        (Link::Connecting, None) => ("connecting …".to_owned(), Role::Waiting),
        (_, Some(at)) => (format!("{read_only}{}  as of {}", model.host, clock(at)), Role::Dim),
        (Link::Up, None) => (format!("{read_only}{}", model.host), Role::Dim),
    }
}

fn remark(model: &Model) -> String {
    match model.pages.last() {
        Some(page) => page.remark(model),
        None => match model.tab {
            Tab::Overview => String::new(),
            Tab::Webhooks => webhooks::remark(model),
            Tab::Deliveries => deliveries::remark(model),
            Tab::Events => events::remark(model),
            Tab::System => system::remark(model),
        },
    }
}

fn top(model: &Model, pen: &mut Pen<'_>) {
    let glyphs = pen.glyphs();
    let (fresh, role) = freshness(model);
    if model.is_small() {
        let remark = remark(model);
        let end = if remark.is_empty() || matches!(model.link, Link::Lost(..)) { fresh } else { remark };
        let room = pen.width().saturating_sub(width(&end) + 4);
        pen.text(1, 0, &fit_middle(&trail(model), room, &glyphs), Role::Title);
        return pen.right(0, &format!("{end} "), role);
    }
    let room = pen.width().saturating_sub(width(&fresh) + 4);
    pen.text(1, 0, &fit_middle(&trail(model), room, &glyphs), Role::Title);
    pen.right(0, &format!("{fresh} "), role);
    let mut x = 1;
    for (at, tab) in Tab::ALL.into_iter().enumerate() {
        let chosen = tab == model.tab;
        let (open, close) = if chosen { ('[', ']') } else { (' ', ' ') };
        let begin = x;
        x = pen.text(
            x,
            1,
            &format!("{open}{} {}{close}", at + 1, tab.title()),
            if chosen { Role::Heading } else { Role::Text },
        );
        if chosen {
            pen.choose(begin + 1, 1, x - begin - 2);
        }
        x += 1;
    }
    let remark = remark(model);
    let room = pen.width().saturating_sub(x + 2);
    let shown = fit(&remark, room, &glyphs).into_owned();
    let role = if shown.starts_with("PAUSED") { Role::Waiting } else { Role::Dim };
    pen.right(1, &format!("{shown} "), role);
}

/// The tab whose name stands at this column of the second line.
#[must_use]
pub fn tab_at(column: usize) -> Option<Tab> {
    let mut x = 1;
    for tab in Tab::ALL {
        let end = x + tab.title().len() + 4;
        if (x..end).contains(&column) {
            return Some(tab);
        }
        x = end + 1;
    }
    None
}

fn body(model: &Model, pen: &mut Pen<'_>) {
    let y = if model.is_small() { 1 } else { 2 };
    let columns = pen.width();
    let mut body = pen.part(0, y, columns, model.body_height());
    match model.pages.last() {
        Some(page) => page.view(model, &mut body),
        None => match model.tab {
            Tab::Overview => overview::view(model, &mut body),
            Tab::Webhooks => webhooks::view(model, &mut body),
            Tab::Deliveries => deliveries::view(model, &mut body),
            Tab::Events => events::view(model, &mut body),
            Tab::System => system::view(model, &mut body),
        },
    }
}

/// What was said, or what there is to say; and what can be done.
fn bottom(model: &Model, pen: &mut Pen<'_>) {
    let last = pen.height().saturating_sub(1);
    let said = if model.is_small() { last } else { last.saturating_sub(1) };
    if !model.is_small() || (model.prompt.is_none() && model.note.is_none()) {
        hints(model, pen, last);
    }
    if let Some(prompt) = &model.prompt {
        suggestions(model, pen, said);
        let columns = pen.width();
        pen.part(0, said, columns, 1).clear();
        let x = pen.text(1, said, prompt.label, Role::Key);
        let columns = pen.width().saturating_sub(x + 1);
        return pen.field(x, said, columns, &prompt.input, true);
    }
    if let Some(note) = &model.note {
        let columns = pen.width();
        pen.part(0, said, columns, 1).clear();
        let (mark, role) = if note.bad { ("! ", Role::Bad) } else { ("", Role::Text) };
        pen.text(1, said, &format!("{mark}{}", note.text), role);
        return;
    }
    if model.is_small() {
        return;
    }
    if let Link::Lost(_, why) = &model.link {
        pen.text(1, said, &format!("! {why}; trying again, nothing typed is lost"), Role::Bad);
    } else if let Some((text, role)) = model.pages.last().and_then(|page| page.status(model)) {
        pen.text(1, said, &text, role);
    } else if !model.deliveries.marked.is_empty() && model.tab == Tab::Deliveries && model.pages.is_empty() {
        let number = model.deliveries.marked.len();
        pen.text(1, said, &format!("{number} marked.  R: resend {number}   X: stop {number}   Esc: clear"), Role::Text);
    } else if let (Tab::Overview, true) = (model.tab, model.pages.is_empty())
        && let Some((text, role)) = overview::verdict(model, pen.width())
    {
        pen.text(1, said, &text, role);
    }
}

/// The keys that are most useful here, from the same table as the keys themselves.
fn hints(model: &Model, pen: &mut Pen<'_>, y: usize) {
    // A dialog shows its own keys, and those of the page below it do nothing.
    if !model.dialogs.is_empty() {
        return;
    }
    let mut x = 1;
    let offered = |action| model.pages.last().is_none_or(|page| page.offers(action));
    let hints = model.keymap.hints(model.context(), model.read_only);
    let help = model.keymap.keys(model.context(), super::keymap::Action::Help).first().copied();
    let help = help.map_or(String::new(), |key| format!("{key}:help"));
    let end = pen.width().saturating_sub(width(&help) + 3);
    for (key, _, words) in hints.into_iter().filter(|(_, action, words)| *words != "help" && offered(*action)) {
        let key = key.to_string();
        // A colon behind the colon would be a riddle.
        let words = if key == ":" { words.to_owned() } else { format!(":{words}") };
        if x + width(&key) + width(&words) > end {
            break;
        }
        x = pen.text(x, y, &key, Role::Key);
        x = pen.text(x, y, &words, Role::Text) + 2;
    }
    pen.text(x, y, &help, Role::Key);
}

/// What may be meant by the command that is being typed, above the line.
fn suggestions(model: &Model, pen: &mut Pen<'_>, y: usize) {
    let Some(prompt) = model.prompt.as_ref().filter(|prompt| prompt.asking == Asking::Command) else { return };
    let found = super::palette::matches(model, prompt.input.value());
    let rows = found.len().min(8).min(y.saturating_sub(3));
    if rows == 0 {
        return;
    }
    let columns = pen.width();
    let mut part = pen.part(0, y - rows - 1, columns, rows + 1);
    part.clear();
    part.rule(0, "Commands", "Tab: complete   Enter: do what > marks");
    for (at, one) in found.iter().take(rows).enumerate() {
        let mark = if one.sure { ">" } else { " " };
        let role = if one.sure { Role::Heading } else { Role::Text };
        let x = part.text(1, at + 1, &format!("{mark} {}", one.completion.trim_end()), role);
        let x = if one.arguments.is_empty() { x } else { part.text(x + 1, at + 1, one.arguments, Role::Dim) };
        part.text(x.max(26) + 2, at + 1, &one.help, Role::Dim);
    }
}
