//! What an administrator lays down: networks with their treatment, and all the rest that bears on a decision.
//!
//! Networks: the most specific rule of a service counts, that is the one with the fewest addresses; among equals the
//! strictest. IPv4 addresses that arrive in IPv6 form (`::ffff:10.1.2.3`) are judged as IPv4.

use core::fmt;
use core::str::FromStr;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::account::{Schedule, ServiceAccount};
use crate::attempt::{Attempt, Service};
use crate::mode::Mode;
use crate::setting::{Enforcement, Settings};

/// Everything an administrator laid down that bears on a decision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Numbers and switches.
    pub settings: Settings,
    /// Networks and how they are treated.
    pub networks: Networks,
    /// Unattended jobs that are let in without a passcode.
    pub accounts: Vec<ServiceAccount>,
    /// Where something else than the setting `enforcement` counts.
    pub modes: Vec<Mode>,
}

impl Rules {
    /// Whether decisions on `attempt` bind: the mode of its host and service, else of its host, else of its service, else
    /// the setting. Of several for the same the strictest counts.
    #[must_use]
    pub fn enforcement(&self, attempt: &Attempt) -> Enforcement {
        let fitting = self.modes.iter().filter(|mode| mode.fits(attempt.service, &attempt.host));
        fitting
            .max_by_key(|mode| (mode.rank(), mode.enforcement))
            .map_or(self.settings.enforcement, |mode| mode.enforcement)
    }
}

/// A block of addresses: one address, a network, or a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Neither an address, nor a network, nor a range.
    #[error("expected an address (10.1.2.3), a network (10.1.0.0/16) or a range (10.1.2.3-10.1.2.99)")]
    Syntax,
    /// A network whose address has bits set behind its prefix.
    #[error("the network has host bits set: did you mean {0}?")]
    HostBits(IpNet),
    /// A range that mixes IPv4 and IPv6.
    #[error("both ends of a range must be IPv4, or both IPv6")]
    Mixed,
    /// A range whose end comes before its start.
    #[error("the range ends before it starts")]
    Backwards,
}

impl Block {
    /// The block of a single address.
    #[must_use]
    pub fn single(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { first: address, last: address }
    }

    /// Whether `address` lies in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// Whether both blocks have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first.is_ipv4() == other.first.is_ipv4() && self.first <= other.last && other.first <= self.last
    }

    /// How many addresses the block has, less one.
    #[must_use]
    pub fn span(&self) -> u128 {
        number(self.last).saturating_sub(number(self.first))
    }

    /// Whether every address of `other` lies in the block.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.contains(other.first) && self.contains(other.last)
    }

    /// Whether it is of IPv4 addresses.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Its first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// Its last address.
    #[must_use]
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    fn between(first: IpAddr, last: IpAddr) -> Result<Self, BlockError> {
        let (first, last) = (first.to_canonical(), last.to_canonical());
        if first.is_ipv4() != last.is_ipv4() {
            return Err(BlockError::Mixed);
        }
        if last < first {
            return Err(BlockError::Backwards);
        }
        Ok(Self { first, last })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

impl FromStr for Block {
    type Err = BlockError;

    fn from_str(text: &str) -> Result<Self, BlockError> {
        let text = text.trim();
        if let Some((first, last)) = text.split_once('-') {
            let first = first.trim().parse().map_err(|_| BlockError::Syntax)?;
            let last = last.trim().parse().map_err(|_| BlockError::Syntax)?;
            return Self::between(first, last);
        }
        if text.contains('/') {
            let net: IpNet = text.parse().map_err(|_| BlockError::Syntax)?;
            if net.trunc().addr() != net.addr() {
                return Err(BlockError::HostBits(net.trunc()));
            }
            // `network` and `broadcast` are the first and the last address in both families.
            return Self::between(net.network(), net.broadcast());
        }
        text.parse().map(Self::single).map_err(|_| BlockError::Syntax)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return f.pad(&self.first.to_string());
        }
        let mut text = format!("{}-{}", self.first, self.last);
        let width: u8 = if self.first.is_ipv4() { 32 } else { 128 };
        for prefix in 0..width {
            if let Ok(net) = IpNet::new(self.first, prefix)
                && net.network() == self.first
                && net.broadcast() == self.last
            {
                text = net.to_string();
                break;
            }
        }
        f.pad(&text)
    }
}

/// What is done with somebody from a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// No second factor is asked for ("safe network").
    Exempt,
    /// The second factor is asked for: what happens without any rule, too.
    Challenge,
    /// Nobody gets in from there.
    Deny,
}

impl Treatment {
    /// The name on the command line and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::Challenge => "challenge",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Treatment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "exempt" => Ok(Self::Exempt),
            "challenge" => Ok(Self::Challenge),
            "deny" => Ok(Self::Deny),
            _ => Err("a network is treated as challenge, exempt or deny"),
        }
    }
}

/// Which audit entries are passed on to where the audit is sent. All of them stay in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Logging {
    /// Only what bears on security.
    None,
    /// Those of refusals, and whatever bears on security.
    Rejected,
    /// Every one.
    All,
}

impl Logging {
    /// The name on the command line and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Rejected => "rejected",
            Self::None => "none",
        }
    }
}

impl FromStr for Logging {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            "rejected" => Ok(Self::Rejected),
            "none" => Ok(Self::None),
            _ => Err("logging is all, rejected or none"),
        }
    }
}

/// One network rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its number in the store.
    pub id: i64,
    /// The service it holds for.
    pub service: Service,
    /// The host it holds for; `None`: every one.
    pub host: Option<Arc<str>>,
    /// The addresses.
    pub block: Block,
    /// When it holds, in the gateway's time zone; `None`: always.
    pub schedule: Option<Schedule>,
    /// What is done.
    pub treatment: Treatment,
    /// Whether users may enrol from there; `None`: as the setting says.
    pub enrolment: Option<bool>,
    /// Which audit entries about it are passed on; `None`: as the sink says.
    pub logging: Option<Logging>,
    /// When somebody is to look at it again.
    pub review: Option<jiff::civil::Date>,
    /// Why it is there, in the administrator's words.
    pub comment: String,
}

impl Network {
    /// A rule for these addresses at any time, on every host, and nothing else about it.
    #[must_use]
    pub const fn new(id: i64, service: Service, block: Block, treatment: Treatment) -> Self {
        Self {
            id,
            service,
            host: None,
            block,
            schedule: None,
            treatment,
            enrolment: None,
            logging: None,
            review: None,
            comment: String::new(),
        }
    }

    /// What says which rule goes before others: the least one counts.
    #[must_use]
    pub fn precedence(&self) -> (u128, bool, bool, core::cmp::Reverse<Treatment>, i64) {
        let strictest = core::cmp::Reverse(self.treatment);
        (self.block.span(), self.host.is_none(), self.schedule.is_none(), strictest, self.id)
    }

    /// Whether the rule is about `attempt`.
    #[must_use]
    pub fn covers(&self, attempt: &Attempt) -> bool {
        self.service == attempt.service
            && self.host.as_ref().is_none_or(|host| host.eq_ignore_ascii_case(&attempt.host))
            && self.block.contains(attempt.source)
            && self.schedule.is_none_or(|schedule| schedule.covers(attempt.local))
    }
}

/// All network rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// The rules, in any order.
    #[must_use]
    pub const fn new(rules: Vec<Network>) -> Self {
        Self(rules)
    }

    /// The rule that counts for `attempt`: the one with the fewest addresses; among equals the one for its host before one
    /// for all, one for these hours before one for all, the strictest, the oldest.
    #[must_use]
    pub fn find(&self, attempt: &Attempt) -> Option<&Network> {
        self.0.iter().filter(|rule| rule.covers(attempt)).min_by_key(|rule| rule.precedence())
    }

    /// The rules that have addresses in common with `rule` (itself left out) and treat them differently.
    pub fn conflicts<'a>(&'a self, rule: &'a Network) -> impl Iterator<Item = &'a Network> {
        self.0.iter().filter(move |other| {
            other.id != rule.id
                && other.service == rule.service
                && is_same_host(other.host.as_deref(), rule.host.as_deref())
                && other.treatment != rule.treatment
                && other.block.overlaps(&rule.block)
        })
    }

    /// All rules.
    #[must_use]
    pub fn all(&self) -> &[Network] {
        &self.0
    }
}

/// Whether rules for these hosts can be about one attempt.
fn is_same_host(one: Option<&str>, other: Option<&str>) -> bool {
    one.is_none_or(|one| other.is_none_or(|other| one.eq_ignore_ascii_case(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Block {
        text.parse().unwrap()
    }

    fn network(id: i64, text: &str, treatment: Treatment) -> Network {
        Network::new(id, Service::Telnet, block(text), treatment)
    }

    #[test]
    fn blocks_read_and_print() {
        for (text, printed, inside, outside) in [
            ("10.1.2.3", "10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.0.0.0/8", "10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("0.0.0.0/0", "0.0.0.0/0", "255.255.255.255", "::1"),
            ("10.0.0.5 - 10.0.1.9", "10.0.0.5-10.0.1.9", "10.0.1.0", "10.0.1.10"),
            ("10.0.0.0-10.0.0.255", "10.0.0.0/24", "10.0.0.255", "10.0.1.0"),
            ("fd00::/8", "fd00::/8", "fd12::1", "fe00::"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.9.9.9", "::1"),
            ("::/0", "::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let block = block(text);
            assert_eq!(block.to_string(), printed, "{text}");
            assert!(block.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!block.contains(outside.parse().unwrap()), "{text} {outside}");
            assert_eq!(block.to_string().parse::<Block>().unwrap(), block);
        }
        assert!(block("10.0.0.0/8").contains("::ffff:10.1.1.1".parse().unwrap()), "IPv4 in IPv6 form");
        for (text, error) in [
            ("", BlockError::Syntax),
            ("10.0.0.0/33", BlockError::Syntax),
            ("10.0.0", BlockError::Syntax),
            ("10.1.0.0/8", BlockError::HostBits("10.0.0.0/8".parse().unwrap())),
            ("10.0.0.1-::1", BlockError::Mixed),
            ("10.0.0.2-10.0.0.1", BlockError::Backwards),
        ] {
            assert_eq!(text.parse::<Block>(), Err(error), "{text}");
        }
    }

    fn attempt(source: &str, hour: i8) -> Attempt {
        Attempt {
            user: None,
            source: source.parse().unwrap(),
            service: Service::Telnet,
            host: "PROD".into(),
            at: jiff::Timestamp::UNIX_EPOCH,
            local: jiff::civil::date(2026, 11, 27).at(hour, 0, 0, 0),
            certificate: None,
            can_enrol: true,
        }
    }

    #[test]
    fn a_rule_for_the_host_and_for_the_hour_goes_before_one_for_all() {
        let schedule = Schedule { days: "mon-fri".parse().unwrap(), hours: "06:00-18:00".parse().unwrap() };
        let networks = Networks::new(vec![
            network(1, "10.0.0.0/8", Treatment::Deny),
            Network { schedule: Some(schedule), ..network(2, "10.0.0.0/8", Treatment::Exempt) },
            Network { host: Some("TEST".into()), ..network(3, "10.0.0.0/8", Treatment::Challenge) },
            Network { host: Some("prod".into()), ..network(4, "10.4.0.0/16", Treatment::Challenge) },
            Network { schedule: Some(schedule), ..network(5, "10.4.0.0/16", Treatment::Exempt) },
        ]);
        for (source, hour, expected) in
            [("10.1.1.1", 8, 2), ("10.1.1.1", 5, 1), ("10.1.1.1", 18, 1), ("10.4.1.1", 8, 4), ("10.4.1.1", 20, 4)]
        {
            assert_eq!(networks.find(&attempt(source, hour)).unwrap().id, expected, "{source} {hour}");
        }
    }

    #[test]
    fn the_mode_of_host_and_service_counts_most() {
        let mode = |service, host: Option<&str>, enforcement| Mode { service, host: host.map(Into::into), enforcement };
        let mut rules = Rules::default();
        let at = attempt("10.1.1.1", 8);
        assert_eq!(rules.enforcement(&at), Enforcement::Enforce);
        rules.modes = vec![mode(Some(Service::Ftp), None, Enforcement::Off), mode(None, Some("x"), Enforcement::Off)];
        assert_eq!(rules.enforcement(&at), Enforcement::Enforce);
        rules.modes.push(mode(Some(Service::Telnet), None, Enforcement::Off));
        assert_eq!(rules.enforcement(&at), Enforcement::Off);
        rules.modes.push(mode(None, Some("prod"), Enforcement::Observe));
        assert_eq!(rules.enforcement(&at), Enforcement::Observe);
        rules.modes.insert(0, mode(Some(Service::Telnet), Some("PROD"), Enforcement::Enforce));
        assert_eq!(rules.enforcement(&at), Enforcement::Enforce);
        // Another spelling of the host: the strictest counts, wherever it stands.
        rules.modes.push(mode(Some(Service::Telnet), Some("prod"), Enforcement::Off));
        assert_eq!(rules.enforcement(&at), Enforcement::Enforce);
    }

    #[test]
    fn most_specific_network_wins() {
        let networks = Networks::new(vec![
            network(1, "10.0.0.0/8", Treatment::Exempt),
            network(2, "10.1.0.0/16", Treatment::Deny),
            network(3, "10.1.2.3", Treatment::Challenge),
            network(4, "192.0.2.0/24", Treatment::Exempt),
            network(5, "192.0.2.0-192.0.2.255", Treatment::Deny),
            Network { service: Service::Ftp, ..network(6, "10.1.2.3", Treatment::Exempt) },
        ]);
        for (source, expected) in
            [("10.9.9.9", Some(1)), ("10.1.9.9", Some(2)), ("10.1.2.3", Some(3)), ("192.0.2.1", Some(5)), ("::1", None)]
        {
            assert_eq!(networks.find(&attempt(source, 8)).map(|rule| rule.id), expected, "{source}");
        }
        let ids = |rule: usize| networks.conflicts(&networks.all()[rule]).map(|other| other.id).collect::<Vec<_>>();
        assert_eq!(ids(0), [2, 3]);
        assert_eq!(ids(3), [5]);
        assert_eq!(ids(5), [0; 0], "rules of another service do not overlap");
    }
}
