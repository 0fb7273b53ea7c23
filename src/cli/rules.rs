//! `sallyport rules`: all rules as a whole: their versions, what differs between them, and what in them deserves a second look.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use policy::check::{self, Finding, Severity};
use serde::Serialize;

use super::admin::Admin;
use super::{FAILED, Global, Usage, print_line};
use crate::rulebook::{Difference, Rulebook};
use crate::store::{Reading, Version};

/// Look at all rules as a whole, go back to how they were, take them elsewhere.
///
/// Every change of a setting, network, mode, service account or user's override makes a version: when, who, what, and all rules as
/// they were from then on. docs/rules.md tells of all kinds of rules, and of what is no rule and so never comes back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport rules history
  sallyport rules diff 12                     what version 12 changed
  sallyport rules diff 12 15                  what changed between them
  sallyport rules rollback 12 --dry-run
  sallyport rules rollback 12
  sallyport rules export > rules.json
  sallyport what-if --since 30d --rules rules.json
  sallyport rules import rules.json --dry-run
  sallyport rules check")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the versions, the newest last.
    History {
        /// How many.
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
        last: usize,
    },
    /// Print the rules of a version as JSON.
    Show {
        /// The version's number, as `rules history` shows it.
        number: i64,
    },
    /// Print what differs between two versions.
    Diff {
        /// The earlier one; alone: what it changed.
        number: i64,
        /// The later one.
        other: Option<i64>,
    },
    /// Have the rules of a version count again: a change like any other, which makes a version.
    Rollback {
        /// The version's number, as `rules history` shows it.
        number: i64,
        /// Print what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Print all rules as JSON, as they are now.
    Export {
        /// The file to make, for the gateway's user only; it must not be there yet.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Have the rules of a file count in place of all that there are.
    Import {
        /// A file as `rules export` writes it.
        file: PathBuf,
        /// Print what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Tell what in the rules deserves a second look, and what to do. Exit code 1 where there is a problem.
    Check,
}

/// What was, or would be, laid down.
#[derive(Debug, Serialize)]
struct Laid {
    /// The version that it made; `None`: nothing changed.
    version: Option<i64>,
    dry_run: bool,
    changes: Vec<Difference>,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::History { last } => {
            let versions = store.versions(last).await?;
            let headers = ["version", "time", "operator", "reason", "change"];
            global.print_list(&versions, &headers, |version| row(version, &admin))?;
        }
        Verb::Show { number } => print_line(pretty(&store.version(Some(number)).await?.1)?)?,
        Verb::Diff { number, other } => {
            let (_, one) = store.version(Some(number)).await?;
            let (before, after) = match other {
                Some(other) => (one, store.version(Some(other)).await?.1),
                None if number <= 1 => (Rulebook::default(), one),
                None => (store.version(Some(number - 1)).await?.1, one),
            };
            print_changes(&before.difference(&after), global)?;
        }
        Verb::Rollback { number, dry_run } => {
            let (version, mut book) = store.version(Some(number)).await?;
            let unknown = name_hosts(&admin, &mut book);
            if !unknown.is_empty() {
                // What was in force is to come back, whatever the configuration has lost since: it counts for nobody.
                let unknown = unknown.join("; ");
                tracing::warn!("{unknown}: rules for it come back too, and count for nobody");
            }
            let what = format!("rules of version {} of {}", version.number, admin.local(version.at));
            lay_down(&admin, global, book, ("rules-rolled-back", &what), dry_run).await?;
        }
        Verb::Export { to } => {
            let text = pretty(&store.rulebook().await?)?;
            match to {
                None => print_line(text)?,
                Some(path) => write(&path, &text)?,
            }
        }
        Verb::Import { file, dry_run } => {
            let mut book = read(&file)?;
            // A rule for a host that the configuration does not have would count for nobody it was meant for.
            let unknown = name_hosts(&admin, &mut book);
            if !unknown.is_empty() {
                return Err(Usage(format!("{}: {}", file.display(), unknown.join("; "))).into());
            }
            // Numbers of another store mean nothing here.
            let book = book.numbered_as(&store.rulebook().await?);
            lay_down(&admin, global, book, ("rules-imported", &file.display().to_string()), dry_run).await?;
        }
        Verb::Check => return check(&admin, global).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn row(version: &Version, admin: &Admin) -> Vec<String> {
    vec![
        version.number.to_string(),
        admin.local(version.at),
        version.operator.clone(),
        version.reason.clone(),
        version.change.clone(),
    ]
}

/// The rules of a file.
pub(super) fn read(file: &Path) -> anyhow::Result<Rulebook> {
    let text = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let wrong = |fault| Usage(format!("{}: {fault}", file.display()));
    Ok(Rulebook::parse(&text).map_err(wrong)?)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("{} cannot be made", path.display()))?;
    writeln!(file, "{text}")?;
    Ok(file.sync_all()?)
}

fn pretty(book: &Rulebook) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(book)?)
}

fn print_changes(changes: &[Difference], global: &Global) -> anyhow::Result<()> {
    if global.json {
        return super::print_json(changes);
    }
    if changes.is_empty() {
        return print_line("Nothing differs.");
    }
    changes.iter().try_for_each(|change| print_line(change.line()))
}

async fn lay_down(
    admin: &Admin,
    global: &Global,
    book: Rulebook,
    (reason, what): (&str, &str),
    dry_run: bool,
) -> anyhow::Result<()> {
    // In this order: whatever changes the rules between makes a newer version, and nothing is laid down.
    let seen = admin.store.versions(1).await?.first().map_or(0, |version| version.number);
    let changes = admin.store.rulebook().await?.difference(&book);
    let count = changes.len();
    if !global.json {
        print_changes(&changes, global)?;
    }
    let entry = admin.entry(reason, &format!("{what}; {count} changes"));
    let version = if dry_run {
        admin.store.try_lay_down(book, entry).await?;
        None
    } else {
        admin.store.lay_down(book, seen, entry).await?
    };
    let text = match (dry_run, version) {
        (true, _) => format!("\n{count} changes; nothing was changed (--dry-run)."),
        (false, Some(version)) => format!("\n{count} changes made; version {version}."),
        (false, None) => "\nNothing to change.".to_owned(),
    };
    global.print_one(&Laid { version, dry_run, changes }, text)
}

/// Has hosts be called in `book` what the configuration calls them, and tells of those that it does not have.
pub(super) fn name_hosts(admin: &Admin, book: &mut Rulebook) -> Vec<String> {
    let known = |host: &str| super::network::known_host(&admin.config, host);
    let unknown = book.name_hosts(|host| known(host).ok().map(|host| host.to_string()));
    unknown.iter().filter_map(|host| known(host).err()).map(|error| error.to_string()).collect()
}

async fn check(admin: &Admin, global: &Global) -> anyhow::Result<ExitCode> {
    let (rules, path, now) = (admin.store.rules().await?, admin.config.gateway.store.clone(), admin.now);
    let today = now.to_zoned(admin.config.gateway.time_zone.clone()).date();
    let mut findings = check::findings(&rules, &admin.config.site(), today);
    let standings = tokio::task::spawn_blocking(move || Reading::open(&path)?.standings(now)).await??;
    findings.extend(check::users(&rules, standings.iter().map(|(user, standing)| (user, *standing))));
    findings.sort_by_key(|finding| finding.severity);
    let is_problem = |finding: &Finding| finding.severity == Severity::Problem;
    let code = if findings.iter().any(is_problem) { FAILED.into() } else { ExitCode::SUCCESS };
    if findings.is_empty() && !global.json {
        print_line("Nothing strange.")?;
        return Ok(code);
    }
    global.print_list(&findings, &["severity", "what", "what to do"], |finding| {
        vec![finding.severity.to_string(), finding.what.clone(), finding.remedy.clone()]
    })?;
    Ok(code)
}
