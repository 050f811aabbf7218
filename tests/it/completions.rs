//! What a shell is told while somebody types: asked the way the shells' own scripts ask.

use std::process::Command;

use serde_json::json;

use crate::support::daemon::Daemon;

fn complete(daemon: &Daemon, words: &[&str]) -> Vec<String> {
    let socket = daemon.folder.path().join("state/admin.sock");
    let told = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(["--", "postrider"])
        .args(words)
        .env_clear()
        .env("POSTRIDER_COMPLETE", "fish")
        .env("POSTRIDER_SOCKET", socket)
        .output()
        .unwrap();
    assert!(told.status.success(), "{told:?}");
    let lines = String::from_utf8(told.stdout).unwrap();
    lines.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn commands_names_and_event_types_are_completed() {
    let mut daemon = Daemon::start("");
    for name in ["aml-watch", "aml-billing", "kyc"] {
        let webhook = json!({"name": name, "url": "http://127.0.0.1:9/", "event_types": ["*"]}).to_string();
        assert_eq!(daemon.admin("POST /v1/webhooks", &webhook).status, 201);
    }
    assert_eq!(complete(&daemon, &["webho"]), ["webhook"]);
    assert_eq!(complete(&daemon, &["webhook", "test", "aml"]), ["aml-billing", "aml-watch"]);
    assert_eq!(complete(&daemon, &["delivery", "list", "--webhook", "k"]), ["kyc"]);
    assert_eq!(complete(&daemon, &["event", "send", "aml_mon"]), ["AML_MONITORING", "AML_MONITORING_EXPIRATION"]);
    assert_eq!(complete(&daemon, &["key", "revoke", "d"]), ["default"]);
    assert!(complete(&daemon, &["delivery", "list", "--st"]).contains(&"--state".to_owned()));
    daemon.stop();
    // Nobody answers: what is known anyway is still there.
    assert_eq!(complete(&daemon, &["webhook", "test", "aml"]), [""; 0]);
    assert_eq!(complete(&daemon, &["event", "send", "aml_mon"]), ["AML_MONITORING", "AML_MONITORING_EXPIRATION"]);
}

#[test]
fn each_shell_gets_its_script() {
    for (shell, words) in [("bash", "complete "), ("zsh", "#compdef postrider"), ("fish", "complete ")] {
        let told = Command::new(env!("CARGO_BIN_EXE_postrider")).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(told.stdout).unwrap();
        assert!(told.status.success() && script.contains(words) && script.contains("POSTRIDER_COMPLETE"), "{script}");
        // A shell that is here has to take it.
        let checked = Command::new(shell).args(["-n", "/dev/stdin"]).stdin(std::process::Stdio::piped()).spawn();
        if let Ok(mut child) = checked {
            use std::io::Write as _;
            child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{shell} does not take it");
        }
    }
    let told = Command::new(env!("CARGO_BIN_EXE_postrider")).args(["completions", "tcsh"]).output().unwrap();
    assert_eq!(told.status.code(), Some(64));
}
