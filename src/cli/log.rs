//! `sallyport log`: what the running gateway logs.

use std::process::ExitCode;

use serde::Serialize;

use super::{Global, Usage};
use crate::control::{self, Answer, Command};

/// Show or change what the running gateway logs, without a restart.
///
/// Changes hold until the gateway ends, or until `log reset`. What is logged is for finding faults; the audit is apart, and
/// complete whatever is logged. Each change is in the audit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport log show
  sallyport log level debug
  sallyport log level info,sallyport::serve=debug,sallyport::store=trace
  sallyport log reset")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what is logged now, and what is configured.
    Show,
    /// Log this from now on.
    Level {
        /// error, warn, info, debug or trace, also per part (`info,sallyport::serve=debug`).
        levels: String,
    },
    /// Go back to what the gateway was started with.
    Reset,
}

/// What is logged.
#[derive(Debug, Serialize)]
struct Shown {
    current: String,
    configured: String,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.load()?;
    let (command, is_input) = match args.verb {
        Verb::Show => (Command::LogShow, false),
        Verb::Level { levels } => (Command::LogLevel { levels }, true),
        Verb::Reset => (Command::LogReset, false),
    };
    let answer = control::ask(&config.gateway.control, &command).await?;
    if let Answer::Refused { message } = &answer
        && is_input
    {
        return Err(Usage(message.clone()).into());
    }
    let Answer::Log { current, configured } = answer else { return Err(super::unexpected(answer)) };
    let shown = Shown { current, configured };
    let text = if shown.current == shown.configured {
        format!("The gateway logs {}, as configured.", shown.current)
    } else {
        format!("The gateway logs {}; configured is {}.", shown.current, shown.configured)
    };
    global.print_one(&shown, text)?;
    Ok(ExitCode::SUCCESS)
}
