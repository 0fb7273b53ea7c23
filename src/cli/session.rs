//! `sallyport session`: the live sessions of the running gateway.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ipnet::IpNet;
use jiff::Timestamp;
use policy::User;
use serde::Serialize;

use super::admin::{counted, local};
use super::{Global, NotFound, Usage, print_line};
use crate::audit::Outcome;
use crate::config::Config;
use crate::control::{self, Answer, Command};
use crate::sessions::{Selection, State, Summary};
use crate::store::{Filter, Store};
use crate::system::System;

/// As many digits of an id as a person needs to tell sessions apart.
const ID_SHOWN: usize = 12;
/// The most entries of a session's audit that are looked through for its admission.
const ENTRIES_MAX: usize = 1_000;

/// List the live sessions, look at one, or end some.
///
/// Speaks with the running gateway through its control socket, as the gateway's own user or root. After a restart the sessions
/// of the process before are listed and ended as well.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport session list
  sallyport session list --host PROD --state admitted
  sallyport session list --json | jq -r '.[] | select(.user == \"ANNA\") | .id'
  sallyport session show 3f9c2ab1d07e
  sallyport session end 3f9c2ab1d07e
  sallyport session end --user ANNA
  sallyport session end --source 10.1.0.0/16
  sallyport session end --all")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the live sessions, the oldest first.
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Show everything about a session: TLS, bytes, and by what it was admitted.
    Show {
        /// The id as `session list` shows it, or as many first digits as tell it from the others.
        id: String,
    },
    /// End sessions: the user sees a farewell, both connections are closed.
    End {
        /// The ids as `session list` shows them, or as many first digits as tell each from the others.
        #[arg(required_unless_present_any = ["all", "user", "source", "host", "listener", "state"],
              conflicts_with_all = ["user", "source", "host", "listener", "state"])]
        id: Vec<String>,
        #[command(flatten)]
        which: Which,
        /// All of them.
        #[arg(long, conflicts_with_all = ["id", "user", "source", "host", "listener", "state"])]
        all: bool,
    },
}

/// Which sessions: those that fit everything that is given.
#[derive(Debug, clap::Args)]
struct Which {
    /// Of this user.
    #[arg(long)]
    user: Option<User>,
    /// From this address or network.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// To this host.
    #[arg(long)]
    host: Option<String>,
    /// By this listener.
    #[arg(long)]
    listener: Option<String>,
    /// That have come this far.
    #[arg(long, value_parser = ["sign-on", "passcode", "admitted"])]
    state: Option<String>,
}

impl Which {
    fn selection(self, all: bool) -> Result<Selection, Usage> {
        let source = match &self.source {
            Some(text) => Some(
                text.parse::<IpNet>()
                    .or_else(|_| text.parse::<std::net::IpAddr>().map(|ip| IpNet::from(ip.to_canonical())))
                    .map_err(|_| Usage(format!("--source {text}: expected an address or a network, 10.1.0.0/16")))?,
            ),
            None => None,
        };
        let state = self.state.and_then(|name| State::ALL.into_iter().find(|state| state.as_str() == name));
        let user = self.user.map(|user| user.as_str().to_owned());
        let mut selection = Selection { user, source, host: self.host, listener: self.listener, state, all };
        // `list` without anything means all.
        selection.all |= selection == Selection::default();
        Ok(selection)
    }
}

/// A session and how it was admitted.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    session: Summary,
    admitted: Option<Admitted>,
}

/// By what a session was admitted, as the audit has it.
#[derive(Debug, Serialize)]
struct Admitted {
    at: Timestamp,
    reason: Option<String>,
    factor: Option<String>,
    rule: Option<i64>,
    detail: Option<String>,
}

/// The control sockets of the gateway and of those it took over from.
pub(super) fn sockets(control: &Path) -> Vec<PathBuf> {
    let before = control::predecessors(control).into_iter().map(|(path, _)| path);
    std::iter::once(control.to_owned()).chain(before).collect()
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.load()?;
    match args.verb {
        Verb::List { which } => {
            let selection = which.selection(false)?;
            let mut sessions = list(&config).await?;
            sessions.retain(|session| selection.is_met_by(session));
            let headers = ["id", "user", "source", "host", "listener", "state", "since", "from client", "from host"];
            global.print_list(&sessions, &headers, |session| row(session, &config))?;
        }
        Verb::Show { id } => {
            let mut fit: Vec<_> =
                list(&config).await?.into_iter().filter(|session| session.id.starts_with(&id)).collect();
            let session = match (fit.pop(), fit.len()) {
                (Some(session), 0) => session,
                (Some(_), others) => anyhow::bail!("{id}: {} sessions have an id that starts so", others + 1),
                (None, _) => return Err(NotFound(format!("{id}: no session has this id")).into()),
            };
            let admitted = admitted(&config, &session).await?;
            let shown = Shown { session, admitted };
            global.print_one(&shown, text(&shown, &config))?;
        }
        Verb::End { id: ids, which, all } => {
            if ids.is_empty() {
                return end_several(&config, global, which.selection(all)?).await;
            }
            for id in ids {
                end(&config, global, &id).await?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The sessions of all processes, the oldest first.
async fn list(config: &Config) -> anyhow::Result<Vec<Summary>> {
    let mut all = Vec::new();
    for socket in sockets(&config.gateway.control) {
        match control::ask(&socket, &Command::SessionList).await {
            Ok(Answer::Sessions { sessions }) => all.extend(sessions),
            Ok(other) => return Err(super::unexpected(other)),
            Err(error) if socket == config.gateway.control => return Err(error.into()),
            // One that was taken over from has ended meanwhile.
            Err(_) => {}
        }
    }
    all.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
    Ok(all)
}

async fn end(config: &Config, global: &Global, id: &str) -> anyhow::Result<()> {
    let mut missing = None;
    for socket in sockets(&config.gateway.control) {
        match control::ask(&socket, &Command::SessionEnd { id: id.to_owned() }).await {
            Ok(Answer::Ended { session }) => {
                let user = session.user.as_deref().unwrap_or("nobody");
                let text = format!("Session {} of {user} from {} ended.", short(&session.id), session.source);
                return global.print_one(&session, text);
            }
            Ok(Answer::NotFound { message }) => missing = Some(message),
            Ok(Answer::Refused { message }) => anyhow::bail!("{id}: {message}"),
            Ok(other) => return Err(super::unexpected(other)),
            Err(error) if socket == config.gateway.control => return Err(error.into()),
            Err(_) => {}
        }
    }
    Err(NotFound(format!("{id}: {}", missing.unwrap_or_default())).into())
}

async fn end_several(config: &Config, global: &Global, selection: Selection) -> anyhow::Result<ExitCode> {
    let mut ended = Vec::new();
    for socket in sockets(&config.gateway.control) {
        match control::ask(&socket, &Command::SessionsEnd { selection: selection.clone() }).await {
            Ok(Answer::Sessions { sessions }) => ended.extend(sessions),
            Ok(other) => return Err(super::unexpected(other)),
            Err(error) if socket == config.gateway.control => return Err(error.into()),
            Err(_) => {}
        }
    }
    if global.json {
        super::print_json(&ended)?;
    } else {
        print_line(format_args!("{} ended.", counted(ended.len(), "session")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The last admission of `session` in the audit: it was written there before anybody was let in.
async fn admitted(config: &Config, session: &Summary) -> anyhow::Result<Option<Admitted>> {
    if session.state != State::Admitted {
        return Ok(None);
    }
    let store = Store::open(&config.gateway.store, System::new().now()).await?;
    let filter = Filter { connection: Some(session.id.clone()), ..Filter::default() };
    let entries = store.entries(filter, ENTRIES_MAX).await?;
    let entry = entries.into_iter().rev().map(|line| line.entry).find(|entry| match entry.outcome {
        Outcome::Allowed | Outcome::Observed => true,
        Outcome::Challenged | Outcome::Denied | Outcome::Failed | Outcome::Noted => false,
    });
    Ok(entry.map(|entry| Admitted {
        at: entry.at,
        reason: entry.reason,
        factor: entry.factor,
        rule: entry.rule,
        detail: entry.detail,
    }))
}

fn text(Shown { session, admitted }: &Shown, config: &Config) -> String {
    let zone = &config.gateway.time_zone;
    let tls = |tls: &Option<String>| tls.clone().unwrap_or_else(|| "none".to_owned());
    let mut lines = vec![
        format!("Session     {}", session.id),
        format!("State       {}", session.state.as_str()),
        format!("User        {}", session.user.as_deref().unwrap_or("not named yet")),
        format!("Source      {}", session.source),
        format!("Service     {} by listener {}, to host {}", session.service, session.listener, session.host),
        format!("Since       {}", local(session.since, zone)),
        format!("TLS         client: {}; host: {}", tls(&session.client_tls), tls(&session.host_tls)),
        format!("Bytes       {} from the client, {} from the host", session.client_bytes, session.host_bytes),
        format!("Transfers   {}", session.transfers),
        format!("Process     {}", session.process),
    ];
    if let Some(Admitted { at, reason, factor, rule, detail }) = admitted {
        let mut why = format!("{} because {}", local(*at, zone), reason.as_deref().unwrap_or("not told"));
        if let Some(factor) = factor {
            why = format!("{why}, factor {factor}");
        }
        if let Some(rule) = rule {
            why = format!("{why}, network rule {rule}");
        }
        if let Some(detail) = detail {
            why = format!("{why} ({detail})");
        }
        lines.push(format!("Admitted    {why}"));
    }
    lines.join("\n")
}

fn row(session: &Summary, config: &Config) -> Vec<String> {
    vec![
        short(&session.id).to_owned(),
        session.user.clone().unwrap_or_default(),
        session.source.to_string(),
        session.host.clone(),
        session.listener.clone(),
        session.state.as_str().to_owned(),
        local(session.since, &config.gateway.time_zone),
        session.client_bytes.to_string(),
        session.host_bytes.to_string(),
    ]
}

fn short(id: &str) -> &str {
    id.get(..ID_SHOWN).unwrap_or(id)
}
