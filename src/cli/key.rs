//! `postrider key`: the tokens with which applications post events.
//!
//! It stores no token and writes none to a file.
//!
//! Invariant: a token is shown once, on standard output, by the command that makes it.

use clap::Subcommand;

use super::output::{Cell, Column, Table};
use super::{Ended, ExitCode, Failure, Session, input};
use crate::admin::protocol::{Done, KeyView, NewKey};

const EXAMPLES: &str = "\
Examples:
  postrider key create billing --type COMPANY_SUBMIT > billing.token
  postrider key list
  postrider key revoke billing
";

#[derive(Debug, Subcommand)]
#[command(before_help = EXAMPLES)]
pub(super) enum Command {
    /// Names, permitted types and last use
    List,
    /// Make a token and print it, once
    Create {
        /// Its name
        name: String,
        /// An event type it may post; repeat for more [default: all]
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
    },
    /// Make a token worthless
    Revoke {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: Command) -> Ended {
    match command {
        Command::List => list(session).await,
        Command::Create { name, types } => create(session, &NewKey { name, types }).await,
        Command::Revoke { name, yes } => revoke(session, &name, yes).await,
    }
}

async fn list(session: &mut Session<'_>) -> Ended {
    let keys = session.client().await?.keys().await?.items;
    if session.output.json() {
        keys.iter().try_for_each(|key| session.output.object(key))?;
        return Ok(ExitCode::Done);
    }
    session.output.note_zone();
    let columns = [
        Column::shrinking("NAME"),
        Column::shrinking("TYPES"),
        Column::fixed("CREATED"),
        Column::shrinking("BY").goes(2),
        Column::fixed("LAST USED").goes(1),
    ];
    let rows: Vec<Vec<Cell>> = keys.iter().map(|key| row(session, key)).collect();
    session.output.rows(&mut Table::new(&columns), &rows)?;
    Ok(ExitCode::Done)
}

fn row(session: &Session<'_>, key: &KeyView) -> Vec<Cell> {
    let types = if key.types.is_empty() { "all".to_owned() } else { key.types.join(",") };
    let used = key.last_used_at.as_ref().map_or("-".to_owned(), |used| session.output.short_time(used));
    let created = session.output.short_time(&key.created_at);
    [&key.name, &types, &created, &key.created_by, &used].map(Cell::from).to_vec()
}

async fn create(session: &mut Session<'_>, new: &NewKey) -> Ended {
    let key = session.client().await?.create_key(new).await?;
    if session.output.json() {
        session.output.object(&key)?;
    } else {
        let token = key.token.as_deref().unwrap_or_default();
        if token.is_empty() {
            return Err(Failure::new(ExitCode::Internal, "the daemon made the token but did not tell it")
                .advise(format!("revoke it with `postrider key revoke {}`", key.name)));
        }
        session.output.text(token)?;
    }
    session.output.note("This token is not shown again. Applications send it as `Authorization: Bearer TOKEN`.");
    Ok(ExitCode::Done)
}

async fn revoke(session: &mut Session<'_>, name: &str, yes: bool) -> Ended {
    let client = session.client().await?;
    let what = format!("Applications that post with \"{name}\" will be refused at once");
    input::confirm(&mut session.output, yes, &what, name)?;
    let Done { done } = client.revoke_key(name).await?;
    if session.output.json() {
        session.output.object(&serde_json::json!({"name": name, "done": done}))?;
    } else if done {
        session.output.done(&format!("Revoked {name}."))?;
    }
    if done { Ok(ExitCode::Done) } else { Err(Failure::new(ExitCode::No, format!("there is no token \"{name}\""))) }
}
