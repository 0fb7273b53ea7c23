//! `sallyport what-if`: what other rules would have done with the sign-ons of a period.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use policy::{Standing, User};
use serde::Serialize;

use super::admin::Admin;
use super::audit::{progress, progress_ends, time};
use super::explain::can_enrol;
use super::{Global, Usage, print_line, print_table, rules};
use crate::replay::{CHANGES_MAX, Facts, Replay, Report, Side};
use crate::rulebook::{Difference, Laid, NetworkLine, Rulebook};
use crate::store::{Filter, Reading};

/// What the output says about what the audit cannot tell.
const ASSUMED: [&str; 7] = [
    "who is registered, disabled, and has which factors: as it is now",
    "locks: as they were recorded; other settings of lockouts change nothing here",
    "emergency overrides: by their times; one that was approved counts from its grant on",
    "repeat windows: replayed; who was let in then, and would be asked, is taken to have answered right",
    "certificates: known only of whom a service account's rule let in",
    "connections refused at once: counted by their source; who would have signed on is not known, and so only whether somebody could",
    "sign-ons whose passcode could not be sent: not counted, since the audit says for them that nothing was sent, not what was decided",
];

/// Replay the sign-ons of a period against changed rules, and list who would newly be let in, asked, or refused.
///
/// Compares what the rules as they are and the changed ones make of each sign-on that the audit holds. Nothing is changed.
/// docs/rules.md tells what is replayed, and what the audit cannot tell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport what-if --since 7d --set enforcement=enforce
  sallyport what-if --since 30d --network '10.20.0.0/16 deny ftp'
  sallyport what-if --since 30d --remove-network 3 --set repeat.minutes=60
  sallyport what-if --since 2026-11-01 --until 2026-12-01 --rules rules.json --json
  sallyport what-if --since 7d --rules-of 12           the rules of an earlier version")]
pub(crate) struct Args {
    /// From this time on: 90m, 7d, 2026-11-22, \"2026-11-22 14:00\", 2026-11-22T13:00:00Z.
    #[arg(long, value_name = "TIME")]
    since: String,
    /// Until this time [default: now].
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Begin with the rules of a file, as `rules export` writes it, instead of those that are.
    #[arg(long, value_name = "FILE", conflicts_with = "rules_of")]
    rules: Option<PathBuf>,
    /// Begin with the rules of a version.
    #[arg(long, value_name = "NUMBER")]
    rules_of: Option<i64>,
    /// With this setting; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// With this network: addresses, exempt, challenge or deny, and, where wanted, telnet or ftp, host=NAME, days=mon-fri,
    /// hours=06:00-18:00. It counts in place of one that is about the same. May be given several times.
    #[arg(long, value_name = "RULE")]
    network: Vec<String>,
    /// Without this network, by its number; may be given several times.
    #[arg(long, value_name = "NUMBER")]
    remove_network: Vec<i64>,
    /// How many changes are printed.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100)]
    last: usize,
}

#[derive(Debug, Serialize)]
struct Shown {
    since: jiff::Timestamp,
    until: jiff::Timestamp,
    rules: Vec<Difference>,
    assumed: [&'static str; 7],
    #[serde(flatten)]
    report: Report,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let zone = admin.config.gateway.time_zone.clone();
    let since = time(&args.since, admin.now, &zone)?;
    let until = args.until.as_deref().map_or(Ok(admin.now), |text| time(text, admin.now, &zone))?;
    if until <= since {
        return Err(Usage("the period ends before it begins".to_owned()).into());
    }
    let now = admin.store.rulebook().await?;
    let changed = changed(&args, &admin, &now).await?;
    let rules = now.difference(&changed);
    let wrong = |fault: crate::rulebook::Fault| Usage(fault.to_string());
    let laid = [now.read().map_err(wrong)?, changed.read().map_err(wrong)?];
    let (path, at) = (admin.config.gateway.store.clone(), admin.now);
    let services = policy::Service::ALL.map(|service| {
        let hosts = admin.config.hosts.iter().filter(|host| can_enrol(&admin.config, service, Some(&host.name)));
        (service, hosts.map(|host| host.name.to_string()).collect::<Vec<_>>())
    });
    let report = tokio::task::spawn_blocking(move || {
        let reading = Reading::open(&path)?;
        let standings: HashMap<User, Standing> = reading.standings(at)?.into_iter().collect();
        let facts = Facts {
            zone,
            emergencies: reading.emergencies()?,
            can_enrol: Box::new(move |service, host| {
                services.iter().any(|(known, hosts)| *known == service && hosts.iter().any(|name| name == host))
            }),
        };
        let sides = laid.map(|Laid { rules, users }| {
            let laid_for = |user| users.get(user).copied().unwrap_or_default();
            let users = standings.iter().map(|(user, standing)| (user.clone(), laid_for(user).onto(*standing)));
            Side { users: users.collect(), rules }
        });
        let mut replay = Replay::new(sides, facts, since);
        let filter = Filter { since: Some(Replay::from(since)), until: Some(until), ..Filter::default() };
        let (tell, mut count) = (progress("replayed"), 0);
        reading.each(&filter, |sealed| {
            replay.take(&sealed.entry);
            count += 1;
            tell(count);
            Ok(true)
        })?;
        Ok::<_, crate::store::Error>(replay.end())
    });
    let report = report.await??;
    progress_ends();
    let shown = Shown { since, until, rules, assumed: ASSUMED, report };
    if global.json {
        super::print_json(&shown)?
    } else {
        print(&shown, &admin, args.last)?
    }
    Ok(ExitCode::SUCCESS)
}

/// The rules in question.
async fn changed(args: &Args, admin: &Admin, now: &Rulebook) -> anyhow::Result<Rulebook> {
    let mut book = match (&args.rules, args.rules_of) {
        (Some(file), _) => rules::read(file)?,
        (None, Some(number)) => admin.store.version(Some(number)).await?.1,
        (None, None) => now.clone(),
    };
    let unknown = rules::name_hosts(admin, &mut book);
    if args.rules.is_some() {
        if !unknown.is_empty() {
            return Err(Usage(unknown.join("; ")).into());
        }
        book = book.numbered_as(now);
    }
    for text in &args.set {
        let (name, value) = text.split_once('=').ok_or_else(|| Usage(format!("--set {text}: expected NAME=VALUE")))?;
        let mut settings = policy::Settings::default();
        settings.set(name, value).map_err(|error| Usage(format!("--set {text}: {error}")))?;
        book.settings.insert(name.to_owned(), settings.value(name)?);
    }
    for number in &args.remove_network {
        let before = book.networks.len();
        book.networks.retain(|line| line.number != Some(*number));
        if book.networks.len() == before {
            return Err(super::NotFound(format!("there is no network {number}")).into());
        }
    }
    for text in &args.network {
        let wrong = |what: String| Usage(format!("--network '{text}': {what}"));
        let mut line = network(text).map_err(wrong)?;
        if !line.host.is_empty() {
            line.host = super::network::known_host(&admin.config, &line.host)?.to_string();
        }
        book.put_network(&line).map_err(|(_, what)| wrong(what))?;
    }
    Ok(book)
}

/// A network rule as `--network` takes it.
fn network(text: &str) -> Result<NetworkLine, String> {
    let expected = "expected for instance 10.20.0.0/16 deny ftp host=PROD days=mon-fri hours=06:00-18:00";
    let mut words = text.split_whitespace();
    let (Some(block), Some(treatment)) = (words.next(), words.next()) else { return Err(expected.to_owned()) };
    let block = block.parse::<policy::rule::Block>().map_err(|error| error.to_string())?;
    let treatment = treatment.parse().map_err(str::to_owned)?;
    let mut line = NetworkLine::of(&policy::Network::new(0, policy::Service::Telnet, block, treatment));
    for word in words {
        match word.split_once('=') {
            None if word.parse::<policy::Service>().is_ok() => line.service = word.to_owned(),
            Some(("host", host)) => line.host = host.to_owned(),
            Some(("days", days)) => line.days = days.to_owned(),
            Some(("hours", hours)) => line.hours = hours.to_owned(),
            Some(_) | None => return Err(format!("`{word}`: {expected}")),
        }
    }
    match (line.days.is_empty(), line.hours.is_empty()) {
        (false, true) => line.hours = "00:00-24:00".to_owned(),
        (true, false) => line.days = "daily".to_owned(),
        (true, true) | (false, false) => {}
    }
    Ok(line)
}

fn print(shown: &Shown, admin: &Admin, last: usize) -> anyhow::Result<()> {
    let Shown { since, until, rules, report, .. } = shown;
    print_line(format_args!("Rules in question, from {} until {}:", admin.local(*since), admin.local(*until)))?;
    if rules.is_empty() {
        print_line("  no different from those that are")?;
    }
    rules.iter().try_for_each(|change| print_line(format_args!("  {}", change.line())))?;
    let Report { attempts, let_in, challenged, enrols, refused, not_refused_at_once, unlike_record, untold, changes } =
        report;
    print_line(format_args!(
        "\nOf {attempts} sign-ons, newly: {let_in} let in without being asked, {challenged} challenged, {enrols} asked to enrol, \
         {refused} refused."
    ))?;
    if *not_refused_at_once > 0 {
        print_line(format_args!(
            "{not_refused_at_once} of them are connections that would no longer be refused at once; who would have signed on is not known."
        ))?;
    }
    print_line("")?;
    if !changes.is_empty() {
        let headers = ["user", "from", "service", "host", "now", "then", "count", "first", "last"];
        print_table(
            &headers,
            changes.iter().take(last).map(|change| {
                let who = &change.who;
                vec![
                    who.user.clone().unwrap_or_else(|| "(nobody named)".to_owned()),
                    who.source.to_string(),
                    who.service.to_string(),
                    who.host.clone(),
                    format!("{} ({})", who.before.as_str(), who.reason_before),
                    format!("{} ({})", who.after.as_str(), who.reason_after),
                    change.count.to_string(),
                    admin.local(change.first),
                    admin.local(change.last),
                ]
            }),
        )?;
    }
    let more = changes.len().saturating_sub(last);
    if more > 0 {
        print_line(format_args!("... and {more} more lines (-n {})", changes.len()))?;
    }
    if *untold > 0 {
        print_line(format_args!("{untold} changed sign-ons are not listed: there is room for {CHANGES_MAX} lines."))?;
    }
    if *unlike_record > 0 {
        print_line(format_args!(
            "\n{unlike_record} sign-ons end otherwise under the rules that are now than was recorded: rules or users have changed \
             since, or it is one of what cannot be known."
        ))?;
    }
    print_line("\nTaken for what the audit cannot tell:")?;
    ASSUMED.iter().try_for_each(|line| print_line(format_args!("  {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_as_people_write_them() {
        let line = network("10.20.0.0/16 deny ftp host=PROD days=mon-fri").unwrap();
        assert_eq!((line.service.as_str(), line.host.as_str(), line.days.as_str()), ("ftp", "PROD", "mon-fri"));
        assert_eq!((line.hours.as_str(), line.treatment.as_str()), ("00:00-24:00", "deny"));
        assert_eq!(network("10.0.0.1 exempt hours=22:00-05:00").unwrap().days, "daily");
        for wrong in ["", "10.0.0.1", "10.0.0.1/8 deny", "10.0.0.1 allow", "10.0.0.1 deny ssh", "10.0.0.1 deny x=y"] {
            assert!(network(wrong).is_err(), "{wrong}");
        }
    }
}
