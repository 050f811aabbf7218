//! Whom to tell by mail when deliveries to a webhook fail, and what an address may look like.
//!
//! It sends nothing. Its invariant: an address that passes holds nothing that could begin another
//! header or another command, whatever becomes of it later.

use super::webhook::FieldProblem;

/// The mail settings of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureEmail {
    /// At least one address.
    pub to: Vec<String>,
    /// Whether the payload goes along as an attachment.
    pub include_body: bool,
}

/// The longest address, RFC 5321.
const ADDRESS_LENGTH_MAX: usize = 254;

impl FailureEmail {
    /// The most addresses.
    pub const ADDRESSES_MAX: usize = 16;

    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        if self.to.is_empty() || self.to.len() > Self::ADDRESSES_MAX {
            problems.push(FieldProblem::new("failure_email.to", "must hold 1 to 16 mail addresses"));
        }
        for (place, address) in self.to.iter().enumerate() {
            if let Err(detail) = check_address(address) {
                problems.push(FieldProblem::new(format!("failure_email.to[{place}]"), detail));
            } else if self.to[..place].iter().any(|known| known.eq_ignore_ascii_case(address)) {
                problems.push(FieldProblem::new(format!("failure_email.to[{place}]"), "is there twice"));
            }
        }
        problems
    }
}

/// Whether a text is a bare mail address, `local@domain`, without a display name, quotes or
/// comments.
///
/// # Errors
/// What is wrong with it, as it would follow "the address …".
pub fn check_address(text: &str) -> Result<(), &'static str> {
    if text.len() > ADDRESS_LENGTH_MAX {
        return Err("is longer than 254 bytes");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("may not hold blanks, line ends or control characters");
    }
    let Some((local, domain)) = text.rsplit_once('@') else {
        return Err("is not a mail address; expected one like ops@example.com");
    };
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && local.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b))
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..");
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    let domain_ok = domain.split('.').all(label_ok);
    if local_ok && domain_ok { Ok(()) } else { Err("is not a mail address; expected one like ops@example.com") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_addresses_and_nothing_else() {
        for good in ["ops@example.com", "a.b+c@localhost", "x_y@mail.exämple.net", "o'neil@example.ie"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "ops",
            "@example.com",
            "ops@",
            "ops@example..com",
            "ops@-example.com",
            ".ops@example.com",
            "a..b@example.com",
            "Ops <ops@example.com>",
            "ops@example.com,evil@example.net",
            "ops@example.com\r\nBcc: evil@example.net",
            "ops@example.com\0",
            "\"a b\"@example.com",
            "ops@example.com\u{85}",
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
        assert!(check_address(&format!("a@{}.com", "b".repeat(300))).is_err());
    }

    #[test]
    fn each_address_counts_once() {
        let fields = |to: &[&str]| -> Vec<String> {
            let to = to.iter().map(|address| (*address).to_owned()).collect();
            FailureEmail { to, include_body: false }.problems().into_iter().map(|one| one.field).collect()
        };
        assert_eq!(fields(&["a@x"]), [""; 0]);
        assert_eq!(fields(&[]), ["failure_email.to"]);
        assert_eq!(fields(&["a@x", "A@x", "b"]), ["failure_email.to[1]", "failure_email.to[2]"]);
    }
}
