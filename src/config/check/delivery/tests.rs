//! The tables of delivery: what is right, and what is told.

use std::path::Path;

use crate::config::{Config, ConfigError, SmsHow};

const GOOD: &str = r#"
[smtp]
host = "mail.example.com"
username = "gate@example.com"
from = "gate@example.com"
[smtp.oauth]
token_url = "https://login.example.com/token"
client_id = "x"
client_secret = "s3cr3t-a"
[[smtp.fallback]]
host = "127.0.0.1"
tls = "none"
[[sms]]
name = "main"
kind = "twilio"
account = "AC0123456789abcdef0123456789abcdef"
secret = "s3cr3t-b"
from = "+15550100"
[[sms]]
name = "other"
kind = "http"
url = "https://sms.example.com/send"
body = '{"to":"{to}","text":"{text}"}'
[alerts]
email = ["Ops <ops@example.com>"]
[[host]]
name = "PROD"
address = "as400.example.com"
[[listener]]
name = "terminals"
address = "0.0.0.0:23"
host = "PROD"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/sallyport/sallyport.toml"), text.to_owned())
}

#[test]
fn all_tables_are_read() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.smtp.oauth.as_ref().unwrap().username, "gate@example.com");
    assert_eq!((config.smtp_fallbacks[0].port, &config.smtp_fallbacks[0].from), (25, &config.smtp.from));
    assert_eq!(config.alerts, ["ops@example.com"]);
    let SmsHow::Twilio { url, username, account, .. } = &config.sms[0].how else { panic!("{:?}", config.sms) };
    assert_eq!((url.as_str(), username), ("https://api.twilio.com", account));
    let open = config.open().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((open.relays.len(), open.sms.len()), (2, 2));
    assert!(!format!("{open:?} {config:?}").contains("s3cr3t"), "no secret in debug output");
}

#[test]
fn mistakes_are_told_where_they_are() {
    for (old, new, about) in [
        ("username = \"gate@example.com\"\n", "", "nobody is named for whom the access token is"),
        ("from = \"gate", "password = \"p\"\nfrom = \"gate", "a password beside access tokens"),
        ("https://login", "http://login", "is no address of this kind"),
        ("client_secret = \"s3cr3t-a\"\n", "", "neither a secret nor a refresh token"),
        ("client_secret", "client_secret_file = \"f\"\nclient_secret", "the client secret is given twice"),
        ("host = \"127.0.0.1\"", "host = \"192.0.2.1\"", "in the clear"),
        ("account = \"AC0", "account = \"XX0", "this is no SID"),
        ("account = \"AC0123456789abcdef0123456789abcdef\"\n", "", "the account is missing"),
        ("secret = \"s3cr3t-b\"\n", "", "Twilio needs a secret"),
        ("from = \"+15550100\"\n", "", "the sender is missing"),
        ("from = \"+15550100\"\n", "from = \"+1\"\nbody = \"x\"\n", "body is of no use with kind"),
        ("name = \"other\"", "name = \"main\"", "a second provider is named `main`"),
        ("name = \"other\"", "name = \"o t\"", "this is no name"),
        ("{text}", "{txt}", "{text} is missing"),
        ("url = \"https://sms", "method = \"GET\"\nurl = \"https://sms", "`GET` is not possible"),
        ("url = \"https://sms", "success = [404]\nurl = \"https://sms", "does not say that a message was taken"),
        ("url = \"https://sms.example.com/send\"\n", "", "nobody is named to send to"),
        ("Ops <ops@example.com>", "ops", "no mail address"),
    ] {
        assert!(GOOD.contains(old), "{old}");
        let Err(ConfigError::Invalid(problems)) = parse(&GOOD.replacen(old, new, 1)) else { panic!("{new}") };
        let told = problems.iter().any(|problem| problem.message.contains(about));
        assert!(told, "{about}: {problems:#?}");
        let pictures = ConfigError::Invalid(problems).to_string();
        assert!(!pictures.contains("s3cr3t"), "a secret is told: {pictures}");
    }
}
