//! Who asks to come in, from where, to what, and when.

use core::fmt;
use core::str::FromStr;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::account::Fingerprint;

/// The longest user profile name on IBM i, in characters.
pub const USER_MAX: usize = 10;

/// A user profile name as IBM i spells it: 1 to 10 of `A`-`Z`, `0`-`9`, `_`, `@`, `#`, `$`, upper case, no digit or `_` first.
///
/// Lower case is accepted by the parser and folded, as the host folds it. (IBM i, Security reference, "User profile name".)
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User(Arc<str>);

/// Why a text is no user profile name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Nothing, or more than ten characters.
    #[error("a user name has 1 to {USER_MAX} characters")]
    Length,
    /// A character that IBM i does not allow at that place.
    #[error("a user name consists of A-Z, 0-9, _, @, # and $, and starts with a letter, @, # or $")]
    Character,
}

impl User {
    /// The name, upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for User {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        if text.is_empty() || text.chars().count() > USER_MAX {
            return Err(UserError::Length);
        }
        let name = text.to_ascii_uppercase();
        let first = name.starts_with(|c: char| c.is_ascii_uppercase() || matches!(c, '@' | '#' | '$'));
        let rest =
            name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '@' | '#' | '$'));
        if first && rest { Ok(Self(name.into())) } else { Err(UserError::Character) }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User({})", self.0)
    }
}

/// The protocol by which somebody comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// TN5250, plain or TLS.
    Telnet,
    /// FTP, plain or TLS.
    Ftp,
}

impl Service {
    /// All services.
    pub const ALL: [Self; 2] = [Self::Telnet, Self::Ftp];

    /// The name in rules, on the command line and in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Telnet => "telnet",
            Self::Ftp => "ftp",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Service {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "telnet" => Ok(Self::Telnet),
            "ftp" => Ok(Self::Ftp),
            _ => Err("a service is telnet or ftp"),
        }
    }
}

/// One try to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Who, where the gate could tell.
    pub user: Option<User>,
    /// From where.
    pub source: IpAddr,
    /// By which protocol.
    pub service: Service,
    /// To which host, by its name in the configuration.
    pub host: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// The same moment in the gateway's time zone.
    pub local: DateTime,
    /// The certificate that the client showed and proved to own.
    pub certificate: Option<Fingerprint>,
    /// Whether it can lead to enrolment: at a terminal, behind a password that the host has accepted on this connection.
    pub can_enrol: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names() {
        for (text, expected) in [("anna", "ANNA"), ("Q#1_$", "Q#1_$"), ("@x", "@X"), ("ABCDEFGHIJ", "ABCDEFGHIJ")] {
            assert_eq!(text.parse::<User>().unwrap().as_str(), expected);
        }
        for (text, error) in [
            ("", UserError::Length),
            ("ABCDEFGHIJK", UserError::Length),
            ("1A", UserError::Character),
            ("_A", UserError::Character),
            ("A B", UserError::Character),
            ("É", UserError::Character),
        ] {
            assert_eq!(text.parse::<User>(), Err(error), "{text}");
        }
    }
}
