//! What is kept of mail: one small file, `mail.json`, written as a whole.
//!
//! It holds how far the journal was read, the episodes that this came to, and the mails that no
//! server has taken yet. It holds no payload and no secret, and decides nothing. Its invariant: the
//! file is either the one before or the one after a write, never a mixture; what is in it belongs
//! together, so that reading the journal on from the position neither repeats nor leaves out a
//! failure.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::{Episode, Hour, Told};
use super::saved;
use crate::domain::id::WebhookId;
use crate::domain::time::Timestamp;

/// The format that this version writes.
const VERSION: u32 = 1;

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    version: u32,
    /// Everything in the journal up to this sequence is in here.
    pub position: u64,
    /// What is going on, by webhook.
    #[serde(with = "saved::by_webhook")]
    pub episodes: BTreeMap<WebhookId, Episode>,
    /// Mails that wait for the server, oldest first.
    pub outgoing: Vec<Notice>,
    /// When mails were made lately.
    pub hour: Hour,
}

/// A mail that waits for the server: what it tells, not how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Without brackets; stays the same however often it is sent.
    pub message_id: String,
    /// When it was made.
    #[serde(with = "saved::instant")]
    pub made_at: Timestamp,
    /// The webhook it is about.
    #[serde(with = "saved::webhook")]
    pub webhook: WebhookId,
    /// What it was then: for the case that it is gone when the mail is sent.
    pub about: About,
    /// What it tells.
    pub told: Told,
    /// Recipients that are settled: they have it, or the server will never take it for them.
    pub settled: Vec<String>,
    /// Times it was tried.
    pub tries: u32,
    /// Not before this.
    #[serde(with = "saved::instant")]
    pub next_try_at: Timestamp,
}

/// What a mail has to know of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// The receiver URL.
    pub url: String,
    /// Whom to tell.
    pub to: Vec<String>,
    /// Whether payloads go along.
    pub include_body: bool,
}

/// What a start finds.
#[derive(Debug)]
pub enum Found {
    /// Nothing: there never was any mail here.
    Nothing,
    /// What was kept.
    Kept(Box<Queue>),
    /// Something that makes no sense. It was moved here, and there is nothing now.
    Damaged(PathBuf),
}

/// Why the queue can not be used.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It can not be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A newer version wrote it; it is left as it is.
    #[error("{} is of a newer version; it is left as it is, and no mail is sent", .0.display())]
    Newer(PathBuf),
}

impl Queue {
    /// The most mails that wait for the server; what comes on top stays in the episodes.
    pub const OUTGOING_MAX: usize = 100;

    /// An empty queue that takes what comes after this sequence.
    #[must_use]
    pub fn starting_at(position: u64) -> Self {
        Self { version: VERSION, position, ..Self::default() }
    }

    /// Reads what was kept. Blocks on the disk.
    ///
    /// # Errors
    /// `Newer`; `Io` for anything but a file that is not there.
    pub fn load(path: &Path, now: Timestamp) -> Result<Found, QueueError> {
        let failed = |error| QueueError::Io { path: path.to_owned(), error };
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            bytes => bytes.map_err(failed)?,
        };
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        if serde_json::from_slice::<Version>(&bytes).is_ok_and(|found| found.version > VERSION) {
            return Err(QueueError::Newer(path.to_owned()));
        }
        if let Ok(queue) = serde_json::from_slice::<Self>(&bytes)
            && queue.version == VERSION
        {
            return Ok(Found::Kept(Box::new(queue)));
        }
        let aside = path.with_file_name(format!("mail.damaged-{}.json", now.seconds()));
        std::fs::rename(path, &aside).map_err(failed)?;
        sync_folder(path).map_err(failed)?;
        Ok(Found::Damaged(aside))
    }

    /// Makes it durable in place of what was there. Blocks on the disk.
    ///
    /// # Errors
    /// `Io`; what was there before is then still there.
    pub fn write(&self, path: &Path) -> Result<(), QueueError> {
        let temporary = path.with_extension("json.new");
        let write = || {
            let bytes = serde_json::to_vec(self)?;
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            sync_folder(path)
        };
        write().map_err(|error| QueueError::Io { path: path.to_owned(), error })
    }
}

/// A rename is durable when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::mail::digest::{Entry, Kind};

    fn sample() -> Queue {
        let now = Timestamp::from_millis(1_795_425_932_045);
        let mut episode = Episode::default();
        for number in 0..3 {
            episode.failed(Entry {
                delivery: format!("dlv_{number}"),
                event_type: "SOS_REPORT".to_owned(),
                scan_ref: (number > 0).then(|| "8f3a".to_owned()),
                accepted_at: now,
                at: now,
                attempts: 6,
                result: "503".to_owned(),
            });
        }
        let told = episode.clone().take(Kind::Failures, now);
        episode.succeeded(now);
        let webhook = WebhookId::from_bytes([7; 16]);
        let about = About { name: "aml".into(), url: "https://x/".into(), to: vec!["a@x".into()], include_body: true };
        let mut queue = Queue::starting_at(42);
        queue.episodes.insert(webhook, episode);
        queue.hour.note(now);
        queue.outgoing.push(Notice {
            message_id: "1@host".to_owned(),
            made_at: now,
            webhook,
            about,
            told,
            settled: vec!["b@x".into()],
            tries: 2,
            next_try_at: now,
        });
        queue
    }

    #[test]
    fn what_is_written_is_read_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail.json");
        assert!(matches!(Queue::load(&path, Timestamp::default()).unwrap(), Found::Nothing));
        let queue = sample();
        queue.write(&path).unwrap();
        let Found::Kept(kept) = Queue::load(&path, Timestamp::default()).unwrap() else { panic!("it is there") };
        assert_eq!(*kept, queue);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left lying about");
    }

    #[test]
    fn damage_is_moved_aside_and_a_newer_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail.json");
        let mut bytes = serde_json::to_vec(&sample()).unwrap();
        bytes.truncate(bytes.len() / 2);
        for damaged in [&bytes[..], b"", b"{}", b"\0\0\0\0", b"{\"version\":0}"] {
            std::fs::write(&path, damaged).unwrap();
            let Found::Damaged(aside) = Queue::load(&path, Timestamp::from_millis(5_000)).unwrap() else {
                panic!("{damaged:?} is damaged")
            };
            assert_eq!(std::fs::read(&aside).unwrap(), damaged);
            assert!(aside.ends_with("mail.damaged-5.json") && !path.exists());
        }
        std::fs::write(&path, "{\"version\":2,\"what\":\"ever\"}").unwrap();
        assert!(matches!(Queue::load(&path, Timestamp::default()), Err(QueueError::Newer(_))));
        assert!(path.exists());
    }
}
