//! What in the rules deserves a second look, with what to do: overlaps, rules that never count, exceptions that are too wide.
//!
//! ```text
//!   problem   something that is hardly meant: it lets people in, or never does anything
//!   warning   something that may be meant, and should be for a reason
//!   note      how rules go together
//! ```
//!
//! A rule never counts where at every minute of the week at which it holds, rules that go before it cover all of its addresses: exact,
//! since whether a rule holds depends on the minute of the week alone.

use core::fmt;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::civil::{Date, DateTime};

use crate::account::ServiceAccount;
use crate::attempt::{Service, User};
use crate::decide::usable;
use crate::history::Standing;
use crate::mode::Mode;
use crate::rule::{Block, Network, Rules, Treatment};
use crate::setting::{Enforcement, Enrolment, Unnamed};

/// The widest exempt network that nobody is warned of: a /16, and a /48.
const EXEMPT_SPAN: (u128, u128) = ((1 << 16) - 1, (1 << 80) - 1);
/// The widest network of a service account that nobody is warned of: a /24, and a /64.
const SERVICE_SPAN: (u128, u128) = ((1 << 8) - 1, (1 << 64) - 1);
/// The longest repeat window that nobody is warned of, in minutes.
const REPEAT_MAX: u32 = 240;
/// How many of a kind are named one by one.
const NAMED_MAX: usize = 20;
/// Minutes of a day and of a week.
const DAY: i64 = 24 * 60;
const WEEK: i64 = 7 * DAY;

/// Networks that nobody reaches from the Internet.
const PRIVATE: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    "fe80::/10",
    "::1",
];

/// How grave a finding is, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Hardly meant.
    Problem,
    /// To be meant for a reason.
    Warning,
    /// For the record.
    Note,
}

impl Severity {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    fn new(severity: Severity, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity, what: what.into(), remedy: remedy.into() }
    }
}

/// What the configuration has, which rules are for.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// The names of the hosts.
    pub hosts: Vec<Arc<str>>,
    /// The services that a listener offers.
    pub services: Vec<Service>,
}

/// What deserves a second look in `rules`, the gravest first. `today` is a date in the gateway's zone.
#[must_use]
pub fn findings(rules: &Rules, site: &Site, today: Date) -> Vec<Finding> {
    let mut findings = Vec::new();
    enforcement(rules, &mut findings);
    settings(rules, &mut findings);
    for rule in rules.networks.all() {
        network(rule, today, &mut findings);
    }
    strangers(rules, site, &mut findings);
    unreachable(rules, &mut findings);
    overlaps(rules, &mut findings);
    accounts(rules, &mut findings);
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// What deserves a second look in what is laid down for `users` and what they have.
#[must_use]
pub fn users<'a>(rules: &Rules, users: impl Iterator<Item = (&'a User, Standing)>) -> Vec<Finding> {
    let (mut lacking, mut barred, mut long) = (Vec::new(), Vec::new(), Vec::new());
    for (user, standing) in users.filter(|(_, standing)| standing.enabled) {
        if standing.factors.is_empty() {
            lacking.push(user.as_str());
        } else if usable(rules, &standing).is_empty() {
            barred.push(user.as_str());
        }
        if standing.repeat.is_some_and(|minutes| minutes > REPEAT_MAX) {
            long.push(user.as_str());
        }
    }
    let lists = [
        (
            lacking,
            "without any factor, refused wherever one is asked for".to_owned(),
            "sallyport contact add USER ADDRESS, or sallyport factor add totp USER; who of them signs on: sallyport report factorless",
        ),
        (
            barred,
            "with factors, none of which may be used".to_owned(),
            "sallyport factor add totp USER, or sallyport user factors USER all; see sallyport settings show assurance",
        ),
        (long, format!("with repeat windows of more than {REPEAT_MAX} minutes"), "sallyport user repeat USER setting"),
    ];
    let found = lists.into_iter().filter(|(names, ..)| !names.is_empty());
    found
        .map(|(names, what, remedy)| {
            Finding::new(Severity::Warning, format!("{} {what}: {}", counted(&names), named(&names)), remedy)
        })
        .collect()
}

fn counted(users: &[&str]) -> String {
    if users.len() == 1 { "1 user".to_owned() } else { format!("{} users", users.len()) }
}

fn named(users: &[&str]) -> String {
    let shown: Vec<_> = users.iter().take(NAMED_MAX).copied().collect();
    let more = users.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", shown.join(", "))
}

fn enforcement(rules: &Rules, findings: &mut Vec<Finding>) {
    let mut tell = |enforcement: Enforcement, place: &str, remedy: &str| match enforcement {
        Enforcement::Off => findings.push(Finding::new(
            Severity::Problem,
            format!("enforcement is off{place}: nobody is asked for anything"),
            remedy,
        )),
        Enforcement::Observe => findings.push(Finding::new(
            Severity::Warning,
            format!("enforcement is observe{place}: everybody is let through"),
            remedy,
        )),
        Enforcement::Enforce => {}
    };
    tell(rules.settings.enforcement, "", "sallyport settings set enforcement enforce");
    for Mode { service, host, enforcement } in &rules.modes {
        let service = service.map(|service| format!(" for {service}")).unwrap_or_default();
        let host = host.as_ref().map(|host| format!(" to {host}")).unwrap_or_default();
        tell(*enforcement, &format!("{service}{host}"), "see sallyport mode list, and sallyport mode --help");
    }
}

fn settings(rules: &Rules, findings: &mut Vec<Finding>) {
    let settings = &rules.settings;
    for (name, minutes) in
        [("repeat.minutes", settings.repeat_minutes), ("ftp.repeat-minutes", settings.ftp_repeat_minutes)]
    {
        if minutes > REPEAT_MAX {
            findings.push(Finding::new(
                Severity::Warning,
                format!("{name} is {minutes}: who has keyed one passcode is not asked again for that long"),
                format!("sallyport settings set {name} {REPEAT_MAX}, or less"),
            ));
        }
    }
    if settings.unnamed == Unnamed::Exempt {
        findings.push(Finding::new(
            Severity::Warning,
            "unnamed is exempt: from exempt networks, whoever the sign-on does not name is let in",
            "sallyport settings set unnamed refuse, unless printers or default users need it",
        ));
    }
    if settings.enrolment == Enrolment::Anyone {
        findings.push(Finding::new(
            Severity::Warning,
            format!(
                "enrolment is open to anyone whose password the host accepts (enrolment.guard is {})",
                settings.enrolment_guard.as_str()
            ),
            "sallyport settings set enrolment registered",
        ));
    }
}

fn is_wide(block: &Block, (four, six): (u128, u128)) -> bool {
    block.span() > if block.is_ipv4() { four } else { six }
}

fn is_public(block: &Block) -> bool {
    !PRIVATE.iter().any(|known| known.parse::<Block>().is_ok_and(|known| known.covers(block)))
}

fn network(rule: &Network, today: Date, findings: &mut Vec<Finding>) {
    let (id, name) = (rule.id, name(rule));
    if rule.treatment == Treatment::Exempt {
        let found = match (is_wide(&rule.block, EXEMPT_SPAN), is_public(&rule.block)) {
            (true, true) => Some((Severity::Problem, "holds public addresses and is wider than /16 (IPv6: /48)")),
            (true, false) => Some((Severity::Warning, "is wider than /16 (IPv6: /48)")),
            (false, true) => Some((Severity::Warning, "holds public addresses, which others on the way can take")),
            (false, false) => None,
        };
        if let Some((severity, what)) = found {
            let narrow = format!("sallyport network add narrower ones, then sallyport network remove {id}");
            findings.push(Finding::new(severity, format!("{name} is exempt, and {what}"), narrow));
        }
    }
    let set = format!("look whether it is still needed, then sallyport network change {id} --review DATE");
    match rule.review {
        Some(date) if date <= today => {
            let severity = match rule.treatment {
                Treatment::Exempt => Severity::Problem,
                Treatment::Challenge | Treatment::Deny => Severity::Warning,
            };
            findings.push(Finding::new(severity, format!("{name} was to be looked at by {date}"), set));
        }
        None if rule.treatment == Treatment::Exempt => {
            findings.push(Finding::new(Severity::Warning, format!("{name} is exempt without a review date"), set));
        }
        Some(_) | None => {}
    }
}

fn name(rule: &Network) -> String {
    let Network { id, service, block, .. } = rule;
    let host = rule.host.as_ref().map(|host| format!(" to {host}")).unwrap_or_default();
    let when = rule.schedule.map(|schedule| format!(", {schedule}")).unwrap_or_default();
    format!("network {id} ({service} from {block}{host}{when})")
}

/// Rules that never count.
fn unreachable(rules: &Rules, findings: &mut Vec<Finding>) {
    for rule in rules.networks.all() {
        if let Some(by) = hidden_by(rules, rule) {
            let numbers: Vec<_> = by.iter().map(ToString::to_string).collect();
            let what = format!("{} never counts: network {} goes before it", name(rule), numbers.join(", "));
            let remedy = format!("sallyport network remove {}, or the others", rule.id);
            findings.push(Finding::new(Severity::Problem, what, remedy));
        }
    }
}

/// Rules for hosts and services that the configuration does not have.
fn strangers(rules: &Rules, site: &Site, findings: &mut Vec<Finding>) {
    let mut tell = |rule: String, service: Option<Service>, host: Option<&str>, remedy: String| {
        if let Some(host) = host
            && !site.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
        {
            let what = format!("{rule} never counts: there is no host {host}");
            findings.push(Finding::new(Severity::Problem, what, remedy));
        } else if let Some(service) = service
            && !site.services.contains(&service)
        {
            let what = format!("{rule} counts for nobody: no listener is for {service}");
            findings.push(Finding::new(Severity::Note, what, remedy));
        }
    };
    for Mode { service, host, enforcement } in &rules.modes {
        let of = service.map(|service| format!(" of {service}")).unwrap_or_default();
        let to = host.as_ref().map(|host| format!(" to {host}")).unwrap_or_default();
        let flags = service.map(|service| format!(" --service {service}")).unwrap_or_default();
        let flags = format!("{flags}{}", host.as_ref().map(|host| format!(" --host {host}")).unwrap_or_default());
        let remedy = format!("sallyport mode reset{flags}");
        tell(format!("the mode {}{of}{to}", enforcement.as_str()), *service, host.as_deref(), remedy);
    }
    for rule in rules.networks.all() {
        let remedy = format!("sallyport network remove {}", rule.id);
        tell(name(rule), Some(rule.service), rule.host.as_deref(), remedy);
    }
    for account in &rules.accounts {
        let remedy = format!("sallyport service remove {}", account.id);
        tell(account_name(account), Some(account.service), None, remedy);
    }
}

/// The network rule that decides wherever and whenever `account` would: it covers all its addresses at every hour on every host, and no
/// other rule goes before it for any of them.
fn decided_by<'a>(rules: &'a Rules, account: &ServiceAccount) -> Option<&'a Network> {
    let meets = |rule: &&Network| rule.service == account.service && rule.block.overlaps(&account.block);
    let first = rules.networks.all().iter().filter(meets).min_by_key(|rule| rule.precedence())?;
    let always = first.host.is_none() && first.schedule.is_none() && first.block.covers(&account.block);
    (always && first.treatment != Treatment::Challenge).then_some(first)
}

fn account_name(account: &ServiceAccount) -> String {
    let ServiceAccount { id, user, service, block, .. } = account;
    format!("service account {id} ({user} by {service} from {block})")
}

/// The rules that together go before `rule` wherever and whenever it holds; `None`: it counts for somebody.
fn hidden_by(rules: &Rules, rule: &Network) -> Option<Vec<i64>> {
    // Only rules that hold for every host that this one holds for can hide it: there may always be another host.
    let holds_there = |host: &str| rule.host.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(host));
    let before = rules.networks.all().iter().filter(|other| {
        other.id != rule.id
            && other.service == rule.service
            && other.host.as_ref().is_none_or(|host| holds_there(host))
            && other.block.overlaps(&rule.block)
            && other.precedence() < rule.precedence()
    });
    let before: Vec<&Network> = before.collect();
    let mut hiding = BTreeSet::new();
    for moment in moments(before.iter().copied().chain([rule])) {
        if !rule.schedule.is_none_or(|schedule| schedule.covers(moment)) {
            continue;
        }
        let holding = before.iter().filter(|other| other.schedule.is_none_or(|schedule| schedule.covers(moment)));
        hiding.extend(covered(rule, holding.copied())?);
    }
    // Without any time at which it holds there is nothing to be hidden; no schedule is that empty.
    (!hiding.is_empty()).then(|| hiding.into_iter().collect())
}

/// The minutes of a week at which some schedule of `rules` may begin or end, and the first one.
fn moments<'a>(rules: impl Iterator<Item = &'a Network>) -> Vec<DateTime> {
    // A Monday.
    let start = jiff::civil::date(2026, 11, 23).at(0, 0, 0, 0);
    let mut minutes = BTreeSet::from([0]);
    for schedule in rules.filter_map(|rule| rule.schedule) {
        let (from, until) = schedule.hours.edges();
        for day in 0..7_i64 {
            for minute in [i64::from(from), i64::from(until)] {
                minutes.insert(day.saturating_mul(DAY).saturating_add(minute).rem_euclid(WEEK));
            }
        }
    }
    let at = |minutes: i64| start.checked_add(jiff::SignedDuration::from_mins(minutes)).ok();
    minutes.into_iter().filter_map(at).collect()
}

/// Those of `others` that together cover all addresses of `rule`; `None`: they do not.
fn covered<'a>(rule: &Network, others: impl Iterator<Item = &'a Network>) -> Option<Vec<i64>> {
    let mut others: Vec<&Network> = others.collect();
    others.sort_by_key(|other| other.block.first());
    let (mut next, last) = (Some(rule.block.first()), rule.block.last());
    let mut by = Vec::new();
    for other in others {
        let Some(wanted) = next else { break };
        if other.block.first() > wanted {
            return None;
        }
        if other.block.last() >= wanted {
            by.push(other.id);
            next = after(other.block.last()).filter(|next| *next <= last);
        }
    }
    next.is_none().then_some(by)
}

/// The address behind `address`.
fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

/// Rules that have addresses, host and service in common and say something else.
fn overlaps(rules: &Rules, findings: &mut Vec<Finding>) {
    const REMEDY: &str =
        "meant so? sallyport network list shows all; sallyport explain --at TIME tells what counts when";
    let mut nested = 0_usize;
    for rule in rules.networks.all() {
        for other in rules.networks.conflicts(rule).filter(|other| other.precedence() < rule.precedence()) {
            let (one, two) = (name(other), name(rule));
            let (treated, otherwise) = (other.treatment, rule.treatment);
            if other.block == rule.block {
                let what = format!(
                    "{one}: {treated}, and {two}: {otherwise}, are about the same addresses; the first goes before"
                );
                findings.push(Finding::new(Severity::Warning, what, REMEDY));
            } else if !rule.block.covers(&other.block) {
                let what = format!(
                    "{one}: {treated}, and {two}: {otherwise}, overlap; the first has fewer addresses and goes before"
                );
                findings.push(Finding::new(Severity::Warning, what, REMEDY));
            } else {
                nested = nested.saturating_add(1);
                if nested <= NAMED_MAX {
                    let what = format!("{one}: {treated}, is an exception within {two}: {otherwise}");
                    findings.push(Finding::new(Severity::Note, what, REMEDY));
                }
            }
        }
    }
    let more = nested.saturating_sub(NAMED_MAX);
    if more > 0 {
        findings.push(Finding::new(Severity::Note, format!("{more} more exceptions within other networks"), REMEDY));
    }
}

fn accounts(rules: &Rules, findings: &mut Vec<Finding>) {
    for account in &rules.accounts {
        let (id, user, block) = (account.id, &account.user, account.block);
        if let Some(rule) = decided_by(rules, account) {
            let by = name(rule);
            // An exempt network is passed over for users who are always asked, and then the account counts.
            let (severity, what) = if rule.treatment == Treatment::Deny {
                (Severity::Problem, format!("never counts: {by} refuses before it"))
            } else {
                (Severity::Warning, format!("never counts: {by} lets in before it, at every hour and whoever it is"))
            };
            findings.push(Finding::new(
                severity,
                format!("{} {what}", account_name(account)),
                format!("sallyport service remove {id}, or sallyport network remove {}", rule.id),
            ));
        }
        let found = match (is_wide(&block, SERVICE_SPAN), account.certificate.is_none()) {
            (true, true) => Some((
                Severity::Problem,
                "is for more than a /24 (IPv6: /64) and asks for no certificate: the password alone lets in",
            )),
            (true, false) => Some((Severity::Warning, "is for more than a /24 (IPv6: /64)")),
            (false, true) => Some((Severity::Note, "asks for no certificate: address, hours and password let in")),
            (false, false) => None,
        };
        if let Some((severity, what)) = found {
            findings.push(Finding::new(
                severity,
                format!("{} {what}", account_name(account)),
                format!(
                    "sallyport service remove {id}, then sallyport service add {user} --from ADDRESS --certificate FINGERPRINT"
                ),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::account::Schedule;
    use crate::attempt::Attempt;
    use crate::factor::{Factor, Factors};
    use crate::rule::Networks;
    use crate::setting::Settings;

    const TODAY: Date = jiff::civil::date(2026, 11, 27);

    fn network(id: i64, block: &str, treatment: Treatment) -> Network {
        let review = Some(jiff::civil::date(2027, 6, 30));
        Network { review, ..Network::new(id, Service::Telnet, block.parse().unwrap(), treatment) }
    }

    fn schedule(text: &str) -> Option<Schedule> {
        let (days, hours) = text.split_once(' ').unwrap();
        Some(Schedule { days: days.parse().unwrap(), hours: hours.parse().unwrap() })
    }

    fn site() -> Site {
        Site { hosts: vec!["prod".into(), "A".into()], services: Service::ALL.into() }
    }

    #[test]
    fn rules_that_never_count_are_told() {
        let mode = |service, host: &str| Mode {
            service,
            host: (!host.is_empty()).then(|| host.into()),
            enforcement: Enforcement::Enforce,
        };
        let account = |id, block: &str| ServiceAccount {
            id,
            user: "NIGHTJOB".parse().unwrap(),
            service: Service::Telnet,
            block: block.parse().unwrap(),
            schedule: schedule("daily 22:00-05:00").unwrap(),
            certificate: Some(crate::Fingerprint::new([7; 32])),
            comment: String::new(),
        };
        let rules = Rules {
            modes: vec![mode(None, "PROD"), mode(Some(Service::Telnet), "OLD"), mode(Some(Service::Ftp), "")],
            networks: Networks::new(vec![
                Network { host: Some("Old".into()), ..network(1, "10.1.0.0/16", Treatment::Exempt) },
                network(2, "10.2.0.0/16", Treatment::Deny),
                network(3, "10.2.7.0/24", Treatment::Challenge),
                network(4, "10.3.0.0/16", Treatment::Exempt),
                Network { schedule: schedule("mon-fri 06:00-18:00"), ..network(5, "10.4.0.0/16", Treatment::Deny) },
            ]),
            accounts: vec![
                account(1, "10.2.1.0/24"),
                account(2, "10.2.7.1"),
                account(3, "10.3.0.0/24"),
                account(4, "10.4.0.1"),
                account(5, "10.1.0.0/24"),
            ],
            ..Rules::default()
        };
        let site = Site { hosts: vec!["prod".into()], services: vec![Service::Telnet] };
        let found: Vec<_> = findings(&rules, &site, TODAY).into_iter().map(|one| one.what).collect();
        let found: Vec<_> = found.iter().filter(|what| what.contains("counts")).map(String::as_str).collect();
        assert_eq!(
            found,
            [
                "the mode enforce of telnet to OLD never counts: there is no host OLD",
                "network 1 (telnet from 10.1.0.0/16 to Old) never counts: there is no host Old",
                "service account 1 (NIGHTJOB by telnet from 10.2.1.0/24) never counts: network 2 (telnet from 10.2.0.0/16) refuses before it",
                "service account 3 (NIGHTJOB by telnet from 10.3.0.0/24) never counts: network 4 (telnet from 10.3.0.0/16) lets in before it, at every hour and whoever it is",
                "the mode enforce of ftp counts for nobody: no listener is for ftp",
            ]
        );
    }

    fn of(networks: Vec<Network>) -> Vec<(Severity, String)> {
        let rules = Rules { networks: Networks::new(networks), ..Rules::default() };
        findings(&rules, &site(), TODAY).into_iter().map(|finding| (finding.severity, finding.what)).collect()
    }

    #[test]
    fn each_finding_of_a_network() {
        use Severity::{Note, Problem, Warning};
        use Treatment::{Challenge, Deny, Exempt};
        let dated = |date: &str, rule: Network| Network { review: date.parse().ok(), ..rule };
        let at = |hours: &str, rule: Network| Network { schedule: schedule(hours), ..rule };
        let office = "mon-fri 06:00-18:00";
        for (networks, expected) in [
            (vec![], vec![]),
            (vec![network(1, "10.1.0.0/16", Exempt), network(2, "192.0.2.0/24", Deny)], vec![]),
            (vec![network(1, "0.0.0.0/0", Exempt)], vec![(Problem, "holds public addresses and is wider than /16")]),
            (vec![network(1, "10.0.0.0/15", Exempt)], vec![(Warning, "is exempt, and is wider than /16")]),
            (vec![network(1, "fd00::/47", Exempt)], vec![(Warning, "is wider than /16 (IPv6: /48)")]),
            (vec![network(1, "fd00::/48", Exempt)], vec![]),
            (vec![network(1, "203.0.113.7", Exempt)], vec![(Warning, "holds public addresses, which")]),
            (vec![network(1, "0.0.0.0/0", Deny)], vec![]),
            (vec![dated("", network(1, "10.1.1.1", Exempt))], vec![(Warning, "is exempt without a review date")]),
            (vec![dated("", network(1, "10.1.1.1", Challenge))], vec![]),
            (vec![dated("2026-11-27", network(1, "10.1.1.1", Exempt))], vec![(Problem, "looked at by 2026-11-27")]),
            (vec![dated("2026-11-26", network(1, "10.1.1.1", Deny))], vec![(Warning, "looked at by 2026-11-26")]),
            (vec![dated("2026-11-28", network(1, "10.1.1.1", Exempt))], vec![]),
            (
                vec![network(1, "10.1.0.0/16", Deny), network(2, "10.1.2.0/24", Exempt)],
                vec![(Note, "network 2 (telnet from 10.1.2.0/24): exempt, is an exception within network 1")],
            ),
            (
                vec![network(1, "10.1.0.0-10.1.0.9", Deny), network(2, "10.1.0.5-10.1.0.20", Exempt)],
                vec![(Warning, "overlap; the first has fewer addresses")],
            ),
            (
                vec![
                    network(1, "10.1.0.0/16", Deny),
                    Network { host: Some("PROD".into()), ..network(2, "10.1.0.0/16", Challenge) },
                ],
                vec![(Warning, "network 2 (telnet from 10.1.0.0/16 to PROD): challenge, and network 1")],
            ),
            (
                vec![network(1, "10.1.0.0/16", Deny), at(office, network(2, "10.1.0.0/16", Challenge))],
                vec![(Warning, "network 2 (telnet from 10.1.0.0/16, mon-fri 06:00-18:00): challenge, and network 1")],
            ),
            (
                vec![
                    network(1, "10.1.0.0/16", Deny),
                    network(2, "10.1.0.0/17", Challenge),
                    network(3, "10.1.128.0/17", Challenge),
                ],
                vec![
                    (Problem, "network 1 (telnet from 10.1.0.0/16) never counts: network 2, 3 goes before it"),
                    (Note, "exception"),
                    (Note, "exception"),
                ],
            ),
            (
                vec![
                    at(office, network(9, "10.1.0.0/16", Deny)),
                    at("daily 00:00-12:00", network(2, "10.1.0.0/16", Deny)),
                    at("daily 11:00-24:00", network(3, "10.1.0.0-10.1.255.254", Deny)),
                    network(4, "10.1.255.255", Deny),
                ],
                vec![(
                    Problem,
                    "network 9 (telnet from 10.1.0.0/16, mon-fri 06:00-18:00) never counts: network 2, 3, 4",
                )],
            ),
            (
                vec![
                    at(office, network(9, "10.1.0.0/16", Deny)),
                    at("daily 00:00-12:00", network(2, "10.1.0.0/16", Deny)),
                    at("daily 12:01-24:00", network(3, "10.1.0.0/16", Deny)),
                ],
                vec![],
            ),
        ] {
            let found = of(networks.clone());
            assert_eq!(found.len(), expected.len(), "{networks:#?} {found:#?}");
            for ((severity, what), (wanted, words)) in found.iter().zip(&expected) {
                assert!(severity == wanted && what.contains(words), "{words}: {found:#?}");
            }
        }
    }

    #[test]
    fn settings_modes_accounts_and_users() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("enforcement", "observe"),
            ("unnamed", "exempt"),
            ("enrolment", "anyone"),
            ("repeat.minutes", "241"),
            ("ftp.repeat-minutes", "240"),
        ] {
            settings.set(name, value).unwrap();
        }
        let account = |id, block: &str| ServiceAccount {
            id,
            user: "NIGHTJOB".parse().unwrap(),
            service: Service::Ftp,
            block: block.parse().unwrap(),
            schedule: schedule("daily 22:00-05:00").unwrap(),
            certificate: None,
            comment: String::new(),
        };
        let certificate = Some(crate::Fingerprint::new([7; 32]));
        let rules = Rules {
            settings,
            modes: vec![Mode { service: Some(Service::Ftp), host: Some("PROD".into()), enforcement: Enforcement::Off }],
            accounts: vec![
                account(1, "10.0.0.0/23"),
                account(2, "10.0.0.0/24"),
                ServiceAccount { certificate, ..account(3, "10.0.0.0/24") },
                ServiceAccount { certificate, ..account(4, "fd00::/63") },
            ],
            ..Rules::default()
        };
        let found = findings(&rules, &site(), TODAY);
        let found: Vec<_> = found.into_iter().map(|f| format!("{}: {}", f.severity, f.what)).collect();
        let expected = [
            "problem: enforcement is off for ftp to PROD",
            "problem: service account 1",
            "warning: enforcement is observe:",
            "warning: repeat.minutes is 241",
            "warning: unnamed is exempt",
            "warning: enrolment is open to anyone",
            "warning: service account 4",
            "note: service account 2",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }

        let names: Vec<User> = ["ANNA", "BERT", "CARL", "DORA"].iter().map(|name| name.parse().unwrap()).collect();
        let email = Standing { factors: Factors::only(Factor::Email), ..Standing::default() };
        let standings = [
            Standing::default(),
            Standing { allowed: Factors::only(Factor::Totp), ..email },
            Standing { repeat: Some(241), ..email },
            Standing { enabled: false, ..Standing::default() },
        ];
        let found = users(&rules, names.iter().zip(standings));
        let whats: Vec<_> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            whats,
            [
                "1 user without any factor, refused wherever one is asked for: ANNA",
                "1 user with factors, none of which may be used: BERT",
                "1 user with repeat windows of more than 240 minutes: CARL",
            ]
        );
    }

    prop_compose! {
        fn any_network()(
            first in 0_u8..16, length in 0_u8..16, host in 0_usize..3, hours in 0_usize..4, treatment in 0_usize..3,
        ) -> Network {
            let last = first.saturating_add(length).min(15);
            let block = format!("10.0.0.{first}-10.0.0.{last}");
            let treatment = [Treatment::Exempt, Treatment::Challenge, Treatment::Deny][treatment];
            let hosts = [None, Some("A".into()), Some("b".into())];
            let texts = ["daily 00:00-24:00", "daily 00:00-12:00", "daily 12:00-24:00", "mon-fri 22:00-02:00"];
            let schedule = schedule(texts[hours]).filter(|_| hours > 0);
            Network { host: hosts[host].clone(), schedule, ..network(0, &block, treatment) }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against asking which rule counts for every address, host and hour there is.
        #[test]
        fn a_rule_never_counts_where_nobody_gets_it(mut networks in proptest::collection::vec(any_network(), 1..8)) {
            for (rule, id) in networks.iter_mut().zip(1..) {
                rule.id = id;
            }
            let rules = Rules { networks: Networks::new(networks), ..Rules::default() };
            let mut attempt = Attempt {
                user: None,
                source: "10.0.0.0".parse().unwrap(),
                service: Service::Telnet,
                host: "".into(),
                at: jiff::Timestamp::UNIX_EPOCH,
                local: jiff::civil::date(2026, 11, 23).at(0, 0, 0, 0),
                certificate: None,
                can_enrol: true,
            };
            let mut counts = BTreeSet::new();
            for (host, address) in ["a", "B", "other"].into_iter().flat_map(|host| (0..16).map(move |byte| (host, byte))) {
                attempt.host = host.into();
                attempt.source = IpAddr::from([10, 0, 0, address]);
                for (day, hour) in (23..30).flat_map(|day| [0, 2, 12, 22].map(|hour| (day, hour))) {
                    attempt.local = jiff::civil::date(2026, 11, day).at(hour, 0, 0, 0);
                    counts.extend(rules.networks.find(&attempt).map(|rule| rule.id));
                }
            }
            for rule in rules.networks.all() {
                prop_assert_eq!(hidden_by(&rules, rule).is_none(), counts.contains(&rule.id), "{:?} {:#?}", rule, rules);
            }
        }
    }
}
