//! Source files as text: found, cut into tokens, searched for paths. It knows just enough of Rust
//! for rules about imports and banned words, and nothing of types; comments and the insides of
//! literals are never seen.

use std::path::Path;

/// A text file of this repository.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        !self.path.starts_with("src/") || self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }
}

/// What is built, borrowed or somebody else's.
const SKIPPED: [&str; 3] = [".git", "target", "node_modules"];

/// Every text file below a folder of the repository, in order; `""` is all of it.
pub(crate) fn text_files(folder: &str) -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(std::fs::read(&path).unwrap())
            {
                files.push(SourceFile { path: relative(root, &path), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Every Rust file below a folder of the repository.
pub(crate) fn rust_files(folder: &str) -> Vec<SourceFile> {
    let mut files = text_files(folder);
    files.retain(|file| file.path.ends_with(".rs"));
    files
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/")
}

/// A word or a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// From 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    fn is_name(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// Cuts source into words, `::`, and single signs.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (length, is_token) = if let Some(length) = silent_length(rest) {
            (length, false)
        } else if word > 0 {
            (word, true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        if is_token {
            tokens.push(Token { text: &rest[..length], line });
        }
        line += rest[..length].matches('\n').count();
        at += length;
    }
    tokens
}

/// The length of the comment or literal that begins here, if one does.
fn silent_length(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment_length(rest));
    }
    if rest.starts_with('\'') {
        return char_length(rest);
    }
    let quote = rest.find('"')?;
    let prefix = &rest[..quote];
    let letters = prefix.trim_end_matches('#');
    match letters {
        "r" | "br" | "cr" => {
            let end = format!("\"{}", &prefix[letters.len()..]);
            let body = quote + 1;
            Some(rest[body..].find(&end).map_or(rest.len(), |found| body + found + end.len()))
        }
        "" | "b" | "c" if letters == prefix => Some(quote + quoted_length(&rest[quote..], '"')),
        _ => None,
    }
}

fn block_comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// A character literal, but not a lifetime.
fn char_length(rest: &str) -> Option<usize> {
    let mut chars = rest.chars().skip(1);
    let (first, second) = (chars.next()?, chars.next()?);
    (first == '\\' || second == '\'').then(|| quoted_length(rest, '\''))
}

/// Up to and with the closing quote; the first character is the opening one.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A path with at least one `::`, or one that a `use` names; groups are taken apart.
#[derive(Debug)]
pub(crate) struct Import<'a> {
    pub(crate) segments: Vec<&'a str>,
    pub(crate) line: usize,
    /// The modules it is in, below that of the file.
    pub(crate) inline: Vec<&'a str>,
}

/// Every path that the tokens name.
pub(crate) fn imports<'a>(tokens: &[Token<'a>]) -> Vec<Import<'a>> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut found = Vec::new();
    let mut inline: Vec<(usize, &str)> = Vec::new();
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(token) = tokens.get(at) {
        let begins = token.is_name() && text(at + 1) == "::" && !(at > 0 && [".", "::"].contains(&text(at - 1)));
        let mut paths = Vec::new();
        match token.text {
            "mod" if text(at + 2) == "{" => {
                inline.push((depth, text(at + 1)));
                at += 2;
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inline.pop_if(|(opened, _)| *opened == depth);
            }
            "use" => at = expand(tokens, at + 1, Vec::new(), &mut paths).max(at + 1) - 1,
            _ if begins => at = expand(tokens, at, Vec::new(), &mut paths) - 1,
            _ => {}
        }
        let around: Vec<&str> = inline.iter().map(|(_, name)| *name).collect();
        found.extend(paths.into_iter().map(|segments| Import { segments, line: token.line, inline: around.clone() }));
        at += 1;
    }
    found
}

/// Takes the path or group at `at` apart; tells what comes behind it.
fn expand<'a>(tokens: &[Token<'a>], mut at: usize, prefix: Vec<&'a str>, found: &mut Vec<Vec<&'a str>>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut path = prefix;
    loop {
        match tokens.get(at) {
            Some(token) if token.text == "::" && path.is_empty() => at += 1,
            Some(token) if token.text == "{" => {
                at += 1;
                while !["}", ""].contains(&text(at)) {
                    at = if text(at) == "," { at + 1 } else { expand(tokens, at, path.clone(), found).max(at + 1) };
                }
                return at + 1;
            }
            Some(token) if token.is_name() || token.text == "*" => {
                path.push(token.text);
                at += 1;
                if text(at) == "::" {
                    at += 1;
                    continue;
                }
                found.push(path);
                return if text(at) == "as" { at + 2 } else { at };
            }
            _ => {
                if !path.is_empty() {
                    found.push(path);
                }
                return at;
            }
        }
    }
}

/// The tokens outside `#[cfg(test)]` items, and those inside.
pub(crate) fn split_tests<'a>(tokens: &[Token<'a>]) -> (Vec<Token<'a>>, Vec<Token<'a>>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut shipped, mut tests) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let marked = tokens[at..].iter().map(|token| token.text).take(MARK.len()).eq(MARK);
        if !marked {
            shipped.push(tokens[at]);
            at += 1;
            continue;
        }
        let end = at + item_length(&tokens[at..]);
        tests.extend_from_slice(&tokens[at..end]);
        at = end;
    }
    (shipped, tests)
}

/// Up to the `;` or the closing brace of the item that begins here.
fn item_length(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[test]
fn comments_and_literals_are_not_seen() {
    let source = r##"/* a /* b */ c */ let x = "crate::a \" "; // crate::b
        let y = r#"crate::"c"#; let z = ('"', '\'', b'"'); fn f<'a>(_: &'a str) { d::e() }"##;
    let found = tokens(source);
    let all: Vec<&str> = imports(&found).iter().flat_map(|import| import.segments.clone()).collect();
    assert_eq!(all, ["d", "e"]);
}

#[test]
fn groups_are_taken_apart_and_modules_noticed() {
    let source = "use crate::{a::{self, B as C}, d::*};\nmod tests { use super::e; }\nfn f() -> impl T + use<> { g::h::<i::J>() }";
    let found = tokens(source);
    let all: Vec<_> =
        imports(&found).iter().map(|one| (one.segments.join("::"), one.line, one.inline.join("::"))).collect();
    let expected = [
        ("crate::a::self", 1, ""),
        ("crate::a::B", 1, ""),
        ("crate::d::*", 1, ""),
        ("super::e", 2, "tests"),
        ("g::h", 3, ""),
        ("i::J", 3, ""),
    ];
    assert_eq!(all, expected.map(|(path, line, inline)| (path.to_owned(), line, inline.to_owned())));
}

#[test]
fn test_items_are_told_apart() {
    let source = "fn a() {} #[cfg(test)] mod b { fn c() { d() } } #[cfg(test)] use e; fn f() {}";
    let found = tokens(source);
    let (shipped, tests) = split_tests(&found);
    let names = |tokens: &[Token<'_>]| -> Vec<String> {
        tokens.iter().filter(|token| token.text.len() == 1 && token.is_name()).map(|one| one.text.to_owned()).collect()
    };
    assert_eq!(names(&shipped), ["a", "f"]);
    assert_eq!(names(&tests), ["b", "c", "d", "e"]);
}
