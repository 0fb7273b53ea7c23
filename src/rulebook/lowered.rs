//! What a change of the rules takes away of the protection, by comparing the rules before and after, whatever changed them.

use std::collections::BTreeSet;

use policy::setting::{Kind, SETTINGS, Settings};
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
    "alert.window",
    "alert.most",
];
/// Settings that are words, from the safest to the least safe.
const WORDS: &[(&str, &[&str])] = &[
    ("unnamed", &["refuse", "exempt"]),
    ("assurance", &["standard", "restricted", "weak"]),
    ("enrolment", &["off", "registered", "anyone"]),
    ("enrolment.guard", &["ticket", "approval", "network"]),
    ("emergency.approval", &["two", "one"]),
];

/// What protects less after a change than before, in words; nothing: nothing does.
#[must_use]
pub fn lowered(before: &Laid, after: &Laid) -> Vec<String> {
    let mut found = modes(&before.rules, &after.rules);
    found.extend(networks(&before.rules.networks, &after.rules.networks));
    let known: BTreeSet<_> = before.rules.accounts.iter().map(|account| ServiceLine::of(account).key()).collect();
    let accounts = after.rules.accounts.iter().map(|account| ServiceLine::of(account).key());
    found.extend(accounts.filter(|key| !known.contains(key)).map(|key| format!("{key}: let in")));
    found.extend(settings(&before.rules.settings, &after.rules.settings));
    let users: BTreeSet<_> = before.users.keys().chain(after.users.keys()).collect();
    for user in users {
        let of = |laid: &Laid| laid.users.get(user).copied().unwrap_or_default();
        let what = of_user(of(before), of(after));
        found.extend((!what.is_empty()).then(|| format!("user {user}: {}", what.join(", "))));
    }
    found
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

/// Rules that treat somebody less strictly than before, by themselves or where they stand within others.
fn networks(before: &Networks, after: &Networks) -> Vec<String> {
    let key = |rule: &Network| NetworkLine::of(rule).key();
    let among = |rules: &Networks, rule: &Network, treatment: Treatment| {
        // By what it covers: numbers may be others.
        let apart = Network { id: 0, ..rule.clone() };
        rules.conflicts(&apart).any(|other| other.treatment == treatment)
    };
    let mut found = Vec::new();
    for rule in after.all() {
        let old = before.all().iter().find(|old| key(old) == key(rule));
        let is_weaker = match (old.map(|old| old.treatment), rule.treatment) {
            (Some(old), new) => new < old,
            (None, Treatment::Exempt) => true,
            // It lets through what a wider rule denies.
            (None, Treatment::Challenge) => among(after, rule, Treatment::Deny),
            (None, Treatment::Deny) => false,
        };
        if is_weaker {
            found.push(format!("{}: {}", key(rule), rule.treatment));
        }
        if rule.enrolment == Some(true) && old.is_none_or(|old| old.enrolment != Some(true)) {
            found.push(format!("{}: enrolment on", key(rule)));
        }
    }
    for rule in before.all().iter().filter(|rule| !after.all().iter().any(|new| key(new) == key(rule))) {
        let is_weaker = match rule.treatment {
            Treatment::Deny => true,
            // A wider rule exempts it now.
            Treatment::Challenge => among(after, rule, Treatment::Exempt),
            Treatment::Exempt => false,
        };
        if is_weaker {
            found.push(format!("{}: no longer {}", key(rule), rule.treatment));
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
                let numbers = (old.parse::<u32>().unwrap_or(0), new.parse::<u32>().unwrap_or(0));
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

fn of_user(before: Override, after: Override) -> Vec<&'static str> {
    let mut found = Vec::new();
    if before.always && !after.always {
        found.push("no longer always asked");
    }
    if Factor::ALL.into_iter().any(|factor| after.allowed.contains(factor) && !before.allowed.contains(factor)) {
        found.push("more factors");
    }
    if after.enrolment == Some(true) && before.enrolment != Some(true) {
        found.push("enrolment on");
    }
    if after.repeat.is_some_and(|minutes| before.repeat.is_none_or(|known| minutes > known) && minutes > 0) {
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
        ] {
            assert_eq!(change(&before, &after), [expected], "{before} to {after}");
            assert_eq!(change(&after, &before), [""; 0], "{after} to {before}");
            assert_eq!(change(&after, &after), [""; 0], "{after}");
        }
    }

    /// A setting that is new must be judged, or be known not to bear on the protection.
    #[test]
    fn the_lists_name_settings_that_there_are() {
        let words = WORDS.iter().map(|(name, _)| name);
        for name in LESS_IS_SAFER.iter().chain(MORE_IS_SAFER).chain(words) {
            policy::setting::find(name).unwrap();
        }
        for (name, words) in WORDS {
            let Kind::Choice { values, .. } = policy::setting::find(name).unwrap().kind else { panic!("{name}") };
            assert_eq!(values.iter().collect::<BTreeSet<_>>(), words.iter().collect::<BTreeSet<_>>());
        }
    }
}
