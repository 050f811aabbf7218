//! `POST /v1/backup`: the whole store as one file, made while it is sent.
//!
//! Invariants: one at a time; a caller that stops reading is left after a while, because no day can go as long as it
//! reads; an answer that could not be made whole ends in an error and not in silence. Who took one is noted first.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::runtime::Handle;

use super::{Admin, Call, Refusal, Reply};
use crate::backup::{About, Part, pack};
use crate::http::{Pieces, streamed};

/// How long a caller may take for the next piece.
const PIECE_TIME: Duration = Duration::from_secs(60);

impl Admin {
    /// `POST /v1/backup`: `application/x-tar`.
    pub(super) async fn backup(&self, call: &Call) -> Reply {
        call.only(&Method::POST, "POST")?;
        call.check_params(&[])?;
        let place = std::sync::Arc::clone(&self.shared.backups).try_acquire_owned();
        let place = place.map_err(|_| Refusal::Busy("another backup is being made; try again later".to_owned()))?;
        let store = &self.shared.store;
        // It holds every payload.
        self.note_first(call, "store.backup", "", json!({})).await?;
        // Before the moment: what it says was told of is in the journal by then.
        let mail = tokio::fs::read(self.shared.alerts.path()).await.ok();
        let moment = store.moment().await?;
        let about = About::new(call.author.now, moment.position, moment.segments.len());
        let parts: Vec<Part> = moment
            .segments
            .iter()
            .map(|(name, segment)| Part { day: segment.day, name: *name, length: segment.length })
            .collect();
        let journal = store.journal().clone();
        let (answer, pieces) = streamed("application/x-tar");
        let mut out = Outlet { pieces, runtime: Handle::current() };
        tokio::task::spawn_blocking(move || {
            // Held until the end.
            let (_place, _moment) = (place, moment);
            let open = |part: &Part| journal.open_segment(part.name);
            match pack(&about, mail.as_deref(), &parts, open, &mut out) {
                Ok(()) => out.pieces.finish(),
                Err(error) => tracing::warn!(%error, "a backup was not finished"),
            }
        });
        Ok(answer)
    }
}

/// Hands on what is written, at the pace of whoever reads it.
struct Outlet {
    pieces: Pieces,
    runtime: Handle,
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.pieces.send(Bytes::copy_from_slice(bytes));
        match self.runtime.block_on(async { tokio::time::timeout(PIECE_TIME, sent).await }) {
            Ok(sent) => sent.map(|()| bytes.len()),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "whoever asked for it stopped reading")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
