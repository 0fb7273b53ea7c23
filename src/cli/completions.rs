//! `sallyport completions`: the script that makes a shell complete our arguments.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, Global, quiet_pipe};

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport completions bash > /usr/share/bash-completion/completions/sallyport
  sallyport completions zsh > ~/.zfunc/_sallyport
  sallyport completions fish > ~/.config/fish/completions/sallyport.fish")]
pub(crate) struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

pub(crate) async fn run(args: Args, _global: &Global) -> anyhow::Result<ExitCode> {
    // clap_complete panics where standard output is gone, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sallyport", &mut script);
    quiet_pipe(io::stdout().lock().write_all(&script))?;
    Ok(ExitCode::SUCCESS)
}
