//! `sallyport sender`: whether messages are sent, by whom, and how that goes.

use std::process::ExitCode;

use jiff::SignedDuration;
use serde::Serialize;

use super::admin::{Admin, counted};
use super::{Global, Usage, print_line, print_table};
use crate::audit::Event;
use crate::notify;
use crate::store::SenderStatus;

/// Stop and start the sending of messages, and see how it goes.
///
/// The switch holds for all nodes at once. Stopped means that no message is sent, and that whoever needs a passcode is
/// refused. It never means that anybody gets in without one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport sender status
  sallyport sender stop --reason 'mail relay sends everything twice'
  sallyport sender start
  sallyport sender name --from 'Sallyport <gateway@example.com>' --reply-to helpdesk@example.com
  sallyport sender status --json | jq '.providers[] | select(.down)'")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Send no message any more, on no node: whoever needs a passcode is refused.
    Stop {
        /// Why; it stands in the audit, and where somebody asks why nobody gets in.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Send messages again.
    Start,
    /// Show the switch, the queue, the nodes that deliver, and how each relay and provider does.
    Status,
    /// By whose name mails are sent, and where replies go, instead of what the configuration says.
    Name {
        /// The sender: `Name <name@example.com>`; `configuration` for what [smtp] says.
        #[arg(long)]
        from: Option<String>,
        /// Where replies go; `configuration` for what [smtp] says.
        #[arg(long)]
        reply_to: Option<String>,
    },
}

/// After how long a node that was not heard of is said to be silent.
const SILENT: SignedDuration = SignedDuration::from_secs(60);

/// The status, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    status: SenderStatus,
    warnings: Vec<String>,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::Stop { reason } => {
            let entry = admin.entry_of(Event::Sender, "sender-stopped", &format!("no message is sent: {reason}"));
            store.switch_sender(true, reason, entry).await?;
            tracing::warn!("from now on whoever needs a passcode is refused");
            let text = "Messages are sent no more, on no node. Whoever needs a passcode is refused.";
            global.print_one(&store.sender().await?, text)?;
        }
        Verb::Start => {
            let entry = admin.entry_of(Event::Sender, "sender-started", "messages are sent again");
            store.switch_sender(false, String::new(), entry).await?;
            global.print_one(&store.sender().await?, "Messages are sent again.")?;
        }
        Verb::Status => status(&admin, global).await?,
        Verb::Name { from, reply_to } => {
            let before = store.sender().await?;
            let chosen = |what: &str, new: Option<String>, old: String| match new {
                None => Ok(old),
                Some(word) if word == "configuration" => Ok(String::new()),
                Some(address) if notify::is_sender(&address) => Ok(address),
                Some(other) => Err(Usage(format!(
                    "{what}: expected `name@example.com` or `Name <name@example.com>`, found `{other}`"
                ))),
            };
            let from = chosen("--from", from, before.from)?;
            let reply_to = chosen("--reply-to", reply_to, before.reply_to)?;
            let entry = admin.entry("sender-name", &format!("from {from}, reply to {reply_to}"));
            store.set_sender_name(from, reply_to, entry).await?;
            let after = store.sender().await?;
            let or = |text: &str| if text.is_empty() { "as [smtp] says".to_owned() } else { text.to_owned() };
            let text = format!("Mails come from: {}; replies go to: {}.", or(&after.from), or(&after.reply_to));
            global.print_one(&after, text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(admin: &Admin, global: &Global) -> anyhow::Result<()> {
    let status = admin.store.sender_status().await?;
    let warnings = warnings(admin, &status).await?;
    let shown = Shown { status, warnings };
    if global.json {
        return global.print_one(&shown, "");
    }
    let Shown { status, warnings } = &shown;
    let time = |at: Option<jiff::Timestamp>| at.map(|at| admin.local(at)).unwrap_or_default();
    let sender = &status.sender;
    let switch = if sender.stopped { "STOPPED" } else { "on" };
    let since = sender.changed_at.map(|at| format!(", since {}", admin.local(at))).unwrap_or_default();
    let why = if sender.reason.is_empty() { String::new() } else { format!(": {}", sender.reason) };
    print_line(format_args!("Sending is {switch}{since}{why}\n"))?;
    print_table(
        &["messages", "state", "oldest"],
        status
            .queue
            .iter()
            .map(|queue| vec![queue.messages.to_string(), queue.state.clone(), admin.local(queue.oldest)]),
    )?;
    print_line("")?;
    print_table(
        &["node that delivers", "since", "last heard of"],
        status
            .workers
            .iter()
            .map(|worker| vec![worker.node.clone(), admin.local(worker.started_at), admin.local(worker.seen_at)]),
    )?;
    print_line("")?;
    print_table(
        &["node", "provider", "state", "last success", "last failure", "failure"],
        status.providers.iter().map(|health| {
            let state = match (health.down, health.failures) {
                (true, failures) => format!("DOWN, {}", counted(usize::try_from(failures).unwrap_or(0), "failure")),
                (false, 0) => "works".to_owned(),
                (false, failures) => counted(usize::try_from(failures).unwrap_or(0), "failure"),
            };
            let (success, failure) = (time(health.last_success), time(health.last_failure));
            vec![health.node.clone(), health.provider.clone(), state, success, failure, health.code.clone()]
        }),
    )?;
    for warning in warnings {
        print_line(format_args!("\nWARNING: {warning}"))?;
    }
    Ok(())
}

/// What should be looked at.
async fn warnings(admin: &Admin, status: &SenderStatus) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    if status.sender.stopped {
        warnings.push("whoever needs a passcode is refused; sallyport sender start".to_owned());
    }
    let alive = |seen: jiff::Timestamp| admin.now.duration_since(seen) < SILENT;
    if !status.workers.iter().any(|worker| alive(worker.seen_at)) {
        warnings.push("no node delivers: is sallyport serve running?".to_owned());
    }
    let carriers = admin.store.carriers().await?;
    let today = admin.now.to_zoned(admin.config.gateway.time_zone.clone()).date();
    for (name, contacts) in &status.carriers_used {
        let contacts = counted(usize::try_from(*contacts).unwrap_or(0), "contact");
        match carriers.iter().find(|carrier| carrier.name == *name) {
            Some(carrier) if carrier.is_retired(today) => {
                warnings
                    .push(format!("{} takes no mail for numbers any more: nothing reaches {contacts}", carrier.title));
            }
            Some(carrier) => {
                if let Some(day) = carrier.retired_on {
                    warnings.push(format!("{} takes mail for numbers until {day} only: {contacts}", carrier.title));
                }
            }
            None => warnings.push(format!("carrier {name} is unknown: nothing reaches {contacts}")),
        }
    }
    Ok(warnings)
}
