//! `sallyport network`: how people from an address are treated.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use policy::account::{Days, Hours, Schedule};
use policy::rule::Block;
use policy::{Logging, Network, Networks, Service, Treatment};
use serde::Serialize;

use super::admin::Admin;
use super::{Global, NotFound, Usage};
use crate::config::Config;

/// Exempt networks from the second factor, challenge them, or deny them.
///
/// Rules hold for one service, and for one host where `--host` names it. The one with the fewest addresses counts; among
/// equals one for the host before one for all, one for these hours before one for all, then the strictest. Where no rule
/// covers an address, people from there are challenged. Changes take effect at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport network add 10.20.0.0/16 exempt --review 2027-06-30 --comment 'head office'
  sallyport network add 10.20.99.10-10.20.99.40 challenge --comment 'meeting rooms'
  sallyport network add 10.20.0.0/16 exempt --service ftp --host PROD --days mon-fri --hours 06:00-20:00
  sallyport network add 2001:db8:bad::/48 deny
  sallyport network change 3 --review 2027-12-31
  sallyport network list
  sallyport network remove 3
  sallyport network unlock 203.0.113.9")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Add a rule.
    Add {
        /// An address, a network (10.1.0.0/16), or a range (10.1.2.3-10.1.2.99).
        network: Block,
        /// exempt: no second factor; challenge: the second factor; deny: nobody gets in.
        treatment: Treatment,
        /// The service: telnet or ftp.
        #[arg(long, default_value_t = Service::Telnet)]
        service: Service,
        #[command(flatten)]
        more: More,
    },
    /// Change a rule: what is given counts from now on, the rest stays.
    Change {
        /// The rule's number, as `network list` shows it.
        number: i64,
        /// exempt, challenge or deny.
        #[arg(long)]
        treatment: Option<Treatment>,
        #[command(flatten)]
        more: More,
    },
    /// List the rules, each with those that it overlaps and that say something else.
    List {
        /// Of this service only.
        #[arg(long)]
        service: Option<Service>,
        /// Only those whose review date is over.
        #[arg(long)]
        due: bool,
    },
    /// Remove a rule.
    Remove {
        /// The rule's number, as `network list` shows it.
        number: i64,
    },
    /// End the lock of a source address and forget its failures.
    Unlock {
        /// The address.
        address: IpAddr,
    },
}

/// What a rule may say besides.
#[derive(Debug, clap::Args)]
struct More {
    /// For this host only; `all` for every one.
    #[arg(long)]
    host: Option<String>,
    /// On these days only: mon-fri, sat,sun, daily.
    #[arg(long)]
    days: Option<Days>,
    /// At these hours of these days only, in the gateway's time zone; past midnight where the end comes first.
    #[arg(long)]
    hours: Option<Hours>,
    /// Whether users may enrol from there; setting: as the setting says.
    #[arg(long, value_parser = ["on", "off", "setting"])]
    enrolment: Option<String>,
    /// Which audit entries about it are passed on to where the audit is sent: all, rejected, none; sink: as the sink says.
    #[arg(long, value_parser = ["all", "rejected", "none", "sink"])]
    logging: Option<String>,
    /// When somebody is to look at it again: a date such as 2027-06-30, or never. An exempt network should have one.
    #[arg(long, value_name = "DATE")]
    review: Option<String>,
    /// Why.
    #[arg(long)]
    comment: Option<String>,
}

impl More {
    /// `rule` with what is given.
    fn onto(self, mut rule: Network, config: &Config) -> anyhow::Result<Network> {
        if let Some(host) = self.host {
            rule.host = if host == "all" { None } else { Some(known_host(config, &host)?) };
        }
        if self.days.is_some() || self.hours.is_some() {
            let before = rule.schedule.unwrap_or(Schedule { days: Days::ALL, hours: Hours::ALL });
            let schedule =
                Schedule { days: self.days.unwrap_or(before.days), hours: self.hours.unwrap_or(before.hours) };
            let is_always = schedule.days == Days::ALL && schedule.hours == Hours::ALL;
            rule.schedule = (!is_always).then_some(schedule);
        }
        match self.enrolment.as_deref() {
            None => {}
            Some("setting") => rule.enrolment = None,
            Some(word) => rule.enrolment = Some(word == "on"),
        }
        if let Some(word) = self.logging {
            rule.logging = word.parse().ok();
        }
        match self.review.as_deref() {
            None => {}
            Some("never") => rule.review = None,
            Some(date) => {
                let expected = |error| Usage(format!("--review {date}: {error}; expected a date such as 2027-06-30"));
                rule.review = Some(date.parse().map_err(expected)?);
            }
        }
        if let Some(comment) = self.comment {
            rule.comment = comment;
        }
        Ok(rule)
    }
}

/// A host's name as the configuration spells it.
pub(super) fn known_host(config: &Config, name: &str) -> Result<Arc<str>, NotFound> {
    let found = config.hosts.iter().find(|host| host.name.eq_ignore_ascii_case(name));
    found.map(|host| Arc::clone(&host.name)).ok_or_else(|| {
        let names: Vec<_> = config.hosts.iter().map(|host| &*host.name).collect();
        NotFound(format!("there is no host {name}; the configuration has {}", names.join(", ")))
    })
}

/// A rule, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    number: i64,
    service: Service,
    host: Option<String>,
    network: String,
    when: Option<String>,
    treatment: Treatment,
    enrolment: Option<bool>,
    logging: Option<Logging>,
    review: Option<String>,
    overlaps: Vec<i64>,
    comment: String,
}

impl Shown {
    fn new(rule: &Network, all: &Networks) -> Self {
        Self {
            number: rule.id,
            service: rule.service,
            host: rule.host.as_ref().map(ToString::to_string),
            network: rule.block.to_string(),
            when: rule.schedule.map(|schedule| schedule.to_string()),
            treatment: rule.treatment,
            enrolment: rule.enrolment,
            logging: rule.logging,
            review: rule.review.map(|date| date.to_string()),
            overlaps: all.conflicts(rule).map(|other| other.id).collect(),
            comment: rule.comment.clone(),
        }
    }

    /// What the rule says, in words.
    fn sentence(&self) -> String {
        let Self { service, network, treatment, .. } = self;
        let host = self.host.as_ref().map(|host| format!(" to {host}")).unwrap_or_default();
        let when = self.when.as_ref().map(|when| format!(", {when}")).unwrap_or_default();
        format!("{service}{host} from {network}{when}: {treatment}")
    }
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::Add { network, treatment, service, more } => {
            let rule = more.onto(Network::new(0, service, network, treatment), &admin.config)?;
            let what = Shown::new(&rule, &Networks::default()).sentence();
            let number = store.add_network(rule, admin.entry("network-added", &what)).await?;
            let shown = find(&store.rules().await?.networks, number)?;
            global.print_one(&shown, format_args!("Network {number}: {}.{}", shown.sentence(), hints(&shown)))?;
        }
        Verb::Change { number, treatment, more } => {
            let networks = store.rules().await?.networks;
            let before = networks.all().iter().find(|rule| rule.id == number);
            let before = before.ok_or_else(|| NotFound(format!("there is no network {number}")))?;
            let mut rule = more.onto(before.clone(), &admin.config)?;
            rule.treatment = treatment.unwrap_or(rule.treatment);
            let (old, new) = (Shown::new(before, &networks).sentence(), Shown::new(&rule, &networks).sentence());
            let entry = admin.entry("network-changed", &format!("{new} (before: {old})"));
            store.change_network(rule, entry).await?;
            let shown = find(&store.rules().await?.networks, number)?;
            global.print_one(&shown, format_args!("Network {number}: {}.{}", shown.sentence(), hints(&shown)))?;
        }
        Verb::List { service, due } => {
            let networks = store.rules().await?.networks;
            let today = admin.now.to_zoned(admin.config.gateway.time_zone.clone()).date();
            let shown: Vec<Shown> = networks
                .all()
                .iter()
                .filter(|rule| service.is_none_or(|service| rule.service == service))
                .filter(|rule| !due || rule.review.is_some_and(|date| date <= today))
                .map(|rule| Shown::new(rule, &networks))
                .collect();
            let headers = [
                "number",
                "service",
                "host",
                "network",
                "when",
                "treatment",
                "enrolment",
                "logging",
                "review",
                "overlaps",
                "comment",
            ];
            global.print_list(&shown, &headers, |rule| {
                vec![
                    rule.number.to_string(),
                    rule.service.to_string(),
                    rule.host.clone().unwrap_or_default(),
                    rule.network.clone(),
                    rule.when.clone().unwrap_or_default(),
                    rule.treatment.to_string(),
                    rule.enrolment.map(|on| if on { "on" } else { "off" }).unwrap_or_default().to_owned(),
                    rule.logging.map(Logging::as_str).unwrap_or_default().to_owned(),
                    rule.review.clone().unwrap_or_default(),
                    rule.overlaps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    rule.comment.clone(),
                ]
            })?;
        }
        Verb::Remove { number } => {
            let shown = find(&store.rules().await?.networks, number)?;
            store.remove_network(number, admin.entry("network-removed", &shown.sentence())).await?;
            global.print_one(&shown, format_args!("Network {number} ({}) is removed.", shown.network))?;
        }
        Verb::Unlock { address } => {
            let entry = admin.entry("source-unlocked", &address.to_string());
            let found = store.unlock_source(address, entry).await?;
            let text = if found { "is unlocked; its failures are forgotten" } else { "had no failures" };
            global.print_one(
                &serde_json::json!({ "source": address, "had_failures": found }),
                format_args!("Source {address} {text}."),
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What deserves a second look.
fn hints(shown: &Shown) -> String {
    let mut text = String::new();
    if !shown.overlaps.is_empty() {
        let others = shown.overlaps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        text = format!("\nIt overlaps network {others}; the one with fewer addresses counts.");
    }
    if shown.treatment == Treatment::Exempt && shown.review.is_none() {
        text.push_str("\nAn exempt network should have a review date: sallyport network change ");
        text.push_str(&format!("{} --review DATE", shown.number));
    }
    text
}

fn find(networks: &Networks, number: i64) -> Result<Shown, NotFound> {
    let rule = networks.all().iter().find(|rule| rule.id == number);
    rule.map(|rule| Shown::new(rule, networks)).ok_or_else(|| NotFound(format!("there is no network {number}")))
}
