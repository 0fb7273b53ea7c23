//! The tables of delivery, `[smtp]`, `[[smtp.fallback]]`, `[[sms]]` and `[alerts]`: what they mean, and whether they fit.

use std::ops::Range;
use std::time::Duration;

use lettre::message::Mailbox;
use policy::Secret;
use rustls::pki_types::ServerName;
use toml::Spanned;

use super::super::{OAuth, Password, Sms, SmsHow, Smtp, SmtpLogin, SmtpTls, file};
use super::{Check, is_loopback};
use crate::notify::sms::TWILIO;
use crate::notify::{BodyForm, TwilioSender};

/// How long one text message may take, where nothing is said.
const SMS_TIMEOUT: Duration = Duration::from_secs(10);

/// What the tables say.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) relays: Vec<Smtp>,
    pub(super) sms: Vec<Sms>,
    pub(super) alerts: Vec<String>,
}

impl Check<'_> {
    /// All relays, `[smtp]` first; never none.
    pub(super) fn relays(&mut self, smtp: Spanned<file::Smtp>) -> Option<Vec<Smtp>> {
        let mut smtp = smtp.into_inner();
        let from = self.mailbox(&smtp.from);
        let reply_to = match smtp.reply_to.take() {
            Some(reply_to) => self.mailbox(&reply_to).map(Some),
            None => Some(None),
        };
        let others = core::mem::take(&mut smtp.fallback);
        let first = file::Fallback {
            host: smtp.host,
            port: smtp.port,
            tls: smtp.tls,
            allow_plaintext: smtp.allow_plaintext,
            ca_file: smtp.ca_file,
            username: smtp.username,
            password: smtp.password,
            password_file: smtp.password_file,
            timeout_seconds: smtp.timeout_seconds,
            oauth: smtp.oauth,
        };
        let all = std::iter::once(first).chain(others.into_iter().map(Spanned::into_inner));
        let relays: Vec<_> = all.map(|relay| self.relay(relay, from.clone(), reply_to.clone())).collect();
        relays.into_iter().collect()
    }

    fn relay(
        &mut self,
        smtp: file::Fallback,
        from: Option<Mailbox>,
        reply_to: Option<Option<Mailbox>>,
    ) -> Option<Smtp> {
        let tls = smtp.tls.unwrap_or(SmtpTls::Starttls);
        let port = match (&smtp.port, tls) {
            (Some(port), _) => self.port(*port.as_ref(), port.span()),
            (None, SmtpTls::None) => Some(25),
            (None, SmtpTls::Starttls) => Some(587),
            (None, SmtpTls::Implicit) => Some(465),
        };
        let host = smtp.host.as_ref().clone();
        if ServerName::try_from(host.as_str()).is_err() {
            self.wrong(smtp.host.span(), "this is no host name", "a name or an IP address, without a port");
        }
        let allowed = smtp.allow_plaintext.as_ref();
        match (tls, allowed) {
            (SmtpTls::None, allowed) if !is_loopback(&host) && !allowed.is_some_and(|allowed| *allowed.as_ref()) => {
                let message =
                    format!("with tls = \"none\" the passcodes would cross the network to {host} in the clear");
                let expected = "tls = \"starttls\" or \"implicit\", or allow_plaintext = true where that is meant";
                self.wrong(smtp.host.span(), message, expected);
            }
            (SmtpTls::Starttls | SmtpTls::Implicit, Some(allowed)) if *allowed.as_ref() => {
                self.wrong(
                    allowed.span(),
                    "there is nothing to allow: mail goes by TLS",
                    "no allow_plaintext, or tls = \"none\"",
                );
            }
            (SmtpTls::None | SmtpTls::Starttls | SmtpTls::Implicit, _) => {}
        }
        if let (Some(ca_file), SmtpTls::None) = (&smtp.ca_file, tls) {
            self.wrong(
                ca_file.span(),
                "ca_file is of no use with tls = \"none\"",
                "tls = \"starttls\" or \"implicit\"",
            );
        }
        let (login, oauth) = match smtp.oauth {
            None => (self.login(smtp.username, smtp.password, smtp.password_file, tls), Some(None)),
            Some(oauth) => {
                let password = smtp.password.as_ref().or(smtp.password_file.as_ref());
                if let Some(password) = password {
                    let expected = "no password: with [smtp.oauth] the relay gets an access token";
                    self.wrong(password.span(), "a password beside access tokens", expected);
                }
                (Some(None), self.oauth(oauth, smtp.username, tls).map(Some))
            }
        };
        let timeout = self.seconds(smtp.timeout_seconds.as_ref(), Duration::from_secs(10), 300);
        Some(Smtp {
            host,
            port: port?,
            tls,
            ca_file: smtp.ca_file.map(|name| self.file_name(&name)),
            login: login?,
            oauth: oauth?,
            from: from?,
            reply_to: reply_to?,
            timeout: timeout?,
        })
    }

    /// `None`: there are mistakes; `Some(None)`: no login.
    fn login(
        &mut self,
        username: Option<Spanned<String>>,
        password: Option<Spanned<String>>,
        password_file: Option<Spanned<String>>,
        tls: SmtpTls,
    ) -> Option<Option<SmtpLogin>> {
        let password = self.secret(password, password_file, "password")?;
        match (username, password) {
            (None, None) => Some(None),
            (Some(username), Some((span, password))) => {
                if tls == SmtpTls::None {
                    let message = "with tls = \"none\" the password would cross the network readable";
                    self.wrong(span, message, "tls = \"starttls\" or \"implicit\", or no username and no password");
                    return None;
                }
                Some(Some(SmtpLogin { username: username.into_inner(), password }))
            }
            (Some(username), None) => {
                self.wrong(username.span(), "username has no password", "password_file or password beside it");
                None
            }
            (None, Some((span, _))) => {
                self.wrong(span, "a password without a user name", "username beside it");
                None
            }
        }
    }

    /// A secret that stands here or in a file; `None`: there are mistakes; `Some(None)`: there is none.
    pub(super) fn secret(
        &mut self,
        here: Option<Spanned<String>>,
        file: Option<Spanned<String>>,
        what: &str,
    ) -> Option<Option<(Range<usize>, Password)>> {
        match (here, file) {
            (Some(here), Some(file)) => {
                let (span, other) = (file.span(), here.span());
                let message = format!("the {} is given twice", what.replace('_', " "));
                self.clash(span, message, format!("{what} or {what}_file"), other, "here too");
                None
            }
            (Some(here), None) => Some(Some((here.span(), Password::Here(Secret::new(here.into_inner()))))),
            (None, Some(file)) => Some(Some((file.span(), Password::File(self.file_name(&file))))),
            (None, None) => Some(None),
        }
    }

    fn oauth(&mut self, oauth: Spanned<file::OAuth>, username: Option<Spanned<String>>, tls: SmtpTls) -> Option<OAuth> {
        let span = oauth.span();
        let oauth = oauth.into_inner();
        if tls == SmtpTls::None {
            let message = "with tls = \"none\" the access token would cross the network readable";
            self.wrong(span.clone(), message, "tls = \"starttls\" or \"implicit\"");
        }
        if username.is_none() {
            self.wrong(span.clone(), "nobody is named for whom the access token is", "username in the table above");
        }
        let url = self.https(&oauth.token_url);
        let client_secret = self.secret(oauth.client_secret, oauth.client_secret_file, "client_secret");
        let refresh_token = self.secret(oauth.refresh_token, oauth.refresh_token_file, "refresh_token");
        if matches!((&client_secret, &refresh_token), (Some(None), Some(None))) {
            let expected = "client_secret_file, or refresh_token_file, or both";
            self.wrong(span, "there is neither a secret nor a refresh token", expected);
        }
        Some(OAuth {
            username: username?.into_inner(),
            token_url: url?,
            client_id: oauth.client_id.into_inner(),
            client_secret: client_secret?.map(|(_, secret)| secret),
            refresh_token: refresh_token?.map(|(_, secret)| secret),
            scope: oauth.scope.map(Spanned::into_inner),
            ca_file: oauth.ca_file.map(|name| self.file_name(&name)),
        })
    }

    fn https(&mut self, url: &Spanned<String>) -> Option<String> {
        let right = reqwest::Url::parse(url.as_ref()).is_ok_and(|parsed| {
            parsed.scheme() == "https"
                && parsed.has_host()
                && parsed.username().is_empty()
                && parsed.password().is_none()
        });
        if !right {
            self.wrong(url.span(), format!("`{}` is no address of this kind", url.as_ref()), "\"https://NAME/...\"");
        }
        right.then(|| url.as_ref().clone())
    }

    /// A provider of text messages, and where its name stands.
    pub(super) fn sms(&mut self, sms: file::Sms) -> Option<(Sms, Range<usize>)> {
        let at = sms.name.span();
        let named = !sms.name.as_ref().is_empty()
            && sms.name.as_ref().chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter));
        if !named {
            self.wrong(at.clone(), "this is no name", "letters, digits, - . _");
        }
        let secret = self.secret(sms.secret, sms.secret_file, "secret");
        let timeout = self.seconds(sms.timeout_seconds.as_ref(), SMS_TIMEOUT, 60);
        let how = match sms.kind.as_ref() {
            file::SmsKind::Twilio => {
                for (what, span) in [
                    ("method", sms.method.as_ref().map(Spanned::span)),
                    ("content", sms.content.as_ref().map(Spanned::span)),
                    ("body", sms.body.as_ref().map(Spanned::span)),
                    ("headers", sms.headers.values().next().map(Spanned::span)),
                    ("success", sms.success.first().map(Spanned::span)),
                ] {
                    if let Some(span) = span {
                        self.wrong(span, format!("{what} is of no use with kind = \"twilio\""), "kind = \"http\"");
                    }
                }
                if let Some(None) = secret {
                    let expected = "secret_file: the auth token, or with api_key that key's secret";
                    self.wrong(at.clone(), "Twilio needs a secret", expected);
                }
                let url = match &sms.url {
                    Some(url) => self.https(url),
                    None => Some(TWILIO.to_owned()),
                };
                self.twilio(&at, url, sms.account, sms.api_key, sms.from, sms.service)
            }
            file::SmsKind::Http => {
                for (what, key) in [
                    ("account", &sms.account),
                    ("api_key", &sms.api_key),
                    ("from", &sms.from),
                    ("service", &sms.service),
                ] {
                    if let Some(key) = key {
                        let expected = "kind = \"twilio\", or the value in body";
                        self.wrong(key.span(), format!("{what} is of no use with kind = \"http\""), expected);
                    }
                }
                let url = match &sms.url {
                    Some(url) => self.https(url),
                    None => {
                        self.wrong(at.clone(), "nobody is named to send to", "url = \"https://...\"");
                        None
                    }
                };
                let form = sms.content.map_or(BodyForm::Json, Spanned::into_inner);
                self.http(&at, url, sms.method, sms.headers, sms.body, (form, sms.success))
            }
        };
        Some((
            Sms {
                name: sms.name.into_inner(),
                how: how?,
                secret: secret?.map(|(_, secret)| secret),
                timeout: timeout?,
                ca_file: sms.ca_file.map(|name| self.file_name(&name)),
            },
            at,
        ))
    }

    fn twilio(
        &mut self,
        at: &Range<usize>,
        url: Option<String>,
        account: Option<Spanned<String>>,
        api_key: Option<Spanned<String>>,
        from: Option<Spanned<String>>,
        service: Option<Spanned<String>>,
    ) -> Option<SmsHow> {
        let is_sid = |sid: &str, kind: &str| {
            sid.len() == 34 && sid.starts_with(kind) && sid.bytes().skip(2).all(|byte| byte.is_ascii_hexdigit())
        };
        for (sid, kind) in [(&account, "AC"), (&api_key, "SK"), (&service, "MG")] {
            if let Some(sid) = sid.as_ref().filter(|sid| !is_sid(sid.as_ref(), kind)) {
                self.wrong(sid.span(), "this is no SID", format!("{kind} and 32 hexadecimal digits"));
            }
        }
        if account.is_none() {
            self.wrong(at.clone(), "the account is missing", "account = \"AC...\"");
        }
        let sender = match (from, service) {
            (Some(from), None) => Some(TwilioSender::From(from.into_inner())),
            (None, Some(service)) => Some(TwilioSender::Service(service.into_inner())),
            (Some(from), Some(service)) => {
                let (span, other) = (service.span(), from.span());
                self.clash(span, "two senders", "from or service", other, "the other one");
                None
            }
            (None, None) => {
                self.wrong(at.clone(), "the sender is missing", "from = \"+1...\", or service = \"MG...\"");
                None
            }
        };
        let account = account?.into_inner();
        let username = api_key.map_or_else(|| account.clone(), Spanned::into_inner);
        Some(SmsHow::Twilio { url: url?, account, username, sender: sender? })
    }

    fn http(
        &mut self,
        at: &Range<usize>,
        url: Option<String>,
        method: Option<Spanned<String>>,
        headers: std::collections::BTreeMap<String, Spanned<String>>,
        body: Option<Spanned<String>>,
        (form, success): (BodyForm, Vec<Spanned<u16>>),
    ) -> Option<SmsHow> {
        let method = match method {
            Some(method) if !["POST", "PUT"].contains(&method.as_ref().as_str()) => {
                self.wrong(method.span(), format!("`{}` is not possible", method.as_ref()), "\"POST\" or \"PUT\"");
                None
            }
            Some(method) => Some(method.into_inner()),
            None => Some("POST".to_owned()),
        };
        for status in &success {
            if !(200..300).contains(status.as_ref()) {
                self.wrong(status.span(), "this status does not say that a message was taken", "200 to 299");
            }
        }
        let Some(body) = body else {
            self.wrong(at.clone(), "nothing is said to the provider", "body with {to} and {text}");
            return None;
        };
        for variable in ["{to}", "{text}"] {
            if !body.as_ref().contains(variable) {
                self.wrong(body.span(), format!("{variable} is missing"), "a body with {to} and {text}");
            }
        }
        let headers = headers.into_iter().map(|(name, value)| (name, value.into_inner())).collect();
        let success = success.into_iter().map(Spanned::into_inner).collect();
        Some(SmsHow::Http { url: url?, method: method?, headers, body: body.into_inner(), form, success })
    }

    /// No two providers have one name.
    pub(super) fn sms_names(&mut self, providers: &[Option<(Sms, Range<usize>)>]) {
        for (index, (sms, span)) in providers.iter().flatten().enumerate() {
            let before = providers.iter().flatten().take(index).find(|(other, _)| other.name == sms.name);
            if let Some((_, other)) = before {
                let message = format!("a second provider is named `{}`", sms.name);
                self.clash(span.clone(), message, "another name", other.clone(), "the first one");
            }
        }
    }

    /// An operator's address.
    pub(super) fn alert(&mut self, address: &Spanned<String>) -> Option<String> {
        self.mailbox(address).map(|mailbox| mailbox.email.to_string())
    }
}

#[cfg(test)]
mod tests;
