//! A receiver of HTTP requests: each entry one POST of JSON, taken once it is answered with a status of 200 to 299.
//!
//! ```text
//!   Sallyport-Timestamp: 1795000000
//!   Sallyport-Signature: sha256=HEX of HMAC-SHA256(secret, timestamp ‖ "." ‖ body)      with a secret only (RFC 2104)
//! ```
//!
//! Invariants: no redirect is followed, so that nothing goes to anybody but whom the configuration names; what the receiver says is
//! read for its status alone; neither address nor secret is part of an error.

use std::time::Duration;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use data_encoding::HEXLOWER;
use policy::Secret;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::Error;
use crate::config::OpenSink;
use crate::notify::http::words;
use crate::system::System;

/// How long one request may take, connecting included.
const PATIENCE: Duration = Duration::from_secs(10);

/// The receiver.
pub(super) struct Outlet {
    url: Secret<String>,
    open: OpenSink,
    system: System,
    client: Option<Client>,
    /// The last entry that was taken.
    certain: Option<i64>,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet").field("certain", &self.certain).finish_non_exhaustive()
    }
}

impl Outlet {
    pub(super) const fn new(url: Secret<String>, open: OpenSink, system: System) -> Self {
        Self { url, open, system, client: None, certain: None }
    }

    /// Posts `bodies`, each with the number of its entry, one after the other, up to the first that is not taken.
    pub(super) async fn put(&mut self, bodies: Vec<(i64, String)>) -> Result<(), Error> {
        for (id, body) in bodies {
            self.post(body).await?;
            self.certain = Some(id);
        }
        Ok(())
    }

    /// Notes that everything up to `through` was taken, or was not for this receiver.
    pub(super) const fn passed(&mut self, through: i64) {
        self.certain = Some(through);
    }

    /// The last entry that was taken.
    pub(super) const fn certain(&self) -> Option<i64> {
        self.certain
    }

    async fn post(&mut self, body: String) -> Result<(), Error> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.open)?).clone(),
        };
        let url: Url = self.url.expose().parse().map_err(|_| {
            Error::Http("`webhook` in the configuration is no address of the form https://name/path".to_owned())
        })?;
        let timestamp = self.system.now().as_second().to_string();
        let mut request = client.post(url).header("Content-Type", "application/json");
        request = request.header("Sallyport-Timestamp", &timestamp);
        if let Some(secret) = &self.open.secret {
            let signature = format!("sha256={}", signature(secret, &timestamp, &body));
            request = request.header("Sallyport-Signature", signature);
        }
        let answer = request.body(body).send().await.map_err(|error| Error::Http(words(error)))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(Error::Status(status.as_u16())) }
    }
}

fn client(open: &OpenSink) -> Result<Client, Error> {
    let builder = Client::builder()
        .redirect(Policy::none())
        .connect_timeout(PATIENCE / 2)
        .timeout(PATIENCE)
        .user_agent("Sallyport");
    let builder = match &open.tls {
        Some((config, _)) => builder.tls_backend_preconfigured((**config).clone()).https_only(true),
        // Without TLS: the check of the configuration lets that lead to this machine only, where no proxy is asked.
        None => builder.no_proxy(),
    };
    builder.build().map_err(|error| Error::Http(words(error)))
}

/// The signature of a request, in hexadecimal.
fn signature(secret: &Secret<String>, timestamp: &str, body: &str) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, secret.expose().as_bytes()));
    for part in [timestamp, ".", body] {
        context.update(part.as_bytes());
    }
    HEXLOWER.encode(context.sign().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against one made elsewhere: printf '1795000000.{"id":12}' | openssl dgst -sha256 -hmac 'correct horse battery'
    #[test]
    fn the_signature_is_that_of_other_programs() {
        let secret = Secret::new("correct horse battery".to_owned());
        let expected = "56cddcbafe2133ef8f55d058a77ca14531f8817e13a60b52499fe05c6d34d25c";
        assert_eq!(signature(&secret, "1795000000", "{\"id\":12}"), expected);
    }
}
