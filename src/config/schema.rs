//! The table of every configuration key: its section, kind, default and meaning.
//!
//! The reader, the hints for mistyped names and the example file are all made from this table,
//! so a key exists exactly if it has a row here. It does not read anything and does not hold
//! rules that join two keys; those are in [`super::checks`].
//!
//! Invariant: the default of every key, as TOML text, is a value its own kind accepts.

use super::nearest;

/// One section of the file. The section named `""` is what stands before the first header.
#[derive(Debug)]
pub struct Section {
    /// The word in brackets.
    pub name: &'static str,
    /// What the section is about, one line.
    pub meaning: &'static str,
    /// Its keys, in the order of the example file.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The word left of the equals sign.
    pub name: &'static str,
    /// What may stand right of it.
    pub kind: Kind,
    /// The value when nothing is written, as TOML text.
    pub default: &'static str,
    /// What it does, one line.
    pub meaning: &'static str,
}

/// What may be written for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number in a closed range.
    Integer {
        /// The smallest value.
        min: u64,
        /// The largest value.
        max: u64,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A file or folder, or `""`. Relative paths count from the folder of the file they stand in.
    Path,
    /// Like a path, and short enough for the address of a Unix socket.
    SocketPath,
    /// IP address and port; `localhost` counts as 127.0.0.1. With `optional`, `""` is none.
    Listen {
        /// Whether `""` is a value.
        optional: bool,
    },
    /// A list of networks in CIDR notation; a bare address is a network of one.
    Networks,
    /// The name of an HTTP header.
    HeaderName,
    /// The value of an HTTP header, or `""`.
    HeaderValue,
    /// `smtp://` or `smtps://`, optionally user, host, optionally port; or `""`.
    SmtpUrl,
    /// `http://` or `https://`, host, optionally user, password and port; or `""`.
    BaseUrl,
    /// A mail address, with or without a name before it; or `""`.
    MailAddress,
    /// The name or number of a group of this system, or `""`.
    Group,
    /// Any one line of text, or `""`.
    Text,
}

/// The most bytes the path of a Unix socket may have (`sun_path` without its final NUL).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The most entries a list may have.
pub const LIST_LENGTH_MAX: usize = 1024;
/// The most bytes a string may have.
pub const TEXT_BYTES_MAX: usize = 4096;

impl Kind {
    /// What is allowed, as it is said in an error and in the example file.
    #[must_use]
    pub fn allowed(self) -> String {
        let fixed = match self {
            Self::Integer { min, max } => return format!("an integer from {min} to {max}"),
            Self::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                return format!("one of {}", words.join(", "));
            }
            Self::SocketPath => return format!("a path of at most {SOCKET_PATH_BYTES_MAX} bytes, or \"\""),
            Self::Boolean => "true or false",
            Self::Path => "a path, or \"\"",
            Self::Listen { optional: false } => "an IP address and a port, like \"127.0.0.1:7780\" or \"[::1]:7780\"",
            Self::Listen { optional: true } => {
                "an IP address and a port, like \"127.0.0.1:9464\" or \"[::1]:9464\", or \"\""
            }
            Self::Networks => "a list of networks, like [\"10.0.0.0/8\", \"fd00::/8\"]",
            Self::HeaderName => "the name of an HTTP header that is not taken already",
            Self::HeaderValue => "printable ASCII text, or \"\"",
            Self::SmtpUrl => "\"smtp://HOST[:PORT]\", \"smtps://[USER@]HOST[:PORT]\", or \"\"",
            Self::BaseUrl => "\"http://[USER:PASSWORD@]HOST[:PORT]\", the same with https, or \"\"",
            Self::MailAddress => "a mail address, like \"postrider@example.com\", or \"\"",
            Self::Group => "the name or number of a group, or \"\"",
            Self::Text => "a line of text, or \"\"",
        };
        fixed.to_owned()
    }
}

const fn integer(name: &'static str, min: u64, max: u64, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind: Kind::Integer { min, max }, default, meaning }
}

const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

/// Every section with every key, in the order of the example file.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "",
        meaning: "",
        keys: &[key(
            "state_dir",
            Kind::Path,
            "\"\"",
            "Where everything durable lives; \"\" is $STATE_DIRECTORY, /var/lib/postrider for root, else $XDG_STATE_HOME/postrider.",
        )],
    },
    Section {
        name: "ingest",
        meaning: "How the apps of this machine hand in events.",
        keys: &[
            key(
                "listen",
                Kind::Listen { optional: false },
                "\"127.0.0.1:7780\"",
                "Address of the HTTP port; port 0 takes a free one, which `postrider status --json` tells.",
            ),
            key("socket", Kind::SocketPath, "\"\"", "A Unix socket that speaks the same HTTP; \"\" is none."),
            key(
                "auth",
                Kind::OneOf(&["token", "none"]),
                "\"token\"",
                "Whether an app must present a token; with \"none\" every local user can post events.",
            ),
            integer("max_body_bytes", 1024, 16 << 20, "1048576", "The largest request body taken."),
            integer("max_connections", 1, 65_535, "256", "How many connections may be open at once."),
            key(
                "unknown_types",
                Kind::OneOf(&["reject", "accept"]),
                "\"reject\"",
                "What happens to an event whose type is not in the catalog.",
            ),
            key(
                "schema",
                Kind::OneOf(&["off", "warn", "reject"]),
                "\"warn\"",
                "What happens to a payload that does not fit the JSON Schema of its type.",
            ),
        ],
    },
    Section {
        name: "admin",
        meaning: "The socket that the terminal UI and the command line talk to.",
        keys: &[
            key(
                "socket",
                Kind::SocketPath,
                "\"\"",
                "Path of the socket; \"\" is $RUNTIME_DIRECTORY/admin.sock, else admin.sock in the state directory.",
            ),
            key("group", Kind::Group, "\"postrider\"", "Members of this group may do everything."),
            key(
                "readonly_group",
                Kind::Group,
                "\"\"",
                "Members of this group may look but not change, on readonly.sock beside the socket; \"\" is nobody.",
            ),
        ],
    },
    Section {
        name: "delivery",
        meaning: "How events are sent to receivers.",
        keys: &[
            integer(
                "timeout_seconds",
                1,
                120,
                "10",
                "One deadline for connecting, sending and the receiver's status line.",
            ),
            integer("max_in_flight", 1, 10_000, "128", "How many attempts may run at once, over all webhooks."),
            integer(
                "per_webhook_in_flight",
                1,
                1000,
                "8",
                "How many attempts of one webhook may run at once; when not written, never more than max_in_flight.",
            ),
            key("user_agent", Kind::HeaderValue, "\"\"", "The User-Agent header; \"\" is postrider/VERSION."),
            integer("retry_count", 0, 100, "5", "How often a new webhook tries again after a failed attempt."),
            integer("retry_interval_seconds", 1, 86_400, "60", "How long a new webhook waits between attempts."),
        ],
    },
    Section {
        name: "egress",
        meaning: "Where deliveries may go.",
        keys: &[
            key(
                "allow",
                Kind::Networks,
                "[]",
                "Networks that may be dialled although they are not globally routable, such as the LAN.",
            ),
            key("allow_http", Kind::Boolean, "true", "Whether a receiver may have a plain http:// URL."),
            key(
                "proxy",
                Kind::BaseUrl,
                "\"\"",
                "A proxy for all deliveries, which then resolves names and decides what is reached; \"\" is none. Proxy environment variables are not used.",
            ),
            key(
                "ca_file",
                Kind::Path,
                "\"\"",
                "A PEM file of certificate authorities trusted beside those of the system.",
            ),
        ],
    },
    Section {
        name: "retention",
        meaning: "How long deliveries stay searchable, and when the disk counts as full.",
        keys: &[
            integer("days", 1, 3650, "30", "Days after its last attempt until a delivery is gone from disk."),
            integer(
                "min_free_bytes",
                0,
                1 << 50,
                "268435456",
                "New events are refused when less than this is free on the disk of the state directory.",
            ),
            integer("min_free_percent", 0, 50, "5", "The same as a share of the disk; the larger of the two counts."),
        ],
    },
    Section {
        name: "email",
        meaning: "Mail about deliveries that failed for good.",
        keys: &[
            key("smtp", Kind::SmtpUrl, "\"smtp://localhost:25\"", "The mail server; \"\" sends no mail at all."),
            key(
                "starttls",
                Kind::OneOf(&["required", "opportunistic", "off"]),
                "\"required\"",
                "Encryption with smtp://; a server on this machine is exempt from \"required\". smtps:// always encrypts.",
            ),
            key("from", Kind::MailAddress, "\"\"", "The sender; \"\" is postrider@ and the name of this machine."),
            key("username", Kind::Text, "\"\"", "The user at the mail server; needs password_file."),
            key("password_file", Kind::Path, "\"\"", "A file with nothing but the password of that user."),
            integer(
                "digest_minutes",
                1,
                1440,
                "15",
                "After the first mail, further failures wait this long and go out as one.",
            ),
            integer("max_per_hour", 1, 1000, "20", "The most mails an hour, over all webhooks."),
        ],
    },
    Section {
        name: "signature",
        meaning: "Names of two headers that receivers look for.",
        keys: &[
            key(
                "body_header",
                Kind::HeaderName,
                "\"Idenfy-Signature\"",
                "The header with the HMAC-SHA256 of the body.",
            ),
            key("event_type_header", Kind::HeaderName, "\"Idenfy-Event-Type\"", "The header with the event type."),
        ],
    },
    Section {
        name: "secrets",
        meaning: "Encryption of signing keys and tokens on disk.",
        keys: &[key(
            "key_file",
            Kind::Path,
            "\"\"",
            "The master key, made on the first start; the systemd credential \"master.key\" wins; \"\" is master.key in the state directory.",
        )],
    },
    Section {
        name: "log",
        meaning: "What goes to standard error.",
        keys: &[
            key(
                "level",
                Kind::OneOf(&["error", "warn", "info", "debug", "trace"]),
                "\"info\"",
                "The least important messages that are logged.",
            ),
            key(
                "format",
                Kind::OneOf(&["auto", "journald", "text", "json"]),
                "\"auto\"",
                "How they look; \"auto\" is journald under systemd, else text with timestamps.",
            ),
        ],
    },
    Section {
        name: "metrics",
        meaning: "Numbers for Prometheus.",
        keys: &[key(
            "listen",
            Kind::Listen { optional: true },
            "\"\"",
            "Address of a port that serves GET /metrics without a token; \"\" is none. The admin socket always has it.",
        )],
    },
    Section {
        name: "tracing",
        meaning: "Spans for an OpenTelemetry collector (OTLP over HTTP). A traceparent that an app posts is passed on in any case.",
        keys: &[
            key(
                "collector",
                Kind::BaseUrl,
                "\"\"",
                "Where spans go, such as \"http://127.0.0.1:4318\", to which /v1/traces is appended; \"\" makes none.",
            ),
            integer(
                "percent",
                0,
                100,
                "100",
                "How many of a hundred events that came without a traceparent begin a trace.",
            ),
        ],
    },
];

/// The section of that name.
#[must_use]
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The key of that name in the section of that name.
#[must_use]
pub fn find(section_name: &str, name: &str) -> Option<&'static Key> {
    section(section_name)?.keys.iter().find(|key| key.name == name)
}

/// `section.key`, or the bare key before the first section.
#[must_use]
pub fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// The name that was probably meant by an unknown one found in `section`.
///
/// A near miss inside the section comes first; else the same word in another section, given
/// with its section, since keys put under the wrong header are as common as typing mistakes.
#[must_use]
pub fn nearest_key(section_name: &str, unknown: &str) -> Option<String> {
    let here = section(section_name).into_iter().flat_map(|section| section.keys);
    if let Some(near) = nearest::nearest(unknown, here.map(|key| key.name)) {
        return Some(near.to_owned());
    }
    if section_name.is_empty()
        && let Some(near) = nearest_section(unknown)
    {
        return Some(format!("[{near}]"));
    }
    let elsewhere = SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == unknown))?;
    Some(dotted(elsewhere.name, unknown))
}

/// The section that was probably meant by an unknown one.
#[must_use]
pub fn nearest_section(unknown: &str) -> Option<&'static str> {
    nearest::nearest(unknown, SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty()))
}

/// The example file: every key, commented out, with its default, its meaning and what is allowed.
#[must_use]
pub fn example() -> String {
    const HEAD: &str = "\
# Configuration of postrider; see postrider.toml(5). Every key is here with its default.
# Remove the leading # of a line to change it, then run: postrider check-config
#
# Files named conf.d/*.toml beside this one are read after it, in the order of their names;
# a key that is set again wins. Relative paths count from the folder of the file they are in.
# Unknown keys are errors. `systemctl reload postrider` reads the files again.
";
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        text.push('\n');
        if !section.name.is_empty() {
            push_comment(&mut text, section.meaning);
            text.push_str(&format!("[{}]\n", section.name));
        }
        for (position, key) in section.keys.iter().enumerate() {
            if position > 0 {
                text.push('\n');
            }
            push_comment(&mut text, key.meaning);
            push_comment(&mut text, &format!("Allowed: {}.", key.kind.allowed()));
            text.push_str(&format!("#{} = {}\n", key.name, key.default));
        }
    }
    text
}

/// Adds prose as comment lines of at most 96 columns.
fn push_comment(text: &mut String, prose: &str) {
    const COLUMNS: usize = 96;
    let mut column = 0;
    for word in prose.split(' ') {
        if column > 0 && column + 1 + word.len() <= COLUMNS {
            text.push(' ');
            column += 1;
        } else {
            text.push_str(if column > 0 { "\n# " } else { "# " });
            column = 2;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
}
