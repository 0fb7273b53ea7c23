//! `sallyport check`: whether the configuration is right, and what would run with it.

use std::fmt::Write as _;
use std::process::ExitCode;

use proxy_tn5250::gate::{AutoSignOn, Order, Printers, SignOnFields};
use serde::Serialize;

use super::{Global, USAGE, print_json};
use crate::config::{Config, ConfigError, HostTrust, Listener, Problem, SmtpTls};
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
    let smtp = &config.smtp;
    let tls = match smtp.tls {
        SmtpTls::None => "without TLS",
        SmtpTls::Starttls => "STARTTLS",
        SmtpTls::Implicit => "TLS",
    };
    let login = smtp.login.as_ref().map(|login| format!(" as {}", login.username)).unwrap_or_default();
    let _ = writeln!(text, "  mail      from {} by {}:{} ({tls}){login}", smtp.from, smtp.host, smtp.port);
    for host in &config.hosts {
        let tls = match host.tls.as_ref().map(|tls| &tls.trust) {
            None => "WITHOUT TLS",
            Some(HostTrust::System) => "TLS, verified by the system's certificates",
            Some(HostTrust::CaFile(_)) => "TLS, verified by ca_file",
            Some(HostTrust::Pins(_)) => "TLS, pinned",
        };
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
    }
    for listener in &config.listeners {
        let host = config.hosts.get(listener.host).map_or("", |host| &host.name);
        let Listener { name, service, address, .. } = listener;
        let _ = writeln!(text, "  listener  {name}: {service} on {address} to {host} ({})", protection(listener));
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
    if !listener.balancers.is_empty() {
        let nets: Vec<_> = listener.balancers.iter().map(ToString::to_string).collect();
        let _ = write!(text, ", PROXY header from {}", nets.join(", "));
    }
    text
}
