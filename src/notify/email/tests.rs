//! The mailer against relays of every manner.

use std::sync::Arc;

use super::*;
use crate::testing::{Folder, Https, Manner, Relay, authority};

fn message() -> Message {
    Message {
        from: String::new(),
        reply_to: String::new(),
        subject: "Passcode V for ANNA on PROD".to_owned(),
        body: Secret::new("Hello\n\n    V 123456\n".to_owned()),
    }
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
        Err(Error::Login(_))
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
    assert_eq!(error, Error::Unanswered);
    assert!(error.is_certain(), "nothing was handed over");
}

#[tokio::test]
async fn a_relay_that_falls_silent_over_the_text_may_have_sent_it() {
    let relay = Relay::start(Manner::Swallowing).await;
    let settings = SmtpSettings { timeout: Duration::from_millis(400), ..relay.settings() };
    let error = Mailer::new(&settings).unwrap().send("a@example.com", &message()).await.unwrap_err();
    assert!(!error.is_certain(), "{error:?}");
    assert_eq!(relay.mails().len(), 1);
}

#[tokio::test]
async fn an_operator_s_sender_counts() {
    let relay = Relay::start(Manner::Plain).await;
    let message =
        Message { from: "Help <help@example.com>".to_owned(), reply_to: "desk@example.com".to_owned(), ..message() };
    Mailer::new(&relay.settings()).unwrap().send("anna@example.com", &message).await.unwrap();
    let text = &relay.mails()[0].text;
    assert!(
        text.contains("From: Help <help@example.com>\r\n") && text.contains("Reply-To: desk@example.com\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn access_tokens_are_fetched_once_and_used() {
    let folder = Folder::new();
    let endpoint =
        Https::start(&folder, |_| Some((200, "{\"access_token\":\"token1\",\"expires_in\":3600}".to_owned()))).await;
    let relay = Relay::start(Manner::Token("gate@example.com", "token1")).await;
    let oauth = OAuthSettings {
        username: "gate@example.com".to_owned(),
        token_url: format!("{}/token", endpoint.url),
        client_id: "client".to_owned(),
        client_secret: Some(Secret::new("client secret".to_owned())),
        refresh_token: Some(Secret::new("refresh&".to_owned())),
        scope: Some("smtp.send".to_owned()),
        ca_file: Some(endpoint.ca_file.clone()),
        timeout: Duration::from_secs(5),
    };
    let settings = SmtpSettings { oauth: Some(oauth.clone()), ..relay.settings() };
    let mailer = Mailer::new(&settings).unwrap();
    for _ in 0..2 {
        mailer.send("anna@example.com", &message()).await.unwrap();
    }
    assert_eq!(relay.mails()[1].login.as_deref(), Some("gate@example.com"));
    let [request] = endpoint.requests().try_into().unwrap();
    assert_eq!(request.line, "POST /token HTTP/1.1");
    let form = request.form();
    for (name, value) in [
        ("grant_type", "refresh_token"),
        ("refresh_token", "refresh&"),
        ("client_id", "client"),
        ("client_secret", "client secret"),
        ("scope", "smtp.send"),
    ] {
        assert!(form.contains(&(name.to_owned(), value.to_owned())), "{form:?}");
    }

    // Client credentials; and an endpoint that gives none: nothing is sent, and the error tells no secret.
    let refusing = Https::start(&folder, |_| Some((400, "{\"error\":\"client secret wrong\"}".to_owned()))).await;
    let token_url = format!("{}/token", refusing.url);
    let refused =
        OAuthSettings { refresh_token: None, token_url, ca_file: Some(refusing.ca_file.clone()), ..oauth.clone() };
    let mailer = Mailer::new(&SmtpSettings { oauth: Some(refused), ..relay.settings() }).unwrap();
    let error = mailer.send("anna@example.com", &message()).await.unwrap_err();
    assert_eq!(error, Error::Token("status 400".to_owned()));
    assert!(refusing.requests()[0].form().contains(&("grant_type".to_owned(), "client_credentials".to_owned())));
    // An untrusted endpoint gets no secret.
    let untrusted = OAuthSettings { ca_file: Some(refusing.ca_file.clone()), ..oauth };
    let mailer = Mailer::new(&SmtpSettings { oauth: Some(untrusted), ..relay.settings() }).unwrap();
    assert!(matches!(mailer.send("anna@example.com", &message()).await, Err(Error::Token(_))));
    assert_eq!((endpoint.requests().len(), relay.mails().len()), (1, 2));
}
