//! What the running gateway looks after by itself: users who were disabled, whether it is ready, and its figures.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::{Arc, Duration, House, health};
use crate::health::{Check, Readiness};
use crate::metrics::{self, Moment};
use crate::sessions::Selection;

/// How often it is looked whether somebody was disabled.
const USERS_INTERVAL: Duration = Duration::from_secs(1);
/// How long what was found about readiness counts: whoever asks more often does not ask the store.
const READY_TIME: Duration = Duration::from_secs(1);

/// What was last found about readiness. Held while it is found out, so that the store is asked once.
#[derive(Debug, Default)]
pub(super) struct Ready(Mutex<Option<(Instant, Readiness)>>);

impl House {
    /// Ends the sessions of users who were disabled or removed after the line `seen`, whoever did it on whichever machine.
    pub(super) async fn watch_users(self: Arc<Self>, mut seen: i64) {
        let mut interval = tokio::time::interval(USERS_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_known = true;
        loop {
            interval.tick().await;
            let revoked = match self.guard.store().revocations(seen).await {
                Ok(revoked) => revoked,
                Err(error) => {
                    if std::mem::take(&mut is_known) {
                        tracing::warn!(%error, "it is not known whether users were disabled; looking again");
                    }
                    continue;
                }
            };
            is_known = true;
            for (line, user) in revoked {
                seen = line;
                let selection = Selection { user: Some(user), ..Selection::default() };
                for session in self.sessions.end_all(&selection) {
                    tracing::info!(connection = session.id, user = session.user, "the user was disabled or removed");
                    self.ended_by(&session, "the gateway: the user was disabled or removed");
                }
            }
        }
    }

    /// Tells metrics and health to whoever asks at `socket`, until another process does.
    pub(super) async fn tell(self: Arc<Self>, socket: Arc<TcpListener>) {
        let (ready, figures) = (Arc::clone(&self), Arc::clone(&self));
        let readiness = move || {
            let house = Arc::clone(&ready);
            async move { house.readiness().await }
        };
        let metrics = move || {
            let house = Arc::clone(&figures);
            async move { house.figures().await }
        };
        tokio::select! {
            () = health::serve(socket, readiness, metrics) => {}
            () = self.replaced.cancelled() => {}
        }
    }

    async fn readiness(&self) -> Readiness {
        let mut last = self.ready.0.lock().await;
        let now = self.system.instant();
        if let Some((at, readiness)) = &*last
            && now.saturating_duration_since(*at) < READY_TIME
        {
            return readiness.clone();
        }
        let readiness = Readiness::new(vec![
            Check::new("listeners", self.listeners_are_well().await),
            Check::new("store", self.guard.store().probe().await.map_err(|error| error.to_string())),
            Check::new("key", key_is_well(&self.key_file)),
            Check::new("accepting", if self.shut.is_cancelled() { Err("draining".to_owned()) } else { Ok(()) }),
        ]);
        *last = Some((self.system.instant(), readiness.clone()));
        readiness
    }

    async fn listeners_are_well(&self) -> Result<(), String> {
        let entrances = self.entrances.lock().await;
        let dead: Vec<_> =
            entrances.iter().filter(|entrance| !entrance.is_open()).map(|entrance| &*entrance.bound.listener).collect();
        match (entrances.is_empty(), dead.is_empty()) {
            (true, _) => Err("there is none".to_owned()),
            (false, true) => Ok(()),
            (false, false) => Err(format!("not accepting: {}", dead.join(", "))),
        }
    }

    async fn figures(&self) -> String {
        let readiness = self.readiness().await;
        let audit_entries = self.guard.store().newest_entry().await.ok().and_then(|count| u64::try_from(count).ok());
        let doors: Vec<_> = self.entrances.lock().await.iter().map(super::Entrance::door).collect();
        let moment = Moment {
            sessions: self.sessions.list(),
            listeners: doors.iter().map(|door| (door.name.to_string(), door.service)).collect(),
            certificates: doors
                .iter()
                .filter_map(|door| Some((door.name.to_string(), door.certificate_expiry?)))
                .collect(),
            audit_entries,
            is_ready: readiness.ready,
            is_draining: self.shut.is_cancelled(),
        };
        metrics::render(&moment)
    }
}

/// Whether the key's file is there for the next start and for nobody else.
fn key_is_well(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_file() || metadata.len() == 0 {
        Err(format!("{} holds no key", path.display()))
    } else if mode & 0o077 != 0 {
        Err(format!("{} can be read or written by others (mode {mode:03o})", path.display()))
    } else {
        Ok(())
    }
}
