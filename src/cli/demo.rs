//! `postrider demo`: shows a daemon at work in a world that is made for it and removed at the end.
//!
//! The world is handed in by `main`; this says where it goes, and shows what happens in it, in the terminal UI or as lines,
//! until somebody has seen enough.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::signals::Ends;
use super::{Ended, ExitCode, Session, runtime, tail, tui};
use crate::admin::client::{Caller, Client, DeliveryFilter};

/// How often lines are looked for: what happens here happens fast.
const INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// End by itself after so many seconds [default: at ^C]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Plain lines, on a terminal as well
    #[arg(long)]
    no_ui: bool,
    /// What happens is drawn from this: the same number, the same events
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// What a world for a demo is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// What chance begins with.
    pub seed: u64,
    /// Its directory is made in here.
    pub folder: PathBuf,
}

/// Shows what happens behind an admin socket until somebody has seen enough.
pub type Foreground<'a> = &'a mut dyn FnMut(&Path) -> Ended;

pub(super) fn run(
    mut session: Session<'_>,
    arguments: &Arguments,
    demo: impl FnOnce(&Stage, Foreground<'_>) -> Ended,
) -> Ended {
    let runtime = runtime()?;
    // Before there is anything to clear up, so that ^C never leaves it behind.
    let mut ends = {
        let _within = runtime.enter();
        Ends::new()?
    };
    let folder = session.variable("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    let stage = Stage { seed: arguments.seed, folder };
    let shows = !arguments.no_ui && !session.output.json() && tui::has_terminal(&session);
    let mut foreground = |socket: &Path| {
        if shows {
            // It hears signals itself, and says when it is to end.
            return tui::open(&mut session, vec![socket.to_owned()], false, arguments.seconds.map(Duration::from_secs));
        }
        runtime.block_on(async {
            tokio::select! {
                () = ends.came() => Ok(ExitCode::Done),
                () = time_up(arguments.seconds) => Ok(ExitCode::Done),
                ended = lines(&mut session, socket) => ended,
            }
        })
    };
    let ended = demo(&stage, &mut foreground);
    if ended.is_ok() {
        session.output.note("the demo is over and its directory is removed");
    }
    ended
}

async fn time_up(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => std::future::pending().await,
    }
}

/// Deliveries as lines, as they come and change.
async fn lines(session: &mut Session<'_>, socket: &Path) -> Ended {
    session.output.note(&format!(
        "a daemon, receivers and an app of their own, on loopback and in {}; ^C removes all of it",
        socket.parent().unwrap_or(socket).display()
    ));
    session.output.note(&format!("look around from another terminal: postrider --socket {} status", socket.display()));
    let client =
        Client::connect(&[socket.to_owned()], &Caller { via: "cli", sudo_user: None, read_only: false }).await?;
    tail::follow(session, &client, &DeliveryFilter::default(), INTERVAL).await
}
