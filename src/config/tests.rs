//! Tests of the configuration as a whole: text in, `Config` or problems out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::schema::{self, Kind, SECTIONS};
use super::*;

const FILE: &str = "/etc/postrider/postrider.toml";

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    Config::from_texts(&[(PathBuf::from(FILE), text.to_owned())])
}

/// Every problem as shown, without the name of the file.
fn problems(text: &str) -> Vec<String> {
    let problems = read(text).expect_err("has problems");
    problems.iter().map(|problem| problem.to_string().replacen(&format!("{FILE}:"), "", 1)).collect()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected);
}

fn all_keys() -> impl Iterator<Item = (&'static str, &'static schema::Key)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.name, key)))
}

/// A file with one key in it, on line 2 if it is in a section.
fn one(section: &str, key: &str, value: &str) -> String {
    if section.is_empty() { format!("{key} = {value}\n") } else { format!("[{section}]\n{key} = {value}\n") }
}

/// What two configurations have in common apart from where it is written.
fn bare(mut config: Config) -> Config {
    config.settings.iter_mut().for_each(|setting| setting.place = None);
    config.files.clear();
    config
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = Config::default();
    assert_eq!((config.state_dir, config.built_in_trial, config.warnings), (None, true, vec![]));
    assert_eq!(
        config.ingest,
        Ingest {
            listen: "127.0.0.1:7780".parse().unwrap(),
            socket: None,
            auth: Auth::Token,
            max_body_bytes: 1_048_576,
            max_connections: 256,
            unknown_types: UnknownTypes::Reject,
            schema: SchemaCheck::Warn,
        }
    );
    assert_eq!(config.admin, Admin { socket: None, group: Some("postrider".into()), readonly_group: None });
    let delivery = &config.delivery;
    assert_eq!((delivery.timeout, delivery.retry_interval), (Duration::from_secs(10), Duration::from_secs(60)));
    assert_eq!((delivery.max_in_flight, delivery.per_webhook_in_flight, delivery.retry_count), (128, 8, 5));
    assert!(delivery.user_agent.starts_with("postrider/0."));
    let allow: Vec<_> = config.egress.allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["127.0.0.0/8", "::1/128"]);
    assert_eq!((config.egress.allow_http, config.egress.proxy, config.egress.ca_file), (true, None, None));
    assert_eq!(config.retention, Retention { days: 30, min_free_bytes: 268_435_456, min_free_percent: 5 });
    let smtp = config.email.smtp.as_ref().unwrap();
    assert_eq!((smtp.host.as_str(), smtp.port, smtp.implicit_tls), ("localhost", 25, false));
    assert_eq!((config.email.starttls, config.email.tls()), (StartTls::Required, Tls::Opportunistic));
    assert_eq!((config.email.digest, config.email.max_per_hour), (Duration::from_secs(900), 20));
    assert_eq!(config.signature.body_header, "Idenfy-Signature");
    assert_eq!(config.signature.event_type_header, "Idenfy-Event-Type");
    assert_eq!(config.log, Log { level: LogLevel::Info, format: LogFormat::Auto });
    assert_eq!((config.metrics.listen, config.secrets.key_file), (None, None));
}

#[test]
fn an_empty_file_is_the_defaults_without_loopback() {
    let config = read("").unwrap();
    assert!(config.egress.allow.is_empty() && !config.built_in_trial);
    let mut expected = Config::default();
    expected.egress.allow.clear();
    expected.built_in_trial = false;
    expected.settings.clone_from(&config.settings);
    assert_eq!(bare(config), expected);
}

#[test]
fn the_example_file_is_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/postrider.toml");
    if paths::process_environment("UPDATE").is_some() {
        fs::write(&path, schema::example()).unwrap();
    }
    let file = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        file == schema::example(),
        "packaging/postrider.toml is out of date; run: UPDATE=1 cargo test --lib config"
    );
    assert!(file.lines().all(|line| line.chars().count() <= 120 && !line.ends_with(' ')));
}

#[test]
fn the_example_file_parses_to_the_defaults_commented_and_uncommented() {
    let example = schema::example();
    let uncommented: Vec<_> = example
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).unwrap_or(line))
        .collect();
    let every = read(&uncommented.join("\n")).unwrap();
    assert_eq!(every.settings.iter().filter(|setting| setting.place.is_some()).count(), all_keys().count());
    assert_eq!(bare(every), bare(read("").unwrap()));
    assert_eq!(bare(read(&example).unwrap()), bare(read("").unwrap()));
}

#[test]
fn every_key_takes_its_default() {
    for (section, key) in all_keys() {
        let config = read(&one(section, key.name, key.default)).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(bare(config), bare(read("").unwrap()), "{section}.{}", key.name);
        assert!(key.meaning.ends_with('.') && key.meaning.len() > 10);
    }
}

#[test]
fn every_key_refuses_other_types_and_says_where() {
    for (section, key) in all_keys() {
        for wrong in ["1.5", "{ a = 1 }", "1979-05-27", "[[]]", "-1", "\"\\u0007\"", "true", "\"a b@\"", "[7]"] {
            let taken = match key.kind {
                Kind::Boolean => wrong == "true",
                Kind::Text | Kind::Path | Kind::SocketPath | Kind::HeaderValue | Kind::Group => wrong == "\"a b@\"",
                _ => false,
            };
            let result = read(&one(section, key.name, wrong));
            let name = schema::dotted(section, key.name);
            if taken {
                // A user without a password, or the other way round, is another matter.
                let half = ["email.username", "email.password_file"].contains(&name.as_str());
                assert!(result.is_ok() || half, "{name} = {wrong}");
                continue;
            }
            let found = result.expect_err(&format!("{name} = {wrong}"));
            let [problem] = found.as_slice() else { panic!("{found:?}") };
            let in_list = u32::from(key.kind == Kind::Networks && wrong.starts_with('['));
            assert_eq!(problem.key, name);
            assert_eq!(problem.place.line, if section.is_empty() { 1 } else { 2 });
            assert_eq!(problem.place.column as usize, key.name.len() + 4 + in_list as usize, "{problem}");
            assert!(problem.fault.allowed.is_some() && problem.fault.found.is_some(), "{problem}");
        }
    }
}

#[test]
fn every_integer_has_its_limits() {
    for (section, key) in all_keys() {
        let Kind::Integer { min, max } = key.kind else { continue };
        let with = |value: u64| read(&one(section, key.name, &value.to_string()));
        let total = "max_in_flight = 10000\n";
        let most = one(
            section,
            &format!("{}{}", if key.name.starts_with("per_") { total } else { "" }, key.name),
            &max.to_string(),
        );
        assert!(with(min).is_ok() && read(&most).is_ok(), "{section}.{}", key.name);
        assert!(with(max + 1).is_err() && (min == 0 || with(min - 1).is_err()), "{section}.{}", key.name);
    }
    assert_eq!(read("[ingest]\nmax_body_bytes = 0x1_000").unwrap().ingest.max_body_bytes, 4096);
    check(
        "[delivery]\ntimeout_seconds = 99999999999999999999999",
        &[
            "2:19: delivery.timeout_seconds: out of range; found 99999999999999999999999; allowed: an integer from 1 to 120",
        ],
    );
}

#[test]
fn all_problems_are_reported_at_once_in_order() {
    check(
        "stat_dir = \"/x\"\nlisten = \"127.0.0.1:1\"\n[ingest]\n    listn = 5\n  auth = \"tokne\"\n[deliverry]\na = 1\n\
         [log]\nlevel = \"loud\"\ntimeout_seconds = 3\n[egress]\nallow = [\"10.0.0.0/8\", \"lan\", 4]\n[[admin]]\n[metrics]\nlisten = \"::1\"\n",
        &[
            "1:1: stat_dir: unknown key; did you mean \"state_dir\"?",
            "2:1: listen: unknown key; did you mean \"ingest.listen\"?",
            "4:5: ingest.listn: unknown key; did you mean \"listen\"?",
            "5:10: ingest.auth: unknown word; found the string \"tokne\"; allowed: one of \"token\", \"none\"; did you mean \"token\"?",
            "6:2: deliverry: unknown section; allowed: ingest, admin, delivery, egress, retention, email, signature, secrets, log, metrics, tracing; did you mean \"delivery\"?",
            "9:9: log.level: unknown word; found the string \"loud\"; allowed: one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
            "10:1: log.timeout_seconds: unknown key; did you mean \"delivery.timeout_seconds\"?",
            "12:24: egress.allow: not a network; found the string \"lan\"; allowed: a list of networks, like [\"10.0.0.0/8\", \"fd00::/8\"]",
            "12:31: egress.allow: wrong type; found 4; allowed: a list of networks, like [\"10.0.0.0/8\", \"fd00::/8\"]",
            "13:3: admin: this is a section; found [[admin]]; allowed: [admin]",
            "15:10: metrics.listen: the port is missing; found the string \"::1\"; allowed: an IP address and a port, like \"127.0.0.1:9464\" or \"[::1]:9464\", or \"\"",
        ],
    );
}

#[test]
fn syntax_errors_have_a_place_and_columns_count_characters() {
    let found = problems("[ingest]\nlisten = \"127.0.0.1:1\nauth = \"token\"\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("2:") && found[0].contains("not valid TOML"), "{found:?}");
    check(
        "[log]\nlevel = \"info\"\nlevel = \"warn\"\nformt = \"é\"\n",
        &["3:1: level: written twice in this file", "4:1: log.formt: unknown key; did you mean \"format\"?"],
    );
    check(
        "log = { \"é\" = 1, levl = 2 }",
        &["1:9: log.é: unknown key", "1:18: log.levl: unknown key; did you mean \"level\"?"],
    );
}

#[test]
fn rules_between_keys() {
    check(
        "[delivery]\nmax_in_flight = 4\nper_webhook_in_flight = 5\n",
        &["3:25: delivery.per_webhook_in_flight: more than delivery.max_in_flight, which is 4; found 5"],
    );
    assert_eq!(read("[delivery]\nmax_in_flight = 4").unwrap().delivery.per_webhook_in_flight, 4);
    check("[email]\nusername = \"u\"\n", &["2:12: email.username: a user needs email.password_file; found \"u\""]);
    check(
        "[email]\npassword_file = \"/p\"\n",
        &["2:17: email.password_file: a password needs a user: write email.username; found \"/p\""],
    );
    check(
        "[email]\nusername = \"u\"\npassword_file = 5\n",
        &["3:17: email.password_file: wrong type; found 5; allowed: a path, or \"\""],
    );
    check(
        "[email]\nsmtp = \"smtps://a@h\"\nusername = \"b\"\npassword_file = \"/p\"",
        &["3:12: email.username: email.smtp names another user; found \"b\""],
    );
    check(
        "[signature]\nbody_header = \"X-A\"\nevent_type_header = \"x-a\"\n",
        &["3:21: signature.event_type_header: both headers have the same name; found \"x-a\""],
    );
    check(
        "ingest.socket = \"/s\"\nadmin.socket = \"/s\"\n",
        &["1:17: ingest.socket: ingest and admin cannot share a socket; found \"/s\""],
    );
    check(
        "metrics.listen = \"127.0.0.1:7780\"",
        &["1:18: metrics.listen: ingest and metrics cannot share an address; found \"127.0.0.1:7780\""],
    );
    assert!(read("ingest.listen = \"127.0.0.1:0\"\nmetrics.listen = \"127.0.0.1:0\"").is_ok());
}

#[test]
fn what_is_risky_is_a_warning() {
    let warnings = |text: &str| -> Vec<String> {
        read(text).unwrap().warnings.iter().map(|warning| format!("{}: {}", warning.key, warning.fault.text)).collect()
    };
    assert_eq!(warnings("ingest.listen = \"[::1]:1\""), [""; 0]);
    assert_eq!(
        warnings("ingest.listen = \"0.0.0.0:1\"\negress.allow = [\"0.0.0.0/0\"]"),
        [
            "ingest.listen: not a loopback address: tokens and events cross the network unencrypted",
            "egress.allow: 0.0.0.0/0 allows every address, this machine and its network included"
        ]
    );
    assert_eq!(
        warnings("ingest.listen = \"10.0.0.1:1\"\ningest.auth = \"none\""),
        ["ingest.listen: every machine that reaches this address can post events, without a token"]
    );
    let mail = "[email]\nsmtp = \"smtp://h\"\nusername = \"u\"\npassword_file = \"/p\"\nstarttls = \"off\"";
    assert_eq!(warnings(mail), ["email.starttls: the mail password may cross the network unencrypted"]);
    assert_eq!(warnings(&mail.replace("//h", "//127.0.0.1")), [""; 0]);
}

#[test]
fn forms_that_are_taken_and_forms_that_are_not() {
    let cases: &[(&str, &str, &[&str], &[&str])] = &[
        (
            "ingest",
            "listen",
            &["localhost:80", "[::1]:0", "0.0.0.0:65535"],
            &["", "80", ":80", "localhost", "h:80", "1.2.3.4:65536"],
        ),
        ("ingest", "socket", &["", "/run/x", "x"], &["~/x", "~"]),
        (
            "egress",
            "proxy",
            &["", "http://p:3128", "https://u:p@p/"],
            &["p:3128", "socks5://p", "http://p/x", "http://", "http://p?q"],
        ),
        (
            "email",
            "smtp",
            &["", "smtp://h", "smtps://h:465", "smtp://[::1]:25", "smtp://h/"],
            &[
                "h:25",
                "smpt://h",
                "smtp://",
                "smtp://h/x",
                "smtp://h:0",
                "smtp://h:99999",
                "smtp://h h",
                "smtp://u:p@h",
                "smtp:h",
            ],
        ),
        ("email", "from", &["", "a@b", "Post Rider <a@b.c>"], &["a", "@b", "a@", "a b@c", "<a@b", "x <a>", "a@b, c@d"]),
        (
            "signature",
            "body_header",
            &["X-Sig", "x_sig"],
            &["", "X Sig", "X:", "Ünï", "Host", "CONTENT-length", "webhook-id", "Postrider-Test"],
        ),
        ("delivery", "user_agent", &["", "acme hooks/1"], &[" x", "é"]),
        ("admin", "group", &["", "wheel", "1000", "domain users"], &["a:b", "a/b", "-x"]),
    ];
    for (section, key, good, bad) in cases {
        for value in *good {
            assert!(read(&one(section, key, &format!("{value:?}"))).is_ok(), "{section}.{key} = {value:?}");
        }
        for value in *bad {
            assert!(read(&one(section, key, &format!("{value:?}"))).is_err(), "{section}.{key} = {value:?}");
        }
    }
    let networks = read("egress.allow = [\"10.1.2.3/8\", \"192.168.1.7\", \"fd00::1\"]").unwrap().egress.allow;
    let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.168.1.7/32", "fd00::1/128"]);
    let long = format!("admin.socket = \"/{}\"", "x".repeat(107));
    assert!(problems(&long)[0].contains("too long for the address of a Unix socket"));
    check(
        "email.smtp = \"smpt://h\"",
        &[
            "1:14: email.smtp: unknown URL scheme; found the string \"smpt://h\"; allowed: \"smtp://HOST[:PORT]\", \"smtps://[USER@]HOST[:PORT]\", or \"\"; did you mean \"smtp://\"?",
        ],
    );
}

#[test]
fn passwords_are_never_shown() {
    let config = read("egress.proxy = \"http://joe:hunter2\\u0040proxy:1\"").unwrap();
    let proxy = config.egress.proxy.clone().unwrap();
    assert_eq!(proxy.with_password().password(), Some("hunter2"));
    let shown = format!("{config:?} {proxy}");
    assert!(!shown.contains("hunter2") && shown.contains("http://…@proxy:1"), "{shown}");
    for bad in [
        "email.smtp = \"smtp://u:hunter2@h\"",
        "egress.proxy = \"u:hunter2@h\"",
        "egress.proxy = \"http://u:hunter2@h/x\"",
    ] {
        assert!(!problems(bad)[0].contains("hunter2"), "{bad}");
    }
}

#[test]
fn relative_paths_count_from_the_file_and_text_is_shown_escaped() {
    assert_eq!(read("state_dir = \"state\"").unwrap().state_dir, Some(PathBuf::from("/etc/postrider/state")));
    check("\"a\\u001b[2J\\n\" = 1", &["1:1: a\\u{1b}[2J\\u{a}: unknown key"]);
}

#[test]
fn conf_d_files_overlay_the_main_file_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("postrider.toml");
    let overlay = folder.path().join("conf.d");
    fs::create_dir(&overlay).unwrap();
    fs::write(&main, "[retention]\ndays = 1\nmin_free_percent = 1\n").unwrap();
    fs::write(overlay.join("20.toml"), "[retention]\ndays = 20\n").unwrap();
    fs::write(overlay.join("10.toml"), "[retention]\ndays = 10\n[log]\nlevel = \"debug\"\n").unwrap();
    fs::write(overlay.join(".30.toml"), "nonsense").unwrap();
    fs::write(overlay.join("40.toml.bak"), "nonsense").unwrap();
    let config = Config::load(Some(&main)).unwrap();
    assert_eq!((config.retention.days, config.retention.min_free_percent, config.log.level), (20, 1, LogLevel::Debug));
    let days = config.settings.iter().find(|setting| setting.key == "retention.days").unwrap();
    assert_eq!((days.value.as_str(), &*days.place.as_ref().unwrap().file), ("20", overlay.join("20.toml").as_path()));
    assert_eq!(config.files, [main.clone(), overlay.join("10.toml"), overlay.join("20.toml")]);

    fs::write(&main, "[delivery]\nmax_in_flight = 4\nx = 1").unwrap();
    fs::write(overlay.join("10.toml"), "\n[delivery]\nper_webhook_in_flight = 9\n").unwrap();
    fs::write(overlay.join("20.toml"), b"a = 1\n\xff").unwrap();
    let shown: Vec<_> = Config::load(Some(&main)).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown[0].ends_with("20.toml: line 2 is not UTF-8 text"), "{shown:?}");
    assert!(shown[1].ends_with("postrider.toml:3:1: delivery.x: unknown key"), "{shown:?}");
    assert!(shown[2].contains("10.toml:3:25: delivery.per_webhook_in_flight: more than"), "{shown:?}");
}

#[test]
fn a_missing_file_is_a_problem_and_no_file_is_the_trial() {
    let shown = Config::load(Some(Path::new("/nonexistent/a.toml"))).unwrap_err()[0].to_string();
    assert!(shown.starts_with("/nonexistent/a.toml: cannot be read: No such file"), "{shown}");
    assert_eq!(Config::load(None).unwrap(), Config::default());
}

mod places {
    use super::*;
    use crate::config::paths::*;
    use std::ffi::OsString;

    /// Resolves everything with the given variables and shows it in one line.
    fn resolved(variables: &[(&str, &str)], config: &str, is_root: bool, flag: Option<&str>) -> String {
        let env =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        let config = read(config).unwrap();
        let flag = flag.map(Path::new);
        let state = state_dir(flag, &env, &config, is_root);
        let shown = |located: &Located| format!("{} ({})", located.path.display(), located.origin);
        let path = state.as_ref().ok().map(|located| located.path.as_path());
        let server = path.map(|path| shown(&server_socket(flag, &env, &config, path))).unwrap_or_default();
        let clients: Vec<_> = client_sockets(flag, &env, &config, path).iter().map(shown).collect();
        let state = state.as_ref().map_or_else(ToString::to_string, shown);
        format!("{state} | {server} | {}", clients.join(", "))
    }

    #[test]
    fn the_order_is_flag_variable_config_systemd_default() {
        let both = &[
            ("POSTRIDER_STATE_DIR", "/v"),
            ("POSTRIDER_SOCKET", "/vs"),
            ("STATE_DIRECTORY", "/sys:/other"),
            ("RUNTIME_DIRECTORY", "/run/sys"),
            ("HOME", "/home/a"),
        ];
        let config = "state_dir = \"/c\"\nadmin.socket = \"/cs\"";
        assert_eq!(resolved(both, config, true, Some("f")), "f (--state-dir) | f (--socket) | f (--socket)");
        assert_eq!(
            resolved(both, config, true, None),
            "/v ($POSTRIDER_STATE_DIR) | /vs ($POSTRIDER_SOCKET) | /vs ($POSTRIDER_SOCKET)"
        );
        assert_eq!(
            resolved(&both[2..], config, true, None),
            "/c (state_dir) | /cs (admin.socket) | /cs (admin.socket), /readonly.sock (admin.socket)"
        );
        assert_eq!(
            resolved(&both[2..], "", true, None),
            "/sys ($STATE_DIRECTORY) | /run/sys/admin.sock ($RUNTIME_DIRECTORY) | \
             /run/sys/admin.sock ($RUNTIME_DIRECTORY), /run/sys/readonly.sock ($RUNTIME_DIRECTORY)"
        );
        assert_eq!(
            resolved(&both[4..], "", true, None),
            "/var/lib/postrider (default) | /var/lib/postrider/admin.sock (default) | \
             /run/postrider/admin.sock (default), /var/lib/postrider/admin.sock (default), \
             /run/postrider/readonly.sock (default), /var/lib/postrider/readonly.sock (default)"
        );
    }

    #[test]
    fn users_have_their_own_places() {
        let home = "/home/a/.local/state/postrider";
        assert_eq!(
            resolved(
                &[("HOME", "/home/a"), ("XDG_RUNTIME_DIR", "/run/user/1"), ("POSTRIDER_SOCKET", "")],
                "",
                false,
                None
            ),
            format!(
                "{home} (default) | {home}/admin.sock (default) | /run/postrider/admin.sock (default), \
                 /run/user/1/postrider/admin.sock ($XDG_RUNTIME_DIR), {home}/admin.sock (default), \
                 /run/postrider/readonly.sock (default), /run/user/1/postrider/readonly.sock ($XDG_RUNTIME_DIR), \
                 {home}/readonly.sock (default)"
            )
        );
        let xdg = resolved(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")], "", false, None);
        assert!(xdg.starts_with("/s/postrider ($XDG_STATE_HOME) | "), "{xdg}");
        let relative = resolved(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "s")], "", false, None);
        assert!(relative.starts_with(home), "{relative}");
        assert!(resolved(&[], "", false, None).starts_with("no state directory: set --state-dir"));
    }

    #[test]
    fn the_configuration_file() {
        let env = |name: &str| (name == "HOME").then(|| OsString::from("/home/a"));
        let of = |exists: &[&str]| {
            let exists: Vec<&Path> = exists.iter().map(Path::new).collect();
            config_file(None, &env, &|path| exists.contains(&path)).map(|located| located.path)
        };
        let (system, user) = ("/etc/postrider/postrider.toml", "/home/a/.config/postrider/postrider.toml");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[user]), Some(user.into()));
        assert_eq!(of(&[user, system]), Some(system.into()));
        let named = |name: &str| (name == "POSTRIDER_CONFIG").then(|| OsString::from("/x"));
        let from_variable = config_file(None, &named, &|_| false).unwrap();
        assert_eq!(from_variable.origin, Origin::Variable("POSTRIDER_CONFIG"));
        assert_eq!(config_file(Some(Path::new("y")), &named, &|_| true).unwrap().origin, Origin::Flag("--config"));
    }
}

/// A problem has to say where it is, in one harmless line, whatever the file holds.
fn never_panics(text: &str) {
    if let Err(problems) = read(text) {
        assert!(!problems.is_empty());
        let lines = u32::try_from(text.split('\n').count()).unwrap();
        for problem in problems {
            assert!(problem.place.line >= 1 && problem.place.line <= lines && problem.place.column >= 1, "{problem:?}");
            assert!(!problem.to_string().contains(crate::domain::text::misleads));
        }
    }
}

proptest! {
    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        never_panics(&text);
    }

    #[test]
    fn random_toml_like_text_never_panics(words in proptest::collection::vec(
        prop::sample::select(vec!["[", "]", "ingest", "listen", "=", "\"", "\n", "{", "}", ",", ".", "1", "'", "\"\"\"", "#",
            "\\", "é", "\r", "egress", "allow", "true", "\u{feff}", "-", "0x", "\t", " "]), 0..60))
    {
        never_panics(&words.concat());
    }

    #[test]
    fn mutated_files_never_panic(cut in 0..9000usize, length in 0..8usize, insert in any::<String>(), uncomment in any::<bool>()) {
        let example = schema::example();
        let example = if uncomment { example.replace("\n#", "\n").replace("\n ", "\n# ") } else { example };
        let mut characters: Vec<char> = example.chars().collect();
        let start = cut.min(characters.len());
        let end = (start + length).min(characters.len());
        characters.splice(start..end, insert.chars());
        never_panics(&characters.into_iter().collect::<String>());
    }
}
