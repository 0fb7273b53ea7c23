//! `sallyport user`: who may come in.

use std::process::ExitCode;

use jiff::Timestamp;
use policy::{Factors, Language, Logging, User, Way};
use serde::Serialize;

use super::admin::{Admin, counted};
use super::contact::{self, How};
use super::{Global, Usage};
use crate::store::{Contact, UserRecord};

/// Register users, look at them, lock them out, unlock them.
///
/// Only registered users with a contact are sent a passcode; everybody else is refused, unless the network they come from
/// is exempt. Changes take effect at once, without a restart.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport user add ANNA --email anna@example.com --verified
  sallyport user language ANNA de
  sallyport user show ANNA
  sallyport user unlock ANNA
  sallyport user list --json | jq -r '.[] | select(.contacts == []) | .name'")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Register a user.
    Add {
        /// The user profile's name on the host.
        user: User,
        /// Where passcodes go; may be given several times, the first one that is confirmed is used.
        #[arg(long, value_name = "ADDRESS")]
        email: Vec<String>,
        /// A phone number, with its country's code; may be given several times.
        #[arg(long, value_name = "NUMBER")]
        sms: Vec<String>,
        #[command(flatten)]
        how: How,
        /// Challenge the user even from exempt networks.
        #[arg(long)]
        always: bool,
        /// A note, for instance a department.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
    },
    /// List all users.
    List,
    /// Show everything about a user: contacts, failures, locks.
    Show {
        /// The user.
        user: User,
    },
    /// Let a disabled user in again.
    Enable {
        /// The user.
        user: User,
    },
    /// Refuse a user from everywhere, and end the user's live sessions.
    Disable {
        /// The user.
        user: User,
    },
    /// Remove a user, the contacts and factors, and emergency overrides, codes and tickets; end the user's live sessions.
    Remove {
        /// The user.
        user: User,
    },
    /// End all locks of a user and forget the failures.
    Unlock {
        /// The user; need not be registered.
        user: User,
    },
    /// In which way a user gives passcodes by FTP, whatever the listener says.
    Ftp {
        /// The user.
        user: User,
        /// reject: as the password of the next log-on; account: in a line of its own (ACCT), for clients that can; listener:
        /// as the listener says. In one line, `password:passcode`, works always.
        #[arg(value_parser = ["reject", "account", "listener"])]
        way: String,
    },
    /// Which factors a user may use.
    Factors {
        /// The user.
        user: User,
        /// A list such as totp,yubikey, or all.
        factors: Factors,
    },
    /// Whether a user may enrol at the sign-on, and maintain contacts of their own.
    Enrolment {
        /// The user.
        user: User,
        /// setting: as the network and the setting enrolment say.
        #[arg(value_parser = ["on", "off", "setting"])]
        switch: String,
    },
    /// How long a user's repeat windows are.
    Repeat {
        /// The user.
        user: User,
        /// Minutes, 0 to 720 (0: every sign-on is challenged), or setting: as the settings say.
        minutes: String,
    },
    /// Which audit entries about a user are passed on to where the audit is sent. All of them stay in the store.
    Logging {
        /// The user.
        user: User,
        /// sink: as the network or the sink says.
        #[arg(value_parser = ["all", "rejected", "none", "sink"])]
        level: String,
    },
    /// The language of a user's messages.
    Language {
        /// The user.
        user: User,
        /// en, de, fr, es, it; or default, for what the setting `language` says.
        #[arg(value_parser = ["en", "de", "fr", "es", "it", "default"])]
        language: String,
    },
    /// Challenge a user even from exempt networks, or not.
    Always {
        /// The user.
        user: User,
        /// Whether to.
        #[arg(value_parser = ["on", "off"])]
        switch: String,
    },
}

/// A user, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    enabled: bool,
    always: bool,
    ftp: Option<Way>,
    allowed_factors: String,
    enrolment: Option<bool>,
    repeat_minutes: Option<u32>,
    logging: Option<Logging>,
    language: Option<Language>,
    comment: String,
    created_at: Timestamp,
    contacts: Vec<Contact>,
    refused_passwords: u32,
    wrong_passcodes: u32,
    locked_until: Option<Timestamp>,
    locked_from: Vec<LockedFrom>,
}

/// A lock from one source.
#[derive(Debug, Serialize)]
struct LockedFrom {
    source: String,
    until: Timestamp,
}

impl Shown {
    fn new(record: UserRecord, now: Timestamp) -> Self {
        Self {
            name: record.name.to_string(),
            enabled: record.enabled,
            always: record.always,
            ftp: record.way,
            allowed_factors: record.allowed.to_string(),
            enrolment: record.enrolment,
            repeat_minutes: record.repeat,
            logging: record.logging,
            language: record.language,
            comment: record.comment,
            created_at: record.created_at,
            contacts: record.contacts,
            refused_passwords: record.tally.passwords,
            wrong_passcodes: record.tally.passcodes,
            locked_until: record.tally.lock(now),
            locked_from: record
                .locked_from
                .into_iter()
                .filter(|(_, until)| now < *until)
                .map(|(source, until)| LockedFrom { source, until })
                .collect(),
        }
    }

    fn state(&self, admin: &Admin) -> String {
        if !self.enabled {
            "disabled".to_owned()
        } else if let Some(until) = self.locked_until {
            format!("locked until {}", admin.local(until))
        } else if !self.locked_from.is_empty() {
            format!("locked from {}", counted(self.locked_from.len(), "source"))
        } else if self.contacts.is_empty() {
            "no contact".to_owned()
        } else if self.contacts.iter().all(|contact| contact.verified_at.is_none()) {
            "no confirmed contact".to_owned()
        } else {
            "ready".to_owned()
        }
    }

    fn text(&self, admin: &Admin) -> String {
        let mut lines = vec![
            format!("User      {}", self.name),
            format!("State     {}", self.state(admin)),
            format!("Always    {}", if self.always { "challenged even from exempt networks" } else { "no" }),
            format!("FTP       {}", self.ftp.map_or("passcodes as the listener says", Way::as_str)),
            format!("Language  {}", self.language.map_or("as the setting says", Language::as_str)),
            format!("Comment   {}", self.comment),
            format!("Added     {}", admin.local(self.created_at)),
            format!("Failures  {} wrong passcodes, {} refused passwords", self.wrong_passcodes, self.refused_passwords),
        ];
        lines.extend(
            self.locked_from
                .iter()
                .map(|lock| format!("Locked    from {} until {}", lock.source, admin.local(lock.until))),
        );
        lines.extend(self.contacts.iter().map(|contact| {
            let time = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| admin.local(at));
            let (sent, used) = (time(contact.sent_at), time(contact.used_at));
            let pending = if contact.verified_at.is_none() { ", NOT CONFIRMED" } else { "" };
            let (id, address) = (contact.id, policy::challenge::mask(&contact.address));
            format!("Contact   {id}: {address}, last sent {sent}, last used {used}{pending}")
        }));
        lines.join("\n")
    }
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::Add { user, email, sms, how, always, comment } => {
            let mut contacts = Vec::new();
            for address in &email {
                if !address.contains('@') {
                    return Err(Usage(format!("`{address}` is no e-mail address")).into());
                }
                contacts
                    .push(contact::parse(&admin, address, &How { verified: how.verified, ..How::default() }).await?);
            }
            for number in &sms {
                if number.contains('@') {
                    return Err(Usage(format!("`{number}` is no phone number")).into());
                }
                contacts.push(contact::parse(&admin, number, &how).await?);
            }
            let entry = admin.entry("user-added", "registered").user(Some(&user));
            store.add_user(user.clone(), always, comment, entry).await?;
            let mut said = String::new();
            for new in contacts {
                let verified = new.verified;
                let (_, text) = contact::add(&admin, &user, new).await?;
                if !verified {
                    said = format!("{said}\n{text}");
                }
            }
            let shown = Shown::new(store.user(user.clone()).await?, admin.now);
            let hint = if shown.contacts.is_empty() {
                format!(" There is no contact yet: sallyport contact add {user} ADDRESS")
            } else {
                said
            };
            global.print_one(&shown, format_args!("User {user} is registered.{hint}"))?;
        }
        Verb::List => {
            let users: Vec<Shown> =
                store.users().await?.into_iter().map(|record| Shown::new(record, admin.now)).collect();
            global.print_list(&users, &["user", "state", "always", "contacts", "comment"], |user| {
                let contacts = user.contacts.iter().map(|contact| policy::challenge::mask(&contact.address));
                vec![
                    user.name.clone(),
                    user.state(&admin),
                    if user.always { "yes" } else { "" }.to_owned(),
                    contacts.collect::<Vec<_>>().join(", "),
                    user.comment.clone(),
                ]
            })?;
        }
        Verb::Show { user } => {
            let shown = Shown::new(store.user(user).await?, admin.now);
            global.print_one(&shown, shown.text(&admin))?;
        }
        Verb::Enable { user } => {
            let entry = admin.entry("user-enabled", "enabled").user(Some(&user));
            store.set_user_enabled(user.clone(), true, entry).await?;
            done(&admin, global, user, "may come in again").await?;
        }
        Verb::Disable { user } => {
            let entry = admin.entry("user-disabled", "disabled").user(Some(&user));
            store.set_user_enabled(user.clone(), false, entry).await?;
            let ended = counted(admin.end_sessions(user.as_str()).await, "live session");
            done(&admin, global, user, &format!("is refused from now on; {ended} ended")).await?;
        }
        Verb::Remove { user } => {
            let shown = Shown::new(store.user(user.clone()).await?, admin.now);
            let entry = admin.entry("user-removed", "removed").user(Some(&user));
            store.remove_user(user.clone(), entry).await?;
            let ended = counted(admin.end_sessions(user.as_str()).await, "live session");
            global.print_one(&shown, format_args!("User {user} is removed; {ended} ended."))?;
        }
        Verb::Unlock { user } => {
            let entry = admin.entry("user-unlocked", "unlocked").user(Some(&user));
            let found = store.unlock_user(user.clone(), entry).await?;
            let text = if found { "is unlocked; the failures are forgotten" } else { "had no failures" };
            global.print_one(
                &serde_json::json!({ "name": user.as_str(), "had_failures": found }),
                format_args!("User {user} {text}."),
            )?;
        }
        Verb::Ftp { user, way } => {
            let own = way.parse::<Way>().ok();
            let entry = admin.entry("user-ftp", &format!("passcodes by FTP: {way}")).user(Some(&user));
            store.set_user_way(user.clone(), own, entry).await?;
            let text = match own {
                Some(Way::Reject) => "gives passcodes by FTP as the password of the next log-on",
                Some(Way::Account) => "gives passcodes by FTP in a line of its own (ACCT)",
                None => "gives passcodes by FTP as the listener says",
            };
            done(&admin, global, user, text).await?;
        }
        Verb::Factors { user, factors } => {
            let entry = admin.entry("user-factors", &format!("factors: {factors}")).user(Some(&user));
            store.set_user_factors(user.clone(), factors, entry).await?;
            done(&admin, global, user, &format!("may use: {factors}")).await?;
        }
        Verb::Enrolment { user, switch } => {
            let value = match switch.as_str() {
                "on" => Some(true),
                "off" => Some(false),
                _ => None,
            };
            let entry = admin.entry("user-enrolment", &format!("enrolment {switch}")).user(Some(&user));
            store.set_user_enrolment(user.clone(), value, entry).await?;
            let text = match value {
                Some(true) => "may enrol at the sign-on",
                Some(false) => "may not enrol",
                None => "may enrol where network and setting say so",
            };
            done(&admin, global, user, text).await?;
        }
        Verb::Repeat { user, minutes } => {
            let value = match minutes.as_str() {
                "setting" => None,
                text => Some(
                    text.parse()
                        .ok()
                        .filter(|minutes| *minutes <= 720)
                        .ok_or_else(|| Usage(format!("`{text}`: expected 0 to 720 minutes, or setting")))?,
                ),
            };
            let entry = admin.entry("user-repeat", &format!("repeat {minutes}")).user(Some(&user));
            store.set_user_repeat(user.clone(), value, entry).await?;
            let text = match value {
                Some(0) => "is challenged at every sign-on".to_owned(),
                Some(minutes) => format!("is not challenged again within {minutes} minutes, from the same address"),
                None => "is challenged again as the settings say".to_owned(),
            };
            done(&admin, global, user, &text).await?;
        }
        Verb::Logging { user, level } => {
            let entry = admin.entry("user-logging", &format!("logging {level}")).user(Some(&user));
            store.set_user_logging(user.clone(), level.parse().ok(), entry).await?;
            done(&admin, global, user, &format!("is passed on: {level}")).await?;
        }
        Verb::Language { user, language } => {
            let own = language.parse::<Language>().ok();
            let entry = admin.entry("user-language", &language).user(Some(&user));
            store.set_user_language(user.clone(), own, entry).await?;
            let text = match own {
                Some(language) => format!("is written to in {language}"),
                None => "is written to in the language of the setting".to_owned(),
            };
            done(&admin, global, user, &text).await?;
        }
        Verb::Always { user, switch } => {
            let on = switch == "on";
            let entry = admin.entry("user-always", &format!("always {switch}")).user(Some(&user));
            store.set_user_always(user.clone(), on, entry).await?;
            let text =
                if on { "is challenged even from exempt networks" } else { "is not challenged from exempt networks" };
            done(&admin, global, user, text).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn done(admin: &Admin, global: &Global, user: User, text: &str) -> anyhow::Result<()> {
    let shown = Shown::new(admin.store.user(user.clone()).await?, admin.now);
    global.print_one(&shown, format_args!("User {user} {text}."))
}
