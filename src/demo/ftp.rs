//! A simulated IBM i, as far as its FTP server goes: for trying Sallyport and for testing it. Its texts say what it is.
//!
//! It follows RFC 959, RFC 2428 (EPSV, EPRT), RFC 3659 (SIZE, MDTM, REST), and the texts of real hosts. Its files are in
//! memory. What it does not do: TLS, library names (`SITE NAMEFMT 0`), `RCMD`, records and members.
//!
//! ```text
//!   greeting ─▶ USER ─▶ PASS ─▶ commands ─▶ QUIT        one task for each connection;
//!                 ▲               └─ transfer ─┐        while a file is sent, the control connection is read on,
//!                 └── REIN, USER               └─ ABOR  for ABOR
//! ```

mod files;
mod walk;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::files::{Files, Wrong, resolve};
pub use self::walk::{FtpScene, FtpWalkError, walk_ftp};
use super::host::{Happening, HostSettings};
use crate::system::System;

/// The longest line that is read.
const LINE_MAX: usize = 4096;
/// How long a data connection may take to come.
const MEET: Duration = Duration::from_secs(15);
/// How long nothing may come, as the greeting says.
const IDLE: Duration = Duration::from_secs(300);
/// So many refused passwords end the connection.
const TRIES_MAX: u32 = 5;

/// What happens at the simulated FTP host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FtpHappening {
    /// A password was right.
    LoggedOn {
        /// Whose.
        user: String,
    },
    /// A password was not right.
    Refused {
        /// Whose.
        user: String,
    },
    /// A file was sent.
    Sent {
        /// Which.
        path: String,
        /// Its bytes.
        bytes: usize,
    },
    /// A file was received.
    Received {
        /// Which.
        path: String,
        /// Its bytes.
        bytes: usize,
    },
}

/// A simulated FTP host that listens.
#[derive(Debug)]
pub struct FtpHost {
    settings: Arc<HostSettings>,
    files: Arc<Mutex<Files>>,
    system: System,
}

impl FtpHost {
    /// A host with the users of `settings`.
    #[must_use]
    pub fn new(settings: HostSettings, system: System) -> Self {
        let files = Arc::new(Mutex::new(Files::new(system.now())));
        Self { settings: Arc::new(settings), files, system }
    }

    /// Serves clients until `end`.
    ///
    /// # Errors
    ///
    /// When no connection can be accepted any more.
    pub async fn serve(&self, listener: TcpListener, end: CancellationToken) -> io::Result<()> {
        loop {
            let stream = tokio::select! {
                () = end.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted?.0,
            };
            stream.set_nodelay(true)?;
            let session = Session {
                control: stream,
                input: BytesMut::new(),
                settings: Arc::clone(&self.settings),
                files: Arc::clone(&self.files),
                system: self.system.clone(),
                user: None,
                logged_on: false,
                refused: 0,
                directory: "/".to_owned(),
                is_text: true,
                data: Data::None,
                restart: 0,
                rename: None,
            };
            let end = end.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    // A client that goes away or talks nonsense ends its own session, nothing else.
                    _ = session.run() => {}
                }
            });
        }
    }
}

/// How the next data connection comes to be.
#[derive(Debug)]
enum Data {
    None,
    Listens(TcpListener),
    Connects(SocketAddr),
}

/// What goes over it.
#[derive(Debug)]
enum Cargo {
    Send(Bytes),
    Receive { most: usize },
}

struct Session {
    control: TcpStream,
    input: BytesMut,
    settings: Arc<HostSettings>,
    files: Arc<Mutex<Files>>,
    system: System,
    user: Option<String>,
    logged_on: bool,
    refused: u32,
    directory: String,
    is_text: bool,
    data: Data,
    restart: usize,
    rename: Option<String>,
}

/// What a command leads to.
type Done = io::Result<bool>;

impl Session {
    async fn run(mut self) -> io::Result<()> {
        let system = &self.settings.system;
        let greeting = format!(
            "220-QTCP at {system}: a simulator, not an IBM i.\r\n220 Connection will close if idle more than 5 minutes.\r\n"
        );
        self.control.write_all(greeting.as_bytes()).await?;
        loop {
            let Ok(line) = tokio::time::timeout(IDLE, self.line()).await else {
                return self.reply(421, "Connection closed: idle too long.").await;
            };
            if !self.command(&line?).await? {
                return self.control.shutdown().await;
            }
        }
    }

    /// The next line. Nothing is lost where it is not waited for to the end.
    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line = self.input.split_to(end + 1);
                return Ok(text(&line));
            }
            if self.input.len() > LINE_MAX || self.control.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn reply(&mut self, code: u16, text: &str) -> io::Result<()> {
        self.control.write_all(format!("{code} {text}\r\n").as_bytes()).await
    }

    async fn say(&mut self, code: u16, text: &str) -> Done {
        self.reply(code, text).await.map(|()| true)
    }

    async fn outcome(&mut self, done: Result<(), Wrong>, code: u16, text: &str) -> Done {
        match done {
            Ok(()) => self.say(code, text).await,
            Err(wrong) => self.say(wrong.code, wrong.text).await,
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // Each change is a single step, so what a panic left behind is right.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> String {
        resolve(&self.directory, name)
    }

    fn tell(&self, happening: FtpHappening) {
        self.settings.tell(Happening::Ftp(happening));
    }

    /// Does what a line says; `false` ends the session.
    async fn command(&mut self, line: &str) -> Done {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let verb = verb.to_ascii_uppercase();
        match verb.as_str() {
            "USER" => return self.user(argument).await,
            "PASS" => return self.password(argument).await,
            "QUIT" => {
                self.reply(221, "QUIT subcommand received.").await?;
                return Ok(false);
            }
            "NOOP" => return self.say(200, "NOOP subcommand successful.").await,
            "FEAT" => return self.features().await,
            "AUTH" => return self.say(502, "This simulator has no TLS.").await,
            "REIN" => {
                (self.user, self.logged_on) = (None, false);
                return self.say(220, "REIN subcommand received.").await;
            }
            _ if !self.logged_on => return self.say(530, "Not logged on.").await,
            _ => {}
        }
        let rename = self.rename.take();
        let path = self.path(argument);
        match verb.as_str() {
            "SYST" => self.say(215, " OS/400 is what this simulator simulates. The TCP/IP version is \"NONE\".").await,
            "ACCT" => self.say(202, "No account is needed.").await,
            "HELP" => self.say(214, "This is a simulator; see RFC 959.").await,
            "STAT" => self.say(211, "This is a simulator; all is well.").await,
            "ALLO" | "OPTS" | "CLNT" => self.say(200, "Done.").await,
            "SITE" => self.site(argument).await,
            "TYPE" => self.representation(argument).await,
            "STRU" if argument.eq_ignore_ascii_case("F") => self.say(250, "File structure.").await,
            "MODE" if argument.eq_ignore_ascii_case("S") => self.say(200, "Stream mode.").await,
            "STRU" | "MODE" => self.say(504, "This simulator has files and streams only.").await,
            "PWD" | "XPWD" => {
                let text = format!("\"{}\" is current directory.", self.directory);
                self.say(257, &text).await
            }
            "CWD" | "XCWD" => self.change(path).await,
            "CDUP" | "XCUP" => self.change(self.path("..")).await,
            "MKD" | "XMKD" => {
                let done = self.files().make_directory(&path);
                self.outcome(done, 257, &format!("\"{path}\" created.")).await
            }
            "RMD" | "XRMD" => {
                let done = self.files().remove_directory(&path);
                self.outcome(done, 250, "Directory removed.").await
            }
            "DELE" => {
                let done = self.files().remove_file(&path);
                self.outcome(done, 250, "File deleted.").await
            }
            "RNFR" if self.files().exists(&path) => {
                self.rename = Some(path);
                self.say(350, "Ready for the new name.").await
            }
            "RNFR" => self.say(550, "File or directory not found.").await,
            "RNTO" => match rename {
                Some(from) => {
                    let done = self.files().rename(&from, &path);
                    self.outcome(done, 250, "Renamed.").await
                }
                None => self.say(503, "RNFR goes first.").await,
            },
            "SIZE" => self.fact(&path, |content, _| content.len().to_string()).await,
            "MDTM" => self.fact(&path, |_, changed| changed.strftime("%Y%m%d%H%M%S").to_string()).await,
            "REST" => match argument.parse() {
                Ok(at) => {
                    self.restart = at;
                    self.say(350, &format!("The next transfer begins at {at}.")).await
                }
                Err(_) => self.say(501, "REST needs a number of bytes.").await,
            },
            "PASV" => self.passive().await,
            "EPSV" => self.extended_passive(argument).await,
            "PORT" => self.active(port(argument), "PORT").await,
            "EPRT" => self.active(extended_port(argument), "EPRT").await,
            "LIST" | "NLST" => self.list(verb == "LIST", argument).await,
            "RETR" => self.retrieve(path).await,
            "STOR" | "APPE" => self.store(path, verb == "APPE").await,
            "ABOR" => {
                self.data = Data::None;
                self.say(226, "Nothing to abort.").await
            }
            _ => self.say(501, &format!("{verb} unsuccessful; specified subcommand not recognized.")).await,
        }
    }

    async fn user(&mut self, name: &str) -> Done {
        let name = name.trim().to_ascii_uppercase();
        self.logged_on = false;
        if name.is_empty() {
            return self.say(501, "USER needs a name.").await;
        }
        self.user = Some(name);
        self.say(331, "Enter password.").await
    }

    async fn password(&mut self, password: &str) -> Done {
        let Some(user) = self.user.clone().filter(|_| !self.logged_on) else {
            return self.say(503, "USER goes first.").await;
        };
        if self.settings.accepts(&user, password) {
            self.logged_on = true;
            self.directory = "/".to_owned();
            let text = format!("{user} logged on.");
            self.tell(FtpHappening::LoggedOn { user });
            return self.say(230, &text).await;
        }
        let text = format!("Log on attempt by user {user} rejected.");
        self.tell(FtpHappening::Refused { user });
        self.user = None;
        self.refused += 1;
        self.reply(530, &text).await?;
        Ok(self.refused < TRIES_MAX)
    }

    async fn features(&mut self) -> Done {
        let text = "211-Features:\r\n EPRT\r\n EPSV\r\n MDTM\r\n REST STREAM\r\n SIZE\r\n UTF8\r\n211 End.\r\n";
        self.control.write_all(text.as_bytes()).await.map(|()| true)
    }

    async fn site(&mut self, argument: &str) -> Done {
        match argument.to_ascii_uppercase().split_whitespace().collect::<Vec<_>>().as_slice() {
            ["NAMEFMT", "1"] | ["NAMEFMT"] => self.say(250, " Now using naming format \"1\".").await,
            ["NAMEFMT", ..] => self.say(504, "This simulator has no libraries.").await,
            ["LISTFMT", "1"] | ["LISTFMT"] => {
                self.say(250, "Directory listing format (LISTFMT) option set to 1.").await
            }
            _ => self.say(501, "SITE unsuccessful; specified subcommand not recognized.").await,
        }
    }

    async fn representation(&mut self, argument: &str) -> Done {
        match argument.to_ascii_uppercase().as_str() {
            "A" | "A N" => self.is_text = true,
            "I" | "L 8" => self.is_text = false,
            _ => return self.say(504, "This simulator has types A and I only.").await,
        }
        let text = if self.is_text { "ASCII NONPRINT" } else { "binary IMAGE" };
        self.say(200, &format!("Representation type is {text}.")).await
    }

    async fn change(&mut self, path: String) -> Done {
        if !self.files().is_directory(&path) {
            return self.say(550, "There is no such directory.").await;
        }
        self.directory = path;
        let text = format!("\"{}\" is current directory.", self.directory);
        self.say(250, &text).await
    }

    async fn fact(&mut self, path: &str, fact: impl Fn(&[u8], jiff::Timestamp) -> String) -> Done {
        let read = self.files().read(path);
        match read {
            Ok((content, changed)) => self.say(213, &fact(&content, changed)).await,
            Err(wrong) => self.say(wrong.code, wrong.text).await,
        }
    }

    /// Listens for the next data connection, on the address of the control connection.
    async fn listen(&mut self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind((self.control.local_addr()?.ip(), 0)).await?;
        let address = listener.local_addr()?;
        self.data = Data::Listens(listener);
        Ok(address)
    }

    async fn passive(&mut self) -> Done {
        let address = self.listen().await?;
        let IpAddr::V4(ip) = address.ip().to_canonical() else {
            self.data = Data::None;
            return self.say(425, "PASV is for IPv4; use EPSV.").await;
        };
        let ([a, b, c, d], [high, low]) = (ip.octets(), address.port().to_be_bytes());
        self.say(227, &format!("Entering Passive Mode ({a},{b},{c},{d},{high},{low}).")).await
    }

    async fn extended_passive(&mut self, argument: &str) -> Done {
        let own = if self.control.local_addr()?.ip().to_canonical().is_ipv4() { "1" } else { "2" };
        match argument.to_ascii_uppercase().as_str() {
            "ALL" => return self.say(200, "EPSV only from now on.").await,
            "" => {}
            family if family == own => {}
            _ => return self.say(522, &format!("Network protocol not supported, use ({own}).")).await,
        }
        let port = self.listen().await?.port();
        self.say(229, &format!("Entering Extended Passive Mode (|||{port}|).")).await
    }

    async fn active(&mut self, address: Option<SocketAddr>, verb: &str) -> Done {
        let peer = self.control.peer_addr()?.ip().to_canonical();
        match address {
            Some(address) if address.ip().to_canonical() == peer && address.port() >= 1024 => {
                self.data = Data::Connects(address);
                self.say(200, &format!("{verb} subcommand request successful.")).await
            }
            Some(_) => self.say(501, "This simulator connects to you and to nobody else.").await,
            None => self.say(501, "This is no address.").await,
        }
    }

    async fn list(&mut self, is_long: bool, argument: &str) -> Done {
        // Options of ls, which clients add, are left out of account.
        let name = argument.split(' ').find(|word| !word.starts_with('-')).unwrap_or("");
        let path = self.path(name);
        let owner = self.user.clone().unwrap_or_default();
        let listed = if is_long { self.files().long(&path, &owner) } else { self.files().short(&path) };
        match listed {
            Ok(text) => {
                let sent = self.transfer("List started.", Cargo::Send(text.into())).await?;
                if sent.is_some() { self.say(250, "List completed.").await } else { Ok(true) }
            }
            Err(wrong) => self.say(wrong.code, wrong.text).await,
        }
    }

    async fn retrieve(&mut self, path: String) -> Done {
        let read = self.files().read(&path);
        let restart = std::mem::take(&mut self.restart);
        let mut content = match read {
            Ok((content, _)) => content,
            Err(wrong) => return self.say(wrong.code, wrong.text).await,
        };
        let size = content.len();
        content.advance(restart.min(size));
        if self.is_text {
            content = with_crlf(&content);
        }
        let text = format!("Retrieving file {path} ({size} bytes)");
        if self.transfer(&text, Cargo::Send(content)).await?.is_none() {
            return Ok(true);
        }
        self.tell(FtpHappening::Sent { path, bytes: size });
        self.say(226, "File transfer completed successfully.").await
    }

    async fn store(&mut self, path: String, is_append: bool) -> Done {
        let (may, room, old) = {
            let files = self.files();
            let old = files.read(&path).map(|(content, _)| content).unwrap_or_default();
            (files.may_write(&path), files.room(&path), old)
        };
        if let Err(wrong) = may {
            return self.say(wrong.code, wrong.text).await;
        }
        let restart = std::mem::take(&mut self.restart);
        let kept = if is_append { old } else { old.slice(..restart.min(old.len())) };
        let text = format!("Sending file to {path}");
        let most = room.saturating_sub(kept.len());
        let Some(received) = self.transfer(&text, Cargo::Receive { most }).await? else { return Ok(true) };
        let received = if self.is_text { without_crlf(&received) } else { received };
        let content = Bytes::from([kept, received].concat());
        let (bytes, now) = (content.len(), self.system.now());
        let written = self.files().write(&path, content, now);
        if written.is_ok() {
            self.tell(FtpHappening::Received { path, bytes });
        }
        self.outcome(written, 226, "File transfer completed successfully.").await
    }

    /// Does a transfer; `None`: there was none or not all of it, and the client was told so.
    async fn transfer(&mut self, text: &str, cargo: Cargo) -> io::Result<Option<Bytes>> {
        let data = std::mem::replace(&mut self.data, Data::None);
        let (local, peer) = (self.control.local_addr()?.ip(), self.control.peer_addr()?.ip());
        if matches!(data, Data::None) {
            self.reply(425, "PASV, EPSV, PORT or EPRT goes first.").await?;
            return Ok(None);
        }
        self.reply(150, text).await?;
        let moving = async move {
            let stream = match tokio::time::timeout(MEET, meet(data, local, peer)).await {
                Ok(met) => met?,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            };
            carry(stream, cargo).await
        };
        let mut moving = std::pin::pin!(moving);
        loop {
            let line = tokio::select! {
                moved = &mut moving => {
                    return match moved {
                        Ok(bytes) => Ok(Some(bytes)),
                        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                            self.reply(552, "The simulator keeps files in memory, and that is full.").await?;
                            Ok(None)
                        }
                        Err(_) => {
                            self.reply(426, "Data connection failed; transfer ended.").await?;
                            Ok(None)
                        }
                    };
                }
                line = self.line() => line?,
            };
            match line.to_ascii_uppercase().as_str() {
                "ABOR" => break,
                "QUIT" => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => self.reply(503, "A transfer is under way.").await?,
            }
        }
        self.reply(426, "Transfer aborted.").await?;
        self.reply(226, "ABOR subcommand successful.").await?;
        Ok(None)
    }
}

/// Makes the data connection, with the control connection's peer and with nobody else.
async fn meet(data: Data, local: IpAddr, peer: IpAddr) -> io::Result<TcpStream> {
    match data {
        Data::None => Err(io::ErrorKind::NotConnected.into()),
        Data::Connects(address) => {
            let socket =
                if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
            if address.is_ipv4() == local.to_canonical().is_ipv4() {
                socket.bind(SocketAddr::new(local.to_canonical(), 0))?;
            }
            socket.connect(address).await
        }
        Data::Listens(listener) => loop {
            let (stream, from) = listener.accept().await?;
            if from.ip().to_canonical() == peer.to_canonical() {
                return Ok(stream);
            }
        },
    }
}

async fn carry(mut stream: TcpStream, cargo: Cargo) -> io::Result<Bytes> {
    match cargo {
        Cargo::Send(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            // Until the other end has read all of it: closing sooner could take back what is on its way.
            let _ = tokio::time::timeout(MEET, stream.read(&mut [0])).await;
            Ok(bytes)
        }
        Cargo::Receive { most } => {
            let mut received = BytesMut::new();
            while stream.read_buf(&mut received).await? > 0 {
                if received.len() > most {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            Ok(received.freeze())
        }
    }
}

/// A line as text, without its end and without telnet commands.
fn text(line: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.iter().copied();
    while let Some(byte) = rest.next() {
        if byte == 0xFF {
            // Interrupt process and data mark, which some clients send before ABOR.
            rest.next();
        } else {
            bytes.push(byte);
        }
    }
    // The line's end and nothing else: a password may end with a blank.
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

fn with_crlf(content: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) if !line.ends_with(b"\r") => {
                text.extend_from_slice(line);
                text.extend_from_slice(b"\r\n");
            }
            _ => text.extend_from_slice(line),
        }
    }
    text.into()
}

fn without_crlf(text: &[u8]) -> Bytes {
    let mut content = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => {
                content.extend_from_slice(line);
                content.push(b'\n');
            }
            None => content.extend_from_slice(line),
        }
    }
    content.into()
}

/// The argument of PORT.
fn port(argument: &str) -> Option<SocketAddr> {
    let numbers: Vec<u8> = argument.split(',').map(|number| number.trim().parse().ok()).collect::<Option<_>>()?;
    let [a, b, c, d, high, low] = numbers.try_into().ok()?;
    Some((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

/// The argument of EPRT.
fn extended_port(argument: &str) -> Option<SocketAddr> {
    let mut parts = argument.get(1..)?.split(argument.chars().next()?);
    let (_family, ip, port) = (parts.next()?, parts.next()?, parts.next()?);
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests;
