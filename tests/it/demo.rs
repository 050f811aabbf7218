//! `postrider demo`: a world that is alive at once, varied, and gone without a trace.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
    command.args(["demo", "--no-ui", "--json"]).args(arguments).env_clear().env("TMPDIR", folder).stdin(Stdio::null());
    command
}

fn within(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn deliveries_of_several_outcomes_and_nothing_left_over() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--seconds", "3"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let deliveries: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let of = |field: &str| -> BTreeSet<String> {
        deliveries.iter().filter_map(|one| Some(one[field].as_str()?.to_owned())).collect()
    };
    let states = of("state");
    assert!(["delivered", "pending", "skipped"].iter().all(|state| states.contains(*state)), "{states:?}");
    assert!(of("webhook_name").len() >= 4, "{:?}", of("webhook_name"));
    assert!(of("event_type").len() >= 6, "{:?}", of("event_type"));
    let codes: BTreeSet<u64> = deliveries.iter().filter_map(|one| one["last_code"].as_u64()).collect();
    assert!(codes.contains(&200) && codes.len() >= 2, "{codes:?}");
    assert!(within(folder.path()).is_empty(), "{said}");
}

#[test]
fn it_ends_at_once_when_it_is_told_to() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = demo(folder.path(), &[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // There is something to see, so everything runs.
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert!(first["id"].as_str().unwrap().starts_with("dlv_"));
        let [directory] = within(folder.path()).try_into().unwrap();
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(directory.join("admin.sock").exists());
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        for line in lines {
            line.unwrap();
        }
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(within(folder.path()).is_empty());
    }
}

#[test]
fn without_a_place_for_it_nothing_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder.path().join("none"), &["--seconds", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("none/postrider-demo-"), "{said}");
}
