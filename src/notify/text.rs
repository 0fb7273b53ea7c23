//! The texts of messages.
//!
//! A passcode's mail carries what lets its reader tell whether it is theirs: the prefix letter that also stands on the
//! screen, host, user, where the sign-on comes from, and when.

use std::net::IpAddr;

use policy::{Secret, Service, User};

use crate::audit::neutral;

/// A message: subject and body.
#[derive(Debug, Clone)]
pub struct Message {
    /// The subject. It holds no passcode: subjects stand on lock screens and in logs.
    pub subject: String,
    /// The body, lines ended by `\n`.
    pub body: Secret<String>,
}

/// What a passcode's message says.
#[derive(Debug)]
pub struct Passcode<'a> {
    /// The prefix letter.
    pub prefix: char,
    /// The passcode.
    pub passcode: &'a Secret<String>,
    /// Who signs on.
    pub user: &'a User,
    /// To which host.
    pub host: &'a str,
    /// By which service.
    pub service: Service,
    /// From where.
    pub source: IpAddr,
    /// When, in the gateway's time zone.
    pub time: &'a str,
    /// Until when it counts, in the gateway's time zone.
    pub expires: &'a str,
    /// The gateway's name.
    pub gateway: &'a str,
}

impl Passcode<'_> {
    /// The message.
    #[must_use]
    pub fn message(&self) -> Message {
        let Self { prefix, passcode, user, service, source, time, expires, .. } = self;
        let (host, gateway) = (neutral(self.host), neutral(self.gateway));
        let (service, how) = match service {
            Service::Telnet => (
                "5250 terminal",
                format!("Key the digits only if the letter {prefix} stands in front of the field on your screen."),
            ),
            Service::Ftp => (
                "FTP",
                "Log on again with the digits as the password, or with your password, a colon and the\n\
                 digits, if it was you who logged on a moment ago."
                    .to_owned(),
            ),
        };
        let body = format!(
            "Your passcode for signing on to {host}:\n\
             \n    {prefix} {passcode}\n\n\
             {how}\n\
             The passcode can be used once, until {expires}.\n\
             \n\
             User:  {user}\n\
             Host:  {host} ({service})\n\
             From:  {source}\n\
             Time:  {time}\n\
             \n\
             Was this not you? Then somebody else knows your password. Do not tell anybody this\n\
             passcode, change your password, and tell your system administrator.\n\
             \n\
             -- \n\
             {gateway} (Sallyport)\n",
            passcode = passcode.expose(),
        );
        Message { subject: format!("Passcode {prefix} for {user} on {host}"), body: Secret::new(body) }
    }
}

/// The message by which an administrator tests a contact.
#[must_use]
pub fn test(user: &User, gateway: &str, time: &str) -> Message {
    let gateway = neutral(gateway);
    let body = format!(
        "This is a test message from {gateway} (Sallyport), sent at {time}.\n\
         \n\
         Passcodes for user {user} will come to this address. There is nothing you have to do.\n"
    );
    Message { subject: format!("Test message for {user}"), body: Secret::new(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ftp_message_says_how_to_go_on() {
        let passcode = Secret::new("042137".to_owned());
        let message = Passcode {
            prefix: 'V',
            passcode: &passcode,
            user: &"ANNA".parse().unwrap(),
            host: "PROD",
            service: Service::Ftp,
            source: "203.0.113.9".parse().unwrap(),
            time: "2026-11-22 14:03:59",
            expires: "14:08:59",
            gateway: "GATE1",
        }
        .message();
        let body = message.body.expose();
        assert!(body.contains("    V 042137") && body.contains("with the digits as the password"), "{body}");
        assert!(body.contains("Host:  PROD (FTP)") && !body.contains("screen"), "{body}");
    }

    #[test]
    fn a_passcode_message_says_all_and_the_subject_no_secret() {
        let passcode = Secret::new("042137".to_owned());
        let message = Passcode {
            prefix: 'V',
            passcode: &passcode,
            user: &"ANNA".parse().unwrap(),
            host: "PROD\r\nBcc: x",
            service: Service::Telnet,
            source: "203.0.113.9".parse().unwrap(),
            time: "2026-11-22 14:03:59",
            expires: "14:08:59",
            gateway: "GATE1",
        }
        .message();
        for part in ["V 042137", "ANNA", "203.0.113.9", "2026-11-22 14:03:59", "14:08:59", "GATE1", "not you"] {
            assert!(message.body.expose().contains(part), "{part}");
        }
        assert!(!message.subject.contains("042137"));
        assert!(message.subject.contains(" V ") && !message.subject.contains(['\r', '\n']), "{}", message.subject);
        assert!(!format!("{message:?}").contains("042137"));
        assert!(message.body.expose().lines().all(|line| line.len() <= 100));
    }
}
