//! The second tab: all webhooks, how they are configured and how they are doing.
//!
//! Everything that changes one is asked of the daemon; what can be taken back says how.

use serde_json::Value;

use crate::admin::client::draft;
use crate::admin::protocol::{DeliveryView, WebhookView};
use crate::tui::dialog::rewrite::Rewrite;
use crate::tui::dialog::{confirm, trial};
use crate::tui::keymap::Action;
use crate::tui::listing::Listing;
use crate::tui::message::{Ask, EditFor, Effect, Effects};
use crate::tui::model::{Asking, Model, Prompt, Topic};
use crate::tui::screen::overview::{percent, sparkline, tries};
use crate::tui::screen::{deliveries, form, schema, words};
use crate::tui::text::{Shown, count, plural, short_url, shown_text, span, took, words as spelled};
use crate::tui::theme::Role;
use crate::tui::update::{act_in_tab, change, is_linked, remember};
use crate::tui::view::pen::Pen;
use crate::tui::view::table::{Cell, Column, Table, cell, text};

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By name.
    #[default]
    Name,
    /// By code of the last attempt.
    Last,
    /// By share of attempts that succeeded.
    Good,
    /// By deliveries that are pending.
    Waiting,
}

impl Sort {
    const ALL: [Self; 4] = [Self::Name, Self::Last, Self::Good, Self::Waiting];

    /// The heading of its column.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Last => "LAST",
            Self::Good => "OK%",
            Self::Waiting => "WAIT",
        }
    }

    /// The one with this heading.
    #[must_use]
    pub fn parse(title: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.title() == title)
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// State of the tab.
#[derive(Clone, Debug, Default)]
pub struct WebhooksTab {
    /// Which is chosen.
    pub list: Listing,
    /// What is looked for.
    pub filter: String,
    /// What it is sorted by.
    pub sort: Sort,
    /// The other way round.
    pub reverse: bool,
}

/// Those that are shown, in order.
fn rows(model: &Model) -> Vec<&WebhookView> {
    let wanted = model.webhooks.filter.to_lowercase();
    let holds = |text: &str| text.to_lowercase().contains(&wanted);
    let mut rows: Vec<&WebhookView> = model
        .hooks
        .iter()
        .flatten()
        .filter(|hook| {
            let kinds = hook.event_types.iter().any(|kind| holds(kind) || holds(model.label_of(kind)));
            wanted.is_empty() || holds(&hook.name) || holds(&hook.url) || kinds
        })
        .collect();
    let share = |hook: &WebhookView| {
        let (tries, good) = model.stats_of(&hook.id).map_or((0, 0), |stats| tries(&stats.series));
        (good * 1_000_000).checked_div(tries).unwrap_or(u64::MAX)
    };
    let last = |hook: &WebhookView| model.stats_of(&hook.id).and_then(|stats| stats.last_code);
    rows.sort_by(|a, b| {
        let order = match model.webhooks.sort {
            Sort::Name => std::cmp::Ordering::Equal,
            // What is worst comes first.
            Sort::Last => last(b).cmp(&last(a)),
            Sort::Good => share(a).cmp(&share(b)),
            Sort::Waiting => b.lane.pending.cmp(&a.lane.pending),
        };
        order.then_with(|| a.name.to_lowercase().cmp(&b.name.to_lowercase()))
    });
    if model.webhooks.reverse {
        rows.reverse();
    }
    rows
}

fn chosen(model: &Model) -> Option<&WebhookView> {
    let selected = model.webhooks.list.selected.as_deref()?;
    rows(model).into_iter().find(|hook| hook.id == selected)
}

/// Rows of the list.
pub(crate) fn height(model: &Model) -> usize {
    let body = model.body_height();
    let pane = if model.is_large() {
        // The pane keeps its place; a short list leaves it more.
        body.saturating_sub(model.hooks.as_ref().map_or(0, Vec::len) + 4).clamp(16, body.saturating_sub(10).max(16))
    } else if model.is_small() {
        0
    } else {
        5
    };
    body.saturating_sub(pane + 2).max(1)
}

/// Keeps a row chosen, and asks for what is shown beside it.
pub(crate) fn refresh(model: &mut Model) {
    let ids: Vec<String> = rows(model).iter().map(|hook| hook.id.clone()).collect();
    let keys: Vec<&str> = ids.iter().map(String::as_str).collect();
    if model.hooks.is_some() {
        model.webhooks.list.settle(&keys);
    }
    if model.is_large() && model.overview.recent.0 != model.webhooks.list.selected {
        model.topic(Topic::Recent).stale = true;
    }
}

pub(crate) fn act(model: &mut Model, action: Action, out: &mut Effects) {
    let ids: Vec<String> = rows(model).iter().map(|hook| hook.id.clone()).collect();
    let keys: Vec<&str> = ids.iter().map(String::as_str).collect();
    let list = &mut model.webhooks.list;
    let page = isize::try_from(list.height.max(1)).unwrap_or(isize::MAX);
    match action {
        Action::Up => return list.by(-1, &keys),
        Action::Down => return list.by(1, &keys),
        Action::HalfUp => return list.by(-(page / 2).max(1), &keys),
        Action::HalfDown => return list.by((page / 2).max(1), &keys),
        Action::PageUp => return list.by(-page, &keys),
        Action::PageDown => return list.by(page, &keys),
        Action::Top => return list.to(0, &keys),
        Action::Bottom => return list.to(usize::MAX, &keys),
        Action::New => return form::create(model),
        Action::Search => {
            let before = model.webhooks.filter.clone();
            model.prompt = Some(Prompt::new(Asking::Search, "find: ").with(before));
            return;
        }
        Action::Back => return model.webhooks.filter.clear(),
        Action::Sort | Action::SortReverse => {
            if action == Action::Sort {
                model.webhooks.sort = model.webhooks.sort.next();
            } else {
                model.webhooks.reverse = !model.webhooks.reverse;
            }
            model.say(format!("sorted by {}", model.webhooks.sort.title()));
            return remember(model, out);
        }
        _ => {}
    }
    if act_in_tab(model, action, out) {
        return;
    }
    let Some(hook) = chosen(model).cloned() else {
        return model.say("there is no webhook here; n makes one");
    };
    act_on(model, action, &hook, out);
}

/// What can be done to one webhook, wherever it is chosen.
pub(crate) fn act_on(model: &mut Model, action: Action, hook: &WebhookView, out: &mut Effects) {
    match action {
        Action::Open => form::open(model, &hook.id),
        Action::Test => test(model, &hook.id, out),
        Action::Toggle => change(model, Ask::Activate(hook.id.clone(), hook.name.clone(), !hook.active), out),
        Action::Pause => change(model, Ask::Pause(hook.id.clone(), hook.name.clone(), true), out),
        Action::Resume => change(model, Ask::Pause(hook.id.clone(), hook.name.clone(), false), out),
        Action::Delete => model.dialogs.push(Box::new(confirm::delete_webhook(hook))),
        Action::Clone => {
            let asking = Asking::CloneName(hook.id.clone());
            model.prompt = Some(Prompt::new(asking, "name of the copy: ").with(format!("{}-copy", hook.name)));
        }
        Action::Recent => deliveries::show_webhook(model, &hook.id),
        Action::Schema => schema::open_types(model, &hook.event_types),
        Action::CopyReference => copy(out, hook.name.clone(), "the name"),
        Action::CopyPayload => copy(out, hook.url.clone(), "the URL"),
        Action::Editor => edit(model, hook, out),
        _ => {}
    }
}

fn copy(out: &mut Effects, text: String, what: &str) {
    out.push(Effect::Copy { text, what: what.to_owned() });
}

/// Tests a webhook as it is saved.
pub(crate) fn test(model: &mut Model, id: &str, out: &mut Effects) {
    let Some(hook) = model.hook(id).cloned() else { return };
    trial::open(model, trial::Trial::of_saved(&hook), out);
}

/// Opens a webhook as TOML in an editor: what can be configured, without secrets.
fn edit(model: &mut Model, hook: &WebhookView, out: &mut Effects) {
    match draft::text(hook) {
        Ok(text) => {
            let purpose = EditFor::Webhook { id: hook.id.clone(), version: hook.version };
            out.push(Effect::Edit { text, suffix: ".toml", purpose });
        }
        Err(why) => model.complain(why),
    }
}

/// The editor was closed. Only what was changed is asked for, with the version that was edited.
pub(crate) fn edited(model: &mut Model, id: &str, version: u32, text: &str, out: &mut Effects) {
    let Some(before) = model.hook(id).cloned() else {
        return model.complain("this webhook is not there any more; nothing was changed");
    };
    if text.trim().is_empty() {
        return model.say("the text was empty: nothing was changed");
    }
    // The dialog has the text until it is saved, so that a mistake loses nothing.
    let dialog = match draft::changed(&before, text) {
        Err(why) => Rewrite::wrong(before, version, text, why),
        Ok(changes) if changes.is_empty() => return model.say("nothing was changed"),
        Ok(_) if !is_linked(model) => Rewrite::wrong(before, version, text, "the daemon does not answer".to_owned()),
        Ok(mut changes) => {
            changes.insert("version".to_owned(), version.into());
            out.ask(Ask::Change(id.to_owned(), Box::new(Value::Object(changes.clone()))));
            Rewrite::sent(before, version, text, changes)
        }
    };
    model.dialogs.push(Box::new(dialog));
}

pub(crate) fn search(model: &mut Model, text: &str) {
    text.clone_into(&mut model.webhooks.filter);
}

/// What stands at the right of the second line.
pub(crate) fn remark(model: &Model) -> String {
    let Some(hooks) = &model.hooks else { return String::new() };
    let off = hooks.iter().filter(|hook| !hook.active).count();
    let shown = rows(model).len();
    let found = if model.webhooks.filter.is_empty() { String::new() } else { format!("{shown} of ") };
    let off = if off > 0 { format!(", {off} off") } else { String::new() };
    format!("{found}{}{off}", hooks.len())
}

fn columns(model: &Model, large: bool) -> Vec<Column> {
    let mut columns = vec![Column::new("NAME", 13).grows(1), Column::new("ST", 6)];
    if !model.is_small() {
        columns.push(Column::new("EVENT TYPE", 16).grows(2));
    }
    columns.push(Column::new("RECEIVER", 14).grows(3).middle());
    columns.push(Column::new("LAST", 4).right());
    columns.push(Column::new("OK%", 4).right());
    columns.push(Column::new("WAIT", 5).right());
    if large {
        columns.push(Column::new("P50", 5).right());
        columns.push(Column::new("P95", 5).right());
        columns.push(Column::new("RETRY", 8));
        columns.push(Column::new("OPTS", 9));
    }
    if model.wide {
        // Everything at its whole width; h and l shift what does not fit.
        for column in &mut columns {
            column.width = match column.title {
                "NAME" => 30,
                "EVENT TYPE" => 50,
                "RECEIVER" => 70,
                _ => column.width,
            };
        }
    }
    columns
}

fn row(model: &Model, hook: &WebhookView) -> Vec<(&'static str, Cell)> {
    let stats = model.stats_of(&hook.id);
    let (word, role) = words::of_webhook(hook);
    let kinds: Vec<&str> = hook.event_types.iter().map(|kind| model.label_of(kind)).collect();
    let last = stats.and_then(|stats| stats.last_code);
    let (tries, good) = stats.map_or((0, 0), |stats| tries(&stats.series));
    let figure = |of: Option<f64>| text(of.map_or("-".to_owned(), took));
    let series = stats.map(|stats| &stats.series);
    vec![
        ("NAME", text(hook.name.clone())),
        ("ST", cell(word, role)),
        ("EVENT TYPE", text(kinds.join(", "))),
        ("RECEIVER", text(short_url(&hook.url))),
        (
            "LAST",
            cell(last.map_or("-".to_owned(), |code| code.to_string()), last.map_or(Role::Dim, words::role_of_code)),
        ),
        ("OK%", text(percent(tries, good))),
        ("WAIT", cell(count(hook.lane.pending), if hook.lane.pending > 0 { Role::Waiting } else { Role::Text })),
        ("P50", figure(series.and_then(|series| series.p50_ms))),
        ("P95", figure(series.and_then(|series| series.p95_ms))),
        ("RETRY", text(format!("{}x{}", hook.retry.count, span(hook.retry.interval_seconds)))),
        ("OPTS", text(options(hook))),
    ]
}

/// A letter for each option that is used.
fn options(hook: &WebhookView) -> String {
    let options = [
        ("H", !hook.headers.is_empty()),
        ("S", hook.signing_key.set),
        ("O", hook.oauth.is_some()),
        ("E", hook.failure_email.is_some()),
        ("F", !hook.filter.is_empty()),
    ];
    let used: Vec<&str> = options.iter().filter(|(_, used)| *used).map(|(letter, _)| *letter).collect();
    used.join(" ")
}

pub(crate) fn view(model: &Model, pen: &mut Pen<'_>) {
    let top = usize::from(!model.is_small());
    let columns = columns(model, model.is_large());
    let table = Table::new(&columns, pen.width(), if model.wide { model.shift + 1 } else { 0 });
    table.headings(pen, top, Some((model.webhooks.sort.title(), !model.webhooks.reverse)));
    let rows = rows(model);
    if rows.is_empty() {
        let text = match &model.hooks {
            None => "waiting for the daemon …",
            Some(hooks) if hooks.is_empty() => "no webhooks yet; n makes one",
            Some(_) => "no webhook matches; Esc shows all",
        };
        pen.text(2, top + 1, text, Role::Text);
        return;
    }
    let list = &model.webhooks.list;
    for (at, hook) in rows.iter().skip(list.top).take(height(model)).enumerate() {
        let all = row(model, hook);
        let find =
            |title| all.iter().find(|(name, _)| *name == title).map(|(_, cell)| cell.clone()).unwrap_or_default();
        let cells: Vec<Cell> = columns.iter().map(|column| find(column.title)).collect();
        table.row(pen, top + 1 + at, &cells, list.selected.as_deref() == Some(hook.id.as_str()), false);
    }
    let y = top + 1 + height(model);
    if let Some(hook) = chosen(model).filter(|_| !model.is_small()) {
        let (columns, rows) = (pen.width(), pen.height().saturating_sub(y));
        let mut part = pen.part(0, y, columns, rows);
        if model.is_large() { pane(model, hook, &mut part) } else { summary(model, hook, &mut part) }
    }
}

/// The chosen webhook in three lines.
fn summary(model: &Model, hook: &WebhookView, pen: &mut Pen<'_>) {
    pen.rule(0, &hook.name, "");
    let mail =
        hook.failure_email.as_ref().map_or("no failure mail".to_owned(), |mail| format!("mail {}", mail.to.join(", ")));
    let plan = format!("{} tries, {} s apart   {mail}", hook.retry.count + 1, hook.retry.interval_seconds);
    let x = pen.text(2, 1, &crate::tui::text::fit_middle(&hook.url, pen.width() / 2 - 4, &pen.glyphs()), Role::Text);
    pen.text(x.max(38) + 2, 1, &plan, Role::Text);
    let yes = |is: bool| if is { "yes" } else { "no" };
    let body = hook.failure_email.as_ref().is_some_and(|mail| mail.include_body);
    let changed = shown_text(Some(&hook.updated_at), &model.zone, Shown::Date);
    let line = format!(
        "headers {}   signed {}   OAuth {}   filter {}   body in mail {}   changed {changed}",
        hook.headers.len(),
        yes(hook.signing_key.set),
        yes(hook.oauth.is_some()),
        yes(!hook.filter.is_empty()),
        yes(body),
    );
    pen.text(2, 2, &line, Role::Text);
    pen.text(2, 3, &standing(model, hook), Role::Text);
}

/// How it is doing, in a line.
fn standing(model: &Model, hook: &WebhookView) -> String {
    let Some(stats) = model.stats_of(&hook.id) else { return format!("{} waiting", hook.lane.pending) };
    let last = stats.last_at.as_deref().map_or("not tried since the start".to_owned(), |at| {
        format!("last {} {}", stats.last_code.unwrap_or(0), shown_text(Some(at), &model.zone, Shown::Time))
    });
    let oldest = stats.oldest_pending_at.as_deref().and_then(|at| model.seconds_since(at));
    let oldest = oldest.map_or(String::new(), |age| format!(", oldest {}", span(age)));
    let (tries, good) = tries(&stats.series);
    let hour =
        if tries == 0 { "none tried".to_owned() } else { format!("{} % ok of {}", percent(tries, good), count(tries)) };
    format!("{last}   {} waiting{oldest}   last hour: {hour}", count(hook.lane.pending))
}

/// The chosen webhook with all there is to it, and its last deliveries beside it.
fn pane(model: &Model, hook: &WebhookView, pen: &mut Pen<'_>) {
    pen.rule(0, &hook.name, "OPTS: H headers  S signed  O OAuth  E failure mail  F filter");
    let half = pen.width() / 2 + 4;
    let rows = pen.height().saturating_sub(1);
    let mut left = pen.part(0, 1, half, rows);
    for (y, (name, value)) in facts(model, hook).iter().enumerate().take(rows) {
        left.text(2, y, name, Role::Dim);
        left.text(14, y, value, Role::Text);
    }
    let series = model.stats_of(&hook.id).map(|stats| &stats.series);
    if let (Some(series), true) = (series, rows > 12) {
        let y = facts(model, hook).len();
        left.text(2, y, "Last hour", Role::Dim);
        let line = sparkline(series, half.saturating_sub(28), &left);
        let x = left.text(14, y, &line, Role::Good);
        left.text(x + 1, y, "share ok", Role::Dim);
    }
    let width = pen.width().saturating_sub(half + 1);
    let mut bar = pen.part(half, 1, 1, rows);
    bar.bar(0);
    let mut right = pen.part(half + 1, 1, width, rows);
    right.text(1, 0, "Last deliveries", Role::Heading);
    if model.overview.recent.0.as_deref() == Some(hook.id.as_str()) {
        let columns = [
            Column::new("TIME", 8),
            Column::new("CODE", 4).right(),
            Column::new("STATE", 7),
            Column::new("SCANREF", 12).grows(1),
            Column::new("TRY", 5).right(),
            Column::new("TOOK", 5).right(),
        ];
        let table = Table::new(&columns, width, 0);
        table.headings(&mut right, 1, None);
        for (at, one) in model.overview.recent.1.iter().take(rows.saturating_sub(2)).enumerate() {
            table.row(&mut right, at + 2, &recent_row(model, one), false, false);
        }
    }
}

fn recent_row(model: &Model, one: &DeliveryView) -> Vec<Cell> {
    let (state, role) = words::of_delivery(one);
    let code = one.last_code.map_or(cell("-", Role::Dim), |code| cell(code.to_string(), words::role_of_code(code)));
    let at = one.last_attempt_at.as_deref().or(Some(&one.created_at));
    vec![
        text(shown_text(at, &model.zone, Shown::Time)),
        code,
        cell(state, role),
        text(one.scan_ref.clone().unwrap_or_else(|| "-".to_owned())),
        text(format!("{}/{}", one.attempts_made, one.attempts_max)),
        text(one.last_duration_ms.map_or(String::new(), took)),
    ]
}

fn facts(model: &Model, hook: &WebhookView) -> Vec<(&'static str, String)> {
    let kinds: Vec<&str> = hook.event_types.iter().map(|kind| model.label_of(kind)).collect();
    let date = |at: Option<&str>| shown_text(at, &model.zone, Shown::Date);
    let headers: Vec<String> = hook
        .headers
        .iter()
        .map(|header| format!("{}: {}", header.name, header.value.as_deref().unwrap_or("********")))
        .collect();
    let none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let signing = match (&hook.signing_key.previous_until, hook.signing_key.set) {
        (_, false) => "not signed".to_owned(),
        (None, true) => format!("HMAC-SHA256, key set {}", date(hook.signing_key.changed_at.as_deref())),
        (Some(until), true) => {
            format!("two keys until {}", shown_text(Some(until), &model.zone, Shown::Full))
        }
    };
    let mail = hook.failure_email.as_ref().map_or("nobody".to_owned(), |mail| {
        let body = if mail.include_body { "body included" } else { "body not included" };
        format!("{}, {body}", mail.to.join(", "))
    });
    let status = match (hook.active, hook.paused) {
        (false, _) => "inactive: nothing is made for it",
        (true, true) => "paused: deliveries are made and wait",
        (true, false) => "active",
    };
    vec![
        ("Receiver", hook.url.clone()),
        ("Event types", kinds.join(", ")),
        ("Status", status.to_owned()),
        ("Headers", none(headers.join("   "))),
        ("Signing", signing),
        ("OAuth", hook.oauth.as_ref().map_or("none".to_owned(), |oauth| oauth.endpoint.clone())),
        (
            "Retries",
            format!("{}, {} apart ({})", hook.retry.count, spelled(hook.retry.interval_seconds), hook.retry.backoff),
        ),
        ("Limits", limits(hook)),
        (
            "Filter",
            if hook.filter.is_empty() {
                "none".to_owned()
            } else {
                plural(hook.filter.len() as u64, "condition", "conditions")
            },
        ),
        ("Fail mail", mail),
        ("Changed", format!("{} by {}", shown_text(Some(&hook.updated_at), &model.zone, Shown::Full), hook.updated_by)),
        ("Standing", standing(model, hook)),
    ]
}

fn limits(hook: &WebhookView) -> String {
    let rate = hook.rate_per_second.map_or(String::new(), |rate| format!(", {rate} a second"));
    let ordered = if hook.ordered { ", in order" } else { "" };
    format!("{} s each, {} at once{rate}{ordered}", hook.timeout_seconds, hook.max_in_flight)
}
