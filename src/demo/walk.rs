//! One whole sign-on through the gateway, played by itself: what a newcomer sees of the product in ten seconds.
//!
//! It is a terminal like any other: it connects over TCP, reads the passcode in the mail, and knows nothing that a person
//! would not know.

use std::time::Duration;

use proxy_tn5250::input::Aid;
use tokio::net::TcpStream;

use super::mail::Mail;
use super::stage::{APP_PASSWORD, APP_USER, PASSWORD, Stage, USER};
use crate::terminal::{Error, Key, Options, Picture, Session};

/// How long each step may take.
const STEP_MAX: Duration = Duration::from_secs(15);

/// What is to be seen at one step.
#[derive(Debug)]
pub enum Scene {
    /// A screen.
    Screen {
        /// A short name, fit for a file.
        name: &'static str,
        /// What happened.
        title: &'static str,
        /// What the user sees.
        picture: Picture,
    },
    /// A mail that came.
    Mail(Mail),
}

/// Why the sign-on did not go as it must.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A screen did not come, or a key did nothing.
    #[error("{step}: {error}; the screen was:\n\n{screen}")]
    Screen {
        /// What was being done.
        step: &'static str,
        /// What went wrong.
        error: Error,
        /// What was on the screen.
        screen: String,
    },
    /// No mail came, or one without a passcode.
    #[error("{0}")]
    Mail(&'static str),
}

struct Walk<'a> {
    session: Session<TcpStream>,
    step: &'static str,
    show: &'a mut (dyn FnMut(Scene) + Send),
}

/// Plays the sign-on and hands each scene to `show`.
///
/// # Errors
///
/// At the first thing that is not as it must be.
pub async fn walk(stage: &mut Stage, show: &mut (dyn FnMut(Scene) + Send)) -> Result<(), WalkError> {
    let mut walk = Walk { session: connect(stage).await?, step: "", show };

    walk.step = "waiting for the sign-on display";
    walk.see("sign-on-screen", "The host's sign-on display, seen through the gateway", "This is a simulator").await?;

    walk.step = "signing on with a wrong password";
    walk.type_text(USER)?;
    walk.key(Key::Tab).await?;
    walk.enter("WRONG").await?;
    walk.see("refused-screen", "A wrong password: the host refuses it, the gateway only looks on", "CPF1107").await?;

    walk.step = "signing on with the right password";
    walk.key(Key::Tab).await?;
    walk.enter(PASSWORD).await?;
    let title = "The right password: the host's answer is held back, the gateway asks for the passcode";
    walk.see("passcode-screen", title, "Passcode sent to").await?;

    let mail = tokio::time::timeout(STEP_MAX, stage.mails.recv()).await.ok().flatten();
    let mail = mail.ok_or(WalkError::Mail("no mail came"))?;
    let passcode = passcode(&mail).ok_or(WalkError::Mail("the mail has no passcode"))?;
    (walk.show)(Scene::Mail(mail));

    walk.step = "keying a wrong passcode";
    walk.enter(&wrong(&passcode)).await?;
    walk.see("wrong-passcode-screen", "A wrong passcode", "Passcode not correct").await?;

    walk.step = "keying the right passcode";
    walk.enter(&passcode).await?;
    walk.see("menu-screen", "The right passcode: what the host had ready appears", "Simulated Main Menu").await?;

    walk.session = connect(stage).await?;
    walk.step = "signing on as somebody who has several factors";
    walk.wait("This is a simulator").await?;
    walk.type_text(APP_USER)?;
    walk.key(Key::Tab).await?;
    walk.enter(APP_PASSWORD).await?;
    let title = "Somebody else, with an address and an authenticator app: one of them is chosen";
    walk.see("choice-screen", title, "Choose a Way").await?;

    walk.step = "choosing the app";
    walk.key(Key::Tab).await?;
    walk.enter("1").await?;
    walk.see("app-screen", "The app's code is asked for; F6 leads to the choice again", "authenticator app shows")
        .await?;

    walk.step = "keying what the app shows";
    walk.enter(stage.app_code().expose()).await?;
    walk.wait("Simulated Main Menu").await
}

async fn connect(stage: &Stage) -> Result<Session<TcpStream>, WalkError> {
    let connected = TcpStream::connect(stage.gateway).await.and_then(|stream| {
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    let stream = connected.map_err(|error| WalkError::Screen {
        step: "connecting to the gateway",
        error: error.into(),
        screen: String::new(),
    })?;
    Ok(Session::new(stream, Options::default(), STEP_MAX))
}

impl Walk<'_> {
    async fn wait(&mut self, text: &str) -> Result<(), WalkError> {
        let seen = self.session.wait_for_text(text).await;
        self.check(seen)
    }

    async fn see(&mut self, name: &'static str, title: &'static str, text: &str) -> Result<(), WalkError> {
        self.wait(text).await?;
        (self.show)(Scene::Screen { name, title, picture: self.session.picture() });
        Ok(())
    }

    async fn enter(&mut self, text: &str) -> Result<(), WalkError> {
        self.type_text(text)?;
        self.key(Key::Aid(Aid::ENTER)).await
    }

    fn type_text(&mut self, text: &str) -> Result<(), WalkError> {
        let typed = self.session.type_text(text);
        self.check(typed)
    }

    async fn key(&mut self, key: Key) -> Result<(), WalkError> {
        let pressed = self.session.key(key).await;
        self.check(pressed)
    }

    fn check(&self, done: Result<(), Error>) -> Result<(), WalkError> {
        done.map_err(|error| WalkError::Screen { step: self.step, error, screen: self.session.screen_text() })
    }
}

/// The passcode in a mail: a line of the prefix letter and digits.
#[must_use]
pub fn passcode(mail: &Mail) -> Option<String> {
    mail.body().lines().find_map(|line| {
        let (prefix, digits) = line.trim().split_once(' ')?;
        let is_prefix = prefix.len() == 1 && prefix.starts_with(|letter: char| letter.is_ascii_uppercase());
        let is_passcode = digits.len() >= 6 && digits.bytes().all(|digit| digit.is_ascii_digit());
        (is_prefix && is_passcode).then(|| digits.to_owned())
    })
}

/// A passcode in which every digit is another one.
fn wrong(passcode: &str) -> String {
    let next = |digit: char| digit.to_digit(10).and_then(|digit| char::from_digit((digit + 1) % 10, 10)).unwrap_or('0');
    passcode.chars().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passcodes_are_found_in_mails() {
        let mail = |body: &str| Mail {
            from: String::new(),
            to: Vec::new(),
            content: format!("Subject: A 000000\r\n\r\n{}", body.replace('\n', "\r\n")),
        };
        assert_eq!(passcode(&mail("Your passcode:\n\n    V 042139\n")).as_deref(), Some("042139"));
        assert_eq!(passcode(&mail("V 12345\nv 123456\n V1 123456\n")), None);
        assert_eq!(wrong("042139"), "153240");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_walk_gets_to_the_menu() {
        crate::tls::install_provider();
        let settings = crate::demo::StageSettings { port: 0, ftp_port: 0, host: Default::default(), code_first: false };
        let mut stage = Stage::start(settings).await.unwrap();
        let mut seen = Vec::new();
        let walked = walk(&mut stage, &mut |scene| {
            if let Scene::Screen { name, picture, .. } = scene {
                assert!(!picture.text().contains(PASSWORD), "{name} shows the password");
                seen.push(name);
            }
        })
        .await;
        walked.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            seen,
            [
                "sign-on-screen",
                "refused-screen",
                "passcode-screen",
                "wrong-passcode-screen",
                "menu-screen",
                "choice-screen",
                "app-screen"
            ]
        );
        let configuration = stage.configuration();
        assert!(configuration.exists());
        stage.stop().await;
        assert!(!configuration.exists(), "nothing is left behind");
    }
}
