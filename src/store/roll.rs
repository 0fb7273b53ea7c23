//! All users at once, with what they can prove with and what they are let in by: for replays and reports, which take longer than a
//! call may.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use policy::{Emergency, Factor, Factors, Standing, User};

use super::audit::Reading;
use super::contact::contacts;
use super::user::standing;
use super::{Error, emergency, factor};
use crate::factor::Record;

impl Reading {
    /// Every registered user, and what is known of them at `now`.
    ///
    /// # Errors
    /// Where the store does not answer, or holds what cannot be read.
    pub fn standings(&self, now: Timestamp) -> Result<BTreeMap<User, Standing>, Error> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT * FROM users")?;
        let rows = statement.query_and_then([], |row| {
            let user: User = row.get::<_, String>("name")?.parse().map_err(|_| Error::Unreadable("user name"))?;
            let mut standing = standing(row)?;
            let sent = contacts(connection, &user)?;
            let sent = sent.iter().filter(|contact| contact.verified_at.is_some()).map(|contact| contact.kind.factor());
            let own = factor::factors(connection, &user)?;
            let own = own.iter().filter(|record| record.counts()).map(Record::kind);
            let code = emergency::has_code(connection, &user, now)?.then_some(Factor::OneTime);
            standing.factors = sent.chain(own).chain(code).collect::<Factors>();
            Ok::<_, Error>((user, standing))
        })?;
        rows.collect()
    }

    /// All emergency overrides by user, the oldest first.
    ///
    /// # Errors
    /// Where the store does not answer, or holds what cannot be read.
    pub fn emergencies(&self) -> Result<HashMap<User, Vec<Emergency>>, Error> {
        let mut all: HashMap<User, Vec<Emergency>> = HashMap::new();
        for granted in emergency::overrides(self.connection(), "id >= ?1", 0)? {
            let user = granted.user.parse().map_err(|_| Error::Unreadable("user of an override"))?;
            all.entry(user).or_default().push(granted.emergency());
        }
        Ok(all)
    }
}
