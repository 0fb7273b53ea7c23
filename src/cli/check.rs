//! `sallyport check`: whether the configuration is right, and what would run with it.

use std::fmt::Write as _;
use std::process::ExitCode;

use policy::Logging;
use proxy_ftp::data::Peers;
use proxy_ftp::gate::{ClientData, ClientTls, HostData, HostMode, HostTls, Mode};
use proxy_tn5250::gate::{AutoSignOn, Order, Printers, SignOnFields};
use serde::Serialize;

use super::{Global, USAGE, print_json};
use crate::config::{
    Config, ConfigError, Ftp, FtpHost, HostTrust, Listener, Problem, RadiusServer, SmsHow, Smtp, SmtpTls, Target,
};
use crate::tls::ClientCertificates;

/// Check the configuration and the files it names, and say what would run.
///
/// Nothing is started, nothing is connected to and nothing is changed. A mistake is told with file, line, column and what
/// was expected, and the exit code is 2; with --json as an array `problems`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport check
  sallyport check --config /etc/sallyport/sallyport.toml && systemctl restart sallyport
  sallyport check --json | jq -r '.problems[] | \"\\(.file):\\(.line): \\(.message)\"'")]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let checked = global.load().and_then(|config| config.open().map(|_| config));
    match checked {
        Ok(config) => {
            global.print_one(&Checked { problems: &[] }, summary(&config).trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(ConfigError::Invalid(problems)) if global.json => {
            print_json(&Checked { problems: &problems })?;
            Ok(USAGE.into())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    problems: &'a [Problem],
}

/// What runs with `config`, one line for each part.
fn summary(config: &Config) -> String {
    let mut text = String::new();
    let gateway = &config.gateway;
    let _ = writeln!(text, "{} is right. With it runs:", config.path().display());
    let zone = gateway.time_zone.iana_name().unwrap_or("the system's");
    let _ = writeln!(text, "  gateway   {} (node {}), time zone {zone}", gateway.name, gateway.node);
    let _ = writeln!(text, "  store     {}", gateway.store.display());
    let _ = writeln!(text, "  control   {}", gateway.control.display());
    if let Some(address) = config.metrics.address {
        let where_from = if address.ip().is_loopback() { "this machine" } else { "OTHER MACHINES TOO" };
        let _ = writeln!(text, "  metrics   {address}, for {where_from}");
    }
    let _ = writeln!(text, "  mail      from {} by {}", config.smtp.from, relay(&config.smtp));
    for fallback in &config.smtp_fallbacks {
        let _ = writeln!(text, "            else by {}", relay(fallback));
    }
    for sms in &config.sms {
        let how = match &sms.how {
            SmsHow::Twilio { account, .. } => format!("Twilio, account {account}"),
            SmsHow::Http { url, .. } => url.clone(),
        };
        let _ = writeln!(text, "  sms       {} by {how}", sms.name);
    }
    if !config.alerts.is_empty() {
        let _ = writeln!(text, "  alerts    to {}", config.alerts.join(", "));
    }
    for sink in &config.audit.sinks {
        let what = match (sink.only_alerts, sink.level) {
            (true, _) => "alerts only",
            (false, Logging::All) => "everything",
            (false, Logging::Rejected) => "what was refused, and what bears on security",
            (false, Logging::None) => "what bears on security",
        };
        let to = match &sink.target {
            Target::File(path) => path.display().to_string(),
            Target::Syslog { address, tls: Some(_) } => format!("{address} with TLS"),
            Target::Syslog { address, tls: None } => format!("{address} WITHOUT TLS"),
            Target::Webhook { address, secret: Some(_), .. } => format!("a webhook at {address}, signed"),
            Target::Webhook { address, secret: None, .. } => format!("a webhook at {address}, not signed"),
        };
        let _ = writeln!(text, "  sink      {}: {what} to {to}", sink.name);
    }
    for server in config.radius.iter().flat_map(|radius| &radius.servers) {
        let RadiusServer { address, tries, timeout, .. } = server;
        let _ = writeln!(text, "  radius    {address}, {tries} tries of {} s", timeout.as_secs());
    }
    for server in config.yubikey.iter().flat_map(|yubikey| &yubikey.servers) {
        let signed = config.yubikey.as_ref().is_some_and(|yubikey| yubikey.api_key.is_some());
        let _ = writeln!(text, "  yubikey   {server} ({})", if signed { "signed" } else { "WITHOUT SIGNATURES" });
    }
    for (index, host) in config.hosts.iter().enumerate() {
        let tls = host.tls.as_ref().map_or("WITHOUT TLS", |tls| trust(&tls.trust));
        let order = match host.gate.order {
            Order::PasswordFirst => "password first",
            Order::CodeFirst => "code first",
        };
        let auto = match host.gate.auto_sign_on {
            AutoSignOn::Strip => "stripped",
            AutoSignOn::Challenge => "challenged",
        };
        let fields = match host.gate.sign_on_fields {
            SignOnFields::Refuse => "refused",
            SignOnFields::Allow => "allowed",
        };
        let printers = match host.gate.printers {
            Printers::Refuse => "refused",
            Printers::Ask => "by rule",
        };
        let _ = writeln!(text, "  host      {} at {} ({tls})", host.name, host.address);
        let _ = writeln!(
            text,
            "            {order}; auto sign-on {auto}, program and menu fields {fields}, printers {printers}, forms taught {}",
            host.gate.forms.len()
        );
        if config.listeners.iter().any(|listener| listener.ftp.is_some() && listener.host == index) {
            let _ = writeln!(text, "            FTP at {}", ftp_host(&host.ftp));
        }
    }
    for listener in &config.listeners {
        let host = config.hosts.get(listener.host).map_or("", |host| &host.name);
        let Listener { name, service, address, .. } = listener;
        let _ = writeln!(text, "  listener  {name}: {service} on {address} to {host} ({})", protection(listener));
        if let Some(ftp) = &listener.ftp {
            let _ = writeln!(text, "            {}", ftp_listener(ftp));
        }
    }
    text
}

fn relay(smtp: &Smtp) -> String {
    let tls = match smtp.tls {
        SmtpTls::None => "without TLS",
        SmtpTls::Starttls => "STARTTLS",
        SmtpTls::Implicit => "TLS",
    };
    let login = smtp.login.as_ref().map(|login| format!(" as {}", login.username));
    let oauth = smtp.oauth.as_ref().map(|oauth| format!(" as {} by access token", oauth.username));
    format!("{}:{} ({tls}){}", smtp.host, smtp.port, login.or(oauth).unwrap_or_default())
}

const fn trust(trust: &HostTrust) -> &'static str {
    match trust {
        HostTrust::System => "TLS, verified by the system's certificates",
        HostTrust::CaFile(_) => "TLS, verified by ca_file",
        HostTrust::Pins(_) => "TLS, pinned",
    }
}

fn ftp_host(host: &FtpHost) -> String {
    let when = match host.tls {
        HostTls::Off => "",
        HostTls::Explicit => "AUTH ",
        HostTls::Implicit => "implicit ",
    };
    let tls = host.trust.as_ref().map_or("WITHOUT TLS", |tls| trust(&tls.trust));
    let data = match (host.tls, host.data_tls) {
        (HostTls::Off, _) => "",
        (HostTls::Explicit | HostTls::Implicit, HostData::Same) => ", data as the client's",
        (HostTls::Explicit | HostTls::Implicit, HostData::Always) => ", data too",
        (HostTls::Explicit | HostTls::Implicit, HostData::Never) => ", DATA WITHOUT TLS",
    };
    let only = if host.tls12_only { ", TLS 1.2 only" } else { "" };
    let mode = match host.data_mode {
        HostMode::Same => "data connections as the client's",
        HostMode::Passive => "passive data connections",
        HostMode::Active => "active data connections",
    };
    format!("{} ({when}{tls}{data}{only}; {mode})", host.address)
}

fn ftp_listener(ftp: &Ftp) -> String {
    let gate = &ftp.gate;
    let mode = match (gate.mode, gate.close_after_reject) {
        (Mode::Account, _) => "passcode by 332 and ACCT",
        (Mode::Reject, false) => "passcode by a second logon",
        (Mode::Reject, true) => "passcode by a second logon on a new connection",
    };
    let reply = if gate.helpful { "helpful" } else { "uniform" };
    let ports = &ftp.data.ports;
    let mut text = format!("{mode}, replies {reply}; passive ports {}-{}", ports.start(), ports.end());
    for address in &ftp.data.client.advertise {
        let _ = write!(text, ", advertised as {address}");
    }
    match ftp.data.client.peers {
        Peers::Same => {}
        Peers::Net => text.push_str(", data from the client's network"),
        Peers::Any => text.push_str(", DATA FROM ANY ADDRESS"),
    }
    match gate.refused_commands.len() {
        0 => {}
        1 => text.push_str(", 1 command refused"),
        count => {
            let _ = write!(text, ", {count} commands refused");
        }
    }
    text
}

fn protection(listener: &Listener) -> String {
    let mut text = match &listener.tls {
        None => "WITHOUT TLS",
        Some(tls) => match &tls.clients {
            None => "TLS",
            Some((_, ClientCertificates::Optional)) => "TLS, client certificates optional",
            Some((_, ClientCertificates::Required)) => "TLS, client certificates required",
        },
    }
    .to_owned();
    if let Some(ftp) = &listener.ftp {
        text.push_str(match ftp.gate.client_tls {
            ClientTls::Off => "",
            ClientTls::Offered => " by AUTH, OFFERED ONLY",
            ClientTls::Required => " by AUTH, required",
            ClientTls::Implicit => " implicit",
        });
        if ftp.gate.client_tls != ClientTls::Off && ftp.gate.client_data == ClientData::Any {
            text.push_str(", data as the client wishes");
        }
    }
    if !listener.balancers.is_empty() {
        let nets: Vec<_> = listener.balancers.iter().map(ToString::to_string).collect();
        let _ = write!(text, ", PROXY header from {}", nets.join(", "));
    }
    text
}
