//! The configuration, read anew while the gateway runs.
//!
//! Everything that can go wrong goes wrong before anything is changed: the file and the files it names are read, the new
//! addresses bound, and the change is written to the audit. What is wrong is told in the log, in the answer, and in the audit.

use super::{Arc, Config, House, Open, Outcome, PoisonError, entrance};
use crate::config::ConfigError;
use crate::control::Changes;

impl House {
    /// Reads the configuration anew, because `by` wants it.
    pub(super) async fn reload(self: &Arc<Self>, by: &str) -> Result<Changes, String> {
        let Ok(_changing) = self.changing.try_lock() else {
            return Err("a reload or a take-over is under way".to_owned());
        };
        if self.shut.is_cancelled() {
            return Err("this process takes no new connections any more".to_owned());
        }
        match self.try_reload(by).await {
            Ok(changes) => {
                tracing::info!(?changes, by, "configuration reloaded");
                Ok(changes)
            }
            Err((brief, message)) => {
                tracing::error!(by, "the configuration was not reloaded, what runs goes on: {message}");
                let detail = format!("{brief}; nothing changed; by {by}");
                if let Err(error) = self.guard.changed("reload-refused", Outcome::Failed, &detail).await {
                    tracing::error!(%error, "and the audit does not know");
                }
                Err(message)
            }
        }
    }

    /// An error in one line, and at length.
    async fn try_reload(self: &Arc<Self>, by: &str) -> Result<Changes, (String, String)> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let config = Config::load(&path)?;
            let open = config.open()?;
            Ok::<(Config, Open), ConfigError>((config, open))
        });
        let (config, open) = match read.await {
            Ok(read) => read.map_err(|error| (brief(&error), error.to_string()))?,
            Err(error) => return Err((error.to_string(), error.to_string())),
        };
        let plain = |error: &dyn std::fmt::Display| (error.to_string(), error.to_string());
        let planned = {
            let entrances = self.entrances.lock().await;
            let bound = entrance::bind_all(self, &config, open, &entrances, &mut Vec::new()).await;
            bound.map_err(|error| plain(&error))?
        };
        let differs = self.fixed.iter().zip(config.fixed()).filter(|(before, now)| before.1 != now.1);
        let restart_needed: Vec<_> = differs.map(|((table, _), _)| (*table).to_owned()).collect();
        let mut detail = format!("{} read anew; by {by}", self.path.display());
        if !restart_needed.is_empty() {
            detail = format!("{detail}; a restart is needed for {}", restart_needed.join(", "));
        }
        let noted = self.guard.changed("reloaded", Outcome::Noted, &detail).await;
        noted.map_err(|error| plain(&format_args!("it cannot be written to the audit: {error}")))?;
        self.limiter.change(&config.limits);
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = (config.limits.drain, config.limits.stop);
        let [added, removed, kept] = self.open(planned).await;
        Ok(Changes { added, removed, kept, restart_needed })
    }
}

/// The first mistake, in one line: file, line, column, what is wrong, what was expected.
fn brief(error: &ConfigError) -> String {
    match error {
        ConfigError::Invalid(problems) => match problems.first() {
            Some(first) => format!(
                "{}:{}:{}: {}; expected {}{}",
                first.file.display(),
                first.line,
                first.column,
                first.message,
                first.expected,
                if problems.len() > 1 { format!("; and {} more mistakes", problems.len() - 1) } else { String::new() },
            ),
            None => error.to_string(),
        },
        ConfigError::Read { .. } => error.to_string(),
    }
}
