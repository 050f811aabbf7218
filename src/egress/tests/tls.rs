//! Exchanges over TLS, and receivers that are not who they should be.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a TLS receiver saw: finished handshakes and bytes after them.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) server_names: Mutex<Vec<String>>,
    pub(super) bytes: AtomicUsize,
}

pub(super) fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(super) fn acceptor(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// An acceptor whose certificate for `host` was issued by `issuer`.
pub(super) fn issued(issuer: &CertifiedIssuer<'static, KeyPair>, host: &str, expired: bool) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    if expired {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let certificate = params.signed_by(&key, issuer).unwrap();
    acceptor(vec![certificate.der().clone()], &key)
}

pub(super) async fn serve(acceptor: TlsAcceptor) -> (Receiver, Arc<Seen>) {
    let mut receiver = Receiver::start().await;
    let (_, closed) = mpsc::unbounded_channel();
    let mut accepted = std::mem::replace(&mut receiver.accepted, closed);
    let seen = Arc::new(Seen::default());
    let watch = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some(stream) = accepted.recv().await {
            let (acceptor, seen) = (acceptor.clone(), Arc::clone(&watch));
            tokio::spawn(async move {
                let mut stream = match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => stream,
                    Err((_, mut refused)) => {
                        // Read to its end, so that the alert is not overtaken by a reset.
                        while refused.read_buf(&mut Vec::new()).await.is_ok_and(|count| count > 0) {}
                        return;
                    }
                };
                let name = stream.get_ref().1.server_name().unwrap_or_default().to_owned();
                seen.server_names.lock().unwrap().push(name);
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
                while let Some(request) = read_request(&mut stream).await {
                    seen.bytes.fetch_add(request.len(), Ordering::SeqCst);
                    if stream.write_all(OK.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (receiver, seen)
}

pub(super) fn trusting(ca: &tempfile::NamedTempFile) -> Egress {
    let names = fixed(&[("hook.example", &["127.0.0.1"]), ("hook.example.", &["127.0.0.1"])]);
    let ca_file = Some(ca.path().to_owned());
    Egress::new(EgressOptions { policy: loopback(), ca_file, names, ..EgressOptions::default() }).unwrap()
}

#[tokio::test]
async fn a_receiver_of_the_configured_authority_is_trusted() {
    let authority = authority();
    let egress = trusting(&temporary_file(&authority.pem()));
    let (receiver, seen) = serve(issued(&authority, "hook.example", false)).await;
    let url = format!("https://hook.example:{}/", receiver.at.port());
    let first = egress.send(KEY, post(&url, LONG)).await;
    assert_eq!(first.result, Ok(200));
    assert!(first.phases.dns.is_some() && first.phases.connect.is_some() && first.phases.tls.is_some());
    while egress.idle_connections() == 0 {
        tokio::task::yield_now().await;
    }
    let second = egress.send(KEY, post(&url, LONG)).await;
    assert_eq!((second.result, second.phases.tls), (Ok(200), None));
    assert_eq!(receiver.connections(), 1);
    let dotted = egress.send(KEY, post(&url.replace("example:", "example.:"), LONG)).await;
    assert_eq!(dotted.result, Ok(200));
    assert_eq!(*seen.server_names.lock().unwrap(), ["hook.example", "hook.example"]);

    let (receiver, _) = serve(issued(&authority, "127.0.0.1", false)).await;
    let by_address = egress.send(KEY, post(&format!("https://{}/", receiver.at), LONG)).await;
    assert_eq!((by_address.result, by_address.phases.dns), (Ok(200), None));
}

#[tokio::test]
async fn the_wrong_receiver_gets_no_byte() {
    let authority = authority();
    let stranger = self::authority();
    let egress = trusting(&temporary_file(&authority.pem()));
    let own_key = KeyPair::generate().unwrap();
    let self_signed = CertificateParams::new(vec!["hook.example".to_owned()]).unwrap().self_signed(&own_key).unwrap();
    let cases = [
        ("wrong host", issued(&authority, "other.example", false)),
        ("expired", issued(&authority, "hook.example", true)),
        ("unknown authority", issued(&stranger, "hook.example", false)),
        ("self-signed", acceptor(vec![self_signed.der().clone()], &own_key)),
    ];
    for (case, acceptor) in cases {
        let (receiver, seen) = serve(acceptor).await;
        let outcome = egress.send(KEY, post(&format!("https://hook.example:{}/", receiver.at.port()), LONG)).await;
        assert_eq!(outcome.result, Err(ErrorKind::Tls), "{case}");
        assert!(outcome.phases.tls.is_some() && outcome.phases.first_byte.is_none(), "{case}");
        assert_eq!(seen.bytes.load(Ordering::SeqCst), 0, "{case}");
    }
    rows::covered(
        &["T19", "F25"],
        "the_wrong_receiver_gets_no_byte",
        "wrong host, expired, unknown authority, self-signed: 0 body bytes",
    );
}

#[tokio::test]
async fn a_handshake_may_fail_in_other_ways() {
    let mut receiver = Receiver::start().await;
    let egress = Arc::new(egress());
    let url = format!("https://{}/", receiver.at);
    let slow = egress.send(KEY, post(&url, SHORT)).await;
    assert_eq!(slow.result, Err(ErrorKind::Timeout), "nobody shakes hands");
    assert!(slow.phases.tls.unwrap() > SHORT / 2);
    drop(receiver.accept().await);

    let sending = tokio::spawn({
        let (egress, url) = (Arc::clone(&egress), url.clone());
        async move { egress.send(KEY, post(&url, LONG)).await }
    });
    drop(receiver.accept().await);
    assert_eq!(sending.await.unwrap().result, Err(ErrorKind::Tls), "closed in the handshake");

    let sending = tokio::spawn(async move { egress.send(KEY, post(&url, LONG)).await });
    let mut stream = receiver.accept().await;
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert_eq!(sending.await.unwrap().result, Err(ErrorKind::Tls), "plain HTTP on the port");
    rows::covered(
        &["F25"],
        "a_handshake_may_fail_in_other_ways",
        "slow, closed and plain handshakes are failures with a reason",
    );
}

#[tokio::test]
async fn a_ca_file_of_no_use_is_an_error_that_names_it() {
    let text = |path: PathBuf| match Egress::new(EgressOptions { ca_file: Some(path), ..EgressOptions::default() }) {
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    };
    assert!(text("/nonexistent/ca.pem".into()).starts_with("/nonexistent/ca.pem: cannot be used as egress.ca_file"));
    assert!(text(temporary_file("nothing").path().to_owned()).contains("no PEM certificate"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(!text(temporary_file(broken).path().to_owned()).is_empty());
}
