//! The dialogs: questions before something is done, choices, and how something long is getting on.
//!
//! Each begins on Cancel or on something harmless; Enter alone never destroys anything.

pub mod bulk;
pub mod confirm;
pub mod conflict;
pub mod filter;
pub mod jobs;
pub mod leave;
pub mod menu;
pub mod picker;
pub mod rewrite;
pub mod token;
pub mod trial;
pub mod verify;

use super::message::Effects;
use super::model::Model;
use crate::domain::secret::Secret;

/// What was chosen in a dialog, for the page below it; and a key that was made for it.
#[derive(Clone, Debug)]
pub enum Choice {
    /// These event types.
    Types(Vec<String>),
    /// A signing key that is new.
    Key(Secret),
    /// Save, then close.
    Save,
    /// Close, and lose what was typed.
    Drop,
    /// Of two people's changes, this one's.
    KeepMine,
    /// Of two people's changes, the other's.
    TakeTheirs,
}

/// Tells the page what was chosen.
pub(crate) fn choose(model: &mut Model, choice: Choice, out: &mut Effects) {
    if let Some(mut page) = model.pages.pop() {
        let at = model.pages.len();
        page.chosen(model, choice, out);
        model.pages.insert(at.min(model.pages.len()), page);
    }
}
