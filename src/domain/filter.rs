//! Which payloads a webhook wants: conditions on what JSON Pointers (RFC 6901) lead to, all of
//! which must hold.
//!
//! It parses nothing and knows no webhook: a payload arrives as a JSON value, and one that is not
//! JSON is for the caller to decide on. Invariant: a filter without problems can be judged on any
//! payload, and the same payload is always judged the same.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::webhook::FieldProblem;

/// Conditions that must all hold; without any, everything matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(pub Vec<Condition>);

/// One condition on one place of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// JSON Pointer: `""` is the whole payload, else `/a/0/b` with `~0` for `~` and `~1` for `/`.
    pub path: String,
    /// What must be there.
    pub test: Test,
}

/// What a condition asks for. Values are equal as JSON is, except that numbers are compared by
/// value: `1`, `1.0` and `1e0` are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// This very value; nothing there is not equal to anything, `null` included.
    Equals(Value),
    /// One of these values.
    In(Vec<Value>),
    /// Something is there (`true`) or nothing is (`false`). An explicit `null` is something.
    Exists(bool),
}

impl Filter {
    /// The most conditions.
    pub const CONDITIONS_MAX: usize = 32;
    /// The longest path, in bytes.
    const PATH_LENGTH_MAX: usize = 512;

    /// Whether there is no condition, so that every payload matches.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that is wrong with it, by field: `filter`, `filter[2].path`, `filter[0].in`.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        if self.0.len() > Self::CONDITIONS_MAX {
            problems.push(FieldProblem::new("filter", "has more than 32 conditions"));
        }
        for (place, condition) in self.0.iter().enumerate() {
            if let Some(detail) = path_problem(&condition.path) {
                problems.push(FieldProblem::new(format!("filter[{place}].path"), detail));
            }
            if condition.test == Test::In(Vec::new()) {
                let detail = "is empty, so that nothing could match; name at least one value";
                problems.push(FieldProblem::new(format!("filter[{place}].in"), detail));
            }
        }
        problems
    }

    /// Whether a payload is one of those that are wanted.
    #[must_use]
    pub fn matches(&self, payload: &Value) -> bool {
        self.0.iter().all(|condition| {
            let found = payload.pointer(&condition.path);
            match &condition.test {
                Test::Equals(wanted) => found.is_some_and(|found| same(found, wanted)),
                Test::In(wanted) => found.is_some_and(|found| wanted.iter().any(|one| same(found, one))),
                Test::Exists(wanted) => found.is_some() == *wanted,
            }
        })
    }
}

fn path_problem(path: &str) -> Option<&'static str> {
    // What stands behind each "~".
    let mut escapes = path.split('~').skip(1).map(|behind| behind.starts_with(['0', '1']));
    if path.len() > Filter::PATH_LENGTH_MAX {
        Some("is longer than 512 bytes")
    } else if !path.is_empty() && !path.starts_with('/') {
        Some("must be a JSON Pointer such as /data/final, or \"\" for the whole payload")
    } else if escapes.any(|escape| !escape) {
        Some("holds a \"~\" that is not part of ~0 (for \"~\") or ~1 (for \"/\")")
    } else {
        None
    }
}

/// Equal as JSON is, numbers by value.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

fn same_number(one: &Number, other: &Number) -> bool {
    match (integer(one), integer(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            let values = one.as_f64().zip(other.as_f64());
            values.is_some_and(|(one, other)| one.partial_cmp(&other) == Some(Ordering::Equal))
        }
        _ => false,
    }
}

/// The number as an integer when it is one, exactly: a comparison of floats would take 2^53 and
/// 2^53 + 1 for the same.
fn integer(number: &Number) -> Option<i128> {
    if let Some(small) = number.as_i64() {
        return Some(small.into());
    }
    if let Some(large) = number.as_u64() {
        return Some(large.into());
    }
    // Larger ones do not fit, and are floats on both sides, because integers beyond 64 bits are read as such.
    const EXACT_MAX: f64 = 1e38;
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT_MAX)?;
    Some(float as i128)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(path: &str, test: Test) -> Filter {
        Filter(vec![Condition { path: path.to_owned(), test }])
    }

    #[test]
    fn every_condition_must_hold() {
        let filter = Filter(vec![
            Condition { path: "/final".to_owned(), test: Test::Equals(json!(true)) },
            Condition { path: "/status".to_owned(), test: Test::In(vec![json!("APPROVED"), json!("DENIED")]) },
            Condition { path: "/draft".to_owned(), test: Test::Exists(false) },
        ]);
        assert!(filter.matches(&json!({"final": true, "status": "DENIED"})));
        assert!(!filter.matches(&json!({"final": false, "status": "DENIED"})));
        assert!(!filter.matches(&json!({"final": true, "status": "ACTIVE"})));
        assert!(!filter.matches(&json!({"final": true})));
        assert!(!filter.matches(&json!({"final": true, "status": "DENIED", "draft": null})));
        assert!(Filter::default().is_empty() && Filter::default().matches(&json!(7)));
    }

    #[test]
    fn pointers_lead_where_the_standard_says() {
        let payload = json!({"a/b": {"m~n": [10, {"": "x"}]}, "": 1, "01": 2, "null": null});
        for (path, value) in [
            ("", payload.clone()),
            ("/a~1b/m~0n/0", json!(10)),
            ("/a~1b/m~0n/1/", json!("x")),
            ("/", json!(1)),
            ("/01", json!(2)),
            ("/null", json!(null)),
        ] {
            assert!(one(path, Test::Equals(value)).matches(&payload), "{path}");
            assert!(one(path, Test::Exists(true)).matches(&payload), "{path}");
        }
        for path in ["/a~1b/m~0n/00", "/a~1b/m~0n/-", "/a~1b/m~0n/2", "/a/b", "/null/x", "/A~1B"] {
            assert!(one(path, Test::Exists(false)).matches(&payload), "{path}");
            assert!(!one(path, Test::Equals(json!(null))).matches(&payload), "{path}: nothing is not null");
            assert!(!one(path, Test::In(vec![json!(null), json!(10)])).matches(&payload), "{path}");
        }
    }

    #[test]
    fn numbers_are_compared_by_value_and_nothing_else_is_converted() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let equal = [
            ("1", "1.0"),
            ("1", "1e0"),
            ("100", "1e2"),
            ("-0.0", "0"),
            ("0.5", "5e-1"),
            ("18446744073709551615", "18446744073709551615"),
            ("9007199254740992", "9007199254740992.0"),
            ("[1,{\"a\":2}]", "[1.0,{\"a\":2e0}]"),
            ("{\"a\":1,\"b\":2}", "{\"b\":2.0,\"a\":1}"),
            ("1e300", "1e300"),
        ];
        let different = [
            ("1", "1.5"),
            ("1", "\"1\""),
            ("1", "true"),
            ("0", "false"),
            ("0", "null"),
            ("9007199254740993", "9007199254740992.0"),
            ("-1", "18446744073709551615"),
            ("[1]", "[1,1]"),
            ("{\"a\":1}", "{\"a\":1,\"b\":null}"),
            ("\"a\"", "\"A\""),
        ];
        for ((one, other), expected) in
            equal.iter().map(|pair| (pair, true)).chain(different.iter().map(|pair| (pair, false)))
        {
            assert_eq!(same(&parse(one), &parse(other)), expected, "{one} and {other}");
            assert_eq!(same(&parse(other), &parse(one)), expected, "{other} and {one}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_field() {
        let fields = |filter: &Filter| filter.problems().into_iter().map(|one| one.field).collect::<Vec<_>>();
        for path in ["", "/", "/a", "/a~0b~1c/0", &format!("/{}", "x".repeat(511))] {
            assert_eq!(fields(&one(path, Test::Exists(true))), [""; 0], "{path}");
        }
        for path in ["a", "final", "/a~", "/a~2", "/~~0", "#/a", &format!("/{}", "x".repeat(512))] {
            assert_eq!(fields(&one(path, Test::Exists(true))), ["filter[0].path"], "{path}");
        }
        let sound = Condition { path: "/a".to_owned(), test: Test::Exists(true) };
        let empty = Condition { path: "/a".to_owned(), test: Test::In(Vec::new()) };
        let wrong = Condition { path: "a".to_owned(), ..sound.clone() };
        let several = Filter(vec![sound.clone(), empty, wrong]);
        assert_eq!(fields(&several), ["filter[1].in", "filter[2].path"]);
        assert_eq!(fields(&Filter(vec![sound.clone(); 32])), [""; 0]);
        assert_eq!(fields(&Filter(vec![sound; 33])), ["filter"]);
    }
}
