//! One whole FTP logon through the gateway, played by itself, and the small client that plays it.
//!
//! The client reads replies as RFC 959 §4.2 has them, and knows nothing that a person would not know.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::demo::mail::Mail;
use crate::demo::stage::{PASSWORD, Stage, USER};
use crate::demo::walk::passcode;

/// How long each step may take.
const STEP_MAX: Duration = Duration::from_secs(15);

/// What is to be seen at one step.
#[derive(Debug)]
pub enum FtpScene {
    /// What client and gateway said: lines with `>` came from the client, others from the gateway.
    Exchange {
        /// What happened.
        title: &'static str,
        /// The lines.
        lines: Vec<String>,
    },
    /// A mail that came.
    Mail(Mail),
}

/// Why the logon did not go as it must.
#[derive(Debug, thiserror::Error)]
pub enum FtpWalkError {
    /// The connection failed.
    #[error("{step}: {error}")]
    Connection {
        /// What was being done.
        step: &'static str,
        /// What went wrong.
        error: io::Error,
    },
    /// Another reply came than the one that had to.
    #[error("{step}: {expected} had to come, but this did:\n{}", .said.join("\n"))]
    Reply {
        /// What was being done.
        step: &'static str,
        /// What had to come.
        expected: &'static str,
        /// All that was said since the connection began.
        said: Vec<String>,
    },
    /// No mail came, or one without a passcode.
    #[error("{0}")]
    Mail(&'static str),
}

/// Plays the logon and hands each scene to `show`.
///
/// # Errors
///
/// At the first thing that is not as it must be.
pub async fn walk_ftp(stage: &mut Stage, show: &mut (dyn FnMut(FtpScene) + Send)) -> Result<(), FtpWalkError> {
    let user = USER.to_ascii_lowercase();
    let mut client = Client::connect("connecting to the gateway", stage.ftp).await?;
    client.expect("220").await?;
    client.step = "logging on with a wrong password";
    client.command(&format!("USER {user}"), "331").await?;
    client.command("PASS wrong", "530").await?;
    show(client.scene("A wrong password: the gateway lets the host check it, and rejects the logon"));

    client.step = "logging on with the right password";
    client.command(&format!("USER {user}"), "331").await?;
    client.command(&format!("PASS {}", PASSWORD.to_ascii_lowercase()), "530").await?;
    client.command("QUIT", "221").await?;
    show(client.scene("The right password: the logon is rejected all the same, and a passcode is sent"));

    let mail = tokio::time::timeout(STEP_MAX, stage.mails.recv()).await.ok().flatten();
    let mail = mail.ok_or(FtpWalkError::Mail("no mail came"))?;
    let passcode = passcode(&mail).ok_or(FtpWalkError::Mail("the mail has no passcode"))?;
    show(FtpScene::Mail(mail));

    let mut client = Client::connect("connecting again", stage.ftp).await?;
    client.expect("220").await?;
    client.step = "logging on with the passcode";
    client.command(&format!("USER {user}"), "331").await?;
    client.command(&format!("PASS {passcode}"), "230").await?;
    show(client.scene("The passcode as the password: the gateway logs on to the host with the password it kept"));

    client.step = "listing the files";
    let reply = client.command("EPSV", "229").await?;
    client.read_data(stage.ftp, &reply, "LIST").await?;
    client.command("QUIT", "221").await?;
    show(client.scene("Files are listed over a data connection, which leads through the gateway as well"));
    Ok(())
}

/// An FTP client of few words.
#[derive(Debug)]
pub(super) struct Client {
    control: BufReader<TcpStream>,
    step: &'static str,
    said: Vec<String>,
}

impl Client {
    pub(super) async fn connect(step: &'static str, to: SocketAddr) -> Result<Self, FtpWalkError> {
        let stream = TcpStream::connect(to).await.map_err(|error| FtpWalkError::Connection { step, error })?;
        Ok(Self { control: BufReader::new(stream), step, said: Vec::new() })
    }

    /// Sends a command and waits for its reply, whose code must start with `expected`.
    pub(super) async fn command(&mut self, line: &str, expected: &'static str) -> Result<String, FtpWalkError> {
        self.send(line).await?;
        self.expect(expected).await
    }

    async fn send(&mut self, line: &str) -> Result<(), FtpWalkError> {
        self.said.push(format!("> {line}"));
        let step = self.step;
        let sent = self.control.write_all(format!("{line}\r\n").as_bytes()).await;
        sent.map_err(|error| FtpWalkError::Connection { step, error })
    }

    /// Waits for a reply; gives its last line.
    pub(super) async fn expect(&mut self, expected: &'static str) -> Result<String, FtpWalkError> {
        let step = self.step;
        let failed = |error| FtpWalkError::Connection { step, error };
        let mut code = None;
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(STEP_MAX, self.control.read_line(&mut line)).await;
            if read.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?.map_err(failed)? == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            self.said.push(line.clone());
            let first = code.get_or_insert_with(|| line.get(..3).unwrap_or_default().to_owned());
            if line.starts_with(first.as_str()) && line.get(3..4) != Some("-") {
                if line.starts_with(expected) {
                    return Ok(line);
                }
                return Err(FtpWalkError::Reply { step, expected, said: std::mem::take(&mut self.said) });
            }
        }
    }

    /// Does a transfer to us by the reply to EPSV.
    pub(super) async fn read_data(&mut self, to: SocketAddr, reply: &str, line: &str) -> Result<String, FtpWalkError> {
        let step = self.step;
        let mut data = open(to, reply).await.map_err(|error| FtpWalkError::Connection { step, error })?;
        self.command(line, "1").await?;
        let mut content = String::new();
        let read = tokio::time::timeout(STEP_MAX, data.read_to_string(&mut content)).await;
        let read = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        read.map_err(|error| FtpWalkError::Connection { step, error })?;
        drop(data);
        self.said.extend(content.lines().map(str::to_owned));
        self.expect("2").await?;
        Ok(content)
    }

    fn scene(&mut self, title: &'static str) -> FtpScene {
        FtpScene::Exchange { title, lines: std::mem::take(&mut self.said) }
    }
}

/// Connects to the port that a reply to EPSV names.
pub(super) async fn open(to: SocketAddr, reply: &str) -> io::Result<TcpStream> {
    let port = reply.split("|||").nth(1).and_then(|rest| rest.split('|').next()).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or(io::ErrorKind::InvalidData)?;
    TcpStream::connect((to.ip(), port)).await
}
