//! Whether the rules do what somebody probably meant.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy::{Attempt, Enforcement, Rules, Service, Treatment};

use super::{Context, Finding};
use crate::store::{self, Store, UserRecord};

/// A check of the rules and the users they are for.
pub type Rule = fn(&Rules, &[UserRecord]) -> Vec<Finding>;

/// All of them. Each says nothing where there is nothing to say.
pub const RULES: &[Rule] = &[enforcement, exempt_for_all, without_contact];

/// Looks at the rules in the store.
pub(super) async fn rules(at: &Context) -> Vec<Finding> {
    let path = at.config.gateway.store.clone();
    let inspected = tokio::task::spawn_blocking({
        let path = path.clone();
        move || store::inspect(&path, false)
    });
    // The store is opened only where that changes nothing: not to make one, and not to bring its schema up to date.
    match inspected.await {
        Ok(Ok(found)) if found.schema == found.known && found.locked.is_none() => {}
        _ => return vec![Finding::warning("rules", "not looked at, see the store", "correct the store first")],
    }
    let read = async {
        let store = Store::open(&path, at.system.now()).await?;
        Ok::<_, store::Error>((store.rules().await?, store.users().await?))
    };
    let (rules, users) = match read.await {
        Ok(read) => read,
        Err(error) => return vec![Finding::problem("rules", error.to_string(), "correct the store first")],
    };
    let mut findings: Vec<_> = RULES.iter().flat_map(|check| check(&rules, &users)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok("rules", format!("{} users; nothing strange", users.len())));
    }
    findings
}

fn enforcement(rules: &Rules, _users: &[UserRecord]) -> Vec<Finding> {
    match rules.settings.enforcement {
        Enforcement::Enforce => vec![],
        Enforcement::Observe => vec![Finding::warning(
            "enforcement",
            "observe: everybody is let in, and what would have been decided is recorded",
            "sallyport settings set enforcement enforce, once the audit shows what you want",
        )],
        Enforcement::Off => vec![Finding::problem(
            "enforcement",
            "off: everybody is let in",
            "sallyport settings set enforcement enforce",
        )],
    }
}

/// Addresses of which one is in no network of a sensible size.
fn exempt_for_all(rules: &Rules, _users: &[UserRecord]) -> Vec<Finding> {
    // From one part of the world and from another: no rule for one's own networks holds for both.
    let far_apart = [["8.8.8.8", "193.0.0.1"], ["2001:4860::1", "2a00::1"]];
    let mut findings = Vec::new();
    for service in [Service::Telnet, Service::Ftp] {
        for pair in far_apart {
            let exempt = pair.iter().filter_map(|address| {
                let (at, source) = (Timestamp::UNIX_EPOCH, address.parse().ok()?);
                let attempt = Attempt {
                    user: None,
                    source,
                    service,
                    host: "".into(),
                    at,
                    local: at.to_zoned(TimeZone::UTC).datetime(),
                    certificate: None,
                    can_enrol: false,
                };
                let rule = rules.networks.find(&attempt)?;
                (rule.treatment == Treatment::Exempt).then_some(rule)
            });
            let exempt: Vec<_> = exempt.collect();
            if let [first, _] = exempt.as_slice() {
                findings.push(Finding::problem(
                    format!("network {}", first.id),
                    format!("{service} is exempt for the whole internet ({})", first.block),
                    format!("sallyport network remove {}, and exempt only your own networks", first.id),
                ));
            }
        }
    }
    findings
}

fn without_contact(_rules: &Rules, users: &[UserRecord]) -> Vec<Finding> {
    let without: Vec<_> =
        users.iter().filter(|user| user.enabled && user.contacts.is_empty()).map(|user| user.name.as_str()).collect();
    if without.is_empty() {
        return vec![];
    }
    let shown = without.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let more = if without.len() > 5 { ", ..." } else { "" };
    vec![Finding::warning(
        "users",
        format!("{} cannot be sent a passcode: {shown}{more}", without.len()),
        "sallyport contact add USER ADDRESS",
    )]
}

#[cfg(test)]
mod tests {
    use policy::{Network, Networks};

    use super::super::Level;
    use super::*;

    fn exempt(block: &str, service: Service) -> Rules {
        let network = Network::new(7, service, block.parse().unwrap(), Treatment::Exempt);
        Rules { networks: Networks::new(vec![network]), ..Rules::default() }
    }

    #[test]
    fn an_exemption_for_everybody_is_a_problem() {
        assert_eq!(exempt_for_all(&exempt("10.0.0.0/8", Service::Telnet), &[]), []);
        assert_eq!(exempt_for_all(&exempt("8.0.0.0/8", Service::Telnet), &[]), []);
        for (block, service) in
            [("0.0.0.0/0", Service::Telnet), ("::/0", Service::Ftp), ("1.0.0.0-250.0.0.0", Service::Ftp)]
        {
            let found = exempt_for_all(&exempt(block, service), &[]);
            assert!(matches!(found.as_slice(), [one] if one.level == Level::Problem), "{block}: {found:?}");
        }
    }

    #[test]
    fn letting_everybody_in_is_told() {
        let mut rules = Rules::default();
        assert_eq!(enforcement(&rules, &[]), []);
        rules.settings.enforcement = Enforcement::Observe;
        assert_eq!(enforcement(&rules, &[])[0].level, Level::Warning);
        rules.settings.enforcement = Enforcement::Off;
        assert_eq!(enforcement(&rules, &[])[0].level, Level::Problem);
    }
}
