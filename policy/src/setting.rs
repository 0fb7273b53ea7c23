//! Settings, each with unit, range, default and reason.
//!
//! One table, [`SETTINGS`]: the command line, the documentation and the store's checks read it.

use core::str::FromStr;

use crate::alert::Muted;
use crate::contact::Language;
use crate::factor::Assurance;

/// Whether decisions bind, the strictest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Enforcement {
    /// Nobody is asked for anything.
    Off,
    /// Everything is computed and recorded, and everybody is let through.
    Observe,
    /// Decisions bind.
    #[default]
    Enforce,
}

impl FromStr for Enforcement {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "observe" => Ok(Self::Observe),
            "enforce" => Ok(Self::Enforce),
            _ => Err("enforcement is off, observe or enforce"),
        }
    }
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

/// Who may enrol without an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Enrolment {
    /// Nobody, but those whom a rule of their own permits it.
    #[default]
    Off,
    /// Users whom an administrator has registered.
    Registered,
    /// Everybody whose password the host accepts; whoever enrols is registered with it.
    Anyone,
}

impl Enrolment {
    const NAMES: [&'static str; 3] = ["off", "registered", "anyone"];

    /// The name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Registered => "registered",
            Self::Anyone => "anyone",
        }
    }
}

impl FromStr for Enrolment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Off, Self::Registered, Self::Anyone]
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or("enrolment is off, registered or anyone")
    }
}

/// What keeps somebody who has stolen a password from enrolling in its owner's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EnrolmentGuard {
    /// A ticket that an administrator hands out.
    #[default]
    Ticket,
    /// The network: only from those marked for enrolment.
    Network,
    /// An administrator approves of what was enrolled before it counts.
    Approval,
}

impl EnrolmentGuard {
    const NAMES: [&'static str; 3] = ["ticket", "network", "approval"];

    /// The name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Network => "network",
            Self::Approval => "approval",
        }
    }
}

impl FromStr for EnrolmentGuard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Ticket, Self::Network, Self::Approval]
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or("enrolment is guarded by ticket, network or approval")
    }
}

/// Whether an emergency override takes two operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approval {
    /// One is enough.
    #[default]
    One,
    /// Another one has to approve.
    Two,
}

impl Approval {
    const NAMES: [&'static str; 2] = ["one", "two"];

    /// The name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }
}

impl FromStr for Approval {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "one" => Ok(Self::One),
            "two" => Ok(Self::Two),
            _ => Err("one or two operators"),
        }
    }
}

impl FromStr for Unnamed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "refuse" => Ok(Self::Refuse),
            "exempt" => Ok(Self::Exempt),
            _ => Err("unnamed is refuse or exempt"),
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
    /// None, or several of these words with commas between them; none is the default.
    List {
        /// The words.
        values: &'static [&'static str],
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
    /// The unit, or nothing for words.
    #[must_use]
    pub const fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Choice { .. } | Kind::List { .. } => "",
            Kind::Number { unit, .. } => unit,
        }
    }

    /// The range: `6-10`, or `off, observe, enforce`.
    #[must_use]
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Choice { values, .. } => values.join(", "),
            Kind::List { values } => format!("none, or with commas between them: {}", values.join(", ")),
            Kind::Number { min, max, .. } => format!("{min}-{max}"),
        }
    }

    /// The default, as text.
    #[must_use]
    pub fn default_value(&self) -> String {
        match self.kind {
            Kind::Choice { default, .. } => default.to_owned(),
            Kind::List { .. } => "none".to_owned(),
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

macro_rules! settings {
    (
        choices { $($choice:ident $cname:literal $ctype:ty, $cdefault:literal: $cmeaning:literal, $creason:literal;)* }
        lists { $($list:ident $lname:literal $ltype:ty: $lmeaning:literal, $lreason:literal;)* }
        $($field:ident $name:literal $unit:literal $min:literal..=$max:literal default $default:literal: $meaning:literal, $reason:literal;)*
    ) => {
        /// The values of all settings.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $(#[doc = $cmeaning] pub $choice: $ctype,)*
            $(#[doc = $lmeaning] pub $list: $ltype,)*
            $(#[doc = $meaning] pub $field: u32,)*
        }

        /// All settings there are.
        pub const SETTINGS: &[Setting] = &[
            $(Setting {
                name: $cname,
                kind: Kind::Choice { values: &<$ctype>::NAMES, default: $cdefault },
                meaning: $cmeaning,
                reason: $creason,
            },)*
            $(Setting {
                name: $lname,
                kind: Kind::List { values: &<$ltype>::NAMES },
                meaning: $lmeaning,
                reason: $lreason,
            },)*
            $(Setting {
                name: $name,
                kind: Kind::Number { unit: $unit, min: $min, max: $max, default: $default },
                meaning: $meaning,
                reason: $reason,
            },)*
        ];

        impl Default for Settings {
            fn default() -> Self {
                Self { $($choice: <$ctype>::default(),)* $($list: <$ltype>::default(),)* $($field: $default,)* }
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
                    $($cname => self.$choice = text.trim().parse().map_err(|_| SettingError::range(setting))?,)*
                    $($lname => self.$list = text.trim().parse().map_err(|_| SettingError::range(setting))?,)*
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
                    $($cname => Ok(self.$choice.as_str().to_owned()),)*
                    $($lname => Ok(self.$list.to_string()),)*
                    $($name => Ok(self.$field.to_string()),)*
                    _ => Err(SettingError::Unknown(name.to_owned())),
                }
            }
        }
    };
}

settings! {
    choices {
        enforcement "enforcement" Enforcement, "enforce":
            "Whether decisions bind: enforce; observe computes and records all of them but lets everybody through; off asks nobody. `sallyport mode` sets it apart for a service or a host.",
            "A gateway that lets people in by default protects nothing. observe is for the weeks before the switch-over.";
        unnamed "unnamed" Unnamed, "refuse":
            "Whether somebody whom the sign-on did not name (a printer session, a workstation entry with a default user, a sign-on display that the gateway does not know) is let in from an exempt network.",
            "Nobody can tell whether that is a user who is disabled, locked or always to be asked.";
        language "language" Language, "en":
            "The language of messages to users who have none of their own (`sallyport user language`), and to operators.",
            "English is understood where nothing is known of a user.";
        assurance "assurance" Assurance, "weak":
            "What a factor must at least be worth: weak takes all, restricted leaves out e-mail, standard leaves out SMS as well.",
            "E-mail is what everybody has at first. NIST SP 800-63B does not accept it and restricts SMS; OWASP ASVS level 3 forbids both.";
        enrolment "enrolment" Enrolment, "off":
            "Who may enrol at the sign-on without a factor, and maintain contacts later: nobody, registered users, or anyone whose password the host accepts. Users and networks can be set apart.",
            "With a stolen password a thief could enrol his own telephone.";
        enrolment_guard "enrolment.guard" EnrolmentGuard, "ticket":
            "What enrolling takes besides the password: a ticket from an administrator, a network marked for it, or an administrator's approval of what was enrolled.",
            "A ticket binds the enrolment to a person whom the administrator has met.";
        emergency_approval "emergency.approval" Approval, "one":
            "Whether an emergency override takes one operator or two; with two, it counts once a second one has approved.",
            "Small sites have one operator. PCI DSS 8.5.1 wants exceptions authorised by management: set two where there are two.";
    }
    lists {
        alert_muted "alert.muted" Muted:
            "Which kinds of alerts are not raised. What is muted still stands in the audit as what it is; muting anything raises protection-lowered.",
            "Each kind tells of something that an operator can act on.";
    }
    passcode_digits "passcode.digits" "digits" 6..=10 default 6:
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
        "How many passcodes are sent to one address or number within send.window, whoever's contact it is; counted apart like send.per-user. Other messages are counted by themselves, against the same number; so are all codes that confirm contacts of one user.",
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
        "From which wrong passcode at one challenge on the user, and the operators, are told that somebody knows the password; the user at most once in ten minutes, operators as alert.pause says.",
        "Whoever has a stolen password often tries no more than once; raise it where typing errors make too many messages.";
    alert_rejections "alert.rejections" "rejections" 1..=10000 default 10:
        "How many refusals of one source address, or of one user, within alert.window raise an alert: of sign-ons, passcodes, connections, and passwords that the host refused.",
        "Three sign-ons that go wrong from beginning to end; a site behind one address may need more. With 1 the first refusal is told at once, and those after it as alert.pause says.";
    alert_window "alert.window" "minutes" 1..=60 default 10:
        "The time over which alert.rejections counts, to a thirtieth of it.",
        "Like send.window; who guesses more slowly meets the lockout.";
    alert_pause "alert.pause" "minutes" 1..=1440 default 30:
        "How long an alert of the same kind about the same user, address or thing is not raised again; what happens meanwhile is counted, and told when it is over. For outages and emergencies it is ten minutes at most; protection-lowered has none.",
        "An attack that goes on is told of twice an hour, not with each try.";
    alert_most "alert.most" "alerts" 1..=1000 default 5:
        "How many alerts of one kind are raised within alert.pause; what is beyond that comes in one alert that sums it up. Outages, emergencies and protection-lowered are not counted: each is told.",
        "Whoever attacks from a thousand addresses must not bury what matters under a thousand mails.";
    alert_node_minutes "alert.node-minutes" "minutes" 1..=1440 default 5:
        "After how long without a sign of life a node that did not stop by itself is said to be down; another node on the same store says so.",
        "A node gives four a minute; five minutes outlast a restart of the machine's disks or of the process.";
    send_pause "send.pause" "seconds" 0..=300 default 20:
        "How long F5=Resend does nothing after a passcode was sent.",
        "Mail needs some seconds; impatience should not use up the budget.";
    repeat_minutes "repeat.minutes" "minutes" 0..=720 default 0:
        "How long after a right passcode the same user may sign on at a terminal again from the same address to the same host without another one; 0 prohibits it.",
        "Prohibited by default: one address may stand for many people. IBM i 7.6 allows 720 minutes, and so does this.";
    repeat_uses "repeat.uses" "sign-ons" 1..=1000 default 10:
        "How many sign-ons at terminals one repeat window covers.",
        "A person opens a handful of sessions; a program that opens hundreds should be seen.";
    ftp_repeat_minutes "ftp.repeat-minutes" "minutes" 0..=720 default 0:
        "The same as repeat.minutes for FTP, whose log-ons have repeat windows of their own.",
        "As for terminals; ftp.window lets the connections of one file manager pass without it.";
    ftp_repeat_uses "ftp.repeat-uses" "log-ons" 1..=1000 default 50:
        "How many log-ons by FTP one repeat window covers.",
        "A client opens a connection for each transfer, so that this goes faster than at terminals.";
    emergency_hours "emergency.hours" "hours" 1..=24 default 4:
        "How long an emergency override may last at most.",
        "Long enough for a shift; C-30 and PCI DSS 8.5.1 want exceptions limited in time.";
    enrolment_ticket_hours "enrolment.ticket-hours" "hours" 1..=336 default 72:
        "How long an enrolment ticket counts.",
        "Enough for a letter or a walk to the office, too short to be found in a drawer.";
    lockout_user_failures "lockout.user-failures" "failures" 1..=100 default 10:
        "After how many failures (wrong passcodes and passwords that the host refused) in a row a user is locked everywhere.",
        "PCI DSS 8.3.4: no more than ten.";
    lockout_user_minutes "lockout.user-minutes" "minutes" 1..=1440 default 30:
        "How long the first lock of a user lasts; each further one is twice as long, up to a day.",
        "PCI DSS 8.3.4: at least 30 minutes.";
    lockout_user_ceiling "lockout.user-ceiling" "failures" 10..=100 default 100:
        "After how many wrong passcodes in a row a user stays locked until `sallyport user unlock`; where they all came from one source address, for that address. Passwords that the host refused do not count here.",
        "NIST SP 800-63B has 100 for one account. Here one source address gives lockout.pair-failures of them at most, so that strangers in order code-first lock nobody out for good from one address; the rest of its 100 count for that address only. From 20 addresses, each of which must wait out its locks, 2,000 are evaluated before the user is locked everywhere. Anybody can have the host refuse passwords, which must not lock anybody out for good.";
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
            "passcode.digits takes 6-10 digits"
        );
        assert!(matches!(Settings::default().set("nonsense", "1"), Err(SettingError::Unknown(_))));
        let names: std::collections::HashSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), SETTINGS.len());
    }
}
