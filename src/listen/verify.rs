//! Whether the signatures of a request are right, as a receiver would find out.
//!
//! Pure: headers and body in, a verdict for each of the two schemes out. It refuses nothing; a wrong signature is
//! what somebody is looking for here.

use crate::domain::secret::Secret;
use crate::domain::signature::{Signer, SigningKey};
use crate::domain::time::Timestamp;

/// Libraries of Standard Webhooks refuse a timestamp that is further away.
const TIMESTAMP_SECONDS_MAX: u64 = 300;

/// What came of looking at a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is none.
    Unsigned,
    /// There is one, and no key to check it with.
    Unchecked,
    /// It is right.
    Good,
    /// It is right, and older or newer than receivers accept.
    Stale,
    /// It is wrong.
    Wrong,
}

impl Verdict {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Unsigned => "not signed",
            Self::Unchecked => "not checked (no key)",
            Self::Good => "ok",
            Self::Stale => "STALE (more than 5 minutes off)",
            Self::Wrong => "WRONG",
        }
    }

    /// For programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Unchecked => "unchecked",
            Self::Good => "ok",
            Self::Stale => "stale",
            Self::Wrong => "wrong",
        }
    }
}

/// Checks with one signing key.
pub(super) struct Verifier(Option<Signer>);

/// The headers that both schemes are made of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signed<'a> {
    pub(super) body_signature: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) timestamp: Option<&'a str>,
    pub(super) standard_signature: Option<&'a str>,
}

impl Verifier {
    pub(super) fn new(key: Option<&Secret>) -> Self {
        Self(key.map(|key| {
            Signer::new(&SigningKey { current: key.clone(), changed_at: Timestamp::default(), previous: None })
        }))
    }

    /// The value of `Idenfy-Signature`.
    pub(super) fn body(&self, signed: Signed<'_>, body: &[u8]) -> Verdict {
        match (signed.body_signature, &self.0) {
            (None, _) => Verdict::Unsigned,
            (Some(_), None) => Verdict::Unchecked,
            (Some(found), Some(signer)) if found == signer.body_signature(body) => Verdict::Good,
            (Some(_), Some(_)) => Verdict::Wrong,
        }
    }

    /// The value of `webhook-signature`; one right signature among several is enough.
    pub(super) fn standard(&self, signed: Signed<'_>, body: &[u8], now: Timestamp) -> Verdict {
        let (found, signer) = match (signed.standard_signature, &self.0) {
            (None, _) => return Verdict::Unsigned,
            (Some(_), None) => return Verdict::Unchecked,
            (Some(found), Some(signer)) => (found, signer),
        };
        // It is signed as the number it is, so one that is written in another way is wrong as well.
        let timestamp = signed.timestamp.and_then(|text| text.parse::<u64>().ok());
        let (Some(id), Some(timestamp)) = (signed.id, timestamp) else { return Verdict::Wrong };
        let expected = signer.standard_signature(id, timestamp, body, now);
        if !found.split(' ').any(|one| one == expected) {
            return Verdict::Wrong;
        }
        if now.seconds().abs_diff(timestamp) > TIMESTAMP_SECONDS_MAX { Verdict::Stale } else { Verdict::Good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    /// The published vector of the Standard Webhooks specification.
    const SIGNED: Signed<'_> = Signed {
        body_signature: None,
        id: Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
        timestamp: Some("1614265330"),
        standard_signature: Some(
            "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    };

    fn verifier(key: &str) -> Verifier {
        Verifier::new(Some(&Secret::new(key.to_owned())))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn the_published_vector_verifies_and_nothing_near_it() {
        let right = verifier("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let now = at(1_614_265_330 + 300);
        assert_eq!(right.standard(SIGNED, BODY, now), Verdict::Good);
        assert_eq!(right.standard(SIGNED, BODY, at(1_614_265_330 - 301)), Verdict::Stale);
        assert_eq!(right.standard(SIGNED, BODY, at(1_614_265_330 + 301)), Verdict::Stale);
        assert_eq!(verifier("whsec_other").standard(SIGNED, BODY, now), Verdict::Wrong);
        assert_eq!(right.standard(SIGNED, b"{}", now), Verdict::Wrong);
        for broken in [
            Signed { id: None, ..SIGNED },
            Signed { id: Some("msg_other"), ..SIGNED },
            Signed { timestamp: None, ..SIGNED },
            Signed { timestamp: Some("1614265331"), ..SIGNED },
            Signed { timestamp: Some("soon"), ..SIGNED },
            Signed { standard_signature: Some(""), ..SIGNED },
        ] {
            assert_eq!(right.standard(broken, BODY, now), Verdict::Wrong, "{broken:?}");
        }
        let unsigned = Signed { standard_signature: None, ..SIGNED };
        assert_eq!(right.standard(unsigned, BODY, now), Verdict::Unsigned);
        assert_eq!(Verifier::new(None).standard(SIGNED, BODY, now), Verdict::Unchecked);
    }

    #[test]
    fn the_body_signature_is_that_of_the_body() {
        let body = b"what do ya want for nothing?";
        // RFC 4231, test case 2.
        let found = Some("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let signed = Signed { body_signature: found, ..Signed::default() };
        assert_eq!(verifier("Jefe").body(signed, body), Verdict::Good);
        assert_eq!(verifier("Jefe").body(signed, b"what"), Verdict::Wrong);
        assert_eq!(verifier("Jeff").body(signed, body), Verdict::Wrong);
        assert_eq!(verifier("Jefe").body(Signed::default(), body), Verdict::Unsigned);
        assert_eq!(Verifier::new(None).body(signed, body), Verdict::Unchecked);
    }
}
