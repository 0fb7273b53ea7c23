//! A sink for mails: an SMTP server on the loopback that takes every mail and hands it to the demo, which shows it.
//!
//! It follows RFC 5321 as far as a client needs that sends plain mails: EHLO, HELO, MAIL, RCPT, DATA, RSET, NOOP, VRFY,
//! QUIT, transparency of dots, pipelining. No TLS and no authentication: it must never listen anywhere but on loopback.
//!
//! Invariants: a mail is handed over before it is acknowledged; nothing a client sends takes more than the limits below.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use data_encoding::BASE64_MIME_PERMISSIVE;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

/// Bytes of a line, its end included; RFC 5321 asks for 1000.
const LINE_MAX: usize = 4096;
/// Bytes of a mail.
const MAIL_MAX: usize = 1 << 20;
/// Recipients of a mail.
const RECIPIENTS_MAX: usize = 100;
/// Connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 16;
/// How long a client may say nothing.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A mail that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender; empty for a bounce.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Header and body as sent, the doubled dots undone.
    pub content: String,
}

impl Mail {
    /// A header field's value, its continuation lines joined.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let (head, _) = self.split();
        let mut found: Option<String> = None;
        for line in head.lines() {
            if line.starts_with([' ', '\t']) {
                if let Some(value) = &mut found {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if found.is_some() {
                break;
            } else if let Some((field, value)) = line.split_once(':')
                && field.eq_ignore_ascii_case(name)
            {
                found = Some(value.trim().to_owned());
            }
        }
        found
    }

    /// The body, its transfer encoding undone.
    #[must_use]
    pub fn body(&self) -> String {
        let (_, body) = self.split();
        let encoding = self.header("Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
        let bytes = match encoding.as_str() {
            "quoted-printable" => quoted_printable(body),
            "base64" => BASE64_MIME_PERMISSIVE.decode(body.as_bytes()).unwrap_or_default(),
            _ => body.as_bytes().to_vec(),
        };
        String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
    }

    fn split(&self) -> (&str, &str) {
        self.content.split_once("\r\n\r\n").unwrap_or((&self.content, ""))
    }
}

fn quoted_printable(body: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body.as_bytes();
    loop {
        match rest {
            [] => return out,
            [b'=', b'\r', b'\n', tail @ ..] => rest = tail,
            [b'=', high, low, tail @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                match (digit(high), digit(low)) {
                    (Some(high), Some(low)) => out.push(high << 4 | low),
                    _ => out.extend([b'=', *high, *low]),
                }
                rest = tail;
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
}

/// Takes mails until `end` and sends each to `mails`.
///
/// # Errors
///
/// When no connection can be accepted any more.
pub async fn serve(listener: TcpListener, mails: UnboundedSender<Mail>, end: CancellationToken) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let stream = tokio::select! {
            () = end.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted?.0,
        };
        stream.set_nodelay(true)?;
        let end = end.clone();
        let mut receiver = Receiver::new(stream, mails.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                // What goes wrong on one connection is its client's to see.
                _ = receiver.run() => {}
            }
            drop(place);
        });
    }
}

/// One connection.
struct Receiver<S> {
    stream: S,
    inbound: BytesMut,
    mails: UnboundedSender<Mail>,
    greeted: bool,
    from: Option<String>,
    to: Vec<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    fn new(stream: S, mails: UnboundedSender<Mail>) -> Self {
        Self { stream, inbound: BytesMut::new(), mails, greeted: false, from: None, to: Vec::new() }
    }

    async fn run(&mut self) -> io::Result<()> {
        self.reply("220 Sallyport demo mail sink").await?;
        while let Some(line) = self.line().await? {
            let line = String::from_utf8_lossy(&line).into_owned();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    self.greet();
                    self.reply(&format!("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE {MAIL_MAX}")).await?;
                }
                "HELO" => {
                    self.greet();
                    self.reply("250 sink").await?;
                }
                "MAIL" => {
                    let answer = self.sender(rest);
                    self.reply(answer).await?;
                }
                "RCPT" => {
                    let answer = self.recipient(rest);
                    self.reply(answer).await?;
                }
                "DATA" if self.to.is_empty() => self.reply("503 MAIL and RCPT come first").await?,
                "DATA" => {
                    self.reply("354 go on; end with a line that is a dot").await?;
                    self.data().await?;
                }
                "RSET" => {
                    self.reset();
                    self.reply("250 forgotten").await?;
                }
                "NOOP" => self.reply("250 nothing done").await?,
                "VRFY" => self.reply("252 send it and see").await?,
                "QUIT" => {
                    self.reply("221 goodbye").await?;
                    return self.stream.shutdown().await;
                }
                _ => self.reply("500 unknown command").await?,
            }
        }
        Ok(())
    }

    fn greet(&mut self) {
        self.greeted = true;
        self.reset();
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn sender(&mut self, rest: &str) -> &'static str {
        if !self.greeted {
            return "503 EHLO or HELO comes first";
        }
        if self.from.is_some() {
            return "503 a mail is under way already";
        }
        match path(rest, "FROM:") {
            Some(from) => {
                self.from = Some(from);
                "250 sender taken"
            }
            None => "501 expected MAIL FROM:<address>",
        }
    }

    fn recipient(&mut self, rest: &str) -> &'static str {
        if self.from.is_none() {
            return "503 MAIL comes first";
        }
        if self.to.len() == RECIPIENTS_MAX {
            return "452 too many recipients";
        }
        match path(rest, "TO:") {
            Some(to) if !to.is_empty() => {
                self.to.push(to);
                "250 recipient taken"
            }
            Some(_) | None => "501 expected RCPT TO:<address>",
        }
    }

    async fn data(&mut self) -> io::Result<()> {
        let mut content = Vec::new();
        let mut full = false;
        loop {
            let Some(line) = self.line().await? else { return Ok(()) };
            if line == b"." {
                break;
            }
            let line = line.strip_prefix(b".").unwrap_or(&line);
            full |= content.len() + line.len() > MAIL_MAX;
            if !full {
                content.extend_from_slice(line);
                content.extend_from_slice(b"\r\n");
            }
        }
        let (from, to) = (self.from.take().unwrap_or_default(), core::mem::take(&mut self.to));
        let mail = Mail { from, to, content: String::from_utf8_lossy(&content).into_owned() };
        if full {
            self.reply("552 too much").await
        } else if self.mails.send(mail).is_err() {
            self.reply("451 nobody reads mails any more").await
        } else {
            self.reply("250 taken").await
        }
    }

    /// The next line without its end; `None` when the client has gone.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut scanned = 0;
        loop {
            if let Some(end) = self.inbound[scanned..].iter().position(|&byte| byte == b'\n') {
                let mut line = self.inbound.split_to(scanned + end + 1).to_vec();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            scanned = self.inbound.len();
            if scanned >= LINE_MAX {
                self.reply("500 line too long").await?;
                return Ok(None);
            }
            let read = tokio::time::timeout(IDLE_MAX, self.stream.read_buf(&mut self.inbound));
            if read.await.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Ok(None);
            }
        }
    }

    async fn reply(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }
}

/// The address in `FROM:<address> PARAMETERS`; empty for the null path.
fn path(rest: &str, label: &str) -> Option<String> {
    let rest = rest.trim_start();
    let (start, rest) = (rest.get(..label.len())?, rest.get(label.len()..)?);
    if !start.eq_ignore_ascii_case(label) {
        return None;
    }
    let (address, _) = rest.trim_start().strip_prefix('<')?.split_once('>')?;
    Some(address.to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    /// Sends `lines` one by one and returns the replies' codes, and what came out.
    async fn talk(lines: &[&str]) -> (Vec<String>, UnboundedReceiver<Mail>) {
        let (sender, mails) = unbounded_channel();
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { Receiver::new(far, sender).run().await });
        let (mut read, mut write) = tokio::io::split(near);
        write.write_all(lines.join("\r\n").as_bytes()).await.unwrap();
        write.write_all(b"\r\nQUIT\r\n").await.unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).await.unwrap();
        let codes = text.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
        (codes.map(|line| line[..3].to_owned()).collect(), mails)
    }

    #[tokio::test]
    async fn a_mail_is_taken_and_its_dots_undone() {
        let (codes, mut mails) = talk(&[
            "EHLO here",
            "MAIL FROM:<a@example.com> BODY=8BITMIME",
            "RCPT TO:<b@example.com>",
            "rcpt to: <c@example.com>",
            "DATA",
            "Subject: one",
            " and two",
            "Content-Transfer-Encoding: quoted-printable",
            "",
            "..dot and =C3=A9=",
            " joined =3D 1=ZZ",
            ".",
        ])
        .await;
        assert_eq!(codes, ["220", "250", "250", "250", "250", "354", "250", "221"]);
        let mail = mails.recv().await.unwrap();
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("a@example.com", &["b@example.com".into(), "c@example.com".into()][..])
        );
        assert_eq!(mail.header("subject").as_deref(), Some("one and two"));
        assert_eq!(mail.body(), ".dot and \u{e9} joined = 1=ZZ\n");
        assert_eq!(mails.recv().await, None, "one mail");
    }

    #[tokio::test]
    async fn order_and_limits_are_kept() {
        let (codes, _mails) = talk(&[
            "MAIL FROM:<a@b>",
            "HELO here",
            "DATA",
            "RCPT TO:<a@b>",
            "MAIL TO:<a@b>",
            "MAIL FROM:<>",
            "MAIL FROM:<>",
            "RCPT TO:<>",
            "RSET",
            "RCPT TO:<a@b>",
            "NOOP",
            "WHAT",
        ])
        .await;
        assert_eq!(
            codes,
            ["220", "503", "250", "503", "503", "501", "250", "503", "501", "250", "503", "250", "500", "221"]
        );
        let mut lines = vec!["HELO here".to_owned(), "MAIL FROM:<a@b>".to_owned()];
        lines.extend((0..=RECIPIENTS_MAX).map(|number| format!("RCPT TO:<{number}@b>")));
        lines.push("DATA".to_owned());
        lines.extend((0..=MAIL_MAX / 1000).map(|_| "x".repeat(1000)));
        lines.push(".".to_owned());
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (codes, mut mails) = talk(&lines).await;
        assert_eq!(codes[codes.len() - 4..], ["452", "354", "552", "221"]);
        assert_eq!(mails.recv().await, None);
        let (codes, _mails) = talk(&[&"x".repeat(LINE_MAX)]).await;
        assert_eq!(codes, ["220", "500"]);
    }

    #[test]
    fn base64_bodies_are_read() {
        let content = "Content-Transfer-Encoding: base64\r\n\r\nUGFzc2Nv\r\nZGU=\r\n".to_owned();
        assert_eq!(Mail { from: String::new(), to: Vec::new(), content }.body(), "Passcode");
    }
}
