//! T8: another user of this machine, who has no token, at the port, the sockets, the files and the process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;
use serde_json::Value;

use crate::bed::{Bed, Context, Report};
use crate::disk::has_tool;
use crate::http;

const NOBODY: &str = "65534";

/// Runs a program as the user that owns nothing.
fn as_nobody(program: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    let user = [&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--", program]
        .map(str::to_owned);
    let output = Command::new("setpriv").args(user).args(arguments).current_dir("/").output();
    output.with_context(|| format!("{program} as nobody"))
}

/// The status of an answer; 0 when there was none.
fn curl(arguments: &[&str]) -> anyhow::Result<u16> {
    let all = [&["-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}"], arguments].concat();
    let output = as_nobody("curl", &all)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

pub(crate) async fn another_user(context: Context) -> anyhow::Result<Report> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Report::Skipped("needs root to become somebody else".to_owned()));
    }
    for tool in ["setpriv", "curl"] {
        if !has_tool(tool) {
            return Ok(Report::Skipped(format!("needs {tool}")));
        }
    }
    let bed = Bed::plain(&context).await?;
    // What protects is to be the daemon's doing, not the work directory's.
    std::fs::set_permissions(&context.work, std::fs::Permissions::from_mode(0o755))?;
    let text = std::fs::read_to_string(&bed.site.config)?;
    std::fs::write(&bed.site.config, format!("{text}[admin]\nreadonly_group = \"root\"\n"))?;
    let mut daemon = bed.site.start().await?;
    let target = daemon.target().await?;
    bed.site.create_webhook("now", &bed.receiver.url("/now")).await?;
    bed.site.cli_ok(&["backup", context.work.join("backup.tar").to_str().context("UTF-8")?]).await?;
    let tried = tokens(&target.token, &format!("http://{}", target.address))?;
    let looked = reads(&format!("http://{}", target.address), &target.token)?;
    let sockets = [bed.site.socket.clone(), bed.site.socket.with_file_name("readonly.sock")];
    for socket in &sockets {
        let path = socket.to_str().context("UTF-8")?;
        let code = curl(&["--unix-socket", path, "http://x/v1/webhooks"])?;
        anyhow::ensure!(code == 0, "nobody got {code} on {path}");
        anyhow::ensure!(http::admin(socket, "GET", "/v1/webhooks", None).await?.status == 200, "the owner got nothing");
    }
    let files = files(&bed.site.state, &context.work.join("backup.tar"))?;
    let pid = daemon.pid().to_string();
    for (what, program, arguments) in [
        ("kill it", "kill", vec!["-9", pid.as_str()]),
        ("stop it", "kill", vec!["-STOP", pid.as_str()]),
        ("read its environment", "cat", vec![&*format!("/proc/{pid}/environ")]),
        ("read its memory map", "cat", vec![&*format!("/proc/{pid}/maps")]),
        ("see its descriptors", "ls", vec![&*format!("/proc/{pid}/fd")]),
    ] {
        anyhow::ensure!(!as_nobody(program, &arguments)?.status.success(), "nobody could {what}");
    }
    let status: Value = http::admin(&bed.site.socket, "GET", "/v1/status", None).await?.json()?;
    anyhow::ensure!(status["ingest"]["accepted"] == 1, "stored: {}", status["ingest"]["accepted"]);
    daemon.stop().await?;
    Ok(Report::Held(format!("wrong_tokens={tried} stored=0 reads={looked} files={files} sockets={}", sockets.len())))
}

/// Posts with every kind of wrong token; then, to show that it is the token, with the right one.
fn tokens(token: &str, port: &str) -> anyhow::Result<usize> {
    let url = format!("{port}/v1/events/AML_MONITORING");
    let post = |headers: &[String]| {
        let mut arguments = vec!["-d", "{}", "-H", "Content-Type: application/json"];
        for header in headers {
            arguments.extend(["-H", header.as_str()]);
        }
        arguments.push(&url);
        curl(&arguments)
    };
    let (half, upper, swapped) =
        (&token[..token.len() / 2], token.to_uppercase(), token.chars().rev().collect::<String>());
    let last = if token.ends_with('0') { "1" } else { "0" };
    let other_end = format!("{}{last}", &token[..token.len() - 1]);
    let values = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {half}"),
        format!("Bearer {token}0"),
        format!("Bearer {token} x"),
        format!("Bearer 0{token}"),
        format!("Bearer {upper}"),
        format!("Bearer {swapped}"),
        format!("Bearer {other_end}"),
        format!("Basic {token}"),
        token.to_owned(),
        format!("Bearer \"{token}\""),
        format!("Bearer {token},{token}"),
        format!("Token {token}"),
        "Bearer null".to_owned(),
        "Bearer *".to_owned(),
        format!("Bearer {}", "A".repeat(token.len())),
        format!("Bearer {}", "A".repeat(4_000)),
    ];
    for value in &values {
        let code = post(&[format!("Authorization: {value}")])?;
        anyhow::ensure!(code == 401, "a post with {value:?} got {code}");
    }
    for (what, headers) in [
        ("none", vec![]),
        ("the right one first", vec![format!("Authorization: Bearer {token}"), "Authorization: Bearer x".to_owned()]),
        ("a wrong one first", vec!["Authorization: Bearer x".to_owned(), format!("Authorization: Bearer {token}")]),
        ("as a cookie", vec![format!("Cookie: token={token}")]),
    ] {
        let code = post(&headers)?;
        anyhow::ensure!(code == 401 || code == 400, "a post with {what} got {code}");
    }
    let right = post(&[format!("Authorization: Bearer {token}")])?;
    anyhow::ensure!(right == 202, "with the right token it got {right}");
    Ok(values.len() + 4)
}

/// Nothing can be read on the port for events, with a token or without, but whether it is well.
fn reads(port: &str, token: &str) -> anyhow::Result<usize> {
    let paths = [
        "/",
        "/v1",
        "/v1/",
        "/v1/events",
        "/v1/events/AML_MONITORING",
        "/v1/webhooks",
        "/v1/deliveries",
        "/v1/status",
        "/v1/keys",
        "/v1/audit",
        "/metrics",
        "/openapi.json",
        "/v1/stats",
        "/v1/events/batch",
        "/ingest.token",
        "/../ingest.token",
        "/v1/backup",
    ];
    let bearer = format!("Authorization: Bearer {token}");
    let mut count = 0;
    for path in paths {
        for method in ["GET", "DELETE", "PUT", "PATCH", "OPTIONS"] {
            let code = curl(&["--path-as-is", "-X", method, "-H", &bearer, &format!("{port}{path}")])?;
            anyhow::ensure!(matches!(code, 400..=499), "{method} {path} got {code}");
            count += 1;
        }
    }
    anyhow::ensure!(curl(&[&format!("{port}/healthz")])? == 200, "/healthz");
    Ok(count)
}

/// Nobody can read, list or write anything of the state directory, nor a backup.
fn files(state: &Path, backup: &Path) -> anyhow::Result<usize> {
    let mut all = vec![state.to_owned(), backup.to_owned()];
    let mut folders = vec![state.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path: PathBuf = entry?.path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            all.push(path);
        }
    }
    for path in &all {
        let text = path.to_str().context("UTF-8")?;
        for (what, program, arguments) in [
            ("read", "cat", vec![text]),
            ("list", "ls", vec![text, "-R"]),
            ("write", "touch", vec![text]),
            ("enter", "test", vec!["-r", text]),
        ] {
            // Listing a file by its name is not reading it; what lies in a folder that cannot be entered has no name.
            let fine = what == "list" && path == backup || !as_nobody(program, &arguments)?.status.success();
            anyhow::ensure!(fine, "nobody could {what} {text}");
        }
    }
    Ok(all.len())
}
