//! `sallyport explain`: what would be decided, step by step, and what would have to change.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use policy::{Attempt, Effect, Fingerprint, Service, User};
use serde::Serialize;

use super::admin::Admin;
use super::{Global, NotFound, Usage, print_line, print_table};
use crate::config::Config;
use crate::store::{Budget, Opened, Snapshot};

/// Say what would be decided on a sign-on now, step by step, and what would have to change for another outcome.
///
/// Asks the same code that decides, on the rules and failures as they are in the store; nothing is counted or sent.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport explain --user ANNA --from 203.0.113.9 --service telnet
  sallyport explain --user ANNA --from 10.20.1.7 --host PROD
  sallyport explain --user NIGHTJOB --from 10.20.1.7 --service ftp --at 2026-12-01T22:00
  sallyport explain --from 203.0.113.9        (a sign-on display that the gateway does not know)")]
pub(crate) struct Args {
    /// Who signs on; without it, somebody whose name the gateway could not tell.
    #[arg(long)]
    user: Option<User>,
    /// From which address.
    #[arg(long, value_name = "ADDRESS")]
    from: IpAddr,
    /// By which service: telnet or ftp.
    #[arg(long, default_value_t = Service::Telnet)]
    service: Service,
    /// To which host; needed where the configuration has several.
    #[arg(long)]
    host: Option<String>,
    /// The SHA-256 fingerprint of the certificate that the client shows.
    #[arg(long, value_name = "FINGERPRINT")]
    certificate: Option<Fingerprint>,
    /// At this time, in the gateway's zone: 2026-12-01T22:00, "2026-12-01 22:00" or 2026-12-01T21:00:00Z [default: now]. Rules, users,
    /// failures and windows are those of now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

/// The outcome, as shown.
#[derive(Debug, Serialize)]
struct Explained {
    user: Option<String>,
    source: IpAddr,
    service: Service,
    host: String,
    at: Timestamp,
    effect: Effect,
    reason: &'static str,
    meant: Effect,
    rule: Option<i64>,
    steps: Vec<Step>,
    to_change: String,
}

/// A step, as shown.
#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    finding: String,
    decides: Option<String>,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    let admin = Admin::open(global).await?;
    let zone = &admin.config.gateway.time_zone;
    let at = args.at.as_deref().map_or(Ok(admin.now), |text| super::audit::time(text, admin.now, zone))?;
    let attempt = Attempt {
        can_enrol: can_enrol(&admin.config, args.service, args.host.as_deref()),
        host: host(&admin.config, args.host)?,
        user: args.user,
        source: args.from.to_canonical(),
        service: args.service,
        at,
        local: at.to_zoned(zone.clone()).datetime(),
        certificate: args.certificate,
    };
    let explained = explain(&admin, &attempt).await?;
    if global.json {
        global.print_one(&explained, "")?;
        return Ok(ExitCode::SUCCESS);
    }
    let user = explained.user.as_deref().unwrap_or("somebody unknown");
    let Explained { source, service, host, effect, reason, to_change, .. } = &explained;
    print_line(format_args!("{user} from {source} by {service} to {host}, at {}:\n", admin.local(explained.at)))?;
    print_table(
        &["step", "decides", "finding"],
        explained
            .steps
            .iter()
            .map(|step| vec![step.step.to_owned(), step.decides.clone().unwrap_or_default(), step.finding.clone()]),
    )?;
    let observed = if explained.effect == explained.meant {
        String::new()
    } else {
        format!(" (enforcement is observe; otherwise: {})", explained.meant)
    };
    print_line(format_args!("\nOutcome: {effect}, {reason}{observed}\nTo change it: {to_change}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn explain(admin: &Admin, attempt: &Attempt) -> anyhow::Result<Explained> {
    let Snapshot { rules, history, means, .. } = admin.store.snapshot(attempt.clone()).await?;
    let (decision, steps) = policy::explain(&rules, attempt, &history);
    let mut steps: Vec<Step> = steps
        .into_iter()
        .map(|step| Step {
            step: step.name,
            finding: step.finding,
            decides: step.decided.map(|(effect, _)| effect.to_string()),
        })
        .collect();
    let (mut effect, mut meant, mut reason) = (decision.effect, decision.meant, decision.reason.code());
    let mut to_change = fill(decision.reason.remedy(), attempt, decision.account.or(decision.rule));
    if let (Effect::Challenge, Some(contact)) = (decision.meant, means.contacts.first()) {
        let settings = &rules.settings;
        let sent = admin.store.sent(attempt, Some(contact.id), settings.clone()).await?;
        let (window, minutes) = (sent.by_user_in_window, settings.send_window);
        // With something that needs no sending, the user is offered that.
        let has_own =
            policy::decide::usable(&rules, &history.user.unwrap_or_default()).iter().any(|factor| !factor.is_sent());
        let used_up = sent.used_up(settings).map(Opened::code).filter(|_| !has_own);
        let share = if sent.known {
            "the user got in from there before".to_owned()
        } else {
            let (share, day) = (sent.by_pair_in_window, sent.by_pair_in_day);
            format!(
                "for both: {share} of {}, {day} of {} in 24 hours",
                settings.send_per_pair, settings.send_per_pair_day
            )
        };
        steps.push(Step {
            step: "budget",
            finding: format!(
                "to {}; sent to the user: {window} of {} in {minutes} minutes, {} of {} in 24 hours; for the source: {} of {}; to the contact: {} of {}, {} of {} in 24 hours; in all: {} of {}; {share}",
                policy::challenge::mask(&contact.address),
                settings.send_per_user,
                sent.by_user_in_day,
                settings.send_per_day,
                sent.by_source_in_window,
                settings.send_per_source,
                sent.by_contact_in_window,
                settings.send_per_contact,
                sent.by_contact_in_day,
                settings.send_per_contact_day,
                sent.in_all_in_window,
                settings.send_total
            ),
            decides: used_up.map(|_| Effect::Deny.to_string()),
        });
        let switch = admin.store.sender().await?;
        if switch.stopped && !has_own {
            steps.push(Step {
                step: "sender",
                finding: format!("an administrator stopped the sending of messages: {}", switch.reason),
                decides: Some(Effect::Deny.to_string()),
            });
            (reason, meant) = (Opened::Stopped.code(), Effect::Deny);
            to_change = "sallyport sender start".to_owned();
            if effect == Effect::Challenge {
                effect = Effect::Deny;
            }
        } else if let Some(code) = used_up {
            (reason, meant) = (code, Effect::Deny);
            to_change = "wait, or raise what send.* allows (sallyport settings list)".to_owned();
            if effect == Effect::Challenge {
                effect = Effect::Deny;
            }
        }
    }
    // Whoever is not refused without one has the host check a password, whatever else is asked for.
    if let (Service::Ftp, Some(user), true) = (attempt.service, &attempt.user, effect != Effect::Deny) {
        let settings = &rules.settings;
        let trusted = decision.meant == Effect::Allow;
        let budget = admin.store.checks(attempt, user, trusted, history.user_tally, settings).await?;
        let waits = budget.waits(settings, attempt.at);
        let until = match waits {
            None => String::new(),
            Some(never) if never == Timestamp::MAX => "; no further one".to_owned(),
            Some(next) => format!("; the next one at {}", next.strftime("%Y-%m-%d %H:%M:%SZ")),
        };
        let Budget { used, limit, .. } = budget;
        steps.push(Step {
            step: "host-checks",
            finding: format!("passwords in a row that the host did not accept: {used} of {limit}{until}"),
            decides: waits.map(|_| Effect::Deny.to_string()),
        });
        if waits.is_some() {
            // Observed or not: the host is not asked.
            (reason, meant, effect) = ("host-check-budget", Effect::Deny, Effect::Deny);
            to_change = format!("wait, or: sallyport user unlock {user}");
        }
    }
    Ok(Explained {
        user: attempt.user.as_ref().map(ToString::to_string),
        source: attempt.source,
        service: attempt.service,
        host: attempt.host.to_string(),
        at: attempt.at,
        effect,
        reason,
        meant,
        rule: decision.rule,
        steps,
        to_change,
    })
}

/// A remedy with the names of the attempt in place of the capital words.
fn fill(remedy: &str, attempt: &Attempt, rule: Option<i64>) -> String {
    let mut text = remedy.to_owned();
    if let Some(user) = &attempt.user {
        text = text.replace("USER", user.as_str());
    }
    if let Some(rule) = rule {
        text = text.replace("NUMBER", &rule.to_string());
    }
    text.replace("unlock ADDRESS", &format!("unlock {}", attempt.source))
}

fn host(config: &Config, wanted: Option<String>) -> anyhow::Result<Arc<str>> {
    let names = || config.hosts.iter().map(|host| &*host.name).collect::<Vec<_>>().join(", ");
    match (wanted, config.hosts.as_slice()) {
        (Some(wanted), hosts) => hosts
            .iter()
            .find(|host| host.name.eq_ignore_ascii_case(&wanted))
            .map(|host| Arc::clone(&host.name))
            .ok_or_else(|| NotFound(format!("there is no host {wanted}; the configuration has {}", names())).into()),
        (None, [only]) => Ok(Arc::clone(&only.name)),
        (None, _) => Err(Usage(format!("--host is needed, one of: {}", names())).into()),
    }
}

/// Whether a sign-on there can lead to enrolment.
pub(super) fn can_enrol(config: &Config, service: Service, host: Option<&str>) -> bool {
    let is_it = |known: &&crate::config::Host| host.is_none_or(|host| known.name.eq_ignore_ascii_case(host));
    let order = config.hosts.iter().find(is_it).map(|host| host.gate.order);
    service == Service::Telnet && order == Some(proxy_tn5250::gate::Order::PasswordFirst)
}

#[cfg(test)]
mod tests {
    use policy::account::{Days, Hours, Schedule};
    use policy::{ContactKind, Failure, Network, ServiceAccount, Treatment};

    use super::*;
    use crate::store::{NewContact, NewFactor, Store};
    use crate::system::System;
    use crate::testing::Folder;

    const CONFIG: &str = r#"
[gateway]
name = "G"
node = "n"
store = "s.db"
key_file = "k"
[smtp]
host = "127.0.0.1"
port = 1
tls = "none"
from = "g@example.com"
[[host]]
name = "PROD"
address = "127.0.0.1:1"
[[host]]
name = "TEST"
address = "127.0.0.1:2"
[[listener]]
name = "t"
service = "telnet"
address = "127.0.0.1:0"
host = "PROD"
"#;

    /// Numbers that are always the same ones.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap_or(0) % limit
        }
    }

    /// Rules, users and failures of any kind.
    async fn lay_down(admin: &Admin, numbers: &mut Numbers) {
        let store = &admin.store;
        let entry = || admin.entry("changed", "x");
        let set = [
            ("enforcement", ["enforce", "observe", "off", "enforce"]),
            ("enrolment", ["off", "registered", "anyone", "off"]),
            ("enrolment.guard", ["ticket", "network", "approval", "ticket"]),
            ("assurance", ["weak", "restricted", "standard", "weak"]),
            ("unnamed", ["refuse", "exempt", "refuse", "exempt"]),
        ];
        for (name, values) in set {
            let value = values[numbers.below(4)].to_owned();
            store.set_setting(name.to_owned(), value, entry()).await.unwrap();
        }
        for name in ["ANNA", "BERT", "CARL"] {
            let user: User = name.parse().unwrap();
            store.add_user(user.clone(), numbers.below(4) == 0, String::new(), entry()).await.unwrap();
            if numbers.below(3) > 0 {
                let new = NewContact::vouched(ContactKind::Email, "a@example.com");
                store.add_contact(user.clone(), new, entry(), Vec::new()).await.unwrap();
            }
            if numbers.below(6) == 0 {
                store.set_user_enabled(user.clone(), false, entry()).await.unwrap();
            }
            if numbers.below(6) == 0 {
                store.grant_override(user, "r".to_owned(), 1, "o".to_owned(), entry()).await.unwrap();
            }
        }
        for byte in 0..numbers.below(6) {
            let block = format!("10.0.0.{}-10.0.0.{}", byte, byte + numbers.below(4));
            let treatment = [Treatment::Exempt, Treatment::Challenge, Treatment::Deny][numbers.below(3)];
            let service = Service::ALL[numbers.below(2)];
            let host = [None, Some("PROD".into()), Some("TEST".into())][numbers.below(3)].clone();
            let rule = Network { host, ..Network::new(0, service, block.parse().unwrap(), treatment) };
            store.add_network(rule, entry()).await.unwrap();
        }
        let account = ServiceAccount {
            id: 0,
            user: "JOB".parse().unwrap(),
            service: Service::Ftp,
            block: "10.0.0.0/29".parse().unwrap(),
            schedule: Schedule { days: Days::ALL, hours: Hours::ALL },
            certificate: None,
            comment: String::new(),
        };
        store.add_account(account, entry()).await.unwrap();
        for _ in 0..numbers.below(25) {
            store.count_failure(attempt(admin, numbers), Failure::Passcode, entry()).await.unwrap();
        }
    }

    fn attempt(admin: &Admin, numbers: &mut Numbers) -> Attempt {
        let user = [None, Some("ANNA"), Some("BERT"), Some("CARL"), Some("DORA"), Some("JOB")][numbers.below(6)];
        let service = Service::ALL[numbers.below(2)];
        Attempt {
            user: user.map(|name| name.parse().unwrap()),
            source: IpAddr::from([10, 0, 0, u8::try_from(numbers.below(10)).unwrap()]),
            service,
            host: ["PROD", "TEST"][numbers.below(2)].into(),
            at: admin.now,
            local: admin.now.to_zoned(jiff::tz::TimeZone::UTC).datetime(),
            certificate: None,
            can_enrol: service == Service::Telnet,
        }
    }

    /// What the guard decides on: the snapshot of a real store, by the same function.
    #[tokio::test]
    async fn what_is_explained_is_what_the_guard_decides() {
        let mut numbers = Numbers(7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let folder = Folder::new();
            std::fs::write(folder.path("sallyport.toml"), CONFIG).unwrap();
            let (config, system) = (Config::load(&folder.path("sallyport.toml")).unwrap(), System::new());
            let store = Store::open(&folder.path("s.db"), system.now()).await.unwrap();
            let admin = Admin { config, store, now: system.now(), system };
            lay_down(&admin, &mut numbers).await;
            for _ in 0..150 {
                let attempt = attempt(&admin, &mut numbers);
                let Snapshot { rules, history, .. } = admin.store.snapshot(attempt.clone()).await.unwrap();
                let decision = policy::decide(&rules, &attempt, &history);
                let Explained { effect, reason, meant, rule, .. } = explain(&admin, &attempt).await.unwrap();
                assert_eq!(
                    (effect, reason, meant, rule),
                    (decision.effect, decision.reason.code(), decision.meant, decision.rule),
                    "{attempt:?} {history:?}"
                );
                seen.insert(reason);
            }
        }
        assert!(seen.len() >= 10, "hardly a reason was seen: {seen:?}");
    }

    /// By FTP the host checks a password of everybody who is not refused, and no more than the budget allows.
    #[tokio::test]
    async fn a_budget_that_is_used_up_refuses_whoever_it_is() {
        let folder = Folder::new();
        std::fs::write(folder.path("sallyport.toml"), CONFIG).unwrap();
        let (config, system) = (Config::load(&folder.path("sallyport.toml")).unwrap(), System::new());
        let store = Store::open(&folder.path("s.db"), system.now()).await.unwrap();
        let admin = Admin { config, store, now: system.now(), system };
        let exempt = Network::new(0, Service::Ftp, "10.0.0.0/24".parse().unwrap(), Treatment::Exempt);
        admin.store.add_network(exempt, admin.entry("changed", "x")).await.unwrap();
        let user: User = "ANNA".parse().unwrap();
        admin.store.add_user(user.clone(), false, String::new(), admin.entry("changed", "x")).await.unwrap();
        let from = |source: &str| Attempt {
            user: Some(user.clone()),
            source: source.parse().unwrap(),
            service: Service::Ftp,
            host: "PROD".into(),
            at: admin.now,
            local: admin.now.to_zoned(jiff::tz::TimeZone::UTC).datetime(),
            certificate: None,
            can_enrol: false,
        };
        let settings = admin.store.rules().await.unwrap().settings;
        let trusted = from("10.0.0.1");
        assert_eq!(explain(&admin, &trusted).await.unwrap().effect, Effect::Allow);
        let none = policy::Tally::default();
        while admin.store.reserve_check(&trusted, &user, true, none, &settings).await.unwrap().is_some() {}
        let explained = explain(&admin, &trusted).await.unwrap();
        assert_eq!((explained.effect, explained.reason), (Effect::Deny, "host-check-budget"));
        // Who is asked for a passcode has a budget apart.
        let new = NewFactor {
            user: user.clone(),
            label: "phone".to_owned(),
            parameters: crate::factor::Parameters::Totp(crate::factor::totp::Settings {
                algorithm: crate::factor::hotp::Algorithm::Sha1,
                digits: 6,
                period: 30,
                offset: 0,
            }),
            secret: Some(policy::Secret::new(vec![7; 20])),
            confirmed: true,
            used: None,
        };
        let key = crate::key::Key::open(&folder.path("key"), &System::new()).unwrap();
        let sealer = crate::seal::Sealer::new(&key, "test");
        admin.store.add_factor(new, sealer, admin.entry("changed", "x")).await.unwrap();
        let asked = from("203.0.113.9");
        assert_eq!(explain(&admin, &asked).await.unwrap().effect, Effect::Challenge);
        while admin.store.reserve_check(&asked, &user, false, none, &settings).await.unwrap().is_some() {}
        let explained = explain(&admin, &asked).await.unwrap();
        assert_eq!((explained.effect, explained.reason), (Effect::Deny, "host-check-budget"));
        admin
            .store
            .set_setting("enforcement".to_owned(), "observe".to_owned(), admin.entry("changed", "x"))
            .await
            .unwrap();
        assert_eq!(
            explain(&admin, &asked).await.unwrap().effect,
            Effect::Deny,
            "the host is asked by nobody who observes"
        );
    }
}
