//! From what is written to what it means: defaults, names, addresses, and whether the parts fit each other.
//!
//! All mistakes of meaning are collected, each with its own place; a mistake of shape (syntax, type, unknown key) ends
//! the reading at once, since nothing after it can be trusted.

mod audit;
mod delivery;
mod factor;
mod ftp;
mod metrics;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use lettre::message::Mailbox;
use policy::Service;
use proxy_tn5250::gate;
use proxy_tn5250::signon::Taught;
use rustls::pki_types::ServerName;
use toml::Spanned;

pub(super) use audit::WEBHOOK_SECRET_MIN;
pub(super) use factor::RADIUS_SECRET_MIN;

use super::problem::{Context, Problem, Source};
use super::{
    Address, Audit, Config, ConfigError, FileName, Gateway, Host, HostTls, HostTrust, Limits, Listener, ListenerTls,
    Metrics, PROMPTS_TOGETHER, Radius, Yubikey, file,
};
use crate::tls::Pin;
use delivery::Delivery;

/// The most characters of a name that stands on our screens.
const NAME_MAX: usize = 20;
/// The most bytes of the control socket's path: what unix(7) allows (`sun_path` less its final zero), less what a process
/// that another one took over from puts behind it (`.` and its number).
const SOCKET_PATH_MAX: usize = 107 - 11;
/// The rows and columns of the largest display.
const DISPLAY: (u8, u8) = (27, 132);

const STORE: &str = "/var/lib/sallyport/sallyport.db";

/// Checks what stands in `source`.
pub(super) fn check(source: Source) -> Result<Config, ConfigError> {
    let file = parse(&source).map_err(|problem| ConfigError::Invalid(vec![problem]))?;
    let mut check = Check { source: &source, problems: Vec::new() };
    let parts = check.file(file);
    let mut problems = check.problems;
    match parts {
        Some((gateway, delivery, hosts, listeners, limits, radius, yubikey, audit, metrics)) if problems.is_empty() => {
            let Delivery { mut relays, sms, alerts } = delivery;
            let smtp_fallbacks = relays.split_off(1);
            match relays.pop() {
                Some(smtp) => Ok(Config {
                    gateway,
                    smtp,
                    smtp_fallbacks,
                    sms,
                    alerts,
                    hosts,
                    listeners,
                    limits,
                    radius,
                    yubikey,
                    audit,
                    metrics,
                    source,
                }),
                None => Err(ConfigError::Invalid(problems)),
            }
        }
        _ => {
            problems.sort_by_key(|problem| (problem.line, problem.column));
            Err(ConfigError::Invalid(problems))
        }
    }
}

fn parse(source: &Source) -> Result<file::File, Problem> {
    let shape = |error: toml::de::Error, path: &str| {
        let span = error.span().unwrap_or(0..0);
        let secret = source.is_secret(&span);
        let (message, expected) = wording(error.message(), path, secret);
        source.problem(span, message, expected, None)
    };
    let deserializer = toml::de::Deserializer::parse(source.text()).map_err(|error| shape(error, ""))?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        shape(error.into_inner(), &path)
    })
}

/// Puts what toml and serde say into what is wrong and what was expected, in the words of a configuration file.
fn wording(message: &str, path: &str, secret: bool) -> (String, String) {
    if secret {
        return ("this value cannot be read".into(), "a string in quotes".into());
    }
    let path = path.replace(".$__serde_spanned_private_value", "").replace("$__serde_spanned_private_value", "");
    let (wrong, expected) = match message.split_once(", expected ") {
        Some((wrong, expected)) => (wrong, expected),
        None => (message, ""),
    };
    let mut wrong = wrong.replace("unknown field", "unknown key").replace("unknown variant", "unknown value");
    let mut expected = match expected {
        "u8" => "a whole number from 0 to 255".into(),
        "u16" => "a whole number from 0 to 65535".into(),
        "u32" => "a whole number of 0 or more".into(),
        "a tuple of size 2" => "[row, column]".into(),
        other => other.strip_prefix("struct ").map_or_else(|| other.into(), |_| "a table".to_owned()),
    };
    if let Some(key) = wrong.strip_prefix("missing field ") {
        expected = format!("a line {} = ...", key.trim_matches('`'));
        wrong = format!("the key {key} is missing");
    }
    if !path.is_empty() && path != "." && !wrong.starts_with("unknown key") {
        wrong = format!("{path}: {wrong}");
    }
    if expected.is_empty() {
        expected = "valid TOML".into();
    }
    (wrong, expected)
}

type Parts = (Gateway, Delivery, Vec<Host>, Vec<Listener>, Limits, Option<Radius>, Option<Yubikey>, Audit, Metrics);

struct Check<'a> {
    source: &'a Source,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, expected: impl Into<String>) {
        self.problems.push(self.source.problem(span, message.into(), expected.into(), None));
    }

    fn clash(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        expected: impl Into<String>,
        other: Range<usize>,
        label: impl Into<String>,
    ) {
        let context = Context { span: other, label: label.into() };
        self.problems.push(self.source.problem(span, message.into(), expected.into(), Some(context)));
    }

    fn file(&mut self, file: file::File) -> Option<Parts> {
        let gateway = self.gateway(file.gateway);
        let limits = self.limits(&file.limits);
        let store = gateway.as_ref().map_or(Path::new(STORE), |gateway| &gateway.store);
        let audit = self.audit(file.audit, store);
        let sms: Vec<_> = file.sms.into_iter().map(|sms| self.sms(sms.into_inner())).collect();
        self.sms_names(&sms);
        let alerts: Vec<_> = file.alerts.email.iter().map(|address| self.alert(address)).collect();
        let relays = match file.smtp {
            Some(smtp) => self.relays(smtp),
            None => {
                let message = "there is no mail relay, so no passcode could be sent";
                self.wrong(0..0, message, "a table [smtp] with host and from");
                None
            }
        };
        let metrics = self.metrics(file.metrics);
        let mut names = HashMap::new();
        let mut hosts = Vec::new();
        for host in file.host {
            let host = host.into_inner();
            let span = host.name.span();
            if let Some((_, other)) = names.insert(host.name.as_ref().clone(), (hosts.len(), span.clone())) {
                let message = format!("a second host is named `{}`", host.name.as_ref());
                self.clash(span, message, "another name", other, "the first one");
            }
            hosts.push(self.host(host, limits));
        }
        if file.listener.is_empty() {
            self.wrong(0..0, "there is no listener, so nobody could connect", "at least one table [[listener]]");
        }
        let mut listeners: Vec<_> = self.listeners(file.listener, &names, &hosts, limits);
        let node = gateway.as_ref().map(|gateway| Arc::clone(&gateway.node));
        let radius = file.radius.map(|radius| self.radius(radius, node));
        let yubikey = file.yubikey.map(|yubikey| self.yubikey(yubikey.into_inner()));
        factor::wait_for_judges(&mut hosts, &mut listeners, (radius.as_ref(), yubikey.as_ref()));
        Some((
            gateway?,
            Delivery {
                relays: relays?,
                sms: sms.into_iter().map(|sms| sms.map(|(sms, _)| sms)).collect::<Option<_>>()?,
                alerts: alerts.into_iter().collect::<Option<_>>()?,
            },
            hosts.into_iter().collect::<Option<_>>()?,
            listeners.into_iter().collect::<Option<_>>()?,
            limits?,
            match radius {
                Some(radius) => Some(radius?),
                None => None,
            },
            match yubikey {
                Some(yubikey) => Some(yubikey?),
                None => None,
            },
            audit?,
            metrics?,
        ))
    }

    fn gateway(&mut self, gateway: file::Gateway) -> Option<Gateway> {
        let name = match gateway.name {
            Some(name) => self.name(&name),
            None => Some("SALLYPORT".into()),
        };
        let node = match gateway.node {
            Some(node) => self.name(&node),
            None => Some(rustix::system::uname().nodename().to_string_lossy().into()),
        };
        let time_zone = match gateway.time_zone {
            Some(zone) => match TimeZone::get(zone.as_ref()) {
                Ok(time_zone) => Some(time_zone),
                Err(_) => {
                    let message = format!("`{}` is no time zone that this system knows", zone.as_ref());
                    self.wrong(zone.span(), message, "a name such as \"Europe/Berlin\"");
                    None
                }
            },
            None => Some(TimeZone::system()),
        };
        let store = gateway.store.as_ref().map_or_else(|| STORE.into(), |store| self.path(store.as_ref()));
        let key_file = gateway
            .key_file
            .as_ref()
            .map_or_else(|| store.with_extension("key"), |key_file| self.path(key_file.as_ref()));
        let control = match &gateway.control {
            Some(control) => self.path(control.as_ref()),
            None => store.with_extension("sock"),
        };
        if control.as_os_str().len() > SOCKET_PATH_MAX {
            let span = gateway.control.or(gateway.store).map_or(0..0, |path| path.span());
            let message = format!("the control socket's path `{}` is too long", control.display());
            self.wrong(span, message, format!("a path `control` of at most {SOCKET_PATH_MAX} bytes"));
        }
        Some(Gateway { name: name?, node: node?, time_zone: time_zone?, store, key_file, control })
    }

    fn host(&mut self, host: file::Host, limits: Option<Limits>) -> Option<Host> {
        let name = self.name(&host.name);
        let default_port = if host.tls.is_some() { 992 } else { 23 };
        let address = parse_address(host.address.as_ref(), default_port);
        if address.is_none() {
            let message = format!("`{}` is no address", host.address.as_ref());
            self.wrong(host.address.span(), message, "a name or IP address, with :PORT or without");
        }
        let tls = match (host.tls, &address) {
            (None, _) => Some(None),
            (Some(_), None) => None,
            (Some(tls), Some(address)) => self.host_tls(tls, address, host.address.span()).map(Some),
        };
        let ftp = match &address {
            Some(address) => self.ftp_host(host.ftp, address, tls.as_ref()),
            None => None,
        };
        let forms: Vec<_> = host.form.into_iter().map(|form| self.form(form)).collect();
        let limits = limits?;
        let gate = gate::Settings {
            order: host.order.map_or(gate::Order::PasswordFirst, Into::into),
            auto_sign_on: host.auto_sign_on.map_or(gate::AutoSignOn::Strip, Into::into),
            sign_on_fields: host.sign_on_fields.map_or(gate::SignOnFields::Refuse, Into::into),
            printers: host.printers.map_or(gate::Printers::Refuse, Into::into),
            forms: forms.into_iter().collect::<Option<_>>()?,
            limits: gate::Limits {
                sign_on: limits.sign_on,
                prompt: limits.prompt,
                proving: limits.prompt * PROMPTS_TOGETHER,
                ..gate::Limits::default()
            },
        };
        Some(Host { name: name?, address: address?, tls: tls?, gate: Arc::new(gate), ftp: ftp? })
    }

    fn host_tls(&mut self, tls: Spanned<file::HostTls>, address: &Address, at: Range<usize>) -> Option<HostTls> {
        let span = tls.span();
        let tls = tls.into_inner();
        let (name, at) = match &tls.server_name {
            Some(name) => (name.as_ref().as_str(), name.span()),
            None => (address.name.as_str(), at),
        };
        let server_name = ServerName::try_from(name.to_owned()).ok();
        if server_name.is_none() {
            self.wrong(at, format!("no certificate can be for `{name}`"), "server_name with a DNS name or IP address");
        }
        let trust = match (tls.ca_file, tls.pins) {
            (Some(ca_file), Some(pins)) => {
                let message = "ca_file and pins exclude each other";
                self.clash(pins.span(), message, "one of them", ca_file.span(), "the other one");
                None
            }
            (Some(ca_file), None) => Some(HostTrust::CaFile(self.file_name(&ca_file))),
            (None, Some(pins)) if pins.as_ref().is_empty() => {
                self.wrong(pins.span(), "an empty list of pins trusts no certificate at all", "at least one pin");
                None
            }
            (None, Some(pins)) => {
                let pins: Vec<_> = pins.into_inner().iter().map(|pin| self.pin(pin)).collect();
                pins.into_iter().collect::<Option<_>>().map(HostTrust::Pins)
            }
            (None, None) => Some(HostTrust::System),
        };
        Some(HostTls { trust: trust?, server_name: server_name?, span })
    }

    fn form(&mut self, form: file::Form) -> Option<Taught> {
        let user = self.position(&form.user);
        let password = self.position(&form.password);
        if form.user.as_ref() == form.password.as_ref() {
            let (span, other) = (form.password.span(), form.user.span());
            self.clash(span, "user and password cannot be one field", "another place", other, "the user field");
        }
        let texts: Vec<_> = form
            .texts
            .into_iter()
            .map(|text| {
                if text.text.as_ref().is_empty() {
                    self.wrong(text.text.span(), "an empty text stands everywhere", "a text of the sign-on display");
                }
                self.position(&text.at).map(|(row, column)| (row, column, text.text.into_inner()))
            })
            .collect();
        Some(Taught { user: user?, password: password?, texts: texts.into_iter().collect::<Option<_>>()? })
    }

    fn position(&mut self, position: &Spanned<(u8, u8)>) -> Option<(u8, u8)> {
        let (row, column) = *position.as_ref();
        let (rows, columns) = DISPLAY;
        if (1..=rows).contains(&row) && (1..=columns).contains(&column) {
            return Some((row, column));
        }
        let message = format!("no display has row {row}, column {column}");
        self.wrong(position.span(), message, format!("[row, column] from [1, 1] to [{rows}, {columns}]"));
        None
    }

    fn listeners(
        &mut self,
        listeners: Vec<Spanned<file::Listener>>,
        names_of_hosts: &HashMap<String, (usize, Range<usize>)>,
        hosts: &[Option<Host>],
        limits: Option<Limits>,
    ) -> Vec<Option<Listener>> {
        let mut names: HashMap<String, Range<usize>> = HashMap::new();
        let mut addresses: HashMap<SocketAddr, Range<usize>> = HashMap::new();
        let mut found = Vec::new();
        for listener in listeners {
            let listener = listener.into_inner();
            if let Some(other) = names.insert(listener.name.as_ref().clone(), listener.name.span()) {
                let message = format!("a second listener is named `{}`", listener.name.as_ref());
                self.clash(listener.name.span(), message, "another name", other, "the first one");
            }
            let span = listener.address.span();
            let listener = self.listener(listener, names_of_hosts, hosts, limits);
            if let Some(Listener { address, .. }) = listener
                && address.port() != 0
                && let Some(other) = addresses.insert(address, span.clone())
            {
                let message = format!("two listeners cannot share {address}");
                self.clash(span, message, "another address or port", other, "the first one");
            }
            found.push(listener);
        }
        found
    }

    fn listener(
        &mut self,
        listener: file::Listener,
        names_of_hosts: &HashMap<String, (usize, Range<usize>)>,
        hosts: &[Option<Host>],
        limits: Option<Limits>,
    ) -> Option<Listener> {
        let name = self.name(&listener.name);
        let service = match listener.service.as_ref().map(|service| (service.as_ref().as_str(), service.span())) {
            None => Some(Service::Telnet),
            Some((written, _)) if written == Service::Telnet.as_str() => Some(Service::Telnet),
            Some((written, _)) if written == Service::Ftp.as_str() => Some(Service::Ftp),
            Some((written, span)) => {
                self.wrong(span, format!("`{written}` is no service"), "\"telnet\" or \"ftp\"");
                None
            }
        };
        let address = listener.address.as_ref().parse::<SocketAddr>().ok();
        if address.is_none() {
            let message = format!("`{}` is no address to listen on", listener.address.as_ref());
            self.wrong(listener.address.span(), message, "IP:PORT, for instance \"0.0.0.0:23\" or \"[::]:992\"");
        }
        let host = names_of_hosts.get(listener.host.as_ref()).map(|(index, _)| *index);
        if host.is_none() {
            let mut known: Vec<_> = names_of_hosts.keys().map(|name| format!("\"{name}\"")).collect();
            known.sort();
            let expected = match known.as_slice() {
                [] => "a table [[host]] of that name".to_owned(),
                known => known.join(" or "),
            };
            self.wrong(listener.host.span(), format!("there is no host `{}`", listener.host.as_ref()), expected);
        }
        let has_tls = listener.tls.as_ref().map(Spanned::span);
        let tls = match listener.tls {
            Some(tls) => self.listener_tls(tls.into_inner()).map(Some),
            None => Some(None),
        };
        let ftp = match (service, listener.ftp) {
            (Some(Service::Ftp), written) => {
                let host = host.and_then(|host| hosts.get(host)?.as_ref());
                self.ftp_listener(written, has_tls, host.map(|host| &host.ftp), limits).map(Some)
            }
            (Some(Service::Telnet), Some(written)) => {
                let message = "this listener speaks telnet, so its FTP table is of no use";
                self.wrong(written.span(), message, "service = \"ftp\" in [[listener]]");
                None
            }
            (Some(Service::Telnet), None) => Some(None),
            (None, _) => None,
        };
        let balancers: Vec<_> = listener.proxy_protocol_from.iter().map(|net| self.net(net)).collect();
        Some(Listener {
            name: name?,
            service: service?,
            address: address?,
            host: host?,
            tls: tls?,
            ftp: ftp?,
            balancers: balancers.into_iter().collect::<Option<_>>()?,
        })
    }

    fn listener_tls(&mut self, tls: file::ListenerTls) -> Option<ListenerTls> {
        let clients = match (tls.client_ca, tls.client_certificates) {
            (None, None) => None,
            (Some(ca), Some(wish)) => Some((self.file_name(&ca), wish.into_inner())),
            (Some(ca), None) => {
                let expected = "client_certificates = \"required\" or \"optional\" beside it";
                self.wrong(ca.span(), "client_ca alone does not say whether clients need a certificate", expected);
                return None;
            }
            (None, Some(wish)) => {
                self.wrong(wish.span(), "nothing says who issues the clients' certificates", "client_ca beside it");
                return None;
            }
        };
        Some(ListenerTls { certificate: self.file_name(&tls.certificate), key: self.file_name(&tls.key), clients })
    }

    fn limits(&mut self, limits: &file::Limits) -> Option<Limits> {
        let default = Limits::default();
        let connections = self.count(limits.connections.as_ref(), default.connections);
        let per_source = self.count(limits.connections_per_source.as_ref(), default.connections_per_source);
        let unauthenticated = self.count(limits.unauthenticated.as_ref(), default.unauthenticated);
        let unauthenticated_per_source =
            self.count(limits.unauthenticated_per_source.as_ref(), default.unauthenticated_per_source);
        let connects = usize::try_from(default.connects_per_minute).unwrap_or(usize::MAX);
        let connects = self.count(limits.connects_per_minute.as_ref(), connects);
        let handshake = self.seconds(limits.handshake_seconds.as_ref(), default.handshake, 300);
        let host_connect = self.seconds(limits.host_connect_seconds.as_ref(), default.host_connect, 300);
        let sign_on = self.seconds(limits.sign_on_seconds.as_ref(), default.sign_on, 86_400);
        let prompt = self.seconds(limits.prompt_seconds.as_ref(), default.prompt, 3_600);
        let drain = self.seconds(limits.drain_seconds.as_ref(), default.drain, 604_800);
        let stop = self.seconds(limits.stop_seconds.as_ref(), default.stop, 86_400);
        Some(Limits {
            connections: connections?,
            connections_per_source: per_source?,
            unauthenticated: unauthenticated?,
            unauthenticated_per_source: unauthenticated_per_source?,
            connects_per_minute: u32::try_from(connects?).unwrap_or(u32::MAX),
            handshake: handshake?,
            host_connect: host_connect?,
            sign_on: sign_on?,
            prompt: prompt?,
            drain: drain?,
            stop: stop?,
        })
    }

    fn count(&mut self, written: Option<&Spanned<u32>>, default: usize) -> Option<usize> {
        let Some(written) = written else { return Some(default) };
        let count = usize::try_from(*written.as_ref()).ok().filter(|count| *count > 0);
        if count.is_none() {
            self.wrong(written.span(), "a limit of 0 lets nobody in", "a whole number of 1 or more");
        }
        count
    }

    fn seconds(&mut self, written: Option<&Spanned<u32>>, default: Duration, most: u32) -> Option<Duration> {
        let Some(written) = written else { return Some(default) };
        let seconds = *written.as_ref();
        if (1..=most).contains(&seconds) {
            return Some(Duration::from_secs(seconds.into()));
        }
        self.wrong(written.span(), format!("{seconds} s is not possible"), format!("seconds from 1 to {most}"));
        None
    }

    /// A name that our screens can show on every terminal.
    fn name(&mut self, name: &Spanned<String>) -> Option<Arc<str>> {
        let text = name.as_ref();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ' | '/');
        if (1..=NAME_MAX).contains(&text.len()) && text.chars().all(fits) && text.trim() == text {
            return Some(text.as_str().into());
        }
        let expected = format!("1 to {NAME_MAX} of A-Z, a-z, 0-9, `.`, `-`, `_`, `/` and inner spaces");
        self.wrong(name.span(), format!("`{text}` cannot be a name"), expected);
        None
    }

    fn port(&mut self, port: u16, span: Range<usize>) -> Option<u16> {
        if port == 0 {
            self.wrong(span, "port 0 cannot be connected to", "a port from 1 to 65535");
            return None;
        }
        Some(port)
    }

    fn mailbox(&mut self, text: &Spanned<String>) -> Option<Mailbox> {
        let mailbox = text.as_ref().parse().ok();
        if mailbox.is_none() {
            let message = format!("`{}` is no mail address", text.as_ref());
            self.wrong(text.span(), message, "\"name@example.com\" or \"Name <name@example.com>\"");
        }
        mailbox
    }

    fn net(&mut self, text: &Spanned<String>) -> Option<IpNet> {
        let net = text.as_ref().parse().or_else(|_| text.as_ref().parse::<IpAddr>().map(IpNet::from)).ok();
        if net.is_none() {
            let message = format!("`{}` is no network", text.as_ref());
            self.wrong(text.span(), message, "for instance \"10.1.0.0/16\", \"2001:db8::/32\" or \"192.0.2.7\"");
        }
        net
    }

    fn pin(&mut self, text: &Spanned<String>) -> Option<Pin> {
        let pin = text.as_ref().parse();
        pin.map_err(|expected: &str| self.wrong(text.span(), "this is no pin", expected)).ok()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.source.path().parent().unwrap_or(Path::new("")).join(path)
    }

    fn file_name(&self, name: &Spanned<String>) -> FileName {
        FileName { path: self.path(name.as_ref()), span: name.span() }
    }
}

/// Whether `host` is this machine.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// Reads `NAME`, `NAME:PORT`, `IP`, `IP:PORT` or `[IP]:PORT`.
fn parse_address(text: &str, default_port: u16) -> Option<Address> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Address { name: address.ip().to_string(), port: address.port() }).filter(|to| to.port != 0);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(Address { name: ip.to_string(), port: default_port });
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, port.parse().ok().filter(|port| *port != 0)?),
        None => (text, default_port),
    };
    let named = matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)));
    named.then(|| Address { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[gateway]
store = "sallyport.db"
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

    fn check_text(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse(Path::new("/etc/sallyport/sallyport.toml"), text.to_owned()).map_err(|error| match error {
            ConfigError::Invalid(problems) => problems,
            ConfigError::Read { .. } => panic!("nothing is read"),
        })
    }

    /// `GOOD` with `old` replaced by `new` is refused at the line that has `at`, for a reason with the words `about`.
    #[track_caller]
    fn refused(old: &str, new: &str, at: &str, about: &str) {
        assert!(GOOD.contains(old), "{old}");
        let text = GOOD.replacen(old, new, 1);
        let problems = check_text(&text).expect_err(new);
        let line = text.lines().position(|line| line.contains(at)).unwrap() + 1;
        let told = problems.iter().find(|problem| problem.message.contains(about));
        let problem = told.unwrap_or_else(|| panic!("{problems:#?}"));
        assert_eq!(problem.line, line, "{problem:#?}");
        assert!(problem.column >= 1 && !problem.expected.is_empty());
        let picture = ConfigError::Invalid(problems.clone()).to_string();
        assert!(picture.contains('^') && picture.contains(&format!(":{line}:")), "{picture}");
    }

    #[test]
    fn the_least_configuration() {
        let config = check_text(GOOD).unwrap();
        assert_eq!(config.gateway.store, Path::new("/etc/sallyport/sallyport.db"));
        assert_eq!(config.gateway.control, Path::new("/etc/sallyport/sallyport.sock"));
        assert_eq!(config.hosts[0].address.to_string(), "as400.example.com:23");
        assert_eq!(config.smtp.port, 587);
        assert_eq!(config.listeners[0].host, 0);
    }

    #[test]
    fn mistakes_of_shape() {
        refused("host = \"PROD\"", "host = \"PROD\"\ncolour = 1", "colour", "unknown key `colour`");
        refused("name = \"PROD\"", "name = 5", "name = 5", "host[0].name: invalid type: integer `5`");
        refused("host = \"mail.example.com\"", "", "[smtp]", "the key `host` is missing");
        refused("[gateway]", "[gateway", "[gateway", "");
        refused("host = \"mail", "tls = \"ssl\"\nhost = \"mail", "ssl", "unknown value `ssl`");
        refused("[gateway]", "[limits]\nconnections = -1\n[gateway]", "-1", "limits.connections");
        refused("[gateway]", "[gateway]\n[gateway] # again", "# again", "duplicate");
    }

    #[test]
    fn mistakes_of_meaning() {
        refused("address = \"as400.example.com\"", "address = \"a b\"", "a b", "`a b` is no address");
        refused("0.0.0.0:23", "localhost:23", "localhost:23", "no address to listen on");
        refused("host = \"PROD\"", "host = \"TEST\"", "TEST", "there is no host `TEST`");
        refused("name = \"PROD\"", "name = \"Präsident\"", "Präs", "cannot be a name");
        refused("from = \"sallyport@", "from = \"sallyport at ", "from", "no mail address");
        refused("from", "username = \"x\"\nfrom", "username", "has no password");
        refused("from", "tls = \"none\"\nusername = \"x\"\npassword = \"y\"\nfrom", "password", "readable");
        refused("[smtp]", "time_zone = \"Mars\"\n[smtp]", "Mars", "no time zone");
        refused("[smtp]", &format!("control = \"{}\"\n[smtp]", "x".repeat(120)), "xxx", "too long");
        refused("[smtp]", "[limits]\nconnections = 0\n[smtp]", "= 0", "lets nobody in");
        refused("[smtp]", "[limits]\nprompt_seconds = 0\n[smtp]", "= 0", "0 s is not possible");
        refused("host = \"PROD\"", "host = \"PROD\"\nservice = \"ssh\"", "ssh", "`ssh` is no service");
        refused("[smtp]", "[metrics]\naddress = \"localhost\"\n[smtp]", "localhost", "no address to listen on");
        refused("[smtp]", "[metrics]\naddress = \"0.0.0.0:9\"\n[smtp]", "0.0.0.0:9", "are not protected");
        let net = "host = \"PROD\"\nproxy_protocol_from = [\"10.0.0.1\", \"10.0.0.0/33\"]";
        refused("host = \"PROD\"", net, "/33", "`10.0.0.0/33` is no network");
        let ca = "host = \"PROD\"\n[listener.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"a\"";
        refused("host = \"PROD\"", ca, "client_ca", "client_ca alone");
        let tls = "example.com\"\n[host.tls]\npins = [\"sha256:00\"]";
        refused("example.com\"\n[[l", &format!("{tls}\n[[l"), "pins", "this is no pin");
        let form = "example.com\"\n[[host.form]]\nuser = [6, 53]\npassword = [28, 53]";
        refused("example.com\"\n[[l", &format!("{form}\n[[l"), "[28", "no display has row 28");
        let second = "[[host]]\nname = \"PROD\"\naddress = \"10.1.1.1\"\n[[host]]\nname = \"PROD\"";
        let text = GOOD.replace("[[host]]\nname = \"PROD\"", second);
        assert!(check_text(&text).unwrap_err()[0].message.contains("a second host is named `PROD`"));
        let twice = "0.0.0.0:23\"\nhost = \"PROD\"\n[[listener]]\nname = \"b\"\naddress = \"0.0.0.0:23";
        let text = GOOD.replace("0.0.0.0:23", twice);
        assert!(check_text(&text).unwrap_err()[0].message.contains("cannot share 0.0.0.0:23"));
    }

    #[test]
    fn mail_without_tls_leaves_this_machine_only_where_that_is_meant() {
        refused("host = \"mail", "tls = \"none\"\nhost = \"mail", "mail.example.com", "would cross the network");
        let denied = "tls = \"none\"\nallow_plaintext = false\nhost = \"mail";
        refused("host = \"mail", denied, "mail.example.com", "would cross the network");
        refused("host = \"mail", "allow_plaintext = true\nhost = \"mail", "allow_plaintext", "nothing to allow");
        for (host, more, good) in [
            ("mail.example.com", "allow_plaintext = true", true),
            ("localhost", "", true),
            ("127.0.0.1", "", true),
            ("::1", "", true),
            ("::ffff:127.0.0.9", "", true),
            ("10.0.0.25", "", false),
            ("localhost.example.com", "", false),
        ] {
            let relay = format!("tls = \"none\"\n{more}\nhost = \"{host}\"");
            let text = GOOD.replace("host = \"mail.example.com\"", &relay);
            assert_eq!(check_text(&text).is_ok(), good, "{host} {more}");
        }
    }

    #[test]
    fn all_mistakes_of_meaning_are_told_at_once() {
        let problems = check_text("").unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:#?}");
        assert!(problems[0].message.contains("no mail relay") && problems[1].message.contains("no listener"));
    }

    #[test]
    fn passwords_are_never_told() {
        for password in ["password = hunter2", "password = 12345", "password = \"hunter2\"\nusernam = \"x\""] {
            let text = GOOD.replace("from", &format!("{password}\nfrom"));
            let message = ConfigError::Invalid(check_text(&text).unwrap_err()).to_string();
            assert!(!message.contains("hunter2") && !message.contains("12345"), "{message}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("a.example", "a.example:23"),
            ("a.example:992", "a.example:992"),
            ("10.0.0.1", "10.0.0.1:23"),
            ("10.0.0.1:24", "10.0.0.1:24"),
            ("2001:db8::1", "[2001:db8::1]:23"),
            ("[2001:db8::1]:24", "[2001:db8::1]:24"),
        ] {
            assert_eq!(parse_address(text, 23).unwrap().to_string(), expected);
        }
        for text in ["", "a b", "a:b", "a:0", "a:1:2", "a:65536", "10.0.0.1:0", ":23"] {
            assert_eq!(parse_address(text, 23), None, "{text}");
        }
    }

    const EXAMPLE: &str = include_str!("../../sallyport.toml");

    #[test]
    fn the_example_loads_and_states_each_default_truthfully() {
        let path = Path::new("/etc/sallyport/sallyport.toml");
        let text = EXAMPLE.replace("\r\n", "\n");
        let shown = Config::parse(path, text.clone()).unwrap_or_else(|error| panic!("{error}"));
        // A line `#key = value`, without a space, states a default.
        let stated = |line: &str| line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase());
        let written: Vec<_> = text.lines().map(|line| if stated(line) { &line[1..] } else { line }).collect();
        assert!(text.lines().filter(|line| stated(line)).count() > 15);
        let written = Config::parse(path, written.join("\n")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(format!("{shown:#?}"), format!("{written:#?}"));
    }

    /// The lines `# key = value` and `# [table]` are examples: they are right but for choices that exclude each other.
    #[test]
    fn the_example_s_examples_are_right() {
        let example = |line: &str| {
            let key = line.strip_prefix("# ").unwrap_or_default().split(" = ").next().unwrap_or_default();
            key.starts_with('[') || (!key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        };
        let text: Vec<_> = EXAMPLE.lines().map(|line| if example(line) { &line[2..] } else { line }).collect();
        let messages: Vec<_> =
            check_text(&text.join("\n")).unwrap_err().into_iter().map(|problem| problem.message).collect();
        let choices = [
            "a password beside access tokens",
            "the client secret is given twice",
            "the refresh token is given twice",
            "a password beside access tokens",
            "the secret is given twice",
            "two senders",
            "ca_file and pins exclude each other",
            "the secret is given twice",
            "the API key is given twice",
            "a sink is required with mode = \"strict\" only",
        ];
        assert_eq!(messages, choices);
    }

    #[test]
    fn the_example_names_every_key() {
        let tables = ["", "[gateway]", "[smtp]", "[limits]", "[[host]]", "[host.tls]", "[[host.form]]", "[[listener]]"];
        let more = ["[host.ftp]", "[host.ftp.trust]", "[listener.tls]", "[listener.ftp]", "[radius]", "[yubikey]"];
        let audit = ["[metrics]", "[[radius.server]]", "[audit]", "[[audit.sink]]", "[audit.sink.tls]"];
        let delivery = ["[smtp.oauth]", "[[smtp.fallback]]", "[[sms]]"];
        for table in tables.into_iter().chain(more).chain(audit).chain(delivery) {
            let text = match table {
                "[host.tls]" | "[[host.form]]" | "[host.ftp]" | "[host.ftp.trust]" => {
                    format!("[[host]]\n{table}\nzzz = 1")
                }
                "[audit.sink.tls]" => format!("[[audit.sink]]\n{table}\nzzz = 1"),
                "[listener.tls]" | "[listener.ftp]" => format!("[[listener]]\n{table}\nzzz = 1"),
                _ => format!("{table}\nzzz = 1"),
            };
            let problems = check_text(&text).unwrap_err();
            let keys: Vec<_> = problems[0].expected.split('`').skip(1).step_by(2).collect();
            assert!(keys.len() > 1, "{problems:#?}");
            for key in keys {
                let told = |line: &str| {
                    let line = line.trim_start_matches(['#', ' ']);
                    line.starts_with(&format!("{key} ="))
                        || [format!("[{key}]"), format!(".{key}]")].iter().any(|t| line.contains(t))
                };
                assert!(EXAMPLE.lines().any(told), "sallyport.toml does not tell {table} {key}");
            }
        }
    }
}
