//! Reads the files that a configuration names; each mistake points at the line that names the file.

use std::sync::Arc;

use policy::Secret;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use super::check::{RADIUS_SECRET_MIN, WEBHOOK_SECRET_MIN};
use super::problem::Problem;
use super::{
    ApiKey, Config, ConfigError, FileName, HostTls, HostTrust, ListenerTls, OpenSink, OpenYubikey, Password,
    RelaySecrets, SinkTls, Sms, SmsHow, Smtp, Target, Yubikey,
};
use crate::notify::{SmsKind, SmsSettings};
use crate::tls::{self, Trust};

/// What was read from the files.
#[derive(Debug)]
pub struct Open {
    /// What was read for each mail relay, `[smtp]` first.
    pub relays: Vec<RelaySecrets>,
    /// The SMS providers, with their secrets.
    pub sms: Vec<SmsSettings>,
    /// For each of [`Config::listeners`], how it speaks TLS.
    pub listeners: Vec<Option<Arc<ServerConfig>>>,
    /// For each of [`Config::hosts`], how to speak TLS to it, and its name.
    pub hosts: Vec<Option<(Arc<ClientConfig>, ServerName<'static>)>>,
    /// For each of [`Config::hosts`], how to speak TLS to its FTP server, and its name.
    pub ftp_hosts: Vec<Option<(Arc<ClientConfig>, ServerName<'static>)>>,
    /// For each server of `[radius]`, the secret.
    pub radius_secrets: Vec<Secret<String>>,
    /// For `[yubikey]`, certificates and key.
    pub yubikey: Option<OpenYubikey>,
    /// For each of the audit's sinks, what it needs.
    pub sinks: Vec<OpenSink>,
}

/// Reads the files that `config` names.
pub(super) fn open(config: &Config) -> Result<Open, ConfigError> {
    let mut reader = Reader { config, problems: Vec::new() };
    let relays = std::iter::once(&config.smtp).chain(&config.smtp_fallbacks).map(|relay| reader.relay(relay)).collect();
    let sms = config.sms.iter().filter_map(|sms| reader.sms(sms)).collect();
    let listeners = config.listeners.iter().map(|listener| reader.listener(listener.tls.as_ref()?)).collect();
    let hosts = config.hosts.iter().map(|host| reader.host(host.tls.as_ref()?, false)).collect();
    let mut ftp_hosts = Vec::new();
    for (index, host) in config.hosts.iter().enumerate() {
        // What no listener needs need not be there.
        let is_used = config.listeners.iter().any(|listener| listener.ftp.is_some() && listener.host == index);
        let trust = host.ftp.trust.as_ref().filter(|_| is_used);
        ftp_hosts.push(trust.and_then(|trust| reader.host(trust, host.ftp.tls12_only)));
    }
    let mut radius_secrets = Vec::new();
    for server in config.radius.iter().flat_map(|radius| &radius.servers) {
        radius_secrets.extend(reader.radius_secret(&server.secret));
    }
    let yubikey = config.yubikey.as_ref().and_then(|yubikey| reader.yubikey(yubikey));
    let sinks = config.audit.sinks.iter().filter_map(|sink| reader.sink(&sink.target)).collect();
    if reader.problems.is_empty() {
        Ok(Open { relays, sms, listeners, hosts, ftp_hosts, radius_secrets, yubikey, sinks })
    } else {
        Err(ConfigError::Invalid(reader.problems))
    }
}

struct Reader<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn take<T>(&mut self, name: &FileName, result: Result<T, tls::Error>) -> Option<T> {
        result.map_err(|error| self.wrong(name, &error.to_string(), expected(&error))).ok()
    }

    fn wrong(&mut self, name: &FileName, message: &str, expected: &str) {
        let message = format!("{} {message}", name.path.display());
        let problem = self.config.source.problem(name.span.clone(), message, expected.into(), None);
        // A file may serve terminals and FTP; it is wrong once.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn secret(&mut self, secret: Option<&Password>) -> Option<Secret<String>> {
        match secret? {
            Password::Here(secret) => Some(secret.clone()),
            Password::File(name) => self.password(name),
        }
    }

    fn relay(&mut self, relay: &Smtp) -> RelaySecrets {
        for name in relay.ca_file.iter().chain(relay.oauth.iter().filter_map(|oauth| oauth.ca_file.as_ref())) {
            self.take(name, tls::roots(&name.path));
        }
        let oauth = relay.oauth.as_ref();
        RelaySecrets {
            password: self.secret(relay.login.as_ref().map(|login| &login.password)),
            client_secret: self.secret(oauth.and_then(|oauth| oauth.client_secret.as_ref())),
            refresh_token: self.secret(oauth.and_then(|oauth| oauth.refresh_token.as_ref())),
        }
    }

    fn sms(&mut self, sms: &Sms) -> Option<SmsSettings> {
        if let Some(name) = &sms.ca_file {
            self.take(name, tls::roots(&name.path))?;
        }
        let secret = self.secret(sms.secret.as_ref());
        let kind = match &sms.how {
            SmsHow::Twilio { url, account, username, sender } => SmsKind::Twilio {
                url: url.clone(),
                account: account.clone(),
                username: username.clone(),
                secret: secret?,
                sender: sender.clone(),
            },
            SmsHow::Http { url, method, headers, body, form, success } => SmsKind::Http {
                url: url.clone(),
                method: method.clone(),
                headers: headers.clone(),
                body: body.clone(),
                form: *form,
                success: success.clone(),
                secret,
            },
        };
        let ca_file = sms.ca_file.as_ref().map(|name| name.path.clone());
        Some(SmsSettings { name: sms.name.clone(), kind, timeout: sms.timeout, ca_file })
    }

    fn password(&mut self, name: &FileName) -> Option<Secret<String>> {
        match std::fs::read_to_string(&name.path).map(Zeroizing::new) {
            Err(error) => self.wrong(name, &format!("cannot be read: {error}"), "a file with the password"),
            Ok(text) => match text.lines().next().filter(|line| !line.is_empty()) {
                None => self.wrong(name, "has no first line", "the password in its first line"),
                Some(line) => return Some(Secret::new(line.to_owned())),
            },
        }
        None
    }

    fn radius_secret(&mut self, secret: &Password) -> Option<Secret<String>> {
        let name = match secret {
            Password::Here(secret) => return Some(secret.clone()),
            Password::File(name) => name,
        };
        self.long_secret(name, RADIUS_SECRET_MIN)
    }

    /// A secret of at least `least` characters.
    fn long_secret(&mut self, name: &FileName, least: usize) -> Option<Secret<String>> {
        let secret = self.password(name)?;
        if secret.expose().len() < least {
            let expected = format!("at least {least} characters in its first line");
            self.wrong(name, "holds a secret that is too short", &expected);
            return None;
        }
        Some(secret)
    }

    fn yubikey(&mut self, yubikey: &Yubikey) -> Option<OpenYubikey> {
        let api_key = match &yubikey.api_key {
            None => None,
            Some(ApiKey::Here(key)) => Some(key.clone()),
            Some(ApiKey::File(name)) => {
                let text = self.password(name)?;
                let key = data_encoding::BASE64.decode(text.expose().trim().as_bytes()).ok();
                if key.is_none() {
                    self.wrong(name, "holds no API key", "base64 in its first line");
                }
                Some(Secret::new(key?))
            }
        };
        let roots = match &yubikey.ca_file {
            Some(name) => self.take(name, tls::roots(&name.path))?,
            // Nothing leaves this machine, and the system may have none.
            None if yubikey.is_local => RootCertStore::empty(),
            None => match tls::system_roots() {
                Ok(roots) => roots,
                Err(error) => {
                    let message = format!("[yubikey]: {error}");
                    self.problems.push(self.config.source.problem(0..0, message, "ca_file".into(), None));
                    return None;
                }
            },
        };
        Some(OpenYubikey { roots, api_key })
    }

    fn listener(&mut self, files: &ListenerTls) -> Option<Arc<ServerConfig>> {
        let chain = self.take(&files.certificate, tls::certificates(&files.certificate.path));
        let key = self.take(&files.key, tls::private_key(&files.key.path));
        let clients = match &files.clients {
            None => None,
            Some((ca, wish)) => Some((self.take(ca, tls::roots(&ca.path))?, *wish)),
        };
        self.take(&files.key, tls::listener_config(chain?, key?, clients))
    }

    fn sink(&mut self, target: &Target) -> Option<OpenSink> {
        let (tls, secret) = match target {
            Target::File(_) => (None, None),
            Target::Syslog { tls, .. } => (tls.as_ref(), None),
            Target::Webhook { tls, secret, .. } => (tls.as_ref(), secret.as_ref()),
        };
        let secret = match secret {
            None => None,
            Some(Password::Here(secret)) => Some(secret.clone()),
            Some(Password::File(name)) => Some(self.long_secret(name, WEBHOOK_SECRET_MIN)?),
        };
        let Some(SinkTls { trust, identity }) = tls else { return Some(OpenSink { tls: None, secret }) };
        let identity = match identity {
            None => None,
            Some((certificate, key)) => Some((
                self.take(certificate, tls::certificates(&certificate.path))?,
                self.take(key, tls::private_key(&key.path))?,
            )),
        };
        Some(OpenSink { tls: Some(self.client(trust, rustls::ALL_VERSIONS, identity)?), secret })
    }

    fn host(&mut self, tls: &HostTls, tls12_only: bool) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        self.client(tls, proxy_ftp::data::versions(tls12_only), None)
    }

    fn client(
        &mut self,
        tls: &HostTls,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<tls::Identity>,
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let trust = match &tls.trust {
            HostTrust::Pins(pins) => Ok(Trust::Pins(pins.clone())),
            HostTrust::CaFile(name) => Ok(Trust::Roots(self.take(name, tls::roots(&name.path))?)),
            HostTrust::System => tls::system_roots().map(Trust::Roots),
        };
        match trust.and_then(|trust| tls::client_config(trust, versions, identity)) {
            Ok(config) => Some((config, tls.server_name.clone())),
            Err(error) => {
                let message = error.to_string();
                let problem = self.config.source.problem(tls.span.clone(), message, "ca_file or pins".into(), None);
                self.problems.push(problem);
                None
            }
        }
    }
}

fn expected(error: &tls::Error) -> &'static str {
    match error {
        tls::Error::Read(_) => "a file that this user can read",
        tls::Error::Missing(_) | tls::Error::Pem(_) => "a PEM file (-----BEGIN ...)",
        tls::Error::Root(_) | tls::Error::ClientCa(_) => "certificates of authorities (X.509 v3)",
        tls::Error::NoSystemRoots(_) => "the package ca-certificates, or ca_file, or pins",
        tls::Error::Pair(_) => "the private key of the certificate",
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::testing::Folder;

    const TEXT: &str = r#"[gateway]
store = "s.db"
[smtp]
host = "mail.example.com"
username = "sallyport"
password_file = "password"
from = "a@example.com"
[[host]]
name = "PROD"
address = "as400.example.com"
[host.tls]
ca_file = "ca.pem"
[[listener]]
name = "here"
address = "127.0.0.1:0"
host = "PROD"
[listener.tls]
certificate = "certificate.pem"
key = "key.pem"
client_ca = "ca.pem"
client_certificates = "required"
"#;

    /// A folder with every file that `TEXT` names.
    fn folder() -> Folder {
        let folder = Folder::new();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        let files = [("certificate.pem", &certificate), ("ca.pem", &certificate), ("key.pem", &key.serialize_pem())];
        for (name, text) in files {
            std::fs::write(folder.path(name), text).unwrap();
        }
        std::fs::write(folder.path("password"), "hunter2\nof the relay\n").unwrap();
        folder
    }

    fn open(folder: &Folder) -> Result<Open, Vec<Problem>> {
        let config = Config::parse(&folder.path("sallyport.toml"), TEXT.to_owned()).unwrap();
        config.open().map_err(|error| match error {
            ConfigError::Invalid(problems) => problems,
            ConfigError::Read { .. } => panic!("the configuration itself was read"),
        })
    }

    #[test]
    fn files_are_read() {
        let open = open(&folder()).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(open.relays[0].password.as_ref().unwrap().expose(), "hunter2");
        assert!(open.listeners[0].is_some() && open.hosts[0].is_some());
    }

    #[test]
    fn a_wrong_file_is_told_at_the_line_that_names_it() {
        let other = KeyPair::generate().unwrap().serialize_pem();
        for (file, content, line, about) in [
            ("certificate.pem", None, 18, "cannot be read"),
            ("certificate.pem", Some("nothing"), 18, "has no certificate in PEM form"),
            ("key.pem", Some(""), 19, "has no private key in PEM form"),
            ("key.pem", Some("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n"), 19, "broken PEM"),
            ("key.pem", Some(&other), 19, "cannot be used together"),
            ("password", None, 6, "cannot be read"),
            ("password", Some("\n"), 6, "has no first line"),
            ("ca.pem", None, 12, "cannot be read"),
        ] {
            let folder = folder();
            match content {
                Some(content) => std::fs::write(folder.path(file), content).unwrap(),
                None => std::fs::remove_file(folder.path(file)).unwrap(),
            }
            let problems = open(&folder).map(|_| ()).unwrap_err();
            let told = problems.iter().any(|told| told.line == line && told.message.contains(about));
            assert!(told, "{file} {about}: {problems:#?}");
            assert!(problems.iter().all(|told| told.message.contains(file)), "{problems:#?}");
        }
    }
}
