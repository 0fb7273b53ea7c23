//! `sallyport reload`: has the running gateway read its configuration anew.

use std::process::ExitCode;

use super::Global;
use crate::control::{self, Answer, Changes, Command};

/// Have the running gateway read its configuration and certificates anew, as SIGHUP does.
///
/// Listeners are added, removed and changed; hosts, TLS and limits count for new connections; live sessions go on as they
/// are. Where anything is wrong, nothing is changed, and file, line and what was expected are told. `[gateway]`, `[smtp]`
/// and `[metrics]` take `sallyport restart`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport check && sallyport reload
  sallyport reload --json")]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.load()?;
    let answer = control::ask(&config.gateway.control, &Command::Reload).await?;
    let Answer::Reloaded { changes } = answer else { return Err(super::unexpected(answer)) };
    global.print_one(&changes, text(&changes))?;
    Ok(ExitCode::SUCCESS)
}

fn text(changes: &Changes) -> String {
    let mut parts = Vec::new();
    for (what, names) in [("new", &changes.added), ("gone", &changes.removed), ("kept", &changes.kept)] {
        if !names.is_empty() {
            parts.push(format!("{what}: {}", names.join(", ")));
        }
    }
    let mut text = format!("The configuration was reloaded. Listeners {}.", parts.join("; "));
    if !changes.restart_needed.is_empty() {
        text = format!("{text}\n{} changed, which takes: sallyport restart", changes.restart_needed.join(", "));
    }
    text
}
