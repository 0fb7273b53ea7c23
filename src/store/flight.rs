//! Tries under way: taken off a challenge, and not judged yet.
//!
//! Locks come of failures, and a try is one only when it has been judged. Somebody with hundreds of challenges at once could
//! send as many answers before the first of them counts. So each try stands here from the moment at which it is taken until
//! it is judged, and another one is taken only where nobody would be locked if all of them were wrong.
//!
//! Tries at RADIUS do not count for their source: they may take as long as a user takes to look at a telephone, and an office
//! behind one address has many. For the user, and for the user from there, they do.

use policy::{Attempt, Enforcement, Failure, Reason, Rules, Scope, Tally, User};
use rusqlite::{Connection, params};

use super::user::tally;
use super::{Challenge, Error, millis, source_key};

/// How long a try may be under way, in milliseconds: longer than anybody judges ([`crate::guard`] gives up before). One of a
/// process that died ends so.
const UNDER_WAY: i64 = 2 * 60 * 1000;

/// Whether another try may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// Not before some of those under way are judged.
    Busy,
    /// Not before a lock ends.
    Locked(Reason),
}

/// Whether one more try of `attempt` may be judged.
pub(super) fn room(connection: &Connection, attempt: &Attempt, rules: &Rules) -> Result<Room, Error> {
    const OF_USER: &str = "SELECT count(*) FROM tries WHERE at > ?1 AND user = ?2";
    const OF_SOURCE: &str = "SELECT count(*) FROM tries WHERE at > ?1 AND source = ?2 AND factor <> 'radius'";
    const OF_PAIR: &str = "SELECT count(*) FROM tries WHERE at > ?1 AND user = ?2 AND source = ?3";
    if let Some(reason) = locked(connection, attempt, rules)? {
        return Ok(Room::Locked(reason));
    }
    if rules.enforcement(attempt) != Enforcement::Enforce {
        return Ok(Room::Free);
    }
    let source = source_key(attempt.source);
    let user = attempt.user.as_ref().map_or("", User::as_str);
    let since = millis(attempt.at).saturating_sub(UNDER_WAY);
    let under_way = [
        (Scope::User, user, "", connection.prepare_cached(OF_USER)?.query_row(params![since, user], |row| row.get(0))?),
        (
            Scope::Source,
            "",
            source.as_str(),
            connection.prepare_cached(OF_SOURCE)?.query_row(params![since, source], |row| row.get(0))?,
        ),
        (
            Scope::Pair,
            user,
            source.as_str(),
            connection.prepare_cached(OF_PAIR)?.query_row(params![since, user, source], |row| row.get::<_, u32>(0))?,
        ),
    ];
    for (scope, user, source, count) in under_way {
        let wrong = |tally: Tally, _| tally.failed(scope, Failure::Passcode, &rules.settings, attempt.at);
        let all_wrong = (0..count).fold(tally(connection, scope, user, source)?, wrong);
        if all_wrong.lock(attempt.at).is_some() {
            return Ok(Room::Busy);
        }
    }
    Ok(Room::Free)
}

/// Which lock holds `attempt` off, where the rules enforce locks.
pub(super) fn locked(connection: &Connection, attempt: &Attempt, rules: &Rules) -> Result<Option<Reason>, Error> {
    if rules.enforcement(attempt) != Enforcement::Enforce {
        return Ok(None);
    }
    let source = source_key(attempt.source);
    let user = attempt.user.as_ref().map_or("", User::as_str);
    for (scope, user, source, reason) in [
        (Scope::User, user, "", Reason::UserLocked),
        (Scope::Source, "", source.as_str(), Reason::SourceLocked),
        (Scope::Pair, user, source.as_str(), Reason::UserLockedFromSource),
    ] {
        if tally(connection, scope, user, source)?.lock(attempt.at).is_some() {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

/// A try at `challenge` is under way from now on; its number.
pub(super) fn begin(connection: &Connection, attempt: &Attempt, challenge: &Challenge) -> Result<i64, Error> {
    let user = attempt.user.as_ref().map_or("", User::as_str);
    connection
        .prepare_cached("INSERT INTO tries (challenge, user, source, factor, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            challenge.id,
            user,
            source_key(attempt.source),
            challenge.factor.as_str(),
            millis(attempt.at)
        ])?;
    Ok(connection.last_insert_rowid())
}

/// The try of this number was judged, or cannot be.
pub(super) fn end(connection: &Connection, id: i64) -> Result<(), Error> {
    connection.prepare_cached("DELETE FROM tries WHERE id = ?1")?.execute([id])?;
    Ok(())
}
