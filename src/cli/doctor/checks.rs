//! What is judged, one function a check: from facts to a verdict and what to do.
//!
//! Nothing here looks at the machine. Invariant: whatever is not in order says what to do about it.

use super::super::status::{bytes, span};
use crate::admin::protocol::Status;
use crate::domain::text::printable;

/// How a check ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Fine,
    Doubtful,
    Wrong,
}

impl Verdict {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Doubtful => "warn",
            Self::Wrong => "FAIL",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) found: String,
    /// What to do; empty when all is well.
    pub(super) advice: String,
}

pub(super) fn fine(name: &'static str, found: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Fine, found: found.into(), advice: String::new() }
}

pub(super) fn doubtful(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Doubtful, found: found.into(), advice: advice.into() }
}

pub(super) fn wrong(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Wrong, found: found.into(), advice: advice.into() }
}

/// Everything that the daemon's own report tells.
pub(super) fn of_status(status: &Status) -> Vec<Check> {
    vec![version(status), accepting(status), space(status), journal(status), index(status), pending(status)]
        .into_iter()
        .chain([webhooks(status), mail(status), trust(status), names(status), descriptors(status), reload(status)])
        .collect()
}

fn version(status: &Status) -> Check {
    let own = env!("CARGO_PKG_VERSION");
    if status.version == own {
        return fine("version", format!("{own}, daemon and command"));
    }
    let found = format!("the daemon is {}, this command {own}", printable(&status.version));
    doubtful("version", found, "restart the daemon after an upgrade: systemctl restart postrider")
}

fn accepting(status: &Status) -> Check {
    let ingest = &status.ingest;
    if ingest.accepting {
        return fine("ingest", format!("accepts events on {}", ingest.listen));
    }
    let reason = ingest.reason.as_deref().unwrap_or("no reason is known");
    wrong("ingest", format!("refuses events: {reason}"), "see the problems in `postrider status`")
}

fn space(status: &Status) -> Check {
    let disk = &status.disk;
    let found = format!("{} free of {} at {}", bytes(disk.free_bytes), bytes(disk.total_bytes), disk.path);
    if disk.below_floor {
        let advice = format!("new events are refused below {}: free some space", bytes(disk.floor_bytes));
        return wrong("disk", found, advice);
    }
    if disk.free_bytes < disk.floor_bytes.saturating_mul(2) {
        return doubtful("disk", found, format!("new events are refused below {}", bytes(disk.floor_bytes)));
    }
    fine("disk", found)
}

fn journal(status: &Status) -> Check {
    let journal = &status.journal;
    if let Some(why) = &journal.failure {
        return wrong("journal", format!("it failed: {why}"), "mend the disk and restart the daemon");
    }
    let since = journal.oldest_day.as_ref().map_or(String::new(), |day| format!(", the oldest of {day}"));
    let found = format!("{} in {} segments{since}", bytes(journal.bytes), journal.segments);
    if journal.quarantined > 0 {
        let found = format!("{found}; {} damaged stretches were set aside", journal.quarantined);
        return wrong("journal", found, "check the disk (smartctl -a), and see `postrider verify`");
    }
    fine("journal", found)
}

fn index(status: &Status) -> Check {
    let index = &status.index;
    let detail = index.detail.as_ref().map_or(String::new(), |detail| format!(": {detail}"));
    let found = format!("{}{detail}, {}", index.state, bytes(index.bytes));
    match index.state.as_str() {
        "ready" if index.rebuilds > 0 => {
            let found = format!("{found}, built anew {} times since the start", index.rebuilds);
            doubtful("index", found, "it was damaged: check the disk (smartctl -a)")
        }
        "ready" => fine("index", found),
        "opening" | "rebuilding" => {
            doubtful("index", found, "searching works when it is done; nothing else waits for it")
        }
        _ => wrong("index", found, "searching does not work; see the log"),
    }
}

/// An event older than this has been through every retry of the usual plans.
const LONG_PENDING: u64 = 24 * 3600;

fn pending(status: &Status) -> Check {
    match status.oldest_pending_seconds {
        None => fine("pending", format!("{} deliveries", status.pending)),
        Some(age) if age > LONG_PENDING => doubtful(
            "pending",
            format!("{} deliveries, the oldest for {}", status.pending, span(age)),
            "see `postrider delivery list --state pending`; is a webhook paused?",
        ),
        Some(age) => fine("pending", format!("{} deliveries, the oldest for {}", status.pending, span(age))),
    }
}

fn webhooks(status: &Status) -> Check {
    if status.webhooks == 0 {
        return doubtful("webhooks", "there is none", "make one: postrider webhook create --help");
    }
    if status.failing_webhooks.is_empty() {
        return fine("webhooks", format!("{}, none is failing", status.webhooks));
    }
    let names: Vec<_> = status.failing_webhooks.iter().map(|name| printable(name)).collect();
    let found = format!("{} of {} are failing: {}", names.len(), status.webhooks, names.join(", "));
    wrong("webhooks", found, "postrider webhook test NAME tells why")
}

fn mail(status: &Status) -> Check {
    let email = &status.email;
    if !email.configured {
        return doubtful("mail", "no mail server is set", "nobody is told of failures: set [email] smtp");
    }
    if email.failing {
        let why = email.last_error.as_deref().unwrap_or("see the log");
        let found = format!("does not get out, {} failures are not told: {why}", email.held_failures);
        return wrong("mail", found, "postrider email test ADDRESS tries it");
    }
    match &email.last_sent_at {
        Some(at) => fine("mail", format!("the last went out at {at}")),
        None => fine("mail", "nothing had to be sent since the start; postrider email test ADDRESS tries it"),
    }
}

fn trust(status: &Status) -> Check {
    match &status.egress {
        Some(egress) if !egress.verifies_tls => wrong(
            "certificates",
            "there is no certificate authority, so no https receiver can be verified",
            "install ca-certificates, or set [egress] ca_file",
        ),
        _ => fine("certificates", "https receivers are verified"),
    }
}

fn names(status: &Status) -> Check {
    match &status.egress {
        Some(egress) if !egress.resolves_names => {
            wrong("resolver", "no name server can be used", "see /etc/resolv.conf; only /etc/hosts answers")
        }
        _ => fine("resolver", "name servers are known"),
    }
}

fn descriptors(status: &Status) -> Check {
    let Some(process) = &status.process else { return fine("descriptors", "not told by this daemon") };
    let found = format!("{} of {} are open", process.descriptors, process.descriptors_max);
    if process.descriptors_max < 4096 || process.descriptors > process.descriptors_max / 10 * 8 {
        return doubtful("descriptors", found, "raise the limit: LimitNOFILE=65536 in the unit, or ulimit -n");
    }
    fine("descriptors", found)
}

fn reload(status: &Status) -> Check {
    match &status.config_refused {
        Some(why) => {
            let found = format!("the file was refused when it was last read: {why}");
            wrong("reload", found, "mend it (postrider check-config), then systemctl reload postrider")
        }
        None => fine("reload", "what the file says is in force"),
    }
}

/// How the daemon is confined, from `/proc/PID/status`.
pub(super) fn confinement(proc_status: Option<&str>) -> Check {
    const NAME: &str = "confinement";
    const ADVICE: &str = "run it by its unit: systemctl enable --now postrider";
    let Some(text) = proc_status else { return fine(NAME, "cannot be told from here") };
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim).unwrap_or_default().to_owned()
    };
    let uid = field("Uid").split_whitespace().nth(1).unwrap_or_default().to_owned();
    let may = u64::from_str_radix(&field("CapEff"), 16).unwrap_or(u64::MAX);
    let mut lacks = Vec::new();
    if uid == "0" {
        lacks.push("it runs as root");
    }
    if may != 0 {
        lacks.push("it has capabilities");
    }
    if field("NoNewPrivs") != "1" {
        lacks.push("it may gain privileges");
    }
    if field("Seccomp") != "2" {
        lacks.push("no system call is filtered");
    }
    if lacks.is_empty() {
        return fine(NAME, format!("user {uid}, no capabilities, no new privileges, system calls filtered"));
    }
    doubtful(NAME, lacks.join(", "), ADVICE)
}

/// The proxy that is configured, and proxy variables, which are not used.
pub(super) fn proxy(set: &[&str], configured: Option<&str>) -> Check {
    match (set, configured) {
        (_, Some(proxy)) => fine("proxy", format!("deliveries go through {proxy}")),
        ([], None) => fine("proxy", "none is configured, and no proxy variable is set here"),
        (_, None) => {
            let found = format!("{} set here", set.join(", "));
            doubtful("proxy", found, "deliveries take no notice of it: set egress.proxy if they need a proxy")
        }
    }
}

/// What keeps the clock in step; `None` when nothing is known to.
pub(super) fn clock(keeper: Option<&str>) -> Check {
    match keeper {
        Some(keeper) => fine("clock", format!("kept in step by {keeper}")),
        None => doubtful(
            "clock",
            "nothing is seen to keep it in step",
            "receivers refuse signatures that are minutes off: run systemd-timesyncd or chrony",
        ),
    }
}

/// The terminal that this command runs on.
#[derive(Clone, Debug, Default)]
pub(super) struct Terminal {
    pub(super) term: String,
    pub(super) utf8: bool,
    pub(super) colours: bool,
    /// Columns and rows; `None` when there is no terminal.
    pub(super) size: Option<(u16, u16)>,
    /// Inside tmux: what `set-clipboard` says.
    pub(super) tmux_clipboard: Option<String>,
}

/// The smallest terminal that the UI is laid out for.
const COLUMNS_MIN: u16 = 80;
const ROWS_MIN: u16 = 24;

pub(super) fn terminal(terminal: &Terminal) -> Check {
    const NAME: &str = "terminal";
    let Some((columns, rows)) = terminal.size else { return fine(NAME, "none; the UI needs one, nothing else does") };
    let colours = if terminal.colours { "colours" } else { "no colours" };
    let letters = if terminal.utf8 { "UTF-8" } else { "ASCII" };
    let found = format!("{columns}x{rows}, TERM={}, {colours}, {letters}", printable(&terminal.term));
    if terminal.term.is_empty() || terminal.term == "dumb" {
        return doubtful(NAME, found, "the UI cannot be shown here: set TERM to what the terminal is");
    }
    if columns < COLUMNS_MIN || rows < ROWS_MIN {
        return doubtful(NAME, found, format!("the UI wants {COLUMNS_MIN}x{ROWS_MIN}: make the window larger"));
    }
    if !terminal.utf8 {
        return doubtful(NAME, found, "set LANG to a UTF-8 locale, such as C.UTF-8, for lines and symbols");
    }
    match terminal.tmux_clipboard.as_deref() {
        Some("off") => doubtful(
            NAME,
            format!("{found}, tmux without clipboard"),
            "copying from the UI needs: tmux set -g set-clipboard on",
        ),
        _ => fine(NAME, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::protocol::{DiskStatus, EgressStatus, EmailStatus, IndexStatus, IngestStatus, ProcessStatus};

    fn healthy() -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ingest: IngestStatus { accepting: true, ..IngestStatus::default() },
            webhooks: 2,
            index: IndexStatus { state: "ready".to_owned(), ..IndexStatus::default() },
            disk: DiskStatus {
                free_bytes: 9 << 30,
                total_bytes: 10 << 30,
                floor_bytes: 1 << 30,
                ..DiskStatus::default()
            },
            email: EmailStatus { configured: true, ..EmailStatus::default() },
            egress: Some(EgressStatus { verifies_tls: true, resolves_names: true }),
            process: Some(ProcessStatus { descriptors: 40, descriptors_max: 65_536, ..ProcessStatus::default() }),
            ..Status::default()
        }
    }

    fn not_fine(change: impl FnOnce(&mut Status)) -> Vec<(&'static str, Verdict)> {
        let mut status = healthy();
        change(&mut status);
        let checks = of_status(&status);
        assert!(checks.iter().all(|check| (check.verdict == Verdict::Fine) == check.advice.is_empty()), "{checks:?}");
        checks.iter().filter(|check| check.verdict != Verdict::Fine).map(|check| (check.name, check.verdict)).collect()
    }

    #[test]
    fn each_trouble_is_found_by_its_check_and_no_other() {
        use Verdict::{Doubtful, Wrong};
        assert_eq!(not_fine(|_| {}), []);
        assert_eq!(not_fine(|status| status.version = "0.0.9".to_owned()), [("version", Doubtful)]);
        assert_eq!(not_fine(|status| status.ingest.accepting = false), [("ingest", Wrong)]);
        assert_eq!(not_fine(|status| status.disk.below_floor = true), [("disk", Wrong)]);
        assert_eq!(not_fine(|status| status.disk.free_bytes = 3 << 29), [("disk", Doubtful)]);
        assert_eq!(not_fine(|status| status.journal.failure = Some("EIO".to_owned())), [("journal", Wrong)]);
        assert_eq!(not_fine(|status| status.journal.quarantined = 1), [("journal", Wrong)]);
        assert_eq!(not_fine(|status| status.index.rebuilds = 1), [("index", Doubtful)]);
        assert_eq!(not_fine(|status| status.index.state = "rebuilding".to_owned()), [("index", Doubtful)]);
        assert_eq!(not_fine(|status| status.index.state = "unavailable".to_owned()), [("index", Wrong)]);
        assert_eq!(not_fine(|status| status.oldest_pending_seconds = Some(90_000)), [("pending", Doubtful)]);
        assert_eq!(not_fine(|status| status.webhooks = 0), [("webhooks", Doubtful)]);
        assert_eq!(not_fine(|status| status.failing_webhooks = vec!["a\u{1b}".to_owned()]), [("webhooks", Wrong)]);
        assert_eq!(not_fine(|status| status.email.configured = false), [("mail", Doubtful)]);
        assert_eq!(not_fine(|status| status.email.failing = true), [("mail", Wrong)]);
        let egress = |verifies_tls, resolves_names| Some(EgressStatus { verifies_tls, resolves_names });
        assert_eq!(not_fine(|status| status.egress = egress(false, true)), [("certificates", Wrong)]);
        assert_eq!(not_fine(|status| status.egress = egress(true, false)), [("resolver", Wrong)]);
        let few = ProcessStatus { descriptors: 1, descriptors_max: 1024, ..ProcessStatus::default() };
        assert_eq!(not_fine(|status| status.process = Some(few)), [("descriptors", Doubtful)]);
        assert_eq!(not_fine(|status| status.config_refused = Some("3:1".to_owned())), [("reload", Wrong)]);
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let mut status = healthy();
        status.failing_webhooks = vec!["x\u{1b}[2J".to_owned()];
        assert!(!webhooks(&status).found.contains('\u{1b}'));
    }

    #[test]
    fn confinement_is_what_the_kernel_says() {
        let confined =
            "Name:\tpostrider\nUid:\t998\t998\t998\t998\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        assert_eq!(confinement(Some(confined)).verdict, Verdict::Fine);
        for (from, to, words) in [
            ("998\t998\t998\t998", "0\t0\t0\t0", "root"),
            ("0000000000000000", "0000000000000400", "capabilities"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "privileges"),
            ("Seccomp:\t2", "Seccomp:\t0", "filtered"),
        ] {
            let check = confinement(Some(&confined.replace(from, to)));
            assert!(check.verdict == Verdict::Doubtful && check.found.contains(words), "{check:?}");
        }
        assert_eq!(confinement(None).verdict, Verdict::Fine);
    }

    #[test]
    fn a_terminal_is_judged_by_what_the_ui_needs() {
        let good =
            Terminal { term: "xterm".into(), utf8: true, colours: true, size: Some((80, 24)), tmux_clipboard: None };
        assert_eq!(terminal(&good).verdict, Verdict::Fine);
        assert_eq!(terminal(&Terminal { size: None, ..good.clone() }).verdict, Verdict::Fine);
        for poor in [
            Terminal { term: "dumb".into(), ..good.clone() },
            Terminal { size: Some((79, 24)), ..good.clone() },
            Terminal { utf8: false, ..good.clone() },
            Terminal { tmux_clipboard: Some("off".into()), ..good.clone() },
        ] {
            assert_eq!(terminal(&poor).verdict, Verdict::Doubtful, "{poor:?}");
        }
        assert_eq!(proxy(&["HTTPS_PROXY"], None).verdict, Verdict::Doubtful);
        assert_eq!(proxy(&["HTTPS_PROXY"], Some("http://…@proxy:3128/")).verdict, Verdict::Fine);
        assert_eq!(proxy(&[], None).verdict, Verdict::Fine);
        assert_eq!(clock(None).verdict, Verdict::Doubtful);
    }
}
