//! What an administrator lays down: networks with their treatment, and settings with unit, range, default and reason.
//!
//! Networks: the most specific rule of a service counts, that is the one with the fewest addresses; among equals the
//! strictest. IPv4 addresses that arrive in IPv6 form (`::ffff:10.1.2.3`) are judged as IPv4.
//!
//! Settings: one table, [`SETTINGS`]; the command line, the documentation and the store's checks read it.

use core::fmt;
use core::str::FromStr;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::account::ServiceAccount;
use crate::attempt::Service;
use crate::contact::Language;

/// Everything an administrator laid down that bears on a decision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Numbers and switches.
    pub settings: Settings,
    /// Networks and how they are treated.
    pub networks: Networks,
    /// Unattended jobs that are let in without a passcode.
    pub accounts: Vec<ServiceAccount>,
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

/// One network rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its number in the store.
    pub id: i64,
    /// The service it holds for.
    pub service: Service,
    /// The addresses.
    pub block: Block,
    /// What is done.
    pub treatment: Treatment,
    /// Why it is there, in the administrator's words.
    pub comment: String,
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

    /// The rule that counts for `source`: the most specific one; among equals the strictest, then the oldest.
    #[must_use]
    pub fn find(&self, service: Service, source: IpAddr) -> Option<&Network> {
        self.0
            .iter()
            .filter(|rule| rule.service == service && rule.block.contains(source))
            .min_by_key(|rule| (rule.block.span(), core::cmp::Reverse(rule.treatment), rule.id))
    }

    /// The rules that have addresses in common with `rule` (itself left out) and treat them differently.
    pub fn conflicts<'a>(&'a self, rule: &'a Network) -> impl Iterator<Item = &'a Network> {
        self.0.iter().filter(move |other| {
            other.id != rule.id
                && other.service == rule.service
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

/// Whether decisions bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Enforcement {
    /// Nobody is asked for anything.
    Off,
    /// Everything is computed and recorded, and everybody is let through.
    Observe,
    /// Decisions bind.
    #[default]
    Enforce,
}

impl Enforcement {
    /// The names, in the order of the variants.
    pub const NAMES: [&'static str; 3] = ["off", "observe", "enforce"];

    /// The name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// Whether somebody whom the sign-on did not name is let in from an exempt network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unnamed {
    /// No.
    #[default]
    Refuse,
    /// Yes.
    Exempt,
}

impl Unnamed {
    const NAMES: [&'static str; 2] = ["refuse", "exempt"];

    /// The name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Exempt => "exempt",
        }
    }
}

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Choice {
        /// The words.
        values: &'static [&'static str],
        /// The word that counts where nothing was set.
        default: &'static str,
    },
    /// A whole number.
    Number {
        /// What it counts.
        unit: &'static str,
        /// The least value.
        min: u32,
        /// The greatest value.
        max: u32,
        /// The value that counts where nothing was set.
        default: u32,
    },
}

/// One setting: everything there is to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name, `group.word`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What it does.
    pub meaning: &'static str,
    /// Why default and range are what they are.
    pub reason: &'static str,
}

impl Setting {
    /// The unit, or nothing for a choice.
    #[must_use]
    pub const fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Choice { .. } => "",
            Kind::Number { unit, .. } => unit,
        }
    }

    /// The range: `6-12`, or `off, observe, enforce`.
    #[must_use]
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Choice { values, .. } => values.join(", "),
            Kind::Number { min, max, .. } => format!("{min}-{max}"),
        }
    }

    /// The default, as text.
    #[must_use]
    pub fn default_value(&self) -> String {
        match self.kind {
            Kind::Choice { default, .. } => default.to_owned(),
            Kind::Number { default, .. } => default.to_string(),
        }
    }
}

/// Why a setting was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No setting has that name.
    #[error("there is no setting {0}; `sallyport settings list` shows all")]
    Unknown(String),
    /// The value is out of range.
    #[error("{name} takes {range} {unit}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What it takes.
        range: String,
        /// Its unit.
        unit: &'static str,
    },
}

impl SettingError {
    fn range(setting: &Setting) -> Self {
        Self::Range { name: setting.name, range: setting.range(), unit: setting.unit() }
    }
}

const ENFORCEMENT: Setting = Setting {
    name: "enforcement",
    kind: Kind::Choice { values: &Enforcement::NAMES, default: "enforce" },
    meaning: "Whether decisions bind: enforce; observe computes and records all of them but lets everybody through; off asks nobody.",
    reason: "A gateway that lets people in by default protects nothing. observe is for the weeks before the switch-over.",
};

const UNNAMED: Setting = Setting {
    name: "unnamed",
    kind: Kind::Choice { values: &Unnamed::NAMES, default: "refuse" },
    meaning: "Whether somebody whom the sign-on did not name (a printer session, a workstation entry with a default user, a sign-on display that the gateway does not know) is let in from an exempt network.",
    reason: "Nobody can tell whether that is a user who is disabled, locked or always to be asked.",
};

const LANGUAGE: Setting = Setting {
    name: "language",
    kind: Kind::Choice { values: &Language::NAMES, default: "en" },
    meaning: "The language of messages to users who have none of their own (`sallyport user language`), and to operators.",
    reason: "English is understood where nothing is known of a user.",
};

macro_rules! settings {
    ($($field:ident $name:literal $unit:literal $min:literal..=$max:literal default $default:literal: $meaning:literal, $reason:literal;)*) => {
        /// The values of all settings.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            /// Whether decisions bind.
            pub enforcement: Enforcement,
            /// Whether somebody unnamed is let in from an exempt network.
            pub unnamed: Unnamed,
            /// The language of messages to those who have none of their own.
            pub language: Language,
            $(#[doc = $meaning] pub $field: u32,)*
        }

        /// All settings there are.
        pub const SETTINGS: &[Setting] = &[
            ENFORCEMENT,
            UNNAMED,
            LANGUAGE,
            $(Setting {
                name: $name,
                kind: Kind::Number { unit: $unit, min: $min, max: $max, default: $default },
                meaning: $meaning,
                reason: $reason,
            },)*
        ];

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    enforcement: Enforcement::default(),
                    unnamed: Unnamed::default(),
                    language: Language::default(),
                    $($field: $default,)*
                }
            }
        }

        impl Settings {
            /// Sets `name` to what `text` says.
            ///
            /// # Errors
            /// Where there is no such setting or the value is out of its range; nothing has changed then.
            pub fn set(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
                let setting = find(name)?;
                match name {
                    "enforcement" => {
                        self.enforcement = match text.trim() {
                            "off" => Enforcement::Off,
                            "observe" => Enforcement::Observe,
                            "enforce" => Enforcement::Enforce,
                            _ => return Err(SettingError::range(setting)),
                        };
                    }
                    "unnamed" => {
                        self.unnamed = match text.trim() {
                            "refuse" => Unnamed::Refuse,
                            "exempt" => Unnamed::Exempt,
                            _ => return Err(SettingError::range(setting)),
                        };
                    }
                    "language" => {
                        self.language = text.trim().parse().map_err(|_| SettingError::range(setting))?;
                    }
                    $($name => {
                        let value: u32 = text.trim().parse().map_err(|_| SettingError::range(setting))?;
                        if !($min..=$max).contains(&value) {
                            return Err(SettingError::range(setting));
                        }
                        self.$field = value;
                    })*
                    _ => return Err(SettingError::Unknown(name.to_owned())),
                }
                Ok(())
            }

            /// The value of `name` as text.
            ///
            /// # Errors
            /// Where there is no such setting.
            pub fn value(&self, name: &str) -> Result<String, SettingError> {
                match name {
                    "enforcement" => Ok(self.enforcement.as_str().to_owned()),
                    "unnamed" => Ok(self.unnamed.as_str().to_owned()),
                    "language" => Ok(self.language.as_str().to_owned()),
                    $($name => Ok(self.$field.to_string()),)*
                    _ => Err(SettingError::Unknown(name.to_owned())),
                }
            }
        }
    };
}

settings! {
    passcode_digits "passcode.digits" "digits" 6..=12 default 6:
        "How many digits a passcode has.",
        "Six random digits are 20 bits, the least that NIST SP 800-63B and OWASP ASVS allow; with three tries a guess succeeds once in 333,333.";
    passcode_expiry "passcode.expiry" "seconds" 30..=600 default 300:
        "How long a passcode can be keyed after it was sent.",
        "Ten minutes is the ceiling of NIST SP 800-63B; five leave time for slow mail.";
    passcode_tries "passcode.tries" "tries" 1..=3 default 3:
        "How many passcodes may be keyed at one challenge.",
        "Enough for typing errors; more would only help guessing, since each challenge brings as many again.";
    send_window "send.window" "minutes" 1..=60 default 10:
        "The time over which send.per-user, send.per-pair, send.per-source, send.per-contact and send.total count.",
        "Two lives of a passcode.";
    send_per_user "send.per-user" "messages" 1..=20 default 3:
        "How many passcodes one user is sent within send.window; source addresses from which the user got in within 90 days are counted apart from all others.",
        "Keeps somebody who knows a password from flooding the owner's mailbox and from buying more guesses. What strangers ask for uses up nothing where the user is known.";
    send_per_day "send.per-day" "messages" 1..=200 default 10:
        "How many passcodes one user is sent within 24 hours, counted like send.per-user.",
        "A working day has few sign-ons; raise it, or permit a repeat window, where people sign on all day.";
    send_per_pair "send.per-pair" "messages" 1..=20 default 2:
        "How many passcodes one user is sent within send.window on behalf of one source address from which the user has not got in within 90 days.",
        "Below send.per-user: one stranger alone cannot use up what a user may be sent. Matters most with order code-first, where a passcode can be asked for without a password.";
    send_per_pair_day "send.per-pair-day" "messages" 1..=200 default 5:
        "The same within 24 hours.",
        "Below send.per-day, for the same reason.";
    send_per_source "send.per-source" "messages" 1..=10000 default 60:
        "How many passcodes are sent within send.window on behalf of one source address.",
        "Stops one machine that sprays many users; a site behind one address needs more.";
    send_per_contact "send.per-contact" "messages" 1..=100 default 10:
        "How many passcodes are sent to one address or number within send.window, whoever's contact it is; counted apart like send.per-user. Other messages are counted by themselves, against the same number.",
        "Above send.per-user, since one mailbox may be the contact of several users.";
    send_per_contact_day "send.per-contact-day" "messages" 1..=1000 default 50:
        "The same within 24 hours.",
        "Above send.per-day, for the same reason; bounds what text messages to one number cost.";
    send_total "send.total" "messages" 1..=100000 default 1000:
        "How many passcodes are sent in all within send.window; counted apart like send.per-user. Other messages are counted by themselves, against the same number.",
        "Bounds what a flood from many addresses costs; a shift that begins at one time needs room.";
    contacts_max "contacts.max" "contacts" 1..=16 default 4:
        "How many contacts one user may have.",
        "Each one is a way in for whoever holds it; four are a work and a private address and two phones.";
    alert_wrong_passcodes "alert.wrong-passcodes" "passcodes" 1..=3 default 1:
        "From which wrong passcode at one challenge on the user, and the operators, are told that somebody knows the password; at most once in ten minutes.",
        "Whoever has a stolen password often tries no more than once; raise it where typing errors make too many messages.";
    send_pause "send.pause" "seconds" 0..=300 default 20:
        "How long F5=Resend does nothing after a passcode was sent.",
        "Mail needs some seconds; impatience should not use up the budget.";
    repeat_minutes "repeat.minutes" "minutes" 0..=720 default 0:
        "How long after a right passcode the same user may sign on again from the same address to the same host without another one; 0 prohibits it.",
        "Prohibited by default: one address may stand for many people. IBM i 7.6 allows 720 minutes, and so does this.";
    repeat_uses "repeat.uses" "sign-ons" 1..=1000 default 10:
        "How many sign-ons one repeat window covers.",
        "A person opens a handful of sessions; a program that opens hundreds should be seen.";
    lockout_user_failures "lockout.user-failures" "failures" 1..=100 default 10:
        "After how many failures (wrong passcodes and passwords that the host refused) in a row a user is locked everywhere.",
        "PCI DSS 8.3.4: no more than ten.";
    lockout_user_minutes "lockout.user-minutes" "minutes" 1..=1440 default 30:
        "How long the first lock of a user lasts; each further one is twice as long, up to a day.",
        "PCI DSS 8.3.4: at least 30 minutes.";
    lockout_user_ceiling "lockout.user-ceiling" "failures" 10..=100 default 100:
        "After how many wrong passcodes in a row a user stays locked until `sallyport user unlock`; where they all came from one source address, for that address. Passwords that the host refused do not count here.",
        "NIST SP 800-63B: no more than 100. Anybody can have the host refuse passwords, which must not lock anybody out for good.";
    lockout_pair_failures "lockout.pair-failures" "failures" 1..=100 default 5:
        "After how many failures in a row a user is locked for the one source address they came from; also how many failures of one source address count for lockout.user-failures at most.",
        "Below lockout.user-failures, so that one source alone cannot lock a user out elsewhere.";
    lockout_delay_after "lockout.delay-after" "failures" 1..=100 default 3:
        "From which failure in a row on a user has to wait before trying again from the same source address.",
        "Three typing errors are human.";
    lockout_delay "lockout.delay" "seconds" 0..=3600 default 10:
        "How long the first such wait is; each further one is twice as long, up to an hour.",
        "Slows guessing down and is hardly felt by somebody who mistyped.";
    lockout_source_failures "lockout.source-failures" "failures" 1..=10000 default 30:
        "After how many failures of any users a source address is locked.",
        "Well above what a site behind one address mistypes, well below what password spraying needs.";
    lockout_source_minutes "lockout.source-minutes" "minutes" 1..=1440 default 15:
        "How long the first lock of a source lasts; also the quiet time after which its failures are forgotten.",
        "Long enough to make spraying useless, short enough for a site that locked itself out.";
    ftp_window "ftp.window" "seconds" 0..=3600 default 120:
        "How long after a right passcode an FTP client at the same address may log on with the same passcode, or the same password, again; 0 prohibits it.",
        "File managers open several connections with what they were given once; two minutes are enough for that.";
    ftp_window_uses "ftp.window-uses" "log-ons" 1..=1000 default 20:
        "How many further log-ons ftp.window covers.",
        "A file manager opens up to ten connections at a time.";
    ftp_host_checks "ftp.host-checks" "passwords" 1..=24 default 2:
        "How many passwords of one user in a row, not accepted by the host, FTP passes on to it at once; those from networks without a passcode are counted apart.",
        "Below QMAXSIGN, which is 3 by default: whoever guesses comes to a stop before the host disables the profile.";
    ftp_host_checks_window "ftp.host-checks-window" "minutes" 0..=10080 default 1440:
        "How long FTP passes on no further password of a user after the last one, once ftp.host-checks in a row were not accepted; 0: until the host accepts one, or sallyport user unlock.",
        "Hosts count refusals in a row without a time; one more a day gives time to notice who is guessing, and lets the owner in some day.";
    ftp_refusal_time "ftp.refusal-time" "milliseconds" 0..=5000 default 1000:
        "How long a refused FTP log-on takes at least, whatever the reason.",
        "A refusal that takes the same time for unknown users, locked users and wrong passcodes tells nothing; longer than a host takes to refuse.";
}

/// The setting of that name.
///
/// # Errors
/// Where there is none.
pub fn find(name: &str) -> Result<&'static Setting, SettingError> {
    SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| SettingError::Unknown(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Block {
        text.parse().unwrap()
    }

    fn network(id: i64, text: &str, treatment: Treatment) -> Network {
        Network { id, service: Service::Telnet, block: block(text), treatment, comment: String::new() }
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
            assert_eq!(
                networks.find(Service::Telnet, source.parse().unwrap()).map(|rule| rule.id),
                expected,
                "{source}"
            );
        }
        let ids = |rule: usize| networks.conflicts(&networks.all()[rule]).map(|other| other.id).collect::<Vec<_>>();
        assert_eq!(ids(0), [2, 3]);
        assert_eq!(ids(3), [5]);
        assert_eq!(ids(5), [0; 0], "rules of another service do not overlap");
    }

    #[test]
    fn settings_table_is_complete_and_sound() {
        let defaults = Settings::default();
        for setting in SETTINGS {
            assert_eq!(defaults.value(setting.name).unwrap(), setting.default_value(), "{}", setting.name);
            assert!(setting.meaning.ends_with('.') && setting.reason.ends_with('.'), "{}", setting.name);
            let mut settings = Settings::default();
            settings.set(setting.name, &setting.default_value()).unwrap();
            assert_eq!(settings, defaults);
            if let Kind::Number { min, max, .. } = setting.kind {
                settings.set(setting.name, &min.to_string()).unwrap();
                settings.set(setting.name, &max.to_string()).unwrap();
                assert!(settings.set(setting.name, &(u64::from(max) + 1).to_string()).is_err());
                if min > 0 {
                    assert!(settings.set(setting.name, &(min - 1).to_string()).is_err());
                }
            }
            assert!(settings.set(setting.name, "x").is_err());
        }
        assert_eq!(
            Settings::default().set("passcode.digits", "5").unwrap_err().to_string(),
            "passcode.digits takes 6-12 digits"
        );
        assert!(matches!(Settings::default().set("nonsense", "1"), Err(SettingError::Unknown(_))));
        let names: std::collections::HashSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), SETTINGS.len());
    }
}
