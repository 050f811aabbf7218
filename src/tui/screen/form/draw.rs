//! How the form looks: its rows, scrolled so that the field with the focus is seen, and the buttons below.
//!
//! It changes nothing but where the picture begins. A secret is shown as stars unless it was asked for.

use tui_input::Input;

use super::draft::{Draft, SecretText};
use super::field::Field;
use super::layout::{self, Row};
use super::{Form, facts, typing};
use crate::tui::keymap::Action;
use crate::tui::model::Model;
use crate::tui::text::{Shown, fit, plural, shown_text, width, wrapped};
use crate::tui::theme::Role;
use crate::tui::view::pen::Pen;

/// Where values begin.
const VALUE: usize = 19;
/// Lines of a secret that are shown.
const SECRET_LINES_MAX: usize = 8;
const MASK: &str = "********";

/// Columns of the form on a screen of this size.
fn columns(model: &Model) -> usize {
    let all = usize::from(model.size.0);
    if model.is_large() { all * 7 / 12 } else { all }
}

/// Whether boxes have rows of their own.
pub(super) fn is_narrow(model: &Model) -> bool {
    columns(model) < 70
}

impl Form {
    /// What is to be said under a field.
    fn said(&self, model: &Model, field: Field, columns: usize) -> Vec<(String, Role)> {
        let room = columns.saturating_sub(VALUE + 3);
        let mut lines: Vec<(String, Role)> = Vec::new();
        if let Some(problem) = self.problem(field) {
            lines.extend(wrapped(problem, room).into_iter().map(|line| (line, Role::Bad)));
            if let Some((first, _)) = lines.first_mut() {
                first.insert_str(0, "! ");
            }
        }
        if let Some(revealed) = self.revealed.as_ref().filter(|revealed| revealed.field == field) {
            let left = revealed.until.since(model.now).as_secs_f64().ceil();
            let noted = if revealed.noted { "; noted in the audit log" } else { "" };
            lines.push((format!("shown for {left} s{noted}"), Role::Dim));
            let text = wrapped(revealed.value.expose(), room);
            let more = text.len().saturating_sub(SECRET_LINES_MAX);
            lines.extend(text.into_iter().take(SECRET_LINES_MAX).map(|line| (line, Role::Text)));
            if more > 0 {
                lines.push((format!("and {}", plural(more as u64, "more line", "more lines")), Role::Dim));
            }
        }
        lines
    }

    pub(super) fn draw(&self, model: &Model, pen: &mut Pen<'_>) {
        let (all, height) = (pen.width(), pen.height());
        let columns = columns(model).min(all);
        let foot = if model.is_large() { 3 } else { 1 };
        let rows_shown = height.saturating_sub(foot);
        let rows = layout::rows(&self.draft, self.base.key.set, is_narrow(model), &|field| {
            self.said(model, field, columns).len()
        });
        let top = self.scrolled(&rows, rows_shown);
        let mut left = pen.part(0, 0, columns, rows_shown);
        for (y, at) in (top..rows.len()).take(rows_shown).enumerate() {
            self.row(model, &rows, at, y, &mut left);
        }
        let mut below = pen.part(0, rows_shown, columns, foot);
        self.foot(model, &mut below, (top, rows_shown, rows.len()));
        if model.is_large() && all > columns + 2 {
            let mut bar = pen.part(columns, 0, 1, height);
            bar.bar(0);
            let mut right = pen.part(columns + 2, 0, all - columns - 2, height);
            self.pane(model, &mut right);
        }
    }

    /// The first row that is shown: one that has the focus on screen, with its heading and what is said of it.
    fn scrolled(&self, rows: &[Row], height: usize) -> usize {
        let has_focus = |row: &Row| matches!(row, Row::Fields(fields) if fields.contains(&self.focus));
        let limit = rows.len().saturating_sub(height);
        let Some(at) = rows.iter().position(has_focus) else {
            // The buttons are always there.
            self.top.set(self.top.get().min(limit));
            return self.top.get();
        };
        let said = rows[at + 1..].iter().take_while(|row| matches!(row, Row::Said(_))).count();
        let headed = usize::from(at > 0 && matches!(rows[at - 1], Row::Section(_)));
        // A little of what comes next is seen, too.
        let margin = if height > 12 { 2 } else { 1 };
        let lowest = (at + said + 1 + margin).saturating_sub(height).min(at);
        let top = self.top.get().clamp(lowest, (at - headed).max(lowest)).min(limit);
        self.top.set(top);
        top
    }

    fn row(&self, model: &Model, rows: &[Row], at: usize, y: usize, pen: &mut Pen<'_>) {
        match &rows[at] {
            Row::Section(title) => {
                let (title, end) = self.section(model, title);
                pen.rule(y, &title, &end);
            }
            Row::Fixed(label, value) => {
                pen.text(2, y, label, Role::Text);
                pen.text(VALUE, y, value, Role::Dim);
            }
            Row::Said(field) => {
                let line = rows[..at].iter().rev().take_while(|row| **row == Row::Said(*field)).count();
                let columns = pen.width();
                if let Some((text, role)) = self.said(model, *field, columns).get(line) {
                    pen.text(VALUE, y, text, *role);
                }
            }
            Row::Fields(fields) => self.fields(model, fields, y, pen),
        }
    }

    fn section(&self, model: &Model, title: &str) -> (String, String) {
        let key =
            |action, words: &str| typing::key_of(model, action).map_or(String::new(), |key| format!("{key} {words}"));
        let adds = |what: &str| match model.read_only {
            true => String::new(),
            false => format!("{}  {}{what}", key(Action::AddHeader, "add"), key(Action::RemoveHeader, "remove")),
        };
        match title {
            "Headers" => {
                let secret = format!("  {}", key(Action::SecretHeader, "secret"));
                (format!("Headers ({})", self.draft.headers.len()), adds(&secret))
            }
            "Filter" => {
                let number = self.draft.conditions.len();
                (if number == 0 { "Filter".to_owned() } else { format!("Filter ({number}, all must hold)") }, adds(""))
            }
            title => (title.to_owned(), String::new()),
        }
    }

    fn fields(&self, model: &Model, fields: &[Field], y: usize, pen: &mut Pen<'_>) {
        let has_focus = fields.contains(&self.focus);
        let is_wrong = fields.iter().any(|field| self.problem(*field).is_some());
        let is_changed = fields.iter().any(|field| self.draft.is_changed(*field, &self.base)) && !self.is_new();
        pen.text(0, y, if has_focus { ">" } else { " " }, Role::Text);
        if is_wrong {
            pen.text(1, y, "!", Role::Bad);
        } else if is_changed {
            pen.text(1, y, "*", Role::Waiting);
        }
        let columns = pen.width();
        match fields {
            [name @ Field::HeaderName(_), value] => {
                self.value(model, *name, (2, y, VALUE - 3), pen);
                self.value(model, *value, (VALUE, y, columns.saturating_sub(VALUE + 1)), pen);
            }
            [path @ Field::Path(_), test, value @ ..] => {
                self.value(model, *path, (2, y, VALUE - 3), pen);
                self.value(model, *test, (VALUE, y, 11), pen);
                for value in value {
                    self.value(model, *value, (VALUE + 12, y, columns.saturating_sub(VALUE + 13)), pen);
                }
            }
            [first, second] => {
                pen.text(2, y, first.label(), Role::Text);
                let end = if *second == Field::MailBody { 24 } else { columns.saturating_sub(VALUE + 14) };
                self.value(model, *first, (VALUE, y, columns.saturating_sub(VALUE + end)), pen);
                self.value(model, *second, (columns.saturating_sub(end), y, end), pen);
            }
            fields => {
                for field in fields {
                    pen.text(2, y, field.label(), Role::Text);
                    self.value(model, *field, (VALUE, y, columns.saturating_sub(VALUE + 1)), pen);
                }
            }
        }
    }

    /// The value of a field, and a remark behind it where there is room for both.
    fn value(&self, model: &Model, field: Field, (x, y, room): (usize, usize, usize), pen: &mut Pen<'_>) {
        let focus = self.focus == field;
        let remark = self.remark_on(model, field);
        let wanted = self.draft.input(field).map_or(0, |input| width(input.value()));
        let left = room.saturating_sub(width(&remark) + 2);
        let is_secret = self.draft.secret(field).is_some()
            || matches!(field, Field::HeaderValue(at) if self.draft.headers.get(at).is_some_and(|one| one.secret));
        let is_number = field.is_number();
        let fits =
            !remark.is_empty() && left >= if is_number { 6 } else { 18 } && (left > wanted || !focus || is_secret);
        let room = if fits { left } else { room };
        if fits {
            pen.text(x + left + 2, y, &remark, Role::Dim);
        }
        let mut part = pen.part(x, y, room, 1);
        let typed = self.draft.input(field).filter(|input| !input.value().is_empty());
        match typed {
            // The stars of a long one would say nothing, and stand in the way of what does.
            Some(_) if is_secret && !focus => {
                part.text(0, 0, &format!("{MASK} (new)"), Role::Text);
            }
            Some(input) if is_secret => {
                let stars = "*".repeat(input.value().chars().count());
                part.field(0, 0, room, &Input::new(stars).with_cursor(input.cursor()), focus);
            }
            Some(input) => part.field(0, 0, room, input, focus),
            None => {
                let (text, role) = self.without_input(model, field, room, &part);
                let end = part.text(0, 0, &text, role);
                let is_line = self.draft.input(field).is_some();
                if focus && is_line {
                    part.choose(0, 0, 1);
                } else if focus {
                    part.choose(0, 0, end.max(1));
                }
            }
        }
    }

    /// What stands for a value that is not typed.
    fn without_input(&self, model: &Model, field: Field, room: usize, pen: &Pen<'_>) -> (String, Role) {
        let tick =
            |words: &str| (format!("[{}] {words}", if self.draft.ticked(field) { 'x' } else { ' ' }), Role::Text);
        let secret = |secret: &SecretText| kept_words(model, secret);
        match field {
            Field::Types => (types_words(model, &self.draft, room, pen), Role::Text),
            Field::Active => tick("Active"),
            Field::Paused => tick("Paused"),
            Field::KeepOld => tick("signs as well for 24 hours"),
            Field::MailBody if is_narrow(model) => tick("send webhook body to email"),
            Field::MailBody => tick("send body to email"),
            Field::OAuth => tick("on"),
            Field::Ordered => tick("one at a time, in order"),
            Field::Backoff => {
                (format!("< {} >", if self.draft.exponential { "exponential" } else { "fixed" }), Role::Text)
            }
            Field::Test(at) => {
                let word = self.draft.conditions.get(at).map_or("", |one| one.test.word());
                (format!("< {word} >"), Role::Text)
            }
            Field::AddHeader => ("none; Space adds one".to_owned(), Role::Dim),
            Field::AddCondition => ("every event of the type; Space adds a condition".to_owned(), Role::Dim),
            Field::Ca => pem_words(&self.draft.ca, "the system's alone"),
            Field::Certificate => pem_words(&self.draft.certificate, "none"),
            Field::HeaderName(_) => ("name".to_owned(), Role::Dim),
            Field::HeaderValue(at) => match self.draft.headers.get(at) {
                Some(header) if header.is_kept() => (format!("{MASK} (set)"), Role::Text),
                _ => ("value".to_owned(), Role::Dim),
            },
            Field::Path(_) => ("/path".to_owned(), Role::Dim),
            Field::Value(_) => ("JSON value".to_owned(), Role::Dim),
            Field::Url => ("https://".to_owned(), Role::Dim),
            Field::Rate => ("no limit".to_owned(), Role::Dim),
            Field::Count | Field::Interval | Field::IntervalMax | Field::Timeout | Field::InFlight if self.is_new() => {
                ("default".to_owned(), Role::Dim)
            }
            Field::MailTo => ("nobody".to_owned(), Role::Dim),
            field => self.draft.secret(field).map_or((String::new(), Role::Text), secret),
        }
    }

    /// What stands behind a field.
    fn remark_on(&self, model: &Model, field: Field) -> String {
        let key = |action: Action, words: &str| match typing::key_of(model, action) {
            Some(key) if !(model.read_only && action.mutates()) => format!("{key}: {words}"),
            _ => String::new(),
        };
        let show = |there: bool| if there { key(Action::Reveal, "show") } else { String::new() };
        let secret = self.draft.secret(field).is_some_and(SecretText::is_there);
        match field {
            Field::Types => key(Action::Schema, "JSON schema"),
            Field::Paused if !self.draft.active => "inactive hooks get nothing".to_owned(),
            Field::Paused if self.draft.paused => "deliveries wait".to_owned(),
            Field::HeaderValue(at) => {
                let secret = self.draft.headers.get(at).is_some_and(|one| one.secret);
                if secret { format!("secret  {}", show(true)).trim_end().to_owned() } else { String::new() }
            }
            Field::Key => format!("{}  {}", key(Action::NewKey, "new key"), show(secret)).trim().to_owned(),
            Field::Token => show(secret),
            Field::Request | Field::Ca | Field::Certificate => key(Action::Editor, "$EDITOR"),
            Field::ClientKey => format!("{}  {}", show(secret), key(Action::Editor, "$EDITOR")).trim().to_owned(),
            Field::Count => facts::plan_words(&self.draft, is_narrow(model)).0,
            Field::Interval => facts::plan_words(&self.draft, is_narrow(model)).1,
            Field::Timeout => "connecting, sending and the answer".to_owned(),
            Field::InFlight => "requests under way".to_owned(),
            Field::Rate => "requests begun in a second".to_owned(),
            Field::Ordered if self.draft.ordered => "one that fails holds up the rest".to_owned(),
            _ => String::new(),
        }
    }

    /// The buttons, and what of the form is not on the screen.
    fn foot(&self, model: &Model, pen: &mut Pen<'_>, (top, shown, all): (usize, usize, usize)) {
        let last = pen.height().saturating_sub(1);
        let buttons = layout::buttons(self.is_new(), model.read_only);
        let mut x = 1;
        for button in buttons {
            let begin = x;
            let focus = self.focus == Field::Button(button);
            x = pen.text(x, 0, &format!("{}[ {} ]", if focus { ">" } else { " " }, button.label()), Role::Text);
            if focus {
                pen.choose(begin + 1, 0, (x - begin).saturating_sub(1));
            }
            x += 1;
        }
        let more = match (top > 0, top + shown < all) {
            (true, true) => format!("{top} rows above, {} below", all - top - shown),
            (true, false) => format!("{} above", plural(top as u64, "row", "rows")),
            (false, true) => format!("{} below", plural((all - shown) as u64, "row", "rows")),
            (false, false) => String::new(),
        };
        if x + width(&more) + 2 < pen.width() {
            pen.right(0, &format!("{more} "), Role::Dim);
        }
        if last > 1 {
            pen.text(2, last, "* changed     ! not right     (set): a secret that is kept", Role::Dim);
        }
    }
}

fn kept_words(model: &Model, secret: &SecretText) -> (String, Role) {
    match (secret.set, secret.cleared, &secret.since) {
        (false, ..) => ("none".to_owned(), Role::Dim),
        (true, true, _) => ("none, once it is saved".to_owned(), Role::Text),
        (true, false, None) => (format!("{MASK} (set)"), Role::Text),
        (true, false, Some(since)) => {
            let date = shown_text(Some(since), &model.zone, Shown::Date);
            (format!("{MASK} (set {date})"), Role::Text)
        }
    }
}

fn pem_words(pem: &str, none: &str) -> (String, Role) {
    if pem.is_empty() { (none.to_owned(), Role::Dim) } else { (facts::pem_words(pem), Role::Text) }
}

/// Event types as far as they fit, and how many more there are.
fn types_words(model: &Model, draft: &Draft, room: usize, pen: &Pen<'_>) -> String {
    let labels: Vec<&str> = draft.types.iter().map(|name| model.label_of(name)).collect();
    if labels.is_empty() {
        return "< choose >".to_owned();
    }
    let all = format!("< {} >", labels.join(", "));
    if width(&all) <= room {
        return all;
    }
    for shown in (1..labels.len()).rev() {
        let some = format!("< {} and {} more >", labels[..shown].join(", "), labels.len() - shown);
        if width(&some) <= room {
            return some;
        }
    }
    let more = if labels.len() > 1 { format!(" and {} more", labels.len() - 1) } else { String::new() };
    let first = fit(labels[0], room.saturating_sub(width(&more) + 4), &pen.glyphs()).into_owned();
    format!("< {first}{more} >")
}
