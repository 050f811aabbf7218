//! The words behind a verb: names of webhooks and event types, `KEY=VALUE`, and what completes them.
//!
//! Names that are not known are never guessed where something would be changed.

use super::{Match, Takes, Verb, scorer};
use crate::admin::protocol::WebhookView;
use crate::tui::model::Model;
use crate::tui::screen::words::of_webhook;
use crate::tui::text::{safe, short_url};

/// What a list of deliveries can be narrowed by.
const KEYS: [(&str, &str); 9] = [
    ("class", "0, 2xx, 3xx, 4xx, 5xx; several with commas"),
    ("webhook", "the name of a webhook"),
    ("since", "1h, 2d, 2026-11-23, 2026-11-23 09:30"),
    ("until", "the same"),
    ("state", "pending, delivered, failed, cancelled, skipped"),
    ("type", "name or label of an event type"),
    ("ref", "scanRef or another id, or its beginning"),
    ("q", "a text, also inside payloads"),
    ("code", "such as 503"),
];
const CLASSES: [&str; 6] = ["0", "1xx", "2xx", "3xx", "4xx", "5xx"];
const STATES: [&str; 5] = ["pending", "delivered", "failed", "cancelled", "skipped"];

/// The webhook that is meant. Where something is changed only its whole name will do.
///
/// # Errors
/// What is meant instead, in words.
pub(crate) fn hook<'a>(model: &'a Model, name: &str, whole: bool) -> Result<&'a WebhookView, String> {
    if let Some(hook) = model.hook(name) {
        return Ok(hook);
    }
    let Some(hooks) = &model.hooks else { return Err("the webhooks are not known yet".to_owned()) };
    let wanted = name.to_lowercase();
    let alike: Vec<&WebhookView> = hooks.iter().filter(|hook| hook.name.to_lowercase() == wanted).collect();
    let begin: Vec<&WebhookView> =
        hooks.iter().filter(|hook| !whole && hook.name.to_lowercase().starts_with(&wanted)).collect();
    match (alike.as_slice(), begin.as_slice()) {
        ([one], _) | ([], [one]) => Ok(one),
        _ => {
            let near = closest(name, hooks.iter().map(|hook| hook.name.as_str()));
            Err(format!("there is no webhook {}{}", safe(name), did_you_mean(&near)))
        }
    }
}

/// The name of the event type that is meant by a name, a label or the beginning of one.
///
/// # Errors
/// What is meant instead, in words.
pub(crate) fn event_type(model: &Model, name: &str) -> Result<String, String> {
    let wanted = name.to_lowercase();
    let whole =
        model.types.iter().find(|kind| [&kind.name, &kind.label].iter().any(|one| one.to_lowercase() == wanted));
    let begins = |text: &str| text.to_lowercase().starts_with(&wanted);
    let begin: Vec<_> = model.types.iter().filter(|kind| begins(&kind.name) || begins(&kind.label)).collect();
    match (whole, begin.as_slice()) {
        (Some(one), _) => Ok(one.name.clone()),
        (None, [one]) => Ok(one.name.clone()),
        _ => {
            let near = closest(name, model.types.iter().map(|kind| kind.label.as_str()));
            Err(format!("there is no event type {}{}", safe(name), did_you_mean(&near)))
        }
    }
}

/// `; did you mean a or b?`, or nothing.
pub(crate) fn did_you_mean(near: &[&str]) -> String {
    let near: Vec<String> = near.iter().map(|name| safe(name).into_owned()).collect();
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) }
}

/// Up to three of these that are written much like a word, the nearest first.
pub(crate) fn closest<'a>(word: &str, all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(64).collect();
    let most = (word.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = all
        .map(|one| {
            let other: Vec<char> = one.to_lowercase().chars().take(64).collect();
            let begins = word.len() > 1 && other.starts_with(&word);
            (if begins { 0 } else { edits(&word, &other) }, one)
        })
        .filter(|(edits, _)| *edits <= most)
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().take(3).map(|(_, one)| one).collect()
}

/// How many characters have to be put in, taken out or changed; two that changed places count as one.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, one) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(one != other)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *other && *one == b[j - 1] {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Names and values of `class=5xx webhook=aml watch since=1h`. A word without a `=` belongs to the
/// value before it, unless it is a class or a state, which stand for themselves.
///
/// # Errors
/// What can not be understood, in words.
pub(crate) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut in_quotes = false;
    for word in text.split_whitespace() {
        if in_quotes {
            in_quotes = !word.ends_with('"');
            if let Some((_, value)) = found.last_mut() {
                value.push(' ');
                value.push_str(word.trim_end_matches('"'));
            }
            continue;
        }
        if let Some((key, value)) = word.split_once('=') {
            in_quotes = value.starts_with('"') && !(value.len() > 1 && value.ends_with('"'));
            found.push((key.to_lowercase(), value.trim_matches('"').to_owned()));
        } else if CLASSES.contains(&word) {
            found.push(("class".to_owned(), word.to_owned()));
        } else if STATES.contains(&word) {
            found.push(("state".to_owned(), word.to_owned()));
        } else if let Some((_, value)) = found.last_mut() {
            value.push(' ');
            value.push_str(word);
        } else {
            return Err(format!(
                "{0} says nothing by itself; write ref={0}, webhook={0} or another KEY=VALUE",
                safe(word)
            ));
        }
    }
    match found.iter().find(|(_, value)| value.is_empty()) {
        Some((key, _)) => Err(format!("there is nothing behind {}=", safe(key))),
        None => Ok(found),
    }
}

/// What may stand behind a verb, the best first.
pub(super) fn arguments(model: &Model, verb: &'static Verb, rest: &str) -> Vec<Match> {
    let name = verb.name;
    match verb.takes {
        Takes::Nothing => Vec::new(),
        Takes::Text => vec![usage(verb, rest)],
        Takes::OneOf(all) => {
            let all = all.iter().map(|one| ((*one).to_owned(), verb.help.to_owned()));
            ranked(rest, all).map(|(one, help)| whole(name, &one, help, one == rest)).collect()
        }
        Takes::Webhook => {
            let meant = hook(model, rest, verb.mutates).map(|hook| hook.name.clone()).ok();
            let all = model.hooks.iter().flatten();
            let all =
                all.map(|hook| (hook.name.clone(), format!("{:<6}  {}", of_webhook(hook).0, short_url(&hook.url))));
            ranked(rest, all).map(|(one, help)| whole(name, &one, help, meant.as_ref() == Some(&one))).collect()
        }
        Takes::EventType => {
            let meant = event_type(model, rest).ok();
            let all = model.types.iter().map(|kind| (kind.name.clone(), kind.label.clone()));
            ranked(rest, all).map(|(one, help)| whole(name, &one, help, meant.as_ref() == Some(&one))).collect()
        }
        Takes::Filter => filters(model, verb, rest),
    }
}

fn usage(verb: &'static Verb, rest: &str) -> Match {
    let arguments = if rest.is_empty() { verb.arguments } else { "" };
    let completion = format!("{} {rest}", verb.name);
    Match { completion, arguments, help: verb.help.to_owned(), sure: !rest.is_empty() }
}

fn whole(verb: &str, argument: &str, help: String, sure: bool) -> Match {
    Match { completion: format!("{verb} {argument}"), arguments: "", help, sure }
}

/// Those that match in their name or in what is said about them, the best first.
fn ranked(typed: &str, all: impl Iterator<Item = (String, String)>) -> impl Iterator<Item = (String, String)> {
    let mut score = scorer(typed);
    let mut found: Vec<(u32, (String, String))> = all
        .filter_map(|(name, help)| {
            let of_name = score(&name).map(|score| 2 * score + 1000);
            Some((of_name.max(score(&help))?, (name, help)))
        })
        .collect();
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    found.into_iter().map(|(_, one)| one)
}

/// Completes the last word of `KEY=VALUE …`.
fn filters(model: &Model, verb: &'static Verb, rest: &str) -> Vec<Match> {
    let (before, last) = rest.rsplit_once(' ').map_or(("", rest), |(before, last)| (before, last));
    let before = if before.is_empty() { verb.name.to_owned() } else { format!("{} {before}", verb.name) };
    let Some((key, value)) = last.split_once('=') else {
        let mut found: Vec<Match> =
            ranked(last, KEYS.iter().map(|(key, help)| ((*key).to_owned(), (*help).to_owned())))
                .map(|(key, help)| Match { completion: format!("{before} {key}="), arguments: "", help, sure: false })
                .collect();
        if last.is_empty() && !rest.is_empty() {
            // What is there can be done as it is.
            let completion = format!("{} {}", verb.name, rest.trim_end());
            found.insert(0, Match { completion, arguments: "", help: verb.help.to_owned(), sure: true });
        }
        return found;
    };
    let known: Vec<(String, String)> = match key {
        "class" => CLASSES.iter().map(|class| ((*class).to_owned(), String::new())).collect(),
        "state" => STATES.iter().map(|state| ((*state).to_owned(), String::new())).collect(),
        "webhook" | "hook" => {
            model.hooks.iter().flatten().map(|hook| (hook.name.clone(), short_url(&hook.url).to_owned())).collect()
        }
        "type" => model.types.iter().map(|kind| (kind.name.clone(), kind.label.clone())).collect(),
        _ => {
            let help =
                KEYS.iter().find(|(known, _)| *known == key).map_or("there is no such filter", |(_, help)| *help);
            let completion = format!("{before} {last}");
            return vec![Match { completion, arguments: "", help: help.to_owned(), sure: !value.is_empty() }];
        }
    };
    ranked(value, known.into_iter())
        .map(|(one, help)| {
            let sure = one == value;
            Match { completion: format!("{before} {key}={one}"), arguments: "", help, sure }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_filter_are_understood() {
        let read = |text: &str| pairs(text).unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            read("5xx hook=aml-watch since=1h"),
            [pair("class", "5xx"), pair("hook", "aml-watch"), pair("since", "1h")]
        );
        assert_eq!(read("since=2026-11-23 09:30 failed"), [pair("since", "2026-11-23 09:30"), pair("state", "failed")]);
        assert_eq!(read("type=\"AML MONITORING\" 0"), [pair("type", "AML MONITORING"), pair("class", "0")]);
        assert_eq!(read("q=\"a 5xx b\" ref=\"x\""), [pair("q", "a 5xx b"), pair("ref", "x")]);
        assert_eq!(read(""), []);
        for wrong in ["8f3a", "class=", "ref=\"\" since=1h"] {
            assert!(pairs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_misspelt_is_near_to_what_was_meant() {
        let all = ["theme", "test", "type", "resend", "resume", "export"];
        let near = |word: &str| closest(word, all.into_iter());
        assert_eq!(near("theem"), ["theme"]);
        assert_eq!(near("resned"), ["resend"]);
        assert_eq!(near("ex"), ["export"]);
        assert!(near("zzz").is_empty());
        assert_eq!(edits(&['a', 'b'], &[]), 2);
    }
}
