//! The decision, row by row, and what holds for all of them.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::account::{Fingerprint, Schedule};
use crate::attempt::Service;
use crate::factor::{Assurance, Factor};
use crate::history::{Admission, Emergency, Standing};
use crate::lockout::{Failure, Scope, Tally};
use crate::mode::Mode;
use crate::rule::Networks;
use crate::setting::{Settings, Unnamed};

const NOW: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(NOW + second).unwrap()
}

fn attempt(user: Option<&str>, source: &str) -> Attempt {
    Attempt {
        user: user.map(|user| user.parse().unwrap()),
        source: source.parse().unwrap(),
        service: Service::Telnet,
        host: "prod".into(),
        at: at(0),
        local: jiff::civil::date(2027, 1, 15).at(8, 0, 0, 0),
        certificate: None,
        can_enrol: true,
    }
}

fn network(id: i64, block: &str, treatment: Treatment) -> Network {
    Network::new(id, Service::Telnet, block.parse().unwrap(), treatment)
}

fn account(id: i64, user: &str, block: &str, schedule: &str) -> ServiceAccount {
    let (days, hours) = schedule.split_once(' ').unwrap();
    ServiceAccount {
        id,
        user: user.parse().unwrap(),
        service: Service::Telnet,
        block: block.parse().unwrap(),
        schedule: Schedule { days: days.parse().unwrap(), hours: hours.parse().unwrap() },
        certificate: None,
        comment: String::new(),
    }
}

fn rules(enforcement: Enforcement, repeat_minutes: u32) -> Rules {
    Rules {
        settings: Settings { enforcement, repeat_minutes, ..Settings::default() },
        networks: Networks::new(vec![
            network(1, "10.0.0.0/8", Treatment::Exempt),
            network(2, "192.0.2.0/24", Treatment::Deny),
            network(3, "10.6.0.0/16", Treatment::Challenge),
            network(4, "10.6.6.6", Treatment::Deny),
        ]),
        accounts: vec![
            account(1, "NIGHTJOB", "198.51.100.0/24", "mon-fri 22:00-05:00"),
            account(2, "NIGHTJOB", "192.0.2.0/24", "daily 00:00-24:00"),
            account(3, "DAYJOB", "198.51.100.0/24", "mon-fri 06:00-18:00"),
            ServiceAccount {
                certificate: Some(Fingerprint::new([7; 32])),
                ..account(4, "CERTJOB", "198.51.100.0/24", "daily 00:00-24:00")
            },
            account(5, "ANNA", "198.51.100.7", "daily 00:00-24:00"),
        ],
        modes: Vec::new(),
    }
}

fn locked(until: i64) -> Tally {
    Tally { passcodes: 10, locked_until: Some(at(until)), last: Some(at(-1)), ..Tally::default() }
}

const PLAIN: Standing = Standing {
    enabled: true,
    always: false,
    factors: Factors::only(Factor::Email),
    allowed: Factors::ALL,
    enrolment: None,
    repeat: None,
    logging: None,
};
const REGISTERED: Option<Standing> = Some(PLAIN);
const ALWAYS: Option<Standing> = Some(Standing { always: true, ..PLAIN });
const DISABLED: Option<Standing> = Some(Standing { enabled: false, ..PLAIN });
const FACTORLESS: Option<Standing> = Some(Standing { factors: Factors::NONE, ..PLAIN });

fn mode(service: Option<Service>, host: Option<&str>, enforcement: Enforcement) -> Mode {
    Mode { service, host: host.map(Into::into), enforcement }
}

/// An emergency override that ends at that second.
fn override_of(until: i64, pending: bool) -> Option<Emergency> {
    Some(Emergency { id: 1, since: at(-60), until: at(until), pending })
}

/// Abroad, in the exempt network, in the denied one, in the challenged part of the exempt one, denied within that.
const ABROAD: &str = "203.0.113.9";
const SAFE: &str = "10.1.1.1";
const DENIED: &str = "192.0.2.7";
const INNER: &str = "10.6.1.1";
const INNERMOST: &str = "10.6.6.6";
/// Where service accounts come from.
const JOBS: &str = "198.51.100.9";

struct Row {
    name: &'static str,
    enforcement: Enforcement,
    repeat: u32,
    user: Option<&'static str>,
    source: &'static str,
    history: History,
    lay_down: fn(&mut Rules),
    expected: (Effect, Reason),
}

fn row(name: &'static str, source: &'static str, user: Option<Standing>, expected: (Effect, Reason)) -> Row {
    Row {
        name,
        enforcement: Enforcement::Enforce,
        repeat: 0,
        user: Some("ANNA"),
        source,
        history: History { user, ..History::default() },
        lay_down: |_| {},
        expected,
    }
}

fn rows() -> Vec<Row> {
    use Effect::{Allow, Challenge, Deny, Enrol};
    use Reason::*;
    let window = Some(Admission { since: at(-60), uses: 0 });
    let with = |base: Row, change: fn(&mut History)| {
        let mut base = base;
        change(&mut base.history);
        base
    };
    vec![
        row("challenged", ABROAD, REGISTERED, (Challenge, PasscodeRequired)),
        row("challenge rule within an exempt network", INNER, REGISTERED, (Challenge, PasscodeRequired)),
        row("deny rule within that", INNERMOST, REGISTERED, (Deny, NetworkDenied)),
        row("exempt", SAFE, REGISTERED, (Allow, NetworkExempt)),
        row("exempt, IPv4 in IPv6 form", "::ffff:10.1.1.1", REGISTERED, (Allow, NetworkExempt)),
        row("exempt, not registered", SAFE, None, (Allow, NetworkExempt)),
        row("exempt, without contact", SAFE, FACTORLESS, (Allow, NetworkExempt)),
        Row { user: None, ..row("exempt, nobody knows who", SAFE, None, (Deny, UserUnknown)) },
        row("always, from an exempt network", SAFE, ALWAYS, (Challenge, PasscodeRequired)),
        // 2027-01-15, 08:00, a Friday.
        Row { user: Some("DAYJOB"), ..row("job", JOBS, None, (Allow, ServiceAccount)) },
        Row { user: Some("DAYJOB"), ..row("job, elsewhere", ABROAD, None, (Deny, UserNotRegistered)) },
        Row { user: Some("NIGHTJOB"), ..row("job, at another hour", JOBS, None, (Deny, UserNotRegistered)) },
        Row { user: Some("NIGHTJOB"), ..row("job, from a denied network", DENIED, None, (Deny, NetworkDenied)) },
        Row { user: Some("CERTJOB"), ..row("job, without its certificate", JOBS, None, (Deny, UserNotRegistered)) },
        Row { user: Some("DAYJOB"), ..row("job, disabled", JOBS, DISABLED, (Deny, UserDisabled)) },
        with(Row { user: Some("DAYJOB"), ..row("job, locked", JOBS, None, (Deny, UserLocked)) }, |h| {
            h.user_tally = locked(1);
        }),
        row("a user who has a job", "198.51.100.7", REGISTERED, (Allow, ServiceAccount)),
        row("a user who has a job, always", "198.51.100.7", ALWAYS, (Allow, ServiceAccount)),
        row("a user who has a job, beside it", JOBS, REGISTERED, (Challenge, PasscodeRequired)),
        Row { user: None, ..row("nobody knows who, from the jobs", JOBS, None, (Deny, UserUnknown)) },
        row("denied network", DENIED, REGISTERED, (Deny, NetworkDenied)),
        row("denied network, always", DENIED, ALWAYS, (Deny, NetworkDenied)),
        row("not registered", ABROAD, None, (Deny, UserNotRegistered)),
        row("no contact", ABROAD, FACTORLESS, (Deny, NoFactor)),
        Row { user: None, ..row("nobody knows who", ABROAD, None, (Deny, UserUnknown)) },
        row("disabled", ABROAD, DISABLED, (Deny, UserDisabled)),
        row("disabled, from an exempt network", SAFE, DISABLED, (Deny, UserDisabled)),
        with(row("locked", ABROAD, REGISTERED, (Deny, UserLocked)), |h| h.user_tally = locked(1)),
        with(row("locked, from an exempt network", SAFE, REGISTERED, (Deny, UserLocked)), |h| h.user_tally = locked(1)),
        with(row("the lock is over", ABROAD, REGISTERED, (Challenge, PasscodeRequired)), |h| h.user_tally = locked(0)),
        with(row("locked here", ABROAD, REGISTERED, (Deny, UserLockedFromSource)), |h| h.pair_tally = locked(1)),
        with(row("source locked", ABROAD, REGISTERED, (Deny, SourceLocked)), |h| h.source_tally = locked(1)),
        with(row("source locked, exempt", SAFE, REGISTERED, (Deny, SourceLocked)), |h| h.source_tally = locked(1)),
        Row {
            repeat: 60,
            history: History { user: REGISTERED, admission: window, ..History::default() },
            ..row("repeat window", ABROAD, REGISTERED, (Allow, RepeatWindow))
        },
        Row {
            repeat: 60,
            history: History { user: ALWAYS, admission: window, ..History::default() },
            ..row("repeat window, always", SAFE, ALWAYS, (Allow, RepeatWindow))
        },
        Row {
            history: History { user: REGISTERED, admission: window, ..History::default() },
            ..row("repeat prohibited since", ABROAD, REGISTERED, (Challenge, PasscodeRequired))
        },
        Row {
            repeat: 1,
            history: History { user: REGISTERED, admission: window, ..History::default() },
            ..row("repeat window over to the second", ABROAD, REGISTERED, (Challenge, PasscodeRequired))
        },
        Row {
            repeat: 60,
            history: History {
                user: REGISTERED,
                admission: Some(Admission { since: at(-60), uses: 10 }),
                ..History::default()
            },
            ..row("repeat window used up", ABROAD, REGISTERED, (Challenge, PasscodeRequired))
        },
        Row {
            repeat: 60,
            history: History {
                user: REGISTERED,
                admission: Some(Admission { since: at(60), uses: 0 }),
                ..History::default()
            },
            ..row("repeat window from the future", ABROAD, REGISTERED, (Challenge, PasscodeRequired))
        },
        Row {
            repeat: 60,
            history: History { user: FACTORLESS, admission: window, ..History::default() },
            ..row("repeat window of somebody who lost the contact", ABROAD, FACTORLESS, (Deny, NoFactor))
        },
        with(row("emergency", ABROAD, REGISTERED, (Allow, EmergencyOverride)), |h| h.emergency = override_of(9, false)),
        with(row("emergency, always", SAFE, ALWAYS, (Allow, EmergencyOverride)), |h| {
            h.emergency = override_of(9, false)
        }),
        with(row("emergency, without factor", ABROAD, FACTORLESS, (Allow, EmergencyOverride)), |h| {
            h.emergency = override_of(9, false);
        }),
        with(row("emergency over", ABROAD, REGISTERED, (Challenge, PasscodeRequired)), |h| {
            h.emergency = override_of(0, false);
        }),
        with(
            row("emergency that one operator granted of two", ABROAD, REGISTERED, (Challenge, PasscodeRequired)),
            |h| {
                h.emergency = override_of(9, true);
            },
        ),
        with(row("emergency, disabled", ABROAD, DISABLED, (Deny, UserDisabled)), |h| {
            h.emergency = override_of(9, false)
        }),
        with(row("emergency, locked", ABROAD, REGISTERED, (Deny, UserLocked)), |h| {
            h.emergency = override_of(9, false);
            h.user_tally = locked(1);
        }),
        with(row("emergency, denied network", DENIED, REGISTERED, (Deny, NetworkDenied)), |h| {
            h.emergency = override_of(9, false);
        }),
        row(
            "the factor may not be used",
            ABROAD,
            Some(Standing { allowed: Factors::only(Factor::Totp), ..PLAIN }),
            (Deny, FactorNotAllowed),
        ),
        Row {
            lay_down: |rules| rules.settings.assurance = Assurance::Standard,
            ..row("the factor is worth too little", ABROAD, REGISTERED, (Deny, FactorNotAllowed))
        },
        Row {
            lay_down: |rules| rules.settings.enrolment = Enrolment::Registered,
            ..row("enrols", ABROAD, FACTORLESS, (Enrol, EnrolmentOpen))
        },
        Row {
            lay_down: |rules| rules.settings.enrolment = Enrolment::Registered,
            ..row(
                "enrols, with a factor of no use",
                ABROAD,
                Some(Standing { allowed: Factors::NONE, ..PLAIN }),
                (Deny, FactorNotAllowed),
            )
        },
        Row {
            lay_down: |rules| rules.settings.enrolment = Enrolment::Registered,
            ..row("enrols, not registered", ABROAD, None, (Deny, UserNotRegistered))
        },
        Row {
            lay_down: |rules| rules.settings.enrolment = Enrolment::Anyone,
            ..row("anyone enrols", ABROAD, None, (Enrol, EnrolmentOpen))
        },
        Row {
            lay_down: |rules| rules.settings.enrolment = Enrolment::Anyone,
            ..row(
                "anyone but this user",
                ABROAD,
                Some(Standing { factors: Factors::NONE, enrolment: Some(false), ..PLAIN }),
                (Deny, NoFactor),
            )
        },
        row(
            "this user alone",
            ABROAD,
            Some(Standing { factors: Factors::NONE, enrolment: Some(true), ..PLAIN }),
            (Enrol, EnrolmentOpen),
        ),
        Row {
            lay_down: |rules| rules.settings.enrolment_guard = EnrolmentGuard::Network,
            ..row(
                "guarded by the network",
                ABROAD,
                Some(Standing { factors: Factors::NONE, enrolment: Some(true), ..PLAIN }),
                (Deny, NoFactor),
            )
        },
        Row {
            lay_down: |rules| {
                rules.settings.enrolment_guard = EnrolmentGuard::Network;
                let marked = Network { enrolment: Some(true), ..network(9, "203.0.113.0/24", Treatment::Challenge) };
                rules.networks = Networks::new(vec![marked]);
            },
            ..row("from a network marked for it", ABROAD, FACTORLESS, (Enrol, EnrolmentOpen))
        },
        Row {
            lay_down: |rules| {
                rules.settings.enrolment = Enrolment::Anyone;
                let marked = Network { enrolment: Some(false), ..network(9, "203.0.113.0/24", Treatment::Challenge) };
                rules.networks = Networks::new(vec![marked]);
            },
            ..row("from a network where nobody may", ABROAD, FACTORLESS, (Deny, NoFactor))
        },
        Row {
            lay_down: |rules| rules.modes = vec![mode(None, Some("PROD"), Enforcement::Off)],
            ..row("off for the host", ABROAD, None, (Allow, EnforcementOff))
        },
        Row {
            enforcement: Enforcement::Off,
            lay_down: |rules| rules.modes = vec![mode(Some(Service::Telnet), None, Enforcement::Enforce)],
            ..row("off, but for the service", ABROAD, REGISTERED, (Challenge, PasscodeRequired))
        },
        Row {
            lay_down: |rules| {
                let office = Schedule { days: "mon-fri".parse().unwrap(), hours: "06:00-18:00".parse().unwrap() };
                let open = Network { schedule: Some(office), ..network(9, "203.0.113.0/24", Treatment::Exempt) };
                let shut = network(8, "203.0.113.0/24", Treatment::Deny);
                rules.networks = Networks::new(vec![shut, open]);
            },
            ..row("at office hours, within a denied network", ABROAD, None, (Allow, NetworkExempt))
        },
        Row {
            lay_down: |rules| {
                let other = Network { host: Some("TEST".into()), ..network(9, "203.0.113.0/24", Treatment::Exempt) };
                rules.networks = Networks::new(vec![other]);
            },
            ..row("exempt to another host", ABROAD, REGISTERED, (Challenge, PasscodeRequired))
        },
        Row {
            enforcement: Enforcement::Off,
            history: History { user: DISABLED, user_tally: locked(9), ..History::default() },
            ..row("off", DENIED, DISABLED, (Allow, EnforcementOff))
        },
    ]
}

#[test]
fn every_row() {
    let mut seen = std::collections::HashSet::new();
    for row in rows() {
        let mut rules = rules(row.enforcement, row.repeat);
        (row.lay_down)(&mut rules);
        let attempt = attempt(row.user, row.source);
        let decision = decide(&rules, &attempt, &row.history);
        assert_eq!((decision.effect, decision.reason), row.expected, "{}", row.name);
        assert_eq!(decision.meant, decision.effect, "{}", row.name);
        seen.insert(decision.reason);

        let (explained, steps) = explain(&rules, &attempt, &row.history);
        assert_eq!(explained, decision, "{}", row.name);
        let (last, before) = steps.split_last().unwrap();
        assert_eq!(last.decided, Some(row.expected), "{}", row.name);
        assert!(before.iter().all(|step| step.decided.is_none()), "{}", row.name);

        // Observing lets through and remembers what it would have done.
        if row.enforcement == Enforcement::Enforce {
            let observing = Rules {
                settings: Settings { enforcement: Enforcement::Observe, ..rules.settings.clone() },
                ..rules.clone()
            };
            let observed = decide(&observing, &attempt, &row.history);
            assert_eq!(
                (observed.effect, observed.meant, observed.reason),
                (Effect::Allow, row.expected.0, row.expected.1)
            );
        }
    }
    for reason in Reason::ALL {
        assert!(seen.contains(&reason), "no row gives {reason}");
        assert!(!reason.remedy().is_empty());
    }
    let codes: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
}

#[test]
fn nobody_in_particular_is_exempt_only_where_the_setting_says_so() {
    let mut rules = rules(Enforcement::Enforce, 0);
    let decide_for = |rules: &Rules, user, source| decide(rules, &attempt(user, source), &History::default()).reason;
    assert_eq!(decide_for(&rules, None, SAFE), Reason::UserUnknown);
    assert_eq!(decide_for(&rules, Some("ANNA"), SAFE), Reason::NetworkExempt);
    let (_, steps) = explain(&rules, &attempt(None, SAFE), &History::default());
    assert!(steps.iter().any(|step| step.name == "network-exempt" && step.finding.contains("unnamed is refuse")));
    rules.settings.set("unnamed", "exempt").unwrap();
    assert_eq!(rules.settings.unnamed, Unnamed::Exempt);
    assert_eq!(decide_for(&rules, None, SAFE), Reason::NetworkExempt);
    assert_eq!(decide_for(&rules, None, ABROAD), Reason::UserUnknown);
}

#[test]
fn a_lock_of_one_source_leaves_the_user_free_elsewhere() {
    let settings = Settings::default();
    let mut source = Tally::default();
    for _ in 0..settings.lockout_source_failures {
        source = source.failed(Scope::Source, Failure::Passcode, &settings, at(-1));
    }
    let there = History { user: REGISTERED, source_tally: source, ..History::default() };
    let elsewhere = History { user: REGISTERED, ..History::default() };
    let rules = rules(Enforcement::Enforce, 0);
    assert_eq!(decide(&rules, &attempt(Some("ANNA"), ABROAD), &there).reason, Reason::SourceLocked);
    assert_eq!(decide(&rules, &attempt(Some("ANNA"), "198.51.100.1"), &elsewhere).effect, Effect::Challenge);
}

#[test]
fn a_service_account_needs_its_certificate_and_is_explained() {
    let rules = rules(Enforcement::Enforce, 0);
    let shown = |certificate| Attempt { certificate, ..attempt(Some("CERTJOB"), JOBS) };
    let decision = decide(&rules, &shown(Some(Fingerprint::new([7; 32]))), &History::default());
    assert_eq!((decision.effect, decision.reason, decision.account), (Effect::Allow, Reason::ServiceAccount, Some(4)));
    assert_eq!(decide(&rules, &shown(Some(Fingerprint::new([8; 32]))), &History::default()).effect, Effect::Deny);

    let finding = |attempt: &Attempt| {
        let (_, steps) = explain(&rules, attempt, &History::default());
        steps.into_iter().find(|step| step.name == "service-account").unwrap().finding
    };
    assert_eq!(finding(&attempt(Some("NIGHTJOB"), JOBS)), "rule 1 does not fit: hours; rule 2 does not fit: network");
    assert_eq!(finding(&shown(None)), "rule 4 does not fit: certificate");
    assert_eq!(finding(&attempt(Some("BERT"), JOBS)), "no rule for this user and service");
    assert_eq!(
        finding(&attempt(Some("DAYJOB"), JOBS)),
        "rule 3 lets DAYJOB in from 198.51.100.0/24, mon-fri 06:00-18:00"
    );
    let ftp = Attempt { service: Service::Ftp, ..attempt(Some("DAYJOB"), JOBS) };
    assert_eq!(decide(&rules, &ftp, &History::default()).effect, Effect::Deny, "another service");
}

#[test]
fn rules_of_one_service_do_not_touch_another() {
    let rules = rules(Enforcement::Enforce, 0);
    let history = History { user: REGISTERED, ..History::default() };
    let ftp = Attempt { service: Service::Ftp, ..attempt(Some("ANNA"), SAFE) };
    assert_eq!(decide(&rules, &ftp, &history).effect, Effect::Challenge);
}

prop_compose! {
    fn any_tally()(passwords in 0_u32..120, passcodes in 0_u32..120, last in -9000_i64..0, lock in proptest::option::of(-100_i64..9000)) -> Tally {
        Tally { passwords, passcodes, last: Some(at(last)), locked_until: lock.map(at) }
    }
}

prop_compose! {
    fn any_history()(
        user in proptest::option::of((any::<bool>(), any::<bool>(), any::<bool>(), any::<Option<bool>>(), any::<Option<u8>>())),
        user_tally in any_tally(), source_tally in any_tally(), pair_tally in any_tally(),
        admission in proptest::option::of((-9000_i64..9000, 0_u32..20)),
        emergency in proptest::option::of((-50_i64..50, any::<bool>())),
    ) -> History {
        History {
            user: user.map(|(enabled, always, proves, enrolment, repeat)| Standing {
                enabled,
                always,
                factors: if proves { Factors::only(Factor::Totp) } else { Factors::NONE },
                enrolment,
                repeat: repeat.map(u32::from),
                ..PLAIN
            }),
            user_tally, source_tally, pair_tally,
            admission: admission.map(|(since, uses)| Admission { since: at(since), uses }),
            emergency: emergency.map(|(until, pending)| Emergency { id: 1, since: at(-60), until: at(until), pending }),
        }
    }
}

/// Sources that the rules below are about, and others.
fn any_source() -> impl Strategy<Value = IpAddr> {
    let near = (0_u8..8).prop_map(|byte| IpAddr::from([10, 0, 0, byte]));
    let known = prop_oneof![Just(ABROAD), Just(SAFE), Just(DENIED), Just(INNER), Just(JOBS)];
    prop_oneof![
        near,
        known.prop_map(|text| text.parse().unwrap()),
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into()))
    ]
}

prop_compose! {
    /// Attempts by every service, to several hosts, at any hour of two weeks.
    fn any_attempt()(
        user in 0_usize..6, source in any_source(), ftp in any::<bool>(), host in 0_usize..3, minute in 0_i64..20_160,
        certificate in any::<bool>(), can_enrol in any::<bool>(),
    ) -> Attempt {
        let local = jiff::civil::date(2027, 1, 11).at(0, 0, 0, 0).checked_add(jiff::SignedDuration::from_mins(minute));
        Attempt {
            service: if ftp { Service::Ftp } else { Service::Telnet },
            host: ["prod", "TEST", "other"][host].into(),
            local: local.unwrap(),
            certificate: certificate.then(|| Fingerprint::new([7; 32])),
            can_enrol,
            source,
            ..attempt([None, Some("ANNA"), Some("BERT"), Some("DAYJOB"), Some("NIGHTJOB"), Some("CERTJOB")][user], ABROAD)
        }
    }
}

prop_compose! {
    /// Rules of every kind: modes, networks with host and hours, enrolment, assurance, unnamed.
    fn all_rules()(
        base in any_rules(),
        modes in proptest::collection::vec((0_usize..3, 0_usize..3, 0_usize..3), 0..4),
        networks in proptest::collection::vec(
            ((0_u8..8, 0_u8..8), 0_usize..3, any::<bool>(), 0_usize..3, 0_usize..4, any::<Option<bool>>()), 0..6),
        settings in (0_usize..3, 0_usize..3, 0_usize..3, 0_usize..2),
    ) -> Rules {
        let services = [None, Some(Service::Telnet), Some(Service::Ftp)];
        let hosts = || [None, Some("PROD".into()), Some("test".into())];
        let enforcements = [Enforcement::Off, Enforcement::Observe, Enforcement::Enforce];
        let hours = ["daily 00:00-24:00", "mon-fri 06:00-18:00", "daily 22:00-05:00", "sat,sun 00:00-24:00"];
        let more = networks.into_iter().zip(20..).map(|(((first, length), treatment, ftp, host, when, enrolment), id)| {
            let block = format!("10.0.0.{first}-10.0.0.{}", first + length);
            let treatment = [Treatment::Exempt, Treatment::Challenge, Treatment::Deny][treatment];
            let (days, hours) = hours[when].split_once(' ').unwrap();
            let schedule = Schedule { days: days.parse().unwrap(), hours: hours.parse().unwrap() };
            Network {
                service: if ftp { Service::Ftp } else { Service::Telnet },
                host: hosts()[host].clone(),
                schedule: (when > 0).then_some(schedule),
                enrolment,
                ..network(id, &block, treatment)
            }
        });
        let mut rules = base;
        rules.networks = Networks::new(rules.networks.all().iter().cloned().chain(more).collect());
        rules.modes = modes.into_iter().map(|(service, host, enforcement)| Mode {
            service: services[service],
            host: hosts()[host].clone(),
            enforcement: enforcements[enforcement],
        }).collect();
        let (enrolment, guard, assurance, unnamed) = settings;
        for (name, value) in [
            ("enrolment", ["off", "registered", "anyone"][enrolment]),
            ("enrolment.guard", ["ticket", "network", "approval"][guard]),
            ("assurance", ["weak", "restricted", "standard"][assurance]),
            ("unnamed", ["refuse", "exempt"][unnamed]),
        ] {
            rules.settings.set(name, value).unwrap();
        }
        rules
    }
}

prop_compose! {
    fn any_rules()(
        enforcement in prop_oneof![Just(Enforcement::Enforce), Just(Enforcement::Observe), Just(Enforcement::Off)],
        repeat in 0_u32..720,
        blocks in proptest::collection::vec((any::<u32>(), 0_u8..=32, 0_u8..3), 0..6),
    ) -> Rules {
        let networks = blocks.iter().zip(1..).map(|((address, prefix, treatment), id)| {
            let net = ipnet::Ipv4Net::new((*address).into(), *prefix).unwrap().trunc();
            let treatment = [Treatment::Exempt, Treatment::Challenge, Treatment::Deny][usize::from(*treatment)];
            network(id, &net.to_string(), treatment)
        });
        Rules { networks: Networks::new(networks.collect()), ..rules(enforcement, repeat) }
    }
}

proptest! {
    #[test]
    fn more_failures_are_never_milder(
        rules in any_rules(), history in any_history(), source in any::<u32>(), named in any::<bool>(),
        password in any::<bool>(), scope in 0..3,
    ) {
        let attempt = Attempt { source: IpAddr::V4(source.into()), ..attempt(named.then_some("ANNA"), ABROAD) };
        let before = decide(&rules, &attempt, &history);
        let failure = if password { Failure::Password } else { Failure::Passcode };
        let mut more = history;
        let (scope, tally) = match scope {
            0 => (Scope::User, &mut more.user_tally),
            1 => (Scope::Source, &mut more.source_tally),
            _ => (Scope::Pair, &mut more.pair_tally),
        };
        *tally = tally.failed(scope, failure, &rules.settings, attempt.at);
        let after = decide(&rules, &attempt, &more);
        prop_assert!(after.meant >= before.meant, "{before:?} {after:?}");
        prop_assert!(after.effect >= before.effect, "{before:?} {after:?}");
    }

    #[test]
    fn explaining_is_deciding(rules in any_rules(), history in any_history(), source in any::<u32>(), named in any::<bool>()) {
        let attempt = Attempt { source: IpAddr::V4(source.into()), ..attempt(named.then_some("ANNA"), ABROAD) };
        let decision = decide(&rules, &attempt, &history);
        prop_assert_eq!(decision, decide(&rules, &attempt, &history));
        let (explained, steps) = explain(&rules, &attempt, &history);
        prop_assert_eq!(explained, decision);
        prop_assert_eq!(steps.last().unwrap().decided, Some((decision.meant, decision.reason)));
    }

    #[test]
    fn nobody_gets_in_without_a_ground(rules in any_rules(), history in any_history(), source in any::<u32>(), named in any::<bool>()) {
        let attempt = Attempt { source: IpAddr::V4(source.into()), ..attempt(named.then_some("ANNA"), ABROAD) };
        let decision = decide(&rules, &attempt, &history);
        if decision.effect == Effect::Allow && rules.settings.enforcement == Enforcement::Enforce {
            if decision.reason == Reason::NetworkExempt {
                let rule = rules.networks.find(&attempt).unwrap();
                prop_assert_eq!(rule.treatment, Treatment::Exempt);
                prop_assert!(!history.user.is_some_and(|user| user.always || !user.enabled));
            } else if decision.reason == Reason::ServiceAccount {
                let account = rules.accounts.iter().find(|account| Some(account.id) == decision.account).unwrap();
                prop_assert_eq!(account.admits(&attempt), Ok(()));
                prop_assert!(history.user.is_none_or(|user| user.enabled));
            } else if decision.reason == Reason::EmergencyOverride {
                prop_assert!(history.emergency.is_some_and(|emergency| emergency.is_in_force(attempt.at)));
                prop_assert!(history.user.is_none_or(|user| user.enabled));
            } else {
                prop_assert_eq!(decision.reason, Reason::RepeatWindow);
                prop_assert!(named && history.admission.is_some());
            }
            prop_assert!(history.user_tally.lock(attempt.at).is_none());
        }
    }

    #[test]
    fn whatever_the_rules_every_way_in_has_its_ground(
        rules in all_rules(), history in any_history(), attempt in any_attempt(),
    ) {
        let decision = decide(&rules, &attempt, &history);
        let mode = rules.enforcement(&attempt);
        let user = history.user;
        let is_locked = [history.user_tally, history.pair_tally, history.source_tally]
            .iter()
            .any(|tally| tally.lock(attempt.at).is_some());
        // The mode decides what binds, and nothing else.
        prop_assert_eq!(decision.effect, if mode == Enforcement::Observe { Effect::Allow } else { decision.meant });
        prop_assert_eq!(mode == Enforcement::Off, decision.reason == Reason::EnforcementOff);
        let network = rules.networks.find(&attempt);
        if let Some(rule) = network {
            prop_assert!(rule.service == attempt.service && rule.block.contains(attempt.source));
            prop_assert!(rule.host.as_ref().is_none_or(|host| host.eq_ignore_ascii_case(&attempt.host)));
            prop_assert!(rule.schedule.is_none_or(|schedule| schedule.covers(attempt.local)));
        }
        if mode != Enforcement::Off && decision.meant != Effect::Deny {
            prop_assert!(!is_locked && user.is_none_or(|user| user.enabled), "{decision:?}");
            prop_assert!(network.is_none_or(|rule| rule.treatment != Treatment::Deny), "{decision:?}");
        }
        match decision.meant {
            Effect::Enrol => {
                prop_assert_eq!(decision.reason, Reason::EnrolmentOpen);
                prop_assert!(attempt.can_enrol && attempt.user.is_some());
                prop_assert!(may_enrol(&rules, &attempt, user.as_ref()).is_ok());
                // Whoever has a factor proves with it, whatever it is worth.
                prop_assert!(user.is_none_or(|user| user.factors.is_empty() && user.enrolment != Some(false)));
                prop_assert!(network.is_none_or(|rule| rule.enrolment != Some(false)));
                prop_assert!(user.is_some() || rules.settings.enrolment == Enrolment::Anyone);
            }
            Effect::Challenge => {
                prop_assert!(attempt.user.is_some() && user.is_some_and(|user| !usable(&rules, &user).is_empty()));
            }
            Effect::Allow if mode != Enforcement::Off => match decision.reason {
                Reason::EmergencyOverride => {
                    prop_assert!(history.emergency.is_some_and(|emergency| emergency.is_in_force(attempt.at)));
                }
                Reason::NetworkExempt => {
                    prop_assert_eq!(network.map(|rule| rule.treatment), Some(Treatment::Exempt));
                    prop_assert!(!user.is_some_and(|user| user.always));
                    prop_assert!(attempt.user.is_some() || rules.settings.unnamed == Unnamed::Exempt);
                }
                Reason::ServiceAccount => {
                    let account = rules.accounts.iter().find(|account| Some(account.id) == decision.account);
                    prop_assert_eq!(account.map(|account| account.admits(&attempt)), Some(Ok(())));
                }
                Reason::RepeatWindow => {
                    prop_assert!(repeat_until(&rules, &attempt, &history).is_some());
                    prop_assert!(user.is_some_and(|user| !usable(&rules, &user).is_empty()));
                }
                Reason::EnforcementOff
                | Reason::UserDisabled
                | Reason::UserLocked
                | Reason::SourceLocked
                | Reason::UserLockedFromSource
                | Reason::NetworkDenied
                | Reason::UserUnknown
                | Reason::UserNotRegistered
                | Reason::NoFactor
                | Reason::FactorNotAllowed
                | Reason::EnrolmentOpen
                | Reason::PasscodeRequired => prop_assert!(false, "{} lets in", decision.reason),
            },
            Effect::Allow | Effect::Deny => {}
        }
        // Another host's rules and modes do not touch it.
        let elsewhere = Rules {
            networks: Networks::new(rules.networks.all().iter().filter(|rule| {
                rule.host.as_ref().is_none_or(|host| host.eq_ignore_ascii_case(&attempt.host))
            }).cloned().collect()),
            modes: rules.modes.iter().filter(|mode| {
                mode.host.as_ref().is_none_or(|host| host.eq_ignore_ascii_case(&attempt.host))
            }).cloned().collect(),
            ..rules.clone()
        };
        prop_assert_eq!(decide(&elsewhere, &attempt, &history), decision);
    }
}

proptest! {
    // 40 sets of rules, 2,500 attempts each: 100,000.
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn explaining_is_deciding_on_a_hundred_thousand_attempts(
        rules in all_rules(),
        attempts in proptest::collection::vec((any_attempt(), any_history()), 2_500),
    ) {
        for (attempt, history) in attempts {
            let decision = decide(&rules, &attempt, &history);
            let (explained, steps) = explain(&rules, &attempt, &history);
            prop_assert_eq!(explained, decision);
            let (last, before) = steps.split_last().unwrap();
            prop_assert_eq!(last.decided, Some((decision.meant, decision.reason)));
            prop_assert!(before.iter().all(|step| step.decided.is_none()));
        }
    }
}
