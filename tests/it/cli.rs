//! A sysadmin's first hour on the command line, as transcripts: every command and what it says.
//! `TRYCMD=overwrite cargo test --test it first_hour` writes down what is said now.

use std::path::Path;

use crate::support::daemon::Daemon;
use crate::support::receiver::{Receiver, answer};

/// What differs from run to run, and is `[..]` in the transcripts.
const VARIABLE: [&str; 7] = [
    "evt_[0-9a-z]{26}",
    "dlv_[0-9a-z]{29}",
    "wh_[0-9a-z]{26}",
    "job_[0-9a-z]+",
    "prt_[0-9A-Za-z_-]+",
    "20[0-9-]{8}[ T][0-9:.]{8,12}(Z| UTC)",
    " *[0-9.]+ ms",
];

/// Runs one part of the hour. Addresses of receivers are put in before, and taken out again.
#[expect(clippy::disallowed_methods, reason = "a test's knob, read where it is used")]
fn part(daemon: &Daemon, name: &str, folder: &Path, addresses: &[(&str, String)]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name);
    let mut text = std::fs::read_to_string(&source).unwrap();
    for (placeholder, address) in addresses {
        text = text.replace(placeholder, address);
    }
    let copy = folder.join(name);
    std::fs::write(&copy, text).unwrap();
    let cases = trycmd::TestCases::new();
    cases.register_bin("postrider", Path::new(env!("CARGO_BIN_EXE_postrider")));
    cases.env("POSTRIDER_STATE_DIR", daemon.folder.path().join("state").to_str().unwrap());
    cases.env("TZ", "UTC");
    cases.env("SUDO_USER", "");
    cases.case(&copy);
    // What it says is compared here.
    cases.run();
    if std::env::var_os("TRYCMD").is_some_and(|mode| mode == "overwrite") {
        let mut text = std::fs::read_to_string(&copy).unwrap();
        for (placeholder, address) in addresses {
            text = text.replace(address.as_str(), placeholder);
        }
        for pattern in VARIABLE {
            text = regex::Regex::new(pattern).unwrap().replace_all(&text, "[..]").into_owned();
        }
        std::fs::write(source, text).unwrap();
    }
}

#[test]
fn a_first_hour() {
    let daemon = Daemon::start("[email]\nsmtp = \"\"\n");
    let good = Receiver::start(Box::new(|_| Some(answer("200 OK", &[], ""))));
    let bad = Receiver::start(Box::new(|_| Some(answer("503 Service Unavailable", &[], "come back later"))));
    let addresses = [("[GOOD]", good.address.to_string()), ("[BAD]", bad.address.to_string())];
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("key", "a signing key\n".to_owned()),
        ("token", daemon.token.clone()),
        ("wanted.json", r#"{"scanRef":"wanted-1","final":true}"#.to_owned()),
        ("unwanted.json", r#"{"scanRef":"unwanted-1","final":false}"#.to_owned()),
        ("parcel.schema.json", r#"{"type":"object","required":["id"]}"#.to_owned()),
        (
            "more.toml",
            format!(
                "postrider_export = 1\n[[webhooks]]\nname = \"review\"\nurl = \"http://{}/review\"\nevent_types = [\"COMPANY_REVIEW\"]\n",
                good.address
            ),
        ),
    ];
    for part in ["1-morning", "2-noon", "3-afternoon"] {
        let folder = folder.path().join(format!("{part}.in"));
        std::fs::create_dir(&folder).unwrap();
        for (name, text) in &files {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
    part(&daemon, "1-morning.trycmd", folder.path(), &addresses);
    let states = |daemon: &Daemon| {
        let list = daemon.admin("GET /v1/deliveries", "").json();
        let mut states: Vec<String> =
            list["items"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect();
        states.sort();
        states
    };
    daemon.until("the first failure", |daemon| (states(daemon) == ["failed", "skipped"]).then_some(()));
    part(&daemon, "2-noon.trycmd", folder.path(), &addresses);
    daemon.until("the delivery", |daemon| (states(daemon) == ["delivered", "skipped"]).then_some(()));
    part(&daemon, "3-afternoon.trycmd", folder.path(), &addresses);
}
