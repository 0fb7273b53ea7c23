//! What the configuration means for FTP: a listener's side and its host's side, put together for each listener.

use std::sync::Arc;

use proxy_ftp::data;
use proxy_ftp::gate;

use super::{Address, HostTls};

/// What a listener that speaks FTP does.
#[derive(Debug, Clone)]
pub struct Ftp {
    /// What its gates do.
    pub gate: Arc<gate::Settings>,
    /// Its data connections.
    pub data: Arc<data::Settings>,
    /// Whether a client's data connection must resume the TLS session of its control connection.
    pub requires_reuse: bool,
}

/// A host's FTP server.
#[derive(Debug, Clone)]
pub struct FtpHost {
    /// Where it is.
    pub address: Address,
    /// When its control connection goes under TLS.
    pub tls: gate::HostTls,
    /// How its certificate is judged: there wherever `tls` is not off.
    pub trust: Option<HostTls>,
    /// Whether TLS 1.2 is all that is spoken.
    pub tls12_only: bool,
    /// When its data connections go under TLS.
    pub data_tls: gate::HostData,
    /// Who connects to whom for its data.
    pub data_mode: gate::HostMode,
    /// Its side of the data connections.
    pub data: data::SideSettings,
}
