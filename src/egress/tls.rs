//! The TLS settings of every outgoing connection: whom to trust, and what to show.
//!
//! Certificates are verified against the system's roots, those of `ca_file`, and those of the
//! webhook's own; there is no way to turn that off. It does not dial. Its invariants: at least
//! TLS 1.2, and only HTTP/1.1 is offered; what one profile trusts and shows is never used for
//! another.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use super::EgressError;
use crate::domain::credentials::ClientTls;
use crate::domain::secret::Secret;

/// Whom every webhook trusts. One for each generation of `ca_file`.
pub(super) struct Trust {
    /// The certificates of `ca_file`.
    extra: Vec<CertificateDer<'static>>,
    /// `None`: there is not one root certificate, so no receiver can be verified; `https` URLs
    /// then fail unless the webhook brings a root, and plain ones still work.
    verifier: Option<Arc<Verifier>>,
    /// For webhooks without certificates of their own.
    connector: Option<TlsConnector>,
}

impl Trust {
    /// Reads `ca_file` and the system's roots.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, EgressError> {
        let extra = ca_file.map_or_else(|| Ok(Vec::new()), certificates_of)?;
        let verifier = if extra.is_empty() {
            Verifier::new(provider())
                .inspect_err(|error| {
                    tracing::warn!(%error, "https receivers cannot be verified; install ca-certificates or set egress.ca_file");
                })
                .ok()
        } else {
            Some(Verifier::new_with_extra_roots(extra.clone(), provider())?)
        };
        let verifier = verifier.map(Arc::new);
        let connector = verifier.clone().map(|verifier| connector(verifier, None)).transpose()?;
        Ok(Self { extra, verifier, connector })
    }

    /// Whether there is anybody to trust.
    pub(super) const fn is_any(&self) -> bool {
        self.verifier.is_some()
    }
}

/// The connector for these; `None` when there is not one root certificate.
pub(super) async fn connector_for(trust: &Arc<Trust>, profile: Option<&TlsProfile>) -> Option<TlsConnector> {
    let Some(profile) = profile else { return trust.connector.clone() };
    if let Some(built) = profile.built_for(trust) {
        return Some(built);
    }
    let (trust, profile) = (Arc::clone(trust), profile.clone());
    // Reads the system's roots: some hundred files, once for a profile and a reload.
    let built = tokio::task::spawn_blocking(move || profile.build(&trust)).await.ok()?;
    built.inspect_err(|error| tracing::warn!(%error, "the webhook's certificates cannot be used")).ok()
}

/// The certificates of one webhook: whom it trusts besides everybody else's, and what it shows.
/// Cheap to clone. Two are equal when one is a clone of the other.
#[derive(Clone)]
pub struct TlsProfile {
    shared: Arc<Profile>,
}

struct Profile {
    roots: Vec<CertificateDer<'static>>,
    client: Option<Arc<CertifiedKey>>,
    /// What was built last, and for which trust: a reload of `ca_file` makes it anew.
    built: Mutex<Option<(Arc<Trust>, TlsConnector)>>,
}

impl PartialEq for TlsProfile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for TlsProfile {}

impl fmt::Debug for TlsProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsProfile").finish_non_exhaustive()
    }
}

/// Why a webhook's certificates are of no use. Never holds anything of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {detail}")]
pub struct TlsProblem {
    /// `tls.ca`, `tls.client_certificate` or `tls.client_key`.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub detail: String,
}

const CA: &str = "tls.ca";
const CERTIFICATE: &str = "tls.client_certificate";
const KEY: &str = "tls.client_key";

fn problem(field: &'static str, detail: impl Into<String>) -> TlsProblem {
    TlsProblem { field, detail: detail.into() }
}

impl TlsProfile {
    /// Reads the PEM texts; `None` when nothing is set. Neither dials nor reads files.
    ///
    /// # Errors
    ///
    /// [`TlsProblem`]: a text holds no certificate or key, or the two do not belong together.
    pub fn new(tls: &ClientTls) -> Result<Option<Self>, TlsProblem> {
        if tls.is_empty() {
            return Ok(None);
        }
        let roots = tls.ca.as_deref().map_or_else(|| Ok(Vec::new()), |pem| certificates_in(CA, pem))?;
        let mut checked = RootCertStore::empty();
        for (place, root) in (1..).zip(&roots) {
            let unfit =
                |_| problem(CA, format!("certificate {place} in it cannot be read, or not be trusted as a root"));
            checked.add(root.clone()).map_err(unfit)?;
        }
        let client = match (&tls.client_certificate, &tls.client_key) {
            (Some(certificate), Some(key)) => Some(Arc::new(certified(certificate, key)?)),
            (None, None) => None,
            (Some(_), None) => return Err(problem(KEY, "is missing: a certificate needs one")),
            (None, Some(_)) => return Err(problem(CERTIFICATE, "is missing: a key is of no use without one")),
        };
        Ok(Some(Self { shared: Arc::new(Profile { roots, client, built: Mutex::new(None) }) }))
    }

    /// Whether it has a certificate to show.
    #[must_use]
    pub fn shows_certificate(&self) -> bool {
        self.shared.client.is_some()
    }

    fn built_for(&self, trust: &Arc<Trust>) -> Option<TlsConnector> {
        let built = self.shared.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.as_ref().filter(|(of, _)| Arc::ptr_eq(of, trust)).map(|(_, connector)| connector.clone())
    }

    fn build(&self, trust: &Arc<Trust>) -> Result<TlsConnector, Error> {
        let profile = &self.shared;
        let verifier = match &trust.verifier {
            // The roots are shared where they are the same.
            Some(common) if profile.roots.is_empty() => Arc::clone(common),
            _ => {
                let all = trust.extra.iter().chain(&profile.roots).cloned().collect::<Vec<_>>();
                Arc::new(Verifier::new_with_extra_roots(all, provider())?)
            }
        };
        let connector = connector(verifier, profile.client.clone())?;
        let mut built = profile.built.lock().unwrap_or_else(PoisonError::into_inner);
        *built = Some((Arc::clone(trust), connector.clone()));
        Ok(connector)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn connector(verifier: Arc<Verifier>, client: Option<Arc<CertifiedKey>>) -> Result<TlsConnector, Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match client {
        Some(client) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client))),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The certificate chain with its key, which is its own.
fn certified(certificate: &str, key: &Secret) -> Result<CertifiedKey, TlsProblem> {
    let chain = certificates_in(CERTIFICATE, certificate)?;
    let pem = key.expose();
    if pem.contains("ENCRYPTED") {
        let detail = "is encrypted with a passphrase, which nobody could enter; write it plain with `openssl pkey`";
        return Err(problem(KEY, detail));
    }
    // What the parser says may quote the text, so it is not repeated.
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| problem(KEY, "holds no key that can be read: expected PEM of PKCS#8, PKCS#1 or SEC1"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => problem(KEY, "does not belong to the certificate: its public key is another one"),
        Error::InvalidCertificate(_) => problem(CERTIFICATE, "cannot be read: its first certificate is damaged"),
        _ => problem(KEY, "is damaged, or of a kind that is not supported: RSA (2048 to 8192 bits), ECDSA (P-256, P-384) and Ed25519 are"),
    })
}

fn certificates_in(field: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(problem(field, "holds no certificate: expected PEM with -----BEGIN CERTIFICATE-----"))
        }
        Ok(found) => Ok(found),
        Err(_) => Err(problem(field, "is damaged PEM: a line is not base 64, or an END line is missing")),
    }
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, EgressError> {
    let unusable = |reason: String| EgressError::CaFile { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() { Err(unusable("it holds no PEM certificate".to_owned())) } else { Ok(found) }
}
