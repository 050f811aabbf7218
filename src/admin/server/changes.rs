//! Waiting for a change: a poll that is answered when there is something new to ask for.
//!
//! It tells how far things are and not what changed. Invariants: a poll that waits takes no place on
//! the socket from others, and ends with its time, with its client, or with the daemon; whoever polls
//! again and again gets at most ten answers a second, however much changes.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::{Access, Admin, Call, Refusal, Reply, reply};
use crate::admin::protocol::ChangesView;
use crate::store::Changed;

/// Polls that wait at once, of those who may do everything and of those who may look; each is a connection.
pub(super) const POLLS_MAX: usize = 256;
/// The longest that somebody may wait, in seconds.
const WAIT_MAX: u64 = 60;
const WAIT_DEFAULT: u64 = 20;
/// An answer about a change comes no earlier than this after its question, so that a burst of
/// changes is one answer. Whoever has waited for longer hears of a change at once.
const GATHER: Duration = Duration::from_millis(100);

impl Admin {
    pub(super) async fn changes(&self, call: &Call) -> Reply {
        call.only(&Method::GET, "GET")?;
        call.check_params(&["after", "wait", "v"])?;
        let number = |name: &str| call.param(name).map(str::parse::<u64>).transpose();
        let after = number("after").map_err(|_| Refusal::Bad("after must be a revision, a whole number".to_owned()))?;
        let after = after.unwrap_or_default();
        let wait = number("wait").ok().map(|wait| wait.unwrap_or(WAIT_DEFAULT)).filter(|wait| *wait <= WAIT_MAX);
        let wait = wait.ok_or_else(|| Refusal::Bad(format!("wait must be a number from 0 to {WAIT_MAX}")))?;
        let mut changed = self.shared.store.watch_changes();
        let now = *changed.borrow_and_update();
        if wait == 0 || after < now.first || after > now.revision {
            // Of another run: everything is new.
            return self.tell_changed(now);
        }
        let polls = match call.access {
            Access::Full => &self.shared.polls,
            Access::ReadOnly => &self.shared.polls_read_only,
        };
        let Ok(_permit) = polls.try_acquire() else {
            return Err(Refusal::Busy(format!("{POLLS_MAX} wait for changes already; ask with wait=0, or later")));
        };
        let _waiting = call.progress.waits();
        let asked_at = Instant::now();
        let news = async {
            while changed.borrow_and_update().revision <= after && changed.changed().await.is_ok() {}
            sleep_until(asked_at + GATHER).await;
        };
        tokio::select! {
            () = news => {}
            () = sleep_until(asked_at + Duration::from_secs(wait)) => {}
            () = self.shared.stopping.cancelled() => {}
        }
        let now = *changed.borrow();
        self.tell_changed(now)
    }

    fn tell_changed(&self, now: Changed) -> Reply {
        let view = ChangesView {
            revision: now.revision,
            run: self.shared.run.clone(),
            deliveries: now.deliveries,
            configuration: now.configuration,
            made: now.made,
        };
        reply(StatusCode::OK, &view)
    }
}
