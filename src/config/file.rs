//! The configuration file as it is written: one struct per table, every value with its place in the text.
//!
//! What stands here is only shape: which keys there are and of which type their values are. What the values mean, and
//! whether they fit each other, is for [`super::check`].

use proxy_ftp::{data, gate as ftp};
use proxy_tn5250::gate;
use serde::Deserialize;
use toml::Spanned;

use super::SmtpTls;
use crate::audit::format::Format;
use crate::notify::BodyForm;
use crate::tls::ClientCertificates;
use policy::Logging;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) gateway: Gateway,
    pub(super) smtp: Option<Spanned<Smtp>>,
    #[serde(default)]
    pub(super) sms: Vec<Spanned<Sms>>,
    #[serde(default)]
    pub(super) alerts: Alerts,
    #[serde(default)]
    pub(super) host: Vec<Spanned<Host>>,
    #[serde(default)]
    pub(super) listener: Vec<Spanned<Listener>>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) metrics: Metrics,
    pub(super) radius: Option<Spanned<Radius>>,
    pub(super) yubikey: Option<Spanned<Yubikey>>,
    #[serde(default)]
    pub(super) audit: Audit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Radius {
    pub(super) nas_identifier: Option<Spanned<String>>,
    pub(super) user_name: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) server: Vec<Spanned<RadiusServer>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RadiusServer {
    pub(super) address: Spanned<String>,
    pub(super) secret: Option<Spanned<String>>,
    pub(super) secret_file: Option<Spanned<String>>,
    pub(super) timeout_seconds: Option<Spanned<u32>>,
    pub(super) tries: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Yubikey {
    pub(super) servers: Spanned<Vec<Spanned<String>>>,
    pub(super) client_id: u32,
    pub(super) api_key: Option<Spanned<String>>,
    pub(super) api_key_file: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) timeout_seconds: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    pub(super) name: Option<Spanned<String>>,
    pub(super) node: Option<Spanned<String>>,
    pub(super) time_zone: Option<Spanned<String>>,
    pub(super) store: Option<Spanned<String>>,
    pub(super) key_file: Option<Spanned<String>>,
    pub(super) control: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Smtp {
    pub(super) host: Spanned<String>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) tls: Option<SmtpTls>,
    pub(super) allow_plaintext: Option<Spanned<bool>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) username: Option<Spanned<String>>,
    pub(super) password: Option<Spanned<String>>,
    pub(super) password_file: Option<Spanned<String>>,
    pub(super) from: Spanned<String>,
    pub(super) reply_to: Option<Spanned<String>>,
    pub(super) timeout_seconds: Option<Spanned<u32>>,
    pub(super) oauth: Option<Spanned<OAuth>>,
    #[serde(default)]
    pub(super) fallback: Vec<Spanned<Fallback>>,
}

/// Another relay: all of [`Smtp`] but for the sender.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fallback {
    pub(super) host: Spanned<String>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) tls: Option<SmtpTls>,
    pub(super) allow_plaintext: Option<Spanned<bool>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) username: Option<Spanned<String>>,
    pub(super) password: Option<Spanned<String>>,
    pub(super) password_file: Option<Spanned<String>>,
    pub(super) timeout_seconds: Option<Spanned<u32>>,
    pub(super) oauth: Option<Spanned<OAuth>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OAuth {
    pub(super) token_url: Spanned<String>,
    pub(super) client_id: Spanned<String>,
    pub(super) client_secret: Option<Spanned<String>>,
    pub(super) client_secret_file: Option<Spanned<String>>,
    pub(super) refresh_token: Option<Spanned<String>>,
    pub(super) refresh_token_file: Option<Spanned<String>>,
    pub(super) scope: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sms {
    pub(super) name: Spanned<String>,
    pub(super) kind: Spanned<SmsKind>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) account: Option<Spanned<String>>,
    pub(super) api_key: Option<Spanned<String>>,
    pub(super) from: Option<Spanned<String>>,
    pub(super) service: Option<Spanned<String>>,
    pub(super) method: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) headers: std::collections::BTreeMap<String, Spanned<String>>,
    pub(super) content: Option<Spanned<BodyForm>>,
    pub(super) body: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) success: Vec<Spanned<u16>>,
    pub(super) secret: Option<Spanned<String>>,
    pub(super) secret_file: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) timeout_seconds: Option<Spanned<u32>>,
}

/// How a provider of text messages is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SmsKind {
    Twilio,
    Http,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Alerts {
    #[serde(default)]
    pub(super) email: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Host {
    pub(super) name: Spanned<String>,
    pub(super) address: Spanned<String>,
    pub(super) tls: Option<Spanned<HostTls>>,
    pub(super) order: Option<Order>,
    pub(super) auto_sign_on: Option<AutoSignOn>,
    pub(super) sign_on_fields: Option<SignOnFields>,
    pub(super) printers: Option<Printers>,
    #[serde(default)]
    pub(super) form: Vec<Form>,
    pub(super) ftp: Option<Spanned<HostFtp>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostFtp {
    pub(super) address: Option<Spanned<String>>,
    pub(super) tls: Option<Spanned<FtpHostTls>>,
    pub(super) data_tls: Option<FtpHostData>,
    pub(super) tls12_only: Option<bool>,
    pub(super) without_close_notify: Option<Truncation>,
    pub(super) data_mode: Option<FtpHostMode>,
    pub(super) data_peer: Option<Peers>,
    #[serde(default)]
    pub(super) advertise: Vec<Spanned<String>>,
    pub(super) trust: Option<Spanned<HostTls>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostTls {
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) pins: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) server_name: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    pub(super) user: Spanned<(u8, u8)>,
    pub(super) password: Spanned<(u8, u8)>,
    #[serde(default)]
    pub(super) texts: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    pub(super) at: Spanned<(u8, u8)>,
    pub(super) text: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) name: Spanned<String>,
    pub(super) service: Option<Spanned<String>>,
    pub(super) address: Spanned<String>,
    pub(super) host: Spanned<String>,
    pub(super) tls: Option<Spanned<ListenerTls>>,
    #[serde(default)]
    pub(super) proxy_protocol_from: Vec<Spanned<String>>,
    pub(super) ftp: Option<Spanned<ListenerFtp>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerFtp {
    pub(super) mode: Option<FtpMode>,
    pub(super) close_after_reject: Option<bool>,
    pub(super) reply: Option<Spanned<FtpReply>>,
    #[serde(default)]
    pub(super) banner: Vec<Spanned<String>>,
    pub(super) banner_place: Option<Spanned<BannerPlace>>,
    pub(super) hide_system: Option<bool>,
    #[serde(default)]
    pub(super) refused_commands: Vec<Spanned<String>>,
    pub(super) tls: Option<Spanned<FtpClientTls>>,
    pub(super) data_tls: Option<Spanned<FtpClientData>>,
    pub(super) require_session_reuse: Option<bool>,
    pub(super) without_close_notify: Option<Truncation>,
    pub(super) passive_ports: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) advertise: Vec<Spanned<String>>,
    pub(super) data_peer: Option<Peers>,
    pub(super) data_source_port: Option<Spanned<u16>>,
    pub(super) tries: Option<Spanned<u32>>,
    pub(super) logon_seconds: Option<Spanned<u32>>,
    pub(super) check_seconds: Option<Spanned<u32>>,
    pub(super) idle_seconds: Option<Spanned<u32>>,
    pub(super) data_seconds: Option<Spanned<u32>>,
    pub(super) stall_seconds: Option<Spanned<u32>>,
}

/// How much a refusal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FtpReply {
    Helpful,
    Uniform,
}

/// Where our own greeting stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BannerPlace {
    Before,
    Instead,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerTls {
    pub(super) certificate: Spanned<String>,
    pub(super) key: Spanned<String>,
    pub(super) client_ca: Option<Spanned<String>>,
    pub(super) client_certificates: Option<Spanned<ClientCertificates>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    pub(super) mode: Option<Spanned<AuditMode>>,
    pub(super) key_file: Option<Spanned<String>>,
    pub(super) archive: Option<Spanned<String>>,
    pub(super) retention_days: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) sink: Vec<Spanned<Sink>>,
}

/// What must have an entry before anybody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AuditMode {
    BestEffort,
    Strict,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sink {
    pub(super) name: Spanned<String>,
    pub(super) file: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<String>>,
    pub(super) webhook: Option<Spanned<String>>,
    pub(super) secret: Option<Spanned<String>>,
    pub(super) secret_file: Option<Spanned<String>>,
    pub(super) allow_plaintext: Option<Spanned<bool>>,
    pub(super) format: Option<Spanned<Format>>,
    pub(super) level: Option<Spanned<Logging>>,
    pub(super) only_alerts: Option<bool>,
    pub(super) required: Option<Spanned<bool>>,
    pub(super) behind_seconds: Option<Spanned<u32>>,
    pub(super) facility: Option<Spanned<u8>>,
    pub(super) enterprise: Option<Spanned<u32>>,
    pub(super) tls: Option<Spanned<SinkTls>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkTls {
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) pins: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) server_name: Option<Spanned<String>>,
    pub(super) certificate: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) connections: Option<Spanned<u32>>,
    pub(super) connections_per_source: Option<Spanned<u32>>,
    pub(super) unauthenticated: Option<Spanned<u32>>,
    pub(super) unauthenticated_per_source: Option<Spanned<u32>>,
    pub(super) connects_per_minute: Option<Spanned<u32>>,
    pub(super) handshake_seconds: Option<Spanned<u32>>,
    pub(super) host_connect_seconds: Option<Spanned<u32>>,
    pub(super) sign_on_seconds: Option<Spanned<u32>>,
    pub(super) prompt_seconds: Option<Spanned<u32>>,
    pub(super) drain_seconds: Option<Spanned<u32>>,
    pub(super) stop_seconds: Option<Spanned<u32>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) address: Option<Spanned<String>>,
    pub(super) allow_remote: Option<Spanned<bool>>,
}

/// Declares how the values of a gate's setting are written, and what each means.
macro_rules! written {
    ($written:ident for $meant:ty { $($(#[$how:meta])* $value:ident),+ }) => {
        #[derive(Debug, Clone, Copy, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub(super) enum $written {
            $($(#[$how])* $value),+
        }

        impl From<$written> for $meant {
            fn from(written: $written) -> Self {
                match written {
                    $($written::$value => Self::$value),+
                }
            }
        }
    };
}

written!(Order for gate::Order { PasswordFirst, CodeFirst });
written!(AutoSignOn for gate::AutoSignOn { Strip, Challenge });
written!(SignOnFields for gate::SignOnFields { Refuse, Allow });
written!(Printers for gate::Printers { Refuse, Ask });
written!(FtpMode for ftp::Mode { Reject, Account });
written!(FtpClientTls for ftp::ClientTls { Off, Offered, Required, Implicit });
written!(FtpClientData for ftp::ClientData { Any, Private });
written!(FtpHostTls for ftp::HostTls { Off, Explicit, Implicit });
written!(FtpHostData for ftp::HostData { Same, Always, Never });
written!(FtpHostMode for ftp::HostMode { Same, Passive, Active });
written!(Truncation for data::Truncation { Cut, PassOn });
written!(Peers for data::Peers { Same, #[serde(rename = "same-net")] Net, Any });
