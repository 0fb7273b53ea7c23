//! What a gate asks, what the guard replies, and what the user is shown in between.
//!
//! ```text
//!   gate ── Question ──▶ guard        a gate has at most one question outstanding
//!   gate ◀── Verdict ─── guard        a verdict never carries the reason: what the gate does not know it cannot leak
//!   gate ── Report ────▶ guard        nobody waits for these
//! ```

use core::str::FromStr;
use std::net::IpAddr;
use std::sync::Arc;

use crate::attempt::User;
use crate::factor::Factor;
use crate::secret::Secret;

/// What a gate asks before it lets anybody through.
#[derive(Debug, Clone)]
pub enum Question {
    /// Somebody signs on. `None`: the gate could not tell who.
    SignOn {
        /// The user named at the sign-on.
        user: Option<User>,
        /// Whether the host has accepted a password of this user on this connection, since it showed its form last. A display
        /// alone does not say so: keys bring up others, and a refused automatic sign-on does.
        accepted: bool,
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
    /// A passcode, or whatever the factor asks for.
    Passcode(Secret<String>),
    /// The wish for a new passcode (F5).
    Resend,
    /// The wish to prove with something else (F6).
    Other,
    /// The wish to look at one's own contacts once the passcode was right (F9).
    Maintain,
    /// What was keyed on a panel.
    Panel(Filled),
}

/// What was keyed on a panel.
#[derive(Debug, Clone)]
pub struct Filled {
    /// The key that was pressed.
    pub key: PanelKey,
    /// What stands in the fields, in their order, blanks around it taken off.
    pub fields: Vec<Secret<String>>,
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
    /// Key a passcode.
    Passcode(Box<PasscodePrompt>),
    /// Choose, enrol, or look at one's own contacts: at terminals only.
    Panel(Box<Panel>),
}

impl Prompt {
    /// Names and times.
    #[must_use]
    pub fn heading(&self) -> &Heading {
        match self {
            Self::Passcode(prompt) => &prompt.heading,
            Self::Panel(panel) => &panel.heading,
        }
    }
}

/// The passcode prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasscodePrompt {
    /// Names and times.
    pub heading: Heading,
    /// Who is signing on.
    pub user: User,
    /// What is asked for.
    pub asks: Asks,
    /// Tries that are left, this one included.
    pub tries_left: u8,
    /// When the challenge expires, `14:08:59` in the gateway's time zone.
    pub expires: String,
    /// The message line.
    pub message: Option<Message>,
    /// Which function keys do something.
    pub keys: Keys,
    /// FTP: in which way this user gives passcodes; `None`: as everybody does on the listener.
    pub way: Option<Way>,
}

/// What a passcode prompt asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// A passcode that was sent.
    Sent {
        /// Where it went, masked.
        destination: String,
        /// The challenge's prefix letter, `A`-`Z`: the message carries the same.
        prefix: char,
        /// How many digits it has.
        digits: u8,
    },
    /// What the user has.
    Own {
        /// Of which kind it is.
        factor: Factor,
        /// What the user calls it.
        name: String,
        /// How many digits it shows, where it shows digits.
        digits: Option<u8>,
        /// What a server wants to have said.
        text: Option<String>,
    },
}

/// Which function keys of a passcode prompt do something besides F3 and F12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Keys {
    /// F5 sends another passcode.
    pub resend: bool,
    /// F6 leads to other ways.
    pub other: bool,
    /// F9 has one's own contacts shown afterwards.
    pub maintain: bool,
}

/// A screen of lines and fields: at terminals only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    /// Names and times.
    pub heading: Heading,
    /// The panel's id, seven characters.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What stands on it, from top to bottom; what has no room is left out.
    pub lines: Vec<PanelLine>,
    /// The keys that do something, with their words, besides Enter. Any other key changes nothing, but for F3 and F12, which
    /// leave.
    pub keys: &'static [(PanelKey, &'static str)],
    /// The message line, and whether it tells of a mistake.
    pub message: Option<(String, bool)>,
}

/// A line of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PanelLine {
    /// Nothing.
    Blank,
    /// What to do.
    Text(String),
    /// What matters most.
    Strong(String),
    /// Something and its value.
    Value {
        /// What it is.
        label: &'static str,
        /// Its value.
        value: String,
    },
    /// Something and its value, which is a secret.
    Key {
        /// What it is.
        label: &'static str,
        /// The secret.
        key: ShownKey,
    },
    /// A field of one character, and what is chosen with it.
    Option {
        /// What is chosen.
        text: String,
    },
    /// A field, behind its label where it has room there, else on the next line.
    Field {
        /// What it is for.
        label: &'static str,
        /// Characters, 1 to 76.
        length: u8,
        /// Whether what is keyed is not displayed.
        hidden: bool,
        /// What stands in it at first.
        value: String,
    },
}

/// A secret that stands on a panel: wiped with its last owner, and never printed.
#[derive(Debug, Clone)]
pub struct ShownKey(Arc<Secret<String>>);

impl ShownKey {
    /// Shows `key`.
    #[must_use]
    pub const fn new(key: Arc<Secret<String>>) -> Self {
        Self(key)
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl PartialEq for ShownKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&other.0)
    }
}

impl Eq for ShownKey {}

/// A key that answers a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PanelKey {
    /// Enter.
    Enter,
    /// F3.
    F3,
    /// F5.
    F5,
    /// F6.
    F6,
    /// F9.
    F9,
    /// F12.
    F12,
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
    /// The passcode's prefix letter is that of another sign-on.
    OtherSignOn,
    /// The token's answer was used before.
    Replayed,
    /// The time to answer is over; the same is asked for once more.
    Again,
    /// The user's own contacts are shown once the passcode was right.
    MaintainNext,
    /// Others are being judged, and this one was not.
    Busy,
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
            Self::OtherSignOn => "That passcode is for another sign-on. Key the one with the letter shown here.",
            Self::Replayed => "That passcode was used before. Wait for the next one.",
            Self::Again => "Too late. Key it once more.",
            Self::Busy => "Too many answers at once. Wait a moment, and key it again.",
            Self::MaintainNext => "Key the passcode. Then the contacts are shown.",
        }
    }

    /// The same on a prompt that asks for this: where nothing that can be one was keyed, it says what is wanted.
    #[must_use]
    pub const fn text_for(self, asks: &Asks) -> &'static str {
        match (self, asks) {
            (Self::Malformed, Asks::Own { factor, .. }) => match factor {
                Factor::Totp | Factor::Hotp => "Key the code, digits only, and press Enter.",
                Factor::Yubikey => "Nothing was read. Press the button of the YubiKey.",
                Factor::Recovery => "Key one of the recovery codes, and press Enter.",
                Factor::OneTime => "Key the code from the system administrator, and press Enter.",
                Factor::Radius | Factor::Email | Factor::Sms => "Key the code that is asked for, and press Enter.",
            },
            (
                Self::Wrong
                | Self::Malformed
                | Self::Renewed
                | Self::Resent
                | Self::ResendRefused
                | Self::OtherSignOn
                | Self::Replayed
                | Self::Again
                | Self::Busy
                | Self::MaintainNext,
                _,
            ) => self.text(),
        }
    }
}

/// A farewell, or the reason that may be told to somebody who is refused.
///
/// The texts do not tell an unknown user from a locked or a factorless one, nor a fault from a refusal by rule: whoever
/// guesses learns nothing (security checklist C-20). [`Notice::NoFactor`] and [`Notice::Waiting`] are for those who may
/// enrol, and whose password the host has accepted.
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
    /// There is no second factor, and none can be set up here.
    NoFactor,
    /// What was enrolled waits for an administrator's approval.
    Waiting,
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
            Self::NoFactor => "No second factor is set up. Ask the system administrator to set one up.",
            Self::Waiting => "Set up. It counts once the system administrator has approved it.",
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
