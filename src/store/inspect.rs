//! How the store is: for readiness, for the watch over disabled users, and for `sallyport doctor`.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_MAX, Error, Place, Store, migration};

/// What `sallyport doctor` found in a store, without changing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The number of its schema.
    pub schema: i64,
    /// The newest schema that this program knows.
    pub known: i64,
    /// What SQLite says is broken; empty: nothing.
    pub damage: Vec<String>,
    /// Its size in bytes.
    pub size: u64,
    /// The size of its log that is not in the file yet, in bytes.
    pub log_size: u64,
    /// Why nothing can be written now; `None`: something can.
    pub locked: Option<String>,
    /// The time of the latest entry of the audit, in milliseconds since 1970.
    pub latest: Option<i64>,
}

impl Store {
    /// Whether everything works that lets people in: the file is still the one that was opened, and can be read and written.
    ///
    /// # Errors
    /// What does not.
    pub async fn probe(&self) -> Result<(), Error> {
        if !self.place.is_kept() {
            return Err(Error::Gone(self.place.path.clone()));
        }
        // An empty transaction: it takes the lock that a writer takes, and puts nothing on the disk.
        self.write(|_| Ok(())).await?;
        self.read(|connection| Ok(connection.query_row("SELECT count(*) FROM migrations", [], |_| Ok(()))?)).await
    }

    /// The number of the newest line that tells of a user who may come in no more; 0 where there is none.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn newest_revocation(&self) -> Result<i64, Error> {
        let sql = "SELECT coalesce(max(id), 0) FROM revocations";
        self.read(move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?)).await
    }

    /// Who was disabled or removed since the line numbered `after`: the lines' numbers and the users' names.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn revocations(&self, after: i64) -> Result<Vec<(i64, String)>, Error> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, user FROM revocations WHERE id > ?1 ORDER BY id")?;
            let rows = statement.query_map([after], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Looks at the store at `path`; `deep`: reads all of it.
///
/// # Errors
/// Where it cannot be opened or is none.
pub fn inspect(path: &Path, deep: bool) -> Result<Inspection, Error> {
    Place::of(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    let schema = connection.query_row("SELECT coalesce(max(number), 0) FROM migrations", [], |row| row.get(0))?;
    let latest = connection.query_row("SELECT max(at) FROM audit", [], |row| row.get(0))?;
    let damage = damage(&connection, if deep { "PRAGMA integrity_check(20)" } else { "PRAGMA quick_check(20)" })?;
    let locked = connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").err().map(|error| error.to_string());
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    Ok(Inspection {
        schema,
        known: migration::known(),
        damage,
        size: size(path),
        log_size: size(Path::new(&log)),
        locked,
        latest,
    })
}

fn damage(connection: &Connection, check: &str) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare(check)?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(if lines == ["ok"] { Vec::new() } else { lines })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Entry, Event, Outcome};
    use crate::system::System;
    use crate::testing::Folder;

    async fn store(folder: &Folder) -> (Store, Entry) {
        let system = System::new();
        let store = Store::open(&folder.path("s.db"), system.now()).await.unwrap();
        (store, Entry::new(system.now(), "n", Event::Changed, Outcome::Noted))
    }

    #[tokio::test]
    async fn a_store_is_probed_where_it_stands() {
        let folder = Folder::new();
        let (store, entry) = store(&folder).await;
        store.probe().await.unwrap();
        let locker = Connection::open(folder.path("s.db")).unwrap();
        locker.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(store.probe().await.is_err(), "locked");
        assert!(inspect(&folder.path("s.db"), false).unwrap().locked.is_some());
        locker.execute_batch("ROLLBACK").unwrap();
        store.probe().await.unwrap();
        std::fs::rename(folder.path("s.db"), folder.path("gone.db")).unwrap();
        assert!(matches!(store.probe().await, Err(Error::Gone(_))));
        std::fs::copy(folder.path("gone.db"), folder.path("s.db")).unwrap();
        assert!(matches!(store.probe().await, Err(Error::Gone(_))), "another file is in its place");
        assert!(matches!(store.append(entry.clone()).await, Err(Error::Gone(_))), "nothing is written nobody finds");
        assert!(matches!(store.latest_time().await, Err(Error::Gone(_))), "nor read");
        std::fs::rename(folder.path("gone.db"), folder.path("s.db")).unwrap();
        store.append(entry).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_may_come_in_no_more_is_told_of() {
        let folder = Folder::new();
        let (store, entry) = store(&folder).await;
        for name in ["ANNA", "BERT", "CARL"] {
            store.add_user(name.parse().unwrap(), false, String::new(), entry.clone()).await.unwrap();
        }
        assert_eq!(store.newest_revocation().await.unwrap(), 0);
        store.set_user_enabled("ANNA".parse().unwrap(), false, entry.clone()).await.unwrap();
        store.set_user_enabled("ANNA".parse().unwrap(), false, entry.clone()).await.unwrap();
        store.set_user_always("BERT".parse().unwrap(), true, entry.clone()).await.unwrap();
        store.remove_user("CARL".parse().unwrap(), entry.clone()).await.unwrap();
        let told = store.revocations(0).await.unwrap();
        assert_eq!(told, [(1, "ANNA".to_owned()), (2, "CARL".to_owned())]);
        assert_eq!(store.revocations(1).await.unwrap().len(), 1);
        store.set_user_enabled("ANNA".parse().unwrap(), true, entry.clone()).await.unwrap();
        assert_eq!(store.newest_revocation().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn damage_is_found() {
        let folder = Folder::new();
        let path = folder.path("s.db");
        let (store, entry) = store(&folder).await;
        for _ in 0..200 {
            store.append(entry.clone().detail(&"x".repeat(400))).await.unwrap();
        }
        drop(store);
        Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let well = inspect(&path, true).unwrap();
        assert_eq!((well.schema, &well.damage, well.locked), (well.known, &vec![], None));
        assert!(well.size > 50_000 && well.latest.is_some());
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        let broken = inspect(&path, false);
        assert!(broken.as_ref().map_or(true, |found| !found.damage.is_empty()), "{broken:?}");
        assert!(inspect(&folder.path("none.db"), false).is_err());
    }
}
