//! Text messages by HTTPS: Twilio's Messages resource (REST API 2010-04-01), and a template for other providers.
//!
//! A message counts as taken only by the provider's word. `429` and `503` say that it was not; any other `5xx`, and a
//! connection that ends without an answer, leave it open, and the message is not sent again.

use std::path::PathBuf;
use std::time::Duration;

use policy::Secret;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;

use super::http;

/// Twilio's own address.
pub const TWILIO: &str = "https://api.twilio.com";

/// A provider of text messages.
#[derive(Debug, Clone)]
pub struct SmsSettings {
    /// Its name, by which contacts name it.
    pub name: String,
    /// How it is spoken with.
    pub kind: SmsKind,
    /// How long one message may take.
    pub timeout: Duration,
    /// The certificates of the authorities to trust, PEM; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
}

/// How a provider is spoken with.
#[derive(Debug, Clone)]
pub enum SmsKind {
    /// Twilio.
    Twilio {
        /// Its address.
        url: String,
        /// The account's SID.
        account: String,
        /// Who we are: the account's SID, or the SID of an API key.
        username: String,
        /// The auth token, or the API key's secret.
        secret: Secret<String>,
        /// By whom messages are sent.
        sender: TwilioSender,
    },
    /// Any other: one request, from a template.
    Http {
        /// Where it goes.
        url: String,
        /// `POST` or `PUT`.
        method: String,
        /// Header fields; `{secret}` in their values is replaced.
        headers: Vec<(String, String)>,
        /// The body; `{to}`, `{text}` and `{secret}` are replaced, escaped as its type asks for.
        body: String,
        /// Its type.
        form: BodyForm,
        /// The statuses by which the provider takes a message; none: any `2xx`.
        success: Vec<u16>,
        /// What `{secret}` stands for.
        secret: Option<Secret<String>>,
    },
}

/// By whom Twilio sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TwilioSender {
    /// A number or a name.
    From(String),
    /// A messaging service, by its SID.
    Service(String),
}

/// The type of a body, which says how values are escaped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyForm {
    /// `application/json`
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
}

/// Why a text message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The settings make no sense.
    #[error("SMS settings: {0}")]
    Settings(String),
    /// The provider refused it for good.
    #[error("the SMS provider refused the message: {0}")]
    Refused(String),
    /// The provider does not take our name or our secret.
    #[error("the SMS provider refused our login: {0}")]
    Login(String),
    /// The provider could not be reached, or refused it for now.
    #[error("the SMS provider did not take the message: {0}")]
    Unreachable(String),
    /// The provider did not say. The message may have been sent all the same.
    #[error("the SMS provider gave no clear answer: {0}")]
    Unclear(String),
}

impl Error {
    /// The code in the audit.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Settings(_) => "sms-settings",
            Self::Refused(_) => "sms-refused",
            Self::Login(_) => "sms-login",
            Self::Unreachable(_) => "sms-unreachable",
            Self::Unclear(_) => "sms-unclear",
        }
    }
}

/// Hands text messages over to one provider.
#[derive(Debug, Clone)]
pub struct Texter {
    settings: SmsSettings,
    client: Client,
}

/// What Twilio says of a message it did not take: a number that is documented, and words that may hold anything.
#[derive(Deserialize)]
struct TwilioError {
    code: Option<u32>,
}

#[derive(Deserialize)]
struct TwilioMessage {
    sid: String,
    status: Option<String>,
}

impl Texter {
    /// For `settings`. Nothing is connected yet.
    ///
    /// # Errors
    /// Where they make no sense.
    pub fn new(settings: SmsSettings) -> Result<Self, Error> {
        let client = http::client(settings.ca_file.as_deref(), settings.timeout).map_err(Error::Settings)?;
        let texter = Self { settings, client };
        if let SmsKind::Http { headers, secret, .. } = &texter.settings.kind {
            header_map(headers, secret.as_ref())?;
        }
        Ok(texter)
    }

    /// The provider's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// How long a message may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Asks the provider's server for nothing, without telling who we are: whether it can be reached, and who it is.
    ///
    /// # Errors
    /// Where it cannot.
    pub async fn test(&self) -> Result<(), Error> {
        let (SmsKind::Twilio { url, .. } | SmsKind::Http { url, .. }) = &self.settings.kind;
        let mut url = reqwest::Url::parse(url).map_err(|error| Error::Settings(error.to_string()))?;
        url.set_path("/");
        url.set_query(None);
        match http::ask(self.client.head(url)).await {
            Ok(_) => Ok(()),
            Err(http::Failure::Unreached(words)) => Err(Error::Unreachable(words)),
            Err(http::Failure::Unknown(words)) => Err(Error::Unclear(words)),
        }
    }

    /// Hands `text` for `number`, which is in E.164, over to the provider.
    ///
    /// # Errors
    /// Where the provider has not taken it.
    pub async fn send(&self, number: &str, text: &Secret<String>) -> Result<(), Error> {
        let request = match &self.settings.kind {
            SmsKind::Twilio { url, account, username, secret, sender } => {
                let sender = match sender {
                    TwilioSender::From(from) => ("From", from.as_str()),
                    TwilioSender::Service(service) => ("MessagingServiceSid", service.as_str()),
                };
                self.client
                    .post(format!("{}/2010-04-01/Accounts/{account}/Messages.json", url.trim_end_matches('/')))
                    .basic_auth(username, Some(secret.expose()))
                    .form(&[("To", number), sender, ("Body", text.expose())])
            }
            SmsKind::Http { url, method, headers, body, form, secret, .. } => {
                let content = match form {
                    BodyForm::Json => "application/json",
                    BodyForm::Form => "application/x-www-form-urlencoded",
                };
                let method = if method == "PUT" { Method::PUT } else { Method::POST };
                self.client
                    .request(method, url)
                    .header(CONTENT_TYPE, content)
                    .headers(header_map(headers, secret.as_ref())?)
                    .body(filled(body, *form, number, text, secret.as_ref()))
            }
        };
        let answer = http::ask(request).await.map_err(|failure| match failure {
            http::Failure::Unreached(why) => Error::Unreachable(why),
            http::Failure::Unknown(why) => Error::Unclear(why),
        })?;
        let code = || format!("status {}", answer.status.as_u16());
        match &self.settings.kind {
            SmsKind::Twilio { .. } if answer.status == StatusCode::CREATED => {
                let message: Option<TwilioMessage> = serde_json::from_slice(answer.body.expose()).ok();
                let taken = message.is_some_and(|message| {
                    !message.sid.is_empty()
                        && !matches!(message.status.as_deref(), Some("failed" | "undelivered" | "canceled"))
                });
                if taken { Ok(()) } else { Err(Error::Unclear("status 201 without a message".to_owned())) }
            }
            SmsKind::Http { success, .. } if success.contains(&answer.status.as_u16()) => Ok(()),
            SmsKind::Http { success, .. } if success.is_empty() && answer.status.is_success() => Ok(()),
            SmsKind::Twilio { .. } => {
                let told: Option<TwilioError> = serde_json::from_slice(answer.body.expose()).ok();
                let number = told.and_then(|told| told.code).map(|code| format!(", code {code}")).unwrap_or_default();
                Err(refused(answer.status, format!("{}{number}", code())))
            }
            SmsKind::Http { .. } => Err(refused(answer.status, code())),
        }
    }
}

fn refused(status: StatusCode, why: String) -> Error {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Login(why),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Error::Unreachable(why),
        status if status.is_client_error() || status.is_redirection() => Error::Refused(why),
        // An error of theirs, or an answer that is none: the message may be on its way.
        _ => Error::Unclear(why),
    }
}

fn header_map(headers: &[(String, String)], secret: Option<&Secret<String>>) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let wrong = || Error::Settings(format!("header {name} cannot be sent"));
        let value = value.replace("{secret}", secret.map_or("", |secret| secret.expose()));
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        map.insert(HeaderName::try_from(name.as_str()).map_err(|_| wrong())?, value);
    }
    Ok(map)
}

/// `body` with its values escaped, so that none of them can end the place it stands in.
fn filled(body: &str, form: BodyForm, number: &str, text: &Secret<String>, secret: Option<&Secret<String>>) -> String {
    let escaped = |value: &str| match form {
        BodyForm::Json => {
            let quoted = serde_json::Value::from(value).to_string();
            quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
        }
        BodyForm::Form => percent(value),
    };
    let values = [
        ("{to}", escaped(number)),
        ("{text}", escaped(text.expose())),
        ("{secret}", escaped(secret.map_or("", |secret| secret.expose()))),
    ];
    // One pass: a text that holds `{secret}` stays what it is.
    let mut filled = String::new();
    let mut rest = body;
    while let Some(start) = rest.find('{') {
        let (before, tail) = rest.split_at(start);
        filled.push_str(before);
        match values.iter().find(|(name, _)| tail.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value);
                rest = tail.get(name.len()..).unwrap_or_default();
            }
            None => {
                filled.push('{');
                rest = tail.get(1..).unwrap_or_default();
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// As forms are encoded (WHATWG URL, application/x-www-form-urlencoded).
fn percent(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
