//! Failures in a row, which lock: counted, and cleared, in the transaction of what they come of.

use jiff::Timestamp;
use policy::{Attempt, Failure, Scope, Tally, User};
use rusqlite::{Connection, params};

use super::user::tally;
use super::{Error, Store, audit, factor, millis, rule, source_key};
use crate::audit::{Entry, Event, Outcome};

/// Whom a failure counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The user, the user from there, and the source.
    Everywhere,
    /// The user, and the user from there: the source is not to blame for it.
    User,
}

impl Store {
    /// Counts a failure of `attempt` against user and source: whether somebody is locked now. For the user everywhere it
    /// counts only within the share of the source. It also stands at the factor of the challenge that `entry` names.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn count_failure(&self, attempt: Attempt, failure: Failure, entry: Entry) -> Result<bool, Error> {
        self.write(move |connection| count(connection, &attempt, (failure, Blame::Everywhere), &entry)).await
    }
}

/// Counts a failure within a transaction: whether somebody is locked now.
pub(super) fn count(
    connection: &Connection,
    attempt: &Attempt,
    (failure, blame): (Failure, Blame),
    entry: &Entry,
) -> Result<bool, Error> {
    let settings = rule::settings(connection)?;
    let source = source_key(attempt.source);
    let user = attempt.user.as_ref().map(User::as_str);
    let mut scopes = Vec::new();
    if blame == Blame::Everywhere {
        scopes.push((Scope::Source, "", source.as_str()));
    }
    let mut locked = false;
    if let Some(user) = user {
        scopes.push((Scope::Pair, user, source.as_str()));
        if tally(connection, Scope::Pair, user, &source)?.counts_everywhere(&settings, attempt.at) {
            scopes.push((Scope::User, user, ""));
        } else {
            locked |= tally(connection, Scope::User, user, "")?.lock(attempt.at).is_some();
        }
    }
    let mut lockouts = Vec::new();
    for (scope, user, source) in scopes {
        let before = tally(connection, scope, user, source)?;
        let failed = before.failed(scope, failure, &settings, attempt.at);
        locked |= failed.lock(attempt.at).is_some();
        put_tally(connection, scope, user, source, &failed)?;
        if failed.is_locked_out(&before, scope, &settings) {
            lockouts.push(lockout(entry, scope, &failed));
        }
    }
    if let (Failure::Passcode, Some(challenge)) = (failure, &entry.challenge) {
        factor::miss(connection, challenge)?;
    }
    for entry in std::iter::once(entry).chain(&lockouts) {
        audit::append(connection, entry)?;
    }
    Ok(locked)
}

/// The host accepted a password, or a passcode was right: what that clears is forgotten.
pub(super) fn clear(connection: &Connection, user: &User, attempt: &Attempt, cleared: Failure) -> Result<(), Error> {
    let source = source_key(attempt.source);
    for (scope, source) in [(Scope::User, ""), (Scope::Pair, source.as_str())] {
        let before = tally(connection, scope, user.as_str(), source)?;
        put_tally(connection, scope, user.as_str(), source, &before.succeeded(scope, cleared))?;
    }
    Ok(())
}

/// The entry of a lock that the failure in `entry` caused.
fn lockout(entry: &Entry, scope: Scope, tally: &Tally) -> Entry {
    let reason = match scope {
        Scope::User => "user-locked",
        Scope::Pair => "user-locked-from-source",
        Scope::Source => "source-locked",
    };
    let until = match tally.locked_until.filter(|until| *until != Timestamp::MAX) {
        None => "until it is unlocked".to_owned(),
        Some(until) => format!("until {until:.0}"),
    };
    let entry =
        Entry { event: Event::LockedOut, outcome: Outcome::Noted, factor: None, challenge: None, ..entry.clone() };
    // A source is locked whoever it was that failed last.
    let user = entry.user.clone().filter(|_| scope != Scope::Source);
    let detail = format!("{} failures in a row; locked {until}", tally.total());
    Entry { user, ..entry.reason(reason).detail(&detail) }
}

fn put_tally(connection: &Connection, scope: Scope, user: &str, source: &str, tally: &Tally) -> Result<(), Error> {
    if *tally == Tally::default() {
        connection
            .prepare_cached("DELETE FROM failures WHERE scope = ?1 AND user = ?2 AND source = ?3")?
            .execute(params![scope.as_str(), user, source])?;
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO failures (scope, user, source, passwords, passcodes, last_at, locked_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET passwords = excluded.passwords, passcodes = excluded.passcodes,
                                       last_at = excluded.last_at, locked_until = excluded.locked_until",
        )?
        .execute(params![
            scope.as_str(),
            user,
            source,
            tally.passwords,
            tally.passcodes,
            tally.last.map(millis),
            tally.locked_until.map(millis)
        ])?;
    Ok(())
}
