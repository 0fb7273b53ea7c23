//! `sallyport status`: how the running gateway is, in a few lines.

use std::process::ExitCode;

use super::{Global, print_json, print_line};
use crate::control::{self, Answer, Command, Status};

/// Show the processes of the gateway on this machine: listeners, sessions, and which one accepts.
///
/// There are several after a restart, until the sessions of the older ones have ended.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport status
  sallyport status --json | jq '.[0].listeners'")]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.load()?;
    let mut all = Vec::new();
    for socket in super::session::sockets(&config.gateway.control) {
        match control::ask(&socket, &Command::Status).await {
            Ok(Answer::Status { status }) => all.push(status),
            Ok(other) => return Err(super::unexpected(other)),
            // Only the first one has to be there: the others end by themselves.
            Err(error) if socket == config.gateway.control => return Err(error.into()),
            Err(_) => {}
        }
    }
    if global.json {
        print_json(&all)?;
    } else {
        all.iter().try_for_each(|status| print_line(text(status)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(status: &Status) -> String {
    let Status { process, version, listeners, sessions, is_draining } = status;
    let state = if *is_draining { "accepts nobody any more" } else { "accepts" };
    let mut text = format!("Process {process} (version {version}) {state}; {sessions} sessions");
    for (listener, address) in listeners {
        text = format!("{text}\n  {listener} on {address}");
    }
    text
}
