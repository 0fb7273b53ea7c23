//! FTP clients of others, each made to do the same work by its own means.
//!
//! The work: upload a file twice, once of it in two parts where the client can; list; download; go on with a download that
//! was cut; rename one file and delete the other.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::server::{Folder, Tls, program};
use crate::support::root;

/// A client program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Curl,
    Lftp,
    Tnftp,
    Ncftp,
    Ftplib,
    BasicFtp,
}

/// Where to, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) port: u16,
    pub(crate) tls: Tls,
    pub(crate) passive: bool,
}

/// What is given at the logon.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logon<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) account: Option<&'a str>,
}

impl<'a> Logon<'a> {
    pub(crate) const fn new(user: &'a str, password: &'a str) -> Self {
        Self { user, password, account: None }
    }
}

/// All there are.
pub(crate) const ALL: [Client; 6] =
    [Client::Curl, Client::Lftp, Client::Tnftp, Client::Ncftp, Client::Ftplib, Client::BasicFtp];

/// Bytes that no codec loves: every value, telnet's own, line ends.
pub(crate) fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(length.div_ceil(4)).flatten().collect();
    bytes.truncate(length);
    bytes
}

impl Client {
    /// Why it cannot be used here, if so.
    pub(crate) fn missing(self) -> Option<String> {
        let is_there = match self {
            Self::Curl => program("curl").is_some(),
            Self::Lftp => program("lftp").is_some(),
            Self::Tnftp => program("tnftp").is_some(),
            Self::Ncftp => program("ncftp").is_some(),
            Self::Ftplib => program("python3").is_some(),
            Self::BasicFtp => program("node").is_some() && basic_ftp().join("basic-ftp").is_dir(),
        };
        (!is_there).then(|| format!("{self:?} is not installed"))
    }

    /// Whether the client has this at all.
    pub(crate) fn speaks(self, tls: Tls, passive: bool) -> bool {
        match self {
            Self::Lftp | Self::Ftplib => true,
            // In active mode with TLS, version 7.88 sends its data in plain.
            Self::Curl => passive || tls == Tls::Plain,
            Self::Tnftp | Self::Ncftp => tls == Tls::Plain,
            Self::BasicFtp => passive,
        }
    }

    /// Whether it can send an account.
    pub(crate) const fn has_account(self) -> bool {
        !matches!(self, Self::BasicFtp)
    }

    /// Logs on and lists; the output tells what happened.
    pub(crate) fn list(self, way: Way, logon: Logon<'_>, folder: &Folder) -> Output {
        let desk = Desk::new(folder, "list");
        match self {
            Self::Curl => desk.curl(way, logon, &["--list-only", &url(way, "")]),
            Self::Lftp => desk.lftp(way, logon, "cls -1\n"),
            Self::Tnftp => desk.tnftp(way, logon, "nlist\n"),
            Self::Ncftp => desk.ncftp(way, logon, "ls\n"),
            Self::Ftplib => desk.ftplib(way, logon, "list"),
            Self::BasicFtp => desk.basic_ftp(way, logon, "list"),
        }
    }

    /// Does the work, and checks what came of it on this side. On the other side `b.bin` is left, with [`content`].
    pub(crate) fn work(self, way: Way, logon: Logon<'_>, folder: &Folder) {
        let desk = Desk::new(folder, &format!("{self:?}"));
        let whole = content();
        let (half, rest) = whole.split_at(whole.len() / 2);
        desk.write("up.bin", &whole);
        desk.write("half.bin", half);
        desk.write("rest.bin", rest);
        desk.write("resumed.bin", half);
        let output = match self {
            Self::Curl => {
                for (options, path) in [
                    (&["-T", "up.bin"][..], "a.bin"),
                    (&["-T", "half.bin"], "c.bin"),
                    (&["-C", "-", "-T", "up.bin"], "c.bin"),
                    (&["-o", "list.txt"], ""),
                    (&["-o", "down.bin"], "a.bin"),
                    (&["-C", "-", "-o", "resumed.bin"], "c.bin"),
                ] {
                    let output = desk.curl(way, logon, &[options, &[&url(way, path)]].concat());
                    assert!(output.status.success(), "{way:?} {options:?}: {}", said(&output));
                }
                let quotes = ["-Q", "-RNFR a.bin", "-Q", "-RNTO b.bin", "-Q", "-DELE c.bin", "--list-only"];
                desk.curl(way, logon, &[&quotes[..], &[&url(way, "")]].concat())
            }
            Self::Lftp => desk.lftp(
                way,
                logon,
                "put up.bin -o a.bin\nput half.bin -o c.bin\nput -c up.bin -o c.bin\ncls -1 > list.txt\nget a.bin -o down.bin\n\
                 get -c c.bin -o resumed.bin\nmv a.bin b.bin\nrm c.bin\n",
            ),
            Self::Tnftp => desk.tnftp(
                way,
                logon,
                "binary\nput up.bin a.bin\nput half.bin c.bin\nappend rest.bin c.bin\nnlist . list.txt\nget a.bin down.bin\n\
                 reget c.bin resumed.bin\nrename a.bin b.bin\ndelete c.bin\n",
            ),
            Self::Ncftp => {
                // It goes on with a file of the same name, if that is older.
                fs::copy(desk.path("resumed.bin"), desk.path("c.bin")).unwrap();
                let output = desk.ncftp(
                    way,
                    logon,
                    "put -z up.bin a.bin\nput -z half.bin c.bin\nput -A -z up.bin c.bin\nls\nget -z a.bin down.bin\n\
                     get c.bin\nrename a.bin b.bin\nrm c.bin\n",
                );
                desk.write("list.txt", &output.stdout);
                fs::rename(desk.path("c.bin"), desk.path("resumed.bin")).unwrap();
                output
            }
            Self::Ftplib => desk.ftplib(way, logon, "all"),
            Self::BasicFtp => desk.basic_ftp(way, logon, "all"),
        };
        assert!(output.status.success(), "{self:?} {way:?}: {}", said(&output));
        let list = String::from_utf8_lossy(&desk.read("list.txt")).into_owned();
        assert!(list.contains("a.bin") && list.contains("c.bin"), "{self:?} {way:?}: {list:?} {}", said(&output));
        for name in ["down.bin", "resumed.bin"] {
            assert!(desk.read(name) == whole, "{self:?} {way:?}: {name} is not what was sent; {}", said(&output));
        }
    }
}

/// What the work leaves as `b.bin`: some 600 kB.
pub(crate) fn content() -> Vec<u8> {
    noise(600_001, 7)
}

/// Whether a logon was rejected; one client swallows the code.
pub(crate) fn is_rejected(output: &Output) -> bool {
    let text = said(output);
    text.contains("530") || text.contains("was not accepted for login")
}

/// What a program printed.
pub(crate) fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}: {out}{err}", output.status)
}

fn basic_ftp() -> PathBuf {
    root().join("target/ftp-clients/node_modules")
}

/// The address of a file, as curl wants it.
pub(crate) fn url(way: Way, path: &str) -> String {
    let scheme = if way.tls == Tls::Implicit { "ftps" } else { "ftp" };
    format!("{scheme}://127.0.0.1:{}/{path}", way.port)
}

/// A folder that a client works in.
#[derive(Debug)]
pub(crate) struct Desk {
    place: PathBuf,
    certificate: PathBuf,
}

impl Desk {
    pub(crate) fn new(folder: &Folder, name: &str) -> Self {
        let place = folder.join(&format!("desk-{name}"));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        Self { place, certificate: folder.certificate() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_default()
    }

    /// Runs a program here, at most for a minute and a half.
    fn run(&self, name: &str, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", "90", name]).args(arguments).current_dir(&self.place).env("HOME", &self.place);
        command.env("LC_ALL", "C.UTF-8").env_remove("ftp_proxy").env_remove("no_proxy");
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        // A program that ends early leaves its input unread.
        let _unread = stdin.write_all(input.as_bytes());
        drop(stdin);
        process.wait_with_output().unwrap()
    }

    pub(crate) fn curl(&self, way: Way, logon: Logon<'_>, arguments: &[&str]) -> Output {
        let user = format!("{}:{}", logon.user, logon.password);
        let certificate = self.certificate.to_str().unwrap();
        let mut options = vec!["-sS", "--max-time", "60", "--cacert", certificate, "-u", &user];
        if way.tls == Tls::Explicit {
            options.push("--ssl-reqd");
        }
        if !way.passive {
            options.extend(["-P", "-"]);
        }
        if let Some(account) = logon.account {
            options.extend(["--ftp-account", account]);
        }
        options.extend(arguments);
        self.run("curl", &options, "")
    }

    pub(crate) fn lftp(&self, way: Way, logon: Logon<'_>, commands: &str) -> Output {
        let on = |is: bool| if is { "true" } else { "false" };
        let is_explicit = way.tls == Tls::Explicit;
        let scheme = if way.tls == Tls::Implicit { "ftps" } else { "ftp" };
        let account = logon.account.map(|account| format!("set ftp:acct {account}\n")).unwrap_or_default();
        let script = format!(
            "set cmd:fail-exit true\nset net:max-retries 1\nset net:timeout 30\nset ftp:passive-mode {}\nset ftp:ssl-allow {}\n\
             set ftp:ssl-force {}\nset ftp:ssl-protect-data true\nset ssl:ca-file {}\nset ssl:check-hostname false\n{account}\
             open -u {},{} {scheme}://127.0.0.1:{}\n{commands}bye\n",
            on(way.passive),
            on(way.tls != Tls::Plain),
            on(is_explicit),
            self.certificate.display(),
            logon.user,
            logon.password,
            way.port,
        );
        self.write("lftp", script.as_bytes());
        self.run("lftp", &["--norc", "-f", "lftp"], "")
    }

    pub(crate) fn tnftp(&self, way: Way, logon: Logon<'_>, commands: &str) -> Output {
        let port = way.port.to_string();
        let passive = if way.passive { "-p" } else { "-A" };
        let (user, password) = (logon.user, logon.password);
        let input = format!("user {user} {password} {}\n{commands}bye\n", logon.account.unwrap_or_default());
        self.run("tnftp", &["-n", "-v", "-i", passive, "-P", &port, "127.0.0.1"], &input)
    }

    fn ncftp(&self, way: Way, logon: Logon<'_>, commands: &str) -> Output {
        let port = way.port.to_string();
        let mut options = vec!["-u", logon.user, "-p", logon.password, "-P", &port];
        if let Some(account) = logon.account {
            options.extend(["-j", account]);
        }
        options.push("127.0.0.1");
        // Without these it asks, on its first run.
        fs::create_dir_all(self.path(".ncftp")).unwrap();
        self.write(".ncftp/firewall", b"firewall-type=0\n");
        let input = format!("set passive {}\n{commands}quit\n", if way.passive { "on" } else { "off" });
        self.run("ncftp", &options, &input)
    }

    pub(crate) fn ftplib(&self, way: Way, logon: Logon<'_>, work: &str) -> Output {
        let script = root().join("tests/ftp/ftplib_client.py");
        let mode = if way.passive { "passive" } else { "active" };
        let account = logon.account.unwrap_or("-");
        let certificate = self.certificate.to_str().unwrap();
        let rest = [mode, logon.user, logon.password, account, certificate, work];
        self.run("python3", &[&[script.to_str().unwrap(), &way.port.to_string(), tls(way)], &rest[..]].concat(), "")
    }

    fn basic_ftp(&self, way: Way, logon: Logon<'_>, work: &str) -> Output {
        // Modules are looked for beside the script.
        let script = self.path("client.js");
        fs::copy(root().join("tests/ftp/basic_client.js"), &script).unwrap();
        let modules = self.path("node_modules");
        if !modules.exists() {
            std::os::unix::fs::symlink(basic_ftp(), &modules).unwrap();
        }
        let certificate = self.certificate.to_str().unwrap();
        let port = way.port.to_string();
        let arguments = [script.to_str().unwrap(), &port, tls(way), logon.user, logon.password, certificate, work];
        self.run("node", &arguments, "")
    }
}

const fn tls(way: Way) -> &'static str {
    match way.tls {
        Tls::Plain => "plain",
        Tls::Explicit => "explicit",
        Tls::Implicit => "implicit",
    }
}

/// Compares a file with what it should be.
#[track_caller]
pub(crate) fn same(path: &Path, expected: &[u8]) {
    let found = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(found == expected, "{} has {} bytes, not the {} sent", path.display(), found.len(), expected.len());
}
