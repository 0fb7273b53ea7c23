//! All rules as one JSON document: what a version keeps, what is exported and imported, and what a difference is made of.
//!
//! ```text
//!   {"sallyport_rules":1, "settings":{…}, "modes":[…], "networks":[…], "services":[…], "users":{…}}
//! ```
//!
//! Settings that are not in it have their default; networks, modes, service accounts and overrides that are not in it are not there.
//! Whether a user is registered or disabled, contacts, factors, texts of messages and emergency overrides are no rules: none of them
//! comes back with an old version.
//!
//! Invariants: one set of rules has one text. What cannot be read is an error that names its place: a condition left out could open the gate.

mod line;
mod lowered;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use policy::setting::Settings;
use policy::{Factors, Logging, Networks, Rules, Standing, User};
use serde::{Deserialize, Serialize};

pub use line::{ModeLine, NetworkLine, ServiceLine, UserLine};
pub use lowered::lowered;

/// The number of the form.
const FORM: u32 = 1;

/// All rules, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rulebook {
    /// The number of the form: 1.
    pub sallyport_rules: u32,
    /// Settings that were set, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Where something else than the setting `enforcement` counts.
    #[serde(default)]
    pub modes: Vec<ModeLine>,
    /// Networks.
    #[serde(default)]
    pub networks: Vec<NetworkLine>,
    /// Service accounts.
    #[serde(default)]
    pub services: Vec<ServiceLine>,
    /// Overrides, by user.
    #[serde(default)]
    pub users: BTreeMap<String, UserLine>,
}

impl Default for Rulebook {
    fn default() -> Self {
        Self {
            sallyport_rules: FORM,
            settings: BTreeMap::new(),
            modes: Vec::new(),
            networks: Vec::new(),
            services: Vec::new(),
            users: BTreeMap::new(),
        }
    }
}

/// What is laid down for one user, read: of a [`Standing`], what is no fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Override {
    /// Whether the user is challenged even from exempt networks.
    pub always: bool,
    /// Which factors may be used.
    pub allowed: Factors,
    /// Whether the user may enrol.
    pub enrolment: Option<bool>,
    /// Minutes of repeat windows.
    pub repeat: Option<u32>,
    /// Which audit entries are passed on.
    pub logging: Option<Logging>,
}

/// One of the things that can be laid down for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// [`Override::always`].
    Always,
    /// [`Override::allowed`].
    Factors,
    /// [`Override::enrolment`].
    Enrolment,
    /// [`Override::repeat`].
    Repeat,
    /// [`Override::logging`].
    Logging,
}

impl Default for Override {
    fn default() -> Self {
        Self { always: false, allowed: Factors::ALL, enrolment: None, repeat: None, logging: None }
    }
}

impl Override {
    /// What is laid down in `standing`.
    #[must_use]
    pub const fn of(standing: &Standing) -> Self {
        let Standing { always, allowed, enrolment, repeat, logging, .. } = *standing;
        Self { always, allowed, enrolment, repeat, logging }
    }

    /// `before` with `fields` of this.
    #[must_use]
    pub fn over(self, before: Self, fields: &[Field]) -> Self {
        let mut new = before;
        for field in fields {
            match field {
                Field::Always => new.always = self.always,
                Field::Factors => new.allowed = self.allowed,
                Field::Enrolment => new.enrolment = self.enrolment,
                Field::Repeat => new.repeat = self.repeat,
                Field::Logging => new.logging = self.logging,
            }
        }
        new
    }

    /// `standing` with this in place of what was laid down.
    #[must_use]
    pub const fn onto(self, standing: Standing) -> Standing {
        let Self { always, allowed, enrolment, repeat, logging } = self;
        Standing { always, allowed, enrolment, repeat, logging, ..standing }
    }
}

/// What a document says, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Laid {
    /// The rules. A network or service account without a number has one below 0.
    pub rules: Rules,
    /// What is laid down for users.
    pub users: BTreeMap<User, Override>,
}

/// Why a document is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON, or not of this form.
    #[error("line {line}, column {column}: {place}{what}")]
    Form {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// The path in the document.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// A value is not taken.
    #[error("{place}: {what}")]
    Value {
        /// The path in the document.
        place: String,
        /// What was expected.
        what: String,
    },
}

impl Fault {
    fn value(place: impl Into<String>, what: impl ToString) -> Self {
        Self::Value { place: place.into(), what: what.to_string() }
    }
}

/// One thing that differs between two sets of rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which rule, setting or override.
    pub what: String,
    /// What it said; `None`: it was not there, or the default counted.
    pub before: Option<String>,
    /// What it says; `None`: it is not there any more, or the default counts.
    pub after: Option<String>,
}

impl Difference {
    /// As a line: `+` new, `-` gone, `~` changed.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { what, before, after } = self;
        match (before, after) {
            (Some(before), Some(after)) => format!("~ {what}: {before} -> {after}"),
            (None, Some(after)) => format!("+ {what}: {after}"),
            (Some(before), None) => format!("- {what}: {before}"),
            (None, None) => String::new(),
        }
    }
}

impl Rulebook {
    /// What these rules are as a document: `settings` are those that were set.
    #[must_use]
    pub fn of(settings: BTreeMap<String, String>, rules: &Rules, users: &BTreeMap<User, Override>) -> Self {
        Self::all_of(settings, rules, users).merged()
    }

    /// The same, where several spellings of a host stay apart.
    fn all_of(settings: BTreeMap<String, String>, rules: &Rules, users: &BTreeMap<User, Override>) -> Self {
        let mut book = Self {
            settings,
            modes: rules.modes.iter().map(ModeLine::of).collect(),
            networks: rules.networks.all().iter().map(NetworkLine::of).collect(),
            services: rules.accounts.iter().map(ServiceLine::of).collect(),
            users: users
                .iter()
                .filter(|(_, laid)| **laid != Override::default())
                .map(|(user, laid)| (user.to_string(), UserLine::of(laid)))
                .collect(),
            ..Self::default()
        };
        book.modes.sort();
        book
    }

    /// Several spellings of a host are one: of rules for the same the one that counts stays.
    fn merged(mut self) -> Self {
        self.modes.sort_by_key(|line| (same(&line.key()), Reverse(line.strictness())));
        self.modes.dedup_by_key(|line| same(&line.key()));
        self.modes.sort();
        let rank = |line: &NetworkLine| (Reverse(line.strictness()), line.number.unwrap_or(i64::MAX));
        let mut first = BTreeMap::new();
        for line in &self.networks {
            let known = first.entry(same(&line.key())).or_insert_with(|| rank(line));
            *known = rank(line).min(*known);
        }
        self.networks.retain(|line| first.get(&same(&line.key())) == Some(&rank(line)));
        self
    }

    /// Reads a document that comes from elsewhere. However it is written, what is read is the one text for its rules.
    ///
    /// # Errors
    /// Where it is none, says what no rule can, or has two rules for the same.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let book = Self::written(text)?;
        book.is_numbered()?;
        let book = book.canonical()?;
        book.is_single()?;
        Ok(book)
    }

    /// Reads a document that the store kept, of whatever time.
    ///
    /// # Errors
    /// Where it is none, or says what no rule can.
    pub fn kept(text: &str) -> Result<Self, Fault> {
        Self::written(text)?.canonical().map(Self::merged)
    }

    /// A document as it is written.
    fn written(text: &str) -> Result<Self, Fault> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let mut track = serde_path_to_error::Track::new();
        let book = Self::deserialize(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
        let read = book.and_then(|book| reader.end().map(|()| book));
        read.map_err(|error| {
            let path = track.path().to_string();
            // serde_json names the place by itself, at the end.
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default().to_owned();
            let place = if path == "." { String::new() } else { format!("{path}: ") };
            Fault::Form { line: error.line(), column: error.column(), place, what }
        })
    }

    /// The one way to write these rules.
    fn canonical(&self) -> Result<Self, Fault> {
        let Laid { rules, users } = self.read()?;
        let mut settings = BTreeMap::new();
        for name in self.settings.keys() {
            let value = rules.settings.value(name);
            settings.insert(name.clone(), value.map_err(|error| Fault::value(format!("settings.{name}"), error))?);
        }
        Ok(Self::all_of(settings, &rules, &users))
    }

    /// Has hosts be called what `name` calls them, whatever their case; those that it does not know are given back.
    pub fn name_hosts(&mut self, name: impl Fn(&str) -> Option<String>) -> BTreeSet<String> {
        let modes = self.modes.iter_mut().map(|line| &mut line.host);
        let hosts = modes.chain(self.networks.iter_mut().map(|line| &mut line.host));
        let mut unknown = BTreeSet::new();
        for host in hosts.filter(|host| !host.is_empty()) {
            match name(host) {
                Some(known) => *host = known,
                None => _ = unknown.insert(host.clone()),
            }
        }
        *self = std::mem::take(self).merged();
        unknown
    }

    /// As JSON: the one text for these rules.
    #[must_use]
    pub fn text(&self) -> String {
        // Strings, numbers and maps of strings: there is nothing that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What it says, read.
    ///
    /// # Errors
    /// Where a value is not taken.
    pub fn read(&self) -> Result<Laid, Fault> {
        if self.sallyport_rules != FORM {
            return Err(Fault::value("sallyport_rules", format_args!("this program reads form {FORM}")));
        }
        let mut settings = Settings::default();
        for (name, value) in &self.settings {
            settings.set(name, value).map_err(|error| Fault::value(format!("settings.{name}"), error))?;
        }
        let at = |list: &str, index: usize, (field, what): line::Wrong| {
            Fault::value(format!("{list}[{index}].{field}"), what)
        };
        let (mut modes, mut networks, mut accounts) = (Vec::new(), Vec::new(), Vec::new());
        for (index, line) in self.modes.iter().enumerate() {
            modes.push(line.read().map_err(|wrong| at("modes", index, wrong))?);
        }
        for (index, line) in self.networks.iter().enumerate() {
            let number = line.number.unwrap_or_else(|| unnumbered(index));
            networks.push(line.read(number).map_err(|wrong| at("networks", index, wrong))?);
        }
        for (index, line) in self.services.iter().enumerate() {
            let number = line.number.unwrap_or_else(|| unnumbered(index));
            accounts.push(line.read(number).map_err(|wrong| at("services", index, wrong))?);
        }
        let mut users = BTreeMap::new();
        for (name, line) in &self.users {
            let user: User = name.parse().map_err(|error| Fault::value(format!("users.{name}"), error))?;
            let laid = line.read().map_err(|(field, what)| Fault::value(format!("users.{name}.{field}"), what))?;
            if users.insert(user, laid).is_some() {
                return Err(Fault::value(format!("users.{name}"), "the user stands there twice"));
            }
        }
        Ok(Laid { rules: Rules { settings, networks: Networks::new(networks), accounts, modes }, users })
    }

    /// No two lines are for the same.
    fn is_single(&self) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        for (key, _) in self.pairs() {
            if !seen.insert(same(&key)) {
                return Err(Fault::value(key, "it stands there twice"));
            }
        }
        Ok(())
    }

    /// No two lines have the same number.
    fn is_numbered(&self) -> Result<(), Fault> {
        let networks: Vec<_> = self.networks.iter().filter_map(|line| line.number).collect();
        let services: Vec<_> = self.services.iter().filter_map(|line| line.number).collect();
        for numbers in [networks, services] {
            let mut seen = BTreeSet::new();
            for number in numbers {
                if number < 1 || !seen.insert(number) {
                    return Err(Fault::value("number", format_args!("{number} is no number, or stands there twice")));
                }
            }
        }
        Ok(())
    }

    /// Each rule by what it is about, and what it says.
    fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        let settings = self.settings.iter().map(|(name, value)| (format!("setting {name}"), value.clone()));
        let modes = self.modes.iter().map(|line| (line.key(), line.enforcement.clone()));
        let networks = self.networks.iter().map(|line| (line.key(), line.says()));
        let services = self.services.iter().map(|line| (line.key(), line.says()));
        let users = self.users.iter().map(|(name, line)| (format!("user {name}"), line.says()));
        settings.chain(modes).chain(networks).chain(services).chain(users)
    }

    /// What differs in `other`, which comes after.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<Difference> {
        let (mut names, mut sides) = (BTreeMap::new(), [BTreeMap::new(), BTreeMap::new()]);
        for (side, book) in sides.iter_mut().zip([self, other]) {
            for (key, says) in book.pairs() {
                side.insert(same(&key), says);
                names.insert(same(&key), key);
            }
        }
        let [before, after] = sides;
        names
            .into_iter()
            .map(|(same, what)| Difference {
                what,
                before: before.get(&same).cloned(),
                after: after.get(&same).cloned(),
            })
            .filter(|difference| difference.before != difference.after)
            .collect()
    }

    /// Adds a network rule, in place of one that is about the same, however it is written.
    ///
    /// # Errors
    /// The field that no rule can have, and why.
    pub fn put_network(&mut self, line: &NetworkLine) -> Result<(), (&'static str, String)> {
        let mut line = NetworkLine::of(&line.read(0)?);
        let key = same(&line.key());
        match self.networks.iter_mut().find(|known| same(&known.key()) == key) {
            Some(known) => {
                line.number = known.number;
                *known = line;
            }
            None => self.networks.push(line),
        }
        Ok(())
    }

    /// The same rules with the numbers that `known` gives them: a rule that is about the same has the same number, a new one none.
    #[must_use]
    pub fn numbered_as(&self, known: &Self) -> Self {
        let mut book = self.clone();
        let networks: BTreeMap<_, _> = known.networks.iter().map(|line| (same(&line.key()), line.number)).collect();
        let services: BTreeMap<_, _> = known.services.iter().map(|line| (same(&line.key()), line.number)).collect();
        for line in &mut book.networks {
            line.number = networks.get(&same(&line.key())).copied().flatten();
        }
        for line in &mut book.services {
            line.number = services.get(&same(&line.key())).copied().flatten();
        }
        book
    }
}

/// What keys of rules are compared by: hosts are the same in any case, and nothing else has two.
fn same(key: &str) -> String {
    key.to_ascii_lowercase()
}

/// A number for what has none: below 0, the first one the highest.
fn unnumbered(index: usize) -> i64 {
    -1 - i64::try_from(index).unwrap_or(i64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"sallyport_rules":1,"settings":{"enforcement":"observe","repeat.minutes":"60"},"modes":[{"host":"PROD","enforcement":"enforce"},{"service":"ftp","enforcement":"off"}],"networks":[{"number":3,"service":"telnet","host":"PROD","network":"10.0.0.0/8","days":"mon-fri","hours":"06:00-18:00","treatment":"exempt","enrolment":true,"logging":"rejected","review":"2027-06-30","comment":"plant"},{"number":4,"service":"ftp","network":"192.0.2.7","treatment":"deny"}],"services":[{"number":1,"user":"NIGHTJOB","service":"ftp","network":"10.20.1.7","days":"daily","hours":"22:00-05:00","comment":"nightly"}],"users":{"ANNA":{"always":true,"factors":"totp","enrolment":false,"repeat":30,"logging":"none"}}}"#;

    #[test]
    fn a_document_reads_and_is_written_as_it_was() {
        let book = Rulebook::parse(TEXT).unwrap();
        assert_eq!(book.text(), TEXT);
        let Laid { rules, users } = book.read().unwrap();
        assert_eq!(Rulebook::of(book.settings.clone(), &rules, &users), book);
        assert_eq!(Rulebook::parse("{\"sallyport_rules\":1}").unwrap(), Rulebook::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let mode = "\"host\":\"PROD\",\"enforcement\":\"enforce\"";
        for (from, to, expected) in [
            ("\"sallyport_rules\":1", "\"sallyport_rules\":2", "sallyport_rules: this program reads form 1"),
            ("\"observe\"", "\"maybe\"", "settings.enforcement: enforcement takes off, observe, enforce"),
            ("\"repeat.minutes\"", "\"repeat.hours\"", "settings.repeat.hours: there is no setting repeat.hours"),
            ("\"10.0.0.0/8\"", "\"10.0.0.1/8\"", "networks[0].network: the network has host bits set"),
            ("\"days\":\"mon-fri\",", "", "networks[0].days: expected days"),
            ("\"exempt\"", "\"exempted\"", "networks[0].treatment: a network is treated as"),
            ("2027-06-30", "2027-06-31", "networks[0].review: "),
            (mode, "\"enforcement\":\"enforce\"", "modes[0].service: a mode is for"),
            ("\"number\":4", "\"number\":3", "number: 3 is no number, or stands there twice"),
            ("\"repeat\":30", "\"repeat\":721", "users.ANNA.repeat: at most 720 minutes"),
            ("\"repeat\":30", "\"repeat\":\"30\"", "line 1, column "),
            ("\"always\":true", "\"allways\":true", "unknown field `allways`"),
            ("\"ANNA\"", "\"1ANNA\"", "users.1ANNA: a user name consists"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let error = Rulebook::parse(&TEXT.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
        let twice = r#"{"sallyport_rules":1,"networks":[{"service":"ftp","network":"10.0.0.0/24","treatment":"deny"},{"service":"ftp","network":"10.0.0.0-10.0.0.255","treatment":"exempt"}]}"#;
        let error = Rulebook::parse(twice).unwrap_err().to_string();
        assert_eq!(error, "network ftp from 10.0.0.0/24: it stands there twice", "however it is written");
        assert!(Rulebook::parse(&format!("{TEXT}x")).unwrap_err().to_string().contains("trailing characters"));
    }

    #[test]
    fn a_difference_names_what_is_new_gone_and_changed() {
        let before = Rulebook::parse(TEXT).unwrap();
        assert_eq!(before.difference(&before), []);
        let after = TEXT.replacen("\"exempt\"", "\"deny\"", 1).replacen(",\"repeat.minutes\":\"60\"", "", 1);
        let after = after.replacen("\"users\":{", "\"users\":{\"BERT\":{\"always\":true},", 1);
        let after = Rulebook::parse(&after.replacen("\"number\":3", "\"number\":9", 1)).unwrap();
        let lines: Vec<_> = before.difference(&after).iter().map(Difference::line).collect();
        let rest = "enrolment on, logging rejected, review 2027-06-30, comment plant";
        assert_eq!(
            lines,
            [
                format!(
                    "~ network telnet from 10.0.0.0/8 to PROD, mon-fri 06:00-18:00: exempt, {rest} -> deny, {rest}"
                ),
                "- setting repeat.minutes: 60".to_owned(),
                "+ user BERT: always".to_owned(),
            ],
            "a number is none"
        );
        assert_eq!(after.numbered_as(&before).networks[0].number, Some(3));
    }

    #[test]
    fn however_rules_are_written_they_are_the_same() {
        let before = Rulebook::parse(TEXT).unwrap();
        let written = TEXT
            .replace("\"PROD\"", "\"prod\"")
            .replace("\"mon-fri\"", "\"mon,tue,wed,thu,fri\"")
            .replace("\"daily\"", "\"mon-sun\"")
            .replace("\"10.0.0.0/8\"", "\"10.0.0.0-10.255.255.255\"");
        assert_ne!(written, TEXT);
        let mut after = Rulebook::parse(&written).unwrap();
        assert_eq!(before.difference(&after), []);
        assert_eq!(after.name_hosts(|host| host.eq_ignore_ascii_case("PROD").then(|| "PROD".to_owned())), [].into());
        assert_eq!(after.text(), TEXT);
        assert_eq!(after.name_hosts(|_| None), ["PROD".to_owned()].into(), "who is not known is told");
        // What is put in place of a rule is about the same, whichever way it says so.
        let line = NetworkLine {
            host: "prod".to_owned(),
            days: "mon,tue,wed,thu,fri".to_owned(),
            treatment: "deny".to_owned(),
            ..before.networks[0].clone()
        };
        after.put_network(&line).unwrap();
        assert_eq!((after.networks.len(), after.networks[0].number), (2, Some(3)));
        assert!(after.networks[0].says().starts_with("deny"));
        assert_eq!(after.put_network(&NetworkLine { hours: "x".to_owned(), ..line }).unwrap_err().0, "hours");
    }

    #[test]
    fn two_spellings_of_a_host_are_told_from_elsewhere_and_the_strictest_of_what_was_kept() {
        let of = |one: &str, two: &str| {
            format!(
                r#"{{"sallyport_rules":1,"modes":[{{"host":"PROD","enforcement":"{one}"}},{{"host":"prod","enforcement":"{two}"}}]}}"#
            )
        };
        for (one, two) in [("off", "enforce"), ("enforce", "off")] {
            let error = Rulebook::parse(&of(one, two)).unwrap_err().to_string();
            assert_eq!(error, "mode to prod: it stands there twice");
            let kept = Rulebook::kept(&of(one, two)).unwrap();
            assert_eq!(kept.modes.iter().map(|line| line.enforcement.as_str()).collect::<Vec<_>>(), ["enforce"]);
        }
        let line = |number: u8, host: &str, treatment: &str| {
            format!(
                r#"{{"number":{number},"service":"ftp","host":"{host}","network":"10.0.0.0/8","treatment":"{treatment}"}}"#
            )
        };
        for lines in [
            [line(1, "PROD", "exempt"), line(2, "prod", "deny"), line(3, "Prod", "deny")],
            [line(3, "PROD", "deny"), line(2, "prod", "deny"), line(1, "Prod", "challenge")],
        ] {
            let text = format!(r#"{{"sallyport_rules":1,"networks":[{}]}}"#, lines.join(","));
            assert!(Rulebook::parse(&text).unwrap_err().to_string().contains("stands there twice"));
            let kept = Rulebook::kept(&text).unwrap();
            assert_eq!((kept.networks.len(), kept.networks[0].number), (1, Some(2)), "the strictest, then the oldest");
        }
        let error = Rulebook::parse(&TEXT.replace("\"number\":4", "\"number\":0")).unwrap_err().to_string();
        assert!(error.contains("0 is no number"), "{error}");
    }
}
