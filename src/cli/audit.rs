//! `sallyport audit`: what happened, what is happening, and whether it is what was written.

mod keep;
mod prove;
mod take;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use policy::rule::Block;
use policy::{Service, User};

use super::admin::{Admin, local};
use super::{Global, Usage};
use crate::audit::Sealed;
use crate::audit::{Event, Outcome, neutral};
use crate::store::Filter;

/// How often `follow` looks for new entries.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many new entries `follow` reads at a time.
const READ_MAX: usize = 10_000;

/// List, follow, export, verify and archive audit entries.
///
/// There is an entry for every connection, decision, passcode and change. No entry holds a password or a passcode. Each entry's hash
/// covers the one before it, and checkpoints sign the whole: docs/audit.md tells how an auditor verifies.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport audit list --user ANNA --since 2h
  sallyport audit list --outcome denied --since 2026-11-22
  sallyport audit list --event unknown-display
  sallyport audit follow --from 203.0.113.0/24
  sallyport audit follow --json | jq -c 'select(.outcome == \"denied\")'
  sallyport audit export --format csv --since 2026-10-01 --until 2026-11-01 --to october.csv
  sallyport audit verify
  sallyport audit checkpoint > checkpoint.json
  sallyport audit archive --before 2026-01-01 --to audit-2025.jsonl")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the newest entries, the oldest of them first.
    List {
        #[command(flatten)]
        wanted: Wanted,
        /// How many.
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100)]
        last: usize,
    },
    /// Print entries as they are written, until interrupted. With `--json`, one object a line.
    Follow {
        #[command(flatten)]
        wanted: Wanted,
        /// How many older ones to begin with.
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
        last: usize,
    },
    Export(take::Export),
    Verify(prove::Verify),
    /// Sign how far the chain has come, and print that as JSON: keep it elsewhere, for `verify --checkpoint`.
    Checkpoint,
    Key(prove::Key),
    Archive(keep::Archive),
    /// List the sinks: how far each has come, what waits, and what left the store before they got it.
    Sinks,
    /// Forget a sink that is no longer in the configuration.
    ForgetSink {
        /// Its name.
        name: String,
    },
}

/// Which entries: those that fit all that is given.
#[derive(Debug, clap::Args)]
struct Wanted {
    /// Of this user.
    #[arg(long)]
    user: Option<User>,
    /// From this address, network or range.
    #[arg(long, value_name = "NETWORK")]
    from: Option<Block>,
    /// To this host.
    #[arg(long)]
    host: Option<String>,
    /// By this service.
    #[arg(long)]
    service: Option<Service>,
    /// Of this connection, by its number.
    #[arg(long)]
    connection: Option<String>,
    /// Of this kind: sign-on, passcode, passcode-sent, connection-opened, host-refused, changed ...
    #[arg(long, value_parser = event)]
    event: Option<Event>,
    /// With this outcome: allowed, challenged, denied, observed, failed, noted.
    #[arg(long, value_parser = outcome)]
    outcome: Option<Outcome>,
    /// With this reason code.
    #[arg(long)]
    reason: Option<String>,
    /// Written by this node.
    #[arg(long)]
    node: Option<String>,
    /// At this time or later: 90m, 2h, 3d, 2026-11-22, "2026-11-22 14:00" (in the gateway's zone), 2026-11-22T13:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Wanted {
    fn filter(self, now: Timestamp, zone: &TimeZone) -> Result<Filter, Usage> {
        let time = |text: Option<String>| text.map(|text| time(&text, now, zone)).transpose();
        Ok(Filter {
            user: self.user,
            source: self.from,
            host: self.host,
            service: self.service,
            connection: self.connection,
            event: self.event,
            outcome: self.outcome,
            reason: self.reason,
            since: time(self.since)?,
            until: time(self.until)?,
            node: self.node,
            after: None,
        })
    }
}

fn event(text: &str) -> Result<Event, String> {
    let names = || Event::ALL.map(Event::as_str).join(", ");
    Event::ALL.into_iter().find(|event| event.as_str() == text).ok_or_else(|| format!("expected one of: {}", names()))
}

fn outcome(text: &str) -> Result<Outcome, String> {
    let names = || Outcome::ALL.map(Outcome::as_str).join(", ");
    Outcome::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| format!("expected one of: {}", names()))
}

/// A time as people write it: how long ago, a date, a date and time of day in `zone`, or a time stamp with its zone.
pub(super) fn time(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Usage> {
    let text = text.trim();
    let ago = || text.parse::<Span>().ok().and_then(|span| now.to_zoned(zone.clone()).checked_sub(span).ok());
    let civil = || text.parse::<civil::DateTime>().ok().and_then(|time| time.to_zoned(zone.clone()).ok());
    let date = || text.parse::<civil::Date>().ok().and_then(|date| date.to_zoned(zone.clone()).ok());
    let stamp = || text.parse::<Timestamp>().ok();
    stamp().or_else(|| civil().or_else(date).or_else(ago).map(|time| time.timestamp())).ok_or_else(|| {
        Usage(format!("`{text}` is no time; expected for instance 2h, 2026-11-22 or 2026-11-22T13:00:00Z"))
    })
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let zone = &admin.config.gateway.time_zone;
    match args.verb {
        Verb::Export(export) => return take::export(export, &admin).await,
        Verb::Verify(verify) => return prove::verify(verify, &admin, global).await,
        Verb::Checkpoint => return prove::checkpoint(&admin).await,
        Verb::Key(key) => return prove::key(&key, &admin, global),
        Verb::Archive(archive) => return keep::archive(archive, &admin, global).await,
        Verb::Sinks => return keep::sinks(&admin, global).await,
        Verb::ForgetSink { name } => return keep::forget_sink(name, &admin, global).await,
        Verb::List { wanted, last } => {
            let lines = admin.store.entries(wanted.filter(admin.now, zone)?, last).await?;
            let headers =
                ["time", "event", "outcome", "reason", "user", "source", "service", "host", "connection", "detail"];
            global.print_list(&lines, &headers, |line| cells(line, zone))?;
        }
        Verb::Follow { wanted, last } => {
            let mut filter = wanted.filter(admin.now, zone)?;
            let mut newest = admin.store.newest_entry().await?;
            let mut lines = admin.store.entries(filter.clone(), last).await?;
            loop {
                newest = lines.last().map_or(newest, |line| newest.max(line.id));
                if !print(&lines, zone, global.json)? {
                    return Ok(ExitCode::SUCCESS);
                }
                tokio::time::sleep(LOOK_EVERY).await;
                filter.after = Some(newest);
                lines = admin.store.entries(filter.clone(), READ_MAX).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells on a terminal how far a long run is.
pub(super) fn progress(what: &'static str) -> impl Fn(u64) + Send + 'static {
    const EVERY: u64 = 20_000;
    let is_shown = io::stderr().is_terminal();
    move |count| {
        if is_shown && count % EVERY == 0 {
            // Whoever closed standard error misses it.
            let _ = write!(io::stderr(), "\r{what} {count} entries ");
        }
    }
}

/// Ends the line of [`progress`].
pub(super) fn progress_ends() {
    if io::stderr().is_terminal() {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

/// Prints `lines` one by one; whether somebody still reads.
fn print(lines: &[Sealed], zone: &TimeZone, json: bool) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    for line in lines {
        let text = if json { serde_json::to_string(line)? } else { row(line, zone) };
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            written => written?,
        }
    }
    Ok(true)
}

fn row(line: &Sealed, zone: &TimeZone) -> String {
    let mut cells = cells(line, zone);
    cells.retain(|cell| !cell.is_empty());
    cells.join("  ")
}

/// What is shown of an entry. Entries are free of control characters when written; whoever reads a terminal is not left
/// to trust that.
fn cells(line: &Sealed, zone: &TimeZone) -> Vec<String> {
    let entry = &line.entry;
    let text = |value: &Option<String>| value.as_deref().map(|value| neutral(value).into_owned()).unwrap_or_default();
    let connection = entry.connection.as_deref().and_then(|id| id.get(..12)).unwrap_or_default();
    vec![
        local(entry.at, zone),
        entry.event.as_str().to_owned(),
        entry.outcome.as_str().to_owned(),
        text(&entry.reason),
        text(&entry.user),
        entry.source.map(|source| source.to_string()).unwrap_or_default(),
        entry.service.map(|service| service.to_string()).unwrap_or_default(),
        text(&entry.host),
        neutral(connection).into_owned(),
        text(&entry.detail),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (text, expected) in [
            ("2h", "2026-11-22T10:00:00Z"),
            ("90m", "2026-11-22T10:30:00Z"),
            ("3d", "2026-11-19T12:00:00Z"),
            ("2026-11-22", "2026-11-21T23:00:00Z"),
            ("2026-11-22 14:00", "2026-11-22T13:00:00Z"),
            ("2026-11-22T13:00:00Z", "2026-11-22T13:00:00Z"),
        ] {
            assert_eq!(time(text, now, &zone).unwrap(), expected.parse().unwrap(), "{text}");
        }
        for text in ["", "yesterday", "2026-13-01"] {
            assert!(time(text, now, &zone).is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_events_and_outcomes() {
        assert_eq!(event("sign-on"), Ok(Event::SignOn));
        assert!(event("nonsense").unwrap_err().contains("passcode-sent"));
        assert_eq!(outcome("denied"), Ok(Outcome::Denied));
        assert!(outcome("").is_err());
    }
}
