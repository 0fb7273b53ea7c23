//! `sallyport network`: how people from an address are treated.

use std::net::IpAddr;
use std::process::ExitCode;

use policy::rule::Block;
use policy::{Network, Networks, Service, Treatment};
use serde::Serialize;

use super::admin::Admin;
use super::{Global, NotFound};

/// Exempt networks from the second factor, challenge them, or deny them.
///
/// Rules hold for one service. The most specific one counts, that is the one with the fewest addresses; among equals
/// the strictest. Where no rule covers an address, people from there are challenged. Changes take effect at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport network add 10.20.0.0/16 exempt --comment 'head office'
  sallyport network add 10.20.99.10-10.20.99.40 challenge --comment 'meeting rooms'
  sallyport network add 2001:db8:bad::/48 deny
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
        /// Why.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
    },
    /// List the rules, each with those that it overlaps and that say something else.
    List {
        /// Of this service only.
        #[arg(long)]
        service: Option<Service>,
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

/// A rule, as shown.
#[derive(Debug, Serialize)]
struct Shown {
    number: i64,
    service: Service,
    network: String,
    treatment: Treatment,
    overlaps: Vec<i64>,
    comment: String,
}

impl Shown {
    fn new(rule: &Network, all: &Networks) -> Self {
        Self {
            number: rule.id,
            service: rule.service,
            network: rule.block.to_string(),
            treatment: rule.treatment,
            overlaps: all.conflicts(rule).map(|other| other.id).collect(),
            comment: rule.comment.clone(),
        }
    }
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let store = &admin.store;
    match args.verb {
        Verb::Add { network, treatment, service, comment } => {
            let entry = admin.entry("network-added", &format!("{service} from {network}: {treatment}"));
            let number = store.add_network(service, network, treatment, comment, entry).await?;
            let shown = find(&store.rules().await?.networks, number)?;
            let mut text = format!("Network {number}: {service} from {network} is treated as {treatment}.");
            if !shown.overlaps.is_empty() {
                let others = shown.overlaps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                text = format!("{text}\nIt overlaps network {others}; the one with fewer addresses counts.");
            }
            global.print_one(&shown, text)?;
        }
        Verb::List { service } => {
            let networks = store.rules().await?.networks;
            let shown: Vec<Shown> = networks
                .all()
                .iter()
                .filter(|rule| service.is_none_or(|service| rule.service == service))
                .map(|rule| Shown::new(rule, &networks))
                .collect();
            let headers = ["number", "service", "network", "treatment", "overlaps", "comment"];
            global.print_list(&shown, &headers, |rule| {
                vec![
                    rule.number.to_string(),
                    rule.service.to_string(),
                    rule.network.clone(),
                    rule.treatment.to_string(),
                    rule.overlaps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    rule.comment.clone(),
                ]
            })?;
        }
        Verb::Remove { number } => {
            let shown = find(&store.rules().await?.networks, number)?;
            let Shown { service, network, treatment, .. } = &shown;
            let entry = admin.entry("network-removed", &format!("{service} from {network}: {treatment}"));
            store.remove_network(number, entry).await?;
            global.print_one(&shown, format_args!("Network {number} ({network}) is removed."))?;
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

fn find(networks: &Networks, number: i64) -> Result<Shown, NotFound> {
    let rule = networks.all().iter().find(|rule| rule.id == number);
    rule.map(|rule| Shown::new(rule, networks)).ok_or_else(|| NotFound(format!("there is no network {number}")))
}
