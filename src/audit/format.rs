//! How entries look to those who take them: JSON, CSV, syslog (RFC 5424), CEF, LEEF.
//!
//! Invariants: one entry is one line, whatever stands in it. Control characters are made visible again on the way out, for whoever
//! wrote into the store need not have done so; what has a meaning in the format is escaped as its specification says. No cell of a
//! CSV file is a formula.
//!
//! Sources: RFC 5424 §6 (HEADER, STRUCTURED-DATA, escapes §6.3.3), RFC 4180 (CSV), ArcSight Common Event Format 25, IBM QRadar
//! Log Event Extended Format 2.0.

use std::fmt::Write as _;
use std::net::IpAddr;

use policy::{Logging, Service};
use serde::{Deserialize, Serialize};

use super::{Entry, Event, Outcome, Sealed, neutral};

/// A format for sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// RFC 5424 structured data.
    Rfc5424,
    /// ArcSight Common Event Format.
    Cef,
    /// IBM QRadar Log Event Extended Format 2.0.
    Leef,
}

impl Format {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Rfc5424 => "rfc5424",
            Self::Cef => "cef",
            Self::Leef => "leef",
        }
    }
}

/// What the header of a syslog message needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// The facility: 10 is authpriv, 13 log audit, 16 to 23 local0 to local7.
    pub facility: u8,
    /// The private enterprise number behind the name of our structured data.
    pub enterprise: u32,
}

/// An entry with nothing raw in it.
fn clean(sealed: &Sealed) -> Sealed {
    let mut sealed = sealed.clone();
    let Entry { node, reason, connection, user, host, listener, factor, challenge, detail, .. } = &mut sealed.entry;
    for text in
        [reason, connection, user, host, listener, factor, challenge, detail].into_iter().flatten().chain([node])
    {
        if let std::borrow::Cow::Owned(shown) = neutral(text) {
            *text = shown;
        }
    }
    sealed
}

/// A JSON object, without a line feed.
#[must_use]
pub fn json(sealed: &Sealed) -> String {
    // Strings, numbers and an address: there is nothing that JSON cannot say.
    serde_json::to_string(&clean(sealed)).unwrap_or_default()
}

/// The entry in `format`, without what carries it and without a line feed.
#[must_use]
pub fn line(format: Format, sealed: &Sealed, syslog: &Syslog) -> String {
    match format {
        Format::Json => json(sealed),
        Format::Rfc5424 => structured(&clean(sealed), syslog),
        Format::Cef => cef(&clean(sealed)),
        Format::Leef => leef(&clean(sealed)),
    }
}

/// A syslog message (RFC 5424) that carries the entry in `format`.
#[must_use]
pub fn syslog(format: Format, sealed: &Sealed, syslog: &Syslog) -> String {
    match format {
        Format::Rfc5424 => structured(&clean(sealed), syslog),
        Format::Json => format!("{} - {}", header(&clean(sealed), syslog), json(sealed)),
        Format::Cef => format!("{} - {}", header(&clean(sealed), syslog), cef(&clean(sealed))),
        Format::Leef => format!("{} - {}", header(&clean(sealed), syslog), leef(&clean(sealed))),
    }
}

/// How grave it is, as syslog counts: 0 is the worst, 7 the least.
fn severity(entry: &Entry) -> u8 {
    let by_outcome = match entry.outcome {
        Outcome::Failed => 3,
        Outcome::Denied => 4,
        Outcome::Observed => 5,
        Outcome::Allowed | Outcome::Challenged | Outcome::Noted => 6,
    };
    let by_event = match entry.event {
        Event::SinkLost => 2,
        Event::SinkDown | Event::Provider | Event::Alert => 3,
        Event::Suspicious | Event::UnknownDisplay | Event::Emergency | Event::LockedOut => 4,
        Event::SinkUp
        | Event::Changed
        | Event::Enrolment
        | Event::Sender
        | Event::Archived
        | Event::GatewayStarted
        | Event::GatewayStopped
        | Event::SessionEnded => 5,
        Event::ConnectionOpened
        | Event::ConnectionClosed
        | Event::SignOn
        | Event::PasscodeSent
        | Event::Passcode
        | Event::HostAccepted
        | Event::HostRefused
        | Event::HostUnavailable
        | Event::Cancelled
        | Event::ContactTested
        | Event::Delivery
        | Event::Checkpoint => 6,
    };
    by_outcome.min(by_event)
}

/// PRI, VERSION, TIMESTAMP, HOSTNAME, APP-NAME, PROCID, MSGID.
fn header(sealed: &Sealed, syslog: &Syslog) -> String {
    let entry = &sealed.entry;
    let priority = u16::from(syslog.facility) * 8 + u16::from(severity(entry));
    let time = entry.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    // Printable US-ASCII without space, at most 255.
    let host: String = entry.node.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    format!("<{priority}>1 {time} {host} sallyport - {}", entry.event.as_str())
}

/// All that an entry says, by the names of the JSON form.
fn fields(sealed: &Sealed) -> Vec<(&'static str, String)> {
    let Sealed { id, sequence, hash, entry } = sealed;
    let mut fields = vec![
        ("id", id.to_string()),
        ("sequence", sequence.to_string()),
        ("event", entry.event.as_str().to_owned()),
        ("outcome", entry.outcome.as_str().to_owned()),
    ];
    let texts = [
        ("reason", entry.reason.clone()),
        ("user", entry.user.clone()),
        ("source", entry.source.map(|source| source.to_string())),
        ("port", entry.port.map(|port| port.to_string())),
        ("service", entry.service.map(|service| service.as_str().to_owned())),
        ("host", entry.host.clone()),
        ("listener", entry.listener.clone()),
        ("factor", entry.factor.clone()),
        ("rule", entry.rule.map(|rule| rule.to_string())),
        ("challenge", entry.challenge.clone()),
        ("connection", entry.connection.clone()),
        ("detail", entry.detail.clone()),
        ("logging", entry.logging.map(|level| level.as_str().to_owned())),
    ];
    fields.extend(texts.into_iter().filter_map(|(name, text)| text.map(|text| (name, text))));
    fields.push(("hash", hash.to_string()));
    fields
}

fn structured(sealed: &Sealed, syslog: &Syslog) -> String {
    let mut text = format!("{} [sallyport@{}", header(sealed, syslog), syslog.enterprise);
    for (name, value) in fields(sealed) {
        // Writing into a string cannot fail.
        let _ = write!(text, " {name}=\"{}\"", escaped(&value, &['"', '\\', ']']));
    }
    text.push(']');
    text
}

/// `text` with a backslash before each of `special`.
fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if special.contains(&character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The version of the product, for headers.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn cef(sealed: &Sealed) -> String {
    let Sealed { id, sequence, hash, entry } = sealed;
    let severity = [10, 10, 9, 8, 6, 4, 2, 1].get(usize::from(severity(entry))).copied().unwrap_or(1);
    let event = entry.event.as_str();
    let mut text =
        format!("CEF:0|Sallyport|Sallyport|{VERSION}|{event}|{event} {}|{severity}|", entry.outcome.as_str());
    let mut add = |key: &str, value: &str| {
        let space = if text.ends_with('|') { "" } else { " " };
        let _ = write!(text, "{space}{key}={}", escaped(value, &['\\', '=']));
    };
    add("rt", &entry.at.as_millisecond().to_string());
    add("externalId", &id.to_string());
    add("dvchost", &entry.node);
    add("outcome", entry.outcome.as_str());
    let custom = |add: &mut dyn FnMut(&str, &str), key: &str, label: &str, value: &str| {
        add(&format!("{key}Label"), label);
        add(key, value);
    };
    if let Some(reason) = &entry.reason {
        add("reason", reason);
    }
    if let Some(user) = &entry.user {
        add("suser", user);
    }
    match entry.source {
        Some(IpAddr::V4(source)) => add("src", &source.to_string()),
        Some(IpAddr::V6(source)) => custom(&mut add, "c6a2", "Source IPv6 Address", &source.to_string()),
        None => {}
    }
    if let Some(port) = entry.port {
        add("spt", &port.to_string());
    }
    if let Some(service) = entry.service {
        add("app", service.as_str());
    }
    if let Some(host) = &entry.host {
        add("dhost", host);
    }
    for (key, label, value) in [
        ("cs1", "challenge", &entry.challenge),
        ("cs2", "connection", &entry.connection),
        ("cs3", "factor", &entry.factor),
        ("cs4", "listener", &entry.listener),
        ("cs5", "hash", &Some(hash.to_string())),
        ("cs6", "logging", &entry.logging.map(|level| level.as_str().to_owned())),
    ] {
        if let Some(value) = value {
            custom(&mut add, key, label, value);
        }
    }
    custom(&mut add, "cn1", "sequence", &sequence.to_string());
    if let Some(rule) = entry.rule {
        custom(&mut add, "cn2", "rule", &rule.to_string());
    }
    if let Some(detail) = &entry.detail {
        add("msg", detail);
    }
    text
}

fn leef(sealed: &Sealed) -> String {
    let entry = &sealed.entry;
    let severity = [10, 10, 9, 8, 6, 4, 2, 1].get(usize::from(severity(entry))).copied().unwrap_or(1);
    // The delimiter is a tab, which no value contains: control characters are visible by now.
    let mut text = format!("LEEF:2.0|Sallyport|Sallyport|{VERSION}|{}|x09|", entry.event.as_str());
    let _ = write!(text, "devTime={}", entry.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"));
    let _ = write!(text, "\tdevTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX\tsev={severity}\tcat={}", entry.outcome.as_str());
    let _ = write!(text, "\tidentHostName={}", entry.node);
    for (name, value) in fields(sealed) {
        let key = match name {
            "user" => "usrName",
            "source" => "src",
            "port" => "srcPort",
            "service" => "proto",
            "host" => "resource",
            other => other,
        };
        let _ = write!(text, "\t{key}={value}");
    }
    text
}

/// The head of a CSV file.
pub const CSV_HEAD: &str = "id,sequence,at,node,event,outcome,reason,user,source,port,service,host,listener,factor,rule,challenge,connection,detail,logging,hash\r\n";

/// A record of a CSV file, with its line end.
#[must_use]
pub fn csv(sealed: &Sealed) -> String {
    let Sealed { id, sequence, hash, entry } = &clean(sealed);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells = [
        id.to_string(),
        sequence.to_string(),
        entry.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        entry.node.clone(),
        entry.event.as_str().to_owned(),
        entry.outcome.as_str().to_owned(),
        text(&entry.reason),
        text(&entry.user),
        entry.source.map(|source| source.to_string()).unwrap_or_default(),
        entry.port.map(|port| port.to_string()).unwrap_or_default(),
        entry.service.map(Service::as_str).unwrap_or_default().to_owned(),
        text(&entry.host),
        text(&entry.listener),
        text(&entry.factor),
        entry.rule.map(|rule| rule.to_string()).unwrap_or_default(),
        text(&entry.challenge),
        text(&entry.connection),
        text(&entry.detail),
        entry.logging.map(Logging::as_str).unwrap_or_default().to_owned(),
        hash.to_string(),
    ];
    let mut record = cells.map(|cell| csv_cell(&cell)).join(",");
    record.push_str("\r\n");
    record
}

/// A cell: quoted where it must be, and with an apostrophe before what a spreadsheet would take for a formula.
fn csv_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '|', '%']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n', ';']) || formula {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::chain::Hash;
    use super::*;

    const SYSLOG: Syslog = Syslog { facility: 10, enterprise: 32_473 };

    fn sealed(detail: &str) -> Sealed {
        let at = Timestamp::from_millisecond(1_795_000_000_123).unwrap();
        let entry = Entry::new(at, "gate-1", Event::SignOn, Outcome::Denied).reason("network-denied");
        let entry = entry.source("192.0.2.7:4711".parse().unwrap()).user(Some(&"ANNA".parse().unwrap()));
        // As if somebody had written into the store himself.
        let entry = Entry { detail: Some(detail.to_owned()), service: Some(Service::Telnet), rule: Some(3), ..entry };
        Sealed { id: 12, sequence: 11, hash: Hash::of(b"x"), entry }
    }

    #[test]
    fn the_formats() {
        let hash = Hash::of(b"x");
        let sealed = sealed("a]b\"c\\d=e|f");
        assert_eq!(
            syslog(Format::Rfc5424, &sealed, &SYSLOG),
            format!(
                r#"<84>1 2026-11-18T11:06:40.123Z gate-1 sallyport - sign-on [sallyport@32473 id="12" sequence="11" event="sign-on" outcome="denied" reason="network-denied" user="ANNA" source="192.0.2.7" port="4711" service="telnet" rule="3" detail="a\]b\"c\\d=e|f" hash="{hash}"]"#
            )
        );
        assert_eq!(
            line(Format::Cef, &sealed, &SYSLOG),
            format!(
                r"CEF:0|Sallyport|Sallyport|{VERSION}|sign-on|sign-on denied|6|rt=1795000000123 externalId=12 dvchost=gate-1 outcome=denied reason=network-denied suser=ANNA src=192.0.2.7 spt=4711 app=telnet cs5Label=hash cs5={hash} cn1Label=sequence cn1=11 cn2Label=rule cn2=3 msg=a]b{Q}c\\d\=e|f",
                Q = '"'
            )
        );
        assert_eq!(
            line(Format::Leef, &sealed, &SYSLOG).split('\t').collect::<Vec<_>>()[..4],
            [
                &format!("LEEF:2.0|Sallyport|Sallyport|{VERSION}|sign-on|x09|devTime=2026-11-18T11:06:40.123Z"),
                "devTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
                "sev=6",
                "cat=denied",
            ]
        );
        let json: serde_json::Value = serde_json::from_str(&line(Format::Json, &sealed, &SYSLOG)).unwrap();
        assert_eq!((&json["at"], &json["sequence"]), (&"2026-11-18T11:06:40.123Z".into(), &11.into()));
        assert_eq!(CSV_HEAD.split(',').count(), 20);
    }

    /// Whoever verifies the chain needs every column that is hashed.
    #[test]
    fn each_format_has_all_that_is_hashed() {
        let plain = sealed("x");
        let entry = Entry { logging: Some(policy::Logging::Rejected), ..plain.entry.clone() };
        let sealed = Sealed { entry, ..plain };
        assert!(syslog(Format::Rfc5424, &sealed, &SYSLOG).contains(" logging=\"rejected\""));
        assert!(line(Format::Cef, &sealed, &SYSLOG).contains(" cs6Label=logging cs6=rejected"));
        assert!(line(Format::Leef, &sealed, &SYSLOG).contains("\tlogging=rejected"));
        let record = csv(&sealed);
        let (head, cells): (Vec<_>, Vec<_>) =
            (CSV_HEAD.trim_end().split(',').collect(), record.trim_end().split(',').collect());
        let place = head.iter().position(|name| *name == "logging").unwrap();
        assert_eq!((cells.len(), cells[place]), (head.len(), "rejected"));
        for column in super::super::chain::COLUMNS {
            assert!(head.contains(&column), "{column}");
        }
    }

    #[test]
    fn no_line_is_forged() {
        for detail in ["a\r\nb", "a\u{85}b", "a\u{2028}b", "\u{1b}[2J", "a\tcat=allowed", "\0"] {
            let sealed = sealed(detail);
            let mut lines: Vec<_> = [Format::Json, Format::Rfc5424, Format::Cef, Format::Leef]
                .into_iter()
                .flat_map(|format| [line(format, &sealed, &SYSLOG), syslog(format, &sealed, &SYSLOG)])
                .collect();
            lines.push(csv(&sealed).trim_end().to_owned());
            for text in lines {
                let raw = text.chars().find(|c| (c.is_control() && *c != '\t') || *c == '\u{2028}');
                assert_eq!(raw, None, "{text:?}");
                assert!(!text.contains("\tcat=allowed"), "{text}");
            }
        }
        let forged = sealed("x event=1");
        assert!(line(Format::Cef, &forged, &SYSLOG).ends_with("msg=x event\\=1"));
    }

    #[test]
    fn no_cell_is_a_formula() {
        for (text, cell) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("=1+1", "\"'=1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-2", "\"'-2\""),
            ("+49", "\"'+49\""),
            ("", ""),
        ] {
            assert_eq!(csv_cell(text), cell);
        }
        let record = csv(&sealed("=cmd|' /C calc'!A0"));
        assert!(record.contains("\"'=cmd|' /C calc'!A0\"") && record.ends_with("\r\n"), "{record}");
        assert_eq!(record.matches("\r\n").count(), 1);
    }
}
