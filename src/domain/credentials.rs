//! What a webhook shows its receiver besides signatures: an OAuth access token, fetched from an
//! authorization server, and a client certificate.
//!
//! Neither fetches nor parses anything. Its invariant: what authenticates is a [`Secret`].

use url::Url;

use super::secret::Secret;
use super::webhook::{FieldProblem, Webhook};

/// How to get an access token before a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth {
    /// The URL of the authorization server.
    pub endpoint: String,
    /// Sent to it as `Authorization`, exactly as entered; a bare word as `Bearer WORD`.
    pub token: Option<Secret>,
    /// Sent to it as the body: a form if it looks like one, else JSON.
    pub request: Option<Secret>,
}

impl OAuth {
    /// The longest token or request, in bytes.
    pub const SECRET_LENGTH_MAX: usize = 8192;

    /// What is wrong with it, its address aside.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        if let Err(detail) = Webhook::check_url_shape(&self.endpoint) {
            problems.push(FieldProblem::new("oauth.endpoint", detail));
        } else if Url::parse(&self.endpoint).is_ok_and(|url| url.fragment().is_some()) {
            problems.push(FieldProblem::new("oauth.endpoint", "may not hold a fragment (#…)"));
        }
        if let Some(token) = &self.token {
            if token.expose().len() > Self::SECRET_LENGTH_MAX {
                problems.push(FieldProblem::new("oauth.token", "is longer than 8192 bytes"));
            }
            if token.expose().is_empty() || http::HeaderValue::from_str(token.expose()).is_err() {
                let detail = "may hold visible ASCII characters, blanks and tabs only; leave it out for none";
                problems.push(FieldProblem::new("oauth.token", detail));
            }
        }
        if self.request.as_ref().is_some_and(|request| request.expose().len() > Self::SECRET_LENGTH_MAX) {
            problems.push(FieldProblem::new("oauth.request", "is longer than 8192 bytes"));
        }
        problems
    }

    /// What goes into the `Authorization` header.
    #[must_use]
    pub fn authorization(&self) -> Option<Secret> {
        let entered = self.token.as_ref()?.expose().trim();
        let is_bare = !entered.contains([' ', '\t']);
        Some(Secret::new(if is_bare { format!("Bearer {entered}") } else { entered.to_owned() }))
    }

    /// The body of the token request and its media type. Without one it is the form of a client
    /// credentials grant, RFC 6749 section 4.4.2.
    #[must_use]
    pub fn body(&self) -> (&'static str, Secret) {
        const FORM: &str = "application/x-www-form-urlencoded";
        let Some(request) = self.request.as_ref().filter(|request| !request.expose().trim().is_empty()) else {
            return (FORM, Secret::new("grant_type=client_credentials".to_owned()));
        };
        (if looks_like_a_form(request.expose()) { FORM } else { "application/json" }, request.clone())
    }
}

/// `name=value` pairs: a `=` before anything that only JSON begins with.
fn looks_like_a_form(text: &str) -> bool {
    let text = text.trim();
    !text.starts_with(['{', '[', '"']) && text.contains('=')
}

/// The TLS settings of one webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM certificates that are trusted for this receiver besides the system's.
    pub ca: Option<String>,
    /// The PEM certificate chain to show, the own one first.
    pub client_certificate: Option<String>,
    /// Its PEM key.
    pub client_key: Option<Secret>,
}

impl ClientTls {
    /// The longest PEM text, in bytes.
    pub const PEM_LENGTH_MAX: usize = 64 << 10;

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ca.is_none() && self.client_certificate.is_none() && self.client_key.is_none()
    }

    /// What is wrong with it, as far as it can be told without reading the PEM.
    #[must_use]
    pub fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        let key = self.client_key.as_ref().map(Secret::expose);
        let texts = [
            ("tls.ca", self.ca.as_deref()),
            ("tls.client_certificate", self.client_certificate.as_deref()),
            ("tls.client_key", key),
        ];
        for (field, text) in texts {
            let Some(text) = text else { continue };
            if text.len() > Self::PEM_LENGTH_MAX {
                problems.push(FieldProblem::new(field, "is longer than 65536 bytes"));
            } else if !text.contains("-----BEGIN ") {
                problems.push(FieldProblem::new(field, "is not PEM: expected -----BEGIN …"));
            }
        }
        if self.ca.as_deref().is_some_and(holds_a_key) || self.client_certificate.as_deref().is_some_and(holds_a_key) {
            let detail = "a private key stands where a certificate is expected; put it into tls.client_key";
            problems.push(FieldProblem::new("tls", detail));
        }
        match (&self.client_certificate, &self.client_key) {
            (Some(_), None) => {
                problems.push(FieldProblem::new("tls.client_key", "is missing: a certificate needs one"))
            }
            (None, Some(_)) => {
                problems.push(FieldProblem::new("tls.client_certificate", "is missing: a key is of no use without one"))
            }
            _ => {}
        }
        problems
    }
}

fn holds_a_key(pem: &str) -> bool {
    pem.contains("PRIVATE KEY-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text.to_owned()))
    }

    fn oauth(token: &str, request: &str) -> OAuth {
        OAuth { endpoint: "https://auth.example.net/token".to_owned(), token: secret(token), request: secret(request) }
    }

    #[test]
    fn a_bare_word_is_a_bearer_and_anything_else_goes_as_it_is() {
        let sent = |token: &str| oauth(token, "").authorization().unwrap().expose().to_owned();
        assert_eq!(sent("abc"), "Bearer abc");
        assert_eq!(sent("Basic eDp5"), "Basic eDp5");
        assert_eq!(sent("Bearer abc"), "Bearer abc");
        assert!(OAuth { token: None, ..oauth("", "") }.authorization().is_none());
    }

    #[test]
    fn the_request_goes_as_what_it_looks_like() {
        let kind = |request: &str| oauth("x", request).body().0;
        assert_eq!(kind("grant_type=client_credentials&scope=a"), "application/x-www-form-urlencoded");
        assert_eq!(kind("{\"grant_type\": \"a=b\"}"), "application/json");
        assert_eq!(kind("  [1]"), "application/json");
        assert_eq!(oauth("x", " ").body().1.expose(), "grant_type=client_credentials");
    }

    #[test]
    fn what_could_not_be_sent_is_refused() {
        let fields = |oauth: OAuth| oauth.problems().into_iter().map(|one| one.field).collect::<Vec<_>>();
        assert_eq!(fields(oauth("abc", "a=b")), [""; 0]);
        assert_eq!(fields(oauth("a\r\nb: c", "a=b")), ["oauth.token"]);
        assert_eq!(fields(oauth("", "a=b")), ["oauth.token"]);
        assert_eq!(fields(OAuth { endpoint: "ftp://x".to_owned(), ..oauth("a", "") }), ["oauth.endpoint"]);
        assert_eq!(fields(OAuth { endpoint: "https://x/#f".to_owned(), ..oauth("a", "") }), ["oauth.endpoint"]);
    }

    #[test]
    fn a_certificate_and_its_key_come_together_and_apart() {
        const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n";
        const KEY: &str = "-----BEGIN PRIVATE KEY-----\n";
        let fields = |ca: Option<&str>, certificate: Option<&str>, key: Option<&str>| -> Vec<String> {
            let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
            let tls =
                ClientTls { ca: owned(ca), client_certificate: owned(certificate), client_key: key.and_then(secret) };
            tls.problems().into_iter().map(|one| one.field).collect()
        };
        assert_eq!(fields(Some(CERTIFICATE), Some(CERTIFICATE), Some(KEY)), [""; 0]);
        assert_eq!(fields(None, Some(CERTIFICATE), None), ["tls.client_key"]);
        assert_eq!(fields(None, None, Some(KEY)), ["tls.client_certificate"]);
        assert_eq!(fields(Some("x"), None, None), ["tls.ca"]);
        assert_eq!(fields(Some(KEY), None, None), ["tls"]);
    }
}
