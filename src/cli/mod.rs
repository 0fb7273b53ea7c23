//! The command line: one module per verb, one place for what they share.
//!
//! Every verb is `run(args, &global) -> anyhow::Result<ExitCode>`. Results go to standard output, as a table for people
//! or with `--json` as one JSON value for programs; everything else goes to standard error.

mod admin;
mod alert;
mod audit;
mod carrier;
mod check;
mod completions;
mod contact;
mod demo;
mod doctor;
mod emergency;
mod enrolment;
mod explain;
mod factor;
mod import;
mod key;
mod log;
mod mode;
mod network;
mod reload;
mod report;
mod restart;
mod rules;
mod sender;
mod serve;
mod service;
mod session;
mod settings;
mod status;
mod template;
mod terminal;
mod user;
mod what_if;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use policy::setting::SettingError;
use serde::Serialize;

use crate::config::{Config, ConfigError};
use crate::control::Answer;
use crate::delivery;
use crate::log::Format;
use crate::store;
use crate::tls;

/// Where the configuration is looked for when neither `--config` nor `SALLYPORT_CONFIG` names it, in this order.
const CONFIG_PATHS: [&str; 2] = ["sallyport.toml", "/etc/sallyport/sallyport.toml"];

/// The exit code for something that failed or was refused.
const FAILED: u8 = 1;
/// The exit code for wrong usage or a wrong configuration.
const USAGE: u8 = 2;
/// The exit code for a name that nothing has.
const NOT_FOUND: u8 = 3;

const AFTER_HELP: &str = "\
First steps:
  sallyport demo                                try it, with nothing else installed
  sallyport check --config sallyport.toml       is the configuration right, and what would run
  sallyport serve --config sallyport.toml       run it
  sallyport user add ANNA --email anna@example.com --verified
  sallyport explain --user ANNA --from 192.0.2.7 --service telnet

Exit codes:
  0  done
  1  failed or refused
  2  wrong usage or wrong configuration
  3  not found: no user, contact, factor, network, session ... of that name";

/// Second factor for IBM i, inline: terminals connect to Sallyport instead of to the host.
#[derive(Debug, Parser)]
#[command(name = "sallyport", version, after_help = AFTER_HELP, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The verbs, in the order of the help: what runs, then what administers.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Terminal(terminal::Args),
    Check(check::Args),
    User(user::Args),
    Contact(contact::Args),
    Factor(factor::Args),
    Carrier(carrier::Args),
    Template(template::Args),
    Sender(sender::Args),
    Network(network::Args),
    Mode(mode::Args),
    Service(service::Args),
    Settings(settings::Args),
    Enrolment(enrolment::Args),
    Emergency(emergency::Args),
    Session(session::Args),
    Status(status::Args),
    Reload(reload::Args),
    Restart(restart::Args),
    Log(log::Args),
    Doctor(doctor::Args),
    Key(key::Args),
    Audit(audit::Args),
    Alert(alert::Args),
    Explain(explain::Args),
    WhatIf(what_if::Args),
    Report(report::Args),
    Rules(rules::Args),
    Import(import::Args),
    Completions(completions::Args),
}

/// What every verb takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The configuration file [default: ./sallyport.toml, else /etc/sallyport/sallyport.toml].
    #[arg(long, short, global = true, env = "SALLYPORT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print results as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to log to standard error: error, warn, info, debug or trace, also per part (`info,sallyport::serve=debug`)
    /// [default: info for serve, else warn].
    #[arg(long, global = true, env = "SALLYPORT_LOG", value_name = "LEVEL")]
    log: Option<String>,
    /// How to log.
    #[arg(long, global = true, env = "SALLYPORT_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object per line.
    Json,
}

impl Global {
    /// The path of the configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        let [here, system] = CONFIG_PATHS.map(PathBuf::from);
        match &self.config {
            Some(path) => path.clone(),
            None if here.exists() || !system.exists() => here,
            None => system,
        }
    }

    /// The configuration.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config_path())
    }

    /// Prints `items`: with `--json` as an array, else as a table of `row(item)` under `headers`.
    pub(crate) fn print_list<T: Serialize>(
        &self,
        items: &[T],
        headers: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> anyhow::Result<()> {
        if self.json { print_json(items) } else { print_table(headers, items.iter().map(row)) }
    }

    /// Prints one result: with `--json` as a JSON value, else as the sentence `text`.
    pub(crate) fn print_one<T: Serialize>(&self, item: &T, text: impl Display) -> anyhow::Result<()> {
        if self.json { print_json(item) } else { print_line(text) }
    }
}

/// Names something that does not exist; the program then ends with exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotFound(pub(crate) String);

/// Says what is wrong with the arguments, where clap cannot; the program then ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Parses the arguments, runs the verb and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tls::install_provider();
    let result = start_logging(&cli).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let result = runtime.block_on(run(cli));
        // A blocked read of a terminal must not keep the program from ending.
        runtime.shutdown_background();
        result
    });
    result.unwrap_or_else(|error| {
        // Not `{:?}`, which prints a backtrace where RUST_BACKTRACE is set.
        let _ = writeln!(io::stderr(), "sallyport: {error:#}");
        exit_code(&error)
    })
}

async fn run(Cli { global, command }: Cli) -> anyhow::Result<ExitCode> {
    match command {
        Command::Alert(args) => alert::run(args, &global).await,
        Command::Audit(args) => audit::run(args, &global).await,
        Command::Carrier(args) => carrier::run(args, &global).await,
        Command::Check(args) => check::run(args, &global).await,
        Command::Completions(args) => completions::run(args, &global).await,
        Command::Contact(args) => contact::run(args, &global).await,
        Command::Demo(args) => demo::run(args, &global).await,
        Command::Doctor(args) => doctor::run(args, &global).await,
        Command::Emergency(args) => emergency::run(args, &global).await,
        Command::Enrolment(args) => enrolment::run(args, &global).await,
        Command::Explain(args) => explain::run(args, &global).await,
        Command::Log(args) => log::run(args, &global).await,
        Command::Mode(args) => mode::run(args, &global).await,
        Command::Factor(args) => factor::run(args, &global).await,
        Command::Import(args) => import::run(args, &global).await,
        Command::Key(args) => key::run(args, &global).await,
        Command::Network(args) => network::run(args, &global).await,
        Command::Reload(args) => reload::run(args, &global).await,
        Command::Report(args) => report::run(args, &global).await,
        Command::Restart(args) => restart::run(args, &global).await,
        Command::Rules(args) => rules::run(args, &global).await,
        Command::Sender(args) => sender::run(args, &global).await,
        Command::Serve(args) => serve::run(args, &global).await,
        Command::Service(args) => service::run(args, &global).await,
        Command::Session(args) => session::run(args, &global).await,
        Command::Settings(args) => settings::run(args, &global).await,
        Command::Status(args) => status::run(args, &global).await,
        Command::Template(args) => template::run(args, &global).await,
        Command::Terminal(args) => terminal::run(args, &global).await,
        Command::User(args) => user::run(args, &global).await,
        Command::WhatIf(args) => what_if::run(args, &global).await,
    }
}

/// The gateway refused, or gave an answer to another question.
pub(crate) fn unexpected(answer: Answer) -> anyhow::Error {
    match answer {
        Answer::Refused { message } => anyhow::anyhow!("{message}"),
        Answer::NotFound { message } => NotFound(message).into(),
        Answer::Status { .. }
        | Answer::Sessions { .. }
        | Answer::Ended { .. }
        | Answer::Log { .. }
        | Answer::Reloaded { .. }
        | Answer::Restarting { .. }
        | Answer::Sockets { .. }
        | Answer::Released => anyhow::anyhow!("the gateway gave an answer to another question"),
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    let store = error.downcast_ref::<store::Error>().or_else(|| match error.downcast_ref::<delivery::Fault>() {
        Some(delivery::Fault::Store(error)) => Some(error),
        Some(delivery::Fault::NoRandomness(_) | delivery::Fault::Unsealed(_)) | None => None,
    });
    let missing = matches!(store, Some(store::Error::Missing(_) | store::Error::Setting(SettingError::Unknown(_))));
    if error.is::<NotFound>() || missing {
        NOT_FOUND.into()
    } else if error.is::<Usage>() || matches!(store, Some(store::Error::Setting(_))) || error.is::<ConfigError>() {
        USAGE.into()
    } else {
        FAILED.into()
    }
}

fn start_logging(cli: &Cli) -> anyhow::Result<()> {
    let default = if matches!(cli.command, Command::Serve(_)) { "info" } else { "warn" };
    let level = cli.global.log.as_deref().unwrap_or(default);
    let format = match cli.global.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    crate::log::start(level, format).map_err(|error| Usage(format!("--log: {error}")).into())
}

/// Prints one line to standard output.
pub(crate) fn print_line(text: impl Display) -> anyhow::Result<()> {
    quiet_pipe(writeln!(io::stdout().lock(), "{text}"))
}

/// Prints `value` as JSON, indented, to standard output.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> anyhow::Result<()> {
    print_line(serde_json::to_string_pretty(value)?)
}

/// Prints a table to standard output.
pub(crate) fn print_table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> anyhow::Result<()> {
    print_line(table(headers, rows))
}

fn table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(headers.iter().map(|header| header.to_uppercase()));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A reader that has seen enough (`| head`) is no failure.
fn quiet_pipe(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn errors_choose_the_exit_code() {
        assert_eq!(exit_code(&NotFound("no user X".into()).into()), NOT_FOUND.into());
        assert_eq!(exit_code(&anyhow::Error::from(Usage("no".into())).context("in context")), USAGE.into());
        assert_eq!(exit_code(&anyhow::anyhow!("broken")), FAILED.into());
    }

    #[test]
    fn tables_align_and_leave_no_space_at_line_ends() {
        let text = table(&["user", "contact"], [vec!["ANNA".into(), "a".into()], vec!["B".into(), "bb".into()]]);
        assert_eq!(text, "USER  CONTACT\nANNA  a\nB     bb");
    }
}
