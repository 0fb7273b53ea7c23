//! Whether messages get out: the sender's switch, who delivers, carriers, mail relays, SMS providers.

use jiff::SignedDuration;
use jiff::civil::Date;
use policy::Secret;

use super::{Context, Finding, open_store};
use crate::audit::{Entry, Event, Outcome};
use crate::notify::{self, Mailer, Message, SmtpSettings, Texter, sms};
use crate::store::{Carrier, Health, SenderStatus, Store};

/// After how long without a word a node that delivers is taken for gone.
const SILENT: SignedDuration = SignedDuration::from_secs(60);

/// Whether messages are sent at all, who delivers them, and how that went.
pub(super) async fn sender(at: &Context) -> Vec<Finding> {
    let looked = async {
        let store = open_store(at).await?;
        let read = async { Ok::<_, crate::store::Error>((store.sender_status().await?, store.carriers().await?)) };
        read.await.map_err(|error| Finding::problem("sender", error.to_string(), "look at the check of the store"))
    };
    let (status, carriers) = match looked.await {
        Ok(read) => read,
        Err(finding) => return vec![finding],
    };
    let now = at.system.now();
    let mut findings = Vec::new();
    if status.sender.stopped {
        let found = format!("stopped: whoever needs a passcode is refused ({})", status.sender.reason);
        findings.push(Finding::problem("sender", found, "sallyport sender start"));
    } else {
        findings.push(Finding::ok("sender", "on"));
    }
    if at.status.is_some() && !status.workers.iter().any(|worker| now.duration_since(worker.seen_at) < SILENT) {
        let advice = "the gateway runs but delivers nothing: look at its log, and restart it";
        findings.push(Finding::problem("sender", "no node that delivers was heard of in the last minute", advice));
    }
    findings.extend(status.providers.iter().filter(|health| health.down).map(down));
    let today = now.to_zoned(at.config.gateway.time_zone.clone()).date();
    findings.extend(retired(&status, &carriers, today));
    findings
}

fn down(health: &Health) -> Finding {
    let found = format!("down on {}: {} failures in a row, the last one {}", health.node, health.failures, health.code);
    Finding::warning(&health.provider, found, "see the checks of mail and sms; sallyport sender status tells more")
}

/// Carriers that contacts name and that take no mail for numbers any more, or not for long.
fn retired(status: &SenderStatus, carriers: &[Carrier], today: Date) -> Vec<Finding> {
    let advice = "[[sms]], and sallyport contact for those who have it";
    let used = status.carriers_used.iter();
    let found = used.filter_map(|(name, contacts)| match carriers.iter().find(|carrier| carrier.name == *name) {
        None => Some(Finding::problem(
            format!("carrier {name}"),
            format!("unknown, and {contacts} contacts name it: nothing reaches them"),
            advice,
        )),
        Some(carrier) if carrier.is_retired(today) => Some(Finding::problem(
            format!("carrier {name}"),
            format!("takes no mail for numbers any more, and {contacts} contacts name it: nothing reaches them"),
            advice,
        )),
        Some(carrier) => carrier.retired_on.map(|day| {
            let found = format!("takes mail for numbers until {day} only, and {contacts} contacts name it");
            Finding::warning(format!("carrier {name}"), found, advice)
        }),
    });
    found.collect()
}

/// Whether the mail relays take us, in their order, and a message where one is to be sent.
pub(super) async fn mail(at: &Context) -> Vec<Finding> {
    let Ok(open) = &at.open else {
        return vec![Finding::warning("mail relays", "not looked at", "correct the configuration first")];
    };
    let (mut findings, mut works) = (Vec::new(), None);
    let relays = std::iter::once(&at.config.smtp).chain(&at.config.smtp_fallbacks).zip(&open.relays);
    for (index, (relay, secrets)) in relays.enumerate() {
        let table = if index == 0 { "[smtp]" } else { "[[smtp.fallback]]" };
        let settings = SmtpSettings::from_config(relay, secrets);
        let subject = format!("{}:{}", settings.host, settings.port);
        let login = if relay.login.is_some() || relay.oauth.is_some() { ", and takes our login" } else { "" };
        let mailer = match Mailer::new(&settings) {
            Ok(mailer) => mailer,
            Err(error) => {
                findings.push(Finding::problem(subject, error.to_string(), format!("correct {table}")));
                continue;
            }
        };
        match mailer.test().await {
            Ok(()) => {
                findings.push(Finding::ok(&subject, format!("it answers{login}")));
                works.get_or_insert((mailer, subject));
            }
            Err(error) => findings.push(Finding::problem(subject, error.to_string(), mend(&error, table))),
        }
    }
    match (&at.send, works) {
        (Some(address), Some((mailer, relay))) => findings.push(send(at, &mailer, &relay, address).await),
        (Some(_), None) => findings.push(Finding::problem("test message", "not sent", "see the relays")),
        (None, _) => {}
    }
    findings
}

fn mend(error: &notify::Error, table: &str) -> String {
    match error {
        notify::Error::Login(_) | notify::Error::Refused(_) => {
            format!("look at user name and password in {table}, and at the relay's log")
        }
        notify::Error::Token(_) => format!("look at oauth in {table}: token_url, client_id, the secret, the scope"),
        notify::Error::NotConfigured | notify::Error::Settings(_) | notify::Error::Address => {
            format!("correct {table}")
        }
        notify::Error::Unreachable(_) | notify::Error::Unanswered | notify::Error::Broken(_) | notify::Error::Slow => {
            format!(
                "look at host, port, tls and ca_file in {table}, and at the firewall: without mail nobody gets a passcode"
            )
        }
    }
}

/// Whether the servers of the SMS providers can be reached and are who they should be, in their order. Nothing is sent.
pub(super) async fn sms(at: &Context) -> Vec<Finding> {
    let Ok(open) = &at.open else {
        return vec![Finding::warning("SMS providers", "not looked at", "correct the configuration first")];
    };
    let mut findings = Vec::new();
    for settings in &open.sms {
        let subject = format!("sms {}", settings.name);
        let tested = match Texter::new(settings.clone()) {
            Ok(texter) => texter.test().await,
            Err(error) => Err(error),
        };
        findings.push(match tested {
            Ok(()) => Finding::ok(subject, "it answers; whether it takes our account shows with the first message"),
            Err(error) => {
                let advice = match &error {
                    sms::Error::Settings(_) | sms::Error::Refused(_) | sms::Error::Login(_) => "correct [[sms]]",
                    sms::Error::Unreachable(_) | sms::Error::Unclear(_) => {
                        "look at url and ca_file in [[sms]], and at the firewall"
                    }
                };
                Finding::problem(subject, error.to_string(), advice)
            }
        });
    }
    findings
}

/// Sends a test message, which is audited as an operator's test of a contact is.
async fn send(at: &Context, mailer: &Mailer, relay: &str, address: &str) -> Finding {
    let masked = policy::challenge::mask(address);
    let subject = format!("test message to {masked}");
    let gateway = &at.config.gateway;
    let body = format!(
        "This is a test message from {} (Sallyport), sent by `sallyport doctor` at {}.\n\nThere is nothing you have to do.\n",
        gateway.name,
        at.system.now().to_zoned(gateway.time_zone.clone()).strftime("%F %T %Z"),
    );
    let message = Message {
        from: String::new(),
        reply_to: String::new(),
        subject: format!("Test message from {}", gateway.name),
        body: Secret::new(body),
    };
    let sent = mailer.send(address, &message).await;
    let (outcome, code) = match &sent {
        Ok(()) => (Outcome::Noted, "test-sent"),
        Err(error) => (Outcome::Failed, error.code()),
    };
    let entry = Entry::new(at.system.now(), &gateway.node, Event::ContactTested, outcome).reason(code);
    let entry = entry.detail(&format!("to {masked}; by the doctor, user id {}", rustix::process::getuid().as_raw()));
    let noted = async {
        let store = Store::open(&gateway.store, at.system.now()).await?;
        store.append(entry).await
    };
    match (sent, noted.await) {
        (Ok(()), Ok(())) => Finding::ok(subject, format!("{relay} took it")),
        (Ok(()), Err(error)) => {
            Finding::problem(subject, format!("sent, but not in the audit: {error}"), "see the store")
        }
        (Err(error), _) => Finding::problem(subject, error.to_string(), "look at the relay's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::store::Switch;

    #[test]
    fn carriers_that_contacts_name() {
        let carrier = |name: &str, retired_on: Option<&str>| Carrier {
            name: name.to_owned(),
            title: name.to_owned(),
            suffix: "sms.example.com".to_owned(),
            retired_on: retired_on.map(|day| day.parse().unwrap()),
            comment: String::new(),
        };
        let carriers = [carrier("on", None), carrier("soon", Some("2030-01-01")), carrier("gone", Some("2020-01-01"))];
        let switch = Switch {
            stopped: false,
            reason: String::new(),
            changed_at: None,
            from: String::new(),
            reply_to: String::new(),
        };
        let used = ["gone", "on", "other", "soon"].map(|name| (name.to_owned(), 2)).to_vec();
        let status =
            SenderStatus { sender: switch, queue: vec![], workers: vec![], providers: vec![], carriers_used: used };
        let found = retired(&status, &carriers, "2026-11-01".parse().unwrap());
        let told: Vec<_> = found.iter().map(|finding| (finding.subject.as_str(), finding.level)).collect();
        let expected =
            [("carrier gone", Level::Problem), ("carrier other", Level::Problem), ("carrier soon", Level::Warning)];
        assert_eq!(told, expected);
    }
}
