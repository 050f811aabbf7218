//! The form of a webhook. (Skeleton: to be filled in.)
//!
//! It checks nothing that the daemon does not check as well.

use serde_json::Value;

use crate::admin::protocol::WebhookView;
use crate::tui::model::Model;

/// Opens a webhook, by its id.
pub(crate) fn open(model: &mut Model, id: &str) {
    model.say(format!("form of {id}"));
}

/// Opens an empty form.
pub(crate) fn create(model: &mut Model) {
    model.say("form of a new webhook");
}

/// What can be configured of a webhook as TOML, without secrets.
pub(crate) fn as_toml(_hook: &WebhookView) -> Result<String, String> {
    Ok(String::new())
}

/// The fields of a webhook from TOML, as the daemon takes them.
pub(crate) fn from_toml(_text: &str) -> Result<Value, String> {
    Ok(Value::Null)
}
