//! The two signatures a receiver can check.
//!
//! `Idenfy-Signature` is the lower-case hex of HMAC-SHA256 over the body, keyed with the signing
//! key as it was entered. Standard Webhooks 1.0 signs `id.timestamp.body`, keyed with the bytes
//! inside a `whsec_` key, or with the key as entered.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::secret::Secret;
use super::time::Timestamp;

type HmacSha256 = Hmac<Sha256>;

/// A webhook's signing key, and the one it replaced while both are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// The key as entered.
    pub current: Secret,
    /// When it was set.
    pub changed_at: Timestamp,
    /// The key before it, signed with as well until the instant beside it.
    pub previous: Option<(Secret, Timestamp)>,
}

impl SigningKey {
    /// The longest key, in bytes.
    pub const LENGTH_MAX: usize = 512;

    /// A key of these bytes, which have to be drawn by chance, as Standard Webhooks writes keys.
    #[must_use]
    pub fn of_chance(chance: &[u8; 32]) -> Secret {
        Secret::new(format!("whsec_{}", STANDARD.encode(chance)))
    }
}

/// Signs bodies with one key; made once per version of a webhook, because setting up a key costs
/// as much as signing a small body.
#[derive(Clone)]
pub struct Signer {
    body: HmacSha256,
    standard: HmacSha256,
    previous: Option<(HmacSha256, Timestamp)>,
}

impl Signer {
    /// Prepares both schemes.
    #[must_use]
    pub fn new(key: &SigningKey) -> Self {
        Self {
            body: keyed(key.current.expose().as_bytes()),
            standard: keyed(&standard_key(key.current.expose())),
            previous: key.previous.as_ref().map(|(key, until)| (keyed(&standard_key(key.expose())), *until)),
        }
    }

    /// Value of the body signature header: 64 hex digits.
    #[must_use]
    pub fn body_signature(&self, body: &[u8]) -> String {
        let mut mac = self.body.clone();
        mac.update(body);
        data_encoding::HEXLOWER.encode(&mac.finalize().into_bytes())
    }

    /// Value of `webhook-signature`: `v1,BASE64`, and a second one after a blank while a replaced
    /// key is still valid at `now`. `timestamp` is in seconds since the epoch.
    #[must_use]
    pub fn standard_signature(&self, id: &str, timestamp: u64, body: &[u8], now: Timestamp) -> String {
        let sign = |keyed: &HmacSha256| {
            let mut mac = keyed.clone();
            mac.update(id.as_bytes());
            mac.update(b".");
            mac.update(timestamp.to_string().as_bytes());
            mac.update(b".");
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        };
        let current = sign(&self.standard);
        match &self.previous {
            Some((previous, until)) if now < *until => format!("{current} {}", sign(previous)),
            _ => current,
        }
    }
}

/// The bytes that key the Standard Webhooks signature.
fn standard_key(entered: &str) -> zeroize::Zeroizing<Vec<u8>> {
    let decoded = entered
        .strip_prefix("whsec_")
        .and_then(|inner| STANDARD.decode(inner).or_else(|_| STANDARD_NO_PAD.decode(inner)).ok());
    zeroize::Zeroizing::new(decoded.unwrap_or_else(|| entered.as_bytes().to_vec()))
}

fn keyed(key: &[u8]) -> HmacSha256 {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of every length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(key: &str) -> Signer {
        Signer::new(&SigningKey {
            current: Secret::new(key.to_owned()),
            changed_at: Timestamp::default(),
            previous: None,
        })
    }

    /// The published vector of the Standard Webhooks specification and its reference libraries.
    #[test]
    fn the_published_standard_webhooks_vector() {
        let signer = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signer.standard_signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body, Timestamp::default()),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_published_hmac_vector() {
        assert_eq!(
            signer("Jefe").body_signature(b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_replaced_key_signs_until_its_time_is_up() {
        let until = Timestamp::from_millis(5_000);
        let key = SigningKey {
            current: Secret::new("new".to_owned()),
            changed_at: Timestamp::default(),
            previous: Some((Secret::new("old".to_owned()), until)),
        };
        let rotating = Signer::new(&key);
        let both = rotating.standard_signature("evt_1", 1, b"{}", Timestamp::from_millis(4_999));
        let only_old = signer("old").standard_signature("evt_1", 1, b"{}", until);
        let only_new = signer("new").standard_signature("evt_1", 1, b"{}", until);
        assert_eq!(both, format!("{only_new} {only_old}"));
        assert_eq!(rotating.standard_signature("evt_1", 1, b"{}", until), only_new);
    }
}
