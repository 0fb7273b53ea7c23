//! Service accounts.

use jiff::Timestamp;
use policy::account::Schedule;
use policy::{ServiceAccount, User};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Store, millis, version};
use crate::audit::Entry;

impl Store {
    /// Adds a service account's rule, whatever its number says, and gives its number.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is such a rule already, or the store does not answer.
    pub async fn add_account(&self, account: ServiceAccount, entry: Entry) -> Result<i64, Error> {
        self.write(move |connection| {
            let id = insert(connection, &account, entry.at)?
                .ok_or_else(|| Error::Exists(format!("such a rule for {}", account.user)))?;
            version::changed(connection, &entry)?;
            Ok(id)
        })
        .await
    }

    /// Removes a service account's rule.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn remove_account(&self, id: i64, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            if connection.execute("DELETE FROM service_accounts WHERE id = ?1", [id])? == 0 {
                return Err(Error::Missing(format!("service account rule {id}")));
            }
            version::changed(connection, &entry)
        })
        .await
    }
}

fn insert(connection: &Connection, account: &ServiceAccount, now: Timestamp) -> Result<Option<i64>, Error> {
    let id = connection
        .query_row(
            "INSERT INTO service_accounts (user, service, block, days, hours, certificate, comment, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING RETURNING id",
            params![
                account.user.as_str(),
                account.service.as_str(),
                account.block.to_string(),
                account.schedule.days.to_string(),
                account.schedule.hours.to_string(),
                account.certificate.map(|certificate| certificate.to_string()).unwrap_or_default(),
                account.comment,
                millis(now)
            ],
            |row| row.get(0),
        )
        .optional()?;
    Ok(id)
}

/// All rules, the oldest first. One that cannot be read is an error: a condition left out could open the gate.
pub(super) fn accounts(connection: &Connection) -> Result<Vec<ServiceAccount>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, user, service, block, days, hours, certificate, comment FROM service_accounts ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |column: &str| row.get::<_, String>(column);
        let unreadable = Error::Unreadable;
        let certificate = text("certificate")?;
        accounts.push(ServiceAccount {
            id: row.get("id")?,
            user: text("user")?.parse::<User>().map_err(|_| unreadable("user of a service account"))?,
            service: text("service")?.parse().map_err(|_| unreadable("service of a service account"))?,
            block: text("block")?.parse().map_err(|_| unreadable("network of a service account"))?,
            schedule: Schedule {
                days: text("days")?.parse().map_err(|_| unreadable("days of a service account"))?,
                hours: text("hours")?.parse().map_err(|_| unreadable("hours of a service account"))?,
            },
            certificate: if certificate.is_empty() {
                None
            } else {
                Some(certificate.parse().map_err(|_| unreadable("certificate of a service account"))?)
            },
            comment: text("comment")?,
        });
    }
    Ok(accounts)
}
