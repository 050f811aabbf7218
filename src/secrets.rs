//! Seals secrets before they are stored: XChaCha20-Poly1305 with a random nonce, bound to the
//! field they belong to, under a master key that lies beside the store or comes from systemd.
//!
//! Knows nothing of webhooks. Ingest tokens are not sealed but hashed, because nobody needs them
//! back.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::secret::Secret;
use crate::random::Random;

/// What can go wrong with the master key or a sealed value.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The key file can not be read, written or trusted.
    #[error("{path}: {detail}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        detail: String,
    },
    /// A stored secret can not be opened.
    #[error("a stored secret ({0}) can not be opened; was the master key replaced?")]
    Sealed(String),
}

/// Seals and opens.
#[derive(Clone)]
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    /// For nonces that are derived instead of drawn.
    nonces: Hmac<Sha256>,
    random: Random,
    /// A key that was made and is in no file yet.
    unsaved: Option<Arc<Unsaved>>,
}

struct Unsaved {
    path: PathBuf,
    key: Zeroizing<[u8; KEY_LENGTH]>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 24;

impl Sealer {
    /// From 32 bytes of key.
    #[must_use]
    pub fn new(key: &[u8; KEY_LENGTH], random: Random) -> Self {
        // A key of its own, so that the two uses of the master key never meet.
        let own = hmac(key).chain_update(b"postrider nonces of exports").finalize().into_bytes();
        Self { cipher: XChaCha20Poly1305::new(key.into()), nonces: hmac(&own), random, unsaved: None }
    }

    /// From a key file. When `create` says so and it is absent, a key is made, which [`Self::keep`] writes there.
    ///
    /// # Errors
    /// When it can not be read or made, is readable by others, or is not a key.
    pub fn from_file(path: &Path, create: bool, random: Random) -> Result<Self, SecretsError> {
        let wrong = |detail: String| SecretsError::KeyFile { path: path.to_owned(), detail };
        let mut options = std::fs::OpenOptions::new();
        // A pipe in its place is refused below instead of waited for.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.read(true).custom_flags(flags.bits().cast_signed());
        let mut file = match options.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
                let mut key = Zeroizing::new([0; KEY_LENGTH]);
                random.fill(&mut *key);
                let unsaved = Some(Arc::new(Unsaved { path: path.to_owned(), key: key.clone() }));
                return Ok(Self { unsaved, ..Self::new(&key, random) });
            }
            Err(error) => return Err(wrong(error.to_string())),
        };
        let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
        if !metadata.is_file() {
            return Err(wrong("is not a plain file".to_owned()));
        }
        if metadata.mode() & 0o037 != 0 {
            return Err(wrong("others may read or change the master key; chmod it to 0600".to_owned()));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
        let bytes = BASE64.decode(text.trim().trim_end_matches('=')).map(Zeroizing::new).ok();
        let key = bytes.as_ref().and_then(|bytes| <&[u8; KEY_LENGTH]>::try_from(bytes.as_slice()).ok());
        let key = key.ok_or_else(|| wrong("is not a master key: expected 32 bytes in base64".to_owned()))?;
        Ok(Self::new(key, random))
    }

    /// Writes a key that was made, 0600. Nothing that it sealed may be kept before.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn keep(&self) -> Result<(), SecretsError> {
        let Some(unsaved) = &self.unsaved else { return Ok(()) };
        let wrong =
            |error: std::io::Error| SecretsError::KeyFile { path: unsaved.path.clone(), detail: error.to_string() };
        write_key(&unsaved.path, &unsaved.key).map_err(wrong)
    }

    /// Seals a secret for a field, as text.
    #[must_use]
    pub fn seal(&self, field: &str, secret: &Secret) -> String {
        let mut nonce = [0; NONCE_LENGTH];
        self.random.fill(&mut nonce);
        self.seal_with(nonce, field, secret)
    }

    /// [`Self::seal`], to the same text every time: the nonce is derived from field and secret, so
    /// it tells that two secrets of one field are equal, and nothing else.
    #[must_use]
    pub fn seal_same(&self, field: &str, secret: &Secret) -> String {
        let mut hash = self.nonces.clone();
        hash.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(field.as_bytes());
        hash.update(secret.expose().as_bytes());
        let derived = hash.finalize().into_bytes();
        let mut nonce = [0; NONCE_LENGTH];
        nonce.copy_from_slice(&derived[..NONCE_LENGTH]);
        self.seal_with(nonce, field, secret)
    }

    fn seal_with(&self, nonce: [u8; NONCE_LENGTH], field: &str, secret: &Secret) -> String {
        let payload = Payload { msg: secret.expose().as_bytes(), aad: field.as_bytes() };
        #[expect(clippy::expect_used, reason = "fails only for texts of more than 256 GiB")]
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("a short text can be sealed");
        BASE64.encode([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for the same field.
    ///
    /// # Errors
    /// `Sealed` when it was sealed with another key or for another field, or is damaged.
    pub fn open(&self, field: &str, sealed: &str) -> Result<Secret, SecretsError> {
        let open = || {
            let bytes = BASE64.decode(sealed).ok()?;
            let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LENGTH>()?;
            let payload = Payload { msg: sealed, aad: field.as_bytes() };
            let text = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
            String::from_utf8(text).ok().map(Secret::new)
        };
        open().ok_or_else(|| SecretsError::Sealed(field.to_owned()))
    }
}

fn write_key(path: &Path, key: &[u8; KEY_LENGTH]) -> std::io::Result<()> {
    // Written under another name first: a power cut must not leave half a key behind.
    let unfinished = path.with_extension("new");
    let _ = std::fs::remove_file(&unfinished);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(Zeroizing::new(BASE64.encode(key)).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    Hmac::new_from_slice(key).expect("any length is a key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_and_field() {
        let sealer = Sealer::new(&[1; 32], Random::seeded(1));
        let sealed = sealer.seal("wh/signing_key", &Secret::new("hunter2".to_owned()));
        assert!(!sealed.contains("hunter2"));
        assert_eq!(sealer.open("wh/signing_key", &sealed).unwrap().expose(), "hunter2");
        assert!(sealer.open("other", &sealed).is_err());
        assert!(Sealer::new(&[2; 32], Random::seeded(1)).open("wh/signing_key", &sealed).is_err());
        assert!(sealer.open("wh/signing_key", &sealed[1..]).is_err());
    }

    #[test]
    fn an_export_is_the_same_text_every_time() {
        let sealer = Sealer::new(&[1; 32], Random::seeded(1));
        let other_key = Sealer::new(&[2; 32], Random::seeded(1));
        let seal = |sealer: &Sealer, field: &str, text: &str| sealer.seal_same(field, &Secret::new(text.to_owned()));
        let sealed = seal(&sealer, "f", "hunter2");
        assert_eq!(seal(&sealer, "f", "hunter2"), sealed);
        assert_eq!(sealer.open("f", &sealed).unwrap().expose(), "hunter2");
        let others = [seal(&sealer, "f", "hunter3"), seal(&sealer, "fh", "unter2"), seal(&other_key, "f", "hunter2")];
        for other in others {
            assert_ne!(other[..32], sealed[..32], "a nonce came twice");
        }
    }

    #[test]
    fn the_key_file_is_private_and_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        assert!(Sealer::from_file(&path, false, Random::Os).is_err());
        let first = Sealer::from_file(&path, true, Random::Os).unwrap();
        assert!(!path.exists(), "not before it is to be kept");
        first.keep().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let sealed = first.seal("f", &Secret::new("x".to_owned()));
        assert!(Sealer::from_file(&path, true, Random::Os).unwrap().open("f", &sealed).is_ok());
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(Sealer::from_file(&path, true, Random::Os).unwrap_err().to_string().contains("chmod"));
    }
}
