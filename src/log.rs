//! What is logged to standard error, and how that is changed while the program runs.
//!
//! Levels are written as tracing's `EnvFilter` reads them: `info`, or `info,sallyport::serve=debug`. They start as
//! configured; an operator may change them through the control socket and go back.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The levels of this process. A process has one log.
static LEVELS: OnceLock<Levels> = OnceLock::new();

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line for people.
    Text,
    /// A JSON object per line.
    Json,
}

/// These are no levels.
#[derive(Debug, thiserror::Error)]
#[error("`{levels}` are no log levels: {why}; expected for instance `info` or `info,sallyport::serve=debug`")]
pub struct NoLevels {
    levels: String,
    why: String,
}

/// What is logged.
#[derive(Debug)]
pub struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    configured: String,
    current: Mutex<String>,
}

/// Starts to log what `levels` let through.
///
/// # Errors
/// Where they are no levels. A second start changes nothing.
pub fn start(levels: &str, format: Format) -> Result<(), NoLevels> {
    let (filter, handle) = reload::Layer::new(parse(levels)?);
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Text => registry.with(lines).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if started.is_ok() {
        let current = Mutex::new(levels.to_owned());
        // Whoever started the log is the first to be here.
        let _ = LEVELS.set(Levels { handle, configured: levels.to_owned(), current });
    }
    Ok(())
}

/// The levels of this process, once it logs.
#[must_use]
pub fn levels() -> Option<&'static Levels> {
    LEVELS.get()
}

impl Levels {
    /// What was configured.
    #[must_use]
    pub fn configured(&self) -> &str {
        &self.configured
    }

    /// What counts now.
    #[must_use]
    pub fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs what `levels` let through from now on.
    ///
    /// # Errors
    /// Where they are no levels; nothing is changed then.
    pub fn set(&self, levels: &str) -> Result<(), NoLevels> {
        let filter = parse(levels)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle.reload(filter).map_err(|error| NoLevels { levels: levels.to_owned(), why: error.to_string() })?;
        levels.clone_into(&mut current);
        Ok(())
    }

    /// Goes back to what was configured.
    ///
    /// # Errors
    /// Where the log is gone.
    pub fn reset(&self) -> Result<(), NoLevels> {
        self.set(&self.configured)
    }
}

fn parse(levels: &str) -> Result<EnvFilter, NoLevels> {
    EnvFilter::try_new(levels).map_err(|error| NoLevels { levels: levels.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_change_and_go_back() {
        start("warn", Format::Text).unwrap();
        let levels = levels().unwrap();
        assert!(!tracing::enabled!(tracing::Level::INFO));
        levels.set("warn,sallyport=trace").unwrap();
        assert!(tracing::enabled!(tracing::Level::TRACE));
        assert_eq!((levels.configured(), &*levels.current()), ("warn", "warn,sallyport=trace"));
        assert!(levels.set("sallyport=loud").unwrap_err().to_string().contains("expected for instance"));
        assert!(tracing::enabled!(tracing::Level::TRACE), "what is wrong changes nothing");
        levels.reset().unwrap();
        assert!(!tracing::enabled!(tracing::Level::INFO));
        start("trace", Format::Json).unwrap();
        assert_eq!(levels.current(), "warn", "a second start changes nothing");
    }
}
