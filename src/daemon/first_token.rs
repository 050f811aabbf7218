//! The token of the first start, so that events can be posted before anybody has made one.
//!
//! Later starts make none: that every token was revoked was somebody's wish. A first start that was cut short is finished by
//! the next one, with the same token if its file was already there.

use std::path::Path;

use super::{ServeError, state_dir};
use crate::admin::server::{TOKEN_PREFIX, default_token};
use crate::store::Store;

/// At the first start, makes a token and writes it where applications can be given it. The file
/// comes first: a start that is cut short is finished by the next one.
pub(super) async fn ensure_default_token(store: &Store, path: &Path) -> Result<(), ServeError> {
    if store.journal().last_committed() > 0 {
        // Every token was revoked: that was somebody's wish, whatever the file says.
        return Ok(());
    }
    let known = std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let known = known.filter(|text| text.starts_with(TOKEN_PREFIX) && text.len() > 40);
    let is_known = known.is_some();
    let (token, secret) = default_token(store, known);
    if !is_known {
        state_dir::write_private(path, secret.as_bytes(), 0o640)
            .map_err(|error| ServeError::Io(format!("{}: {error}", path.display())))?;
    }
    match store.change_token("default", Some(token), "postrider (first start)").await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::error!(%error, "the first ingest token could not be stored; it is tried again at the next start");
            Ok(())
        }
    }
}
