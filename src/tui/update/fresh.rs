//! What has to be asked for, and when to look again.
//!
//! Only what is looked at is kept fresh, and nothing is asked for twice within half a second, however
//! much changes. When nothing changes and nothing counts down, nothing is asked and nobody is woken.

use std::time::Duration;

use crate::domain::time::Timestamp;
use crate::tui::message::{Ask, Effects};
use crate::tui::model::{Link, Model, Tab, Topic};
use crate::tui::screen::{deliveries, events, overview, system, webhooks};

/// The shortest time between two questions about the same thing: two pictures a second are as many
/// as anybody can read.
const GAP: Duration = Duration::from_millis(500);

/// Figures have a new slice every minute.
const MINUTE: u64 = 60_000;

/// Topics that the tab shows.
fn shown(tab: Tab) -> &'static [Topic] {
    match tab {
        Tab::Overview => &[Topic::Status, Topic::Stats, Topic::Webhooks, Topic::Recent, Topic::EventTypes],
        Tab::Webhooks => &[Topic::Webhooks, Topic::Stats, Topic::Recent, Topic::EventTypes, Topic::Status],
        Tab::Deliveries => &[Topic::Stats, Topic::Webhooks, Topic::EventTypes, Topic::Status],
        Tab::Events => &[Topic::EventTypes, Topic::Status, Topic::Webhooks],
        Tab::System => &[Topic::Status, Topic::Keys, Topic::Audit, Topic::EventTypes],
    }
}

fn ask_for(model: &Model, topic: Topic) -> Ask {
    match topic {
        Topic::Status => Ask::Status,
        Topic::Stats => Ask::Stats,
        Topic::Webhooks => Ask::Webhooks,
        Topic::EventTypes => Ask::EventTypes,
        Topic::Recent => {
            let webhook = (model.tab == Tab::Webhooks).then(|| model.webhooks.list.selected.clone()).flatten();
            Ask::Recent { webhook, limit: overview::RECENT_MAX }
        }
        Topic::Keys => Ask::Keys,
        Topic::Audit => Ask::Audit(Box::default(), system::AUDIT_MAX),
    }
}

/// Asks for what is stale and looked at.
pub(super) fn refresh(model: &mut Model, changed: bool, out: &mut Effects) {
    layout(model);
    if matches!(model.link, Link::Lost(..)) {
        return;
    }
    let now = model.now;
    if model.untouched && is_due(model, Topic::Status, model.touched_at, now) {
        model.untouched = false;
        model.touched_at = now;
        model.deliveries.window.touch();
        model.events.window.touch();
    }
    if slice_is_over(model) {
        model.topic(Topic::Stats).stale = true;
    }
    for topic in shown(model.tab) {
        let state = *model.topic(*topic);
        if state.stale && !state.busy && is_due(model, *topic, state.asked_at, now) {
            let ask = ask_for(model, *topic);
            let state = model.topic(*topic);
            (state.stale, state.busy, state.asked_at) = (false, true, now);
            out.ask(ask);
        }
    }
    match model.tab {
        Tab::Deliveries => deliveries::refresh(model, out),
        Tab::Events => events::refresh(model, out),
        Tab::Webhooks => webhooks::refresh(model),
        Tab::Overview | Tab::System => {}
    }
    for at in 0..model.pages.len() {
        let mut page = model.pages.remove(at);
        page.refresh(model, changed, out);
        model.pages.insert(at, page);
    }
}

/// Tells the lists how many rows there is room for.
fn layout(model: &mut Model) {
    let heights = [overview::height(model), webhooks::height(model), deliveries::height(model), events::height(model)];
    let [overview, webhooks, deliveries, events] = heights;
    model.overview.list.height = overview;
    model.webhooks.list.height = webhooks;
    model.deliveries.window.resize(deliveries);
    model.events.window.resize(events);
    system::layout(model);
}

/// What lies beside the chosen row follows it sooner.
fn gap(model: &Model, topic: Topic) -> Duration {
    let follows = model.tab == Tab::Webhooks && model.overview.recent.0 != model.webhooks.list.selected;
    if topic == Topic::Recent && follows { Duration::from_millis(120) } else { GAP }
}

fn is_due(model: &Model, topic: Topic, asked_at: Timestamp, now: Timestamp) -> bool {
    // A clock that was set back must not stop everything.
    now < asked_at || now.since(asked_at) >= gap(model, topic)
}

/// Whether there are figures that belong to an earlier minute.
fn slice_is_over(model: &Model) -> bool {
    let Some(stats) = &model.stats else { return false };
    let shows = matches!(model.tab, Tab::Overview | Tab::Webhooks | Tab::Deliveries);
    let has_any = |series: &[u64]| series.iter().any(|count| *count > 0);
    let total = &stats.total;
    let moves = [&total.no_response, &total.success, &total.redirection, &total.client_error, &total.server_error]
        .into_iter()
        .any(|series| has_any(series));
    let made = crate::tui::text::instant(&stats.at);
    shows && moves && made.is_some_and(|made| made.millis() / MINUTE < model.now.millis() / MINUTE)
}

/// When to wake the program if nothing else happens; `None` when there is nothing to wait for.
#[must_use]
pub fn wake_in(model: &Model) -> Option<Duration> {
    let mut soonest: Option<Duration> = None;
    let mut at_latest = |pause: Duration| soonest = Some(soonest.map_or(pause, |before| before.min(pause)));
    model.dialogs.iter().filter_map(|dialog| dialog.wake(model)).for_each(&mut at_latest);
    model.pages.iter().filter_map(|page| page.wake(model)).for_each(&mut at_latest);
    if matches!(model.link, Link::Lost(..)) {
        return soonest;
    }
    let left = |topic: Topic, asked_at: Timestamp| {
        gap(model, topic).saturating_sub(model.now.since(asked_at)).max(Duration::from_millis(10))
    };
    let waits = |topic: &&Topic| {
        let state = &model.topics[**topic as usize];
        state.stale && !state.busy
    };
    shown(model.tab)
        .iter()
        .filter(waits)
        .for_each(|topic| at_latest(left(*topic, model.topics[*topic as usize].asked_at)));
    if model.untouched {
        at_latest(left(Topic::Status, model.touched_at));
    }
    if counts_down(model) {
        at_latest(Duration::from_millis(1000 - model.now.millis() % 1000));
    }
    let moving = model.stats.as_ref().is_some_and(|stats| stats.total.success.iter().any(|count| *count > 0));
    if moving && matches!(model.tab, Tab::Overview) && model.pages.is_empty() {
        at_latest(Duration::from_millis(MINUTE - model.now.millis() % MINUTE + 50));
    }
    soonest
}

/// Whether something on screen says in how many seconds it will happen.
fn counts_down(model: &Model) -> bool {
    if !model.pages.is_empty() {
        return false;
    }
    match model.tab {
        Tab::Overview => overview::counts_down(model),
        Tab::Webhooks => false,
        Tab::Deliveries => deliveries::counts_down(model),
        Tab::Events | Tab::System => false,
    }
}
