//! `postrider email`: whether mail about failures gets out.
//!
//! It talks to the daemon and never to the mail server itself: what is tried is what the daemon
//! would do.
//!
//! Invariant: exit 0 means that the mail server took the mail.

use clap::Subcommand;

use super::{Ended, ExitCode, Failure, Session};
use crate::admin::protocol::EmailTest;

const EXAMPLES: &str = "\
Examples:
  postrider email test ops@example.com
";

#[derive(Debug, Subcommand)]
#[command(before_help = EXAMPLES)]
pub(super) enum Command {
    /// Send a mail now and tell what the mail server said
    Test {
        /// Whom to
        address: String,
    },
}

pub(super) async fn run(session: &mut Session<'_>, command: Command) -> Ended {
    let Command::Test { address } = command;
    let tested = session.client().await?.test_email(&EmailTest { to: address.clone() }).await?;
    if session.output.json() {
        session.output.object(&tested)?;
        return Ok(if tested.sent { ExitCode::Done } else { ExitCode::No });
    }
    match tested.error {
        None => {
            session.output.done(&format!("The mail server took a mail to {address}."))?;
            Ok(ExitCode::Done)
        }
        Some(error) => Err(Failure::new(ExitCode::No, format!("no mail was sent: {error}"))
            .advise("see [email] in the configuration file; `kill -HUP` makes the daemon read it again")),
    }
}
