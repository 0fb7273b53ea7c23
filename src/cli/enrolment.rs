//! `sallyport enrolment`: tickets for users who enrol at the sign-on, and approval of what they enrolled.

use std::process::ExitCode;

use jiff::SignedDuration;
use policy::User;

use super::Global;
use super::admin::{Admin, operator};
use crate::code;
use crate::key::Key;
use crate::system::System;

/// Hand out tickets to users who are to enrol at the sign-on, and approve what they enrolled.
///
/// Whether users may enrol at all is said by the setting enrolment, by `sallyport user enrolment` and by networks; what it
/// takes besides the password (a ticket, a network, an approval) by the setting enrolment.guard.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport settings set enrolment registered
  sallyport enrolment ticket ANNA
  sallyport enrolment tickets
  sallyport enrolment list
  sallyport enrolment approve 3
  sallyport enrolment reject 3")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Issue a ticket. It is shown once, and kept as a keyed hash only; the user's last one counts no longer.
    Ticket {
        /// The user.
        user: User,
    },
    /// Take back the ticket of a user.
    Revoke {
        /// The user.
        user: User,
    },
    /// List the tickets.
    Tickets {
        /// Those that were used or are over as well.
        #[arg(long)]
        all: bool,
    },
    /// List what waits for approval.
    List,
    /// Approve what a user enrolled: it counts from now on.
    Approve {
        /// Its number, as `enrolment list` shows it.
        number: i64,
    },
    /// Reject what a user enrolled: it is removed.
    Reject {
        /// Its number, as `enrolment list` shows it.
        number: i64,
    },
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::Ticket { user } => {
            let system = System::new();
            let key = Key::open(&admin.config.gateway.key_file, &system)?;
            let hours = store.rules().await?.settings.enrolment_ticket_hours;
            let until = admin.now.checked_add(SignedDuration::from_hours(hours.into())).unwrap_or(admin.now);
            let secret = code::draw(&system)?;
            let entry = admin.entry("enrolment-ticket-issued", &format!("until {until:.0}")).user(Some(&user));
            let hash = key.code_hash("ticket", &user, secret.expose());
            let number = store.issue_ticket(user.clone(), hash, operator(), until, entry).await?;
            let json = serde_json::json!({
                "number": number, "user": user.as_str(), "ticket": secret.expose(), "expires_at": until,
            });
            global.print_one(
                &json,
                format_args!(
                    "Ticket {number} for {user}, until {}:\n\n    {}\n\nIt is not shown again. Give it to the user in person.",
                    admin.local(until),
                    secret.expose()
                ),
            )?;
        }
        Verb::Revoke { user } => {
            let entry = admin.entry("enrolment-ticket-revoked", "revoked").user(Some(&user));
            let revoked = store.revoke_ticket(user.clone(), entry).await?;
            let text = if revoked { "can no longer use the ticket" } else { "had no ticket" };
            let json = serde_json::json!({ "user": user.as_str(), "revoked": revoked });
            global.print_one(&json, format_args!("User {user} {text}."))?;
        }
        Verb::Tickets { all } => {
            let mut tickets = store.tickets().await?;
            tickets.retain(|ticket| all || ticket.is_open(admin.now));
            let headers = ["number", "user", "state", "until", "issued by"];
            global.print_list(&tickets, &headers, |ticket| {
                let state = if ticket.used_at.is_some() {
                    "used"
                } else if ticket.revoked_at.is_some() {
                    "revoked"
                } else if ticket.is_open(admin.now) {
                    "open"
                } else {
                    "over"
                };
                vec![
                    ticket.id.to_string(),
                    ticket.user.clone(),
                    state.to_owned(),
                    admin.local(ticket.expires_at),
                    ticket.issued_by.clone(),
                ]
            })?;
        }
        Verb::List => {
            let waiting = store.pending_enrolments().await?;
            global.print_list(&waiting, &["number", "user", "what", "from", "host", "since"], |waiting| {
                vec![
                    waiting.id.to_string(),
                    waiting.user.clone(),
                    waiting.what.clone(),
                    waiting.source.clone(),
                    waiting.host.clone(),
                    admin.local(waiting.at),
                ]
            })?;
        }
        Verb::Approve { number } => settle(&admin, global, number, true).await?,
        Verb::Reject { number } => settle(&admin, global, number, false).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn settle(admin: &Admin, global: &Global, number: i64, approved: bool) -> anyhow::Result<()> {
    let (reason, text) = if approved {
        ("enrolment-approved", "counts from now on")
    } else {
        ("enrolment-rejected", "is rejected and removed")
    };
    let entry = admin.entry(reason, &format!("enrolment {number}"));
    let settled = admin.store.settle_enrolment(number, approved, entry).await?;
    let (user, what) = (&settled.user, &settled.what);
    global.print_one(&settled, format_args!("{what} of {user} {text}."))
}
