//! What a change of the rules takes away of the protection, by comparing the rules before and after, whatever changed them.

//!
//! Each list of rules is gone through a few times, and never once for each rule of another: a document may have twenty thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use policy::setting::{Enrolment, EnrolmentGuard, Kind, SETTINGS, Settings};
use policy::{Enforcement, Factor, Logging, Network, Networks, Rules, Service, Treatment};

use super::line::{NetworkLine, ServiceLine};
use super::{Laid, Override};

/// Settings that protect less the greater they are.
const LESS_IS_SAFER: &[&str] = &[
    "passcode.expiry",
    "passcode.tries",
    "repeat.minutes",
    "repeat.uses",
    "ftp.repeat-minutes",
    "ftp.repeat-uses",
    "emergency.hours",
    "enrolment.ticket-hours",
    "lockout.user-failures",
    "lockout.user-ceiling",
    "lockout.pair-failures",
    "lockout.delay-after",
    "lockout.source-failures",
    "ftp.window",
    "ftp.window-uses",
    "ftp.host-checks",
    "send.per-user",
    "send.per-day",
    "send.per-pair",
    "send.per-pair-day",
    "send.per-source",
    "send.per-contact",
    "send.per-contact-day",
    "send.total",
    "alert.wrong-passcodes",
    "alert.rejections",
    "alert.pause",
    "alert.node-minutes",
];
/// Settings that protect less the smaller they are.
const MORE_IS_SAFER: &[&str] = &[
    "passcode.digits",
    "lockout.user-minutes",
    "lockout.source-minutes",
    "lockout.delay",
    "ftp.refusal-time",
    "ftp.host-checks-window",
    "send.window",
    "send.pause",
    "alert.window",
    "alert.most",
];
/// Of those, the ones for which 0 is for ever.
const ENDLESS_AT_ZERO: &[&str] = &["ftp.host-checks-window"];
/// Settings that are words, from the safest to the least safe.
const WORDS: &[(&str, &[&str])] = &[
    ("unnamed", &["refuse", "exempt"]),
    ("assurance", &["standard", "restricted", "weak"]),
    ("enrolment", &["off", "registered", "anyone"]),
    ("enrolment.guard", &["ticket", "approval", "network"]),
    ("emergency.approval", &["two", "one"]),
];

/// What protects less after a change than before, in words, what matters most first; nothing: nothing does.
#[must_use]
pub fn lowered(before: &Laid, after: &Laid) -> Vec<String> {
    let mut found = modes(&before.rules, &after.rules);
    found.extend(settings(&before.rules.settings, &after.rules.settings));
    // A long list of networks must not keep from sight what is behind it.
    found.sort_by_key(|what| !what.starts_with("enforcement: ") && !what.starts_with("setting alert."));
    found.extend(networks(&before.rules, &after.rules));
    let known: BTreeSet<_> = before.rules.accounts.iter().map(|account| ServiceLine::of(account).key()).collect();
    let accounts = after.rules.accounts.iter().map(|account| ServiceLine::of(account).key());
    found.extend(accounts.filter(|key| !known.contains(key)).map(|key| format!("{key}: let in")));
    let users: BTreeSet<_> = before.users.keys().chain(after.users.keys()).collect();
    let marked = [before, after].map(|laid| marks(&laid.rules.networks));
    for user in users {
        let of = |laid: &Laid| laid.users.get(user).copied().unwrap_or_default();
        let what = of_user((of(before), of(after)), [&before.rules.settings, &after.rules.settings], marked);
        found.extend((!what.is_empty()).then(|| format!("user {user}: {}", what.join(", "))));
    }
    found
}

/// Whether a network is marked for enrolment.
fn marks(networks: &Networks) -> bool {
    networks.all().iter().any(|network| network.enrolment == Some(true))
}

/// How freely somebody may enrol where a user or network says `own`: `others` tells whether it may be permitted elsewhere.
fn freedom(own: Option<bool>, settings: &Settings, others: bool) -> u8 {
    match own {
        Some(false) => 0,
        None if settings.enrolment != Enrolment::Off && settings.enrolment_guard != EnrolmentGuard::Network => 2,
        None => u8::from(others || settings.enrolment != Enrolment::Off),
        Some(true) => 3,
    }
}

const fn strength(enforcement: Enforcement) -> u8 {
    match enforcement {
        Enforcement::Off => 0,
        Enforcement::Observe => 1,
        Enforcement::Enforce => 2,
    }
}

/// The setting, and the mode of each service and host that is named, each where it came to be weaker.
fn modes(before: &Rules, after: &Rules) -> Vec<String> {
    let mode = |rules: &Rules, service, host: &str| {
        let fitting = rules.modes.iter().filter(|mode| mode.fits(service, host));
        fitting.max_by_key(|mode| mode.rank()).map_or(rules.settings.enforcement, |mode| mode.enforcement)
    };
    let (old, new) = (before.settings.enforcement, after.settings.enforcement);
    let mut found = Vec::new();
    if strength(new) < strength(old) {
        found.push(format!("enforcement: {} -> {}", old.as_str(), new.as_str()));
    }
    let named: BTreeSet<&str> =
        before.modes.iter().chain(&after.modes).filter_map(|mode| mode.host.as_deref()).collect();
    // No host has an empty name: it stands for all that no mode names.
    for host in named.into_iter().chain([""]) {
        for service in [Service::Telnet, Service::Ftp] {
            let (from, to) = (mode(before, service, host), mode(after, service, host));
            // What the setting did has been told.
            if strength(to) < strength(from) && (from, to) != (old, new) {
                let host = if host.is_empty() { "other hosts" } else { host };
                found.push(format!("mode of {service} to {host}: {} -> {}", from.as_str(), to.as_str()));
            }
        }
    }
    found
}

/// Each rule by what it is about; that is made once for each.
fn keyed(networks: &Networks) -> Vec<(String, &Network)> {
    networks.all().iter().map(|rule| (NetworkLine::of(rule).key(), rule)).collect()
}

/// The addresses of rules of one treatment, merged and sorted, by service and by the hosts that they are for.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<(Service, Hosts), Vec<(IpAddr, IpAddr)>>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hosts {
    /// Of all rules, whatever host they name.
    Any,
    /// Of those that name none.
    Unnamed,
    /// Of those that name this one.
    Named(String),
}

impl Hosts {
    fn of(host: Option<&str>) -> Self {
        host.map_or(Self::Unnamed, |host| Self::Named(host.to_ascii_uppercase()))
    }
}

impl Ranges {
    fn of(rules: &Networks, treatment: Treatment) -> Self {
        let mut ranges = Self::default();
        for rule in rules.all().iter().filter(|rule| rule.treatment == treatment) {
            for hosts in [Hosts::Any, Hosts::of(rule.host.as_deref())] {
                ranges.0.entry((rule.service, hosts)).or_default().push((rule.block.first(), rule.block.last()));
            }
        }
        for list in ranges.0.values_mut() {
            list.sort_unstable();
            list.dedup_by(|next, known| {
                let is_within = next.0 <= known.1;
                if is_within {
                    known.1 = known.1.max(next.1);
                }
                is_within
            });
        }
        ranges
    }

    /// Whether one of them is about addresses of `rule`, on a host of its.
    fn overlap(&self, rule: &Network) -> bool {
        let hosts = match rule.host.as_deref() {
            None => vec![Hosts::Any],
            host @ Some(_) => vec![Hosts::Unnamed, Hosts::of(host)],
        };
        hosts.into_iter().any(|hosts| {
            let Some(list) = self.0.get(&(rule.service, hosts)) else { return false };
            // IPv4 stands before IPv6, and no range has both.
            let behind = list.partition_point(|range| range.0 <= rule.block.last());
            behind.checked_sub(1).and_then(|place| list.get(place)).is_some_and(|range| range.1 >= rule.block.first())
        })
    }
}

/// Rules that treat somebody less strictly than before, by themselves or where they stand within others.
fn networks(before: &Rules, after: &Rules) -> Vec<String> {
    let (old, new) = (keyed(&before.networks), keyed(&after.networks));
    let by_key = |list: &[(String, &Network)]| -> BTreeMap<String, usize> {
        list.iter().enumerate().map(|(place, (key, _))| (key.clone(), place)).collect()
    };
    let (known, kept) = (by_key(&old), by_key(&new));
    let (denied, exempt) =
        (Ranges::of(&after.networks, Treatment::Deny), Ranges::of(&after.networks, Treatment::Exempt));
    let free =
        |rule: Option<&Network>, rules: &Rules| freedom(rule.and_then(|rule| rule.enrolment), &rules.settings, true);
    let logging = |rule: &Network| rule.logging.unwrap_or(Logging::All);
    let mut found = Vec::new();
    for (key, rule) in &new {
        let old = known.get(key).and_then(|place| old.get(*place)).map(|(_, old)| *old);
        let is_weaker = match (old.map(|old| old.treatment), rule.treatment) {
            (Some(old), new) => new < old,
            (None, Treatment::Exempt) => true,
            // It lets through what a wider rule denies.
            (None, Treatment::Challenge) => denied.overlap(rule),
            (None, Treatment::Deny) => false,
        };
        if is_weaker {
            found.push(format!("{key}: {}", rule.treatment));
        }
        let had = old.and_then(|old| old.enrolment);
        if rule.enrolment != had && free(Some(rule), after) > free(old, before) {
            found.push(format!("{key}: enrolment on"));
        }
        if logging(rule) < old.map_or(Logging::All, logging) {
            found.push(format!("{key}: less of the audit passed on"));
        }
    }
    for (key, rule) in old.iter().filter(|(key, _)| !kept.contains_key(key)) {
        let is_weaker = match rule.treatment {
            Treatment::Deny => true,
            // A wider rule exempts it now.
            Treatment::Challenge => exempt.overlap(rule),
            Treatment::Exempt => false,
        };
        if is_weaker {
            found.push(format!("{key}: no longer {}", rule.treatment));
        }
        if rule.enrolment == Some(false) && after.settings.enrolment != Enrolment::Off {
            found.push(format!("{key}: enrolment no longer off"));
        }
    }
    found
}

fn settings(before: &Settings, after: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    for setting in SETTINGS {
        let name = setting.name;
        let (Ok(old), Ok(new)) = (before.value(name), after.value(name)) else { continue };
        let is_weaker = match setting.kind {
            Kind::Number { .. } => {
                let number = |text: &str| match text.parse::<u32>().unwrap_or(0) {
                    0 if ENDLESS_AT_ZERO.contains(&name) => u32::MAX,
                    number => number,
                };
                let numbers = (number(&old), number(&new));
                (LESS_IS_SAFER.contains(&name) && numbers.1 > numbers.0)
                    || (MORE_IS_SAFER.contains(&name) && numbers.1 < numbers.0)
            }
            Kind::Choice { .. } => WORDS.iter().filter(|(word, _)| *word == name).any(|(_, words)| {
                let place = |value: &str| words.iter().position(|word| *word == value);
                place(&new) > place(&old)
            }),
            Kind::List { .. } => !before.alert_muted.covers(after.alert_muted),
        };
        if is_weaker {
            found.push(format!("setting {name}: {old} -> {new}"));
        }
    }
    found
}

fn of_user((before, after): (Override, Override), settings: [&Settings; 2], marked: [bool; 2]) -> Vec<&'static str> {
    let mut found = Vec::new();
    if before.always && !after.always {
        found.push("no longer always asked");
    }
    if Factor::ALL.into_iter().any(|factor| after.allowed.contains(factor) && !before.allowed.contains(factor)) {
        found.push("more factors");
    }
    // What counts, by the override or else by the setting. What the setting did by itself has been told.
    let [old, new] = settings;
    if after.enrolment != before.enrolment
        && freedom(after.enrolment, new, marked[1]) > freedom(before.enrolment, old, marked[0])
    {
        found.push("enrolment on");
    }
    let windows = |own: Override, settings: &Settings| {
        [settings.repeat_minutes, settings.ftp_repeat_minutes].map(|minutes| own.repeat.unwrap_or(minutes))
    };
    let (old, new) = (windows(before, old), windows(after, new));
    if after.repeat != before.repeat && new.iter().zip(old).any(|(new, old)| *new > old) {
        found.push("longer repeat windows");
    }
    if after.logging.unwrap_or(Logging::All) < before.logging.unwrap_or(Logging::All) {
        found.push("less of the audit passed on");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Rulebook;
    use super::*;

    /// Settings that are judged by themselves.
    const APART: &[&str] = &["enforcement", "alert.muted"];
    /// Settings that take nothing away, whatever they are.
    const NEUTRAL: &[&str] = &["language", "contacts.max"];

    /// What a change from `before` to `after` takes away; both without the brackets around them.
    fn change(before: &str, after: &str) -> Vec<String> {
        let read = |text: &str| {
            let text = format!("{{\"sallyport_rules\":1{}{text}}}", if text.is_empty() { "" } else { "," });
            Rulebook::parse(&text).unwrap().read().unwrap()
        };
        lowered(&read(before), &read(after))
    }

    #[test]
    fn each_way_to_protect_less_is_found_and_its_undoing_is_not() {
        let network = |block: &str, treatment: &str| {
            format!("{{\"service\":\"telnet\",\"network\":\"{block}\",\"treatment\":\"{treatment}\"}}")
        };
        let marked = |block: &str, mark: &str| {
            format!("{{\"service\":\"telnet\",\"network\":\"{block}\",\"treatment\":\"challenge\",{mark}}}")
        };
        let networks = |lines: &[&str]| format!("\"networks\":[{}]", lines.join(","));
        let set = |name: &str, value: &str| format!("\"settings\":{{\"{name}\":\"{value}\"}}");
        let (safe, wide) = (network("10.1.0.0/16", "exempt"), network("10.0.0.0/8", "deny"));
        let (within, open) = (network("10.1.0.0/16", "challenge"), network("10.0.0.0/8", "exempt"));
        for (before, after, expected) in [
            (String::new(), set("enforcement", "observe"), "enforcement: enforce -> observe"),
            (set("enforcement", "observe"), set("enforcement", "off"), "enforcement: observe -> off"),
            (
                String::new(),
                "\"modes\":[{\"host\":\"TEST\",\"service\":\"ftp\",\"enforcement\":\"off\"}]".to_owned(),
                "mode of ftp to TEST: enforce -> off",
            ),
            (String::new(), networks(&[&safe]), "network telnet from 10.1.0.0/16: exempt"),
            (networks(&[&within]), networks(&[&safe]), "network telnet from 10.1.0.0/16: exempt"),
            (networks(&[&wide]), String::new(), "network telnet from 10.0.0.0/8: no longer deny"),
            (
                networks(&[&wide]),
                networks(&[&wide, &within]),
                "network telnet from 10.1.0.0/16: challenge",
            ),
            (
                networks(&[&open, &within]),
                networks(&[&open]),
                "network telnet from 10.1.0.0/16: no longer challenge",
            ),
            (
                String::new(),
                "\"services\":[{\"user\":\"JOB\",\"service\":\"ftp\",\"network\":\"10.0.0.1\",\"days\":\"daily\",\"hours\":\"00:00-24:00\"}]".to_owned(),
                "service account JOB by ftp from 10.0.0.1, daily 00:00-24:00: let in",
            ),
            (set("assurance", "standard"), String::new(), "setting assurance: standard -> weak"),
            (String::new(), set("repeat.minutes", "5"), "setting repeat.minutes: 0 -> 5"),
            (String::new(), set("lockout.delay", "0"), "setting lockout.delay: 10 -> 0"),
            (String::new(), set("alert.muted", "emergency"), "setting alert.muted: none -> emergency"),
            ("\"users\":{\"ANNA\":{\"always\":true}}".to_owned(), String::new(), "user ANNA: no longer always asked"),
            (
                "\"users\":{\"ANNA\":{\"factors\":\"totp\"}}".to_owned(),
                String::new(),
                "user ANNA: more factors",
            ),
            // What counts without an override is the setting.
            (
                format!("{},\"users\":{{\"ANNA\":{{\"enrolment\":false}}}}", set("enrolment", "registered")),
                set("enrolment", "registered"),
                "user ANNA: enrolment on",
            ),
            (
                format!("{},\"users\":{{\"ANNA\":{{\"repeat\":0}}}}", set("repeat.minutes", "60")),
                set("repeat.minutes", "60"),
                "user ANNA: longer repeat windows",
            ),
            (
                format!("{},{}", set("enrolment", "registered"), networks(&[&marked("10.0.0.0/8", "\"enrolment\":false")])),
                format!("{},{}", set("enrolment", "registered"), networks(&[&marked("10.0.0.0/8", "\"review\":\"2030-01-01\"")])),
                "network telnet from 10.0.0.0/8: enrolment on",
            ),
            (
                networks(&[&network("10.0.0.0/8", "challenge")]),
                networks(&[&marked("10.0.0.0/8", "\"logging\":\"none\"")]),
                "network telnet from 10.0.0.0/8: less of the audit passed on",
            ),
            (String::new(), set("ftp.host-checks", "24"), "setting ftp.host-checks: 2 -> 24"),
            // 0 is for ever.
            (
                set("ftp.host-checks-window", "0"),
                String::new(),
                "setting ftp.host-checks-window: 0 -> 1440",
            ),
            (set("ftp.host-checks-window", "20"), set("ftp.host-checks-window", "10"), "setting ftp.host-checks-window: 20 -> 10"),
            (String::new(), set("send.per-user", "20"), "setting send.per-user: 3 -> 20"),
            (String::new(), set("send.pause", "0"), "setting send.pause: 20 -> 0"),
        ] {
            assert_eq!(change(&before, &after), [expected], "{before} to {after}");
            assert_eq!(change(&after, &before), [""; 0], "{after} to {before}");
            assert_eq!(change(&after, &after), [""; 0], "{after}");
        }
    }

    /// As many as the importer takes: each is looked at a few times, and not once for each other one.
    #[test]
    fn twenty_thousand_networks_are_compared_in_no_time() {
        let network = |number: u16, treatment| {
            let [high, low] = number.to_be_bytes();
            let block = format!("10.0.{high}.{low}").parse().unwrap();
            Network::new(i64::from(number) + 2, Service::Telnet, block, treatment)
        };
        let laid = |networks: Vec<Network>| Laid {
            rules: Rules { networks: Networks::new(networks), ..Rules::default() },
            ..Laid::default()
        };
        let many: Vec<_> = (0..20_000).map(|number| network(number, Treatment::Challenge)).collect();
        let mut other = many.clone();
        other[7].treatment = Treatment::Exempt;
        other.push(Network::new(1, Service::Telnet, "10.0.0.0/8".parse().unwrap(), Treatment::Deny));
        let (none, many, other) = (laid(Vec::new()), laid(many), laid(other));
        let system = crate::system::System::new();
        let began = system.instant();
        assert_eq!(lowered(&many, &other), ["network telnet from 10.0.0.7: exempt"]);
        assert_eq!(lowered(&none, &other).len(), 20_000, "each lets through what the wide one denies");
        assert_eq!(lowered(&other, &many), ["network telnet from 10.0.0.0/8: no longer deny"]);
        assert_eq!(lowered(&other, &none), ["network telnet from 10.0.0.0/8: no longer deny"]);
        println!("four comparisons of 20,000 networks: {:?}", system.instant().duration_since(began));
    }

    /// A setting that is new must be judged, or be known not to bear on the protection.
    #[test]
    fn the_lists_name_settings_that_there_are() {
        let words = WORDS.iter().map(|(name, _)| name);
        let judged: Vec<_> =
            LESS_IS_SAFER.iter().chain(MORE_IS_SAFER).chain(words).chain(APART).chain(NEUTRAL).collect();
        for name in judged.iter().copied().chain(ENDLESS_AT_ZERO) {
            policy::setting::find(name).unwrap();
        }
        for setting in SETTINGS {
            assert_eq!(judged.iter().filter(|name| ***name == setting.name).count(), 1, "{}", setting.name);
        }
        for (name, words) in WORDS {
            let Kind::Choice { values, .. } = policy::setting::find(name).unwrap().kind else { panic!("{name}") };
            assert_eq!(values.iter().collect::<BTreeSet<_>>(), words.iter().collect::<BTreeSet<_>>());
        }
    }
}
