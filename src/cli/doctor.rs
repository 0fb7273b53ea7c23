//! `sallyport doctor`: what is wrong, and what to do about it.

use std::process::ExitCode;

use serde::Serialize;

use super::admin::counted;
use super::{FAILED, Global, Usage, print_json, print_line, print_table};
use crate::doctor::{self, ADVICE, Context, DOORS, Depth, Door, Finding, Level, Opening};
use crate::notify;

/// Look for what is wrong with the gateway, its files, its network and its rules, and say what to do.
///
/// Changes nothing. Run it as the gateway's own user, on its machine. The exit code is 1 where there is a problem; warnings
/// are for looking at. `probe-direct` is run where a client is, and needs no configuration.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  sallyport doctor
  sallyport doctor --quick --json | jq '.[] | select(.level != \"ok\")'
  sallyport doctor --deep --send me@example.com
  sallyport doctor probe-direct --from-here as400.example.com
  sallyport doctor advice"
)]
pub(crate) struct Args {
    /// Look at this machine only, and connect to nothing.
    #[arg(long, conflicts_with_all = ["deep", "send"])]
    quick: bool,
    /// Read all of the store, and try every address that a name has.
    #[arg(long)]
    deep: bool,
    /// Send a test message to this address.
    #[arg(long, value_name = "ADDRESS")]
    send: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// From this machine, a client's: can the host be reached past the gateway?
    ///
    /// The gateway itself has to reach the host, so this cannot be seen there. Connects to the ports of Telnet, FTP and the
    /// other services of an IBM i, to the one host that is named, at most a second each, and says nothing there.
    ProbeDirect {
        /// The host: its own name or address, not the gateway's.
        host: String,
        /// This machine is one from which the host should not be reachable.
        #[arg(long, required = true)]
        from_here: bool,
    },
    /// What to look at on the host itself: system values, ports, other doors. Text only; nothing is connected to.
    Advice,
}

/// A door of the host, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    address: std::net::IpAddr,
    #[serde(flatten)]
    door: Door,
    answer: Opening,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    match args.verb {
        Some(Verb::ProbeDirect { host, from_here: _ }) => return probe(&host, global).await,
        Some(Verb::Advice) => {
            if global.json {
                print_json(ADVICE)?;
            } else {
                for advice in ADVICE {
                    print_line(format_args!("{}   ({})\n  {}\n", advice.about, advice.look, advice.advice))?;
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    if let Some(address) = args.send.as_deref().filter(|address| !notify::is_address(address)) {
        return Err(Usage(format!("`{address}` is no e-mail address")).into());
    }
    let depth = match (args.quick, args.deep) {
        (true, _) => Depth::Quick,
        (false, true) => Depth::Deep,
        (false, false) => Depth::Usual,
    };
    let context = Context::new(global.load()?, depth, args.send).await;
    let findings = doctor::examine(&context).await;
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    if global.json {
        print_json(&findings)?;
    } else {
        findings.iter().try_for_each(|finding| print_line(text(finding)))?;
        let (problems, warnings) = (counted(problems, "problem"), counted(warnings, "warning"));
        print_line(format_args!("\n{problems}, {warnings}."))?;
    }
    Ok(if problems > 0 { FAILED.into() } else { ExitCode::SUCCESS })
}

fn text(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "WARNING",
        Level::Problem => "PROBLEM",
    };
    let found = finding.found.replace('\n', "\n                        ");
    let mut text = format!("{level:<8} {:<14} {}: {found}", finding.check, finding.subject);
    if let Some(advice) = &finding.advice {
        text = format!("{text}\n                        > {advice}");
    }
    text
}

async fn probe(host: &str, global: &Global) -> anyhow::Result<ExitCode> {
    let found = tokio::net::lookup_host((host, 0)).await;
    let mut addresses: Vec<_> = found.map_err(|error| Usage(format!("{host}: {error}")))?.map(|to| to.ip()).collect();
    addresses.sort();
    addresses.dedup();
    let mut shown = Vec::new();
    for address in addresses {
        let doors = doctor::probe(address, DOORS).await;
        shown.extend(doors.into_iter().map(|(door, answer)| Shown { address, door, answer }));
    }
    let open = |guarded: bool| {
        let is_open = |shown: &&Shown| shown.answer == Opening::Open && shown.door.is_guarded == guarded;
        shown.iter().filter(is_open).count()
    };
    let (guarded, others) = (open(true), open(false));
    if global.json {
        print_json(&shown)?;
    } else {
        let rows = shown.iter().filter(|shown| shown.answer == Opening::Open).map(|shown| {
            let level = if shown.door.is_guarded { "PROBLEM" } else { "WARNING" };
            vec![level.to_owned(), shown.address.to_string(), shown.door.port.to_string(), shown.door.what.to_owned()]
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            print_table(&["level", "address", "port", "what is open"], rows)?;
        }
        print_line(match (guarded, others) {
            (0, 0) => format!("None of {} doors of {host} is open from here.", DOORS.len()),
            (0, _) => "Telnet and FTP of the host cannot be reached from here; other doors can, by a password alone.\n\
                       > Let a firewall admit to them only who needs them; end what nobody uses."
                .to_owned(),
            (..) => "From here the host's Telnet or FTP can be reached past the gateway, without a second factor.\n\
                     > Let a firewall admit to these ports the gateway's addresses only."
                .to_owned(),
        })?;
    }
    Ok(if guarded > 0 { FAILED.into() } else { ExitCode::SUCCESS })
}
