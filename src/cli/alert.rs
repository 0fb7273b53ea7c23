//! `sallyport alert`: what operators were alerted of, and whether alerts arrive.

use std::process::ExitCode;
use std::time::Duration;

use policy::rule::Block;
use policy::{AlertKind, User};
use serde::Serialize;

use super::admin::{Admin, counted, local, operator};
use super::audit::time;
use super::{FAILED, Global, print_json, print_line, print_table};
use crate::audit::{Event, Sealed, neutral};
use crate::store::{Filter, State};

/// How often is looked whether a test alert has arrived.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// List what operators were alerted of, and test whether alerts arrive.
///
/// Alerts are mailed to the addresses of [alerts] email, and go to every sink of the audit, of which some may get nothing else:
/// docs/alerts.md tells of kinds, thresholds and channels.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport alert list --since 24h
  sallyport alert list --kind lockout --user ANNA
  sallyport alert list --from 203.0.113.0/24 --json | jq '.[].detail'
  sallyport alert test
  sallyport settings set alert.rejections 20
  sallyport settings set alert.muted provider-down,sink-down")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the newest alerts, the oldest of them first.
    List {
        /// Of this kind: rejections, lockout, code-bombing, password-known, emergency, protection-lowered, provider-down, provider-up,
        /// node-down, node-up, sink-down, sink-up, sink-lost, enrolment-waits, messages-lost, test.
        #[arg(long, value_parser = kind)]
        kind: Option<AlertKind>,
        /// About this user.
        #[arg(long)]
        user: Option<User>,
        /// About this address, network or range.
        #[arg(long, value_name = "NETWORK")]
        from: Option<Block>,
        /// Raised by this node.
        #[arg(long)]
        node: Option<String>,
        /// At this time or later: 90m, 2h, 3d, 2026-11-22, "2026-11-22 14:00" (in the gateway's zone), 2026-11-22T13:00:00Z.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Before this time.
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// How many.
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
        last: usize,
    },
    /// Raise a test alert through every channel, and wait what comes of it: the audit, the mails, the sinks.
    Test {
        /// How long to wait. A syslog receiver counts as having taken an entry after twelve seconds at the earliest.
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
        wait: u64,
    },
}

fn kind(text: &str) -> Result<AlertKind, String> {
    text.parse().map_err(|_| format!("expected one of: {}", AlertKind::ALL.map(AlertKind::as_str).join(", ")))
}

/// What came of a test by one channel.
#[derive(Debug, Clone, Serialize)]
struct Channel {
    channel: String,
    arrived: bool,
    what: String,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let zone = &admin.config.gateway.time_zone;
    match args.verb {
        Verb::List { kind, user, from, node, since, until, last } => {
            let at = |text: Option<String>| text.map(|text| time(&text, admin.now, zone)).transpose();
            let filter = Filter {
                event: Some(Event::Alert),
                reason: kind.map(|kind| kind.as_str().to_owned()),
                user,
                source: from,
                node,
                since: at(since)?,
                until: at(until)?,
                ..Filter::default()
            };
            let alerts = admin.store.entries(filter, last).await?;
            global.print_list(&alerts, &["time", "kind", "node", "what"], |line| row(line, &admin))?;
            if !global.json {
                for waiting in admin.store.alerts_waiting().await? {
                    let count = counted(usize::try_from(waiting.waiting).unwrap_or(usize::MAX), "alert");
                    print_line(format_args!("{count} of {} more, told when the pause is over.", waiting.kind))?;
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Test { wait } => test(&admin, global, Duration::from_secs(wait)).await,
    }
}

fn row(line: &Sealed, admin: &Admin) -> Vec<String> {
    let text = |value: &Option<String>| value.as_deref().map(|value| neutral(value).into_owned()).unwrap_or_default();
    let entry = &line.entry;
    vec![
        local(entry.at, &admin.config.gateway.time_zone),
        text(&entry.reason),
        neutral(&entry.node).into_owned(),
        text(&entry.detail),
    ]
}

async fn test(admin: &Admin, global: &Global, wait: Duration) -> anyhow::Result<ExitCode> {
    let post = admin.post()?;
    let (entry, mails) = crate::alert::test(&post, &admin.system, &operator()).await?;
    let begun = admin.system.instant();
    let channels = loop {
        let channels = look(admin, entry, &mails).await?;
        let is_over = admin.system.instant().saturating_duration_since(begun) >= wait;
        if is_over || channels.iter().all(|channel| channel.arrived) {
            break channels;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if global.json {
        print_json(&channels)?;
    } else {
        print_table(
            &["channel", "arrived", "what"],
            channels.iter().map(|Channel { channel, arrived, what }| {
                vec![channel.clone(), if *arrived { "yes" } else { "NO" }.to_owned(), what.clone()]
            }),
        )?;
        if mails.is_empty() {
            print_line("Nobody is mailed: there is no address in [alerts] email.")?;
        }
    }
    // The audit alone tells nobody.
    let all = channels.len() > 1 && channels.iter().all(|channel| channel.arrived);
    Ok(if all { ExitCode::SUCCESS } else { FAILED.into() })
}

/// What has come of the test by now.
async fn look(admin: &Admin, entry: i64, mails: &[String]) -> anyhow::Result<Vec<Channel>> {
    let mut channels =
        vec![Channel { channel: "audit".to_owned(), arrived: true, what: format!("entry {entry} is written") }];
    for (mail, address) in mails.iter().zip(&admin.config.alerts) {
        let found = admin.store.whereabouts(mail.clone()).await?;
        let (arrived, what) = match found.map(|found| (found.state, found.reason)) {
            Some((State::Sent, _)) => (true, "a relay took it".to_owned()),
            Some((state @ (State::Queued | State::Sending), reason)) => {
                let why = if reason.is_empty() { "is sallyport serve running?" } else { &reason };
                (false, format!("{}: {why}", state.as_str()))
            }
            Some((state @ (State::Failed | State::Cancelled | State::Unknown | State::Expired), reason)) => {
                (false, format!("{} {reason}", state.as_str()))
            }
            None => (false, "lost".to_owned()),
        };
        channels.push(Channel { channel: format!("mail to {address}"), arrived, what });
    }
    let known = admin.store.sinks().await?;
    for sink in &admin.config.audit.sinks {
        let through = known.iter().find(|state| state.name == *sink.name).map(|state| state.through);
        let (arrived, what) = match through {
            Some(through) if through >= entry => (true, "it took it".to_owned()),
            Some(_) => (false, "it waits".to_owned()),
            None => (false, "it begins with the next start of the gateway".to_owned()),
        };
        channels.push(Channel { channel: format!("sink {}", sink.name), arrived, what });
    }
    Ok(channels)
}
