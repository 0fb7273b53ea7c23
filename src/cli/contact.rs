//! `sallyport contact`: where passcodes are sent.

use std::process::ExitCode;

use policy::User;
use policy::challenge::mask;
use serde::Serialize;

use super::admin::Admin;
use super::{Global, NotFound, Usage};
use crate::audit::{Entry, Event, Outcome};
use crate::notify::{self, Mailer, SmtpSettings, text};
use crate::store::{CONTACTS_MAX, Contact};

/// Add, list, test and remove the contacts of users.
///
/// A user has up to four contacts. Passcodes go to the oldest one. Addresses are shown masked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport contact add ANNA anna@example.com
  sallyport contact list
  sallyport contact test ANNA
  sallyport contact remove ANNA 3")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Add a contact.
    Add {
        /// The user.
        user: User,
        /// The e-mail address.
        address: String,
    },
    /// List the contacts of a user, or of all.
    List {
        /// The user.
        user: Option<User>,
    },
    /// Remove a contact.
    Remove {
        /// The user.
        user: User,
        /// The contact's number, as `contact list` shows it.
        number: i64,
    },
    /// Send a test message, and say whether the mail relay took it.
    Test {
        /// The user.
        user: User,
        /// The contact's number; without it, the contact that passcodes go to.
        number: Option<i64>,
    },
}

/// A contact, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    user: String,
    kind: &'static str,
    #[serde(flatten)]
    contact: Contact,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::Add { user, address } => {
            if !notify::is_address(&address) {
                return Err(Usage(format!("`{address}` is no e-mail address")).into());
            }
            let masked = mask(&address);
            let entry = admin.entry("contact-added", &format!("e-mail {masked}")).user(Some(&user));
            let number = store.add_contact(user.clone(), address, entry).await?;
            let shown = shown(&admin, &user).await?;
            let added = shown.iter().find(|shown| shown.contact.id == number);
            global.print_one(
                &added,
                format_args!("Contact {number} of {user}: {masked} ({} of {CONTACTS_MAX}).", shown.len()),
            )?;
        }
        Verb::List { user } => {
            let contacts = match user {
                Some(user) => shown(&admin, &user).await?,
                None => {
                    let users = store.users().await?;
                    users.into_iter().flat_map(|record| of(record.name.as_str(), record.contacts)).collect()
                }
            };
            let headers = ["number", "user", "kind", "address", "added", "last used"];
            global.print_list(&contacts, &headers, |shown| {
                vec![
                    shown.contact.id.to_string(),
                    shown.user.clone(),
                    shown.kind.to_owned(),
                    mask(&shown.contact.address),
                    admin.local(shown.contact.created_at),
                    shown.contact.sent_at.map(|at| admin.local(at)).unwrap_or_default(),
                ]
            })?;
        }
        Verb::Remove { user, number } => {
            let contact = find(shown(&admin, &user).await?, &user, Some(number))?;
            let masked = mask(&contact.contact.address);
            let entry = admin.entry("contact-removed", &format!("e-mail {masked}")).user(Some(&user));
            store.remove_contact(user.clone(), number, entry).await?;
            global.print_one(&contact, format_args!("Contact {number} of {user} ({masked}) is removed."))?;
        }
        Verb::Test { user, number } => {
            let contact = find(shown(&admin, &user).await?, &user, number)?;
            test(&admin, global, &user, &contact).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn test(admin: &Admin, global: &Global, user: &User, contact: &Shown) -> anyhow::Result<()> {
    let config = &admin.config;
    let settings = SmtpSettings::from_config(&config.smtp, config.open()?.smtp_password.take());
    let message = text::test(user, &config.gateway.name, &admin.local(admin.now));
    let sent = Mailer::new(&settings)?.send(&contact.contact.address, &message).await;
    let masked = mask(&contact.contact.address);
    let relay = format!("{}:{}", settings.host, settings.port);
    let entry = match &sent {
        Ok(()) => admin.entry_of(Event::ContactTested, "mail-sent", &format!("to {masked}")),
        Err(error) => Entry {
            outcome: Outcome::Failed,
            ..admin.entry_of(Event::ContactTested, error.code(), &format!("to {masked}: {error}"))
        },
    };
    admin.store.append(entry.user(Some(user))).await?;
    sent.map_err(|error| anyhow::anyhow!("{masked} by {relay}: {error}"))?;
    global.print_one(contact, format_args!("The relay {relay} took a test message for {masked}."))
}

async fn shown(admin: &Admin, user: &User) -> anyhow::Result<Vec<Shown>> {
    Ok(of(user.as_str(), admin.store.user(user.clone()).await?.contacts))
}

fn of(user: &str, contacts: Vec<Contact>) -> Vec<Shown> {
    contacts.into_iter().map(|contact| Shown { user: user.to_owned(), kind: "email", contact }).collect()
}

fn find(contacts: Vec<Shown>, user: &User, number: Option<i64>) -> Result<Shown, NotFound> {
    contacts.into_iter().find(|shown| number.is_none_or(|number| shown.contact.id == number)).ok_or_else(|| {
        NotFound(match number {
            Some(number) => format!("{user} has no contact {number}"),
            None => format!("{user} has no contact"),
        })
    })
}
