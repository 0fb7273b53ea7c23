//! The replay against a recomputation that goes through everything that went before, for each attempt anew.

use policy::{Factor, Factors, Network, Networks, Settings, Treatment};
use proptest::prelude::*;

use super::*;

const START: i64 = 1_800_000_000;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(START + minute * 60).unwrap()
}

fn user(index: usize) -> User {
    ["ANNA", "BERT", "CARL"][index].parse().unwrap()
}

fn entry(event: Event, outcome: Outcome, reason: &str, minute: i64, who: usize, source: u8) -> Entry {
    Entry {
        user: Some(user(who).to_string()),
        source: Some(IpAddr::from([10, 0, 0, source])),
        service: Some(Service::Telnet),
        host: Some("PROD".to_owned()),
        ..Entry::new(at(minute), "node", event, outcome).reason(reason)
    }
}

fn facts() -> Facts {
    let emergency = |id, since, until, pending| Emergency { id, since: at(since), until: at(until), pending };
    let emergencies = vec![emergency(1, 100, 200, false), emergency(2, 300, 600, true), emergency(3, 500, 550, false)];
    Facts {
        zone: TimeZone::UTC,
        emergencies: HashMap::from([(user(1), emergencies)]),
        can_enrol: Box::new(|service, _| service == Service::Telnet),
    }
}

fn run(sides: [Side; 2], since: i64, entries: &[Entry]) -> Report {
    let mut replay = Replay::new(sides, facts(), at(since));
    entries.iter().for_each(|entry| replay.take(entry));
    replay.end()
}

prop_compose! {
    fn any_side()(
        enforcement in 0_usize..4, repeat in prop_oneof![Just(0_u32), 1_u32..300], uses in 1_u32..4, enrolment in 0_usize..3,
        networks in proptest::collection::vec((0_u8..8, 0_u8..8, 0_usize..3), 0..4),
        users in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), proptest::option::of(0_u32..300)), 0..3),
    ) -> Side {
        let mut settings = Settings { repeat_minutes: repeat, repeat_uses: uses, ..Settings::default() };
        settings.set("enforcement", ["enforce", "enforce", "observe", "off"][enforcement]).unwrap();
        settings.set("enrolment", ["off", "registered", "anyone"][enrolment]).unwrap();
        let networks = networks.into_iter().zip(1..).map(|((first, length, treatment), id)| {
            let block = format!("10.0.0.{first}-10.0.0.{}", first + length);
            let treatment = [Treatment::Exempt, Treatment::Challenge, Treatment::Deny][treatment];
            Network::new(id, Service::Telnet, block.parse().unwrap(), treatment)
        });
        let users = users.into_iter().enumerate().map(|(index, (enabled, always, proves, repeat))| {
            let factors = if proves { Factors::only(Factor::Totp) } else { Factors::NONE };
            (user(index), Standing { enabled, always, factors, repeat, ..Standing::default() })
        });
        Side { rules: Rules { settings, networks: Networks::new(networks.collect()), ..Rules::default() }, users: users.collect() }
    }
}

prop_compose! {
    fn any_entries()(
        all in proptest::collection::vec((0_u8..6, 0_i64..40, 0_usize..3, 0_u8..3, 0_usize..4, 0_usize..16), 0..40),
    ) -> Vec<Entry> {
        let mut minute = 0;
        all.into_iter().map(|(kind, wait, who, source, outcome, reason)| {
            minute += wait;
            if kind == 1 && who == 0 {
                // Refused before anybody was named.
                let why = [Reason::NetworkDenied, Reason::SourceLocked][reason % 2].code();
                let opened = entry(Event::ConnectionOpened, Outcome::Denied, why, minute, who, source);
                return Entry { user: None, ..opened };
            }
            if kind == 0 {
                return entry(Event::Passcode, Outcome::Allowed, "passcode-right", minute, who, source);
            }
            let outcome = [Outcome::Allowed, Outcome::Challenged, Outcome::Denied, Outcome::Observed][outcome];
            entry(Event::SignOn, outcome, Reason::ALL[reason].code(), minute, who, source)
        }).collect()
    }
}

/// What `side` decides on the attempt at `index`, going through everything before it.
fn brute(side: &Side, entries: &[Entry], index: usize) -> Decision {
    let this = &entries[index];
    let same = |other: &Entry| (&other.user, other.source) == (&this.user, this.source);
    let mut admission: Option<Admission> = None;
    for before in (0..index).filter(|before| same(&entries[*before])) {
        let one = &entries[before];
        if one.event == Event::Passcode {
            // The last attempt of the same place before it, where this side asked and so did the gateway.
            let last = (0..before).rev().find(|last| same(&entries[*last]));
            let asked = last.is_some_and(|last| {
                entries[last].event == Event::SignOn
                    && entries[last].outcome == Outcome::Challenged
                    && brute(side, entries, last).effect == Effect::Challenge
            });
            if asked {
                admission = Some(Admission { since: one.at, uses: 0 });
            }
            continue;
        }
        let decision = brute(side, entries, before);
        if decision.reason == Reason::RepeatWindow {
            admission = admission.map(|known| Admission { uses: known.uses + 1, ..known });
        }
        if decision.effect == Effect::Challenge && [Outcome::Allowed, Outcome::Observed].contains(&one.outcome) {
            admission = Some(Admission { since: one.at, uses: 0 });
        }
    }
    let user: Option<User> = this.user.as_deref().map(|user| user.parse().unwrap());
    let locked = |reason: &str| Tally {
        locked_until: (this.reason.as_deref() == Some(reason)).then_some(Timestamp::MAX),
        ..Tally::default()
    };
    let emergencies = facts().emergencies;
    let attempt = Attempt {
        user: user.clone(),
        source: this.source.unwrap(),
        service: Service::Telnet,
        host: "PROD".into(),
        at: this.at,
        local: this.at.to_zoned(TimeZone::UTC).datetime(),
        certificate: None,
        can_enrol: true,
    };
    let history = History {
        user: user.as_ref().and_then(|user| side.users.get(user)).copied(),
        user_tally: locked("user-locked"),
        pair_tally: locked("user-locked-from-source"),
        source_tally: locked("source-locked"),
        admission,
        emergency: emergencies
            .get(user.as_ref().unwrap_or(&"NOBODY".parse().unwrap()))
            .and_then(|all| all.iter().filter(|one| one.since <= this.at).max_by_key(|one| one.id).copied()),
    };
    decide(&side.rules, &attempt, &history)
}

/// What a side that would refuse somebody without a name makes of a connection: it is refused for its place, or not yet.
fn unnamed(side: &Side, entry: &Entry, decision: Decision) -> Fate {
    if [Reason::NetworkDenied, Reason::SourceLocked].contains(&decision.reason) {
        return Fate::Refused;
    }
    let covering = side.rules.networks.all().iter().filter(|rule| rule.block.contains(entry.source.unwrap()));
    let first = covering.min_by_key(|rule| rule.precedence());
    if first.is_some_and(|rule| rule.treatment == Treatment::Exempt) { Fate::LetInIfNamed } else { Fate::CouldSignOn }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_replay_is_what_a_recomputation_gives(
        before in any_side(), after in any_side(), entries in any_entries(), since in 0_i64..400,
    ) {
        // Each attempt takes all before it: that grows fast where one place has many.
        let entries = &entries[..entries.len().min(24)];
        let report = run([before.clone(), after.clone()], since, entries);
        let (mut expected, mut changes): (Report, BTreeMap<Who, (u64, Timestamp, Timestamp)>) = Default::default();
        for (index, entry) in entries.iter().enumerate() {
            if entry.event == Event::Passcode || entry.at < at(since) {
                continue;
            }
            let decisions = [brute(&before, entries, index), brute(&after, entries, index)];
            let observe = [&before, &after].iter().all(|side| side.rules.settings.enforcement == Enforcement::Observe);
            let plain = |decision: Decision| Fate::from(if observe { decision.meant } else { decision.effect });
            let fate = |side: &Side, decision: Decision| match (entry.event, plain(decision)) {
                (Event::ConnectionOpened, Fate::Refused) => unnamed(side, entry, decision),
                (_, fate) => fate,
            };
            expected.attempts += 1;
            let recorded = match entry.outcome {
                Outcome::Challenged => [Effect::Challenge, Effect::Enrol],
                Outcome::Denied => [Effect::Deny; 2],
                Outcome::Allowed | Outcome::Observed | Outcome::Failed | Outcome::Noted => [Effect::Allow; 2],
            };
            let opens = entry.event == Event::ConnectionOpened && unnamed(&before, entry, decisions[0]) != Fate::Refused;
            expected.unlike_record += u64::from(opens || !recorded.contains(&decisions[0].effect));
            let (was, will) = (fate(&before, decisions[0]), fate(&after, decisions[1]));
            if was == will {
                continue;
            }
            *match will {
                Fate::LetIn => &mut expected.let_in,
                Fate::Challenged => &mut expected.challenged,
                Fate::Enrols => &mut expected.enrols,
                Fate::LetInIfNamed | Fate::CouldSignOn => &mut expected.not_refused_at_once,
                Fate::Refused => &mut expected.refused,
            } += 1;
            let who = Who {
                after: will,
                before: was,
                user: entry.user.clone(),
                source: entry.source.unwrap(),
                service: Service::Telnet,
                host: "PROD".to_owned(),
                reason_after: decisions[1].reason.code(),
                reason_before: decisions[0].reason.code(),
            };
            let line = changes.entry(who).or_insert((0, entry.at, entry.at));
            (line.0, line.2) = (line.0 + 1, entry.at);
        }
        expected.changes =
            changes.into_iter().map(|(who, (count, first, last))| Change { who, count, first, last }).collect();
        prop_assert_eq!(report, expected);
    }

    #[test]
    fn the_same_rules_change_nothing(side in any_side(), entries in any_entries()) {
        let report = run([side.clone(), side], 0, &entries);
        prop_assert_eq!((report.let_in, report.challenged, report.enrols, report.refused), (0, 0, 0, 0));
        prop_assert!(report.changes.is_empty());
    }
}

fn side(repeat_minutes: u32, networks: Vec<Network>) -> Side {
    let standing = Standing { factors: Factors::only(Factor::Email), ..Standing::default() };
    Side {
        rules: Rules {
            settings: Settings { repeat_minutes, ..Settings::default() },
            networks: Networks::new(networks),
            ..Rules::default()
        },
        users: HashMap::from([(user(0), standing)]),
    }
}

#[test]
fn a_network_that_is_no_longer_exempt_asks_and_opens_windows() {
    let exempt = Network::new(1, Service::Telnet, "10.0.0.0/24".parse().unwrap(), Treatment::Exempt);
    let sign_on = |minute| entry(Event::SignOn, Outcome::Allowed, Reason::NetworkExempt.code(), minute, 0, 1);
    let entries: Vec<_> = [0, 30, 59, 61].map(sign_on).into();
    let report = run([side(0, vec![exempt.clone()]), side(60, vec![])], 0, &entries);
    // The first and the last: what is between passes by the window that the first one opened.
    assert_eq!((report.attempts, report.challenged, report.unlike_record), (4, 2, 0));
    assert_eq!((report.changes.len(), report.changes[0].count), (1, 2));
    let without = run([side(0, vec![exempt.clone()]), side(0, vec![])], 0, &entries);
    assert_eq!(without.challenged, 4);
    // A window from before the period counts, and what happened then is not told.
    let later = run([side(0, vec![exempt]), side(60, vec![])], 1, &entries);
    assert_eq!((later.attempts, later.challenged), (3, 1));
}

#[test]
fn what_is_no_decision_is_left_out_and_memory_is_bounded() {
    let [now, then] = [side(0, vec![]), side(0, vec![])];
    let mut replay = Replay::new([now, then], facts(), at(0));
    for reason in ["resend", "enrolled", "host-check-budget", "another-factor-offered"] {
        replay.take(&entry(Event::SignOn, Outcome::Challenged, reason, 0, 0, 1));
    }
    replay.take(&Entry::new(at(0), "node", Event::ConnectionOpened, Outcome::Noted));
    for minute in 0..40_000 {
        let source = Some(IpAddr::from(u32::try_from(minute).unwrap().to_be_bytes()));
        let entry = entry(Event::SignOn, Outcome::Challenged, "passcode-required", minute, 0, 1);
        replay.take(&Entry { source, ..entry });
    }
    assert!(replay.windows.len() <= WINDOWS_KEPT + 1, "{}", replay.windows.len());
    let report = replay.end();
    assert_eq!((report.attempts, report.unlike_record, report.changes.len()), (40_000, 0, 0));
}

#[test]
fn a_connection_that_was_refused_at_once_is_counted_by_its_source() {
    let deny = Network::new(1, Service::Telnet, "10.0.0.0/24".parse().unwrap(), Treatment::Deny);
    let refused =
        Entry { user: None, ..entry(Event::ConnectionOpened, Outcome::Denied, Reason::NetworkDenied.code(), 0, 0, 1) };
    let exempt = Network { treatment: Treatment::Exempt, ..deny.clone() };
    let mut open = side(0, vec![exempt]);
    open.rules.settings.set("unnamed", "exempt").unwrap();
    let report = run([side(0, vec![deny.clone()]), open], 0, std::slice::from_ref(&refused));
    assert_eq!((report.let_in, report.changes[0].who.user.as_deref()), (1, None));
    // Who it would have been nobody knows: without the rule they are not let in, and not refused either.
    let (denies, opens) = (side(0, vec![deny.clone()]), side(0, vec![]));
    let refused = [refused.clone(), refused.clone(), refused];
    let report = run([denies.clone(), opens.clone()], 0, &refused);
    assert_eq!((report.not_refused_at_once, report.refused, report.unlike_record), (3, 0, 0));
    assert_eq!((report.changes[0].who.after, report.changes[0].count), (Fate::CouldSignOn, 3));
    let report = run([opens, denies.clone()], 0, &refused);
    assert_eq!((report.not_refused_at_once, report.refused, report.unlike_record), (0, 3, 3));
    let exempt = side(0, vec![Network { treatment: Treatment::Exempt, ..deny }]);
    let report = run([denies, exempt], 0, &refused);
    assert_eq!((report.not_refused_at_once, report.changes[0].who.after), (3, Fate::LetInIfNamed));
}
