//! `sallyport emergency`: let a user in when the second factor cannot be had.

use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};
use policy::{Emergency, User};
use serde::Serialize;

use super::admin::{Admin, counted, operator};
use super::{Global, Usage};
use crate::audit::Event;
use crate::code;
use crate::key::Key;
use crate::system::System;

/// Let a user in when the second factor cannot be had: without one for some hours, or with a code for one use.
///
/// Each takes a reason and an end, and stands in the audit as an emergency of its own, with each use. Where the setting
/// emergency.approval is two, an override counts once a second operator (another user of this machine) has approved it.
/// Locks, disabled users and denied networks hold all the same.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport emergency grant ANNA --hours 2 --reason 'telephone lost, ticket 4711'
  sallyport emergency approve 3
  sallyport emergency list
  sallyport emergency end ANNA
  sallyport emergency code ANNA --hours 1 --reason 'telephone lost, called back'
  sallyport emergency code ANNA --days 365 --reason 'envelope in the safe'     to be kept sealed
  sallyport emergency revoke ANNA")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Let a user in without a second factor for some hours.
    Grant {
        /// The user.
        user: User,
        /// For how many hours; the setting emergency.hours says how many there may be.
        #[arg(long, default_value_t = 1)]
        hours: u32,
        /// Why, for the audit.
        #[arg(long)]
        reason: String,
    },
    /// Approve an override that another operator granted.
    Approve {
        /// The override's number.
        number: i64,
    },
    /// End the override of a user.
    End {
        /// The user.
        user: User,
    },
    /// Issue a code for one use. It is shown once, and kept as a keyed hash only.
    Code {
        /// The user.
        user: User,
        /// For how many hours it counts.
        #[arg(long, conflicts_with = "days", value_parser = clap::value_parser!(u32).range(1..=24), default_value_t = 24)]
        hours: u32,
        /// For how many days it counts: for codes that are kept in a sealed envelope.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: Option<u32>,
        /// Why, for the audit.
        #[arg(long)]
        reason: String,
    },
    /// Take back the codes of a user that were not used.
    Revoke {
        /// The user.
        user: User,
    },
    /// List overrides and codes.
    List {
        /// Those that are over as well.
        #[arg(long)]
        all: bool,
    },
}

/// An override or a code, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    number: i64,
    kind: &'static str,
    user: String,
    state: &'static str,
    until: Timestamp,
    reason: String,
    granted_by: String,
    approved_by: Option<String>,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    let entry = |reason: &str, what: &str, user: &User| admin.entry_of(Event::Emergency, reason, what).user(Some(user));
    match args.verb {
        Verb::Grant { user, hours, reason } => {
            let reason = given(reason)?;
            let entry = entry("emergency-granted", &format!("for {hours} h: {reason}"), &user);
            let granted = store.grant_override(user.clone(), reason, hours, operator(), entry).await?;
            let until = admin.local(granted.until);
            let text = if granted.needs_approval {
                let id = granted.id;
                format!("Override {id} waits for a second operator: sallyport emergency approve {id}")
            } else {
                format!("User {user} is let in without a second factor until {until} (override {}).", granted.id)
            };
            global.print_one(&granted, text)?;
        }
        Verb::Approve { number } => {
            let entry = admin.entry_of(Event::Emergency, "emergency-approved", &format!("override {number}"));
            let granted = store.approve_override(number, operator(), entry).await?;
            let (user, until) = (&granted.user, admin.local(granted.until));
            global.print_one(
                &granted,
                format_args!("User {user} is let in without a second factor until {until} (override {number})."),
            )?;
        }
        Verb::End { user } => {
            let entry = entry("emergency-ended", "ended", &user);
            let ended = store.end_override(user.clone(), operator(), entry).await?;
            let text = if ended == 0 { "had no override" } else { "is asked for the second factor again" };
            let json = serde_json::json!({ "user": user.as_str(), "ended": ended });
            global.print_one(&json, format_args!("User {user} {text}."))?;
        }
        Verb::Code { user, hours, days, reason } => {
            let reason = given(reason)?;
            let system = System::new();
            let key = Key::open(&admin.config.gateway.key_file, &system)?;
            let secret = code::draw(&system)?;
            let time = SignedDuration::from_hours(days.map_or(i64::from(hours), |days| i64::from(days) * 24));
            let until = admin.now.checked_add(time).unwrap_or(admin.now);
            let entry = entry("emergency-code-issued", &format!("until {until:.0}: {reason}"), &user);
            let hash = key.code_hash("one-time", &user, secret.expose());
            let number = store.issue_code(user.clone(), hash, reason, operator(), until, entry).await?;
            let json = serde_json::json!({
                "number": number, "user": user.as_str(), "code": secret.expose(), "expires_at": until,
            });
            global.print_one(
                &json,
                format_args!(
                    "Code {number} for {user}, for one use until {}:\n\n    {}\n\nIt is not shown again. At the sign-on: F6=Another way, Emergency code. By FTP: PASSWORD:CODE.",
                    admin.local(until),
                    secret.expose()
                ),
            )?;
        }
        Verb::Revoke { user } => {
            let revoked = store.revoke_codes(user.clone(), entry("emergency-codes-revoked", "revoked", &user)).await?;
            let json = serde_json::json!({ "user": user.as_str(), "revoked": revoked });
            global.print_one(&json, format_args!("{} of {user} taken back.", counted(revoked, "code")))?;
        }
        Verb::List { all } => list(&admin, global, all).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(admin: &Admin, global: &Global, all: bool) -> anyhow::Result<()> {
    let mut shown = Vec::new();
    for granted in admin.store.overrides().await? {
        let Emergency { until, pending, .. } = granted.emergency();
        let state = match (granted.ended_at.is_some(), until <= admin.now, pending) {
            (true, _, _) => "ended",
            (false, true, _) => "over",
            (false, false, true) => "waits for approval",
            (false, false, false) => "in force",
        };
        shown.push(Shown {
            number: granted.id,
            kind: "override",
            user: granted.user,
            state,
            until,
            reason: granted.reason,
            granted_by: granted.granted_by,
            approved_by: granted.approved_by,
        });
    }
    for code in admin.store.codes(None).await? {
        let state = if code.used_at.is_some() {
            "used"
        } else if code.revoked_at.is_some() {
            "revoked"
        } else if code.is_open(admin.now) {
            "open"
        } else {
            "over"
        };
        shown.push(Shown {
            number: code.id,
            kind: "code",
            user: code.user,
            state,
            until: code.expires_at,
            reason: code.reason,
            granted_by: code.issued_by,
            approved_by: None,
        });
    }
    shown.retain(|shown| all || matches!(shown.state, "in force" | "waits for approval" | "open"));
    let headers = ["number", "kind", "user", "state", "until", "granted by", "approved by", "reason"];
    global.print_list(&shown, &headers, |shown| {
        vec![
            shown.number.to_string(),
            shown.kind.to_owned(),
            shown.user.clone(),
            shown.state.to_owned(),
            admin.local(shown.until),
            shown.granted_by.clone(),
            shown.approved_by.clone().unwrap_or_default(),
            shown.reason.clone(),
        ]
    })
}

fn given(reason: String) -> Result<String, Usage> {
    let is_reason = reason.trim().chars().count() >= 5;
    if is_reason {
        Ok(reason.trim().to_owned())
    } else {
        Err(Usage("--reason takes five characters at least".to_owned()))
    }
}
