//! `sallyport session`: the live sessions of the running gateway.

use std::process::ExitCode;

use jiff::tz::TimeZone;

use super::{Global, NotFound};
use crate::control::{self, Answer, Command};
use crate::sessions::Summary;

/// As many digits of an id as a person needs to tell sessions apart.
const ID_SHOWN: usize = 12;

/// List the live sessions, or end one.
///
/// Speaks with the running gateway through its control socket, as the gateway's own user or root.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport session list
  sallyport session list --json | jq -r '.[] | select(.user == \"ANNA\") | .id'
  sallyport session end 3f9c2ab1d07e")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the live sessions, the oldest first.
    List,
    /// End sessions: the user sees a farewell, both connections are closed.
    End {
        /// The ids as `session list` shows them, or as many first digits as tell each from the others.
        #[arg(required = true)]
        id: Vec<String>,
    },
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let config = global.load()?;
    let socket = &config.gateway.control;
    match args.verb {
        Verb::List => {
            let Answer::Sessions { sessions } = control::ask(socket, &Command::SessionList).await? else {
                anyhow::bail!("the gateway gave an answer to another question");
            };
            let headers = ["id", "user", "source", "host", "listener", "state", "since", "from client", "from host"];
            global.print_list(&sessions, &headers, |session| row(session, &config.gateway.time_zone))?;
        }
        Verb::End { id: ids } => {
            for id in ids {
                match control::ask(socket, &Command::SessionEnd { id: id.clone() }).await? {
                    Answer::Ended { session } => {
                        let user = session.user.as_deref().unwrap_or("nobody");
                        let text = format!("Session {} of {user} from {} ended.", short(&session.id), session.source);
                        global.print_one(&session, text)?;
                    }
                    Answer::NotFound { message } => return Err(NotFound(format!("{id}: {message}")).into()),
                    Answer::Refused { message } => anyhow::bail!("{id}: {message}"),
                    Answer::Sessions { .. } => anyhow::bail!("the gateway gave an answer to another question"),
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(session: &Summary, zone: &TimeZone) -> Vec<String> {
    vec![
        short(&session.id).to_owned(),
        session.user.clone().unwrap_or_default(),
        session.source.to_string(),
        session.host.clone(),
        session.listener.clone(),
        session.state.as_str().to_owned(),
        session.since.to_zoned(zone.clone()).strftime("%F %T").to_string(),
        session.client_bytes.to_string(),
        session.host_bytes.to_string(),
    ]
}

fn short(id: &str) -> &str {
    id.get(..ID_SHOWN).unwrap_or(id)
}
