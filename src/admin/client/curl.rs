//! A command for a shell that repeats the request of a delivery.
//!
//! It sends nothing. The values of secrets are not known here: variables of the shell stand for
//! them. Invariant: whatever a URL, a header or an id holds, a POSIX shell reads it as part of the
//! one word it belongs to.

use crate::admin::protocol::RequestView;

/// What stands for a secret in what the daemon shows.
const MASKED: &str = "…";

/// The command, over several lines.
pub fn command(id: &str, request: &RequestView) -> String {
    let mut words = vec![
        // Settings of the user's own would make it another request.
        "curl --disable".to_owned(),
        format!("--request {}", quoted(&request.method)),
        "--http1.1 --no-location --globoff".to_owned(),
        format!("--max-time {}", request.timeout_seconds),
    ];
    // Those that curl adds by itself.
    words.extend(["Accept:", "Expect:"].map(|header| format!("--header {}", quoted(header))));
    words.extend(request.headers.iter().map(|(name, value)| format!("--header {}", header(name, value))));
    words.push("--data-binary @-".to_owned());
    words.push(format!("--url {}", quoted(&request.url)));
    format!("postrider delivery payload {} |\n  {}", quoted(id), words.join(" \\\n    "))
}

/// Names of the variables that the command needs.
pub fn secrets(request: &RequestView) -> Vec<String> {
    let masked = request.headers.iter().filter(|(_, value)| value == MASKED);
    masked.map(|(name, _)| variable(name)).collect()
}

fn header(name: &str, value: &str) -> String {
    match value {
        MASKED => format!("{}\"${}\"", quoted(&format!("{name}: ")), variable(name)),
        // With a colon, curl would leave it out.
        "" => quoted(&format!("{name};")),
        value => quoted(&format!("{name}: {value}")),
    }
}

fn variable(name: &str) -> String {
    let upper = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("SECRET_{}", upper.collect::<String>())
}

/// A text as one word of a shell. What would steer a terminal is written by its bytes. Line ends
/// and zero bytes, which no header and no URL can hold, become blanks.
fn quoted(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return text.to_owned();
    }
    let mut word = String::from("'");
    for character in text.chars() {
        match character {
            '\'' => word.push_str("'\\''"),
            '\n' | '\r' | '\0' => word.push(' '),
            odd if crate::domain::text::misleads(odd) => {
                let bytes: String = odd.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:03o}")).collect();
                word.push_str(&format!("'\"$(printf '{bytes}')\"'"));
            }
            plain => word.push(plain),
        }
    }
    word.push('\'');
    word
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// The words that a shell hands to `postrider` and to `curl`.
    fn run(command: &str) -> Vec<String> {
        let tell = r#"tell() { for word in "$@"; do printf '%s\0' "$word"; done; }; "#;
        let functions = r#"postrider() { tell "$@" >&2; }; curl() { tell "$@"; }; "#;
        let output = Command::new("/bin/sh")
            .args(["-uc", &format!("{tell}{functions}{command}")])
            .env_clear()
            .env("PATH", "/nonexistent")
            .env("SECRET_X_KEY", "hunter2")
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
        let words = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
        };
        words(output.stderr).into_iter().chain(words(output.stdout)).collect()
    }

    fn expected(id: &str, request: &RequestView) -> Vec<String> {
        let plain = |text: &str| text.replace(['\n', '\r', '\0'], " ");
        let mut words: Vec<String> = ["delivery", "payload"].map(str::to_owned).to_vec();
        words.push(plain(id));
        words.extend(
            ["--disable", "--request", &plain(&request.method), "--http1.1", "--no-location"].map(str::to_owned),
        );
        words.extend(["--globoff", "--max-time", &request.timeout_seconds.to_string()].map(str::to_owned));
        words.extend(["--header", "Accept:", "--header", "Expect:"].map(str::to_owned));
        for (name, value) in &request.headers {
            let header = match value.as_str() {
                MASKED => format!("{name}: hunter2"),
                "" => format!("{name};"),
                value => format!("{name}: {value}"),
            };
            words.extend(["--header".to_owned(), plain(&header)]);
        }
        words.extend(["--data-binary", "@-", "--url", &plain(&request.url)].map(str::to_owned));
        words
    }

    fn request(url: &str, headers: &[(&str, &str)]) -> RequestView {
        RequestView {
            method: "POST".to_owned(),
            url: url.to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            timeout_seconds: 30,
        }
    }

    #[test]
    fn a_command_is_readable_and_tells_no_secret() {
        let request = request("https://a.example/x?y=1&z=it's", &[("x-env", "prod"), ("x-key", "…"), ("x-none", "")]);
        let text = command("dlv_1", &request);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], "postrider delivery payload dlv_1 |");
        assert!(lines.contains(&"--header 'x-key: '\"$SECRET_X_KEY\" \\"), "{text}");
        assert!(lines.contains(&"--header 'x-env: prod' \\"), "{text}");
        assert_eq!(lines.last(), Some(&"--url 'https://a.example/x?y=1&z=it'\\''s'"));
        assert_eq!(run(&text), expected("dlv_1", &request));
        assert_eq!(secrets(&request), ["SECRET_X_KEY"]);
    }

    #[test]
    fn nothing_breaks_out_of_its_word() {
        for hostile in [
            "'; echo owned; '",
            "$(echo owned)",
            "`echo owned`",
            "${HOME}",
            "\\",
            "\\'",
            "\"",
            "!!",
            "a\tb",
            "\u{1b}[2J",
            "*",
            "~",
            "-o/tmp/x",
            "@/etc/passwd",
            "a\nb; echo owned",
            "\u{202e}é\u{85}",
            "a'\"$(printf '\\101')\"'b",
            "%s\\n",
        ] {
            let request = request(hostile, &[("x", hostile), (hostile, "y"), ("x-key", "…")]);
            let text = command(hostile, &request);
            assert_eq!(run(&text), expected(hostile, &request), "{text}");
            assert!(!text.replace('\n', "").contains(crate::domain::text::misleads), "{text:?}");
        }
    }

    proptest! {
        // Each case starts a shell.
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
        #[test]
        fn a_shell_reads_back_what_was_meant(
            url in any::<String>(),
            id in "[ -~\t\n'\"$`\\\\!]{0,12}",
            name in "[ -~']{1,8}",
            value in prop_oneof![any::<String>(), "[-'\"$`\\\\ !#&|;<>()*?~\t]{0,16}"],
        ) {
            let request = request(&url, &[(&name, &value), ("x-key", "…")]);
            prop_assume!(value != MASKED);
            prop_assert_eq!(run(&command(&id, &request)), expected(&id, &request));
        }
    }
}
