//! What the store holds sealed, and how it comes under another key.
//!
//! Invariants: whoever seals does so within a write transaction, and so does whoever retires a key; since there is one such
//! transaction at a time, nothing is sealed under a key that is being taken out. A row is resealed only if it still holds
//! what was read.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::{Error, Store, audit};
use crate::audit::Entry;
use crate::factor;
use crate::key::{Key, KeyId};
use crate::seal::{Place, SealError, Sealer, key_of};
use crate::system::System;

/// How many rows are resealed in one transaction.
const BATCH_MAX: usize = 500;

/// A column that holds what is sealed, or nothing.
struct Column {
    table: &'static str,
    column: &'static str,
    /// The columns that find the row and that the place consists of, in order.
    owner: &'static [&'static str],
    /// What the sealer is for.
    purpose: &'static str,
}

/// All such columns. A place is named `table.column`.
const COLUMNS: &[Column] =
    &[Column { table: "factors", column: "secret", owner: &["user", "id"], purpose: factor::SEALED_FOR }];

/// What came of resealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Secrets that are under the current key now.
    pub resealed: usize,
    /// Secrets that do not open.
    pub broken: usize,
}

/// A row that is sealed under an older key.
struct Stale {
    column: &'static Column,
    owner: Vec<Value>,
    sealed: Vec<u8>,
}

impl Store {
    /// How many secrets each key seals.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn sealed(&self) -> Result<Vec<(KeyId, u32)>, Error> {
        self.read(|connection| Ok(counts(connection)?.into_iter().map(|(id, n)| (KeyId::new(id), n)).collect())).await
    }

    /// Adds a key, which is the current one from now on.
    ///
    /// # Errors
    /// Where the file cannot be replaced, or the store does not answer.
    pub async fn rotate_key(&self, key: Key, system: System, entry: Entry) -> Result<KeyId, Error> {
        self.write(move |connection| {
            audit::append(connection, &entry)?;
            Ok(key.rotate(&system).map_err(SealError::from)?)
        })
        .await
    }

    /// Takes the key `id` out of the file.
    ///
    /// # Errors
    /// [`Error::InUse`] where something is sealed under it; where it cannot be taken out; or the store does not answer.
    pub async fn retire_key(&self, key: Key, id: KeyId, system: System, entry: Entry) -> Result<(), Error> {
        self.write(move |connection| {
            if let Some(count) = counts(connection)?.get(&id.bytes()) {
                return Err(Error::InUse(format!("key {id} seals {count} secrets; reseal them first")));
            }
            audit::append(connection, &entry)?;
            Ok(key.retire(id, &system).map_err(SealError::from)?)
        })
        .await
    }

    /// Brings everything that is sealed under the current key.
    ///
    /// # Errors
    /// Where there is no key, or the store does not answer. What was resealed so far stays so.
    pub async fn reseal(&self, key: Key, entry: Entry) -> Result<Resealed, Error> {
        let current = key.ids().map_err(SealError::from)?.first().copied().unwrap_or(KeyId::new([0; 4]));
        let mut stale = self.read(move |connection| stale(connection, current)).await?;
        let mut done = Resealed::default();
        while !stale.is_empty() {
            let batch = stale.split_off(stale.len().saturating_sub(BATCH_MAX));
            let key = key.clone();
            let part = self.write(move |connection| reseal(connection, &key, &batch)).await?;
            done.resealed += part.resealed;
            done.broken += part.broken;
        }
        let told = format!("; {} resealed, {} do not open", done.resealed, done.broken);
        let detail = entry.detail.clone().unwrap_or_default();
        let entry = entry.detail(&format!("{detail}{told}"));
        self.write(move |connection| audit::append(connection, &entry)).await?;
        Ok(done)
    }
}

fn counts(connection: &Connection) -> Result<BTreeMap<[u8; 4], u32>, Error> {
    let mut counts = BTreeMap::new();
    for Column { table, column, .. } in COLUMNS {
        let mut statement = connection.prepare(&format!(
            "SELECT substr({column}, 1, 5), count(*) FROM {table} WHERE length({column}) > 0 GROUP BY 1"
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (header, count): (Vec<u8>, u32) = (row.get(0)?, row.get(1)?);
            let id = key_of(&header).ok_or(Error::Unreadable("sealed secret"))?;
            *counts.entry(id.bytes()).or_default() += count;
        }
    }
    Ok(counts)
}

fn stale(connection: &Connection, current: KeyId) -> Result<Vec<Stale>, Error> {
    let mut found = Vec::new();
    for column in COLUMNS {
        let Column { table, column: name, owner, .. } = column;
        let mut statement = connection.prepare(&format!(
            "SELECT {name}, {owner} FROM {table} WHERE length({name}) > 0 AND substr({name}, 2, 4) <> ?1",
            owner = owner.join(", ")
        ))?;
        let mut rows = statement.query([current.bytes().as_slice()])?;
        while let Some(row) = rows.next()? {
            let values = (1..=owner.len()).map(|at| row.get(at)).collect::<Result<_, _>>()?;
            found.push(Stale { column, owner: values, sealed: row.get(0)? });
        }
    }
    Ok(found)
}

fn reseal(connection: &Connection, key: &Key, batch: &[Stale]) -> Result<Resealed, Error> {
    let mut done = Resealed::default();
    for Stale { column, owner, sealed } in batch {
        let Column { table, column: name, owner: owners, purpose } = column;
        let sealer = Sealer::new(key, purpose);
        let place = Place::new(&format!("{table}.{name}"), &texts(owner)?);
        let secret = match sealer.open(&place, sealed) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::error!(table, %error, "a sealed secret cannot be resealed");
                done.broken += 1;
                continue;
            }
        };
        let mut values = vec![Value::Blob(sealer.seal(&place, &secret)?), Value::Blob(sealed.clone())];
        values.extend(owner.iter().cloned());
        let which: Vec<String> = (3..).zip(*owners).map(|(number, owner)| format!("{owner} IS ?{number}")).collect();
        done.resealed += connection
            .prepare_cached(&format!(
                "UPDATE {table} SET {name} = ?1 WHERE {name} = ?2 AND {which}",
                which = which.join(" AND ")
            ))?
            .execute(params_from_iter(values))?;
    }
    Ok(done)
}

fn texts(owner: &[Value]) -> Result<Vec<String>, Error> {
    owner
        .iter()
        .map(|value| match value {
            Value::Integer(number) => Ok(number.to_string()),
            Value::Text(text) => Ok(text.clone()),
            Value::Null | Value::Real(_) | Value::Blob(_) => Err(Error::Unreadable("owner of a sealed secret")),
        })
        .collect()
}
