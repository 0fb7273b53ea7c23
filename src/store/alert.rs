//! Alerts: what the audit, the rules and the nodes tell that operators are to know, found and told once.
//!
//! ```text
//!   entries behind the cursor ─┐
//!   versions of the rules ─────┼─▶ signs ─▶ alerts, by kind and key ─▶ raised: an entry, mails queued
//!   nodes not heard of ────────┘            count, pause, most at once
//! ```
//!
//! Invariants: one transaction looks, decides, moves the cursor, writes the entry and queues the mail. So of several nodes on one
//! store one raises an alert, and whoever dies in between has done nothing. Ids of entries are given under the write lock, in the
//! order of commits: nothing appears behind the cursor later. How much is raised is bounded: by the pause for each key, and for
//! each kind that strangers can cause by a number, beyond which a sum is told. What operators do to the protection has neither: no
//! noise made before keeps it back. How much is kept is bounded as well, so that no flood makes a transaction long; and what takes
//! long by itself, comparing versions of the rules, is done before the lock is taken.

use std::collections::BTreeMap;

use jiff::Timestamp;
use policy::{AlertKind, Settings};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::message::stationery;
use super::{Error, Parcel, Stationery, Store, audit, millis, outbox, rule, sender, source_key, timestamp};
use crate::audit::Entry;
use crate::audit::alert::{About, KEY_MAX, Raised, Sign, is_rejection, sign};
use crate::rulebook::{self, Laid, Rulebook};

/// How many entries are looked at in one transaction: others wait no longer than that takes.
const BATCH: i64 = 1_000;
/// How far the cursor may be behind entries that tell nothing.
const BEHIND_MAX: i64 = 1_000;
/// How many versions of the rules are compared at a time.
const VERSIONS: i64 = 20;
/// With how much text, in bytes; two in any case.
const VERSIONS_TEXT: usize = 4 << 20;
/// Into how many slots the window of refusals is cut.
const SLOTS: i64 = 30;
/// How many users, addresses or things of a kind that strangers can cause are kept at most until they are told; of registered users twice
/// as many. What is beyond is only counted.
const KEPT: i64 = 1_000;
/// The longest pause of what is an outage, or an emergency: another one must not be kept from those who mend it.
const OUTAGE_PAUSE: i64 = 10 * 60_000;
/// How many of those that are summed up are named.
const NAMED: i64 = 20;
/// A minute, in milliseconds.
const MINUTE: i64 = 60_000;

/// What there is to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The last entry that was seen.
    pub through: i64,
    /// Whether [`Store::raise_alerts`] has something to do.
    pub is_any: bool,
    /// Whether there may be more entries to look at.
    pub is_more: bool,
    /// What the rules say less than before, where there are new versions of them.
    pub lowered: Option<Lowered>,
}

/// What changes of the rules took away of the protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowered {
    /// Behind this version: what was found counts as long as that is the last one that was looked at.
    from: i64,
    /// Up to this version.
    through: i64,
    signs: Vec<Sign>,
}

/// What was raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The alerts.
    pub raised: Vec<Raised>,
    /// How many mails were queued.
    pub mails: usize,
    /// Whether nothing is sent now.
    pub is_stopped: bool,
    /// Whether there is more to look at.
    pub is_more: bool,
}

/// Alerts of one kind that wait for their pause to be over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AlertState {
    /// The kind.
    pub kind: AlertKind,
    /// About how many users, addresses or things.
    pub waiting: u64,
}

impl Store {
    /// Whether something behind entry `after`, or behind the cursor where that is further, may be worth an alert. Only reads.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn alert_news(&self, node: String, after: i64, now: Timestamp) -> Result<News, Error> {
        self.read(move |connection| {
            let settings = rule::settings(connection)?;
            let (cursor, version) = cursor(connection)?;
            let (entries, through) = audit::batch(connection, cursor.max(after), BATCH)?;
            let lowered =
                if newest_version(connection)? > version { Some(lowered(connection, version)?) } else { None };
            let is_any = entries.iter().any(|entry| is_rejection(entry) || sign(entry).is_some())
                || through.saturating_sub(cursor) >= BEHIND_MAX
                || lowered.is_some()
                || !nodes(connection, &node, now, &settings)?.is_empty()
                || !due(connection, millis(now), &settings)?.is_empty();
            Ok(News { through, is_any, is_more: i64::try_from(entries.len()).unwrap_or(0) >= BATCH, lowered })
        })
        .await
    }

    /// Looks at what is new, and raises what is due: writes its entry for `node`, and queues what `write` makes of it. `lowered` is what
    /// [`Self::alert_news`] found of the rules; without it, or where another node was faster, they are left for the next look.
    ///
    /// # Errors
    /// Where the store does not answer; nothing was looked at then.
    pub async fn raise_alerts(
        &self,
        node: String,
        now: Timestamp,
        lowered: Option<Lowered>,
        mut write: impl FnMut(&Stationery, &Raised) -> Vec<Parcel> + Send + 'static,
    ) -> Result<Looked, Error> {
        self.write(move |connection| {
            let settings = rule::settings(connection)?;
            let is_more = look(connection, &node, now, &settings, lowered.as_ref())?;
            let mut raised = Vec::new();
            for kind in due(connection, millis(now), &settings)? {
                take(connection, kind, millis(now), &settings, &mut raised)?;
            }
            let (_, mails) = raise(connection, &node, now, &raised, &mut write)?;
            Ok(Looked { raised, mails: mails.len(), is_stopped: sender::is_stopped(connection)?, is_more })
        })
        .await
    }

    /// Raises a test alert: the number of its entry, and those of its mails.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn raise_test(
        &self,
        raised: Raised,
        node: String,
        mut write: impl FnMut(&Stationery, &Raised) -> Vec<Parcel> + Send + 'static,
    ) -> Result<(i64, Vec<String>), Error> {
        self.write(move |connection| raise(connection, &node, raised.at, std::slice::from_ref(&raised), &mut write))
            .await
    }

    /// How many alerts wait for their pause to be over, by kind.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn alerts_waiting(&self) -> Result<Vec<AlertState>, Error> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT kind, count(*) FROM alerts WHERE pending > 0 GROUP BY kind ORDER BY kind")?;
            let rows = statement.query_and_then([], |row| {
                let waiting: i64 = row.get(1)?;
                Ok(AlertState { kind: kind(&row.get::<_, String>(0)?)?, waiting: waiting.unsigned_abs() })
            })?;
            rows.collect()
        })
        .await
    }
}

/// Sets the cursor of a store that has none: what was before is not alerted of.
pub(super) fn begin(connection: &Connection) -> Result<(), Error> {
    let (entry, version) = (audit::newest(connection)?, newest_version(connection)?);
    connection
        .execute("INSERT OR IGNORE INTO alert_cursor (id, entry, version) VALUES (1, ?1, ?2)", [entry, version])?;
    Ok(())
}

/// Forgets what was told, and happened last, before `before`. Outages stay: they have an end.
pub(super) fn sweep(connection: &Connection, before: i64) -> Result<(), Error> {
    connection.execute(
        "DELETE FROM alerts WHERE pending = 0 AND opened_at IS NULL AND seen_at < ?1 AND coalesce(raised_at, 0) < ?1",
        [before],
    )?;
    Ok(())
}

fn cursor(connection: &Connection) -> Result<(i64, i64), Error> {
    Ok(connection
        .prepare_cached("SELECT entry, version FROM alert_cursor")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn newest_version(connection: &Connection) -> Result<i64, Error> {
    Ok(connection
        .prepare_cached("SELECT coalesce(max(number), 0) FROM rule_versions")?
        .query_row([], |row| row.get(0))?)
}

fn kind(text: &str) -> Result<AlertKind, Error> {
    text.parse().map_err(|_| Error::Unreadable("kind of an alert"))
}

/// Looks at what is new, notes it, and moves the cursor; whether there is more.
fn look(
    connection: &Connection,
    node: &str,
    now: Timestamp,
    settings: &Settings,
    lowered: Option<&Lowered>,
) -> Result<bool, Error> {
    let (before, version) = cursor(connection)?;
    let (entries, through) = audit::batch(connection, before, BATCH)?;
    let mut room = Room::default();
    for entry in &entries {
        for sign in rejections(connection, entry, settings)?.into_iter().chain(sign(entry)) {
            if !settings.alert_muted.contains(sign.kind) {
                note(connection, &sign, now, &mut room)?;
            }
        }
    }
    // What is counted is counted by the times of entries: those that are still to come may be old as well.
    let at = entries.last().map_or(millis(now), |entry| millis(entry.at).min(millis(now)));
    connection
        .prepare_cached("DELETE FROM alert_rejections WHERE slot < ?1")?
        .execute([at.saturating_sub(window(settings)).saturating_sub(slot(settings).saturating_mul(2))])?;
    let lowered = lowered.filter(|lowered| lowered.from == version);
    let latest = lowered.map_or(version, |lowered| lowered.through);
    let signs = lowered.map(|lowered| lowered.signs.as_slice()).unwrap_or_default();
    for sign in signs.iter().chain(&nodes(connection, node, now, settings)?) {
        note(connection, sign, now, &mut room)?;
    }
    // What waited when it was muted is not told when it no longer is.
    for kind in AlertKind::ALL.into_iter().filter(|kind| is_muted(*kind, settings)) {
        connection
            .prepare_cached("UPDATE alerts SET pending = 0, missed = 0 WHERE kind = ?1 AND pending > 0")?
            .execute([kind.as_str()])?;
    }
    connection.prepare_cached("UPDATE alert_cursor SET entry = ?1, version = ?2")?.execute([through, latest])?;
    Ok(i64::try_from(entries.len()).unwrap_or(0) >= BATCH || newest_version(connection)? > latest)
}

/// Whether what was found of `kind` is not told. What lowers the protection was judged by the rules before the change.
fn is_muted(kind: AlertKind, settings: &Settings) -> bool {
    kind != AlertKind::ProtectionLowered && settings.alert_muted.contains(kind)
}

fn window(settings: &Settings) -> i64 {
    i64::from(settings.alert_window).saturating_mul(MINUTE)
}

fn slot(settings: &Settings) -> i64 {
    window(settings).checked_div(SLOTS).unwrap_or(MINUTE).max(1)
}

/// Counts `entry`, where it is a refusal, for its source and for its user; what came to be too many.
fn rejections(connection: &Connection, entry: &Entry, settings: &Settings) -> Result<Vec<Sign>, Error> {
    if !is_rejection(entry) {
        return Ok(Vec::new());
    }
    let mut signs = Vec::new();
    let source = entry.source.map(|source| format!("source {}", source_key(source)));
    let user = entry.user.as_ref().map(|user| format!("user {user}"));
    for (key, is_source) in [(source, true), (user, false)] {
        let Some(key) = key else { continue };
        let count = count(connection, &key, millis(entry.at), settings)?;
        if count < i64::from(settings.alert_rejections) {
            continue;
        }
        let reason = entry.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
        let of = entry.user.as_ref().map(|user| format!(" of {user}")).unwrap_or_default();
        let from = entry.source.map(|source| format!(" from {source}")).unwrap_or_default();
        let what = format!(
            "{count} within {} minutes; the last one: {}{reason}{of}{from}",
            settings.alert_window,
            entry.event.as_str()
        );
        let sign = Sign::new(AlertKind::Rejections, &key, &what, entry.at).about(entry);
        // A source may have tried many users, and a user's name may have come from many sources.
        let About { user, source, .. } = sign.about;
        let about = About { user: user.filter(|_| !is_source), source: source.filter(|_| is_source), ..sign.about };
        signs.push(Sign { about, ..sign });
    }
    Ok(signs)
}

/// Counts one more refusal under `key`; how many there are within the window up to `at`.
fn count(connection: &Connection, key: &str, at: i64, settings: &Settings) -> Result<i64, Error> {
    let length = slot(settings);
    let begin = at.saturating_sub(at.rem_euclid(length));
    connection
        .prepare_cached(
            "INSERT INTO alert_rejections (key, slot, count) VALUES (?1, ?2, 1)
             ON CONFLICT DO UPDATE SET count = count + 1",
        )?
        .execute(params![key, begin])?;
    // The oldest slot counts as a whole while its end is within the window.
    let oldest = at.saturating_sub(window(settings)).saturating_sub(length);
    Ok(connection
        .prepare_cached("SELECT coalesce(sum(count), 0) FROM alert_rejections WHERE key = ?1 AND slot > ?2")?
        .query_row(params![key, oldest], |row| row.get(0))?)
}

/// What changes of the rules behind `version` took away of the protection. Whether that is muted is for the rules before the change to
/// say, so that nobody mutes the alert of muting.
fn lowered(connection: &Connection, version: i64) -> Result<Lowered, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT number, at, operator, reason, rules FROM rule_versions WHERE number >= ?1 ORDER BY number LIMIT ?2",
    )?;
    let mut rows = statement.query([version, VERSIONS])?;
    let mut found = Lowered { from: version, through: version, signs: Vec::new() };
    let (mut before, mut length) = (None::<Laid>, 0_usize);
    while let Some(row) = rows.next()? {
        let number: i64 = row.get(0)?;
        let text: String = row.get(4)?;
        if found.through > version && length > VERSIONS_TEXT {
            break;
        }
        length = length.saturating_add(text.len());
        found.through = number;
        // What cannot be read cannot be compared; the guard refuses by itself where rules cannot be read.
        let Ok(after) = Rulebook::kept(&text).and_then(|book| book.read()) else { continue };
        if let Some(old) = &before
            && !old.rules.settings.alert_muted.contains(AlertKind::ProtectionLowered)
        {
            let lowered = rulebook::lowered(old, &after);
            if let [first, rest @ ..] = lowered.as_slice() {
                let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                let (by, reason): (String, String) = (row.get(2)?, row.get(3)?);
                // Each version is an alert of its own.
                let key = format!("version {number}, {first}{more}");
                let named = if key.chars().count() > KEY_MAX { lowered.as_slice() } else { rest };
                let mut what: Vec<_> = named.iter().take(8).cloned().collect();
                what.extend((named.len() > 8).then(|| "...".to_owned()));
                what.push(format!("{reason} by {by}"));
                let what = what.join("; ");
                found.signs.push(Sign::new(AlertKind::ProtectionLowered, &key, &what, timestamp(row.get(1)?)?));
            }
        }
        before = Some(after);
    }
    Ok(found)
}

/// Nodes that came to be silent without a word, or are heard of again. A node does not tell of its own silence: it would take a store
/// that did not answer for it.
fn nodes(connection: &Connection, own: &str, now: Timestamp, settings: &Settings) -> Result<Vec<Sign>, Error> {
    if settings.alert_muted.contains(AlertKind::NodeDown) {
        return Ok(Vec::new());
    }
    let limit = i64::from(settings.alert_node_minutes).saturating_mul(MINUTE);
    let mut statement = connection.prepare_cached(
        "SELECT workers.node, workers.seen_at, workers.stopped_at, alerts.opened_at FROM workers
         LEFT JOIN alerts ON alerts.kind = 'node-down' AND alerts.key = 'node ' || workers.node",
    )?;
    let rows = statement.query_and_then([], |row| -> Result<Option<Sign>, Error> {
        let (node, seen): (String, i64) = (row.get(0)?, row.get(1)?);
        let (stopped, opened): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
        let is_silent = stopped.is_none() && seen <= millis(now).saturating_sub(limit);
        let (kind, what) = match (is_silent, opened.is_some()) {
            (true, false) if node != own => (
                AlertKind::NodeDown,
                format!("not heard of since {:.0}, and it did not say that it stops", timestamp(seen)?),
            ),
            (false, true) => (AlertKind::NodeUp, format!("heard of at {:.0}", timestamp(seen)?)),
            (true | false, _) => return Ok(None),
        };
        Ok(Some(Sign::new(kind, &format!("node {node}"), &what, now)))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// How many of each kind wait, as far as it was counted.
#[derive(Debug, Default)]
struct Room(BTreeMap<AlertKind, i64>);

impl Room {
    /// Takes a place for `sign`; whether there was one.
    fn take(&mut self, connection: &Connection, sign: &Sign) -> Result<bool, Error> {
        let Sign { kind, key, .. } = sign;
        if is_bounded_otherwise(*kind) {
            return Ok(true);
        }
        let waits: bool = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM alerts WHERE kind = ?1 AND key = ?2 AND pending > 0)")?
            .query_row([kind.as_str(), key], |row| row.get(0))?;
        if waits {
            return Ok(true);
        }
        let known = match self.0.get(kind) {
            Some(count) => *count,
            None => connection
                .prepare_cached("SELECT count(*) FROM alerts WHERE kind = ?1 AND pending > 0")?
                .query_row([kind.as_str()], |row| row.get(0))?,
        };
        let has_room = known < KEPT
            || (known < KEPT.saturating_mul(2)
                && connection
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM users WHERE name = ?1)")?
                    .query_row([&sign.about.user], |row| row.get(0))?);
        self.0.insert(*kind, known.saturating_add(i64::from(has_room)));
        Ok(has_room)
    }
}

/// Whether how many there are of a kind is bounded by what there is at a site, or by what operators do.
const fn is_bounded_otherwise(kind: AlertKind) -> bool {
    kind.is_of_the_site() || kind.is_of_operators()
}

/// Keeps a sign until it is told.
fn note(connection: &Connection, sign: &Sign, now: Timestamp, room: &mut Room) -> Result<(), Error> {
    if let Some(begun) = sign.kind.ends()
        && !end(connection, begun, &sign.key)?
    {
        return Ok(());
    }
    if !room.take(connection, sign)? {
        connection
            .prepare_cached(
                "INSERT INTO alerts (kind, key, pending, missed, seen_at, what) VALUES (?1, '', 0, 1, ?2, '')
                 ON CONFLICT DO UPDATE SET missed = missed + 1, seen_at = excluded.seen_at",
            )?
            .execute(params![sign.kind.as_str(), millis(sign.at)])?;
        return Ok(());
    }
    // By the clock of whoever looks, as the time it is told at: those of nodes may differ.
    let opened = sign.kind.lasts().then(|| millis(now));
    let About { user, source, service, host } = &sign.about;
    connection
        .prepare_cached(
            "INSERT INTO alerts (kind, key, pending, opened_at, seen_at, what, user, source, service, host)
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT DO UPDATE SET pending = pending + 1, opened_at = coalesce(opened_at, excluded.opened_at),
               seen_at = excluded.seen_at, what = excluded.what, user = excluded.user, source = excluded.source,
               service = excluded.service, host = excluded.host",
        )?
        .execute(params![
            sign.kind.as_str(),
            sign.key,
            opened,
            millis(sign.at),
            sign.what,
            user,
            source.map(|source| source.to_string()),
            service.map(policy::Service::as_str),
            host
        ])?;
    Ok(())
}

/// Ends an outage; whether somebody was told of it. One that was over before it was told is counted with the next one.
fn end(connection: &Connection, begun: AlertKind, key: &str) -> Result<bool, Error> {
    let found: Option<(Option<i64>, Option<i64>)> = connection
        .prepare_cached("SELECT opened_at, raised_at FROM alerts WHERE kind = ?1 AND key = ?2")?
        .query_row([begun.as_str(), key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((Some(opened), raised)) = found else { return Ok(false) };
    let is_told = raised.is_some_and(|raised| raised >= opened);
    connection
        .prepare_cached(
            "UPDATE alerts SET opened_at = NULL, missed = missed + CASE WHEN ?3 THEN 0 ELSE pending END, pending = 0
             WHERE kind = ?1 AND key = ?2",
        )?
        .execute(params![begun.as_str(), key, is_told])?;
    Ok(is_told)
}

/// A kind of which something is to be told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    kind: AlertKind,
    /// What was told at this time or before may be told again.
    since: i64,
    /// How many may be told one by one.
    room: i64,
    /// Whether the others may be summed up.
    sums_up: bool,
}

/// Of which kinds something is to be told.
fn due(connection: &Connection, now: i64, settings: &Settings) -> Result<Vec<Due>, Error> {
    let kinds = connection
        .prepare_cached("SELECT DISTINCT kind FROM alerts WHERE pending > 0")?
        .query_and_then([], |row| kind(&row.get::<_, String>(0)?))?
        .collect::<Result<Vec<_>, Error>>()?;
    let mut found = Vec::new();
    for kind in kinds.into_iter().filter(|kind| !is_muted(*kind, settings)) {
        let pause = i64::from(settings.alert_pause).saturating_mul(MINUTE);
        // The end of what was told is told; that is told less often. And whoever weakens the rules must not be able to make room for it first.
        let pause = if kind.ends().is_some() || kind == AlertKind::ProtectionLowered {
            0
        } else if kind.lasts() || kind.is_of_operators() {
            pause.min(OUTAGE_PAUSE)
        } else {
            pause
        };
        let since = now.saturating_sub(pause);
        let ripe: bool = connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM alerts
                                WHERE kind = ?1 AND pending > 0 AND (raised_at IS NULL OR raised_at <= ?2))",
            )?
            .query_row(params![kind.as_str(), since], |row| row.get(0))?;
        if !ripe {
            continue;
        }
        let (told, summed): (i64, Option<i64>) = connection
            .prepare_cached(
                "SELECT (SELECT count(*) FROM alerts WHERE kind = ?1 AND raised_at > ?2 AND key <> ''),
                        (SELECT raised_at FROM alerts WHERE kind = ?1 AND key = '')",
            )?
            .query_row(params![kind.as_str(), since], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let most = if is_bounded_otherwise(kind) { i64::MAX } else { i64::from(settings.alert_most) };
        let room = most.saturating_sub(told).max(0);
        let sums_up = summed.is_none_or(|summed| summed <= since);
        if room > 0 || sums_up {
            found.push(Due { kind, since, room, sums_up });
        }
    }
    Ok(found)
}

const RIPE: &str = "kind = ?1 AND pending > 0 AND (raised_at IS NULL OR raised_at <= ?2)";
/// Users whom the gateway knows before names that anybody may make up, and before addresses; then those that have waited longest.
const FIRST: &str = "ORDER BY EXISTS (SELECT 1 FROM users WHERE users.name = alerts.user) DESC, seen_at, key LIMIT ?3";

/// Takes what is due of one kind, as told at `now`.
fn take(
    connection: &Connection,
    due: Due,
    now: i64,
    settings: &Settings,
    raised: &mut Vec<Raised>,
) -> Result<(), Error> {
    let Due { kind, since, room, sums_up } = due;
    let singles = connection
        .prepare_cached(&format!("SELECT * FROM alerts WHERE {RIPE} {FIRST}"))?
        .query_and_then(params![kind.as_str(), since, room], |row| single(kind, row))?
        .collect::<Result<Vec<_>, Error>>()?;
    let told = "UPDATE alerts SET raised_at = ?3, pending = 0, missed = 0";
    for alert in &singles {
        connection.prepare_cached(&format!("{told} WHERE kind = ?1 AND key = ?2"))?.execute(params![
            kind.as_str(),
            alert.key,
            now
        ])?;
    }
    raised.extend(singles);
    if !sums_up {
        return Ok(());
    }
    let (others, times, seen): (i64, i64, Option<i64>) = connection
        .prepare_cached(&format!(
            "SELECT count(*), coalesce(sum(pending + missed), 0)
                    + coalesce((SELECT missed FROM alerts WHERE kind = ?1 AND key = ''), 0), max(seen_at)
             FROM alerts WHERE {RIPE}"
        ))?
        .query_row(params![kind.as_str(), since], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let Some(seen) = seen.filter(|_| others > 0) else { return Ok(()) };
    let mut keys = connection
        .prepare_cached(&format!("SELECT key FROM alerts WHERE {RIPE} {FIRST}"))?
        .query_map(params![kind.as_str(), since, NAMED], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    if others > NAMED {
        keys.push("...".to_owned());
    }
    let what = format!(
        "beyond {} within {} minutes, {times} times in all: {}",
        settings.alert_most,
        settings.alert_pause,
        keys.join("; ")
    );
    // They have no pause of their own: the sum has one, and there is no room for one of them within it.
    connection.prepare_cached(&format!("DELETE FROM alerts WHERE {RIPE}"))?.execute(params![kind.as_str(), since])?;
    connection
        .prepare_cached(
            "INSERT INTO alerts (kind, key, raised_at, pending, seen_at, what) VALUES (?1, '', ?2, 0, ?2, '')
             ON CONFLICT DO UPDATE SET raised_at = excluded.raised_at, seen_at = excluded.seen_at, missed = 0",
        )?
        .execute(params![kind.as_str(), now])?;
    raised.push(Raised {
        kind,
        key: None,
        what,
        at: timestamp(seen)?,
        times: others.unsigned_abs(),
        before: None,
        about: About::default(),
    });
    Ok(())
}

fn single(kind: AlertKind, row: &Row<'_>) -> Result<Raised, Error> {
    let (source, service): (Option<String>, Option<String>) = (row.get("source")?, row.get("service")?);
    let times: i64 = row.get::<_, i64>("pending")?.saturating_add(row.get("missed")?);
    Ok(Raised {
        kind,
        key: Some(row.get("key")?),
        what: row.get("what")?,
        at: timestamp(row.get("seen_at")?)?,
        times: times.unsigned_abs(),
        before: row.get::<_, Option<i64>>("raised_at")?.map(timestamp).transpose()?,
        about: About {
            user: row.get("user")?,
            source: source.and_then(|source| source.parse().ok()),
            service: service.and_then(|service| service.parse().ok()),
            host: row.get("host")?,
        },
    })
}

/// Writes the entries of alerts and queues their mails: the number of the last entry, and those of the mails.
fn raise(
    connection: &Connection,
    node: &str,
    now: Timestamp,
    raised: &[Raised],
    write: &mut impl FnMut(&Stationery, &Raised) -> Vec<Parcel>,
) -> Result<(i64, Vec<String>), Error> {
    if raised.is_empty() {
        return Ok((audit::newest(connection)?, Vec::new()));
    }
    let stationery = stationery(connection, None, None)?;
    let mut mails = Vec::new();
    for alert in raised {
        audit::append(connection, &alert.entry(node, now))?;
        for parcel in write(&stationery, alert) {
            outbox::insert(connection, &parcel)?;
            mails.push(parcel.id);
        }
    }
    Ok((audit::newest(connection)?, mails))
}

#[cfg(test)]
mod tests;
