//! Small rules that a reviewer should not have to think of. Each exception has its reason beside
//! it; what a rule does not name has no exception.

use crate::support::source::{SourceFile, rust_files, split_tests, text_files, tokens};

/// A file that is control flow is read as a whole, and this is as much as one can.
const LINES_MAX: usize = 500;

/// Longer files: at most so many lines, and why.
const LONGER: &[(&str, usize, &str)] = &[
    ("src/dispatch/lanes.rs", 620, "one pure state machine: its invariants hold over all of its functions together"),
    ("src/config/tests.rs", 560, "cases, not control flow"),
    ("tests/it/support/sim_disk.rs", 540, "one model: what a disk forgets and how it fails depend on each other"),
];

/// Tests that may sleep, and why.
const SLEEPERS: &[(&str, &str)] = &[
    ("tests/it/jobs.rs", "paused time: sleeping is how it moves on"),
    ("tests/it/lookups.rs", "paused time: sleeping is how it moves on"),
    ("tests/it/simulation.rs", "paused time: sleeping is how it moves on"),
    ("tests/it/history.rs", "paused time: sleeping is how it moves on"),
    ("tests/it/rules.rs", "paused time: sleeping is how it moves on"),
    ("tests/it/mail.rs", "paused time: sleeping is how it moves on"),
    ("tests/it/stats.rs", "paused time: sleeping is how it moves on"),
    ("tests/it/support/world.rs", "paused time: a receiver that takes its time"),
    ("tests/it/oauth.rs", "paused time: sleeping is how it moves on"),
    ("src/dispatch/oauth/tests.rs", "paused time: a server that takes its time"),
    ("tests/blackbox/", "another process can only be polled, and is killed at moments drawn by chance"),
    ("benches/", "another process can only be polled"),
];

/// Places of whoever wrote something, which mean nothing to whoever reads it. In halves, so that
/// this file does not hold them.
const FOREIGN: &[(&str, &str)] = &[("/wo", "rk/"), ("shared/", "design"), ("/tmp", "/wt"), ("/ro", "ot/")];
/// Homes that are made up, in tests of paths.
const MADE_UP_HOME: &str = "/home/a";

fn code() -> Vec<SourceFile> {
    ["src", "tests", "benches"].iter().flat_map(|folder| rust_files(folder)).collect()
}

#[track_caller]
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Sentences of the `//!` lines that a file begins with, drawings apart.
fn doc_sentences(text: &str) -> usize {
    let mut drawing = false;
    let mut doc = String::new();
    for line in text.lines().map_while(|line| line.strip_prefix("//!")) {
        if line.trim_start().starts_with("```") {
            drawing = !drawing;
        } else if !drawing {
            doc.push_str(line);
            doc.push('\n');
        }
    }
    let ends = |pair: &[char]| ".?!".contains(pair[0]) && pair[1].is_whitespace();
    doc.chars().collect::<Vec<_>>().windows(2).filter(|pair| ends(pair)).count()
}

/// Where the sequence of words and signs stands in the code of a file: lines.
fn lines_with(file: &SourceFile, tests: Option<bool>, sequence: &[&str]) -> Vec<usize> {
    let all = tokens(&file.text);
    let (shipped, of_tests) = split_tests(&all);
    let found = match tests {
        _ if file.is_test() && tests == Some(false) => Vec::new(),
        _ if file.is_test() => all,
        Some(true) => of_tests,
        Some(false) => shipped,
        None => all,
    };
    let matches =
        |at: &usize| found[*at..].iter().map(|token| token.text).take(sequence.len()).eq(sequence.iter().copied());
    (0..found.len()).filter(matches).map(|at| found[at].line).collect()
}

#[test]
fn every_module_says_what_it_is_and_what_not() {
    let mut problems = Vec::new();
    for file in code() {
        let wanted = if file.is_test() { 1 } else { 2 };
        let found = doc_sentences(&file.text);
        if found < wanted {
            problems.push(format!("{}: its module doc has {found} sentences, not {wanted}", file.path));
        }
    }
    assert_none(&problems);
}

#[test]
fn files_can_be_read_as_a_whole() {
    let mut problems = Vec::new();
    for file in code() {
        // Tests at the end are cases, and are read one by one.
        let lines = file.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        let longer = LONGER.iter().find(|(path, ..)| *path == file.path);
        let most = longer.map_or(LINES_MAX, |(_, most, _)| *most);
        if lines > most {
            problems.push(format!("{}: {lines} lines, at most {most}", file.path));
        }
        if longer.is_some() && lines <= LINES_MAX {
            problems.push(format!("{}: no longer needs its exception", file.path));
        }
    }
    assert_none(&problems);
}

#[test]
fn main_only_chooses() {
    assert!(include_str!("../../src/main.rs").lines().count() <= 30);
}

#[test]
fn nothing_is_allowed_without_being_expected() {
    let mut problems = Vec::new();
    for file in code() {
        for mark in [&["#", "[", "allow", "("] as &[_], &["#", "!", "[", "allow", "("]] {
            for line in lines_with(&file, None, mark) {
                problems.push(format!("{}:{line}: use #[expect(…, reason = …)]", file.path));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut problems = Vec::new();
    for file in code() {
        for line in lines_with(&file, Some(false), &[".", "unwrap", "("]) {
            problems.push(format!("{}:{line}: unwrap", file.path));
        }
    }
    assert_none(&problems);
}

#[test]
fn tests_do_not_sleep() {
    let mut problems = Vec::new();
    for file in code() {
        if SLEEPERS.iter().any(|(path, _)| file.path.starts_with(path)) {
            continue;
        }
        for call in ["sleep", "sleep_until"] {
            for line in lines_with(&file, Some(true), &[call, "("]) {
                problems.push(format!("{}:{line}: wait for what is meant, not for time", file.path));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn nothing_names_a_place_of_whoever_wrote_it() {
    let mut problems = Vec::new();
    let foreign: Vec<String> = FOREIGN.iter().map(|(one, other)| format!("{one}{other}")).collect();
    for file in text_files("") {
        for (line, text) in (1..).zip(file.text.lines()) {
            let named = foreign.iter().find(|word| text.contains(word.as_str())).cloned();
            let home = text.match_indices("/home/").map(|(at, _)| &text[at..]).find(|home| {
                let user = home["/home/".len()..].starts_with(|c: char| c.is_ascii_lowercase());
                user && !home.trim_start_matches(MADE_UP_HOME).starts_with(['/', '"'])
            });
            if let Some(word) = named.or_else(|| home.map(str::to_owned)) {
                problems.push(format!("{}:{line}: {word}", file.path));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn the_changelog_knows_this_version() {
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    let changelog = include_str!("../../CHANGELOG.md");
    let mut lines = changelog.lines().skip_while(|line| !line.starts_with(&heading)).skip(1);
    assert!(lines.any(|line| line.starts_with("- ")), "CHANGELOG.md has nothing under {heading:?}");
}

#[test]
fn the_rules_see_what_they_should() {
    assert_eq!(doc_sentences("//! One.\n//! Two, with a.b in it.\n\nfn f() {}\n//! Three.\n"), 2);
    assert_eq!(doc_sentences("//! One\n//! ```text\n//! Two. Three.\n//! ```\n"), 0);
    assert_eq!(doc_sentences("fn f() {}\n"), 0);
    let text = "fn a() { b.unwrap() }\n#[cfg(test)]\nmod tests {\n fn c() { d.unwrap(); sleep(1) }\n}\n// e.unwrap()\n";
    let lines = |path: &str, tests, sequence: &[&str]| lines_with(&SourceFile::new(path, text), tests, sequence);
    assert_eq!(lines("src/a.rs", Some(false), &[".", "unwrap", "("]), [1]);
    assert_eq!(lines("src/a.rs", None, &[".", "unwrap", "("]), [1, 4]);
    assert_eq!(lines("src/a/tests.rs", Some(false), &[".", "unwrap", "("]), [0; 0]);
    assert_eq!(lines("src/a.rs", Some(true), &["sleep", "("]), [4]);
    let allowed = SourceFile::new("src/a.rs", "#[allow(dead_code)]\nfn a() { allow(1) }");
    assert_eq!(lines_with(&allowed, None, &["#", "[", "allow", "("]), [1]);
}
