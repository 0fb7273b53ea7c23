//! `sallyport restart`: replaces the running gateway by a new process, without a gap.

use std::process::ExitCode;

use super::Global;
use crate::control::{self, Answer, Command};
use crate::system;

/// How long the new process may take to serve.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Replace the running gateway by a new process, for instance after an upgrade, without refusing a connection.
///
/// The gateway starts its program anew, with the arguments it was started with. The new process takes over the listening
/// sockets; once it serves, the old one accepts nobody any more, and ends when its sessions have, or limits.drain_seconds
/// are over. Where the new one does not come up, the old one goes on. Passcodes that are asked for at that moment by FTP are
/// asked for again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport check && sallyport restart
  sallyport session list        lists the sessions of both processes")]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.load()?;
    let socket = &config.gateway.control;
    let answer = control::ask(socket, &Command::Restart).await?;
    let Answer::Restarting { process } = answer else { return Err(super::unexpected(answer)) };
    let begun = system::Stopwatch::start();
    while begun.elapsed() < PATIENCE {
        if let Ok(Answer::Status { status }) = control::ask(socket, &Command::Status).await
            && status.process == process
        {
            global.print_one(&status, format_args!("Process {process} serves now."))?;
            return Ok(ExitCode::SUCCESS);
        }
        if !std::path::Path::new(&format!("/proc/{process}")).exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    anyhow::bail!("process {process} does not serve; the one before goes on. The log says why");
}
