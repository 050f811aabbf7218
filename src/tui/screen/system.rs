//! The fifth tab: the daemon itself. (Skeleton: to be filled in.)
//!
//! It judges nothing: what an operator should know are the daemon's words.

use crate::admin::protocol::{AuditView, KeyView};
use crate::tui::keymap::Action;
use crate::tui::message::Effects;
use crate::tui::model::Model;
use crate::tui::update::act_in_tab;
use crate::tui::view::pen::Pen;

/// Entries of the audit log that are shown.
pub const AUDIT_MAX: usize = 100;

/// State of the tab.
#[derive(Clone, Debug, Default)]
pub struct SystemTab {
    /// Ingest tokens.
    pub keys: Vec<KeyView>,
    /// The newest of the audit log.
    pub audit: Vec<AuditView>,
}

pub(crate) fn layout(_model: &mut Model) {}

pub(crate) fn search(_model: &mut Model, _text: &str) {}

pub(crate) fn act(model: &mut Model, action: Action, out: &mut Effects) {
    act_in_tab(model, action, out);
}

pub(crate) fn remark(_model: &Model) -> String {
    String::new()
}

pub(crate) fn view(_model: &Model, _pen: &mut Pen<'_>) {}
