//! What a gate asks, what the guard replies, and what the user is shown in between.
//!
//! ```text
//!   gate ── Question ──▶ guard        a gate has at most one question outstanding
//!   gate ◀── Verdict ─── guard        a verdict never carries the reason: what the gate does not know it cannot leak
//!   gate ── Report ────▶ guard        nobody waits for these
//! ```

use core::str::FromStr;
use std::net::IpAddr;

use crate::attempt::User;
use crate::secret::Secret;

/// What a gate asks before it lets anybody through.
#[derive(Debug, Clone)]
pub enum Question {
    /// Somebody signs on. `None`: the gate could not tell who.
    SignOn {
        /// The user named at the sign-on.
        user: Option<User>,
    },
    /// The user answered the prompt that is up.
    Answer {
        /// The user named at the sign-on.
        user: Option<User>,
        /// What was keyed.
        answer: Answer,
    },
    /// FTP: a password came, and nothing of it has gone to the host. It may be a passcode, or hold one.
    Password {
        /// The user named before it.
        user: Option<User>,
        /// What stood behind `PASS`, byte for byte.
        password: Secret<Vec<u8>>,
    },
    /// FTP: the host accepted the password on a connection that is closed already.
    Accepted {
        /// The user who owns it.
        user: Option<User>,
        /// What the host accepted.
        password: Secret<Vec<u8>>,
    },
}

/// What a user keys at a prompt.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A passcode.
    Passcode(Secret<String>),
    /// The wish for a new passcode (F5).
    Resend,
}

/// What the guard replies to a question.
#[derive(Debug, Clone)]
#[must_use]
pub enum Verdict {
    /// Let through.
    Admit,
    /// Show this and bring the answer.
    Challenge(Prompt),
    /// Show this notice; where `close` is set, end the connection after it.
    Refuse {
        /// What the user reads.
        notice: Notice,
        /// Whether the connection ends.
        close: bool,
    },
    /// FTP, to [`Question::Password`]: let the host check this password on a connection that ends at once, and when it
    /// accepts, ask [`Question::Answer`] with the answer, or [`Question::Accepted`] where there is none.
    Check {
        /// The host's password, without a passcode that came with it.
        password: Secret<Vec<u8>>,
        /// What the user gave besides the password.
        answer: Option<Answer>,
    },
    /// FTP, to [`Question::Password`]: it was the passcode; let through, with the password that was kept for it.
    AdmitWith {
        /// The host's password.
        password: Secret<Vec<u8>>,
    },
}

/// Names and times that stand on each of our screens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The host's name in the configuration.
    pub host: String,
    /// The gateway's name in the configuration.
    pub gateway: String,
    /// The date in the gateway's time zone, `2026-11-22`.
    pub date: String,
    /// The time of day in the gateway's time zone, `14:03:59`.
    pub time: String,
    /// Where the user comes from.
    pub source: IpAddr,
}

/// What a user is shown and must answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A passcode was sent; key it.
    Passcode(PasscodePrompt),
}

/// The passcode prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasscodePrompt {
    /// Names and times.
    pub heading: Heading,
    /// Who is signing on.
    pub user: User,
    /// Where the passcode went, masked.
    pub destination: String,
    /// The challenge's prefix letter, `A`-`Z`: the message carries the same.
    pub prefix: char,
    /// How many digits the passcode has.
    pub digits: u8,
    /// Tries that are left, this one included.
    pub tries_left: u8,
    /// When the passcode expires, `14:08:59` in the gateway's time zone.
    pub expires: String,
    /// The message line.
    pub message: Option<Message>,
    /// FTP: in which way this user gives passcodes; `None`: as everybody does on the listener.
    pub way: Option<Way>,
}

/// In which way an FTP user gives a passcode. In one line with the password it can always be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The log-on is rejected, and the passcode is the password of the next one.
    Reject,
    /// In a line of its own (`ACCT`), in the same log-on.
    Account,
}

impl Way {
    /// The name on the command line and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Account => "account",
        }
    }
}

impl FromStr for Way {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "reject" => Ok(Self::Reject),
            "account" => Ok(Self::Account),
            _ => Err("passcodes are given by reject or account"),
        }
    }
}

/// The message line of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The passcode was not right.
    Wrong,
    /// Nothing, or something that is no passcode, was keyed.
    Malformed,
    /// The last passcode had expired or was used up; a new one was sent.
    Renewed,
    /// A new passcode was sent on request.
    Resent,
    /// A new passcode was asked for too soon or too often; the one sent before still counts.
    ResendRefused,
}

impl Message {
    /// The text of the message line, in characters that every EBCDIC code page has.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Wrong => "Passcode not correct.",
            Self::Malformed => "Key the passcode, digits only, and press Enter.",
            Self::Renewed => "That passcode is no longer valid. A new one was sent.",
            Self::Resent => "A new passcode was sent. The one before is no longer valid.",
            Self::ResendRefused => "No new passcode was sent: asked for too often. Wait, or key the one sent before.",
        }
    }
}

/// A farewell, or the reason that may be told to somebody who is refused.
///
/// The texts do not tell an unknown user from a locked or a factorless one, nor a fault from a refusal by rule: whoever
/// guesses learns nothing (security checklist C-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Refused, whatever the reason.
    Refused,
    /// The tries or the time for the passcode are used up.
    Exhausted,
    /// The user left the prompt (F3, F12).
    Cancelled,
    /// Nobody answered the prompt in time.
    Expired,
    /// The gateway cannot decide now (store, mail or audit out of order), so nobody gets in.
    Unavailable,
    /// An operator ended the session.
    Ended,
}

impl Notice {
    /// The text, in characters that every EBCDIC code page has, at most 76 of them.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Refused => "Sign-on not allowed. Contact your system administrator.",
            Self::Exhausted => "Sign-on ended: no valid passcode was keyed.",
            Self::Cancelled => "Sign-on cancelled.",
            Self::Expired => "Sign-on ended: the passcode was not keyed in time.",
            Self::Unavailable => "Sign-on is not possible at this time. Try again later.",
            Self::Ended => "The session was ended by an operator.",
        }
    }
}

/// What a gate tells without waiting for a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The host accepted the password.
    HostAccepted {
        /// The user named at the sign-on.
        user: Option<User>,
    },
    /// The host refused the password.
    HostRefused {
        /// The user named at the sign-on.
        user: Option<User>,
    },
    /// FTP: the host could not be asked about the password, or put the answer off (no connection, no reply, `421` and the
    /// like), so nothing is known of it.
    HostUnavailable {
        /// The user named at the sign-on.
        user: Option<User>,
        /// For instance `no connection`.
        what: &'static str,
    },
    /// The client left when the password had gone to the host and before the host answered: whoever guesses and hangs up
    /// has guessed.
    Abandoned {
        /// The user named at the sign-on.
        user: Option<User>,
    },
    /// The user left the prompt, or did not answer it in time.
    Cancelled {
        /// The user named at the sign-on.
        user: Option<User>,
    },
    /// The host showed something before any sign-on that is not a form the gate knows.
    ///
    /// `sketch` names sizes and places of fields, never contents: it is what an administrator needs to teach the form.
    UnknownDisplay {
        /// For instance `24x80: input 5,25 length 10; hidden input 6,25 length 128`.
        sketch: String,
    },
    /// The client did something that has no place before admission; `what` says what, without any of its bytes.
    Suspicious {
        /// The user named at the sign-on.
        user: Option<User>,
        /// For instance `System Request while locked`.
        what: &'static str,
    },
}
