//! Service accounts: unattended jobs that are let in without a passcode, by user, service, network, hours and certificate.
//!
//! ```text
//!   a rule lets in where   user, service    are the same
//!                          source           lies in the block
//!                          local time       lies in the schedule, in the gateway's time zone
//!                          certificate      is the one named, where one is named
//! ```
//!
//! Every condition must hold; what is not known (no certificate was shown, no user was named) does not hold.

use core::fmt;
use core::str::FromStr;

use jiff::civil::{DateTime, Weekday};

use crate::attempt::{Attempt, Service, User};
use crate::rule::Block;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// The SHA-256 of a client's certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint whose bytes these are.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    /// Reads 64 hexadecimal digits; `sha256:` in front and colons between, as openssl prints them, are skipped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected the 64 hexadecimal digits of `openssl x509 -fingerprint -sha256`";
        let text = text.trim();
        let digits = text
            .get(..7)
            .filter(|label| label.eq_ignore_ascii_case("sha256:"))
            .map_or(text, |label| text.get(label.len()..).unwrap_or_default());
        let mut bytes = [0; 32];
        let mut digits = digits.chars().filter(|character| *character != ':').map(|character| character.to_digit(16));
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else { return Err(EXPECTED) };
            *byte = u8::try_from(high << 4 | low).map_err(|_| EXPECTED)?;
        }
        if digits.next().is_some() { Err(EXPECTED) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The days of the week, in the order of `Days`' bits and of the names.
const WEEK: [(Weekday, &str); 7] = [
    (Weekday::Monday, "mon"),
    (Weekday::Tuesday, "tue"),
    (Weekday::Wednesday, "wed"),
    (Weekday::Thursday, "thu"),
    (Weekday::Friday, "fri"),
    (Weekday::Saturday, "sat"),
    (Weekday::Sunday, "sun"),
];

/// Days of the week; never none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Days([bool; 7]);

impl Days {
    /// Every day.
    pub const ALL: Self = Self([true; 7]);

    /// Whether `day` is one of them.
    #[must_use]
    pub fn contains(self, day: Weekday) -> bool {
        WEEK.iter().zip(self.0).any(|((known, _), on)| on && *known == day)
    }
}

impl FromStr for Days {
    type Err = &'static str;

    /// Reads `mon-fri`, `sat,sun`, `fri-mon`, `daily`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected days such as mon-fri, sat,sun or daily";
        let text = text.trim().to_ascii_lowercase();
        if text == "daily" {
            return Ok(Self::ALL);
        }
        let index = |name: &str| WEEK.iter().position(|(_, known)| *known == name.trim()).ok_or(EXPECTED);
        let mut days = [false; 7];
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (index(first)?, index(last)?);
            // A span goes over the end of the week where its end comes first.
            let (mut at, mut more) = (first, true);
            while more {
                if let Some(day) = days.get_mut(at) {
                    *day = true;
                }
                more = at != last;
                at = if at >= 6 { 0 } else { at.saturating_add(1) };
            }
        }
        Ok(Self(days))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.pad("daily");
        }
        let mut spans: Vec<(&str, &str)> = Vec::new();
        let mut open = false;
        for ((_, name), on) in WEEK.iter().zip(self.0) {
            match spans.last_mut() {
                Some(span) if on && open => span.1 = name,
                Some(_) | None if on => spans.push((name, name)),
                Some(_) | None => {}
            }
            open = on;
        }
        let spans = spans.iter().map(
            |(first, last)| {
                if first == last { (*first).to_owned() } else { format!("{first}-{last}") }
            },
        );
        f.pad(&spans.collect::<Vec<_>>().join(","))
    }
}

/// A span of the day, in minutes; where it ends before it starts, it goes on until that time of the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hours {
    from: u16,
    until: u16,
}

impl Hours {
    /// The whole day.
    pub const ALL: Self = Self { from: 0, until: DAY };

    /// When it begins and ends, in minutes of the day.
    #[must_use]
    pub const fn edges(self) -> (u16, u16) {
        (self.from, self.until)
    }
}

impl FromStr for Hours {
    type Err = &'static str;

    /// Reads `06:00-18:30`, `22:00-05:00`, `00:00-24:00`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected hours such as 06:00-18:30, 22:00-05:00 or 00:00-24:00";
        let minutes = |text: &str| -> Option<u16> {
            let (hour, minute) = text.trim().split_once(':')?;
            if hour.len() > 2 || minute.len() != 2 || !(hour.bytes().chain(minute.bytes())).all(|b| b.is_ascii_digit())
            {
                return None;
            }
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            let minutes = hour.checked_mul(60)?.checked_add(minute)?;
            (minute < 60 && minutes <= DAY).then_some(minutes)
        };
        let (from, until) = text.split_once('-').ok_or(EXPECTED)?;
        let (from, until) = (minutes(from).ok_or(EXPECTED)?, minutes(until).ok_or(EXPECTED)?);
        if from == until || from == DAY || until == 0 {
            return Err(EXPECTED);
        }
        Ok(Self { from, until })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        f.pad(&format!("{}-{}", clock(self.from), clock(self.until)))
    }
}

/// On which days and at which hours; the part of a span behind midnight belongs to the day on which it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// The days.
    pub days: Days,
    /// The hours of each of them.
    pub hours: Hours,
}

impl Schedule {
    /// Whether it covers `local`, a time in the gateway's zone.
    #[must_use]
    pub fn covers(&self, local: DateTime) -> bool {
        let minute = i32::from(local.hour()).saturating_mul(60).saturating_add(i32::from(local.minute()));
        let (from, until) = (i32::from(self.hours.from), i32::from(self.hours.until));
        let today = self.days.contains(local.weekday());
        if from < until {
            return today && from <= minute && minute < until;
        }
        let yesterday = self.days.contains(local.weekday().previous());
        (today && from <= minute) || (yesterday && minute < until)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} {}", self.days, self.hours))
    }
}

/// A rule that lets an unattended job in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its number in the store.
    pub id: i64,
    /// Whose job it is.
    pub user: User,
    /// By which service it comes.
    pub service: Service,
    /// From where.
    pub block: Block,
    /// When, in the gateway's time zone.
    pub schedule: Schedule,
    /// Its certificate, where it must show one.
    pub certificate: Option<Fingerprint>,
    /// Why the rule is there, in the administrator's words.
    pub comment: String,
}

/// What keeps a rule from letting somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// The rule is about somebody else, or another service.
    Other,
    /// The source lies elsewhere.
    Network,
    /// It is not the time.
    Hours,
    /// No certificate was shown, or another one.
    Certificate,
}

impl Miss {
    /// The word for administrators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Other => "other user or service",
            Self::Network => "network",
            Self::Hours => "hours",
            Self::Certificate => "certificate",
        }
    }
}

impl ServiceAccount {
    /// Whether the rule lets `attempt` in.
    ///
    /// # Errors
    /// The first condition that does not hold.
    pub fn admits(&self, attempt: &Attempt) -> Result<(), Miss> {
        if attempt.user.as_ref() != Some(&self.user) || attempt.service != self.service {
            Err(Miss::Other)
        } else if !self.block.contains(attempt.source) {
            Err(Miss::Network)
        } else if !self.schedule.covers(attempt.local) {
            Err(Miss::Hours)
        } else if self.certificate.is_some() && self.certificate != attempt.certificate {
            Err(Miss::Certificate)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(days: &str, hours: &str) -> Schedule {
        Schedule { days: days.parse().unwrap(), hours: hours.parse().unwrap() }
    }

    #[test]
    fn days_read_and_print() {
        for (text, printed) in [
            ("daily", "daily"),
            ("mon-sun", "daily"),
            ("Mon-Fri", "mon-fri"),
            ("sat, sun", "sat-sun"),
            ("fri-mon", "mon,fri-sun"),
            ("wed", "wed"),
            ("mon,wed,fri", "mon,wed,fri"),
        ] {
            let days: Days = text.parse().unwrap();
            assert_eq!(days.to_string(), printed, "{text}");
            assert_eq!(days.to_string().parse::<Days>().unwrap(), days);
        }
        for text in ["", "monday", "mon-", "mon,,tue", "8"] {
            assert!(text.parse::<Days>().is_err(), "{text}");
        }
    }

    #[test]
    fn hours_read_and_print() {
        for (text, printed) in
            [("6:00-18:30", "06:00-18:30"), ("22:00-05:00", "22:00-05:00"), ("00:00-24:00", "00:00-24:00")]
        {
            assert_eq!(text.parse::<Hours>().unwrap().to_string(), printed);
        }
        for text in
            ["", "6-18", "06:00-06:00", "24:00-06:00", "22:00-00:00", "06:60-07:00", "25:00-26:00", "+6:00-07:00"]
        {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }

    #[test]
    fn schedules_cover() {
        // 2026-11-20 is a Friday.
        for (days, hours, time, expected) in [
            ("daily", "00:00-24:00", "2026-11-20T00:00", true),
            ("daily", "00:00-24:00", "2026-11-20T23:59:59", true),
            ("mon-fri", "06:00-18:00", "2026-11-20T05:59:59", false),
            ("mon-fri", "06:00-18:00", "2026-11-20T06:00", true),
            ("mon-fri", "06:00-18:00", "2026-11-20T17:59:59", true),
            ("mon-fri", "06:00-18:00", "2026-11-20T18:00", false),
            ("mon-fri", "06:00-18:00", "2026-11-21T12:00", false),
            ("fri", "22:00-05:00", "2026-11-20T21:59", false),
            ("fri", "22:00-05:00", "2026-11-20T22:00", true),
            ("fri", "22:00-05:00", "2026-11-21T04:59", true),
            ("fri", "22:00-05:00", "2026-11-21T05:00", false),
            ("fri", "22:00-05:00", "2026-11-20T04:59", false),
            ("sun", "23:00-01:00", "2026-11-23T00:30", true),
        ] {
            let covered = schedule(days, hours).covers(time.parse().unwrap());
            assert_eq!(covered, expected, "{days} {hours} {time}");
        }
    }

    #[test]
    fn fingerprints_read_and_print() {
        let printed = format!("sha256:{}", "0a".repeat(32));
        for text in [printed.clone(), "0A".repeat(32), vec!["0a"; 32].join(":"), format!("SHA256:{}", "0a".repeat(32))]
        {
            assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), printed, "{text}");
        }
        for text in ["", "0a", &"0a".repeat(33), &"0g".repeat(32), "é0aaaaaaaa"] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in any::<String>()) {
            let _ = (text.parse::<Days>(), text.parse::<Hours>(), text.parse::<Fingerprint>());
        }

        #[test]
        fn a_schedule_and_its_opposite_share_no_minute(from in 1_u16..1440, until in 1_u16..1440, minute in 0_i8..60, hour in 0_i8..24) {
            prop_assume!(from != until);
            let local = jiff::civil::date(2026, 11, 20).at(hour, minute, 0, 0);
            let (one, other) = (Hours { from, until }, Hours { from: until, until: from });
            let covers = |hours| Schedule { days: Days::ALL, hours }.covers(local);
            prop_assert!(covers(one) != covers(other));
        }
    }
}
