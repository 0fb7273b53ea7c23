//! Mobile operators that take mail for a number as a text message.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::{Error, Store, audit};
use crate::audit::Entry;

/// A mobile operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Carrier {
    /// Its short name, by which contacts name it.
    pub name: String,
    /// Its full name.
    pub title: String,
    /// What stands behind the number and `@`.
    pub suffix: String,
    /// From which day on it takes no mail any more; `None`: no end is known.
    pub retired_on: Option<jiff::civil::Date>,
    /// A note.
    pub comment: String,
}

impl Carrier {
    /// Whether it takes no mail any more.
    #[must_use]
    pub fn is_retired(&self, today: jiff::civil::Date) -> bool {
        self.retired_on.is_some_and(|day| day <= today)
    }

    /// The mail address of `number`, which is in E.164: the gateways know numbers without the country's code of North
    /// America, and without the plus sign.
    #[must_use]
    pub fn address(&self, number: &str) -> String {
        let digits = number.trim_start_matches('+');
        let digits = digits.strip_prefix('1').filter(|rest| rest.len() == 10).unwrap_or(digits);
        format!("{digits}@{}", self.suffix)
    }
}

impl Store {
    /// All carriers, by name.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn carriers(&self) -> Result<Vec<Carrier>, Error> {
        self.read(carriers).await
    }

    /// Adds a carrier, or with `replace` changes one.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Missing`], or the store does not answer.
    pub async fn put_carrier(&self, new: Carrier, replace: bool, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            match (carrier(connection, &new.name)?.is_some(), replace) {
                (true, false) => return Err(Error::Exists(format!("carrier {}", new.name))),
                (false, true) => return Err(Error::Missing(format!("carrier {}", new.name))),
                (true, true) | (false, false) => {}
            }
            let retired = new.retired_on.map(|day| day.to_string()).unwrap_or_default();
            connection.execute(
                "INSERT OR REPLACE INTO carriers (name, title, suffix, retired_on, comment) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![new.name, new.title, new.suffix, retired, new.comment],
            )?;
            audit::append(connection, &entry)
        })
        .await
    }

    /// Removes a carrier that no contact names.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Full`] where contacts name it, or the store does not answer.
    pub async fn remove_carrier(&self, name: String, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            let used: u32 =
                connection.query_row("SELECT count(*) FROM contacts WHERE carrier = ?1", [&name], |row| row.get(0))?;
            if used > 0 {
                return Err(Error::Full(format!("carrier {name} is named by {used} contacts")));
            }
            if connection.execute("DELETE FROM carriers WHERE name = ?1", [&name])? == 0 {
                return Err(Error::Missing(format!("carrier {name}")));
            }
            audit::append(connection, &entry)
        })
        .await
    }
}

/// The carrier of that name.
pub(super) fn carrier(connection: &Connection, name: &str) -> Result<Option<Carrier>, Error> {
    Ok(carriers(connection)?.into_iter().find(|carrier| carrier.name == name))
}

/// All carriers, by name.
pub(super) fn carriers(connection: &Connection) -> Result<Vec<Carrier>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT name, title, suffix, retired_on, comment FROM carriers ORDER BY name")?;
    let rows = statement.query_and_then([], |row| {
        let retired: String = row.get(3)?;
        let retired_on = if retired.is_empty() {
            None
        } else {
            Some(retired.parse().map_err(|_| Error::Unreadable("end of a carrier"))?)
        };
        Ok(Carrier { name: row.get(0)?, title: row.get(1)?, suffix: row.get(2)?, retired_on, comment: row.get(4)? })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn north_american_numbers_lose_their_one() {
        let carrier = Carrier {
            name: "x".to_owned(),
            title: String::new(),
            suffix: "sms.example.com".to_owned(),
            retired_on: Some("2025-06-17".parse().unwrap()),
            comment: String::new(),
        };
        assert_eq!(carrier.address("+12025550100"), "2025550100@sms.example.com");
        assert_eq!(carrier.address("+4917012345678"), "4917012345678@sms.example.com");
        assert!(carrier.is_retired("2025-06-17".parse().unwrap()));
        assert!(!carrier.is_retired("2025-06-16".parse().unwrap()));
    }
}
