//! Against a mail server on loopback that does as it is told, good or bad.

use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::domain::time::Timestamp;
use crate::mail::message::test_letter;

/// How a server behaves: answers to what a line begins with, tried in order before its own.
#[derive(Clone, Default)]
struct Script {
    answers: Vec<(&'static str, &'static str)>,
    starttls: bool,
    implicit: bool,
    /// Drops the connection where the text of the mail ends.
    drops: bool,
    /// Says nothing at all.
    mute: bool,
    /// Says one thing that never ends.
    floods: bool,
}

#[derive(Default)]
struct Heard {
    /// Lines, those under TLS with a `*`.
    lines: Vec<String>,
    mails: Vec<String>,
}

struct Server {
    smtp: Smtp,
    heard: Arc<Mutex<Heard>>,
    _folder: tempfile::TempDir,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

async fn start(script: Script) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard: Arc<Mutex<Heard>> = Arc::default();
    let hearing = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone(), acceptor.clone(), Arc::clone(&hearing)));
        }
    });
    let smtp = Smtp {
        host: "localhost".to_owned(),
        port,
        encryption: Encryption::Off,
        hello: "tester".to_owned(),
        login: None,
        ca_file: Some(ca_file),
        time_max: Smtp::TIME_MAX,
    };
    Server { smtp, heard, _folder: folder }
}

async fn serve(mut stream: TcpStream, script: Script, acceptor: TlsAcceptor, heard: Arc<Mutex<Heard>>) {
    if script.floods {
        let mut said = 0;
        while let Ok(count) = stream.write(&[b'2'; 4096]).await {
            said += count;
            heard.lock().unwrap().lines = vec![said.to_string()];
        }
        return;
    }
    if script.mute {
        std::future::pending::<()>().await;
    }
    if script.implicit {
        if let Ok(stream) = acceptor.accept(stream).await {
            talk(stream, &script, true, true, &heard).await;
        }
        return;
    }
    if let Some(stream) = talk(stream, &script, true, false, &heard).await
        && let Ok(stream) = acceptor.accept(stream).await
    {
        talk(stream, &script, false, true, &heard).await;
    }
}

/// Talks until the end, or gives the stream back to be encrypted.
async fn talk<S: Stream>(stream: S, script: &Script, greet: bool, secure: bool, heard: &Mutex<Heard>) -> Option<S> {
    let mut stream = BufReader::new(stream);
    let scripted = |line: &str| script.answers.iter().find(|(start, _)| line.starts_with(start)).map(|(_, say)| *say);
    if greet {
        say(&mut stream, scripted("").filter(|_| script.answers[0].0.is_empty()).unwrap_or("220 hello")).await?;
    }
    let mut in_text: Option<String> = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(text) = &mut in_text {
            if line != ".\r\n" {
                text.push_str(line.strip_prefix('.').unwrap_or(&line));
                continue;
            }
            if script.drops {
                return None;
            }
            let answer = scripted("TEXT").unwrap_or("250 taken");
            if answer.starts_with('2') {
                heard.lock().unwrap().mails.push(text.clone());
            }
            in_text = None;
            say(&mut stream, answer).await?;
            continue;
        }
        let line = line.trim_end().to_owned();
        heard.lock().unwrap().lines.push(format!("{}{line}", if secure { "*" } else { "" }));
        let answer = match scripted(&line) {
            Some(answer) => answer,
            None if line.starts_with("EHLO") && script.starttls && !secure => "250-localhost\r\n250 STARTTLS",
            None if line.starts_with("EHLO") => "250-localhost\r\n250 AUTH PLAIN LOGIN",
            None if line == "DATA" => "354 go on",
            None if line.starts_with("AUTH") => "235 welcome",
            None if line == "STARTTLS" => {
                say(&mut stream, "220 go on").await?;
                return Some(stream.into_inner());
            }
            None => "250 fine",
        };
        in_text = answer.starts_with("354").then(String::new);
        say(&mut stream, answer).await?;
        if answer.starts_with("421") || line == "QUIT" {
            return None;
        }
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> Option<()> {
    stream.write_all(format!("{text}\r\n").as_bytes()).await.ok()
}

fn letter() -> Letter {
    let mut letter =
        test_letter("a@example.com", "postrider@host", "host", "1@host".to_owned(), Timestamp::from_millis(1_000));
    letter.to.push("b@example.com".to_owned());
    letter.text = "first\n.\n..two\nlast\n".to_owned();
    letter
}

fn answers(answers: &[(&'static str, &'static str)]) -> Script {
    Script { answers: answers.to_vec(), ..Script::default() }
}

#[tokio::test]
async fn a_plain_server_gets_the_mail_as_it_is() {
    let server = start(Script::default()).await;
    assert_eq!(server.smtp.send(&letter()).await, Ok(Receipt::default()));
    let heard = server.heard.lock().unwrap();
    assert_eq!(
        heard.lines[..5],
        ["EHLO tester", "MAIL FROM:<postrider@host>", "RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>", "DATA"]
    );
    assert!(heard.mails[0].contains("\r\n\r\nfirst\r\n.\r\n..two\r\nlast\r\n"), "{}", heard.mails[0]);
}

#[tokio::test]
async fn nothing_is_said_in_the_open_where_tls_is_required() {
    let mut server = start(Script { starttls: true, ..Script::default() }).await;
    let password = server._folder.path().join("password");
    std::fs::write(&password, "canary-password\n").unwrap();
    server.smtp.login = Some(("user".to_owned(), password));
    server.smtp.encryption = Encryption::Required;
    assert_eq!(server.smtp.send(&letter()).await, Ok(Receipt::default()));
    let lines = server.heard.lock().unwrap().lines.clone();
    assert_eq!(lines[..3], ["EHLO tester", "STARTTLS", "*EHLO tester"]);
    // user NUL user NUL password, in base 64.
    assert_eq!(lines[3], "*AUTH PLAIN AHVzZXIAY2FuYXJ5LXBhc3N3b3Jk");
    assert!(lines[2..].iter().all(|line| line.starts_with('*')));
    // Not offered, or a certificate that nobody vouches for: no mail.
    server.smtp.ca_file = None;
    let error = server.smtp.send(&letter()).await.unwrap_err();
    assert_eq!(error.fault, MailFault::Server, "{error}");
    let mut without = start(Script::default()).await;
    without.smtp.encryption = Encryption::Required;
    let error = without.smtp.send(&letter()).await.unwrap_err();
    assert!(error.fault == MailFault::Server && error.text.contains("STARTTLS"), "{error}");
    assert!(!without.heard.lock().unwrap().lines.iter().any(|line| line.starts_with("MAIL")));
}

#[tokio::test]
async fn opportunistic_takes_what_there_is() {
    for starttls in [true, false] {
        let mut server = start(Script { starttls, ..Script::default() }).await;
        server.smtp.encryption = Encryption::Opportunistic;
        // The certificate of a fresh machine is its own.
        server.smtp.ca_file = None;
        assert_eq!(server.smtp.send(&letter()).await, Ok(Receipt::default()));
        assert_eq!(server.heard.lock().unwrap().lines.iter().any(|line| line.starts_with("*MAIL")), starttls);
    }
}

#[tokio::test]
async fn smtps_is_verified() {
    let mut server = start(Script { implicit: true, ..Script::default() }).await;
    server.smtp.encryption = Encryption::Implicit;
    assert_eq!(server.smtp.send(&letter()).await, Ok(Receipt::default()));
    server.smtp.ca_file = None;
    let error = server.smtp.send(&letter()).await.unwrap_err();
    assert_eq!(error.fault, MailFault::Server, "{error}");
    assert_eq!(server.heard.lock().unwrap().mails.len(), 1);
}

#[tokio::test]
async fn each_answer_means_what_it_should() {
    let cases: &[(&str, &'static str, MailFault)] = &[
        ("", "554 not for you", MailFault::Server),
        ("", "421 busy", MailFault::Server),
        ("EHLO", "550 who?", MailFault::Server),
        ("MAIL", "550 not from you", MailFault::Server),
        ("RCPT", "530 log in first", MailFault::Server),
        ("RCPT", "421 closing", MailFault::Server),
        ("DATA", "554 no", MailFault::Refused),
        ("DATA", "451 later", MailFault::Later),
        ("TEXT", "554 spam", MailFault::Refused),
        ("TEXT", "452 no room", MailFault::Later),
        ("TEXT", "nonsense", MailFault::Later),
    ];
    for (start_of, answer, fault) in cases {
        let server = start(answers(&[(start_of, answer)])).await;
        let error = server.smtp.send(&letter()).await.unwrap_err();
        assert_eq!(error.fault, *fault, "{start_of} {answer}: {error}");
        assert!(server.heard.lock().unwrap().mails.is_empty());
    }
    let dropping = start(Script { drops: true, ..Script::default() }).await;
    assert_eq!(dropping.smtp.send(&letter()).await.unwrap_err().fault, MailFault::Later);
    let nobody = Smtp { port: 1, ..dropping.smtp };
    assert_eq!(nobody.send(&letter()).await.unwrap_err().fault, MailFault::Server);
}

#[tokio::test]
async fn one_refused_recipient_costs_the_others_nothing() {
    let server = start(answers(&[("RCPT TO:<a@", "550 5.1.1 nobody\u{1b}[2J here")])).await;
    let failed = server.smtp.send(&letter()).await.unwrap().failed;
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].0.as_str(), failed[0].1.fault), ("a@example.com", MailFault::Refused));
    assert!(failed[0].1.text.contains("nobody\\u{1b}[2J here"), "{}", failed[0].1);
    assert_eq!(server.heard.lock().unwrap().mails.len(), 1);
    let greylisting = start(answers(&[("RCPT TO:<b@", "450 come back")])).await;
    let failed = greylisting.smtp.send(&letter()).await.unwrap().failed;
    assert_eq!((failed[0].0.as_str(), failed[0].1.fault), ("b@example.com", MailFault::Later));
    let none = start(answers(&[("RCPT", "550 nobody")])).await;
    assert_eq!(none.smtp.send(&letter()).await.unwrap().failed.len(), 2);
    assert!(!none.heard.lock().unwrap().lines.contains(&"DATA".to_owned()), "nobody wants it");
}

#[tokio::test]
async fn a_wrong_password_is_the_servers_and_stays_a_secret() {
    let mut server = start(answers(&[("AUTH", "535 5.7.8 no")])).await;
    let password = server._folder.path().join("password");
    server.smtp.login = Some(("user".to_owned(), password.clone()));
    let error = server.smtp.send(&letter()).await.unwrap_err();
    assert!(error.fault == MailFault::Server && error.text.contains("password_file"), "{error}");
    std::fs::write(&password, "canary-password").unwrap();
    let error = server.smtp.send(&letter()).await.unwrap_err();
    assert!(error.fault == MailFault::Server && error.text.contains("logging in as user"), "{error}");
    assert!(!format!("{error:?} {:?}", server.smtp).contains("canary"));
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let server = start(Script { mute: true, ..Script::default() }).await;
    let smtp = Smtp { time_max: Duration::from_millis(50), ..server.smtp };
    let error = smtp.send(&letter()).await.unwrap_err();
    assert!(error.fault == MailFault::Server && error.text.contains("did not take the mail within"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_ends_its_line_fills_no_memory() {
    let server = start(Script { floods: true, ..Script::default() }).await;
    let error = server.smtp.send(&letter()).await.unwrap_err();
    assert!(error.fault == MailFault::Server && error.text.contains("more than any mail server"), "{error}");
    // What it got rid of beyond that lay in the buffers of the system.
    let said: usize = server.heard.lock().unwrap().lines[0].parse().unwrap();
    assert!((Bounded::BYTES_MAX..64 << 20).contains(&said), "{said}");
}
