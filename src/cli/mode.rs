//! `sallyport mode`: whether decisions bind, for a service or a host apart from the others.

use std::process::ExitCode;

use policy::{Enforcement, Service};
use serde::Serialize;

use super::admin::Admin;
use super::network::known_host;
use super::{Global, Usage};

/// Say for a service or a host whether decisions bind: off, observe or enforce.
///
/// The mode of a host and a service counts first, then that of the host, then that of the service, then the setting
/// `enforcement`. off and observe let everybody in without a second factor: both are audited, and off asks nobody anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport mode set observe --service ftp                the weeks before the switch-over
  sallyport mode set observe --host TEST
  sallyport mode set enforce --host TEST --service telnet
  sallyport mode reset --host TEST
  sallyport mode list")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Set the mode of a service, a host, or both.
    Set {
        /// off: nobody is asked; observe: all is decided and recorded, and everybody let in; enforce: decisions bind.
        mode: Enforcement,
        #[command(flatten)]
        of: Of,
    },
    /// Have the next wider mode count again.
    Reset {
        #[command(flatten)]
        of: Of,
    },
    /// List the modes, the setting last.
    List,
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The service: telnet or ftp.
    #[arg(long)]
    service: Option<Service>,
    /// The host.
    #[arg(long)]
    host: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    service: Option<Service>,
    host: Option<String>,
    mode: &'static str,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    match args.verb {
        Verb::Set { mode, of } => set(&admin, global, of, Some(mode)).await?,
        Verb::Reset { of } => set(&admin, global, of, None).await?,
        Verb::List => {
            let rules = admin.store.rules().await?;
            let modes = rules.modes.iter().map(|mode| Shown {
                service: mode.service,
                host: mode.host.as_ref().map(ToString::to_string),
                mode: mode.enforcement.as_str(),
            });
            let rest = Shown { service: None, host: None, mode: rules.settings.enforcement.as_str() };
            let shown: Vec<_> = modes.chain([rest]).collect();
            global.print_list(&shown, &["service", "host", "mode"], |shown| {
                vec![
                    shown.service.map_or("all", Service::as_str).to_owned(),
                    shown.host.clone().unwrap_or_else(|| "all".to_owned()),
                    shown.mode.to_owned(),
                ]
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(admin: &Admin, global: &Global, of: Of, mode: Option<Enforcement>) -> anyhow::Result<()> {
    if of.service.is_none() && of.host.is_none() {
        return Err(
            Usage("--service or --host is needed; for all: sallyport settings set enforcement".to_owned()).into()
        );
    }
    let named = of.host.map(|host| match (known_host(&admin.config, &host), mode) {
        (Ok(known), _) => Ok(known.to_string()),
        // What is there for a host that has left the configuration goes by the name it has.
        (Err(_), None) => Ok(host),
        (Err(missing), Some(_)) => Err(missing),
    });
    let host = named.transpose()?;
    let whose = match (of.service, &host) {
        (Some(service), Some(host)) => format!("{service} to {host}"),
        (Some(service), None) => service.to_string(),
        (None, Some(host)) => format!("host {host}"),
        (None, None) => String::new(),
    };
    let word = mode.map_or("as the next wider one", Enforcement::as_str);
    let entry = admin.entry("mode-changed", &format!("{whose}: {word}"));
    admin.store.set_mode(of.service, host.clone(), mode, entry).await?;
    let shown = Shown { service: of.service, host, mode: word };
    let warning = match mode {
        Some(Enforcement::Off) => "\nNobody is asked for a second factor there.",
        Some(Enforcement::Observe) => "\nEverybody is let in there; the audit says what would have been.",
        Some(Enforcement::Enforce) | None => "",
    };
    global.print_one(&shown, format_args!("{whose}: {word}.{warning}"))
}
