//! `postrider webhook edit`: a webhook as TOML in the operator's editor.
//!
//! It checks the form only; whether a value is right is for the daemon to say.
//!
//! Invariants: only what was changed is sent, with the version that was edited, so that nobody
//! else's change is undone; what was written is never lost, whatever goes wrong.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Ended, ExitCode, Failure, Session, webhook};
use crate::admin::client::{Client, ClientError, draft};
use crate::admin::protocol::{Problem, WebhookView};
use crate::editor::{self, Draft};

/// What happens after an attempt to save.
enum Next {
    Saved(Box<WebhookView>),
    Unchanged,
    Again,
}

pub(super) async fn run(session: &mut Session<'_>, name: &str) -> Ended {
    let client = session.client().await?;
    let mut base = client.webhook(name).await?;
    let draft = draft_of(session, &base)?;
    loop {
        open_editor(session, &draft.path)?;
        match save(session, &client, &mut base, &draft).await {
            Ok(Next::Saved(saved)) => {
                draft.discard();
                return webhook::report(session, &saved, "Changed");
            }
            Ok(Next::Unchanged) => {
                draft.discard();
                session.output.note("nothing was changed");
                return Ok(ExitCode::Done);
            }
            Ok(Next::Again) => {}
            Err(failure) => {
                session.output.remark(&format!("your text is kept in {}", draft.path.display()));
                return Err(failure);
            }
        }
    }
}

async fn save(
    session: &mut Session<'_>,
    client: &Client,
    base: &mut WebhookView,
    draft: &Draft,
) -> Result<Next, Failure> {
    let text = draft.read().map_err(|error| Failure::input(&draft.path, &error))?;
    let mut changes = match draft::changed(base, &text) {
        Ok(changes) => changes,
        Err(why) => return again(session, Failure::new(ExitCode::BadData, why)),
    };
    if changes.is_empty() {
        return Ok(Next::Unchanged);
    }
    changes.insert("version".to_owned(), base.version.into());
    match client.change_webhook(&base.id, &Value::Object(changes.clone())).await {
        Ok(saved) => Ok(Next::Saved(Box::new(saved))),
        Err(ClientError::Refused(Problem { current: Some(current), .. })) => {
            let by = &current.updated_by;
            let text = format!("{} was changed meanwhile by {by} (version {})", current.name, current.version);
            let conflict = Failure::new(ExitCode::BadData, text).advise("look at it and run the command again");
            if !session.output.can_ask() {
                return Err(conflict);
            }
            session.output.failure(&conflict);
            if !is_yes(session.output.ask("Apply only your changes to it as it is now? [y/N]"), false) {
                return Err(conflict);
            }
            changes.insert("version".to_owned(), current.version.into());
            let saved = client.change_webhook(&current.id, &Value::Object(changes)).await?;
            Ok(Next::Saved(Box::new(saved)))
        }
        Err(error @ ClientError::Refused(_)) => again(session, error.into()),
        Err(error) => Err(error.into()),
    }
}

/// Offers to edit again, if there is somebody to offer it to.
fn again(session: &mut Session<'_>, failure: Failure) -> Result<Next, Failure> {
    if !session.output.can_ask() {
        return Err(failure);
    }
    session.output.failure(&failure);
    if is_yes(session.output.ask("Edit again? [Y/n]"), true) { Ok(Next::Again) } else { Err(failure) }
}

/// Whether an answer is a yes; an empty one is the default, the end of the input a no.
fn is_yes(answer: Option<String>, default: bool) -> bool {
    match answer.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("") => default,
        Some("y" | "yes") => true,
        _ => false,
    }
}

/// A file with the webhook as text.
fn draft_of(session: &Session<'_>, webhook: &WebhookView) -> Result<Draft, Failure> {
    let text = draft::text(webhook).map_err(|why| Failure::new(ExitCode::Internal, why))?;
    let folder = session.variable("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    Draft::create(&folder, &text, ".toml")
        .map_err(|(path, error)| Failure::new(ExitCode::CannotCreate, format!("{}: {error}", path.display())))
}

fn open_editor(session: &Session<'_>, path: &Path) -> Result<(), Failure> {
    let program =
        session.variable("VISUAL").or_else(|| session.variable("EDITOR")).unwrap_or_else(|| PathBuf::from("vi"));
    let shown = program.display();
    match editor::run(program.as_os_str(), path) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::new(ExitCode::No, format!("the editor {shown} ended with {status}; nothing was changed"))
                .advise(format!("set $EDITOR to another editor; the text is in {}", path.display())))
        }
        Err(error) => Err(Failure::new(ExitCode::NoInput, format!("the editor {shown} cannot be started: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_the_default() {
        assert!(is_yes(Some(String::new()), true) && !is_yes(Some(String::new()), false));
        assert!(is_yes(Some("Y".to_owned()), false) && !is_yes(None, true) && !is_yes(Some("no".to_owned()), true));
    }
}
