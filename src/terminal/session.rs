//! A terminal session over a stream, for programs: wait for a screen, type, press, read the screen.
//!
//! It serves probes and tests; a terminal for people has its own loop, since it waits for keys as well.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use proxy_tn5250::input::Aid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::client::Client;
use super::display::Display;
use super::keyboard::{Key, Slip};
use super::options::Options;
use super::picture::Picture;

/// Why a session went no further.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host closed the connection.
    #[error("the host closed the connection")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// What the host sent is no TN5250 stream.
    #[error("the host sent no 5250 data: {0}")]
    Protocol(#[from] proxy_tn5250::Error),
    /// Nothing that was waited for came in time.
    #[error("the host did not show what was waited for in {0:?}")]
    Timeout(Duration),
    /// A key could do nothing.
    #[error("{0}")]
    Slip(#[from] Slip),
}

/// A terminal session over `S`.
#[derive(Debug)]
pub struct Session<S> {
    stream: S,
    client: Client,
    inbound: BytesMut,
    limit: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// A session that has not begun; each wait ends after `limit`.
    pub fn new(stream: S, options: Options, limit: Duration) -> Self {
        Self { stream, client: Client::new(options), inbound: BytesMut::new(), limit }
    }

    /// The client's state.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The display.
    pub const fn display(&self) -> &Display {
        self.client.display()
    }

    /// Waits until the host waits for the operator.
    ///
    /// # Errors
    ///
    /// When the connection ends or the time is up.
    pub async fn wait_for_screen(&mut self) -> Result<(), Error> {
        self.wait_until(|display| display.awaits_operator()).await
    }

    /// Waits until a text is on the screen and the host waits for the operator.
    ///
    /// # Errors
    ///
    /// When the connection ends or the time is up.
    pub async fn wait_for_text(&mut self, text: &str) -> Result<(), Error> {
        self.wait_until(|display| display.awaits_operator() && Picture::of(display).text().contains(text)).await
    }

    /// Waits until the display is as `wanted`.
    ///
    /// # Errors
    ///
    /// When the connection ends or the time is up.
    pub async fn wait_until(&mut self, wanted: impl Fn(&Display) -> bool) -> Result<(), Error> {
        let limit = self.limit;
        let wait = async {
            while !wanted(self.client.display()) {
                self.receive().await?;
            }
            Ok(())
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(Err(Error::Timeout(limit)))
    }

    /// Waits until the host closes the connection, and takes what it shows before.
    ///
    /// # Errors
    ///
    /// When it does not in time.
    pub async fn wait_for_close(&mut self) -> Result<(), Error> {
        match self.wait_until(|_| false).await {
            Err(Error::Closed) => Ok(()),
            other => other,
        }
    }

    /// Types a text from the cursor on.
    ///
    /// # Errors
    ///
    /// When a character has no place there.
    pub fn type_text(&mut self, text: &str) -> Result<(), Error> {
        for character in text.chars() {
            self.client.press(&Key::Char(character))?;
        }
        Ok(())
    }

    /// Presses a key that stays in the terminal.
    ///
    /// # Errors
    ///
    /// When it can do nothing now, or the connection ends.
    pub async fn key(&mut self, key: Key) -> Result<(), Error> {
        self.client.press(&key)?;
        self.flush().await
    }

    /// Types a text and leaves the field with Field Exit: what stood behind the text is gone, and the cursor is in the next
    /// field.
    ///
    /// # Errors
    ///
    /// When a character has no place there.
    pub fn fill(&mut self, text: &str) -> Result<(), Error> {
        self.type_text(text)?;
        self.client.press(&Key::FieldExit)?;
        Ok(())
    }

    /// Presses a key that reports to the host.
    ///
    /// # Errors
    ///
    /// When the keyboard is locked, or the connection ends.
    pub async fn press(&mut self, aid: Aid) -> Result<(), Error> {
        self.key(Key::Aid(aid)).await
    }

    /// The screen as the operator sees it: one line per row.
    #[must_use]
    pub fn screen_text(&self) -> String {
        Picture::of(self.display()).text()
    }

    /// The screen with its attributes.
    #[must_use]
    pub fn picture(&self) -> Picture {
        Picture::of(self.display())
    }

    /// Sends bytes as they are, past keyboard and display: for tests of what a client must not do.
    ///
    /// # Errors
    ///
    /// When the connection ends.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> Result<(), Error> {
        self.inbound.clear();
        if self.stream.read_buf(&mut self.inbound).await? == 0 {
            return Err(Error::Closed);
        }
        self.client.receive(&self.inbound)?;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        for piece in self.client.take_output() {
            self.stream.write_all(&piece).await?;
        }
        Ok(self.stream.flush().await?)
    }
}
