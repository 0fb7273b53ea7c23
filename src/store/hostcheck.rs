//! The budget of passwords that hosts are asked about. Hosts count refusals in a row, without a time (QMAXSIGN on IBM i),
//! and so does it: while it stays below the host's own limit, nobody disables a profile through the gateway at once.
//!
//! A password counts from before the host hears of it until the host accepts one of that user, or an administrator unlocks
//! the user. Once `ftp.host-checks` of them stand, there is one more each `ftp.host-checks-window`, so that a user whom nobody
//! unlocks gets in some day; whoever goes on guessing for days reaches the host's limit all the same, unless that setting is
//! 0.
//!
//! Where the host has accepted a password of the user lately, the last check and all that come with time are kept for who
//! comes from there: strangers have those before the last one, together, until the host accepts a password, and what they had
//! refused at terminals uses up no more than that. So nobody keeps an owner out of a place where the owner was before, and
//! strangers never reach the host's limit. Where there is but one check there is none to keep.
//!
//! Those from where no passcode is asked for are counted apart from the others: who is asked for passcodes cannot use up the
//! budget of who is not. The sum of the two can be twice `ftp.host-checks`. Those of whom nobody named, where they are let in
//! at all, are counted by source within the time.

use jiff::{SignedDuration, Timestamp};
use policy::{Attempt, Failure, Settings, Tally, User};
use rusqlite::{Connection, params};

use super::{Error, Store, audit, failure, millis, source_key, timestamp};
use crate::audit::Entry;

/// Stands for the user of those whom nobody named; no user's name is empty.
const NAMELESS: &str = "";
/// For how long a source at which the host accepted a password of the user has a check of its own.
const KNOWN_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How much of a budget is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Passwords in a row that the host did not accept, or has not judged yet.
    pub used: u32,
    /// How many may be.
    pub limit: u32,
    /// When the last one was.
    last: Option<Timestamp>,
    /// Those of sources at which the host accepted a password of the user.
    known: u32,
    /// Who asks.
    source: Source,
}

/// What a source is to a user at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The host accepted a password of the user there lately.
    Known,
    /// It accepted one elsewhere.
    Stranger,
    /// It accepted none anywhere: nobody can tell who is the owner.
    Anybody,
}

impl Budget {
    /// From when on there is another check; `None` for at once, [`Timestamp::MAX`] for never by itself.
    #[must_use]
    pub fn waits(&self, settings: &Settings, now: Timestamp) -> Option<Timestamp> {
        if self.used < self.limit {
            return None;
        }
        let next = match (self.last, settings.ftp_host_checks_window) {
            (_, 0) => Timestamp::MAX,
            _ if self.source == Source::Stranger => Timestamp::MAX,
            (None, _) => return None,
            (Some(last), minutes) => {
                last.checked_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(Timestamp::MAX)
            }
        };
        (now < next).then_some(next)
    }

    /// With what hosts refused by other services.
    fn with(self, tally: &Tally) -> Self {
        if tally.passwords <= self.used {
            return self;
        }
        if self.source == Source::Known {
            // Anybody can have passwords refused at a terminal: with those of strangers here they leave the last check.
            let others = tally.passwords.saturating_sub(self.known).min(self.limit.saturating_sub(1));
            return Self { used: self.used.max(self.known.saturating_add(others)), ..self };
        }
        Self { used: tally.passwords, last: self.last.max(tally.last), ..self }
    }
}

impl Store {
    /// Takes one check off the budget of `attempt`, and gives its number; `None` where the budget is used up. `refused` is
    /// what hosts refused by whatever service.
    ///
    /// # Errors
    /// Where the store does not answer; the host must not be asked then.
    pub async fn reserve_check(
        &self,
        attempt: &Attempt,
        user: &User,
        trusted: bool,
        refused: Tally,
        settings: &Settings,
    ) -> Result<Option<i64>, Error> {
        let (user, host) = (user.as_str().to_owned(), attempt.host.to_string());
        let (source, at, settings) = (source_key(attempt.source), attempt.at, settings.clone());
        self.write(move |connection| {
            let budget = budget(connection, (&user, &host, &source), trusted, &settings, at)?;
            // Who is not asked for passcodes is counted apart.
            let budget = if trusted { budget } else { budget.with(&refused) };
            if budget.waits(&settings, at).is_some() {
                return Ok(None);
            }
            insert(connection, (&user, &host, &source), trusted, at).map(Some)
        })
        .await
    }

    /// Takes one check off the budget of those whom nobody named, at the source of `attempt`; `false` where it is used up.
    ///
    /// # Errors
    /// Where the store does not answer; the host must not be asked then.
    pub async fn reserve_nameless(&self, attempt: &Attempt, settings: &Settings) -> Result<bool, Error> {
        let (host, source, at) = (attempt.host.to_string(), source_key(attempt.source), attempt.at);
        let minutes = match settings.ftp_host_checks_window {
            0 => i64::MAX,
            minutes => i64::from(minutes) * 60_000,
        };
        let (since, limit) = (millis(at).saturating_sub(minutes), settings.ftp_host_checks);
        self.write(move |connection| {
            let used: u32 = connection
                .prepare_cached(
                    "SELECT count(*) FROM host_checks WHERE user = ?1 AND host = ?2 AND source = ?3 AND at > ?4",
                )?
                .query_row(params![NAMELESS, host, source, since], |row| row.get(0))?;
            if used >= limit {
                return Ok(false);
            }
            insert(connection, (NAMELESS, &host, &source), true, at)?;
            Ok(true)
        })
        .await
    }

    /// Gives back one check of somebody unnamed at the source of `attempt`, of which the host never heard. What others from
    /// there had refused stays counted.
    ///
    /// # Errors
    /// Where the store does not answer; the check stays counted then.
    pub async fn refund_nameless(&self, attempt: &Attempt) -> Result<(), Error> {
        let (host, source) = (attempt.host.to_string(), source_key(attempt.source));
        self.write(move |connection| refund(connection, &host, &source)).await
    }

    /// Gives back a check of which the host never heard.
    ///
    /// # Errors
    /// Where the store does not answer; the check stays counted then.
    pub async fn refund_check(&self, id: i64) -> Result<(), Error> {
        self.write(move |connection| {
            connection.prepare_cached("DELETE FROM host_checks WHERE id = ?1")?.execute([id])?;
            Ok(())
        })
        .await
    }

    /// The host accepted a password of the user of `attempt`, by FTP or otherwise, and with it forgot its own count: clears
    /// the tallies of refused passwords, forgets the checks at that host, and notes where an FTP client came from. Of
    /// somebody unnamed it gives back one check. All of it is one write: whoever logs on in numbers waits for the disk.
    ///
    /// # Errors
    /// Where the store does not answer; all stays counted then.
    pub async fn password_accepted(&self, attempt: &Attempt, is_ftp: bool, entry: Entry) -> Result<(), Error> {
        let (host, source) = (attempt.host.to_string(), source_key(attempt.source));
        let attempt = attempt.clone();
        self.write(move |connection| {
            match &attempt.user {
                Some(user) => {
                    failure::clear(connection, user, &attempt, Failure::Password)?;
                    let (user, at) = (user.as_str(), millis(attempt.at));
                    connection
                        .prepare_cached("DELETE FROM host_checks WHERE user = ?1 AND host = ?2")?
                        .execute(params![user, host])?;
                    if is_ftp {
                        connection
                            .prepare_cached(
                                "INSERT INTO host_sources (user, host, source, at) VALUES (?1, ?2, ?3, ?4)
                                 ON CONFLICT (user, host, source) DO UPDATE SET at = excluded.at",
                            )?
                            .execute(params![user, host, source, at])?;
                    }
                }
                None if is_ftp => refund(connection, &host, &source)?,
                None => {}
            }
            audit::append(connection, &entry)
        })
        .await
    }

    /// How much of the budget of `attempt` is used, of those that are asked for passcodes.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn checks(
        &self,
        attempt: &Attempt,
        user: &User,
        trusted: bool,
        refused: Tally,
        settings: &Settings,
    ) -> Result<Budget, Error> {
        let (user, host) = (user.as_str().to_owned(), attempt.host.to_string());
        let (source, at, settings) = (source_key(attempt.source), attempt.at, settings.clone());
        self.read(move |connection| {
            let budget = budget(connection, (&user, &host, &source), trusted, &settings, at)?;
            // As a check would be reserved.
            Ok(if trusted { budget } else { budget.with(&refused) })
        })
        .await
    }
}

/// Gives back the latest check of those whom nobody named.
fn refund(connection: &Connection, host: &str, source: &str) -> Result<(), Error> {
    connection
        .prepare_cached(
            "DELETE FROM host_checks WHERE id =
             (SELECT max(id) FROM host_checks WHERE user = ?1 AND host = ?2 AND source = ?3)",
        )?
        .execute(params![NAMELESS, host, source])?;
    Ok(())
}

fn budget(
    connection: &Connection,
    (user, host, source): (&str, &str, &str),
    trusted: bool,
    settings: &Settings,
    now: Timestamp,
) -> Result<Budget, Error> {
    let since = millis(now.checked_sub(KNOWN_MAX).unwrap_or(Timestamp::MIN));
    let (used, last, known): (u32, Option<i64>, u32) = connection
        .prepare_cached(
            "SELECT count(*), max(at), count(*) FILTER (WHERE EXISTS (
                 SELECT 1 FROM host_sources AS known
                 WHERE known.user = made.user AND known.host = made.host AND known.source = made.source AND known.at > ?4))
             FROM host_checks AS made WHERE user = ?1 AND host = ?2 AND trusted = ?3",
        )?
        .query_row(params![user, host, trusted, since], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let (elsewhere, here): (bool, bool) = connection
        .prepare_cached(
            "SELECT coalesce(max(source <> ?3), 0), coalesce(max(source = ?3), 0)
             FROM host_sources WHERE user = ?1 AND host = ?2 AND at > ?4",
        )?
        .query_row(params![user, host, source, since], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let source = match (here, elsewhere) {
        (true, _) => Source::Known,
        (false, true) => Source::Stranger,
        (false, false) => Source::Anybody,
    };
    let limit = settings.ftp_host_checks;
    let limit = if source == Source::Stranger { limit.saturating_sub(1).max(1) } else { limit };
    Ok(Budget { used, limit, last: last.map(timestamp).transpose()?, known, source })
}

fn insert(
    connection: &Connection,
    (user, host, source): (&str, &str, &str),
    trusted: bool,
    at: Timestamp,
) -> Result<i64, Error> {
    Ok(connection
        .prepare_cached(
            "INSERT INTO host_checks (user, host, source, trusted, at) VALUES (?1, ?2, ?3, ?4, ?5) RETURNING id",
        )?
        .query_row(params![user, host, source, trusted, millis(at)], |row| row.get(0))?)
}
