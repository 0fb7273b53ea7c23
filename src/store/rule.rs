//! Networks, modes and settings.

use std::sync::Arc;

use jiff::Timestamp;
use policy::account::Schedule;
use policy::setting::SETTINGS;
use policy::{Enforcement, Mode, Network, Networks, Rules, Service, Setting, Settings};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::{Error, Store, account, millis, timestamp, version};
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

    /// Adds a network, whatever its number says, and gives its number.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is a rule for exactly this already, or the store does not answer.
    pub async fn add_network(&self, network: Network, entry: Entry) -> Result<i64, Error> {
        self.write(move |connection| {
            let id = insert(connection, &network, entry.at)?
                .ok_or_else(|| Error::Exists(format!("a {} rule for {}", network.service, network.block)))?;
            version::changed(connection, &Entry { rule: Some(id), ..entry })?;
            Ok(id)
        })
        .await
    }

    /// Has `network` count in place of what stands under its number.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Exists`], or the store does not answer.
    pub async fn change_network(&self, network: Network, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            let changed = connection.execute(
                "UPDATE OR IGNORE networks SET service = ?1, host = ?2, block = ?3, days = ?4, hours = ?5, treatment = ?6,
                                               enrolment = ?7, logging = ?8, review = ?9, comment = ?10 WHERE id = ?11",
                params_from_iter(values(&network).into_iter().chain([network.id.into()])),
            )?;
            if changed == 0 {
                let known: bool = connection.query_row(
                    "SELECT EXISTS (SELECT 1 FROM networks WHERE id = ?1)",
                    [network.id],
                    |row| row.get(0),
                )?;
                return Err(if known {
                    Error::Exists(format!("a {} rule for {}", network.service, network.block))
                } else {
                    Error::Missing(format!("network {}", network.id))
                });
            }
            version::changed(connection, &Entry { rule: Some(network.id), ..entry })
        })
        .await
    }

    /// Has decisions for a service, a host, or both bind or not, apart from the setting; `None`: as the setting says.
    ///
    /// # Errors
    /// [`Error::Missing`] where there was nothing apart, or the store does not answer.
    pub async fn set_mode(
        &self,
        service: Option<Service>,
        host: Option<String>,
        enforcement: Option<Enforcement>,
        entry: Entry,
    ) -> Result<(), Error> {
        self.write(move |connection| {
            let (service, host) = (service.map_or("", Service::as_str), host.unwrap_or_default());
            // However the host was written: what is left of another spelling would go on counting.
            let gone = connection
                .execute("DELETE FROM modes WHERE service = ?1 AND host = ?2 COLLATE NOCASE", [service, &host])?;
            match enforcement {
                Some(enforcement) => {
                    connection.execute(
                        "INSERT INTO modes (service, host, enforcement, changed_at) VALUES (?1, ?2, ?3, ?4)",
                        params![service, host, enforcement.as_str(), millis(entry.at)],
                    )?;
                }
                None if gone == 0 => return Err(Error::Missing("mode for that".to_owned())),
                None => {}
            }
            version::changed(connection, &entry)
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
            version::changed(connection, &entry)
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
            version::changed(connection, &entry)
        })
        .await
    }

    /// Has the default of a setting count again.
    ///
    /// # Errors
    /// [`Error::Setting`] where there is no such setting, or the store does not answer.
    pub async fn reset_setting(&self, name: String, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            policy::setting::find(&name)?;
            connection.execute("DELETE FROM settings WHERE name = ?1", [&name])?;
            version::changed(connection, &entry)
        })
        .await
    }
}

/// The rules as they stand.
pub(super) fn rules(connection: &Connection) -> Result<Rules, Error> {
    let networks = connection
        .prepare_cached("SELECT * FROM networks ORDER BY id")?
        .query_and_then([], network)?
        .collect::<Result<_, Error>>()?;
    let accounts = account::accounts(connection)?;
    Ok(Rules { networks: Networks::new(networks), accounts, ..bounds(connection)? })
}

/// Settings and modes alone, for what holds the write lock and asks for nothing else: there may be thousands of networks.
pub(super) fn bounds(connection: &Connection) -> Result<Rules, Error> {
    let modes = connection
        .prepare_cached("SELECT service, host, enforcement FROM modes ORDER BY host, service")?
        .query_and_then([], |row| {
            let (service, host, enforcement): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(Mode {
                service: optional(&service, "service of a mode")?,
                host: (!host.is_empty()).then(|| host.into()),
                enforcement: enforcement.parse().map_err(|_| Error::Unreadable("mode"))?,
            })
        })?
        .collect::<Result<_, Error>>()?;
    Ok(Rules { settings: settings(connection)?, modes, ..Rules::default() })
}

pub(super) fn insert(connection: &Connection, network: &Network, now: Timestamp) -> Result<Option<i64>, Error> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO networks (service, host, block, days, hours, treatment, enrolment, logging, review, comment, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING RETURNING id",
    )?;
    let values = values(network).into_iter().chain([millis(now).into()]);
    Ok(statement.query_row(params_from_iter(values), |row| row.get(0)).optional()?)
}

/// The rule that is about the same addresses, host and hours as `network`.
pub(super) fn about_the_same(connection: &Connection, network: &Network) -> Result<Option<Network>, Error> {
    let (days, hours) = written(network.schedule);
    connection
        .prepare_cached(
            "SELECT * FROM networks
             WHERE service = ?1 AND host = ?2 COLLATE NOCASE AND block = ?3 AND days = ?4 AND hours = ?5 ORDER BY +id LIMIT 1",
        )?
        .query_and_then(
            params![
                network.service.as_str(),
                network.host.as_deref().unwrap_or_default(),
                network.block.to_string(),
                days,
                hours
            ],
            self::network,
        )?
        .next()
        .transpose()
}

/// A rule as it stands in the store: service, host, block, days, hours, treatment, enrolment, logging, review, comment.
pub(super) fn values(network: &Network) -> [Value; 10] {
    let (days, hours) = written(network.schedule);
    [
        network.service.as_str().to_owned().into(),
        network.host.as_deref().unwrap_or_default().to_owned().into(),
        network.block.to_string().into(),
        days.into(),
        hours.into(),
        network.treatment.as_str().to_owned().into(),
        network.enrolment.map(i64::from).into(),
        network.logging.map(|level| level.as_str().to_owned()).into(),
        network.review.map(|date| date.to_string()).into(),
        network.comment.clone().into(),
    ]
}

/// A schedule as it stands in the store: nothing for always.
fn written(schedule: Option<Schedule>) -> (String, String) {
    schedule.map(|schedule| (schedule.days.to_string(), schedule.hours.to_string())).unwrap_or_default()
}

/// A network rule. One that cannot be read is an error: a condition left out could open the gate.
fn network(row: &Row<'_>) -> Result<Network, Error> {
    let text = |column: &str| row.get::<_, String>(column);
    let (days, hours, host) = (text("days")?, text("hours")?, text("host")?);
    let schedule = if days.is_empty() && hours.is_empty() {
        None
    } else {
        Some(Schedule {
            days: days.parse().map_err(|_| Error::Unreadable("days of a network"))?,
            hours: hours.parse().map_err(|_| Error::Unreadable("hours of a network"))?,
        })
    };
    let logging: Option<String> = row.get("logging")?;
    let review: Option<String> = row.get("review")?;
    Ok(Network {
        id: row.get("id")?,
        service: text("service")?.parse().map_err(|_| Error::Unreadable("service of a network"))?,
        host: (!host.is_empty()).then(|| Arc::from(host)),
        block: text("block")?.parse().map_err(|_| Error::Unreadable("network"))?,
        schedule,
        treatment: text("treatment")?.parse().map_err(|_| Error::Unreadable("treatment of a network"))?,
        enrolment: row.get("enrolment")?,
        logging: optional(&logging.unwrap_or_default(), "logging of a network")?,
        review: optional(&review.unwrap_or_default(), "review date of a network")?,
        comment: text("comment")?,
    })
}

/// What `text` says; nothing where it is empty.
pub(super) fn optional<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<Option<T>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::Unreadable(what))
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
