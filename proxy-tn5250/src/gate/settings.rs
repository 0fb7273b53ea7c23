//! What an administrator sets for a gate, and its limits.

use core::time::Duration;

use crate::signon::Taught;

/// Which comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The host checks the password, then the passcode is asked for.
    #[default]
    PasswordFirst,
    /// The passcode is asked for before the record with the password reaches the host: guesses never get there.
    CodeFirst,
}

/// What happens to a sign-on that comes in NEW-ENVIRON and would skip the sign-on display (RFC 4777 §5, §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoSignOn {
    /// The variables that make it are taken out; the host shows its sign-on display.
    #[default]
    Strip,
    /// It passes; the user whom it names is challenged before the first display is shown.
    Challenge,
}

/// Whether the program, menu and library fields of the form (and their variables in NEW-ENVIRON) may be filled in.
///
/// They act on the host as soon as the password is right, which in [`Order::PasswordFirst`] is before the passcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignOnFields {
    /// A sign-on that fills one is not sent to the host; the user reads why.
    #[default]
    Refuse,
    /// They are as any other field.
    Allow,
}

/// What happens to printer sessions, which have no operator who could answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Printers {
    /// The connection ends.
    #[default]
    Refuse,
    /// The guard is asked about the source address, with no user; a challenge is a refusal.
    Ask,
}

/// How long and how much, all in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the connection to the host's first display.
    pub negotiation: Duration,
    /// From one record of the operator to the next while the form is up.
    pub sign_on: Duration,
    /// From a display record without a read to the judgement of what it shows.
    pub settle: Duration,
    /// From the operator's record to the host's reply.
    pub reply: Duration,
    /// From a question to its verdict.
    pub verdict: Duration,
    /// How long a prompt waits for its answer.
    pub prompt: Duration,
    /// From the question about a sign-on to its last prompt's end, however many prompts are answered in between.
    pub proving: Duration,
    /// How long a farewell stays up unless a key is pressed.
    pub farewell: Duration,
    /// Bytes of the host's that are kept while the client may not see them; then the host is no longer read.
    pub hold: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            negotiation: Duration::from_secs(60),
            sign_on: Duration::from_secs(60 * 60),
            settle: Duration::from_secs(2),
            reply: Duration::from_secs(5 * 60),
            verdict: Duration::from_secs(60),
            prompt: Duration::from_secs(5 * 60),
            proving: Duration::from_secs(20 * 60),
            farewell: Duration::from_secs(20),
            hold: 256 * 1024,
        }
    }
}

/// What an administrator sets for a host.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which comes first.
    pub order: Order,
    /// Sign-ons in NEW-ENVIRON.
    pub auto_sign_on: AutoSignOn,
    /// Program, menu and library.
    pub sign_on_fields: SignOnFields,
    /// Printer sessions.
    pub printers: Printers,
    /// Sign-on displays that the structure alone would not tell.
    pub forms: Vec<Taught>,
    /// How long and how much.
    pub limits: Limits,
}
