//! What can be used up: challenges with their tries, sending budgets, repeat windows.
//!
//! Each of these is one statement that changes a row only where it may still be changed, in a transaction with the audit
//! entry. Two processes, or ten thousand guesses at once, cannot get more out of it than one: at one challenge by its tries, at
//! hundreds of challenges by the tries that are under way ([`super::flight`]), which are counted before they are judged.

use std::sync::Arc;

use jiff::Timestamp;
use policy::decide::{Repeat, repeat};
use policy::{Attempt, Factor, Failure, Reason, Settings, User};
use rusqlite::{Connection, Row, params};

use super::failure::Blame;
use super::flight::Room;
use super::outbox::{self, Parcel};
use super::user::standing_of;
use super::{
    Error, Store, alert, audit, emergency, factor, failure, flight, millis, rule, sender, source_key, timestamp,
};
use crate::audit::Entry;
use crate::factor::Spend;

/// A challenge about to be made.
#[derive(Debug, Clone)]
pub struct NewChallenge {
    /// The challenge.
    pub challenge: Challenge,
    /// Who is challenged, from where, on which service and host, when.
    pub attempt: Attempt,
    /// The user, known by now.
    pub user: User,
    /// The connection.
    pub connection: String,
    /// The message that holds its passcode, which goes to one contact of the user; `None`: none, to nobody.
    pub parcel: Option<Parcel>,
    /// The keyed hash of the passcode; empty where there is none.
    pub hash: Vec<u8>,
    /// Whether the user asked for it (F5): it must not come too soon after the one before.
    pub resend: bool,
}

/// What came of making a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It is open; the one before it, if any, is no longer.
    Open,
    /// The budget of the user is used up. Nothing has changed.
    UserBudget,
    /// The share of the source in the budget of the user is used up. Nothing has changed.
    PairBudget,
    /// The budget of the source is used up. Nothing has changed.
    SourceBudget,
    /// The budget of the contact is used up. Nothing has changed.
    ContactBudget,
    /// The budget of all together is used up. Nothing has changed.
    TotalBudget,
    /// The last one was sent a moment ago. Nothing has changed.
    TooSoon,
    /// The contact was removed, or counts no more. Nothing has changed.
    NoContact,
    /// An administrator stopped the sending of messages. Nothing has changed.
    Stopped,
}

impl Opened {
    /// The code in the audit.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::UserBudget => "send-budget-of-user",
            Self::PairBudget => "send-budget-of-user-and-source",
            Self::SourceBudget => "send-budget-of-source",
            Self::ContactBudget => "send-budget-of-contact",
            Self::TotalBudget => "send-budget-in-all",
            Self::TooSoon => "send-pause",
            Self::NoContact => "contact-gone",
            Self::Stopped => "sender-stopped",
        }
    }
}

/// How many passcodes were sent lately. What was sent to the user is counted apart for source addresses from which the
/// user got in before, and for all others; here are those of the kind that the source is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Whether the user got in from the source before.
    pub known: bool,
    /// To the user, within `send.pause`.
    pub by_user_in_pause: u32,
    /// To the user, within `send.window`.
    pub by_user_in_window: u32,
    /// To the user, within 24 hours.
    pub by_user_in_day: u32,
    /// To the user on behalf of the source, within `send.window`.
    pub by_pair_in_window: u32,
    /// To the user on behalf of the source, within 24 hours.
    pub by_pair_in_day: u32,
    /// On behalf of the source, within `send.window`.
    pub by_source_in_window: u32,
    /// To the contact, whoever's, within `send.window`.
    pub by_contact_in_window: u32,
    /// To the contact, whoever's, within 24 hours.
    pub by_contact_in_day: u32,
    /// In all, within `send.window`.
    pub in_all_in_window: u32,
}

impl Sent {
    /// Which budget is used up, if any.
    #[must_use]
    pub const fn used_up(&self, settings: &Settings) -> Option<Opened> {
        if self.by_user_in_window >= settings.send_per_user || self.by_user_in_day >= settings.send_per_day {
            return Some(Opened::UserBudget);
        }
        let pair =
            self.by_pair_in_window >= settings.send_per_pair || self.by_pair_in_day >= settings.send_per_pair_day;
        if !self.known && pair {
            return Some(Opened::PairBudget);
        }
        if self.by_source_in_window >= settings.send_per_source {
            return Some(Opened::SourceBudget);
        }
        if self.by_contact_in_window >= settings.send_per_contact
            || self.by_contact_in_day >= settings.send_per_contact_day
        {
            return Some(Opened::ContactBudget);
        }
        if self.in_all_in_window >= settings.send_total {
            return Some(Opened::TotalBudget);
        }
        None
    }
}

/// A challenge that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Its number.
    pub id: String,
    /// Where it went, masked.
    pub destination: String,
    /// The prefix letter.
    pub prefix: char,
    /// How many digits the passcode has.
    pub digits: u8,
    /// Tries that are left.
    pub tries_left: u8,
    /// When it expires.
    pub expires_at: Timestamp,
    /// By which factor it is answered.
    pub factor: Factor,
    /// The contact that its passcode went to.
    pub contact: Option<i64>,
    /// The factor of the user's own that it is for.
    pub own: Option<i64>,
}

/// What a right answer used up besides the challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proven {
    /// The passcode that was sent, which is good for this challenge only.
    Sent,
    /// Something of a factor of the user's own.
    Own(Spend),
    /// The code of this number, which an administrator issued.
    Code(i64),
}

/// A try at a challenge that may now be evaluated.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The challenge, the try already taken off.
    pub challenge: Challenge,
    /// The keyed hash of the right passcode.
    pub hash: Vec<u8>,
    /// The number of the try, which is under way until it is consumed, counted or given back.
    pub number: i64,
}

/// What came of taking a try.
#[derive(Debug, Clone)]
pub enum Take {
    /// It may be evaluated.
    Taken(Taken),
    /// There is no challenge that is open, has a try left and has not expired.
    Nothing,
    /// So many tries are being judged that one more could outrun a lock. Nothing has changed.
    Busy,
    /// A lock is in force. Nothing has changed.
    Locked(Reason),
}

/// What came of using up a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumed {
    /// It is used up now.
    Now,
    /// It, or what it was proven with, was used up before, or has expired.
    Before,
    /// A lock came into force since the try was taken.
    Locked(Reason),
}

/// The newest challenge of a place, whatever became of it.
#[derive(Debug, Clone)]
pub struct Latest {
    /// The challenge.
    pub challenge: Challenge,
    /// The keyed hash of its passcode.
    pub hash: Vec<u8>,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing yet, though it may have expired.
    Open,
    /// Its passcode was used.
    Used,
    /// It ended without success.
    Ended,
}

impl Store {
    /// Makes a challenge where the budgets allow it, and ends the one before it of this user, service and connection.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn open_challenge(&self, new: NewChallenge, settings: Settings, entry: Entry) -> Result<Opened, Error> {
        self.write(move |connection| {
            let opened = open(connection, &new, &settings)?;
            if opened == Opened::Open {
                audit::append(connection, &entry)?;
            }
            Ok(opened)
        })
        .await
    }

    /// The challenge that is open on a connection, expired or not.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn challenge(&self, attempt: &Attempt, connection: &str) -> Result<Option<Challenge>, Error> {
        let Some(key) = Key::new(attempt, connection) else { return Ok(None) };
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT id, destination, prefix, digits, tries_left, expires_at, factor, contact, own FROM challenges
                     WHERE connection = ?1 AND user = ?2 AND service = ?3 AND host = ?4 AND state = 'open'",
                )?
                .query_and_then(key.params(), challenge)?
                .next()
                .transpose()
        })
        .await
    }

    /// The newest challenge that was made for a connection, whatever became of it.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn latest_challenge(&self, attempt: &Attempt, connection: &str) -> Result<Option<Latest>, Error> {
        let Some(key) = Key::new(attempt, connection) else { return Ok(None) };
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT id, destination, prefix, digits, tries_left, expires_at, factor, contact, own, hash, state FROM challenges
                     WHERE connection = ?1 AND user = ?2 AND service = ?3 AND host = ?4
                     ORDER BY state = 'open' DESC, created_at DESC LIMIT 1",
                )?
                .query_and_then(key.params(), |row| {
                    let state: String = row.get("state")?;
                    let fate = match state.as_str() {
                        "open" => Fate::Open,
                        "used" => Fate::Used,
                        _ => Fate::Ended,
                    };
                    Ok(Latest { challenge: challenge(row)?, hash: row.get("hash")?, fate })
                })?
                .next()
                .transpose()
        })
        .await
    }

    /// Takes one try off the challenge that is open on a connection, where none of the locks that count is in force, nor would
    /// be if all tries under way turned out wrong. Nothing may be compared but with what this gives.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn take_try(&self, attempt: &Attempt, connection: &str) -> Result<Take, Error> {
        let Some(key) = Key::new(attempt, connection) else { return Ok(Take::Nothing) };
        let attempt = attempt.clone();
        let now = millis(attempt.at);
        self.write(move |connection| {
            match flight::room(connection, &attempt, &rule::bounds(connection)?)? {
                Room::Free => {}
                Room::Busy => return Ok(Take::Busy),
                Room::Locked(reason) => return Ok(Take::Locked(reason)),
            }
            let taken = connection
                .prepare_cached(
                    "UPDATE challenges SET tries_left = tries_left - 1
                     WHERE connection = ?1 AND user = ?2 AND service = ?3 AND host = ?4
                       AND state = 'open' AND tries_left > 0 AND expires_at > ?5
                     RETURNING id, destination, prefix, digits, tries_left, expires_at, factor, contact, own, hash",
                )?
                .query_and_then(params![key.connection, key.user, key.service, &*key.host, now], |row| {
                    Ok::<_, Error>((challenge(row)?, row.get("hash")?))
                })?
                .next()
                .transpose()?;
            let Some((challenge, hash)) = taken else { return Ok(Take::Nothing) };
            let number = flight::begin(connection, &attempt, &challenge)?;
            Ok(Take::Taken(Taken { challenge, hash, number }))
        })
        .await
    }

    /// Gives back a try that could not be judged.
    ///
    /// # Errors
    /// Where the store does not answer; the try stays taken then.
    pub async fn give_back_try(&self, taken: &Taken, entry: Entry) -> Result<(), Error> {
        let (id, number) = (taken.challenge.id.clone(), taken.number);
        self.write(move |connection| {
            flight::end(connection, number)?;
            connection
                .prepare_cached("UPDATE challenges SET tries_left = tries_left + 1 WHERE id = ?1 AND state = 'open'")?
                .execute([&id])?;
            audit::append(connection, &entry)
        })
        .await
    }

    /// Uses up the challenge that `taken` is a try of, and what was `proven` with, where both could be used until now and no lock
    /// came into force. Clears the wrong passcodes of the user, remembers where the user got in, and opens the repeat window
    /// where those are permitted.
    ///
    /// # Errors
    /// Where the store does not answer; nothing counts as used then, and nobody may be let in.
    pub async fn consume(
        &self,
        taken: &Taken,
        proven: Proven,
        attempt: Attempt,
        entry: Entry,
    ) -> Result<Consumed, Error> {
        let (id, number) = (taken.challenge.id.clone(), taken.number);
        self.write(move |connection| {
            flight::end(connection, number)?;
            let rules = rule::bounds(connection)?;
            if let Some(reason) = flight::locked(connection, &attempt, &rules)? {
                return Ok(Consumed::Locked(reason));
            }
            // First, since a code that was used up for nothing does no harm, and a challenge that is open on does.
            let fresh = match &proven {
                Proven::Sent => true,
                Proven::Own(spend) => factor::spend(connection, spend, attempt.at)?,
                Proven::Code(id) => emergency::use_code(connection, *id, attempt.at)?,
            };
            if !fresh {
                return Ok(Consumed::Before);
            }
            let used = connection
                .prepare_cached(
                    "UPDATE challenges SET state = 'used', ended_at = ?2
                     WHERE id = ?1 AND state = 'open' AND expires_at > ?2",
                )?
                .execute(params![id, millis(attempt.at)])?;
            let (1, Some(user)) = (used, &attempt.user) else { return Ok(Consumed::Before) };
            failure::clear(connection, user, &attempt, Failure::Passcode)?;
            connection
                .prepare_cached(
                    "UPDATE contacts SET used_at = ?2 WHERE id = (SELECT contact FROM challenges WHERE id = ?1)",
                )?
                .execute(params![id, millis(attempt.at)])?;
            connection
                .prepare_cached(
                    "INSERT INTO known_sources (user, source, last_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET last_at = excluded.last_at",
                )?
                .execute(params![user.as_str(), source_key(attempt.source), millis(attempt.at)])?;
            let standing = standing_of(connection, user)?;
            if repeat(&rules, attempt.service, standing).minutes > 0 {
                connection.execute(
                    "INSERT INTO admissions (user, source, service, host, since, uses) VALUES (?1, ?2, ?3, ?4, ?5, 0)
                     ON CONFLICT DO UPDATE SET since = excluded.since, uses = 0",
                    params![
                        user.as_str(),
                        attempt.source.to_canonical().to_string(),
                        attempt.service.as_str(),
                        &*attempt.host,
                        millis(attempt.at)
                    ],
                )?;
            }
            audit::append(connection, &entry)?;
            Ok(Consumed::Now)
        })
        .await
    }

    /// Takes one use off the repeat window of `attempt`: whether it was still open.
    ///
    /// # Errors
    /// Where the store does not answer; nobody may be let in then.
    pub async fn use_window(&self, attempt: Attempt, repeat: Repeat, entry: Entry) -> Result<bool, Error> {
        let Some(user) = attempt.user.clone() else { return Ok(false) };
        self.write(move |connection| {
            let now = millis(attempt.at);
            let since = now.saturating_sub(i64::from(repeat.minutes) * 60_000);
            let used = connection
                .prepare_cached(
                    "UPDATE admissions SET uses = uses + 1
                     WHERE user = ?1 AND source = ?2 AND service = ?3 AND host = ?4
                       AND since > ?5 AND since <= ?6 AND uses < ?7",
                )?
                .execute(params![
                    user.as_str(),
                    attempt.source.to_canonical().to_string(),
                    attempt.service.as_str(),
                    &*attempt.host,
                    since,
                    now,
                    repeat.uses
                ])?;
            if used == 1 {
                audit::append(connection, &entry)?;
            }
            Ok(used == 1)
        })
        .await
    }

    /// Ends the repeat window of `attempt`, if there is one.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn end_window(&self, attempt: Attempt) -> Result<(), Error> {
        let Some(user) = attempt.user else { return Ok(()) };
        let (source, service) = (attempt.source.to_canonical().to_string(), attempt.service.as_str());
        self.write(move |connection| {
            connection.execute(
                "DELETE FROM admissions WHERE user = ?1 AND source = ?2 AND service = ?3 AND host = ?4",
                params![user.as_str(), source, service, &*attempt.host],
            )?;
            Ok(())
        })
        .await
    }

    /// Ends the challenge `id`, if it is open, without success. `refund`: its message was surely not sent and does not
    /// count towards the budgets.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn end_challenge(&self, id: String, end: End, refund: bool, entry: Option<Entry>) -> Result<(), Error> {
        self.write(move |connection| {
            end_open(connection, "id = ?1", &id, end)?;
            if refund {
                connection.execute("DELETE FROM sends WHERE challenge = ?1", [&id])?;
            }
            entry.map_or(Ok(()), |entry| audit::append(connection, &entry))
        })
        .await
    }

    /// Ends whatever challenge is open on a connection.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn end_challenges_of(&self, connection: String, entry: Entry) -> Result<(), Error> {
        self.write(move |store| {
            end_open(store, "connection = ?1", &connection, End::Cancelled)?;
            audit::append(store, &entry)
        })
        .await
    }

    /// A try was judged, and neither right nor wrong: it stays taken.
    ///
    /// # Errors
    /// Where the store does not answer; the try stays under way for a while then.
    pub async fn settle_try(&self, taken: &Taken, entry: Entry) -> Result<(), Error> {
        let number = taken.number;
        self.write(move |connection| {
            flight::end(connection, number)?;
            audit::append(connection, &entry)
        })
        .await
    }

    /// Counts a try as [`Store::count_failure`] does: it was judged, and wrong.
    ///
    /// # Errors
    /// Where the store does not answer; the try stays under way for a while then.
    pub async fn count_try(&self, taken: &Taken, attempt: Attempt, blame: Blame, entry: Entry) -> Result<bool, Error> {
        let number = taken.number;
        self.write(move |connection| {
            flight::end(connection, number)?;
            failure::count(connection, &attempt, (Failure::Passcode, blame), &entry)
        })
        .await
    }

    /// How many passcodes were sent to the user and on behalf of the source of `attempt` lately.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn sent(&self, attempt: &Attempt, contact: Option<i64>, settings: Settings) -> Result<Sent, Error> {
        let user = attempt.user.as_ref().map(ToString::to_string).unwrap_or_default();
        let (source, now) = (source_key(attempt.source), millis(attempt.at));
        self.read(move |connection| sent(connection, &user, &source, contact, &settings, now)).await
    }

    /// Forgets what no longer counts: challenges, messages, windows, and failures of sources and of names that are not
    /// registered, and their host checks, all of them older than two days; and where somebody got in, after 90 days.
    /// Failures and host checks of registered users stay until they succeed or are unlocked.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), Error> {
        const DAY: i64 = 24 * 60 * 60 * 1000;
        let before = millis(now).saturating_sub(2 * DAY);
        let unknown = millis(now).saturating_sub(90 * DAY);
        self.write(move |connection| {
            connection.execute("DELETE FROM challenges WHERE created_at < ?1", [before])?;
            connection.execute("DELETE FROM sends WHERE at < ?1", [before])?;
            connection.execute("DELETE FROM tries WHERE at < ?1", [before])?;
            connection
                .execute("DELETE FROM outbox WHERE created_at < ?1 AND state NOT IN ('queued', 'sending')", [before])?;
            connection.execute("DELETE FROM workers WHERE seen_at < ?1", [before])?;
            alert::sweep(connection, before)?;
            connection.execute("DELETE FROM admissions WHERE since < ?1", [before])?;
            // Hosts count refusals in a row without a time.
            connection.execute(
                "DELETE FROM host_checks WHERE at < ?1
                   AND NOT EXISTS (SELECT 1 FROM users WHERE users.name = host_checks.user)",
                [before],
            )?;
            connection.execute("DELETE FROM host_sources WHERE at < ?1", [unknown])?;
            connection.execute("DELETE FROM known_sources WHERE last_at < ?1", [unknown])?;
            connection.execute(
                "DELETE FROM failures WHERE last_at < ?1 AND coalesce(locked_until, 0) < ?1
                   AND (scope = 'source' OR NOT EXISTS (SELECT 1 FROM users WHERE users.name = failures.user))",
                [before],
            )?;
            Ok(())
        })
        .await
    }
}

/// How a challenge ends without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All tries are used.
    Exhausted,
    /// The user left.
    Cancelled,
    /// The message could not be sent.
    Undelivered,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Undelivered => "undelivered",
        }
    }
}

/// What finds the challenge of a connection: all that a passcode is bound to.
struct Key {
    connection: String,
    user: String,
    service: &'static str,
    host: Arc<str>,
}

impl Key {
    fn new(attempt: &Attempt, connection: &str) -> Option<Self> {
        Some(Self {
            connection: connection.to_owned(),
            user: attempt.user.as_ref()?.as_str().to_owned(),
            service: attempt.service.as_str(),
            host: Arc::clone(&attempt.host),
        })
    }

    fn params(&self) -> (&str, &str, &str, &str) {
        (&self.connection, &self.user, self.service, &self.host)
    }
}

fn open(connection: &Connection, new: &NewChallenge, settings: &Settings) -> Result<Opened, Error> {
    let (now, source, user) = (millis(new.attempt.at), source_key(new.attempt.source), new.user.as_str());
    let contact = new.parcel.as_ref().and_then(|parcel| parcel.contact).or(new.challenge.contact);
    // A RADIUS server may ring the user's telephone for each answer, whatever it is: as much of a flood as messages of ours.
    let reaches_out = new.challenge.factor.is_sent() || new.challenge.factor == Factor::Radius;
    if reaches_out {
        if new.challenge.factor.is_sent() && sender::is_stopped(connection)? {
            return Ok(Opened::Stopped);
        }
        // It may have been removed since it was looked up: by its owner, whose telephone is lost.
        const COUNTS: &str =
            "SELECT EXISTS (SELECT 1 FROM contacts WHERE id = ?1 AND user = ?2 AND verified_at IS NOT NULL)";
        if contact.is_some()
            && !connection.prepare_cached(COUNTS)?.query_row(params![contact, user], |row| row.get(0))?
        {
            return Ok(Opened::NoContact);
        }
        let sent = sent(connection, user, &source, contact, settings, now)?;
        if new.resend && settings.send_pause > 0 && sent.by_user_in_pause > 0 {
            return Ok(Opened::TooSoon);
        }
        if let Some(budget) = sent.used_up(settings) {
            return Ok(budget);
        }
    }
    connection
        .prepare_cached(
            "UPDATE challenges SET state = 'replaced', ended_at = ?4
             WHERE connection = ?1 AND user = ?2 AND service = ?3 AND state = 'open'",
        )?
        .execute(params![new.connection, user, new.attempt.service.as_str(), now])?;
    connection
        .prepare_cached(
            "INSERT INTO challenges (id, user, connection, host, service, source, destination, prefix, digits, hash,
                                     tries_left, state, created_at, expires_at, contact, factor, own)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'open', ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            new.challenge.id,
            user,
            new.connection,
            &*new.attempt.host,
            new.attempt.service.as_str(),
            new.attempt.source.to_canonical().to_string(),
            new.challenge.destination,
            new.challenge.prefix.to_string(),
            new.challenge.digits,
            new.hash,
            new.challenge.tries_left,
            now,
            millis(new.challenge.expires_at),
            contact,
            new.challenge.factor.as_str(),
            new.challenge.own
        ])?;
    if !reaches_out {
        return Ok(Opened::Open);
    }
    connection
        .prepare_cached("INSERT INTO sends (challenge, user, source, at, contact) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![new.challenge.id, user, source, now, contact])?;
    connection.prepare_cached("UPDATE contacts SET sent_at = ?2 WHERE id = ?1")?.execute(params![contact, now])?;
    if let Some(parcel) = &new.parcel {
        outbox::insert(connection, parcel)?;
    }
    Ok(Opened::Open)
}

fn sent(
    connection: &Connection,
    user: &str,
    source: &str,
    contact: Option<i64>,
    settings: &Settings,
    now: i64,
) -> Result<Sent, Error> {
    const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM known_sources WHERE user = ?1 AND source = ?2)";
    const OF_USER: &str = "SELECT count(*) FROM sends WHERE user = ?1 AND at > ?3
                           AND (source IN (SELECT source FROM known_sources WHERE user = ?1)) = ?2";
    const OF_PAIR: &str = "SELECT count(*) FROM sends WHERE user = ?1 AND at > ?3 AND source = ?2";
    const OF_SOURCE: &str = "SELECT count(*) FROM sends WHERE source = ?1 AND at > ?2";
    // One address may be a contact of several users. What strangers ask for uses up nothing of those who are known.
    const OF_CONTACT: &str = "SELECT count(*) FROM sends JOIN contacts ON contacts.id = sends.contact
                              WHERE contacts.address = (SELECT address FROM contacts WHERE id = ?1) COLLATE NOCASE
                                AND at > ?3 AND EXISTS (SELECT 1 FROM known_sources
                                    WHERE known_sources.user = sends.user AND known_sources.source = sends.source) = ?2";
    const IN_ALL: &str = "SELECT count(*) FROM sends WHERE at > ?2 AND EXISTS (SELECT 1 FROM known_sources
                              WHERE known_sources.user = sends.user AND known_sources.source = sends.source) = ?1";
    let since = |seconds: i64| now.saturating_sub(seconds.saturating_mul(1000));
    let known: bool = connection.prepare_cached(KNOWN)?.query_row([user, source], |row| row.get(0))?;
    let of_user = |since: i64| -> Result<u32, Error> {
        Ok(connection.prepare_cached(OF_USER)?.query_row(params![user, known, since], |row| row.get(0))?)
    };
    let of_pair = |since: i64| -> Result<u32, Error> {
        Ok(connection.prepare_cached(OF_PAIR)?.query_row(params![user, source, since], |row| row.get(0))?)
    };
    let of_contact = |since: i64| -> Result<u32, Error> {
        Ok(connection.prepare_cached(OF_CONTACT)?.query_row(params![contact, known, since], |row| row.get(0))?)
    };
    let (window, day) = (since(i64::from(settings.send_window) * 60), since(24 * 60 * 60));
    let (by_user_in_window, by_user_in_day) = (of_user(window)?, of_user(day)?);
    // A screen without a passcode has no contact. It meets the contact's budget where a user with a single one would, so that
    // the budget does not tell who is registered.
    let (by_contact_in_window, by_contact_in_day) = match contact {
        Some(_) => (of_contact(window)?, of_contact(day)?),
        None => (by_user_in_window, by_user_in_day),
    };
    Ok(Sent {
        known,
        by_user_in_pause: of_user(since(i64::from(settings.send_pause)))?,
        by_user_in_window,
        by_user_in_day,
        by_pair_in_window: of_pair(window)?,
        by_pair_in_day: of_pair(day)?,
        by_source_in_window: connection
            .prepare_cached(OF_SOURCE)?
            .query_row(params![source, window], |row| row.get(0))?,
        by_contact_in_window,
        by_contact_in_day,
        in_all_in_window: connection.prepare_cached(IN_ALL)?.query_row(params![known, window], |row| row.get(0))?,
    })
}

/// Ends whatever a right answer of `user` opened until now: the repeat windows, and the windows of FTP, which are good only as
/// long as their challenge counts as used.
pub(super) fn end_windows(connection: &Connection, user: &User) -> Result<(), Error> {
    connection.execute("DELETE FROM admissions WHERE user = ?1", [user.as_str()])?;
    connection
        .execute("UPDATE challenges SET state = 'cancelled' WHERE user = ?1 AND state = 'used'", [user.as_str()])?;
    Ok(())
}

pub(super) fn end_open(connection: &Connection, which: &'static str, key: &str, end: End) -> Result<(), Error> {
    connection
        .prepare_cached(&format!("UPDATE challenges SET state = ?2 WHERE {which} AND state = 'open'"))?
        .execute(params![key, end.as_str()])?;
    Ok(())
}

fn challenge(row: &Row<'_>) -> Result<Challenge, Error> {
    let (prefix, factor): (String, String) = (row.get("prefix")?, row.get("factor")?);
    Ok(Challenge {
        id: row.get("id")?,
        destination: row.get("destination")?,
        prefix: prefix.chars().next().ok_or(Error::Unreadable("prefix"))?,
        digits: row.get("digits")?,
        tries_left: row.get("tries_left")?,
        expires_at: timestamp(row.get("expires_at")?)?,
        factor: factor.parse().map_err(|_| Error::Unreadable("factor of a challenge"))?,
        contact: row.get("contact")?,
        own: row.get("own")?,
    })
}
