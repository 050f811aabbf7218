//! Backup and restore, as an operator does it. What other programs can check of a backup, they check: `tar` and
//! `sha256sum` are not ours.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use postrider::backup::{BackupError, unpack};
use serde_json::{Value, json};

use crate::rows::covered;
use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, answer};

const EVENTS: usize = 20;
const KEY: &str = "canary-signing-key-of-the-backup";

struct Bed {
    daemon: Daemon,
    receiver: Receiver,
}

impl Bed {
    /// `open` has everything, `waits` is paused.
    fn new() -> Self {
        let daemon = Daemon::start("");
        let receiver = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
        for (name, paused) in [("open", false), ("waits", true)] {
            let hook = json!({"name": name, "url": receiver.url(&format!("/{name}")), "event_types": ["*"],
                "paused": paused, "signing_key": KEY});
            assert_eq!(daemon.admin("POST /v1/webhooks", &hook.to_string()).status, 201);
        }
        let bed = Self { daemon, receiver };
        bed.post("early", EVENTS);
        bed
    }

    fn post(&self, name: &str, count: usize) {
        for number in 0..count {
            let body = format!("{{\"scanRef\":\"{name}-{number}\"}}");
            assert_eq!(self.daemon.post("/v1/events/SOS_REPORT", &body).status, 202);
        }
        self.until("open", "delivered", |found| found.iter().filter(|one| one.starts_with(name)).count() == count);
    }

    /// The references of a webhook's deliveries in a state.
    fn until(&self, webhook: &str, state: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        self.daemon.until(&format!("{webhook} {state}"), |daemon| {
            let list = daemon.admin(&format!("GET /v1/deliveries?webhook={webhook}&state={state}&limit=200"), "");
            let list = (list.status == 200).then(|| list.json())?;
            let items = list["items"].as_array()?;
            let mut found: Vec<String> =
                items.iter().map(|one| one["references"][0].as_str().unwrap().to_owned()).collect();
            found.sort();
            wanted(&found).then_some(found)
        })
    }

    fn path(&self, name: &str) -> String {
        self.daemon.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn backup(&self) -> Vec<u8> {
        let done = self.daemon.cli(&["backup", &self.path("backup.tar")]);
        assert!(done.status.success(), "{done:?}");
        std::fs::read(self.path("backup.tar")).unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Everything below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.to_str().unwrap().to_owned());
        if path.is_dir() {
            found.extend(files(&path));
        }
    }
    found
}

#[test]
fn a_backup_of_a_running_daemon_starts_elsewhere_and_nothing_is_sent_twice() {
    let mut bed = Bed::new();
    let bytes = bed.backup();
    let file = bed.path("backup.tar");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    for secret in [KEY, &bed.daemon.token] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "a secret lies open in it");
    }
    // What others make of it.
    let elsewhere = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(&elsewhere).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
    };
    run("tar", &["-xf", &file]);
    run("sha256sum", &["--check", "--strict", "--quiet", "SHA256SUMS"]);
    let config = bed.daemon.admin("GET /v1/export", "").json();
    let entry = &bed.daemon.admin("GET /v1/audit?limit=1", "").json()["items"][0];
    assert_eq!(entry["action"], "store.backup");

    // Life goes on, and is lost with the disk.
    bed.post("late", 5);
    assert_eq!(bed.daemon.stop(), 0);
    std::fs::rename(bed.path("state"), bed.path("lost")).unwrap();
    let restored = bed.daemon.cli(&["restore", &file, "--json"]);
    assert!(restored.status.success(), "{restored:?}");
    let told: Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!((told["missing_key"].as_str().unwrap(), &told["damaged"]), (&*bed.path("state/master.key"), &json!(0)));
    std::fs::copy(bed.path("lost/master.key"), bed.path("state/master.key")).unwrap();
    bed.daemon.start_again();
    let early = bed.until("open", "delivered", |found| found.len() >= EVENTS);
    assert!(early.len() == EVENTS && early.iter().all(|reference| reference.starts_with("early")), "{early:?}");
    bed.until("waits", "pending", |found| found.len() == EVENTS);
    assert_eq!(bed.daemon.admin("GET /v1/export", "").json(), config, "sealed secrets and all");
    assert!(bed.daemon.cli(&["verify"]).status.success());
    // Tokens are as good as before, and what waited goes out; what was delivered does not.
    assert_eq!(bed.daemon.post("/v1/events/SOS_REPORT", "{\"scanRef\":\"new\"}").status, 202);
    bed.daemon.admin("POST /v1/webhooks/waits/resume", "");
    bed.until("waits", "delivered", |found| found.len() == EVENTS + 1);
    bed.until("open", "delivered", |found| found.len() == EVENTS + 1);
    let received = bed.receiver.received(0);
    assert_eq!(received.len(), 2 * (EVENTS + 1) + 5, "each once to each, and what came after the backup");
    covered(
        &["F41", "T24"],
        "a_backup_of_a_running_daemon_starts_elsewhere_and_nothing_is_sent_twice",
        "0 secrets in it, 0 sent twice",
    );
}

#[test]
fn nothing_is_restored_over_anything() {
    let mut bed = Bed::new();
    bed.backup();
    let file = bed.path("backup.tar");
    let refused = |output: &Output, code: i32, words: &str| {
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(said(output).contains(words), "{output:?}");
    };
    refused(&bed.daemon.cli(&["restore", &file]), 75, "in use by another postrider");
    assert_eq!(bed.daemon.stop(), 0);
    let before = files(&bed.daemon.folder.path().join("state"));
    refused(&bed.daemon.cli(&["restore", &file]), 73, "holds a store already");
    assert_eq!(files(&bed.daemon.folder.path().join("state")), before);
    refused(&bed.daemon.cli(&["restore", &bed.path("none.tar")]), 66, "none.tar");
    refused(&bed.daemon.cli(&["backup", &file]), 69, "cannot be reached");
    assert!(!Path::new(&bed.path("backup.tar.unfinished")).exists());
    // A file that is no backup leaves a directory that can be used.
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(bed.path("half.tar"), &whole[..whole.len() / 2]).unwrap();
    std::fs::rename(bed.path("state"), bed.path("away")).unwrap();
    for wrong in ["half.tar", "postrider.toml"] {
        refused(&bed.daemon.cli(&["restore", &bed.path(wrong)]), 65, "not a whole backup");
        assert_eq!(files(&bed.daemon.folder.path().join("state")), [bed.path("state/lock")]);
    }
    // Standard input will do, and no terminal gets one.
    let mut child = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(["--state-dir", &bed.path("state"), "restore", "-"])
        .env_clear()
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&whole).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(Path::new(&bed.path("state/FORMAT")).exists());
}

/// Journal files and what is in them.
fn journal(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = files(folder)
        .into_iter()
        .filter(|path| path.ends_with(".seg"))
        .map(|path| (path[folder.to_str().unwrap().len()..].to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

#[test]
fn only_a_whole_backup_is_unpacked() {
    let bed = Bed::new();
    let whole = bed.backup();
    let unpacked = |bytes: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        let result = unpack(bytes, folder.path());
        (result, journal(folder.path()))
    };
    let (result, good) = unpacked(&whole);
    let sums = whole.windows(10).rposition(|part| part == b"SHA256SUMS").unwrap();
    assert!(result.unwrap().records > EVENTS as u64);
    // Cut anywhere before the end of the last file.
    for length in (0..sums).step_by(97) {
        assert!(matches!(unpacked(&whole[..length]).0, Err(BackupError::Bad(_))), "cut at {length}");
    }
    // A flipped bit is noticed, or was in what fills up a block.
    let (mut noticed, mut tried) = (0, 0);
    for at in (0..sums).step_by(53) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let (result, files) = unpacked(&bytes);
        tried += 1;
        match result {
            Err(_) => noticed += 1,
            Ok(_) => assert_eq!(files, good, "bit in byte {at}"),
        }
    }
    assert!(noticed * 2 > tried, "{noticed} of {tried}");
    covered(
        &["F41"],
        "only_a_whole_backup_is_unpacked",
        format!("{noticed} of {tried} flipped bits refused, the rest in padding"),
    );
}

#[test]
fn an_archive_can_not_write_elsewhere() {
    let about = json!({"format": 1, "version": "0.1.0", "taken_at_ms": 1, "position": 1, "segments": 0}).to_string();
    let archive = |name: &str, kind: tar::EntryType, about: &str| {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: tar::EntryType, bytes: &[u8]| {
            let mut header = tar::Header::new_old();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o777);
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            archive.append(&header, bytes).unwrap();
        };
        add("postrider-backup.json", tar::EntryType::Regular, about.as_bytes());
        add(name, kind, b"");
        archive.into_inner().unwrap()
    };
    let regular = tar::EntryType::Regular;
    let names = [
        "../out",
        "/out",
        "journal/../../out",
        "journal/2026-11-23/../../../out.seg",
        "journal/2026-11-23/1.seg",
        "FORMAT",
        "master.key",
        "journal",
        "journal/2026-11-99/00000000000000000001.seg",
        "./mail.json",
        "mail.json/",
        "journal/2026-11-23/0000000000000000000a.seg",
        "journal/2026-11-23/00000000000000000001.seg/x",
    ];
    let good = "journal/2026-11-23/00000000000000000001.seg";
    let mut cases: Vec<(&str, tar::EntryType)> = names.map(|name| (name, regular)).to_vec();
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Directory, tar::EntryType::Fifo] {
        cases.push((good, kind));
    }
    for (name, kind) in cases {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("into");
        std::fs::create_dir(&folder).unwrap();
        let refused = unpack(&archive(name, kind, &about)[..], &folder);
        assert!(matches!(refused, Err(BackupError::Bad(_))), "{name} {kind:?}: {refused:?}");
        assert_eq!(files(parent.path()), [folder.to_str().unwrap()], "{name} {kind:?}");
    }
    let future = about.replace("\"format\":1", "\"format\":2");
    let folder = tempfile::tempdir().unwrap();
    let refused = unpack(&archive(good, regular, &future)[..], folder.path());
    assert!(matches!(refused, Err(BackupError::Format(2, _))), "{refused:?}");
}
