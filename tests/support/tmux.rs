//! A full-screen program in a terminal of its own, driven by keys and read as a user reads it.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a screen may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// A tmux server of our own with one program in it; ends with this value.
#[derive(Debug)]
pub(crate) struct Tmux {
    socket: String,
}

impl Tmux {
    /// Starts `program` in `columns` x `rows`, `TERM` as it is inside tmux.
    pub(crate) fn start(columns: u16, rows: u16, program: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let socket = format!("sallyport-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let tmux = Self { socket };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut arguments = vec!["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows];
        arguments.extend(program);
        // The last screen of a program that ends at once can still be read.
        arguments.extend([";", "set-option", "-g", "remain-on-exit", "on"]);
        let output = tmux.tmux(&arguments);
        assert!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
        tmux
    }

    fn tmux<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        Command::new("tmux").args(["-L", &self.socket]).args(arguments).output().unwrap()
    }

    /// Types text as it stands.
    pub(crate) fn text(&self, text: &str) {
        assert!(self.tmux(&["send-keys", "-l", text]).status.success());
    }

    /// Presses keys by their tmux names: `Enter`, `Tab`, `F3`.
    pub(crate) fn keys(&self, keys: &[&str]) {
        for key in keys {
            assert!(self.tmux(&["send-keys", key]).status.success());
        }
    }

    /// What stands on the screen.
    pub(crate) fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// Waits until `text` stands on the screen and gives the whole screen.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(&format!("{text:?}"), |screen| screen.contains(text))
    }

    /// Waits until the screen is as `is_it` wants it.
    pub(crate) fn wait_until(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let mut waited = Duration::ZERO;
        loop {
            let screen = self.screen();
            if is_it(&screen) {
                return screen;
            }
            assert!(waited < PATIENCE, "no {what} on the screen:\n{screen}");
            waited += super::pause(Duration::from_millis(50));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}
