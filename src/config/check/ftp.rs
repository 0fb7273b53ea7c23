//! The FTP tables, `[listener.ftp]` and `[host.ftp]`: what they mean, and whether they fit each other and the rest.

use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use proxy_ftp::command::{self, Command};
use proxy_ftp::data::{self, Peers, Truncation};
use proxy_ftp::gate::{self, ClientData, ClientTls, HostData, HostMode, Mode, Refused};
use rustls::pki_types::ServerName;
use toml::Spanned;

use super::super::ftp::{Ftp, FtpHost};
use super::super::{Address, HostTls, HostTrust, Limits, file};
use super::{Check, parse_address};

/// The most lines of a banner.
const BANNER_LINES_MAX: usize = 20;
/// The most characters of one of them: clients exist that fail on long lines.
const BANNER_LINE_MAX: usize = 200;
/// What nobody could do without: these cannot be refused.
const NEEDED: [&str; 4] = ["USER", "PASS", "QUIT", "ACCT"];

impl Check<'_> {
    /// A host's side; `tls` is what `[host.tls]` says, where that is right.
    pub(super) fn ftp_host(
        &mut self,
        written: Option<Spanned<file::HostFtp>>,
        host: &Address,
        host_tls: Option<&Option<HostTls>>,
    ) -> Option<FtpHost> {
        let span = written.as_ref().map_or(0..0, Spanned::span);
        let written = written.map(Spanned::into_inner).unwrap_or_default();
        let host_tls = host_tls?.as_ref();
        let tls = match &written.tls {
            Some(tls) => (*tls.as_ref()).into(),
            // Where terminals need TLS, nobody has to remember to say so for FTP.
            None if host_tls.is_some() => gate::HostTls::Explicit,
            None => gate::HostTls::Off,
        };
        let default_port = if tls == gate::HostTls::Implicit { 990 } else { 21 };
        let address = match &written.address {
            Some(text) => parse_address(text.as_ref(), default_port).or_else(|| {
                let message = format!("`{}` is no address", text.as_ref());
                self.wrong(text.span(), message, "a name or IP address, with :PORT or without");
                None
            }),
            None => Some(Address { name: host.name.clone(), port: default_port }),
        }?;
        let at = written.address.as_ref().map_or(span, Spanned::span);
        let trust = match (tls, written.trust) {
            (gate::HostTls::Off, Some(trust)) => {
                let expected = "tls = \"explicit\" or \"implicit\" in [host.ftp]";
                self.wrong(trust.span(), "without TLS there is no certificate to judge", expected);
                None
            }
            (gate::HostTls::Off, None) => Some(None),
            (_, Some(trust)) => self.host_tls(trust, &address, at).map(Some),
            (_, None) => match host_tls {
                Some(tls) => Some(Some(tls.clone())),
                None => self.system_trust(&address, written.tls.as_ref().map_or(at, Spanned::span)).map(Some),
            },
        };
        let data = data::SideSettings {
            peers: written.data_peer.map_or(Peers::Same, Into::into),
            advertise: self.advertise(&written.advertise)?,
            truncation: written.without_close_notify.map_or(Truncation::Cut, Into::into),
            source_port: None,
        };
        Some(FtpHost {
            address,
            tls,
            trust: trust?,
            tls12_only: written.tls12_only.unwrap_or(false),
            data_tls: written.data_tls.map_or(HostData::Same, Into::into),
            data_mode: written.data_mode.map_or(HostMode::Same, Into::into),
            data,
        })
    }

    fn system_trust(&mut self, address: &Address, span: Range<usize>) -> Option<HostTls> {
        match ServerName::try_from(address.name.clone()) {
            Ok(server_name) => Some(HostTls { trust: HostTrust::System, server_name, span }),
            Err(_) => {
                let message = format!("no certificate can be for `{}`", address.name);
                self.wrong(span, message, "a DNS name or IP address in `address`");
                None
            }
        }
    }

    /// A listener's side, and with it all that its gates need to know. `has_tls` is the place of `[listener.tls]`.
    pub(super) fn ftp_listener(
        &mut self,
        written: Option<Spanned<file::ListenerFtp>>,
        has_tls: Option<Range<usize>>,
        host: Option<&FtpHost>,
        limits: Option<Limits>,
    ) -> Option<Ftp> {
        let written = written.map(Spanned::into_inner).unwrap_or_default();
        let tls = self.client_tls(written.tls.as_ref(), has_tls);
        let client_data = tls.and_then(|tls| self.client_data(written.data_tls.as_ref(), tls));
        let banner = self.banner(&written);
        let refused: Vec<_> = written.refused_commands.iter().map(|text| self.refused(text)).collect();
        let ports =
            written.passive_ports.as_ref().map_or(Some(data::Settings::default().ports), |text| self.ports(text));
        let advertise = self.advertise(&written.advertise);
        let source_port = match &written.data_source_port {
            Some(port) => self.port(*port.as_ref(), port.span()).map(Some),
            None => Some(None),
        };
        let gate_limits = self.gate_limits(&written, limits);
        let data_limits = self.data_limits(&written, limits);
        let mode = written.mode.map_or(Mode::Reject, Into::into);
        if let (Mode::Account, Some(reply)) = (mode, &written.reply)
            && *reply.as_ref() == file::FtpReply::Uniform
        {
            let message =
                "with mode = \"account\" replies cannot be uniform: the 332 tells that the password was right";
            self.wrong(reply.span(), message, "mode = \"reject\", or reply = \"helpful\"");
            return None;
        }
        let host = host?;
        let gate = gate::Settings {
            mode,
            close_after_reject: written.close_after_reject.unwrap_or(false),
            helpful: written.reply.is_none_or(|reply| *reply.as_ref() == file::FtpReply::Helpful),
            banner: banner?,
            banner_with_host: written.banner_place.is_none_or(|place| *place.as_ref() == file::BannerPlace::Before),
            hide_system: written.hide_system.unwrap_or(false),
            client_tls: tls?,
            client_data: client_data?,
            host_tls: host.tls,
            host_data: host.data_tls,
            host_mode: host.data_mode,
            refused_commands: refused.into_iter().collect::<Option<_>>()?,
            limits: gate_limits?,
        };
        let client = data::SideSettings {
            peers: written.data_peer.map_or(Peers::Same, Into::into),
            advertise: advertise?,
            truncation: written.without_close_notify.map_or(Truncation::PassOn, Into::into),
            source_port: source_port?,
        };
        let data = data::Settings { ports: ports?, client, host: host.data.clone(), limits: data_limits? };
        let requires_reuse = written.require_session_reuse.unwrap_or(false);
        Some(Ftp { gate: Arc::new(gate), data: Arc::new(data), requires_reuse })
    }

    fn client_tls(
        &mut self,
        written: Option<&Spanned<file::FtpClientTls>>,
        has_tls: Option<Range<usize>>,
    ) -> Option<ClientTls> {
        let Some(written) = written else {
            return Some(if has_tls.is_some() { ClientTls::Required } else { ClientTls::Off });
        };
        let tls = ClientTls::from(*written.as_ref());
        match (tls, has_tls) {
            (ClientTls::Off, Some(other)) => {
                let message = "with tls = \"off\" the certificate of [listener.tls] is of no use";
                self.clash(written.span(), message, "\"offered\", \"required\" or \"implicit\"", other, "this table");
                None
            }
            (ClientTls::Offered | ClientTls::Required | ClientTls::Implicit, None) => {
                self.wrong(written.span(), "there is no certificate for TLS", "a table [listener.tls]");
                None
            }
            (ClientTls::Off, None) | (ClientTls::Offered | ClientTls::Required | ClientTls::Implicit, Some(_)) => {
                Some(tls)
            }
        }
    }

    fn client_data(&mut self, written: Option<&Spanned<file::FtpClientData>>, tls: ClientTls) -> Option<ClientData> {
        let Some(written) = written else {
            return Some(match tls {
                ClientTls::Required | ClientTls::Implicit => ClientData::Private,
                ClientTls::Off | ClientTls::Offered => ClientData::Any,
            });
        };
        let data = ClientData::from(*written.as_ref());
        if (data, tls) == (ClientData::Private, ClientTls::Off) {
            let message = "without TLS no data connection can be private";
            self.wrong(written.span(), message, "a table [listener.tls], or data_tls = \"any\"");
            return None;
        }
        Some(data)
    }

    /// `None`: there are mistakes; `Some(None)`: no banner.
    fn banner(&mut self, written: &file::ListenerFtp) -> Option<Option<Vec<String>>> {
        if let (true, Some(place)) = (written.banner.is_empty(), &written.banner_place)
            && *place.as_ref() == file::BannerPlace::Instead
        {
            self.wrong(place.span(), "there is nothing to show instead", "banner = [\"...\"] beside it");
            return None;
        }
        let expected = format!("at most {BANNER_LINE_MAX} printable ASCII characters, without line ends");
        let lines: Vec<_> = written
            .banner
            .iter()
            .map(|line| {
                let text = line.as_ref();
                if text.len() <= BANNER_LINE_MAX && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                    return Some(text.clone());
                }
                self.wrong(line.span(), "this cannot be a line of the banner", expected.as_str());
                None
            })
            .collect();
        if let Some(line) = written.banner.get(BANNER_LINES_MAX) {
            self.wrong(line.span(), "the banner is too long", format!("at most {BANNER_LINES_MAX} lines"));
            return None;
        }
        let lines: Vec<_> = lines.into_iter().collect::<Option<_>>()?;
        Some(Some(lines).filter(|lines| !lines.is_empty()))
    }

    fn refused(&mut self, text: &Spanned<String>) -> Option<Refused> {
        let verb = text.as_ref().split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if NEEDED.contains(&verb.as_str()) {
            self.wrong(text.span(), format!("without {verb} nobody could log on or off"), "another command");
            return None;
        }
        let refused = text.as_ref().parse();
        let expected = "a command such as \"RCMD\", or two words such as \"SITE EXEC\"";
        let Ok(refused) = refused else {
            self.wrong(text.span(), format!("`{}` is no command", text.as_ref()), expected);
            return None;
        };
        if text.as_ref().split_ascii_whitespace().count() > 1 && !has_word(text.as_ref()) {
            let message =
                format!("`{}` would never be refused: the word behind {verb} is not looked at", text.as_ref());
            self.wrong(text.span(), message, format!("\"{verb}\" alone"));
            return None;
        }
        Some(refused)
    }

    fn ports(&mut self, text: &Spanned<String>) -> Option<RangeInclusive<u16>> {
        let range = text.as_ref().split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (data::PORT_MIN <= first && first <= last).then_some(first..=last)
        });
        if range.is_none() {
            let expected = format!("\"FIRST-LAST\", from {} to 65535", data::PORT_MIN);
            self.wrong(text.span(), format!("`{}` is no range of ports", text.as_ref()), expected);
        }
        range
    }

    fn advertise(&mut self, written: &[Spanned<String>]) -> Option<Vec<IpAddr>> {
        let mut addresses: Vec<(IpAddr, Range<usize>)> = Vec::new();
        let mut is_right = true;
        for text in written {
            let Ok(address) = text.as_ref().parse::<IpAddr>() else {
                let message = format!("`{}` is no address that a client can be told", text.as_ref());
                self.wrong(text.span(), message, "an IP address, for instance \"203.0.113.7\"");
                is_right = false;
                continue;
            };
            if let Some((_, other)) = addresses.iter().find(|(known, _)| known.is_ipv4() == address.is_ipv4()) {
                let expected = "one for IPv4 and one for IPv6";
                self.clash(text.span(), "two addresses of one kind", expected, other.clone(), "the first one");
                is_right = false;
            }
            addresses.push((address, text.span()));
        }
        is_right.then(|| addresses.into_iter().map(|(address, _)| address).collect())
    }

    fn gate_limits(&mut self, written: &file::ListenerFtp, limits: Option<Limits>) -> Option<gate::Limits> {
        let default = gate::Limits::default();
        let logon = self.seconds(written.logon_seconds.as_ref(), default.logon, 3_600);
        let check = self.seconds(written.check_seconds.as_ref(), default.check, 120);
        let idle = self.seconds(written.idle_seconds.as_ref(), default.idle, 86_400);
        let settle = self.seconds(written.data_seconds.as_ref(), default.settle, 300);
        let tries = match &written.tries {
            Some(tries) if !(1..=100).contains(tries.as_ref()) => {
                self.wrong(
                    tries.span(),
                    format!("{} tries are not possible", tries.as_ref()),
                    "a number from 1 to 100",
                );
                None
            }
            Some(tries) => Some(*tries.as_ref()),
            None => Some(default.tries),
        };
        let limits = limits?;
        Some(gate::Limits {
            logon: logon?,
            check: check?,
            idle: idle?,
            settle: settle?,
            tries: tries?,
            handshake: limits.handshake,
            prompt: limits.prompt,
            ..default
        })
    }

    fn data_limits(&mut self, written: &file::ListenerFtp, limits: Option<Limits>) -> Option<data::Limits> {
        let default = data::Limits::default();
        let limits = limits?;
        Some(data::Limits {
            connect: default.connect.min(limits.host_connect),
            // A mistake in it is told already, by the gate's limits.
            meet: written
                .data_seconds
                .as_ref()
                .map_or(default.meet, |text| Duration::from_secs((*text.as_ref()).into())),
            handshake: limits.handshake,
            stall: self.seconds(written.stall_seconds.as_ref(), default.stall, 86_400)?,
            ..default
        })
    }
}

/// Whether a command of two words is one whose second word the gate compares.
fn has_word(text: &str) -> bool {
    let line: Vec<_> = text.split_ascii_whitespace().collect();
    matches!(command::parse(line.join(" ").as_bytes()), Ok(Command::Plain(..) | Command::Unknown(..)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ConfigError, Problem};

    const GOOD: &str = r#"
[smtp]
host = "mail.example.com"
from = "sallyport@example.com"
[[host]]
name = "PROD"
address = "as400.example.com:2323"
[host.ftp]
tls = "off"
[[listener]]
name = "files"
service = "ftp"
address = "0.0.0.0:21"
host = "PROD"
[listener.ftp]
mode = "reject"
"#;

    fn check_text(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse(Path::new("/etc/sallyport/sallyport.toml"), text.to_owned()).map_err(|error| match error {
            ConfigError::Invalid(problems) => problems,
            ConfigError::Read { .. } => panic!("nothing is read"),
        })
    }

    #[track_caller]
    fn right(old: &str, new: &str) -> Config {
        assert!(GOOD.contains(old), "{old}");
        check_text(&GOOD.replacen(old, new, 1)).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    /// The line with `at` is told to be wrong for a reason with the words `about`.
    #[track_caller]
    fn refused(old: &str, new: &str, at: &str, about: &str) {
        assert!(GOOD.contains(old), "{old}");
        let text = GOOD.replacen(old, new, 1);
        let problems = check_text(&text).expect_err(new);
        let line = text.lines().position(|line| line.contains(at)).unwrap() + 1;
        let told = problems.iter().find(|problem| problem.message.contains(about));
        assert_eq!(told.unwrap_or_else(|| panic!("{problems:#?}")).line, line, "{problems:#?}");
    }

    fn ftp(config: &Config) -> &Ftp {
        config.listeners[0].ftp.as_ref().unwrap()
    }

    #[test]
    fn what_holds_without_a_word() {
        let bare = GOOD.replace("[host.ftp]\ntls = \"off\"\n", "").replace("[listener.ftp]\nmode = \"reject\"\n", "");
        let (bare, written) = (check_text(&bare).unwrap(), right("mode", "mode"));
        assert_eq!(format!("{:?}", ftp(&bare)), format!("{:?}", ftp(&written)));
        assert_eq!(bare.hosts[0].ftp.address.to_string(), "as400.example.com:21");
        let ftp = ftp(&bare);
        assert!(ftp.gate.helpful && !ftp.gate.close_after_reject && ftp.gate.banner.is_none());
        assert_eq!((ftp.gate.client_tls, ftp.gate.client_data), (ClientTls::Off, ClientData::Any));
        assert_eq!(ftp.data.client.truncation, Truncation::PassOn);
        assert_eq!(ftp.data.host.truncation, Truncation::Cut);
    }

    #[test]
    fn tls_is_taken_from_the_tables_of_the_terminals() {
        let tables = "[listener.tls]\ncertificate = \"c\"\nkey = \"k\"\n[listener.ftp]";
        let config = right("[listener.ftp]", tables);
        assert_eq!(ftp(&config).gate.client_tls, ClientTls::Required);
        assert_eq!(ftp(&config).gate.client_data, ClientData::Private);
        let offered = format!("{tables}\ntls = \"offered\"");
        assert_eq!(ftp(&right("[listener.ftp]", &offered)).gate.client_data, ClientData::Any);
        let config = right("[host.ftp]\ntls = \"off\"", "[host.tls]\nca_file = \"ca\"");
        assert_eq!(config.hosts[0].ftp.tls, gate::HostTls::Explicit);
        assert!(matches!(config.hosts[0].ftp.trust, Some(HostTls { trust: HostTrust::CaFile(_), .. })));
        let config = right("tls = \"off\"", "tls = \"implicit\"\n[host.ftp.trust]\nserver_name = \"b.example\"");
        assert_eq!(config.hosts[0].ftp.address.port, 990);
        let trust = config.hosts[0].ftp.trust.as_ref().unwrap();
        assert_eq!(trust.server_name.to_str(), "b.example");
        assert!(matches!(trust.trust, HostTrust::System));
    }

    #[test]
    fn what_is_written_counts() {
        let config = right(
            "mode = \"reject\"",
            "close_after_reject = true\nreply = \"uniform\"\nbanner = [\"Hello\"]\n\
             banner_place = \"instead\"\nhide_system = true\nrefused_commands = [\"RCMD\", \"site exec\"]\n\
             passive_ports = \"50000-50099\"\nadvertise = [\"203.0.113.7\", \"2001:db8::7\"]\ndata_peer = \"same-net\"\n\
             data_source_port = 20\ntries = 3\nidle_seconds = 60\nrequire_session_reuse = true",
        );
        let Ftp { gate, data, requires_reuse } = ftp(&config);
        assert_eq!(gate.mode, Mode::Reject);
        let account = right("mode = \"reject\"", "mode = \"account\"\nreply = \"helpful\"");
        assert_eq!(self::ftp(&account).gate.mode, Mode::Account);
        assert!(gate.close_after_reject && !gate.helpful && gate.hide_system && !gate.banner_with_host);
        assert_eq!((gate.refused_commands.len(), gate.limits.tries), (2, 3));
        assert_eq!((data.ports.clone(), data.client.peers), (50_000..=50_099, Peers::Net));
        assert_eq!((data.client.advertise.len(), data.client.source_port), (2, Some(20)));
        assert!(*requires_reuse);
    }

    #[test]
    fn mistakes() {
        let mode = "mode = \"reject\"";
        refused(mode, "mode = \"mail\"", "mail\"", "unknown value `mail`");
        refused(mode, "modus = 1", "modus", "unknown key `modus`");
        refused(mode, "tls = \"required\"", "required", "no certificate");
        refused(mode, "data_tls = \"private\"", "private", "without TLS");
        refused(mode, "banner = [\"a\\r\\nb\"]", "banner", "line of the banner");
        refused(mode, "banner_place = \"instead\"", "instead", "nothing to show instead");
        refused(mode, "refused_commands = [\"A B C\"]", "A B C", "is no command");
        refused(mode, "refused_commands = [\"user\"]", "user", "without USER");
        for never in ["EPSV ALL", "prot c", "AUTH SSL", "PBSZ 0"] {
            refused(mode, &format!("refused_commands = [\"{never}\"]"), never, "would never be refused");
        }
        let uniform = "mode = \"account\"\nreply = \"uniform\"";
        refused(mode, uniform, "uniform", "the 332 tells");
        for ports in ["20-30", "5000", "6000-5000", "a-b", "50000-70000"] {
            refused(mode, &format!("passive_ports = \"{ports}\""), "passive", "no range of ports");
        }
        refused(mode, "advertise = [\"here\"]", "advertise", "no address");
        refused(mode, "advertise = [\"192.0.2.1\", \"192.0.2.2\"]", "advertise", "of one kind");
        refused(mode, "tries = 0", "tries", "0 tries");
        refused(mode, "data_seconds = 0", "data_seconds", "0 s is not possible");
        refused(mode, "data_source_port = 0", "source_port", "port 0");
        refused("tls = \"off\"", "[host.ftp.trust]\nca_file = \"x\"", "trust", "no certificate to judge");
        refused("tls = \"off\"", "address = \"a b\"", "a b", "is no address");
        refused("service = \"ftp\"", "", "[listener.ftp]", "speaks telnet");
        refused(
            "[listener.ftp]",
            "[listener.tls]\ncertificate = \"c\"\nkey = \"k\"\n[listener.ftp]\ntls = \"off\" # here",
            "# here",
            "is of no use",
        );
    }
}
