//! Holds the layers: every import arrow in `src/` has to be in the table below. A new arrow is a
//! decision, made here and in ARCHITECTURE.md in the same commit; the tests at the end prove that
//! the checker sees what it should.

use std::collections::BTreeSet;

use crate::support::source::{Import, SourceFile, imports, rust_files, tokens};

/// A part of the program, and what it may import. The table is in reading order: arrows point
/// upwards only.
struct Part {
    name: &'static str,
    /// The modules it consists of, when these are not the one of its name.
    modules: &'static [&'static str],
    /// Parts it may import anything from.
    sees: &'static [&'static str],
    /// Single items or modules it may import besides, and why.
    narrow: &'static [(&'static str, &'static str)],
}

const fn part(name: &'static str, sees: &'static [&'static str]) -> Part {
    Part { name, modules: &[], sees, narrow: &[] }
}

const PARTS: &[Part] = &[
    part("domain", &[]),
    part("catalog", &["domain"]),
    part("clock", &["domain"]),
    part("random", &[]),
    part("config", &["domain"]),
    part("logging", &["config", "domain"]),
    part("egress", &["domain"]),
    part("http", &[]),
    part("index", &["domain"]),
    part("journal", &["clock", "domain"]),
    part("mail", &["domain"]),
    part("backup", &["journal", "domain"]),
    part("secrets", &["domain", "random"]),
    part("store", &["journal", "index", "secrets", "clock", "random", "domain"]),
    part("spans", &["egress", "random", "domain"]),
    part("ingest", &["catalog", "http", "spans", "store", "domain"]),
    Part {
        name: "alerts",
        modules: &[],
        sees: &["store", "mail", "clock", "domain"],
        narrow: &[("journal::Record", "a payload that goes along is read from the record it lies in")],
    },
    Part {
        name: "dispatch",
        modules: &[],
        sees: &["store", "egress", "spans", "clock", "random", "domain"],
        narrow: &[
            (
                "index::Pending",
                "what the store hands over at the start; as plain as a domain type, so it is not wrapped",
            ),
            ("journal::AttemptRecord", "the outcome is noted in the form it is stored in"),
            ("journal::ChangeCause", "part of a change record"),
            ("journal::ChangeRecord", "an operator's change is noted in the form it is stored in"),
            ("journal::Record", "the event to send is read from the journal, through the store"),
            ("journal::Target", "part of an attempt record"),
        ],
    },
    part("maintenance", &["store", "dispatch", "domain"]),
    // Only declares its modules. One that is listed nowhere below counts as this and may see nothing.
    part("admin", &[]),
    part("admin::protocol", &[]),
    Part {
        name: "admin::client",
        modules: &[],
        sees: &["admin::protocol"],
        narrow: &[
            ("domain::secret", "it carries an ingest token, which must not show up in a debug print"),
            ("domain::text", "a command for a shell must not steer the terminal that it is pasted into"),
        ],
    },
    Part {
        name: "admin::server",
        modules: &["admin::server", "admin::audit", "admin::transfer", "admin::views", "admin::writes"],
        sees: &[
            "admin::protocol",
            "backup",
            "catalog",
            "store",
            "alerts",
            "dispatch",
            "ingest",
            "egress",
            "index",
            "http",
            "maintenance",
            "domain",
        ],
        narrow: &[
            ("journal::Record", "a payload is shown from the record it lies in"),
            ("journal::JournalError", "verify tells damage from what it could not read"),
        ],
    },
    part("listen", &["clock", "random", "domain"]),
    part("editor", &[]),
    Part {
        name: "tui",
        modules: &[],
        sees: &["admin::client", "admin::protocol", "editor", "domain"],
        narrow: &[
            ("clock::Clock", "every message has its time, and only the clock reads it"),
            ("random::Random", "a new signing key is drawn"),
        ],
    },
    Part {
        name: "cli",
        modules: &[],
        sees: &["admin::client", "admin::protocol", "catalog", "config", "domain", "editor", "listen", "tui"],
        narrow: &[
            ("clock::Clock", "\"since 1h\" and \"3 min ago\" need the time, and only the clock reads it"),
            ("random::Random", "what is reset by `listen --reset 20%` is drawn"),
        ],
    },
    Part {
        name: "daemon",
        modules: &[],
        sees: &[
            "admin::server",
            "backup",
            "maintenance",
            "alerts",
            "dispatch",
            "ingest",
            "store",
            "mail",
            "secrets",
            "spans",
            "journal",
            "http",
            "egress",
            "logging",
            "config",
            "random",
            "clock",
            "domain",
        ],
        narrow: &[],
    },
    part("demo", &["daemon", "listen", "admin::client", "catalog", "config", "random", "clock", "domain"]),
    // Only declares the parts.
    part("lib", &[]),
    part("main", &["demo", "daemon", "cli", "config"]),
];

/// Crates, or parts of them, that only these parts may name, and why.
const OWNED: &[(&str, &[&str], &str)] = &[
    ("anyhow", &["cli", "main"], "everything else has error types that a caller can react to"),
    ("chacha20poly1305", &["secrets"], "one way of sealing"),
    ("clap", &["cli", "main"], "the command line is one client among several"),
    ("crossterm", &["tui"], "the terminal belongs to one part, which gives it back"),
    ("crc32c", &["journal", "index"], "checksums belong to the two disk formats"),
    ("fastbloom", &["index"], "what it says is only ever \"certainly not\"; the rows decide"),
    (
        "foldhash",
        &["dispatch", "index"],
        "for tables of our own ids; what others choose keeps the hash of the standard library",
    ),
    ("getrandom", &["random"], "chance comes in as a parameter"),
    ("hickory_resolver", &["egress"], "names are resolved where addresses are judged"),
    ("hmac", &["domain", "secrets"], "domain signs; secrets derives nonces"),
    ("httpdate", &["egress"], "read from receivers only"),
    ("hyper", &["http", "egress"], "bodies as they stream; only bounded servers and the connector see them"),
    ("hyper::client", &["egress"], "one way out, with one address policy"),
    ("hyper::server", &["http"], "one bounded server for both faces"),
    ("hyper_util", &["http", "egress"], "joins hyper to tokio"),
    ("hyper_util::client", &[], "its pool knows no webhooks and no exact phases; ours is egress::pool"),
    ("jsonschema", &["catalog"], "one place that knows schemas, and lets none of them reach outside"),
    ("lettre", &["mail"], "one place that writes mail and speaks SMTP"),
    ("listenfd", &["daemon"], "sockets are opened, or taken over, in one place"),
    ("nucleo_matcher", &["tui"], "what is typed and what is meant, for people only"),
    ("clap_complete", &["cli"], "completions are made of the commands"),
    ("opentelemetry", &["spans"], "one place that makes spans, and decides what may be in them"),
    ("opentelemetry_http", &["spans"], "one place that makes spans, and decides what may be in them"),
    ("opentelemetry_otlp", &["spans"], "one place that makes spans, and decides what may be in them"),
    ("opentelemetry_sdk", &["spans"], "one place that makes spans, and decides what may be in them"),
    ("percent_encoding", &["egress"], "user and password in a URL"),
    ("postcard", &["journal", "index"], "the two disk formats"),
    ("prometheus_client", &["admin::server"], "one place that writes metrics"),
    ("ratatui", &["tui"], "screens are drawn in one part"),
    ("reqwest", &["admin::client"], "a client of the admin socket; deliveries go through egress"),
    (
        "rustix",
        &["journal", "index", "logging", "secrets", "maintenance", "daemon", "listen", "cli", "tui"],
        "each call of the system has one place",
    ),
    ("roff", &["cli"], "pages of the manual"),
    ("rustls", &["egress", "main"], "main chooses the provider once, egress does the rest"),
    ("rustls_platform_verifier", &["egress"], "who is trusted is decided in one place"),
    ("sd_notify", &["daemon"], "whoever started the process hears from one place"),
    ("signal_hook", &["tui"], "signals without a runtime, for the thread that draws"),
    ("sled", &["index"], "the index is a view: it must stay replaceable"),
    ("subtle", &["store"], "tokens are compared in one place"),
    ("tikv_jemallocator", &["main"], "a program chooses its allocator, a library does not"),
    ("tiny_http", &["listen"], "it has no limits: only behind the door of a tool on loopback, never in the daemon"),
    ("tar", &["backup"], "one form of archive, read by one strict reader"),
    ("tokio_rustls", &["egress"], "the only TLS there is"),
    ("toml", &["config", "cli", "admin::client", "tui"], "the configuration file, and files for people"),
    ("tracing_subscriber", &["logging"], "one place decides what a line looks like"),
    ("tui_input", &["tui"], "lines that are typed"),
    ("unicode_width", &["tui"], "how wide text is on a terminal"),
    ("x509_cert", &["egress"], "read for one date, where certificates are verified"),
];

/// Modules that decide and do nothing else, with the only crates they may name.
const PURE: &[(&str, &[&str])] = &[
    // Before "domain", whose rule is stricter: payloads are JSON values here.
    ("domain::filter", &["serde_json"]),
    // It reads the links in a payload that somebody else has parsed.
    ("domain::links", &["jiff", "proptest", "serde_json", "url"]),
    (
        "domain",
        &["base64", "data_encoding", "hmac", "http", "ipnet", "jiff", "proptest", "sha2", "subtle", "url", "zeroize"],
    ),
    ("admin::audit", &["serde_json"]),
    // Schemas are made of it in tests.
    ("admin::protocol", &["serde", "serde_json", "utoipa"]),
    ("admin::client::draft", &["serde_json", "toml"]),
    ("tui::dialog", &["jiff", "nucleo_matcher", "ratatui", "serde_json", "tui_input", "proptest", "insta"]),
    ("tui::keymap", &[]),
    ("tui::keys", &["crossterm"]),
    ("tui::listing", &[]),
    ("tui::message", &["serde_json"]),
    ("tui::model", &["jiff", "tui_input"]),
    ("tui::palette", &["nucleo_matcher"]),
    ("tui::screen", &["jiff", "ratatui", "serde", "serde_json", "tui_input", "url", "proptest", "insta"]),
    ("tui::text", &["jiff", "unicode_width", "proptest"]),
    ("tui::theme", &["ratatui"]),
    ("tui::update", &["jiff", "serde_json", "tui_input"]),
    ("tui::view", &["ratatui", "tui_input", "unicode_width"]),
    ("tui::window", &["proptest"]),
    ("catalog", &["jsonschema", "serde_json"]),
    ("admin::writes", &["serde", "serde_json", "url", "http"]),
    ("config", &["ipnet", "toml", "url", "http", "thiserror", "proptest", "tempfile"]),
    ("demo::cast", &["serde_json"]),
    ("dispatch::lanes", &["foldhash", "proptest"]),
    ("dispatch::rate", &["proptest"]),
    ("listen::conduct", &[]),
    ("listen::head", &[]),
    ("listen::verify", &[]),
    ("mail::digest", &["proptest", "serde"]),
    ("mail::hints", &[]),
    ("mail::message", &["lettre", "mail_parser", "proptest", "url"]),
    (
        "ingest::envelope",
        &["base64", "bytes", "data_encoding", "http", "memchr", "proptest", "serde", "serde_json", "sha2"],
    ),
];

/// What a pure module must not reach for in the standard library; with the exceptions.
const IMPURE_STD: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];
const IMPURE_STD_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("config", "std::fs", "reads the configuration files it is told to"),
    ("config", "std::os::unix::ffi", "the length of a path in bytes"),
    ("config", "std::env", "config::paths hands the process environment on, and nobody else reads it"),
];

/// The module of a file, from its path: `src/admin/server/keys.rs` is `admin::server::keys`.
fn module_of(path: &str) -> Vec<&str> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    match inner.strip_suffix("/mod").unwrap_or(inner) {
        "lib" => vec!["lib"],
        inner => inner.split('/').collect(),
    }
}

fn starts_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The part that a module path belongs to: the one with the longest fitting name.
fn part_of(path: &str) -> Option<&'static Part> {
    let fits = |part: &Part| {
        let own = [part.name];
        let modules = if part.modules.is_empty() { &own } else { part.modules };
        modules.iter().filter(|module| starts_with(path, module)).map(|module| module.len()).max()
    };
    PARTS.iter().filter_map(|part| Some((fits(part)?, part))).max_by_key(|(length, _)| *length).map(|(_, part)| part)
}

/// Where a path leads: `Some` for modules of ours, without `crate`; `None` for anything else.
fn target_of(module: &[&str], import: &Import<'_>) -> Option<String> {
    let mut base: Vec<&str> = module.iter().chain(&import.inline).copied().filter(|name| *name != "lib").collect();
    let mut rest = import.segments.as_slice();
    match rest.first().copied()? {
        "crate" | "postrider" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while let Some(("super", behind)) = rest.split_first().map(|(first, behind)| (*first, behind)) {
                base.pop();
                rest = behind;
            }
        }
        _ => return None,
    }
    base.extend(rest.iter().filter(|name| **name != "self"));
    Some(base.join("::"))
}

fn arrow_problem(part: &Part, target: &str) -> Option<String> {
    let allowed = part.narrow.iter().any(|(item, _)| starts_with(target, item));
    match part_of(target) {
        _ if allowed => None,
        Some(to) if to.name == part.name || part.sees.contains(&to.name) => None,
        Some(_) => Some(format!(
            "{} may not import {target}: a new arrow goes into this table, and into ARCHITECTURE.md, with its reason",
            part.name
        )),
        None => Some(format!("{target} belongs to no part in this table")),
    }
}

fn crate_problem(part: &Part, path: &str) -> Option<String> {
    let of_others =
        |(owned, owners, _): &&(&str, &[&str], &str)| starts_with(path, owned) && !owners.contains(&part.name);
    let (owned, owners, why) = OWNED.iter().find(of_others)?;
    Some(format!("{} may not name {path}: {owned} belongs to {owners:?} ({why})", part.name))
}

fn purity_problem(module: &str, path: &str, dependencies: &BTreeSet<String>) -> Option<String> {
    let (pure, crates) = PURE.iter().find(|(pure, _)| starts_with(module, pure))?;
    let first = path.split("::").next()?;
    let excepted = IMPURE_STD_EXCEPTIONS.iter().any(|(of, item, _)| starts_with(module, of) && starts_with(path, item));
    let impure = IMPURE_STD.iter().any(|item| starts_with(path, item)) && !excepted;
    let foreign = dependencies.contains(first) && !crates.contains(&first);
    (impure || foreign).then(|| format!("{pure} is pure and may not name {path}"))
}

/// Everything that the tables above do not allow.
fn problems(files: &[SourceFile], dependencies: &BTreeSet<String>) -> BTreeSet<String> {
    let mut problems = BTreeSet::new();
    for file in files {
        let module = module_of(&file.path);
        let name = module.join("::");
        let Some(part) = part_of(&name) else {
            problems.insert(format!("{}: belongs to no part in this table", file.path));
            continue;
        };
        for import in imports(&tokens(&file.text)) {
            let problem = match target_of(&module, &import) {
                Some(target) => arrow_problem(part, &target),
                // Tests play the other side: a receiver, a daemon that misbehaves.
                None if file.is_test() => None,
                None => {
                    let path = import.segments.join("::");
                    crate_problem(part, &path).or_else(|| purity_problem(&name, &path, dependencies))
                }
            };
            problems.extend(problem.map(|problem| format!("{}:{}: {problem}", file.path, import.line)));
        }
    }
    problems
}

/// The crates that Cargo.toml names, as they are written in code.
fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let names = |section: &str| manifest[section].as_table().unwrap().keys().map(|name| name.replace('-', "_"));
    names("dependencies").chain(names("dev-dependencies")).collect()
}

#[test]
fn every_arrow_is_in_the_table() {
    let found = problems(&rust_files("src"), &dependencies());
    assert!(found.is_empty(), "\n{}", found.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_table_points_one_way() {
    for (place, part) in PARTS.iter().enumerate() {
        let narrow = part.narrow.iter().map(|(item, _)| part_of(item).unwrap().name);
        for seen in part.sees.iter().copied().chain(narrow) {
            let above = PARTS[..place].iter().any(|above| above.name == seen);
            assert!(above, "{} sees {seen}, which does not stand above it", part.name);
        }
    }
}

/// lib.rs says that each module imports only what stands above it.
#[test]
fn lib_lists_the_modules_in_reading_order() {
    let lib = include_str!("../../src/lib.rs");
    let listed: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let place = |name: &str| listed.iter().position(|one| one == &name.split("::").next().unwrap_or(name));
    for part in PARTS {
        let Some(own) = place(part.name) else { continue };
        for seen in part.sees {
            let above = place(seen).is_some_and(|of_seen| of_seen <= own);
            assert!(above, "in src/lib.rs, {} stands above {seen}, which it imports", part.name);
        }
    }
}

#[test]
fn the_map_names_every_part_and_every_owner() {
    let map = include_str!("../../ARCHITECTURE.md");
    for part in PARTS {
        let name = part.name.replace("::", "/");
        assert!(map.contains(&format!("`{name}`")) || map.contains(&format!("`{}`", part.name)), "{name}");
    }
    for (owned, owners, _) in OWNED {
        assert!(owners.is_empty() || map.contains(&format!("`{owned}`")), "{owned}");
    }
}

fn check(path: &str, text: &str) -> Vec<String> {
    problems(&[SourceFile::new(path, text)], &dependencies()).into_iter().collect()
}

#[track_caller]
fn assert_refused(path: &str, text: &str, what: &str) {
    let found = check(path, text);
    assert!(found.len() == 1 && found[0].contains(what), "{path}: {text}: {found:?}");
}

#[test]
fn an_arrow_upwards_is_seen_however_it_is_written() {
    for text in [
        "use crate::store::Store;",
        "use crate::{store::Store};",
        "pub(crate) use crate::store as s;",
        "fn f(_: &crate::store::Store) {}",
        "use super::store;",
        "mod tests { use super::super::store::Store; }",
        "mod tests { use crate::{store::{self, Store}}; }",
    ] {
        let found = check("src/journal/mod.rs", text);
        assert!(!found.is_empty() && found.iter().all(|one| one.contains("journal may not import store")), "{text}");
    }
    assert_refused("src/main.rs", "use postrider::store::Store;", "main may not import");
}

#[test]
fn narrow_arrows_are_as_narrow_as_they_say() {
    assert_eq!(check("src/dispatch/lanes.rs", "use crate::index::Pending;"), [""; 0]);
    assert_refused("src/dispatch/lanes.rs", "use crate::index::{Index, Pending};", "index::Index");
    assert_refused("src/dispatch/mod.rs", "use crate::journal::Journal;", "journal::Journal");
    assert_refused("src/dispatch/mod.rs", "use crate::journal::Records;", "journal::Records");
    assert_refused("src/dispatch/mod.rs", "use crate::index;", "import index");
}

#[test]
fn parts_within_a_module_are_told_apart() {
    assert_eq!(check("src/admin/views.rs", "use super::protocol::Status; use crate::store::Config;"), [""; 0]);
    assert_refused("src/admin/protocol.rs", "use super::views::x;", "admin::protocol may not import admin::views::x");
    assert_refused("src/admin/client/tail.rs", "use super::super::server::Admin;", "admin::client may not import");
    assert_refused("src/cli/mod.rs", "use crate::admin::server::Admin;", "cli may not import admin::server");
    assert_refused("src/admin/novel.rs", "use crate::domain::id;", "admin may not import domain");
    assert_refused("src/novel.rs", "", "no part");
    assert_refused("src/daemon/mod.rs", "use crate::novel::X;", "no part");
}

#[test]
fn crates_stay_with_their_owners() {
    assert_eq!(check("src/index/rows.rs", "use sled::Tree; use postcard;"), [""; 0]);
    assert_refused("src/store/mod.rs", "use sled::Tree;", "sled belongs to");
    assert_refused("src/store/mod.rs", "use sled;", "sled belongs to");
    assert_refused("src/egress/mod.rs", "use hyper::{body::Incoming, server::conn::http1};", "hyper::server");
    assert_refused("src/http.rs", "fn f(_: hyper::client::conn::http1::Connection<A, B>) {}", "hyper::client");
    assert_refused("src/egress/pool.rs", "use hyper_util::client::legacy::Client;", "egress::pool");
    assert_eq!(check("src/admin/client/tests.rs", "use hyper::server::conn::http1;"), [""; 0]);
    assert_refused("src/admin/client.rs", "use hyper::server::conn::http1;", "hyper belongs to");
    assert_refused("src/store/mod.rs", "#[derive(clap::Parser)] struct S;", "clap belongs to");
}

#[test]
fn what_is_pure_stays_pure() {
    assert_eq!(check("src/domain/id.rs", "use std::time::Duration; use std::net::IpAddr; use url::Url;"), [""; 0]);
    assert_refused("src/domain/id.rs", "use serde::Serialize;", "pure");
    assert_refused("src/domain/id.rs", "use std::time::{Duration, Instant};", "std::time::Instant");
    assert_refused("src/domain/id.rs", "fn f() { std::fs::read(\"x\"); }", "std::fs::read");
    assert_refused("src/domain/id.rs", "#[tokio::test] async fn f() {}", "tokio::test");
    assert_refused("src/dispatch/lanes.rs", "use tokio::sync::Notify;", "pure");
    assert_eq!(check("src/dispatch/mod.rs", "use tokio::sync::Notify;"), [""; 0]);
}
