//! The mailer against relays of every manner.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::testing::{Folder, Manner, Relay};

fn message() -> Message {
    Message {
        subject: "Passcode V for ANNA on PROD".to_owned(),
        body: Secret::new("Hello\n\n    V 123456\n".to_owned()),
    }
}

/// An authority's certificate in PEM, and an acceptor with a certificate of it for 127.0.0.1.
fn authority() -> (String, TlsAcceptor) {
    crate::tls::install_provider();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&key).unwrap();
    let issuer = Issuer::new(parameters, key);
    let relay_key = KeyPair::generate().unwrap();
    let relay = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&relay_key, &issuer).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![relay.der().clone()], PrivateKeyDer::try_from(relay_key.serialize_der()).unwrap())
        .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_message_arrives_as_written() {
    let relay = Relay::start(Manner::Plain).await;
    let settings = SmtpSettings { reply_to: Some("help@example.com".to_owned()), ..relay.settings() };
    Mailer::new(&settings).unwrap().send("anna@example.com", &message()).await.unwrap();
    let [mail] = relay.mails().try_into().unwrap();
    assert_eq!((mail.to.as_str(), mail.secured, mail.login), ("anna@example.com", false, None));
    for line in [
        "From: Sallyport <gateway@example.com>",
        "Reply-To: help@example.com",
        "To: anna@example.com",
        "Subject: Passcode V for ANNA on PROD",
        "Content-Type: text/plain; charset=utf-8",
        "    V 123456",
    ] {
        assert!(mail.text.contains(&format!("{line}\r\n")), "{line} in {}", mail.text);
    }
    assert!(mail.text.contains("Message-ID: <") && mail.text.contains("Date: "), "{}", mail.text);
}

#[tokio::test]
async fn authentication() {
    let relay = Relay::start(Manner::Login("gate", "pass word")).await;
    let login = |password: &str| SmtpSettings {
        username: Some("gate".to_owned()),
        password: Some(Secret::new(password.to_owned())),
        ..relay.settings()
    };
    let good = Mailer::new(&login("pass word")).unwrap();
    good.send("anna@example.com", &message()).await.unwrap();
    assert_eq!(relay.mails()[0].login.as_deref(), Some("gate"));
    let bad = Mailer::new(&login("wrong")).unwrap();
    let error = bad.send("anna@example.com", &message()).await.unwrap_err();
    assert!(error.is_certain() && !error.to_string().contains("wrong"), "{error}");
    assert!(matches!(
        Mailer::new(&relay.settings()).unwrap().send("a@example.com", &message()).await,
        Err(Error::Refused(_))
    ));
    assert!(matches!(
        Mailer::new(&SmtpSettings { username: Some("gate".to_owned()), ..relay.settings() }),
        Err(Error::Settings(_))
    ));
    assert!(!format!("{:?}", login("pass word")).contains("pass word"));
}

#[tokio::test]
async fn tls_is_verified_and_never_optional() {
    let folder = Folder::new();
    let (pem, acceptor) = authority();
    let (other, _) = authority();
    std::fs::write(folder.path("ca.pem"), pem).unwrap();
    std::fs::write(folder.path("other.pem"), other).unwrap();
    for (manner, tls) in
        [(Manner::ImplicitTls(acceptor.clone()), Tls::Implicit), (Manner::StartTls(acceptor), Tls::StartTls)]
    {
        let relay = Relay::start(manner).await;
        let settings = |ca: &str| SmtpSettings { tls, ca_file: Some(folder.path(ca)), ..relay.settings() };
        Mailer::new(&settings("ca.pem")).unwrap().send("anna@example.com", &message()).await.unwrap();
        assert!(relay.mails()[0].secured);
        for untrusted in [settings("other.pem"), SmtpSettings { ca_file: None, ..settings("ca.pem") }] {
            let error = Mailer::new(&untrusted).unwrap().send("anna@example.com", &message()).await.unwrap_err();
            assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
        }
        assert_eq!(relay.mails().len(), 1);
    }
    let plain = Relay::start(Manner::Plain).await;
    let settings = SmtpSettings { tls: Tls::StartTls, ca_file: Some(folder.path("ca.pem")), ..plain.settings() };
    assert!(Mailer::new(&settings).unwrap().send("anna@example.com", &message()).await.is_err());
    assert!(plain.mails().is_empty(), "a relay without STARTTLS gets nothing");
    assert!(matches!(
        Mailer::new(&SmtpSettings { ca_file: Some(folder.path("none.pem")), ..settings }),
        Err(Error::Settings(_))
    ));
}

#[tokio::test]
async fn failures_are_told_apart() {
    let refusing = Relay::start(Manner::Refusing("550 5.1.1 no <such> user \u{1b}[2J")).await;
    let error = Mailer::new(&refusing.settings()).unwrap().send("a@example.com", &message()).await.unwrap_err();
    assert_eq!(error, Error::Refused("reply 550".to_owned()), "the relay's words stay out");
    let deferring = Relay::start(Manner::Refusing("451 later")).await;
    let error = Mailer::new(&deferring.settings()).unwrap().send("a@example.com", &message()).await.unwrap_err();
    assert_eq!(error, Error::Unreachable("reply 451".to_owned()));
    let closed = SmtpSettings { port: 1, ..refusing.settings() };
    let error = Mailer::new(&closed).unwrap().send("a@example.com", &message()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
    assert_eq!(Mailer::without_relay().send("a@example.com", &message()).await, Err(Error::NotConfigured));
    let relay = Relay::start(Manner::Plain).await;
    let mailer = Mailer::new(&relay.settings()).unwrap();
    for address in ["", "anna", "a@b@c", "a@example.com\r\nRCPT TO:<x@example.com>"] {
        assert_eq!(mailer.send(address, &message()).await, Err(Error::Address), "{address:?}");
    }
    assert!(relay.mails().is_empty());
}

/// Everything that anybody logs, however small.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_level_shows_passcodes_or_passwords() {
    let log = Log::default();
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("the log works");
    let relay = Relay::start(Manner::Login("gate", "pass word")).await;
    let settings = SmtpSettings {
        username: Some("gate".to_owned()),
        password: Some(Secret::new("pass word".to_owned())),
        ..relay.settings()
    };
    Mailer::new(&settings).unwrap().send("anna@example.com", &message()).await.unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let login = data_encoding::BASE64.encode(b"\0gate\0pass word");
    assert!(text.contains("the log works"));
    for secret in ["123456", "pass word", &login] {
        assert!(!text.contains(secret), "{secret} is in the log: {text}");
    }
}

#[tokio::test]
async fn a_relay_that_says_nothing_costs_the_time_limit() {
    let relay = Relay::start(Manner::Silent).await;
    let settings = SmtpSettings { timeout: Duration::from_millis(200), ..relay.settings() };
    let error = Mailer::new(&settings).unwrap().send("a@example.com", &message()).await.unwrap_err();
    assert_eq!(error, Error::Slow);
    assert!(!error.is_certain());
}
