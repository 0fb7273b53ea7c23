//! `sallyport service`: unattended jobs that come in without a passcode.

use std::process::ExitCode;

use policy::account::{Days, Hours, Schedule};
use policy::rule::Block;
use policy::{Fingerprint, Service, ServiceAccount, User};
use serde::Serialize;

use super::admin::Admin;
use super::{Global, NotFound};

/// Let unattended jobs in without a passcode, from given addresses, at given hours.
///
/// A rule lets its user in without a passcode where everything fits: service, address, day, hour (in the gateway's time
/// zone) and, if one is named, the client's certificate. The host still checks the password. Such a user need not be
/// registered, and is better not: then nobody gets in under that name from anywhere else. Changes take effect at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport service add NIGHTJOB --from 10.20.1.7 --hours 22:00-05:00 --days mon-fri
  sallyport service add EDIJOB --from 192.0.2.0/28 --certificate 5f:9a:...:0c --comment 'EDI partner'
  sallyport service list
  sallyport service remove 3")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Add a rule.
    Add {
        /// The user profile that the job uses on the host.
        user: User,
        /// From where it comes: an address, a network (10.1.0.0/16), or a range (10.1.2.3-10.1.2.99).
        #[arg(long, value_name = "NETWORK")]
        from: Block,
        /// On which days: mon-fri, sat,sun, daily.
        #[arg(long, default_value = "daily")]
        days: Days,
        /// At which hours of these days; past midnight where the end comes first.
        #[arg(long, default_value = "00:00-24:00")]
        hours: Hours,
        /// The SHA-256 fingerprint of the certificate that the client must show, as `openssl x509 -fingerprint -sha256`
        /// prints it. The listener must ask for certificates then.
        #[arg(long, value_name = "FINGERPRINT")]
        certificate: Option<Fingerprint>,
        /// The service: ftp or telnet.
        #[arg(long, default_value_t = Service::Ftp)]
        service: Service,
        /// Why.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
    },
    /// List the rules.
    List {
        /// Of this user only.
        #[arg(long)]
        user: Option<User>,
    },
    /// Remove a rule. Sessions that it let in go on.
    Remove {
        /// The rule's number, as `service list` shows it.
        number: i64,
    },
}

/// A rule, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    number: i64,
    user: String,
    service: Service,
    from: String,
    days: String,
    hours: String,
    certificate: Option<String>,
    comment: String,
}

impl From<&ServiceAccount> for Shown {
    fn from(account: &ServiceAccount) -> Self {
        Self {
            number: account.id,
            user: account.user.to_string(),
            service: account.service,
            from: account.block.to_string(),
            days: account.schedule.days.to_string(),
            hours: account.schedule.hours.to_string(),
            certificate: account.certificate.map(|certificate| certificate.to_string()),
            comment: account.comment.clone(),
        }
    }
}

impl Shown {
    fn sentence(&self) -> String {
        let Self { user, service, from, days, hours, .. } = self;
        let certificate = if self.certificate.is_some() { ", with its certificate" } else { "" };
        format!("{user} by {service} from {from}, {days} {hours}{certificate}")
    }
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::Add { user, from, days, hours, certificate, service, comment } => {
            let mut account = ServiceAccount {
                id: 0,
                user,
                service,
                block: from,
                schedule: Schedule { days, hours },
                certificate,
                comment,
            };
            let what = Shown::from(&account).sentence();
            let entry = admin.entry("service-account-added", &what).user(Some(&account.user));
            account.id = store.add_account(account.clone(), entry).await?;
            let hint = match store.user(account.user.clone()).await {
                Ok(_) => "\nThe user is registered, too, and is asked for a passcode wherever the rule does not fit.",
                Err(crate::store::Error::Missing(_)) => "",
                Err(error) => return Err(error.into()),
            };
            let shown = Shown::from(&account);
            global
                .print_one(&shown, format_args!("Rule {} lets in {what}, without a passcode.{hint}", shown.number))?;
        }
        Verb::List { user } => {
            let accounts = store.rules().await?.accounts;
            let shown: Vec<Shown> = accounts
                .iter()
                .filter(|account| user.as_ref().is_none_or(|user| account.user == *user))
                .map(Shown::from)
                .collect();
            let headers = ["number", "user", "service", "from", "days", "hours", "certificate", "comment"];
            global.print_list(&shown, &headers, |account| {
                vec![
                    account.number.to_string(),
                    account.user.clone(),
                    account.service.to_string(),
                    account.from.clone(),
                    account.days.clone(),
                    account.hours.clone(),
                    account.certificate.as_deref().map(abridged).unwrap_or_default(),
                    account.comment.clone(),
                ]
            })?;
        }
        Verb::Remove { number } => {
            let accounts = store.rules().await?.accounts;
            let account = accounts
                .iter()
                .find(|account| account.id == number)
                .ok_or_else(|| NotFound(format!("there is no service account rule {number}")))?;
            let shown = Shown::from(account);
            let entry = admin.entry("service-account-removed", &shown.sentence()).user(Some(&account.user));
            store.remove_account(number, entry).await?;
            global.print_one(&shown, format_args!("Rule {number} ({}) is removed.", shown.sentence()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Enough of a fingerprint to tell it from others; `--json` has all of it.
fn abridged(certificate: &str) -> String {
    let digits = certificate.strip_prefix("sha256:").unwrap_or(certificate);
    format!("{}...", digits.get(..16).unwrap_or(digits))
}
