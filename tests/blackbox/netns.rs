//! A network of a scenario's own, in which any address can be this machine's and the name server is ours.
//!
//! The scenario runs once more in a process of its own, in new network and mount namespaces, where everything takes place:
//! daemon, receivers, name server. Nothing that is sent there can leave the machine.

use std::process::Command;

use anyhow::Context as _;

use crate::bed::{Context, Report};
use crate::disk::has_tool;

const INSIDE: &str = "BLACKBOX_INSIDE_NETNS";

/// The loopback device with all addresses, rules in which something can come before them, and the name server in resolv.conf.
const PREPARE: &str = "set -e\n\
    ip link set lo up\n\
    for address in $ADDRESSES; do ip address add \"$address\" dev lo; done\n\
    ip rule add pref 10 lookup local && ip rule del pref 0\n\
    mount --bind \"$RESOLV_CONF\" /etc/resolv.conf\n\
    exec \"$0\" --exact \"$SCENARIO\"\n";

/// Where the name server of a scenario listens.
pub(crate) const NAME_SERVER: &str = "127.0.0.53:53";

/// `None` inside of the namespace, where the scenario goes on. Outside: how it went in there.
pub(crate) async fn outside(context: &Context, scenario: &str, addresses: &[String]) -> anyhow::Result<Option<Report>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(Some(Report::Skipped("needs root for a network namespace".to_owned())));
    }
    for tool in ["unshare", "ip", "mount"] {
        if !has_tool(tool) {
            return Ok(Some(Report::Skipped(format!("needs {tool}"))));
        }
    }
    let resolv_conf = context.work.join("resolv.conf");
    std::fs::write(&resolv_conf, "nameserver 127.0.0.53\n")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "--kill-child", "--fork", "sh", "-c", PREPARE]);
    command.arg(std::env::current_exe()?);
    command.env(INSIDE, "1").env("SCENARIO", scenario).env("ADDRESSES", addresses.join(" "));
    command.env("RESOLV_CONF", resolv_conf).env("SEED", context.seed.to_string());
    command.env("POSTRIDER_BIN", &context.binary);
    let output = tokio::task::spawn_blocking(move || command.output()).await?.context("unshare")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures = said.lines().find_map(|line| line.split_once("PASS ")?.1.split_once(": "));
    match figures {
        Some((_, figures)) if output.status.success() => Ok(Some(Report::Held(figures.to_owned()))),
        _ => anyhow::bail!("in its namespace: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}
