//! `sallyport contact`: where passcodes are sent.

use std::process::ExitCode;
use std::time::Duration;

use policy::challenge::mask;
use policy::contact::phone;
use policy::{ContactKind, Secret, User};
use serde::Serialize;

use super::admin::Admin;
use super::{Global, NotFound, Usage};
use crate::audit::{Entry, Event, Outcome};
use crate::delivery::{self, Change, Notice, Worker};
use crate::notify::{self, Said};
use crate::store::{Confirmed, Contact, NewContact};

/// How long the command line waits for a code to be sent.
const WAIT: Duration = Duration::from_secs(20);

/// Add, confirm, order, list, test and remove the contacts of users.
///
/// A user has up to four contacts (setting contacts.max), addresses and phone numbers mixed. Passcodes go to the first one
/// that is confirmed. Addresses and numbers are shown masked. Whenever contacts change, the user's other contacts are told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport contact add ANNA anna@example.com --verified
  sallyport contact add ANNA '+49 170 1234567'
  sallyport contact verify ANNA 2 48291377
  sallyport contact move ANNA 2 1
  sallyport contact list
  sallyport contact test ANNA
  sallyport contact remove ANNA 3")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Add a contact. A code is sent to it, and it counts once the code is given to `contact verify`.
    Add {
        /// The user.
        user: User,
        /// The e-mail address, or the phone number with its country's code.
        #[arg(value_name = "ADDRESS|NUMBER")]
        address: String,
        #[command(flatten)]
        how: How,
    },
    /// Send another code to a contact that is not confirmed.
    SendCode {
        /// The user.
        user: User,
        /// The contact's number, as `contact list` shows it.
        number: i64,
    },
    /// Confirm a contact by the code that was sent to it.
    Verify {
        /// The user.
        user: User,
        /// The contact's number, as `contact list` shows it.
        number: i64,
        /// The code.
        code: String,
    },
    /// Move a contact to another place in the user's order; passcodes go to the first one.
    Move {
        /// The user.
        user: User,
        /// The contact's number, as `contact list` shows it.
        number: i64,
        /// Its place: 1 is the first.
        place: usize,
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
    /// Send a test message, and say whether a relay or provider took it.
    Test {
        /// The user.
        user: User,
        /// The contact's number; without it, the contact that passcodes go to.
        number: Option<i64>,
    },
}

/// How a contact is reached, and whether it counts at once.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct How {
    /// The SMS provider that sends to this number, by its name in the configuration; without it, the first one.
    #[arg(long, value_name = "NAME", conflicts_with = "carrier")]
    pub(crate) provider: Option<String>,
    /// Send to this number by mail to its mobile operator (`sallyport carrier list`).
    #[arg(long, value_name = "NAME")]
    pub(crate) carrier: Option<String>,
    /// You vouch for it: it counts at once, without a code. The audit says so.
    #[arg(long)]
    pub(crate) verified: bool,
}

/// A contact, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    user: String,
    #[serde(flatten)]
    contact: Contact,
}

/// What is written of `address`; an error where it is neither an address nor a number, or cannot be sent to.
pub(crate) async fn parse(admin: &Admin, address: &str, how: &How) -> anyhow::Result<NewContact> {
    let usage = |text: String| -> anyhow::Error { Usage(text).into() };
    let wrong = if address.contains('@') {
        let named = how.provider.as_ref().or(how.carrier.as_ref());
        if named.is_some() {
            return Err(usage("--provider and --carrier are for phone numbers".to_owned()));
        }
        !notify::is_address(address)
    } else {
        phone(address).is_none()
    };
    if wrong {
        let text =
            format!("`{address}` is no e-mail address and no phone number with its country's code (+49 170 ...)");
        return Err(usage(text));
    }
    let (provider, carrier) = (how.provider.clone().unwrap_or_default(), how.carrier.clone().unwrap_or_default());
    let Some(number) = phone(address) else {
        let address = address.to_owned();
        return Ok(NewContact {
            kind: ContactKind::Email,
            address,
            provider,
            carrier,
            verified: how.verified,
            begun: false,
        });
    };
    let providers: Vec<_> = admin.config.sms.iter().map(|sms| sms.name.as_str()).collect();
    if !provider.is_empty() && !providers.contains(&provider.as_str()) {
        return Err(NotFound(format!(
            "there is no SMS provider {provider}; the configuration has: {}",
            providers.join(", ")
        ))
        .into());
    }
    if carrier.is_empty() {
        if providers.is_empty() {
            return Err(usage("no SMS provider is configured ([[sms]]), and no --carrier is named".to_owned()));
        }
    } else {
        let carriers = admin.store.carriers().await?;
        let found = carriers.into_iter().find(|known| known.name == carrier);
        let found = found
            .ok_or_else(|| NotFound(format!("there is no carrier {carrier}; sallyport carrier list shows all")))?;
        let today = admin.now.to_zoned(admin.config.gateway.time_zone.clone()).date();
        match found.retired_on {
            Some(day) if found.is_retired(today) => {
                return Err(usage(format!(
                    "{} has taken no mail for numbers since {day}; use an SMS provider",
                    found.title
                )));
            }
            Some(day) => tracing::warn!("{} will take no mail for numbers from {day} on", found.title),
            None => {}
        }
    }
    Ok(NewContact { kind: ContactKind::Sms, address: number, provider, carrier, verified: how.verified, begun: false })
}

/// Adds a contact, tells the others, and has a code sent to it unless it is vouched for; the contact, and what to say.
pub(crate) async fn add(admin: &Admin, user: &User, new: NewContact) -> anyhow::Result<(Contact, String)> {
    let (kind, masked, verified) = (new.kind, mask(&new.address), new.verified);
    let how = if verified { "; vouched for, without a code" } else { "; to be confirmed by a code" };
    let entry = admin.entry("contact-added", &format!("{kind} {masked}{how}")).user(Some(user));
    let post = admin.post()?;
    // Of a user who is not there, adding tells.
    let told = match admin.store.user(user.clone()).await {
        Ok(_) => post.notices(user, Notice::ContactChanged(Change::Added, &masked)).await?,
        Err(_) => Vec::new(),
    };
    let number = admin.store.add_contact(user.clone(), new, entry, told).await?;
    let contact = find(shown(admin, user).await?, user, Some(number))?.contact;
    if verified {
        return Ok((contact, format!("Contact {number} of {user}: {masked}.")));
    }
    let sent = send_code(admin, user, &contact).await?;
    Ok((contact, format!("Contact {number} of {user}: {masked}, which does not count yet. {sent}")))
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::Add { user, address, how } => {
            let new = parse(&admin, &address, &how).await?;
            let (contact, text) = add(&admin, &user, new).await?;
            global.print_one(&Shown { user: user.to_string(), contact }, text)?;
        }
        Verb::SendCode { user, number } => {
            let contact = find(shown(&admin, &user).await?, &user, Some(number))?;
            if contact.contact.verified_at.is_some() {
                return Err(Usage(format!("contact {number} of {user} is confirmed already")).into());
            }
            let text = send_code(&admin, &user, &contact.contact).await?;
            global.print_one(&contact, text)?;
        }
        Verb::Verify { user, number, code } => {
            let contact = find(shown(&admin, &user).await?, &user, Some(number))?;
            let masked = mask(&contact.contact.address);
            let entry = admin.entry("contact-verified", &masked).user(Some(&user));
            match admin.post()?.confirm(&user, number, &Secret::new(code), None, entry).await? {
                Confirmed::Yes => {
                    let contact = find(shown(&admin, &user).await?, &user, Some(number))?;
                    global.print_one(&contact, format_args!("Contact {number} of {user} ({masked}) is confirmed."))?;
                }
                Confirmed::No(0) => anyhow::bail!(
                    "the code is wrong, and no try is left for it; for another one: \
                     sallyport contact send-code {user} {number}"
                ),
                Confirmed::No(left) => anyhow::bail!("the code is wrong; {left} tries are left"),
                Confirmed::Over => anyhow::bail!(
                    "no code is expected of contact {number}: its time is over, it was used, or no try is left; \
                     for another one: sallyport contact send-code {user} {number}"
                ),
            }
        }
        Verb::Move { user, number, place } => {
            let contact = find(shown(&admin, &user).await?, &user, Some(number))?;
            if place == 0 {
                return Err(Usage("the first place is 1".to_owned()).into());
            }
            let masked = mask(&contact.contact.address);
            let entry = admin.entry("contact-moved", &format!("{masked} to place {place}")).user(Some(&user));
            store.move_contact(user.clone(), number, place, entry).await?;
            global.print_one(&contact, format_args!("Contact {number} of {user} ({masked}) is at place {place}."))?;
        }
        Verb::List { user } => list(&admin, global, user).await?,
        Verb::Remove { user, number } => {
            let contact = find(shown(&admin, &user).await?, &user, Some(number))?;
            let (kind, masked) = (contact.contact.kind, mask(&contact.contact.address));
            let entry = admin.entry("contact-removed", &format!("{kind} {masked}")).user(Some(&user));
            let told = admin.post()?.notices(&user, Notice::ContactChanged(Change::Removed, &masked)).await?;
            store.remove_contact(user.clone(), number, entry, told).await?;
            global.print_one(&contact, format_args!("Contact {number} of {user} ({masked}) is removed."))?;
        }
        Verb::Test { user, number } => {
            let contacts = shown(&admin, &user).await?;
            let contact = match number {
                Some(_) => find(contacts, &user, number)?,
                None => {
                    let usable = contacts.into_iter().filter(|shown| shown.contact.verified_at.is_some()).collect();
                    find(usable, &user, None)?
                }
            };
            test(&admin, global, &user, &contact).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(admin: &Admin, global: &Global, user: Option<User>) -> anyhow::Result<()> {
    let contacts = match user {
        Some(user) => shown(admin, &user).await?,
        None => {
            let users = admin.store.users().await?;
            users.into_iter().flat_map(|record| of(record.name.as_str(), record.contacts)).collect()
        }
    };
    let carriers = admin.store.carriers().await?;
    let today = admin.now.to_zoned(admin.config.gateway.time_zone.clone()).date();
    let by = |contact: &Contact| {
        let retired = carriers.iter().any(|carrier| carrier.name == contact.carrier && carrier.is_retired(today));
        let by = if contact.carrier.is_empty() { &contact.provider } else { &contact.carrier };
        if retired { format!("{by} (RETIRED)") } else { by.clone() }
    };
    let time = |at: Option<jiff::Timestamp>| at.map(|at| admin.local(at)).unwrap_or_default();
    let headers = ["number", "user", "kind", "address", "by", "confirmed", "last sent", "last used"];
    global.print_list(&contacts, &headers, |shown| {
        let contact = &shown.contact;
        vec![
            contact.id.to_string(),
            shown.user.clone(),
            contact.kind.to_string(),
            mask(&contact.address),
            by(contact),
            contact.verified_at.map_or_else(|| "NO".to_owned(), |at| admin.local(at)),
            time(contact.sent_at),
            time(contact.used_at),
        ]
    })?;
    if !global.json && contacts.iter().any(|shown| by(&shown.contact).ends_with("(RETIRED)")) {
        tracing::warn!("a retired carrier takes no mail for numbers any more: no passcode arrives there");
    }
    Ok(())
}

/// Has a code sent by this process, which waits for it; the running gateway tries again where that fails.
async fn send_code(admin: &Admin, user: &User, contact: &Contact) -> anyhow::Result<String> {
    let (masked, number) = (mask(&contact.address), contact.id);
    let entry = admin.entry("contact-code-sent", &masked).user(Some(user));
    let post = admin.post()?;
    let id = post.send_code(user, contact, entry).await?;
    let next = format!("sallyport contact verify {user} {number} CODE");
    if admin.store.sender().await?.stopped {
        return Ok(format!("Sending is stopped; the code goes out with `sallyport sender start`. Then: {next}"));
    }
    let worker = Worker::new(post.clone(), admin.couriers()?);
    worker.deliver(&id).await?;
    // The running gateway may have been faster, and have it in hand.
    Ok(match post.outcome(&id, Duration::ZERO).await? {
        delivery::Outcome::Sent => format!("A code was sent. Next: {next}"),
        delivery::Outcome::Undelivered(code) if code == "delivery-late" => match post.outcome(&id, WAIT).await? {
            delivery::Outcome::Sent => format!("A code was sent. Next: {next}"),
            delivery::Outcome::Undelivered(code) => format!("THE CODE WAS NOT SENT YET ({code})."),
        },
        delivery::Outcome::Undelivered(code) => {
            format!("THE CODE WAS NOT SENT YET ({code}); a running gateway may try again. Then: {next}")
        }
    })
}

async fn test(admin: &Admin, global: &Global, user: &User, contact: &Shown) -> anyhow::Result<()> {
    if admin.store.sender().await?.stopped {
        anyhow::bail!("the sending of messages is stopped; sallyport sender start");
    }
    let letter = admin.post()?.test(user, &contact.contact).await?;
    let said = admin.couriers()?.deliver(&letter).await;
    let masked = mask(&contact.contact.address);
    let failures: Vec<_> = said
        .iter()
        .filter_map(|said| said.result.as_ref().err().map(|failure| format!("{}: {failure}", said.provider)))
        .collect();
    let Said { provider, result: last, .. } =
        said.last().ok_or_else(|| anyhow::anyhow!("there is nobody to send by"))?;
    let by = if failures.is_empty() { String::new() } else { format!(", after {}", failures.join("; ")) };
    let entry = match last {
        Ok(()) => admin.entry_of(Event::ContactTested, "test-sent", &format!("to {masked} by {provider}{by}")),
        Err(failure) => Entry {
            outcome: Outcome::Failed,
            ..admin.entry_of(Event::ContactTested, failure.code(), &format!("to {masked}: {}", failures.join("; ")))
        },
    };
    admin.store.append(entry.user(Some(user))).await?;
    if last.is_err() {
        anyhow::bail!("{masked}: {}", failures.join("; "));
    }
    global.print_one(contact, format_args!("{provider} took a test message for {masked}{by}."))
}

async fn shown(admin: &Admin, user: &User) -> anyhow::Result<Vec<Shown>> {
    Ok(of(user.as_str(), admin.store.user(user.clone()).await?.contacts))
}

fn of(user: &str, contacts: Vec<Contact>) -> Vec<Shown> {
    contacts.into_iter().map(|contact| Shown { user: user.to_owned(), contact }).collect()
}

fn find(contacts: Vec<Shown>, user: &User, number: Option<i64>) -> Result<Shown, NotFound> {
    contacts.into_iter().find(|shown| number.is_none_or(|number| shown.contact.id == number)).ok_or_else(|| {
        NotFound(match number {
            Some(number) => format!("{user} has no contact {number}"),
            None => format!("{user} has no contact that is confirmed"),
        })
    })
}
