//! The factors that others judge: RADIUS servers, validation servers for YubiKeys.

use std::sync::Arc;
use std::time::Duration;

use policy::Secret;
use toml::Spanned;

use super::{Check, file, is_loopback, parse_address};
use crate::config::{ApiKey, Host, Listener, Password, Radius, RadiusServer, Yubikey};

/// The port of RADIUS authentication (RFC 2865, section 3).
const RADIUS_PORT: u16 = 1812;
/// The fewest characters of a secret shared with a RADIUS server (section 3: at least 16 octets).
pub(in crate::config) const RADIUS_SECRET_MIN: usize = 16;

/// What a verdict takes besides the servers that judge an answer: the store, and a log-on of the same user that goes before.
const VERDICT_MARGIN: Duration = Duration::from_secs(20);

/// Has gates wait for a verdict as long as the servers that judge answers may take, all of them, one after the other.
pub(super) fn wait_for_judges(
    hosts: &mut [Option<Host>],
    listeners: &mut [Option<Listener>],
    (radius, yubikey): (Option<&Option<Radius>>, Option<&Option<Yubikey>>),
) {
    let radius = radius.and_then(Option::as_ref).map_or(Duration::ZERO, Radius::ask_time);
    let yubikey = yubikey.and_then(Option::as_ref).map_or(Duration::ZERO, |yubikey| {
        yubikey.timeout.saturating_mul(u32::try_from(yubikey.servers.len()).unwrap_or(u32::MAX))
    });
    let judged = radius.saturating_add(yubikey);
    if judged.is_zero() {
        return;
    }
    let least = judged.saturating_add(VERDICT_MARGIN);
    for host in hosts.iter_mut().flatten() {
        let verdict = &mut Arc::make_mut(&mut host.gate).limits.verdict;
        *verdict = least.max(*verdict);
    }
    for ftp in listeners.iter_mut().flatten().filter_map(|listener| listener.ftp.as_mut()) {
        let verdict = &mut Arc::make_mut(&mut ftp.gate).limits.verdict;
        *verdict = least.max(*verdict);
    }
}

impl Check<'_> {
    pub(super) fn radius(&mut self, radius: Spanned<file::Radius>, node: Option<Arc<str>>) -> Option<Radius> {
        let span = radius.span();
        let radius = radius.into_inner();
        let nas_identifier = match &radius.nas_identifier {
            Some(name) => self.name(name),
            None => node,
        };
        let user_name = match &radius.user_name {
            None => Some("{user}".to_owned()),
            Some(form) => {
                let bare = form.as_ref().replace("{user}", "").replace("{user-lower}", "");
                let names = bare.len() < form.as_ref().len() && !bare.contains(['{', '}']);
                if !names || form.as_ref().len() > 128 {
                    let message = format!("`{}` does not say how users are named there", form.as_ref());
                    self.wrong(form.span(), message, "text with {user} or {user-lower} in it");
                }
                names.then(|| form.as_ref().clone())
            }
        };
        if radius.server.is_empty() {
            self.wrong(span, "there is no RADIUS server to ask", "at least one table [[radius.server]]");
        }
        let servers: Vec<_> = radius.server.into_iter().map(|server| self.radius_server(server)).collect();
        let servers = servers.into_iter().collect::<Option<Vec<_>>>()?;
        (!servers.is_empty()).then_some(())?;
        Some(Radius { nas_identifier: nas_identifier?, user_name: user_name?, servers })
    }

    fn radius_server(&mut self, server: Spanned<file::RadiusServer>) -> Option<RadiusServer> {
        let span = server.span();
        let server = server.into_inner();
        let address = parse_address(server.address.as_ref(), RADIUS_PORT);
        if address.is_none() {
            let message = format!("`{}` is no address", server.address.as_ref());
            self.wrong(server.address.span(), message, "a name or IP address, with :PORT or without");
        }
        let secret = match (server.secret, server.secret_file) {
            (Some(secret), Some(file)) => {
                let (span, other) = (file.span(), secret.span());
                self.clash(span, "the secret is given twice", "secret or secret_file", other, "here too");
                None
            }
            (Some(secret), None) if secret.as_ref().len() < RADIUS_SECRET_MIN => {
                let expected = format!("at least {RADIUS_SECRET_MIN} characters: it is all that makes replies genuine");
                self.wrong(secret.span(), "the secret is too short", expected);
                None
            }
            (Some(secret), None) => Some(Password::Here(Secret::new(secret.into_inner()))),
            (None, Some(file)) => Some(Password::File(self.file_name(&file))),
            (None, None) => {
                self.wrong(span, "the server has no secret", "secret_file or secret");
                None
            }
        };
        let timeout = self.seconds(server.timeout_seconds.as_ref(), Duration::from_secs(3), 60);
        let tries = match &server.tries {
            None => Some(3),
            Some(tries) if (1..=5).contains(tries.as_ref()) => Some(*tries.as_ref()),
            Some(tries) => {
                self.wrong(tries.span(), format!("{} tries are not possible", tries.as_ref()), "from 1 to 5");
                None
            }
        };
        Some(RadiusServer { address: address?, secret: secret?, timeout: timeout?, tries: tries? })
    }

    pub(super) fn yubikey(&mut self, yubikey: file::Yubikey) -> Option<Yubikey> {
        if yubikey.servers.as_ref().is_empty() {
            self.wrong(yubikey.servers.span(), "there is no server to ask", "at least one address");
        }
        let mut is_local = true;
        let mut servers = Some(Vec::new());
        for server in yubikey.servers.as_ref() {
            match self.validation_server(server) {
                Some(local) => {
                    is_local &= local;
                    if let Some(servers) = &mut servers {
                        servers.push(server.as_ref().clone());
                    }
                }
                None => servers = None,
            }
        }
        let api_key = match (yubikey.api_key, yubikey.api_key_file) {
            (Some(key), Some(file)) => {
                let (span, other) = (file.span(), key.span());
                self.clash(span, "the API key is given twice", "api_key or api_key_file", other, "here too");
                None
            }
            (Some(key), None) => match data_encoding::BASE64.decode(key.as_ref().as_bytes()) {
                Ok(bytes) if !bytes.is_empty() => Some(Some(ApiKey::Here(Secret::new(bytes)))),
                Ok(_) | Err(_) => {
                    self.wrong(key.span(), "this is no API key", "base64, as the server's keeper gave it");
                    None
                }
            },
            (None, Some(file)) => Some(Some(ApiKey::File(self.file_name(&file)))),
            (None, None) => Some(None),
        };
        let timeout = self.seconds(yubikey.timeout_seconds.as_ref(), Duration::from_secs(5), 30);
        Some(Yubikey {
            servers: servers.filter(|servers| !servers.is_empty())?,
            is_local,
            client_id: yubikey.client_id,
            api_key: api_key?,
            ca_file: yubikey.ca_file.map(|name| self.file_name(&name)),
            timeout: timeout?,
        })
    }

    /// Whether the server is on this machine; `None`: this is no server.
    fn validation_server(&mut self, server: &Spanned<String>) -> Option<bool> {
        let text = server.as_ref();
        let local = reqwest::Url::parse(text).ok().and_then(|url| {
            let local = is_loopback(url.host_str()?.trim_matches(['[', ']']));
            let protected = url.scheme() == "https" || (url.scheme() == "http" && local);
            (protected && url.query().is_none() && url.fragment().is_none() && url.username().is_empty())
                .then_some(local)
        });
        if local.is_none() {
            let message = format!("`{text}` cannot be asked");
            self.wrong(server.span(), message, "https://NAME/wsapi/2.0/verify (http:// only to this machine)");
        }
        local
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, ConfigError};

    const BASE: &str = "[smtp]\nhost = \"mail.example.com\"\nfrom = \"a@example.com\"\n[[host]]\nname = \"PROD\"\naddress = \"10.0.0.1\"\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\nhost = \"PROD\"\n";

    fn check(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("/etc/sallyport/sallyport.toml"), format!("{BASE}{text}")).map_err(
            |error| match error {
                ConfigError::Invalid(problems) => {
                    problems[0].message.clone() + "\n" + &ConfigError::Invalid(problems).to_string()
                }
                ConfigError::Read { .. } => panic!("nothing is read"),
            },
        )
    }

    #[test]
    fn gates_wait_as_long_as_servers_may_take() {
        let ftp = "[[listener]]\nname = \"b\"\nservice = \"ftp\"\naddress = \"127.0.0.1:0\"\nhost = \"PROD\"\n";
        let server = |seconds: u32, tries: u32| {
            format!(
                "[[radius.server]]\naddress = \"10.1.1.1\"\nsecret_file = \"s\"\ntimeout_seconds = {seconds}\ntries = {tries}\n"
            )
        };
        let keys = "[yubikey]\nservers = [\"https://a.example.com/v\", \"https://b.example.com/v\"]\nclient_id = 1\n";
        for (text, telnet, by_ftp) in [
            (String::new(), 60, 30),
            (format!("[radius]\n{}", server(1, 1)), 60, 30),
            (format!("[radius]\n{}{}", server(60, 5), server(3, 3)), 70, 70),
            (format!("[radius]\n{}{keys}timeout_seconds = 30\n", server(3, 3)), 92, 92),
        ] {
            let config = check(&format!("{ftp}{text}")).unwrap();
            let ftp = config.listeners.iter().find_map(|listener| listener.ftp.as_ref()).unwrap();
            let found = (config.hosts[0].gate.limits.verdict.as_secs(), ftp.gate.limits.verdict.as_secs());
            assert_eq!(found, (telnet, by_ftp), "{text}");
        }
    }

    #[test]
    fn radius_servers() {
        let config = check("[gateway]\nnode = \"gate-1\"\n[radius]\n[[radius.server]]\naddress = \"nps.example.com\"\nsecret_file = \"s\"\n").unwrap();
        let radius = config.radius.unwrap();
        assert_eq!((&*radius.nas_identifier, radius.user_name.as_str()), ("gate-1", "{user}"));
        assert_eq!(
            (radius.servers[0].address.to_string().as_str(), radius.servers[0].tries),
            ("nps.example.com:1812", 3)
        );
        let server = "[[radius.server]]\naddress = \"10.1.1.1\"\n";
        for (text, about) in [
            ("[radius]\n".to_owned(), "no RADIUS server"),
            (server.to_owned(), "has no secret"),
            (format!("{server}secret = \"short\"\n"), "too short"),
            (format!("{server}secret_file = \"s\"\ntries = 0\n"), "0 tries"),
            (format!("{server}secret_file = \"s\"\ntimeout_seconds = 61\n"), "61 s"),
            (format!("[radius]\nuser_name = \"anna\"\n{server}secret_file = \"s\"\n"), "how users are named"),
            (
                format!("[radius]\nuser_name = \"{{name}}{{user}}\"\n{server}secret_file = \"s\"\n"),
                "how users are named",
            ),
        ] {
            let told = check(&text).expect_err(&text);
            assert!(told.contains(about), "{text}: {told}");
            assert!(!told.contains("short\""), "the secret is not told: {told}");
        }
    }

    #[test]
    fn validation_servers() {
        let table = |servers: &str, more: &str| format!("[yubikey]\nservers = [{servers}]\nclient_id = 1\n{more}");
        let config = check(&table("\"https://api.yubico.com/wsapi/2.0/verify\"", "api_key = \"c2VjcmV0\"\n")).unwrap();
        assert!(!config.yubikey.unwrap().is_local);
        assert!(check(&table("\"http://127.0.0.1:8080/verify\"", "")).unwrap().yubikey.unwrap().is_local);
        for (servers, more, about) in [
            ("", "", "no server to ask"),
            ("\"http://api.yubico.com/\"", "", "cannot be asked"),
            ("\"https://x/?a=b\"", "", "cannot be asked"),
            ("\"x\"", "", "cannot be asked"),
            ("\"https://x/\"", "api_key = \"hunter2!\"\n", "no API key"),
        ] {
            let told = check(&table(servers, more)).expect_err(about);
            assert!(told.contains(about) && !told.contains("hunter2"), "{told}");
        }
    }
}
