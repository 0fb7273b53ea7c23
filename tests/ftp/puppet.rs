//! A host that an attacker could have written, and a client that sends what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::server::{PASSWORD, USER, pause};
use super::stage::Stage;

const WAIT: Duration = Duration::from_secs(10);
/// What every file of the puppet holds.
pub(crate) const PAYLOAD: &[u8] = b"payroll\r\n";

/// What the puppet says to a line, where it is not what a host would say.
type Says = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A host on the loopback: it lets in the one user, and remembers every line of every connection.
pub(crate) struct Puppet {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Puppet {
    pub(crate) fn new(says: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (lines, says): (_, Arc<Says>) = (Arc::clone(&heard), Arc::new(says));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let (lines, says) = (Arc::clone(&lines), Arc::clone(&says));
                std::thread::spawn(move || Session::new(number, stream, lines).run(&*says));
            }
        });
        Self { address, heard }
    }

    /// A host that behaves.
    pub(crate) fn plain() -> Self {
        Self::new(|_| None)
    }

    /// All lines so far, `END` where a connection is over.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|(_, line)| line.clone()).collect()
    }

    /// The lines of the connections that are not over.
    pub(crate) fn open(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        let begun: std::collections::BTreeSet<usize> = heard.iter().map(|(number, _)| *number).collect();
        begun.len() - heard.iter().filter(|(_, line)| line == "END").count()
    }

    /// That the host heard nothing but what a check of the password takes.
    #[track_caller]
    pub(crate) fn heard_only_checks(&self) {
        for line in self.heard() {
            let word = line.split(' ').next().unwrap_or_default();
            assert!(
                ["START", "USER", "PASS", "QUIT", "FEAT", "OPTS", "END"].contains(&word),
                "the host heard {line:?}"
            );
        }
        for _ in 0..20 {
            if self.open() == 0 {
                return;
            }
            pause(Duration::from_millis(50));
        }
        // One connection may be there for its greeting; nobody is logged on at it.
        let heard = self.heard.lock().unwrap();
        for (number, _) in heard.iter().filter(|(_, line)| line == "START") {
            let lines: Vec<&str> =
                heard.iter().filter(|(other, _)| other == number).map(|(_, line)| line.as_str()).collect();
            let is_over = lines.last() == Some(&"END");
            assert!(is_over || !lines.iter().any(|line| line.starts_with("PASS")), "somebody is logged on: {lines:?}");
        }
    }
}

struct Session {
    number: usize,
    stream: TcpStream,
    heard: Arc<Mutex<Vec<(usize, String)>>>,
    data: Option<TcpListener>,
    logged_on: bool,
}

impl Session {
    const fn new(number: usize, stream: TcpStream, heard: Arc<Mutex<Vec<(usize, String)>>>) -> Self {
        Self { number, stream, heard, data: None, logged_on: false }
    }

    fn note(&self, line: &str) {
        self.heard.lock().unwrap().push((self.number, line.to_owned()));
    }

    fn say(&mut self, text: &str) -> bool {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).is_ok()
    }

    fn run(mut self, says: &Says) {
        self.note("START");
        let mut lines = BufReader::new(self.stream.try_clone().unwrap());
        let mut is_up = self.say("220 puppet ready.");
        let mut line = Vec::new();
        while is_up && lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
            line.clear();
            self.note(&text);
            is_up = match says(&text) {
                Some(reply) => self.say(&reply),
                None => self.answer(&text),
            };
        }
        self.note("END");
    }

    fn answer(&mut self, line: &str) -> bool {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "USER" => self.say("331 Enter password."),
            "PASS" => {
                self.logged_on = argument == PASSWORD;
                if self.logged_on { self.say("230 ANNA logged on.") } else { self.say("530 Log on attempt rejected.") }
            }
            "QUIT" => {
                self.say("221 QUIT subcommand received.");
                false
            }
            _ if !self.logged_on => self.say("530 Not logged on."),
            "PASV" | "EPSV" => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let port = listener.local_addr().unwrap().port();
                self.data = Some(listener);
                if verb == "PASV" {
                    self.say(&format!("227 Entering Passive Mode ({}).", place(Ipv4Addr::LOCALHOST, port)))
                } else {
                    self.say(&format!("229 Entering Extended Passive Mode (|||{port}|)."))
                }
            }
            "LIST" | "NLST" | "RETR" | "STOR" => {
                let Some(listener) = self.data.take() else { return self.say("425 No data connection.") };
                if !self.say("150 Started.") {
                    return false;
                }
                let Ok((mut data, _)) = listener.accept() else { return false };
                if verb == "STOR" {
                    let mut all = Vec::new();
                    let end = data.read_to_end(&mut all);
                    self.note(&format!("STORED {} {}", all.len(), if end.is_ok() { "whole" } else { "cut" }));
                } else {
                    let _ = data.write_all(PAYLOAD);
                }
                drop(data);
                self.say("226 Completed.")
            }
            _ => self.say("250 Done."),
        }
    }
}

/// `h1,h2,h3,h4,p1,p2`.
pub(crate) fn place(address: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = address.octets();
    format!("{a},{b},{c},{d},{},{}", port >> 8, port & 255)
}

/// A bare client.
pub(crate) struct Raw {
    reader: BufReader<TcpStream>,
}

impl Raw {
    /// Connects and reads the greeting.
    pub(crate) fn connect(port: u16) -> Self {
        let mut raw = Self::from_address(Ipv4Addr::LOCALHOST, port);
        assert_eq!(raw.code(), "220");
        raw
    }

    /// Connects from one of the loopback's addresses, and reads nothing.
    pub(crate) fn from_address(source: Ipv4Addr, port: u16) -> Self {
        let stream = connect_from(source, port);
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends bytes as they are, in one write.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A connection that was closed for good reason is found closed when it is read.
        let _closed = self.reader.get_mut().write_all(bytes.as_ref());
    }

    /// A whole reply; empty when the connection is over.
    pub(crate) fn reply(&mut self) -> String {
        let mut all = String::new();
        loop {
            let mut line = Vec::new();
            match self.reader.read_until(b'\n', &mut line) {
                Ok(0) => return all,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("no reply: {error}, after {all:?}"),
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_last =
                line.as_bytes().get(3) == Some(&b' ') && all.get(..3).is_none_or(|code| line.starts_with(code));
            all += &line;
            if is_last {
                return all;
            }
        }
    }

    /// The code of the next reply; empty when the connection is over.
    pub(crate) fn code(&mut self) -> String {
        self.reply().get(..3).unwrap_or_default().to_owned()
    }

    /// Sends a line and returns the reply's code.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.code()
    }

    /// USER and PASS; the code of the reply to the latter.
    pub(crate) fn log_on(&mut self, user: &str, password: &str) -> String {
        assert_eq!(self.ask(&format!("USER {user}")), "331");
        self.ask(&format!("PASS {password}"))
    }

    /// Logs on with the passcode that comes by mail.
    pub(crate) fn admit(&mut self, stage: &Stage<'_>) -> String {
        assert_eq!(self.log_on(USER, PASSWORD), "530");
        let code = stage.passcode();
        assert_eq!(self.log_on(USER, &code), "230");
        code
    }

    /// PASV: the address to connect to.
    pub(crate) fn passive(&mut self) -> SocketAddr {
        self.send("PASV\r\n");
        let reply = self.reply();
        assert!(reply.starts_with("227"), "{reply}");
        let numbers: Vec<u8> = reply[4..]
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().unwrap())
            .collect();
        let [a, b, c, d, high, low] = numbers[..] else { panic!("{reply}") };
        SocketAddr::new(IpAddr::from([a, b, c, d]), u16::from(high) << 8 | u16::from(low))
    }
}

/// A connection from this address of the loopback.
pub(crate) fn connect_from(source: Ipv4Addr, port: u16) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

/// All that comes until the other side ends; nothing where it never began.
pub(crate) fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let _ = stream.read_to_end(&mut all);
    all
}
