//! `sallyport carrier`: mobile operators that take mail for a number as a text message.

use std::process::ExitCode;

use jiff::civil::Date;
use serde::Serialize;

use super::admin::Admin;
use super::{Global, NotFound, Usage};
use crate::notify;
use crate::store::Carrier;

/// Look at the mobile operators that take mail for a number, and change them.
///
/// This is the way without an SMS provider: the message goes by mail to NUMBER@SUFFIX. Operators are closing these gateways;
/// those that have are marked, and no new contact can name them. Prefer an SMS provider ([[sms]] in the configuration).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport carrier list
  sallyport carrier add example sms.example.com --title 'Example Mobile'
  sallyport carrier set example --retired-on 2027-06-30
  sallyport carrier remove example")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List all carriers.
    List,
    /// Add a carrier.
    Add {
        /// Its short name.
        name: String,
        /// What stands behind the number and @.
        suffix: String,
        #[command(flatten)]
        more: More,
    },
    /// Change a carrier.
    Set {
        /// Its short name.
        name: String,
        /// What stands behind the number and @.
        #[arg(long)]
        suffix: Option<String>,
        #[command(flatten)]
        more: More,
    },
    /// Remove a carrier that no contact names.
    Remove {
        /// Its short name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct More {
    /// Its full name.
    #[arg(long)]
    title: Option<String>,
    /// From which day on it takes no mail any more (2027-03-31), or `never`.
    #[arg(long, value_name = "DATE")]
    retired_on: Option<String>,
    /// A note.
    #[arg(long)]
    comment: Option<String>,
}

/// A carrier, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    carrier: Carrier,
    retired: bool,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    let today = admin.now.to_zoned(admin.config.gateway.time_zone.clone()).date();
    let shown = |carrier: Carrier| Shown { retired: carrier.is_retired(today), carrier };
    match args.verb {
        Verb::List => {
            let carriers: Vec<_> = store.carriers().await?.into_iter().map(shown).collect();
            global.print_list(&carriers, &["carrier", "title", "mail to", "state", "comment"], |shown| {
                let carrier = &shown.carrier;
                let state = match carrier.retired_on {
                    Some(day) if shown.retired => format!("RETIRED since {day}"),
                    Some(day) => format!("until {day}"),
                    None => String::new(),
                };
                let suffix = format!("NUMBER@{}", carrier.suffix);
                vec![carrier.name.clone(), carrier.title.clone(), suffix, state, carrier.comment.clone()]
            })?;
        }
        Verb::Add { name, suffix, more } => {
            let named =
                name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-');
            if name.is_empty() || !named {
                return Err(Usage("a carrier's name consists of a-z, 0-9 and -".to_owned()).into());
            }
            let title = name.clone();
            let carrier = Carrier { name, title, suffix, retired_on: None, comment: String::new() };
            let carrier = changed(carrier, more)?;
            let entry = admin.entry("carrier-added", &format!("{} @{}", carrier.name, carrier.suffix));
            store.put_carrier(carrier.clone(), false, entry).await?;
            let text = format!("Carrier {} takes mail for NUMBER@{}.", carrier.name, carrier.suffix);
            global.print_one(&shown(carrier), text)?;
        }
        Verb::Set { name, suffix, more } => {
            let mut carrier = find(&admin, &name).await?;
            carrier.suffix = suffix.unwrap_or(carrier.suffix);
            let carrier = changed(carrier, more)?;
            let entry = admin.entry("carrier-changed", &format!("{} @{}", carrier.name, carrier.suffix));
            store.put_carrier(carrier.clone(), true, entry).await?;
            global.print_one(&shown(carrier), format_args!("Carrier {name} is changed."))?;
        }
        Verb::Remove { name } => {
            let carrier = find(&admin, &name).await?;
            store.remove_carrier(name.clone(), admin.entry("carrier-removed", &name)).await?;
            global.print_one(&shown(carrier), format_args!("Carrier {name} is removed."))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn changed(mut carrier: Carrier, more: More) -> anyhow::Result<Carrier> {
    carrier.suffix = carrier.suffix.trim_start_matches('@').to_owned();
    if !notify::is_address(&carrier.address("+10000000000")) {
        return Err(Usage(format!("`{}` is no mail domain", carrier.suffix)).into());
    }
    carrier.title = more.title.unwrap_or(carrier.title);
    carrier.comment = more.comment.unwrap_or(carrier.comment);
    carrier.retired_on = match more.retired_on.as_deref() {
        None => carrier.retired_on,
        Some("never") => None,
        Some(day) => {
            let wrong = || Usage(format!("`{day}` is no date; expected for instance 2027-03-31, or never"));
            Some(day.parse::<Date>().map_err(|_| wrong())?)
        }
    };
    Ok(carrier)
}

async fn find(admin: &Admin, name: &str) -> anyhow::Result<Carrier> {
    let carriers = admin.store.carriers().await?;
    let found = carriers.into_iter().find(|carrier| carrier.name == name);
    Ok(found.ok_or_else(|| NotFound(format!("there is no carrier {name}; sallyport carrier list shows all")))?)
}
