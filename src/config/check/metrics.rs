//! The listener for metrics and health.

use std::net::SocketAddr;

use toml::Spanned;

use super::super::{Metrics, file};
use super::Check;

impl Check<'_> {
    pub(super) fn metrics(&mut self, metrics: file::Metrics) -> Option<Metrics> {
        let Some(written) = metrics.address else { return Some(Metrics { address: None }) };
        let Ok(address) = written.as_ref().parse::<SocketAddr>() else {
            let message = format!("`{}` is no address to listen on", written.as_ref());
            self.wrong(written.span(), message, "IP:PORT, for instance \"127.0.0.1:9464\"");
            return None;
        };
        if !address.ip().to_canonical().is_loopback() && !metrics.allow_remote.is_some_and(Spanned::into_inner) {
            let message = "metrics are not protected, and other machines could read them here";
            self.wrong(written.span(), message, "an address of this machine alone, or allow_remote = true");
            return None;
        }
        Some(Metrics { address: Some(address) })
    }
}
