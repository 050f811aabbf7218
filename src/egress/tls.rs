//! The TLS settings of every outgoing connection.
//!
//! Certificates are verified against the system's roots and those of `ca_file`; there is no way
//! to turn that off. It does not dial. Its invariant: at least TLS 1.2, and only HTTP/1.1 is
//! offered.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

use super::EgressError;

/// `None`: there is not one root certificate, so no receiver can be verified; `https` URLs then
/// fail, and plain ones still work.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<Option<TlsConnector>, EgressError> {
    let extra = ca_file.map_or_else(|| Ok(Vec::new()), certificates)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = if extra.is_empty() {
        match Verifier::new(Arc::clone(&provider)) {
            Ok(verifier) => verifier,
            Err(error) => {
                tracing::warn!(%error, "https receivers cannot be verified; install ca-certificates or set egress.ca_file");
                return Ok(None);
            }
        }
    } else {
        Verifier::new_with_extra_roots(extra, Arc::clone(&provider))?
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, EgressError> {
    let unusable = |reason: String| EgressError::CaFile { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() { Err(unusable("it holds no PEM certificate".to_owned())) } else { Ok(found) }
}
