//! What `[audit]` means: sinks, strictness, retention.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::super::audit::{Audit, Sink, SinkTls, Target};
use super::super::{Address, Password, file};
use super::{Check, is_loopback, parse_address};
use crate::audit::format::{Format, Syslog};
use policy::{Logging, Secret};

/// The fewest and the most days that entries stay: PCI DSS 10.5.1 wants the last three months at hand.
const RETENTION: (u32, u32) = (90, 36_500);
/// Twelve months and some.
const RETENTION_DEFAULT: u32 = 400;
/// How far behind a required sink may be.
const BEHIND: (Duration, u32) = (Duration::from_secs(60), 86_400);
/// The fewest characters of the secret that signs a webhook's requests.
pub(in crate::config) const WEBHOOK_SECRET_MIN: usize = 16;
/// authpriv.
const FACILITY: u8 = 10;
/// The number that RFC 5612 sets aside for examples.
const ENTERPRISE: u32 = 32_473;

impl Check<'_> {
    pub(super) fn audit(&mut self, audit: file::Audit, store: &Path) -> Option<Audit> {
        let strict = audit.mode.as_ref().is_some_and(|mode| *mode.as_ref() == file::AuditMode::Strict);
        let key_file = audit
            .key_file
            .as_ref()
            .map_or_else(|| store.with_extension("audit-key"), |key_file| self.path(key_file.as_ref()));
        let retention = match &audit.retention_days {
            None => Some(RETENTION_DEFAULT),
            Some(days) if (RETENTION.0..=RETENTION.1).contains(days.as_ref()) => Some(*days.as_ref()),
            Some(days) => {
                let message = format!("entries cannot stay for {} days", days.as_ref());
                self.wrong(days.span(), message, format!("days from {} to {}", RETENTION.0, RETENTION.1));
                None
            }
        };
        let mut names: HashMap<String, Range<usize>> = HashMap::new();
        let mut sinks = Vec::new();
        for sink in audit.sink {
            let sink = sink.into_inner();
            if let Some(other) = names.insert(sink.name.as_ref().clone(), sink.name.span()) {
                let message = format!("a second sink is named `{}`", sink.name.as_ref());
                self.clash(sink.name.span(), message, "another name", other, "the first one");
            }
            sinks.push(self.sink(sink, strict));
        }
        let sinks: Vec<Sink> = sinks.into_iter().collect::<Option<_>>()?;
        if let Some(mode) = audit.mode.filter(|_| strict && sinks.iter().all(|sink| sink.required.is_none())) {
            let message = "strict asks nothing where no sink is required";
            self.wrong(mode.span(), message, "required = true in a table [[audit.sink]]");
        }
        let archive = audit.archive.map(|archive| self.path(archive.as_ref()));
        Some(Audit { strict, key_file, archive, retention_days: retention?, sinks })
    }

    fn sink(&mut self, sink: file::Sink, strict: bool) -> Option<Sink> {
        let name = self.name(&sink.name);
        let is_webhook = sink.webhook.is_some();
        self.fits_the_target(&sink);
        let file::Sink { file, address, webhook, secret, secret_file, tls, .. } = sink;
        let is_file = file.is_some();
        let target = match (file, address, webhook) {
            (Some(one), Some(other), _) | (Some(one), None, Some(other)) | (None, Some(one), Some(other)) => {
                let message = "a sink is a file, an address or a webhook";
                self.clash(other.span(), message, "one of them", one.span(), "the other one");
                None
            }
            (None, None, None) => {
                self.wrong(sink.name.span(), "the sink leads nowhere", "file, address or webhook beside the name");
                None
            }
            (Some(file), None, None) => match tls {
                Some(tls) => {
                    self.wrong(tls.span(), "a file needs no TLS", "address instead of file, or no such table");
                    None
                }
                None => Some(Target::File(self.path(file.as_ref()))),
            },
            (None, Some(address), None) => self.receiver(&address, tls, sink.allow_plaintext.as_ref()),
            (None, None, Some(webhook)) => self.webhook(&webhook, (secret, secret_file), tls),
        };
        let behind = self.seconds(sink.behind_seconds.as_ref(), BEHIND.0, BEHIND.1);
        let is_required = sink.required.as_ref().is_some_and(|required| *required.as_ref());
        if let Some(required) = sink.required.filter(|_| is_required && !strict) {
            let message = "a sink is required with mode = \"strict\" only";
            self.wrong(required.span(), message, "mode = \"strict\" in [audit], or no such line");
        }
        let facility = sink.facility.as_ref().map_or(FACILITY, |facility| *facility.as_ref());
        if let Some(written) = sink.facility.filter(|_| facility > 23) {
            self.wrong(
                written.span(),
                format!("{facility} is no facility"),
                "a whole number from 0 to 23 (RFC 5424 §6.2.1)",
            );
        }
        let only_alerts = sink.only_alerts.unwrap_or(false);
        if let Some(level) = sink.level.as_ref().filter(|_| only_alerts) {
            self.wrong(level.span(), "with only_alerts no level counts", "one of the two lines");
        }
        let enterprise = sink.enterprise.map_or(ENTERPRISE, Spanned::into_inner);
        let default = if is_file || is_webhook { Format::Json } else { Format::Rfc5424 };
        Some(Sink {
            name: name?,
            target: target?,
            format: sink.format.map_or(default, Spanned::into_inner),
            level: sink.level.map_or(Logging::All, Spanned::into_inner),
            only_alerts,
            required: if is_required { Some(behind?) } else { None },
            syslog: Syslog { facility, enterprise },
        })
    }

    /// Complains of lines that nothing reads, since the sink is of another kind.
    fn fits_the_target(&mut self, sink: &file::Sink) {
        let (is_file, is_webhook) = (sink.file.is_some(), sink.webhook.is_some());
        if let Some(allowed) = sink.allow_plaintext.as_ref().filter(|_| is_file || is_webhook) {
            let what = if is_file { "a file" } else { "a webhook" };
            self.wrong(allowed.span(), format!("allow_plaintext is of no use with {what}"), "no such line");
        }
        if let Some(secret) = sink.secret.as_ref().or(sink.secret_file.as_ref()).filter(|_| !is_webhook) {
            self.wrong(secret.span(), "only a webhook's requests are signed", "webhook beside it, or no such line");
        }
        if !is_webhook {
            return;
        }
        if let Some(format) = sink.format.as_ref().filter(|format| *format.as_ref() != Format::Json) {
            self.wrong(format.span(), "a webhook gets JSON", "format = \"json\", or no such line");
        }
        let spans = [sink.facility.as_ref().map(Spanned::span), sink.enterprise.as_ref().map(Spanned::span)];
        for span in spans.into_iter().flatten() {
            self.wrong(span, "this is for syslog receivers", "no such line beside a webhook");
        }
    }

    fn webhook(
        &mut self,
        webhook: &Spanned<String>,
        (here, file): (Option<Spanned<String>>, Option<Spanned<String>>),
        tls: Option<Spanned<file::SinkTls>>,
    ) -> Option<Target> {
        // No message tells the address: often it is all that keeps others from sending there.
        let expected = "\"https://NAME/...\" (http:// only to this machine)";
        let url = reqwest::Url::parse(webhook.as_ref()).ok();
        let to = url.as_ref().and_then(|url| {
            let name = url.host_str()?.trim_matches(['[', ']']).to_owned();
            let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&name));
            let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
            (is_safe && is_plain).then_some(Address { name, port: url.port_or_known_default()? })
        });
        let secret = self.secret(here, file, "secret");
        if let Some(Some((span, Password::Here(secret)))) = &secret
            && secret.expose().len() < WEBHOOK_SECRET_MIN
        {
            let expected = format!("at least {WEBHOOK_SECRET_MIN} characters");
            self.wrong(span.clone(), "the secret is too short", expected);
        }
        let (Some(url), Some(to)) = (url, to) else {
            self.wrong(webhook.span(), "this is no address of a webhook", expected);
            return None;
        };
        let is_https = url.scheme() == "https";
        let tls = match tls {
            Some(tls) if !is_https => {
                self.wrong(tls.span(), "http:// is spoken without TLS", "https:// above, or no such table");
                return None;
            }
            Some(tls) => {
                if let Some(name) = &tls.as_ref().server_name {
                    self.wrong(name.span(), "a webhook is named by its address", "no such line");
                }
                Some(self.sink_tls(tls, &to, webhook.span())?)
            }
            None if is_https => {
                let none = file::SinkTls { ca_file: None, pins: None, server_name: None, certificate: None, key: None };
                Some(self.sink_tls(Spanned::new(webhook.span(), none), &to, webhook.span())?)
            }
            None => None,
        };
        Some(Target::Webhook {
            url: Secret::new(webhook.as_ref().clone()),
            address: to,
            secret: secret?.map(|(_, secret)| secret),
            tls,
        })
    }

    fn receiver(
        &mut self,
        address: &Spanned<String>,
        tls: Option<Spanned<file::SinkTls>>,
        allowed: Option<&Spanned<bool>>,
    ) -> Option<Target> {
        let span = address.span();
        // RFC 5425 §4.1: 6514; without TLS there is no port of its own, and 601 is the one for RFC 3195.
        let Some(to) = parse_address(address.as_ref(), if tls.is_some() { 6514 } else { 601 }) else {
            let message = format!("`{}` is no address", address.as_ref());
            self.wrong(span, message, "a name or IP address, with :PORT or without");
            return None;
        };
        match tls {
            Some(tls) => self.sink_tls(tls, &to, span).map(|tls| Target::Syslog { address: to, tls: Some(tls) }),
            None if is_loopback(&to.name) || allowed.is_some_and(|allowed| *allowed.as_ref()) => {
                Some(Target::Syslog { address: to, tls: None })
            }
            None => {
                let message = format!("without TLS the audit would cross the network to {} in the clear", to.name);
                self.wrong(span, message, "a table [audit.sink.tls], or allow_plaintext = true where that is meant");
                None
            }
        }
    }

    fn sink_tls(&mut self, tls: Spanned<file::SinkTls>, to: &Address, at: Range<usize>) -> Option<SinkTls> {
        let span = tls.span();
        let file::SinkTls { ca_file, pins, server_name, certificate, key } = tls.into_inner();
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((self.file_name(&certificate), self.file_name(&key))),
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => {
                self.wrong(one.span(), "a certificate and its key go together", "certificate and key");
                return None;
            }
        };
        let trust = file::HostTls { ca_file, pins, server_name };
        let trust = self.host_tls(Spanned::new(span, trust), to, at)?;
        Some(SinkTls { trust, identity })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Config, ConfigError};
    use super::*;

    const GOOD: &str = r#"
[smtp]
host = "mail.example.com"
from = "sallyport@example.com"
[[host]]
name = "PROD"
address = "as400.example.com"
[[listener]]
name = "terminals"
address = "0.0.0.0:23"
host = "PROD"
"#;

    fn check(text: &str) -> Result<Audit, String> {
        let config = Config::parse(Path::new("/etc/sallyport/sallyport.toml"), format!("{GOOD}{text}"));
        config.map(|config| config.audit).map_err(|error| match error {
            ConfigError::Invalid(problems) => problems[0].message.clone(),
            ConfigError::Read { .. } => panic!("nothing is read"),
        })
    }

    #[test]
    fn without_a_word_there_are_defaults() {
        let audit = check("").unwrap();
        assert_eq!(audit.key_file, Path::new("/var/lib/sallyport/sallyport.audit-key"));
        assert_eq!((audit.strict, audit.retention_days, audit.archive, audit.sinks.len()), (false, 400, None, 0));
        let sinks = check(
            "[[audit.sink]]\nname = \"a\"\nfile = \"a.jsonl\"\n[[audit.sink]]\nname = \"b\"\naddress = \"siem.example.com\"\n\
             [audit.sink.tls]\nca_file = \"ca.pem\"",
        );
        let sinks = sinks.unwrap().sinks;
        assert_eq!((sinks[0].format, sinks[1].format), (Format::Json, Format::Rfc5424));
        let Target::Syslog { address, tls: Some(_) } = &sinks[1].target else { panic!("{:?}", sinks[1]) };
        assert_eq!(address.port, 6514);
    }

    #[test]
    fn the_address_of_a_webhook_is_told_nowhere() {
        let sink = "[[audit.sink]]\nname = \"a\"\nwebhook = \"https://hook.example.com/T0/SeCrEt\"\n";
        let audit = check(sink).unwrap();
        assert!(!format!("{audit:?}").contains("SeCrEt") && format!("{audit:?}").contains("hook.example.com"));
        for text in [format!("{sink}format = \"cef\""), sink.replace("https", "ftp")] {
            let config = Config::parse(Path::new("/etc/sallyport/sallyport.toml"), format!("{GOOD}{text}"));
            let error = config.unwrap_err().to_string();
            assert!(!error.contains("SeCrEt") && error.contains("/etc/sallyport/sallyport.toml:1"), "{error}");
        }
    }

    #[test]
    fn mistakes() {
        let sink = |lines: &str| format!("[[audit.sink]]\nname = \"a\"\n{lines}");
        let strict = |lines: &str| format!("[audit]\nmode = \"strict\"\n{}", sink(lines));
        for (text, about) in [
            (sink(""), "leads nowhere"),
            (sink("file = \"a\"\naddress = \"127.0.0.1\""), "a file, an address or a webhook"),
            (sink("file = \"a\"\nwebhook = \"https://x/\""), "a file, an address or a webhook"),
            (sink("webhook = \"http://hook.example.com/abc\""), "no address of a webhook"),
            (sink("webhook = \"https://user:word@hook.example.com/\""), "no address of a webhook"),
            (sink("webhook = \"hook.example.com\""), "no address of a webhook"),
            (sink("webhook = \"https://x/\"\nformat = \"cef\""), "a webhook gets JSON"),
            (sink("webhook = \"https://x/\"\nfacility = 10"), "for syslog receivers"),
            (sink("webhook = \"https://x/\"\nallow_plaintext = true"), "of no use with a webhook"),
            (sink("webhook = \"https://x/\"\nsecret = \"short\""), "the secret is too short"),
            (sink("webhook = \"https://x/\"\nsecret = \"0123456789abcdef\"\nsecret_file = \"s\""), "given twice"),
            (sink("webhook = \"https://x/\"\n[audit.sink.tls]\nserver_name = \"y\""), "named by its address"),
            (sink("webhook = \"http://127.0.0.1:1/\"\n[audit.sink.tls]\nca_file = \"y\""), "without TLS"),
            (sink("file = \"a\"\nsecret = \"0123456789abcdef\""), "only a webhook's requests are signed"),
            (sink("file = \"a\"\nlevel = \"all\"\nonly_alerts = true"), "no level counts"),
            (sink("file = \"a\"\n[audit.sink.tls]"), "needs no TLS"),
            (sink("file = \"a\"\nallow_plaintext = true"), "of no use with a file"),
            (sink("address = \"siem.example.com:514\""), "in the clear"),
            (sink("address = \"a b\""), "`a b` is no address"),
            (sink("file = \"a\"\nrequired = true"), "strict"),
            (sink("file = \"a\"\nformat = \"xml\""), "xml"),
            (sink("file = \"a\"\nfacility = 24"), "24 is no facility"),
            (sink("address = \"siem.example.com\"\n[audit.sink.tls]\nkey = \"k\""), "go together"),
            (strict("file = \"a\""), "strict asks nothing"),
            (strict("file = \"a\"\nrequired = true\nbehind_seconds = 0"), "0 s is not possible"),
            (format!("{}\n{}", sink("file = \"a\""), sink("file = \"b\"")), "a second sink is named `a`"),
            ("[audit]\nretention_days = 89".to_owned(), "cannot stay for 89 days"),
        ] {
            let message = check(&text).map(|audit| format!("{audit:?}")).expect_err(&text);
            assert!(message.contains(about), "{text}: {message}");
        }
        for text in [
            strict("file = \"a\"\nrequired = true"),
            sink("address = \"127.0.0.1:514\""),
            sink("webhook = \"http://127.0.0.1:8080/hook\"\nonly_alerts = true"),
            sink(
                "webhook = \"https://hook.example.com/abc\"\nsecret_file = \"s\"\n[audit.sink.tls]\nca_file = \"ca.pem\"",
            ),
            sink("address = \"siem.example.com:514\"\nallow_plaintext = true"),
        ] {
            assert!(check(&text).is_ok(), "{text}");
        }
    }
}
