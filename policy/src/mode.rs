//! Whether decisions bind, for a service or a host apart from the others.

use std::sync::Arc;

use crate::attempt::Service;
use crate::setting::Enforcement;

/// Says for a service, a host, or both whether decisions bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    /// The service; `None`: every one.
    pub service: Option<Service>,
    /// The host, by its name in the configuration; `None`: every one.
    pub host: Option<Arc<str>>,
    /// Whether decisions bind.
    pub enforcement: Enforcement,
}

impl Mode {
    /// Whether it is about this service on this host.
    #[must_use]
    pub fn fits(&self, service: Service, host: &str) -> bool {
        self.service.is_none_or(|known| known == service)
            && self.host.as_ref().is_none_or(|known| known.eq_ignore_ascii_case(host))
    }

    /// How specific it is: a host says more than a service.
    #[must_use]
    pub const fn rank(&self) -> (bool, bool) {
        (self.host.is_some(), self.service.is_some())
    }
}
