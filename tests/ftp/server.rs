//! FTP servers of others on the loopback: vsftpd (Debian's) and pyftpdlib, each with a folder and a user of its own.
//!
//! vsftpd knows the system's accounts and nothing else. So it runs in a mount namespace in which the list of accounts is ours.
//! That takes root.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::root;

/// The user that all servers here know.
pub(crate) const USER: &str = "anna";
/// Her password.
pub(crate) const PASSWORD: &str = "garden";
/// The same for a system's list of accounts: `openssl passwd -6 -salt sallyport garden`.
const PASSWORD_HASH: &str =
    "$6$sallyport$oQXYU6BQNvbqUVKWz.VJOdgNmuhM80twYpLJ6wFjz9OdLBZ47tqGdPbtDT9RyhGKvhsPk98k.G4kCMuh2wJen1";

/// When a control connection goes under TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Plain,
    Explicit,
    Implicit,
}

/// A folder that is gone when its test is over.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sallyport-ftp-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        // The servers' own users come in here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let folder = Self(path);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        fs::write(folder.certificate(), made.cert.pem()).unwrap();
        fs::write(folder.key(), made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(folder.key(), fs::Permissions::from_mode(0o600)).unwrap();
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.join("certificate.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.join("key.pem")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    /// What clients see as `/`.
    pub(crate) files: PathBuf,
    asked: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts vsftpd.
    ///
    /// # Errors
    ///
    /// Why it cannot run here.
    pub(crate) fn vsftpd(folder: &Folder, name: &str, tls: Tls) -> Result<Self, String> {
        let program = program("vsftpd").ok_or("vsftpd is not installed")?;
        if !rustix::process::geteuid().is_root() {
            return Err("vsftpd with a user of its own takes root".to_owned());
        }
        let place = folder.join(name);
        let files = place.join("files");
        fs::create_dir_all(&files).unwrap();
        fs::create_dir_all(place.join("empty")).unwrap();
        fs::set_permissions(&files, fs::Permissions::from_mode(0o777)).unwrap();
        let address = free();
        let tls_lines = format!(
            "ssl_enable=YES\nimplicit_ssl={}\nrsa_cert_file={}\nrsa_private_key_file={}\nssl_tlsv1=YES\n\
             force_local_data_ssl=NO\nforce_local_logins_ssl=YES\nrequire_ssl_reuse=YES\nssl_ciphers=HIGH\n",
            if tls == Tls::Implicit { "YES" } else { "NO" },
            folder.certificate().display(),
            folder.key().display(),
        );
        let configuration = format!(
            "listen=YES\nlisten_ipv6=NO\nlisten_address={}\nlisten_port={}\nbackground=NO\nanonymous_enable=NO\nlocal_enable=YES\n\
             write_enable=YES\nlocal_umask=022\npam_service_name=vsftpd\nchroot_local_user=YES\nsecure_chroot_dir={}\n\
             allow_writeable_chroot=YES\nisolate=NO\nisolate_network=NO\nseccomp_sandbox=NO\nxferlog_enable=NO\n\
             connect_from_port_20=NO\ndelay_failed_login=0\nmax_login_fails=9\nmdtm_write=YES\nftpd_banner=vsftpd here.\n{}",
            address.ip(),
            address.port(),
            place.join("empty").display(),
            if tls == Tls::Plain { "" } else { &tls_lines },
        );
        let account = format!(
            "{USER}:x:65534:65534::{}:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n",
            files.display()
        );
        let stack =
            "auth required pam_unix.so nodelay\naccount required pam_permit.so\nsession required pam_permit.so\n";
        for (name, text) in [
            ("vsftpd.conf", configuration),
            ("passwd", account),
            ("shadow", format!("{USER}:{PASSWORD_HASH}:19000:0:99999:7:::\n")),
            ("pam", stack.to_owned()),
        ] {
            fs::write(place.join(name), text).unwrap();
        }
        // Its own accounts and its own rule of who may log on, for this process alone.
        let enter = "mount --bind pam /etc/pam.d/vsftpd && mount --bind passwd /etc/passwd && \
                     mount --bind shadow /etc/shadow && exec \"$1\" vsftpd.conf";
        let process = Command::new("unshare")
            .args(["--mount", "sh", "-c", enter, "sh"])
            .arg(&program)
            .current_dir(&place)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let asked = place.join("asked");
        Self { process, address, files, asked }.ready("vsftpd cannot run in a namespace of its own here")
    }

    /// Starts pyftpdlib, out of a Python environment under `target/`.
    ///
    /// # Errors
    ///
    /// Why it cannot run here.
    pub(crate) fn pyftpdlib(folder: &Folder, name: &str, tls: Tls) -> Result<Self, String> {
        let python = root().join("target/ftp-clients/python/bin/python");
        if !python.is_file() {
            return Err("pyftpdlib is not installed (tests/run installs it)".to_owned());
        }
        let place = folder.join(name);
        let files = place.join("files");
        fs::create_dir_all(&files).unwrap();
        let (address, asked) = (free(), place.join("asked"));
        let process = Command::new(python)
            .arg(root().join("tests/ftp/server.py"))
            .args([address.port().to_string(), if tls == Tls::Plain { "plain" } else { "explicit" }.to_owned()])
            .args([USER, PASSWORD])
            .args([&files, &folder.certificate(), &folder.key(), &asked])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        Self { process, address, files, asked }.ready("pyftpdlib does not start")
    }

    fn ready(mut self, otherwise: &str) -> Result<Self, String> {
        for _ in 0..100 {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(self);
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                return Err(format!("{otherwise}: {status}"));
            }
            pause(Duration::from_millis(50));
        }
        Err(format!("{otherwise}: nobody listens"))
    }

    /// The users and passwords that it was asked about, in order; only pyftpdlib writes them down.
    pub(crate) fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.asked).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The names of its files.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.files).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A port that nobody listens on.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Where a program is, if it is.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&paths).chain(more).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[expect(clippy::disallowed_methods, reason = "a test waits for programs that tell nobody when they are ready")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
