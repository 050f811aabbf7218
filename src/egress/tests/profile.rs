//! Certificates of a webhook's own: whom it trusts, what it shows, and that nobody shares them.

use base64::Engine as _;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;

use super::tls::{authority, issued, serve, trusting};
use super::*;
use crate::domain::secret::Secret;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// PEM of a client certificate and its key.
fn client_of(issuer: &Authority) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["postrider.example".to_owned()]).unwrap();
    (certificate.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn settings(ca: Option<&Authority>, client: Option<(String, String)>) -> ClientTls {
    let (certificate, key) = client.unzip();
    ClientTls { ca: ca.map(|ca| ca.pem()), client_certificate: certificate, client_key: key.map(Secret::new) }
}

fn profile(ca: Option<&Authority>, client: Option<(String, String)>) -> Option<TlsProfile> {
    Some(TlsProfile::new(&settings(ca, client)).unwrap().expect("something is set"))
}

fn post_with(url: &str, tls: Option<TlsProfile>) -> Request {
    Request { tls, ..post(url, LONG) }
}

/// An acceptor that wants a client certificate issued by `issuer`.
fn mutual(issuer: &Authority) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["hook.example".to_owned()]).unwrap();
    let chain = vec![params.signed_by(&key, issuer).unwrap().der().clone()];
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let mut config = config;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_receiver_that_wants_a_certificate_gets_the_webhooks() {
    let (authority, stranger) = (authority(), authority());
    let egress = trusting(&temporary_file(&authority.pem()));
    let (receiver, seen) = serve(mutual(&authority)).await;
    let url = format!("https://hook.example:{}/", receiver.at.port());
    let known = egress.send(KEY, post_with(&url, profile(None, Some(client_of(&authority))))).await;
    assert_eq!(known.result, Ok(200));
    let bytes = seen.bytes.load(Ordering::SeqCst);
    assert!(bytes > 0);
    let none = egress.send(KEY, post_with(&url, None)).await;
    assert_eq!(none.result, Err(ErrorKind::Tls));
    let wrong = egress.send(KEY, post_with(&url, profile(None, Some(client_of(&stranger))))).await;
    assert_eq!(wrong.result, Err(ErrorKind::Tls));
    assert_eq!(seen.bytes.load(Ordering::SeqCst), bytes);

    let why = |tls| async { egress.probe(post_with(&url, tls), None).await.trace.tls_failure };
    assert_eq!(why(None).await, Some(TlsFailure::CertificateWanted));
    assert_eq!(why(profile(None, Some(client_of(&stranger)))).await, Some(TlsFailure::CertificateRefused));
}

#[tokio::test]
async fn a_private_authority_is_trusted_by_its_webhook_only() {
    let (private, other, configured) = (authority(), authority(), authority());
    let egress = trusting(&temporary_file(&configured.pem()));
    let (receiver, seen) = serve(issued(&private, "hook.example", false)).await;
    let url = format!("https://hook.example:{}/", receiver.at.port());
    for tls in [None, profile(Some(&other), None)] {
        assert_eq!(egress.send(KEY, post_with(&url, tls)).await.result, Err(ErrorKind::Tls));
    }
    assert_eq!(seen.bytes.load(Ordering::SeqCst), 0, "nothing leaves before the receiver is known");
    assert_eq!(egress.send(KEY, post_with(&url, profile(Some(&private), None))).await.result, Ok(200));
    assert_eq!(egress.send(KEY, post_with(&url, None)).await.result, Err(ErrorKind::Tls), "not even afterwards");

    let (receiver, _) = serve(issued(&configured, "hook.example", false)).await;
    let url = format!("https://hook.example:{}/", receiver.at.port());
    let both = egress.send(KEY, post_with(&url, profile(Some(&private), None))).await;
    assert_eq!(both.result, Ok(200), "its own authority comes on top of the others");
}

#[tokio::test]
async fn connections_serve_one_profile_only() {
    let authority = authority();
    let egress = trusting(&temporary_file(&authority.pem()));
    let (receiver, _) = serve(issued(&authority, "hook.example", false)).await;
    let url = format!("https://hook.example:{}/", receiver.at.port());
    let one = profile(None, Some(client_of(&authority)));
    let other = profile(None, Some(client_of(&authority)));
    let tried = [(&one, 1), (&other, 2), (&None, 3), (&one, 3), (&other, 3), (&None, 3)];
    for (number, (tls, connections)) in tried.into_iter().enumerate() {
        assert_eq!(egress.send(KEY, post_with(&url, tls.clone())).await.result, Ok(200));
        while egress.idle_connections() < connections {
            tokio::task::yield_now().await;
        }
        assert_eq!(receiver.connections(), connections, "{number}");
    }
    // As when the webhook was edited.
    let edited = profile(None, Some(client_of(&authority)));
    assert_eq!(egress.send(KEY, post_with(&url, edited)).await.result, Ok(200));
    assert_eq!(receiver.connections(), 4);
}

#[tokio::test]
async fn a_profile_follows_a_reload() {
    let (before, after) = (authority(), authority());
    let (old_file, new_file) = (temporary_file(&before.pem()), temporary_file(&after.pem()));
    let egress = trusting(&old_file);
    let (receiver, _) = serve(issued(&after, "hook.example", false)).await;
    let url = format!("https://hook.example:{}/", receiver.at.port());
    // With an authority of its own, and with a certificate only.
    let profiles = [profile(Some(&authority()), None), profile(None, Some(client_of(&after)))];
    for (ca_file, result) in [(&old_file, Err(ErrorKind::Tls)), (&new_file, Ok(200)), (&old_file, Err(ErrorKind::Tls))]
    {
        let (names, ca_file) = (fixed(&[("hook.example", &["127.0.0.1"])]), Some(ca_file.path().to_owned()));
        egress.update(EgressOptions { policy: loopback(), ca_file, names, ..EgressOptions::default() }).unwrap();
        for tls in &profiles {
            assert_eq!(egress.send(KEY, post_with(&url, tls.clone())).await.result, result);
        }
    }
}

#[tokio::test]
async fn a_probe_is_a_whole_handshake_on_a_connection_of_its_own() {
    let authority = authority();
    let egress = trusting(&temporary_file(&authority.pem()));
    let (receiver, seen) = serve(issued(&authority, "hook.example", false)).await;
    let url = format!("https://hook.example:{}/", receiver.at.port());
    assert_eq!(egress.send(KEY, post_with(&url, None)).await.result, Ok(200));
    while egress.idle_connections() == 0 {
        tokio::task::yield_now().await;
    }
    let probe = egress.probe(post_with(&url, None), None).await;
    assert_eq!(probe.outcome.result, Ok(200));
    assert_eq!((receiver.connections(), egress.idle_connections()), (2, 1));
    let session = probe.trace.session.unwrap();
    // What rcgen takes for "never".
    assert_eq!((session.version, session.expires_at.unwrap().to_string().split_at(4).0), ("TLS 1.3", "4096"));
    assert_eq!(probe.trace.addresses, [IpAddr::from([127, 0, 0, 1])]);

    let bytes = seen.bytes.load(Ordering::SeqCst);
    let withheld = egress.probe(post_with(&url, None), Some(ErrorKind::Oauth)).await;
    assert_eq!((withheld.outcome.result, withheld.trace.session), (Err(ErrorKind::Oauth), Some(session)));
    assert_eq!(seen.bytes.load(Ordering::SeqCst), bytes, "a connection, and nothing sent on it");
}

#[test]
fn what_is_wrong_with_certificates_is_told_with_its_field() {
    let authority = authority();
    let (certificate, key) = client_of(&authority);
    let (_, foreign_key) = client_of(&authority);
    let text = |text: &str| Some(text.to_owned());
    let told = |ca: Option<String>, certificate: Option<String>, key: Option<String>| {
        let tls = ClientTls { ca, client_certificate: certificate, client_key: key.map(Secret::new) };
        match TlsProfile::new(&tls) {
            Ok(_) => String::new(),
            Err(problem) => problem.to_string(),
        }
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken_key = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nY2FuYXJ5\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let certificate = Some(certificate);
    assert_eq!(told(None, None, None), "");
    assert_eq!(told(text(&authority.pem()), certificate.clone(), text(&key)), "");
    let cases = [
        (told(text("nothing"), None, None), "tls.ca holds no certificate"),
        (told(text(broken), None, None), "tls.ca certificate 1"),
        (told(text(&broken.replace("AAAA", "canary!")), None, None), "tls.ca is damaged PEM"),
        (told(None, text("nothing"), text(&key)), "tls.client_certificate holds no certificate"),
        (told(None, text(broken), text(&key)), "tls.client_certificate cannot be read"),
        (told(None, certificate.clone(), text("canary")), "tls.client_key holds no key"),
        (told(None, certificate.clone(), text(broken_key)), "tls.client_key is damaged"),
        (told(None, certificate.clone(), text(encrypted)), "tls.client_key is encrypted"),
        (told(None, certificate.clone(), text(&foreign_key)), "tls.client_key does not belong"),
        (told(None, certificate.clone(), None), "tls.client_key is missing"),
        (told(None, None, text(&key)), "tls.client_certificate is missing"),
    ];
    for (told, begins) in cases {
        assert!(told.starts_with(begins), "{told:?} does not begin with {begins:?}");
        assert!(!told.contains("canary") && !told.contains("Y2FuYXJ5"), "{told}");
    }
}

/// SEC1, which is what stands inside of PKCS#8.
#[test]
fn an_elliptic_key_may_be_written_in_two_ways() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["postrider.example".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap().pem();
    let outer = key.serialize_der();
    let inner = outer.windows(3).position(|at| at[0] == 0x04 && at[2] == 0x30).unwrap() + 2;
    let inner = base64::engine::general_purpose::STANDARD.encode(&outer[inner..]);
    let sec1 = format!("-----BEGIN EC PRIVATE KEY-----\n{inner}\n-----END EC PRIVATE KEY-----\n");
    let profile = profile(None, Some((certificate, sec1))).unwrap();
    assert!(profile.shows_certificate());
    assert!(!format!("{profile:?}").contains(&inner));
}
