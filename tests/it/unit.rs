//! The units under `packaging/systemd`: how much a daemon that was taken over could do, and whether what they say fits the
//! program. Where `systemd-analyze` is not installed, the score is not known, and the table of threats says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rows::covered;

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd").join(name)
}

/// The values of a key, in order.
fn values(name: &str, key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(unit(name)).unwrap();
    let assigned = text.lines().filter_map(|line| line.split_once('='));
    assigned.filter(|(found, _)| *found == key).map(|(_, value)| value.to_owned()).collect()
}

#[test]
fn the_unit_leaves_a_captured_daemon_little() {
    let test = "the_unit_leaves_a_captured_daemon_little";
    let analysis = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=15"])
        .arg(unit("postrider.service"))
        .output();
    let Ok(analysis) = analysis else {
        covered(&["T23"], test, "SKIPPED on this machine: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&analysis.stdout);
    assert!(analysis.status.success(), "more exposed than 1.5: {said}{}", String::from_utf8_lossy(&analysis.stderr));
    let level = said.lines().find_map(|line| line.split_once("postrider.service: ")).unwrap().1;
    let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
    covered(&["T23"], test, format!("exposure {level} of 10, at most 1.5"));
}

#[test]
fn the_units_say_what_the_program_knows() {
    assert_eq!(values("postrider.socket", "FileDescriptorName"), ["ingest"]);
    assert_eq!(values("postrider-admin.socket", "FileDescriptorName"), ["admin"]);
    assert_eq!(
        values("postrider.socket", "ListenStream"),
        [postrider::config::Config::default().ingest.listen.to_string()]
    );
    // Sockets of systemd lie in it, and would be gone after a stop.
    assert_eq!(values("postrider.service", "RuntimeDirectoryPreserve"), ["yes"]);
    // The codes of a start that cannot work: usage and configuration.
    assert_eq!(values("postrider.service", "RestartPreventExitStatus"), ["64 78"]);
    for socket in ["postrider.socket", "postrider-admin.socket"] {
        assert_eq!(values(socket, "Service"), ["postrider.service"]);
        // With Accept=yes the daemon would get one connection instead of the socket.
        assert_eq!(values(socket, "Accept"), [""; 0]);
    }
}
