//! The first tab: is anything wrong, since when, and why; and whether traffic flows.
//!
//! It judges nothing itself: which webhooks are failing and what an operator should know are the
//! daemon's words.

use crate::admin::protocol::{DeliveryView, SeriesView, WebhookStats};
use crate::tui::keymap::Action;
use crate::tui::listing::Listing;
use crate::tui::message::Effects;
use crate::tui::model::{Model, Tab};
use crate::tui::screen::{deliveries, form, webhooks, words};
use crate::tui::text::{Shown, bytes, count, fit, long_span, plural, shown_text, span, took, width};
use crate::tui::theme::Role;
use crate::tui::update::act_in_tab;
use crate::tui::view::chart::{Ramp, ramp};
use crate::tui::view::pen::{Pen, Span, plain, span as piece};
use crate::tui::view::table::{Cell, Column, Table, cell, text};

/// The newest deliveries that are kept for this tab.
pub const RECENT_MAX: usize = 30;

/// State of the tab.
#[derive(Clone, Debug, Default)]
pub struct OverviewTab {
    /// Which webhook that needs attention is chosen.
    pub list: Listing,
    /// The newest deliveries, of one webhook if it is named.
    pub recent: (Option<String>, Vec<DeliveryView>),
}

/// Webhooks that need attention: the worst first.
fn attention(model: &Model) -> Vec<&WebhookStats> {
    let Some(stats) = &model.stats else { return Vec::new() };
    let mut found: Vec<&WebhookStats> = stats
        .webhooks
        .iter()
        .filter(|hook| {
            hook.failing || hook.failing_since.is_some() || hook.series.failed.iter().any(|count| *count > 0)
        })
        .collect();
    found.sort_by(|a, b| {
        let rank = |hook: &WebhookStats| (!hook.failing, hook.failing_since.is_none());
        rank(a).cmp(&rank(b)).then_with(|| a.failing_since.cmp(&b.failing_since)).then_with(|| a.name.cmp(&b.name))
    });
    found
}

/// How the body is divided: where each part begins and how many rows it has.
struct Plan {
    problems: usize,
    chart: bool,
    attention: usize,
    recent: usize,
}

fn plan(model: &Model) -> Plan {
    let body = model.body_height();
    let problems = problems(model).len().min(if model.is_small() { 1 } else { 3 });
    let head = if model.is_small() { 2 } else { 4 } + problems;
    let chart = body >= head + 7 + 4;
    let below = body.saturating_sub(head + if chart { 7 } else { 0 });
    let wanted = attention(model).len().max(1);
    if below >= 14 {
        let attention = wanted.min((below - 8) / 2).max(1);
        let recent = below.saturating_sub(attention + 2 + 1 + 2);
        return Plan { problems, chart, attention, recent };
    }
    Plan { problems, chart, attention: below.saturating_sub(2).max(1), recent: 0 }
}

/// What the daemon wants to be known, besides failing webhooks, which have a list of their own.
fn problems(model: &Model) -> Vec<&str> {
    let Some(status) = &model.status else { return Vec::new() };
    let own = |problem: &&String| !problem.starts_with("webhook ");
    status.problems.iter().filter(own).map(String::as_str).collect()
}

/// Rows of the list of webhooks that need attention.
pub(crate) fn height(model: &Model) -> usize {
    plan(model).attention
}

pub(crate) fn counts_down(model: &Model) -> bool {
    let waits = |at: &Option<String>| model.seconds_until(at.as_deref()).is_some();
    attention(model).iter().take(40).any(|hook| waits(&hook.next_attempt_at) || hook.failing_since.is_some())
        || (plan(model).recent > 0 && model.overview.recent.1.iter().any(|one| waits(&one.next_attempt_at)))
}

pub(crate) fn act(model: &mut Model, action: Action, out: &mut Effects) {
    let found: Vec<String> = attention(model).iter().map(|hook| hook.id.clone()).collect();
    let keys: Vec<&str> = found.iter().map(String::as_str).collect();
    let list = &mut model.overview.list;
    let page = isize::try_from(list.height.max(1)).unwrap_or(isize::MAX);
    match action {
        Action::Up => list.by(-1, &keys),
        Action::Down => list.by(1, &keys),
        Action::HalfUp => list.by(-(page / 2).max(1), &keys),
        Action::HalfDown => list.by((page / 2).max(1), &keys),
        Action::PageUp => list.by(-page, &keys),
        Action::PageDown => list.by(page, &keys),
        Action::Top => list.to(0, &keys),
        Action::Bottom => list.to(usize::MAX, &keys),
        Action::Open | Action::Recent | Action::Test => {
            list.settle(&keys);
            let Some(id) = list.selected.clone() else {
                return crate::tui::update::show(model, Tab::Deliveries);
            };
            match action {
                Action::Open => form::open(model, &id),
                Action::Test => webhooks::test(model, &id, out),
                _ => deliveries::show_webhook(model, &id),
            }
        }
        action => {
            act_in_tab(model, action, out);
        }
    }
}

pub(crate) fn view(model: &Model, pen: &mut Pen<'_>) {
    let plan = plan(model);
    let mut y = figures(model, pen, 0);
    for problem in problems(model).into_iter().take(plan.problems) {
        pen.text(2, y, &format!("! {problem}"), Role::Bad);
        y += 1;
    }
    if !model.is_small() {
        y += 1;
    }
    if plan.chart {
        chart(model, pen, y);
        y += 7;
    }
    needs_attention(model, pen, y, plan.attention);
    y += plan.attention + 3;
    if plan.recent > 0 {
        let rows = pen.height().saturating_sub(y + 2).min(plan.recent + 1);
        pen.rule(y, "Last deliveries", "3: all");
        let (columns, room) = (pen.width(), rows + 1);
        let mut part = pen.part(0, y + 1, columns, room);
        let recent: &[DeliveryView] = if model.overview.recent.0.is_none() { &model.overview.recent.1 } else { &[] };
        deliveries::newest(model, &mut part, recent);
    }
}

/// Queue, last hour, disk: a line each.
fn figures(model: &Model, pen: &mut Pen<'_>, y: usize) -> usize {
    let mut lines: Vec<Vec<Span>> = Vec::new();
    if let Some(stats) = &model.stats {
        let failed: u64 = stats.total.failed.iter().sum();
        let oldest = model.status.as_ref().and_then(|status| status.oldest_pending_seconds);
        let sending = model.status.as_ref().map_or(0, |status| status.in_flight as u64);
        let mut queue = vec![piece("  Queue    ", Role::Heading)];
        queue.extend(pair("due", count(stats.due), (stats.due > 0).then_some(Role::Waiting)));
        queue.extend(pair("sending", count(sending), None));
        queue.extend(pair("waiting retry", count(stats.waiting_retry), None));
        queue.extend(pair("failed", count(failed), (failed > 0).then_some(Role::Bad)));
        if let Some(oldest) = oldest {
            queue.extend(pair("oldest", span(oldest), None));
        }
        if stats.due > 0 && pen.width() >= 100 {
            let drained =
                stats.drain_seconds.map_or("not shrinking".to_owned(), |left| format!("gone in {}", span(left)));
            queue.extend(pair("backlog", drained, None));
        }
        lines.push(whole(queue, pen.width()));
        let total = &stats.total;
        let (tries, good) = tries(total);
        let mut hour = vec![piece("  1 h      ", Role::Heading)];
        hour.extend(pair("accepted", count(stats.accepted.iter().sum()), None));
        hour.extend(pair("delivered", count(good), None));
        hour.extend(pair("not ok", count(tries - good), (tries > good).then_some(Role::Warning)));
        if pen.width() >= 100 {
            hour.extend(pair("resent", count(total.resent), None));
        }
        let most = if pen.width() >= 100 { 3 } else { 2 };
        for (name, figure) in
            [("p50", total.p50_ms), ("p95", total.p95_ms), ("p99", total.p99_ms)].into_iter().take(most)
        {
            hour.extend(figure.map(|figure| pair(name, took(figure), None)).into_iter().flatten());
        }
        lines.push(whole(hour, pen.width()));
    }
    if let Some(status) = &model.status {
        let used = status.journal.bytes + status.index.bytes;
        let mut disk = vec![piece("  Disk     ", Role::Heading)];
        disk.push(plain(format!("{} used, {} free", bytes(used), bytes(status.disk.free_bytes))));
        disk.push(plain(format!("   kept {}", plural(status.retention_days, "day", "days"))));
        disk.extend(status.journal.oldest_day.iter().map(|day| plain(format!("   oldest {day}"))));
        lines.push(disk);
    }
    if lines.is_empty() {
        lines.push(vec![piece("  waiting for the daemon …", Role::Dim)]);
    }
    let most = if model.is_small() { 2 } else { 3 };
    let lines = &lines[..lines.len().min(most)];
    lines.iter().enumerate().for_each(|(at, line)| {
        pen.spans(0, y + at, line);
    });
    y + most
}

/// As many figures of a line as fit: half a figure is a wrong one.
fn whole(mut line: Vec<Span>, columns: usize) -> Vec<Span> {
    let taken = |line: &[Span]| line.iter().map(|span| width(&span.text)).sum::<usize>();
    // The blanks behind the last one may be missing.
    while line.len() > FIGURE && taken(&line[..line.len() - 1]) > columns {
        line.truncate(line.len() - FIGURE);
    }
    line
}

/// Spans that a figure has.
const FIGURE: usize = 3;

fn pair(name: &str, figure: String, role: Option<Role>) -> Vec<Span> {
    vec![piece(format!("{name} "), Role::Text), piece(figure, role.unwrap_or(Role::Text)), plain("   ")]
}

/// Attempts and those that succeeded.
pub(crate) fn tries(series: &SeriesView) -> (u64, u64) {
    let sum = |counts: &[u64]| counts.iter().sum::<u64>();
    let good = sum(&series.success);
    let rest = [&series.no_response, &series.redirection, &series.client_error, &series.server_error];
    (good + rest.into_iter().map(|counts| sum(counts)).sum::<u64>(), good)
}

/// The five classes of the page with their words.
pub(crate) fn classes(series: &SeriesView) -> [(&'static str, &'static str, &[u64]); 5] {
    [
        ("2xx", "success", &series.success),
        ("3xx", "redirection", &series.redirection),
        ("4xx", "client error", &series.client_error),
        ("5xx", "server error", &series.server_error),
        ("0", "no response", &series.no_response),
    ]
}

/// Responses per minute, a row for each class.
fn chart(model: &Model, pen: &mut Pen<'_>, y: usize) {
    let since = model.stats.as_ref().and_then(|stats| stats.counting_since.as_deref());
    let since =
        since.map_or(String::new(), |at| format!("counted since {}", shown_text(Some(at), &model.zone, Shown::Minute)));
    pen.rule(y, "Responses, last 60 min (1 column = 1 min)", &since);
    let Some(stats) = &model.stats else { return };
    let rows = classes(&stats.total);
    let greatest = rows.iter().flat_map(|(_, _, counts)| counts.iter()).copied().max().unwrap_or(0);
    for (at, (class, words, counts)) in rows.iter().enumerate() {
        let role = crate::tui::theme::of_class(class);
        let x = pen.text(2, y + 1 + at, &format!("{class:>3} "), role);
        let room = pen.width().saturating_sub(x + 8).min(60);
        let skip = counts.len().saturating_sub(room);
        let line = ramp(&counts[skip..], Ramp::To(greatest), &pen.glyphs());
        pen.text(x, y + 1 + at, &line, role);
        let x = x + room + 1;
        let sum = count(counts.iter().sum());
        let x = pen.text(x, y + 1 + at, &format!("{sum:>7}"), Role::Text);
        if pen.width() > x + 2 + width(words) {
            pen.text(x + 2, y + 1 + at, words, Role::Text);
        }
    }
}

fn needs_attention(model: &Model, pen: &mut Pen<'_>, y: usize, rows: usize) {
    let found = attention(model);
    pen.rule(y, &format!("Needs attention ({})", found.len()), "");
    if found.is_empty() {
        let quiet = match &model.hooks {
            Some(hooks) if hooks.is_empty() => "no webhooks yet: 2 then n makes one",
            _ if model.stats.is_none() => "",
            _ => "nothing: every webhook that was tried takes deliveries",
        };
        pen.text(2, y + 1, quiet, Role::Text);
        return;
    }
    let wide = pen.width() >= 110;
    let mut columns = vec![
        Column::new("WEBHOOK", 13).grows(1),
        Column::new("CODE", 4).right(),
        Column::new("FAILING FOR", 11).right(),
        Column::new("WAITING", 7).right(),
        Column::new("NEXT", 8).right(),
    ];
    if wide {
        columns.push(Column::new("LAST HOUR", 20));
        columns.push(Column::new("OK%", 5).right());
    }
    columns.push(Column::new("WHY", 22).grows(2));
    let table = Table::new(&columns, pen.width(), 0);
    table.headings(pen, y + 1, None);
    let keys: Vec<&str> = found.iter().map(|hook| hook.id.as_str()).collect();
    let mut list = model.overview.list.clone();
    list.height = rows;
    list.settle(&keys);
    for (at, hook) in found.iter().skip(list.top).take(rows).enumerate() {
        let chosen = list.selected.as_deref() == Some(hook.id.as_str());
        table.row(
            pen,
            y + 2 + at,
            &attention_row(model, hook, wide.then_some(&*pen), table.room("WHY")),
            chosen,
            false,
        );
    }
}

/// `chart` draws the last hour where there is room for it; so much of it has the reason.
fn attention_row(model: &Model, hook: &WebhookStats, chart: Option<&Pen<'_>>, room: usize) -> Vec<Cell> {
    let code = hook.last_code.unwrap_or_default();
    let since = hook.failing_since.as_deref().and_then(|at| model.seconds_since(at));
    let next = match model.seconds_until(hook.next_attempt_at.as_deref()) {
        Some(left) => format!("in {}", span(left)),
        None if hook.in_flight > 0 => "now".to_owned(),
        None => "-".to_owned(),
    };
    let failed: u64 = hook.series.failed.iter().sum();
    let why = match (hook.last_code, since) {
        (_, None) => format!("{} gave up within the hour", plural(failed, "delivery", "deliveries")),
        (Some(0), _) => {
            let why = words::of_error(hook.last_error.as_deref().unwrap_or_default());
            with_given_up(why.to_owned(), failed, room)
        }
        (Some(code), _) => {
            let class = crate::domain::attempt::Class::of(code);
            with_given_up(format!("{} {}", class.as_str(), class.words()), failed, room)
        }
        (None, _) => "failed before the daemon started".to_owned(),
    };
    let mut cells = vec![
        text(hook.name.clone()),
        cell(hook.last_code.map_or("-".to_owned(), |code| code.to_string()), words::role_of_code(code)),
        text(since.map_or("-".to_owned(), long_span)),
        text(count(hook.pending)),
        text(next),
    ];
    if let Some(pen) = chart {
        let (tries, good) = tries(&hook.series);
        cells.push(cell(sparkline(&hook.series, 20, pen), Role::Good));
        cells.push(text(percent(tries, good)));
    }
    cells.push(cell(why, if hook.failing { Role::Bad } else { Role::Warning }));
    cells
}

/// With how many deliveries failed for good, where it fits whole: half a number misleads, and the deliveries show it too.
fn with_given_up(why: String, failed: u64, room: usize) -> String {
    let gave_up = format!(", {} gave up", count(failed));
    if failed > 0 && width(&why) + width(&gave_up) <= room { why + &gave_up } else { why }
}

/// How well it went, slice by slice: the share of attempts that succeeded, blank where there were none.
pub(crate) fn sparkline(series: &SeriesView, columns: usize, pen: &Pen<'_>) -> String {
    let slices = series.success.len();
    let shares: Vec<Option<f64>> = (0..slices)
        .map(|at| {
            let of = |counts: &[u64]| counts.get(at).copied().unwrap_or(0);
            let rest =
                of(&series.no_response) + of(&series.redirection) + of(&series.client_error) + of(&series.server_error);
            let good = of(&series.success);
            (good + rest > 0).then(|| good as f64 / (good + rest) as f64)
        })
        .collect();
    crate::tui::view::chart::shares(&shares, columns, &pen.glyphs())
}

/// Of 100 attempts, how many succeeded.
pub(crate) fn percent(tries: u64, good: u64) -> String {
    if tries == 0 {
        return "-".to_owned();
    }
    let share = good as f64 * 100.0 / tries as f64;
    if good == tries { "100".to_owned() } else { format!("{:.1}", share.min(99.9)) }
}

/// What the bottom line says of the whole.
pub(crate) fn verdict(model: &Model, columns: usize) -> Option<(String, Role)> {
    let stats = model.stats.as_ref()?;
    let found = attention(model);
    let failing: Vec<&&WebhookStats> = found.iter().filter(|hook| hook.failing_since.is_some()).collect();
    let Some(worst) = failing.first() else {
        let pending = if stats.pending > 0 { format!("; {} pending", count(stats.pending)) } else { String::new() };
        return Some((format!("all is well{pending}"), Role::Good));
    };
    let since = worst.failing_since.as_deref().and_then(|at| model.seconds_since(at)).unwrap_or(0);
    let code = worst.last_code.map_or(String::new(), |code| format!("code {code} "));
    let name = fit(&worst.name, columns / 3, &model.glyphs).into_owned();
    let many = plural(failing.len() as u64, "webhook is failing", "webhooks are failing");
    let which = if failing.len() == 1 { "it is" } else { "the worst is" };
    Some((format!("{many}; {which} {name} ({code}for {}).  Enter: open", span(since)), Role::Bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gave_up_is_told_whole_or_not_at_all() {
        let why = || words::of_error("refused").to_owned();
        assert_eq!(with_given_up(why(), 2, 32), "nothing listens there, 2 gave up");
        assert_eq!(with_given_up(why(), 2, 31), "nothing listens there");
        assert_eq!(with_given_up(why(), 0, 80), "nothing listens there");
    }
}
