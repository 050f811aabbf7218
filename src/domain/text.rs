//! Text from outside, made safe to show to a person.
//!
//! Names, URLs, error messages and payloads come from apps, receivers and whoever writes to
//! them. Shown as they are, they could forge a log line, move a terminal's cursor, or display
//! in another order than they are read. This module is the one place where that is prevented.
//! It does not shorten, wrap or translate, and it is not an encoding: nothing reads its output
//! back, so a backslash that was in the text stays a single backslash.
//!
//! Invariant: what [`printable`] returns holds no control character and no invisible or
//! direction-changing one; text without any of them comes back unchanged and uncopied.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Replaces everything that would steer a terminal or mislead the eye by `\u{…}` (hexadecimal).
///
/// Replaced are the C0 controls (line feed, carriage return and tab among them), DEL, the C1
/// controls, the line and paragraph separators, and every character that is invisible or
/// changes the direction of what follows. Whoever wants line breaks splits the text first.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(misleads) else {
        return Cow::Borrowed(text);
    };
    let mut shown = String::with_capacity(text.len() + 16);
    let (clean, rest) = text.split_at(first);
    shown.push_str(clean);
    for character in rest.chars() {
        if misleads(character) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character may not be shown as it is. See [`printable`].
#[must_use]
pub fn misleads(character: char) -> bool {
    match character {
        // The common case first: printable ASCII.
        ' '..='~' => false,
        // C0, DEL and C1: all 65 of them.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' => true,
        // Soft hyphen, Arabic letter mark, Mongolian vowel separator: invisible.
        '\u{ad}' | '\u{61c}' | '\u{180e}' => true,
        // Zero-width space and joiners, direction marks.
        '\u{200b}'..='\u{200f}' => true,
        // Line and paragraph separators, embeddings and overrides.
        '\u{2028}'..='\u{202e}' => true,
        // Word joiner, invisible operators, isolates, deprecated format characters.
        '\u{2060}'..='\u{206f}' => true,
        // Byte order mark and interlinear annotation.
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        // Tags: a whole invisible copy of ASCII.
        '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// Text from outside that is to be shown: its `Display` goes through [`printable`].
///
/// There is deliberately no way to get the raw text out by formatting: `Debug` is the same,
/// in quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Untrusted<'a>(pub &'a str);

impl fmt::Display for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` and not `write_str`: widths and precisions of the caller keep working.
        f.pad(&printable(self.0))
    }
}

impl fmt::Debug for Untrusted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", printable(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_65_control_characters_are_shown_by_number() {
        let controls: Vec<char> = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| c.is_control()).collect();
        assert_eq!(controls.len(), 65);
        for control in controls {
            let shown = printable(&format!("a{control}b")).into_owned();
            assert_eq!(shown, format!("a\\u{{{:x}}}b", u32::from(control)));
        }
    }

    #[test]
    fn bidirectional_and_invisible_characters_are_shown_by_number() {
        let hostile = [0x200b..=0x200f, 0x202a..=0x202e, 0x2066..=0x2069, 0x2028..=0x2029, 0xfeff..=0xfeff];
        for number in hostile.into_iter().flatten().chain([0xad, 0x61c, 0x180e, 0x2060, 0xe0041]) {
            let character = char::from_u32(number).expect("a character");
            assert_eq!(printable(&character.to_string()), format!("\\u{{{number:x}}}"));
        }
    }

    #[test]
    fn ordinary_text_is_not_copied() {
        for text in ["", "plain", "C:\\temp", "Zażółć gęślą jaźń", "日本語", "עברית", "🙂", "a\u{301}"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn a_terminal_sequence_and_a_forged_line_stay_one_harmless_line() {
        let hostile = "x\u{1b}]0;owned\u{7}\r\n<3>store damaged\u{9b}2J";
        assert_eq!(Untrusted(hostile).to_string(), "x\\u{1b}]0;owned\\u{7}\\u{d}\\u{a}<3>store damaged\\u{9b}2J");
        assert_eq!(format!("{:?}", Untrusted("\n")), "\"\\u{a}\"");
        assert_eq!(format!("{:>4}|{:.2}", Untrusted("ab"), Untrusted("abc")), "  ab|ab");
    }

    proptest! {
        #[test]
        fn nothing_misleading_is_ever_left(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.contains(misleads));
            prop_assert_eq!(printable(&shown).into_owned(), shown.into_owned());
        }
    }
}
