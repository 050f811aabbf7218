//! The fourth tab: what apps posted, and to how many webhooks each went. (Skeleton: to be filled in.)
//!
//! It holds the window on the list and the filter, not the list.

use crate::admin::client::EventFilter;
use crate::admin::protocol::EventView;
use crate::tui::keymap::Action;
use crate::tui::message::{Ask, Effects};
use crate::tui::model::{Model, Tab};
use crate::tui::update::{act_in_tab, show};
use crate::tui::view::pen::Pen;
use crate::tui::window::Window;

/// State of the tab.
#[derive(Clone, Debug, Default)]
pub struct EventsTab {
    /// What of the list is in memory.
    pub window: Window<EventView>,
    /// What it is narrowed to. `since` and `until` are as typed.
    pub filter: EventFilter,
}

pub(crate) fn height(model: &Model) -> usize {
    model.body_height().saturating_sub(3).max(1)
}

pub(crate) fn refresh(model: &mut Model, out: &mut Effects) {
    if let Some((walk, part)) = model.events.window.wanted() {
        let filter = Box::new(model.events.filter.clone());
        out.ask(Ask::Events { ticket: model.events.window.ticket, filter, walk, part });
    }
}

pub(crate) fn narrow(model: &mut Model, filter: EventFilter) {
    show(model, Tab::Events);
    model.events.filter = filter;
    model.events.window.restart();
}

pub(crate) fn search(_model: &mut Model, _text: &str) {}

pub(crate) fn act(model: &mut Model, action: Action, out: &mut Effects) {
    act_in_tab(model, action, out);
}

pub(crate) fn remark(model: &Model) -> String {
    crate::tui::screen::deliveries::held(model.events.window.live, model.events.window.newer)
}

pub(crate) fn view(_model: &Model, _pen: &mut Pen<'_>) {}
