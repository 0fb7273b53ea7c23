//! What the configuration says about factors that others judge: RADIUS servers and validation servers for YubiKeys.

use std::sync::Arc;
use std::time::Duration;

use policy::Secret;
use rustls::RootCertStore;

use super::{Address, FileName, Password};

/// `[radius]`
#[derive(Debug)]
pub struct Radius {
    /// Who we are there.
    pub nas_identifier: Arc<str>,
    /// The form of user names there: `{user}` and `{user-lower}` stand for the user.
    pub user_name: String,
    /// The servers, in the order in which they are asked.
    pub servers: Vec<RadiusServer>,
}

impl Radius {
    /// How long all tries at all servers together may take for one answer. Whoever asked waits little longer, and what comes after
    /// that helps nobody; an answer to a server's challenge is asked about anew.
    pub const ASK_MAX: Duration = Duration::from_secs(50);

    /// How long they take at most.
    #[must_use]
    pub fn ask_time(&self) -> Duration {
        // Each is looked up by name first, for no longer than one try.
        let all: Duration =
            self.servers.iter().map(|server| server.timeout.saturating_mul(server.tries.saturating_add(1))).sum();
        all.min(Self::ASK_MAX)
    }
}

/// `[[radius.server]]`
#[derive(Debug)]
pub struct RadiusServer {
    /// Where it is.
    pub address: Address,
    /// What it and we share, or where that is.
    pub secret: Password,
    /// How long each try waits for a reply.
    pub timeout: Duration,
    /// How often a request is sent.
    pub tries: u32,
}

/// `[yubikey]`
#[derive(Debug)]
pub struct Yubikey {
    /// The addresses of the validation servers, in the order in which they are asked.
    pub servers: Vec<String>,
    /// Whether all of them are on this machine.
    pub is_local: bool,
    /// Who we are there.
    pub client_id: u32,
    /// The key for signatures in base64, or where that is.
    pub api_key: Option<ApiKey>,
    /// The trusted certificates, instead of the system's.
    pub ca_file: Option<FileName>,
    /// How long a server may take.
    pub timeout: Duration,
}

/// The key for signatures, or where it is.
#[derive(Debug)]
pub enum ApiKey {
    /// In the configuration.
    Here(Secret<Vec<u8>>),
    /// In a file of its own, whose first line it is, in base64.
    File(FileName),
}

/// What the files for `[yubikey]` hold.
#[derive(Debug)]
pub struct OpenYubikey {
    /// The trusted certificates.
    pub roots: RootCertStore,
    /// The key for signatures.
    pub api_key: Option<Secret<Vec<u8>>>,
}
