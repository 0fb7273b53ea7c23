//! The texters against HTTPS servers that check requests as the providers document them.

use super::*;
use crate::testing::{Folder, Https, Reply, Request};

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const KEY: &str = "SK0123456789abcdef0123456789abcdef";
const NUMBER: &str = "+4917012345678";

/// Twilio's Messages resource, as its documentation describes it.
fn twilio(username: &'static str) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    move |request| {
        let refuse = |status: u16, code: u32| {
            Some((status, format!("{{\"code\":{code},\"message\":\"no\",\"status\":{status}}}")))
        };
        if request.line != format!("POST /2010-04-01/Accounts/{ACCOUNT}/Messages.json HTTP/1.1") {
            return refuse(404, 20404);
        }
        let login = data_encoding::BASE64.encode(format!("{username}:auth token").as_bytes());
        if request.header("authorization") != Some(&format!("Basic {login}")) {
            return refuse(401, 20003);
        }
        if request.header("content-type") != Some("application/x-www-form-urlencoded") {
            return refuse(400, 20001);
        }
        let form = request.form();
        let field = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let (Some(to), Some(body)) = (field("To"), field("Body")) else { return refuse(400, 21604) };
        if policy::contact::phone(to).as_deref() != Some(to) {
            return refuse(400, 21211);
        }
        if field("From").is_some() == field("MessagingServiceSid").is_some() {
            return refuse(400, 21603);
        }
        if body.is_empty() || body.chars().count() > 1600 {
            return refuse(400, 21617);
        }
        Some((201, format!("{{\"sid\":\"SM00000000000000000000000000000000\",\"status\":\"queued\",\"to\":\"{to}\"}}")))
    }
}

fn settings(server: &Https, kind: SmsKind) -> SmsSettings {
    let ca_file = Some(server.ca_file.clone());
    SmsSettings { name: "main".to_owned(), kind, timeout: Duration::from_secs(5), ca_file }
}

fn twilio_kind(server: &Https, username: &str, secret: &str, sender: TwilioSender) -> SmsKind {
    SmsKind::Twilio {
        url: server.url.clone(),
        account: ACCOUNT.to_owned(),
        username: username.to_owned(),
        secret: Secret::new(secret.to_owned()),
        sender,
    }
}

fn text() -> Secret<String> {
    Secret::new("V 123456 is your passcode & \"more\" \u{e9}\n+1".to_owned())
}

#[tokio::test]
async fn twilio_takes_a_message() {
    let folder = Folder::new();
    let service = TwilioSender::Service("MG0123456789abcdef0123456789abcdef".to_owned());
    for (username, sender) in [(ACCOUNT, TwilioSender::From("+15550100".to_owned())), (KEY, service)] {
        let server = Https::start(&folder, twilio(username)).await;
        let texter = Texter::new(settings(&server, twilio_kind(&server, username, "auth token", sender))).unwrap();
        texter.send(NUMBER, &text()).await.unwrap();
        let form = server.requests()[0].form();
        assert!(form.contains(&("Body".to_owned(), text().expose().clone())), "{form:?}");

        let sender = TwilioSender::From("+15550100".to_owned());
        let wrong = Texter::new(settings(&server, twilio_kind(&server, username, "wrong", sender))).unwrap();
        let error = wrong.send(NUMBER, &text()).await.unwrap_err();
        assert_eq!(error, Error::Login("status 401, code 20003".to_owned()));
        let error = texter.send("+0", &text()).await.unwrap_err();
        assert_eq!(error, Error::Refused("status 400, code 21211".to_owned()));
        assert!(!format!("{wrong:?}").contains("wrong\""), "no secret in debug output");
    }
}

#[tokio::test]
async fn answers_are_told_apart() {
    let folder = Folder::new();
    for (reply, expected) in [
        (Some((429, "{}")), "sms-unreachable"),
        (Some((503, "{}")), "sms-unreachable"),
        (Some((500, "{}")), "sms-unclear"),
        (Some((504, "")), "sms-unclear"),
        (Some((200, "{}")), "sms-unclear"),
        (Some((201, "nonsense")), "sms-unclear"),
        (Some((201, "{\"sid\":\"SM1\",\"status\":\"failed\"}")), "sms-unclear"),
        (Some((301, "")), "sms-refused"),
        (None, "sms-unclear"),
    ] {
        let reply = reply.map(|(status, body)| (status, body.to_owned()));
        let described = format!("{reply:?}");
        let server = Https::start(&folder, move |_| reply.clone()).await;
        let sender = TwilioSender::From("+15550100".to_owned());
        let texter = Texter::new(settings(&server, twilio_kind(&server, ACCOUNT, "auth token", sender))).unwrap();
        let error = texter.send(NUMBER, &text()).await.unwrap_err();
        assert_eq!(error.code(), expected, "{described}: {error}");
        for secret in ["123456", NUMBER, "auth token", ACCOUNT] {
            assert!(!format!("{error:?} {error}").contains(secret), "{error:?}");
        }
    }
    // Nobody there; and somebody who is not trusted.
    let server = Https::start(&folder, |_| None).await;
    let other = Https::start(&folder, |_| None).await;
    let sender = TwilioSender::From("+15550100".to_owned());
    let kind = twilio_kind(&server, ACCOUNT, "auth token", sender);
    let untrusted = SmsSettings { ca_file: Some(other.ca_file.clone()), ..settings(&server, kind) };
    let error = Texter::new(untrusted).unwrap().send(NUMBER, &text()).await.unwrap_err();
    assert_eq!(error.code(), "sms-unreachable", "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_template_speaks_with_other_providers() {
    let folder = Folder::new();
    let server = Https::start(&folder, |_| Some((202, String::new()))).await;
    let kind = |form, body: &str, success: Vec<u16>| SmsKind::Http {
        url: format!("{}/send", server.url),
        method: "PUT".to_owned(),
        headers: vec![("Authorization".to_owned(), "Bearer {secret}".to_owned())],
        body: body.to_owned(),
        form,
        success,
        secret: Some(Secret::new("k3y".to_owned())),
    };
    let json = kind(BodyForm::Json, "{\"to\":[\"{to}\"],\"text\":\"{text}\",\"key\":\"{secret}\",\"x\":{}}", vec![]);
    Texter::new(settings(&server, json)).unwrap().send(NUMBER, &text()).await.unwrap();
    let form = kind(BodyForm::Form, "recipient={to}&message={text}", vec![202]);
    let tricky = Secret::new("{secret} {to} & more=1".to_owned());
    Texter::new(settings(&server, form)).unwrap().send(NUMBER, &tricky).await.unwrap();
    let strict = kind(BodyForm::Form, "recipient={to}&message={text}", vec![200]);
    let error = Texter::new(settings(&server, strict)).unwrap().send(NUMBER, &tricky).await.unwrap_err();
    assert_eq!(error.code(), "sms-unclear", "another 2xx than the one that says yes");

    let [first, second, _] = server.requests().try_into().unwrap();
    assert_eq!((first.line.as_str(), first.header("authorization")), ("PUT /send HTTP/1.1", Some("Bearer k3y")));
    let body: serde_json::Value = serde_json::from_str(&first.body).unwrap();
    assert_eq!((body["to"][0].as_str(), body["text"].as_str()), (Some(NUMBER), Some(text().expose().as_str())));
    assert_eq!((body["key"].as_str(), &body["x"]), (Some("k3y"), &serde_json::json!({})));
    let expected =
        [("recipient", NUMBER), ("message", tricky.expose())].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(second.form(), expected);
}
