//! Networks and settings.

use jiff::Timestamp;
use policy::rule::{Block, SETTINGS};
use policy::{Network, Networks, Rules, Service, Setting, Settings, Treatment};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, Store, account, audit, millis, timestamp};
use crate::audit::Entry;

/// A setting, its value, and when it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSetting {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value.
    pub value: String,
    /// When it was set; `None`: the default counts.
    pub changed_at: Option<Timestamp>,
}

impl Store {
    /// All that an administrator laid down.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn rules(&self) -> Result<Rules, Error> {
        self.read(rules).await
    }

    /// Adds a network and gives its number.
    ///
    /// # Errors
    /// [`Error::Exists`] where the service has a rule for exactly this block, or the store does not answer.
    pub async fn add_network(
        &self,
        service: Service,
        block: Block,
        treatment: Treatment,
        comment: String,
        entry: Entry,
    ) -> Result<i64, Error> {
        self.write(move |connection| {
            let id = connection
                .query_row(
                    "INSERT INTO networks (service, block, treatment, comment, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO NOTHING RETURNING id",
                    params![service.as_str(), block.to_string(), treatment.as_str(), comment, millis(entry.at)],
                    |row| row.get(0),
                )
                .optional()?
                .ok_or_else(|| Error::Exists(format!("a {service} rule for {block}")))?;
            audit::append(connection, &Entry { rule: Some(id), ..entry })?;
            Ok(id)
        })
        .await
    }

    /// Removes a network.
    ///
    /// # Errors
    /// [`Error::Missing`], or the store does not answer.
    pub async fn remove_network(&self, id: i64, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            if connection.execute("DELETE FROM networks WHERE id = ?1", [id])? == 0 {
                return Err(Error::Missing(format!("network {id}")));
            }
            audit::append(connection, &entry)
        })
        .await
    }

    /// All settings with their values.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn settings(&self) -> Result<Vec<StoredSetting>, Error> {
        self.read(|connection| {
            let values = settings(connection)?;
            SETTINGS
                .iter()
                .map(|setting| {
                    let changed: Option<i64> = connection
                        .query_row("SELECT changed_at FROM settings WHERE name = ?1", [setting.name], |row| row.get(0))
                        .optional()?;
                    Ok(StoredSetting {
                        setting,
                        value: values.value(setting.name)?,
                        changed_at: changed.map(timestamp).transpose()?,
                    })
                })
                .collect()
        })
        .await
    }

    /// Sets a setting.
    ///
    /// # Errors
    /// [`Error::Setting`] where it is not taken, or the store does not answer.
    pub async fn set_setting(&self, name: String, value: String, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            let mut settings = settings(connection)?;
            settings.set(&name, &value)?;
            connection.execute(
                "INSERT INTO settings (name, value, changed_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = excluded.changed_at",
                params![name, settings.value(&name)?, millis(entry.at)],
            )?;
            audit::append(connection, &entry)
        })
        .await
    }

    /// Has the default of a setting count again.
    ///
    /// # Errors
    /// [`Error::Setting`] where there is no such setting, or the store does not answer.
    pub async fn reset_setting(&self, name: String, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            policy::rule::find(&name)?;
            connection.execute("DELETE FROM settings WHERE name = ?1", [&name])?;
            audit::append(connection, &entry)
        })
        .await
    }
}

/// The rules as they stand.
pub(super) fn rules(connection: &Connection) -> Result<Rules, Error> {
    let mut statement =
        connection.prepare_cached("SELECT id, service, block, treatment, comment FROM networks ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut networks = Vec::new();
    while let Some(row) = rows.next()? {
        let (service, block, treatment): (String, String, String) = (row.get(1)?, row.get(2)?, row.get(3)?);
        networks.push(Network {
            id: row.get(0)?,
            service: service.parse().map_err(|_| Error::Unreadable("service of a network"))?,
            block: block.parse().map_err(|_| Error::Unreadable("network"))?,
            treatment: treatment.parse().map_err(|_| Error::Unreadable("treatment of a network"))?,
            comment: row.get(4)?,
        });
    }
    let accounts = account::accounts(connection)?;
    Ok(Rules { settings: settings(connection)?, networks: Networks::new(networks), accounts })
}

/// The settings as they stand. One that cannot be read is an error: to guess at it could open the gate.
pub(super) fn settings(connection: &Connection) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    let mut statement = connection.prepare_cached("SELECT name, value FROM settings")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, value): (String, String) = (row.get(0)?, row.get(1)?);
        settings.set(&name, &value)?;
    }
    Ok(settings)
}
