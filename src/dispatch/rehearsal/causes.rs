//! What most likely lies behind a failure, in one line each: a table for people.
//!
//! It judges no failure and changes nothing; it may be wrong, which is why it says "likely"
//! wherever it is shown. Its invariant: the same failure has the same line, and every one has one.

use crate::domain::attempt::ErrorKind;
use crate::egress::{NoTunnel, TlsFailure, Unreached, Unresolved, UrlProblem};

pub(super) const fn of_url(problem: &UrlProblem) -> &'static str {
    match problem {
        UrlProblem::PlainHttp => "this daemon's configuration wants receivers to be https",
        UrlProblem::Denied { .. } => {
            "the address guard: receivers inside the network have to be listed in egress.allow"
        }
        UrlProblem::Scheme(_)
        | UrlProblem::NoHost
        | UrlProblem::UserInfo
        | UrlProblem::PortZero
        | UrlProblem::Target => "the URL is mistyped",
    }
}

pub(super) const fn of_name(why: Unresolved) -> &'static str {
    match why {
        Unresolved::NoSuchName => "the host name is mistyped, or its DNS record is missing",
        Unresolved::NoAnswer => "this machine's name servers do not answer: look at /etc/resolv.conf and the network",
        Unresolved::NoServer => "this machine has no usable name server: look at /etc/resolv.conf",
        Unresolved::Failed => "the DNS of the receiver's domain is broken, or a name server on the way is",
    }
}

pub(super) const fn of_address(why: Unreached) -> &'static str {
    match why {
        Unreached::Refused => "nothing listens on that port: is the receiver running, and the port right?",
        Unreached::NoRoute => "this machine has no route there: look at its network, and at IPv6 if that is used",
        Unreached::NoAnswer => "a firewall drops the packets, or the host is down",
        Unreached::Forbidden => "a firewall or sandbox of this machine forbids it",
        Unreached::Failed => "the network between here and there is in trouble",
    }
}

pub(super) const fn of_proxy(why: NoTunnel) -> &'static str {
    match why {
        NoTunnel::Status(401 | 407) => "put user and password into egress.proxy, or correct them",
        NoTunnel::Status(502..=504) => "the receiver's name is mistyped, or the way from the proxy to it is closed",
        NoTunnel::Status(_) => "the proxy's rules do not permit this receiver or its port: ask whoever runs it",
        NoTunnel::Closed => "the proxy does not serve this machine, or hangs up on what it does not permit",
        NoTunnel::NotAProxy => "egress.proxy names a port where something else listens (http:// or https:// confused?)",
    }
}

pub(super) const fn of_tls(why: TlsFailure) -> &'static str {
    match why {
        TlsFailure::Expired(_) => "the receiver's certificate was not renewed (or this machine's clock is wrong)",
        TlsFailure::NotYetValid => "the certificate is brand-new, or a clock is wrong, here or there",
        TlsFailure::WrongName => "the URL names the receiver otherwise than its certificate does",
        TlsFailure::UnknownIssuer => {
            "a private CA: set tls.ca of the webhook; or the receiver does not send its intermediate certificates"
        }
        TlsFailure::BadCertificate => "a self-signed certificate that is marked as a CA, or one made for another use",
        TlsFailure::CertificateWanted => "set tls.client_certificate and tls.client_key of the webhook",
        TlsFailure::CertificateRefused => "the client certificate is expired, or its issuer is not trusted there",
        TlsFailure::NothingInCommon => {
            "the receiver speaks only TLS older than 1.2, or demands a client certificate (tls.client_certificate)"
        }
        TlsFailure::NoSuchHost => "the receiver does not serve the host name of the URL",
        TlsFailure::NotTls => "a plain HTTP port: use http:// or the receiver's https port",
        TlsFailure::Closed => "the port does not speak TLS, or something on the way cuts it off",
        TlsFailure::NoRoots => "install the package ca-certificates, or set egress.ca_file or tls.ca",
        TlsFailure::Failed => "receiver and postrider do not understand each other's TLS",
    }
}

/// For what went wrong after the request was sent.
pub(super) const fn of_kind(kind: ErrorKind, is_https: bool) -> &'static str {
    match kind {
        ErrorKind::Timeout => {
            "the receiver works before it answers: it should answer at once, or be given a longer timeout"
        }
        ErrorKind::Reset if is_https => {
            "the receiver crashed on the request, closes at once, or demands a client certificate (tls.client_certificate)"
        }
        ErrorKind::Reset => "the receiver crashed on the request, or expects https:// on this port",
        ErrorKind::BadResponse if is_https => "what listens there is no web server, or its answer's head is too long",
        ErrorKind::BadResponse => "what listens there is no web server, or expects https:// on this port",
        ErrorKind::Oauth => "the authorization server did not give an access token",
        ErrorKind::Tls => "the receiver did not accept the TLS session",
        ErrorKind::Dns | ErrorKind::Refused | ErrorKind::ConnectTimeout => "the receiver could not be reached",
        ErrorKind::Blocked => "the receiver may not be dialled",
        ErrorKind::Damaged => "the stored event is damaged",
    }
}

/// For an answer that is not success.
pub(super) const fn of_code(code: u16) -> &'static str {
    match code {
        301 | 302 | 303 | 307 | 308 => "the receiver has moved: put the final URL into the webhook",
        300..=399 => "redirections are not followed: put the final URL into the webhook",
        400 | 422 => "the receiver did not like the payload or a header: its log says what",
        401 => "the Authorization header, OAuth token or signing key is missing or not the one the receiver has",
        403 => "the receiver does not permit it: a wrong key, or an address filter or firewall in front of it",
        404 => "the path of the URL is wrong, or the receiver does not know this hook",
        405 => "the path is right but takes no POST: a missing or extra slash at the end is common",
        407 => "a proxy stands between, and wants credentials",
        408 => "the receiver gave up waiting for the request",
        410 => "the receiver wants no more events here; a real delivery would pause the webhook",
        411 | 417 | 426 => "the server in front of the receiver is set up for another kind of client",
        413 => "the payload is larger than the receiver, or the proxy in front of it, takes",
        415 => "the receiver expects another Content-Type than application/json",
        429 => "the receiver limits how often it is asked; real deliveries wait and try again",
        400..=499 => "the receiver refused the request: its log says why",
        502 | 504 => "the proxy is there but the receiver behind it is not, or is too slow",
        503 => "the receiver is overloaded, starting, or being maintained",
        100..=199 => "the receiver ended with an interim answer, which none should",
        _ => "the receiver failed on the request: its log says why",
    }
}
