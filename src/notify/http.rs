//! HTTPS to SMS providers and token endpoints: TLS always, no redirects, a time limit, and answers that are not too long.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use policy::Secret;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};

use crate::tls::{self, Trust};

/// The most bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody was reached: nothing was asked.
    Unreached(String),
    /// Whether it was asked is not known.
    Unknown(String),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body, which may hold a secret.
    pub(super) body: Secret<Vec<u8>>,
}

/// A client that trusts the certificates of `ca_file`, or those of the system.
///
/// # Errors
/// Where those cannot be read: why.
pub(super) fn client(ca_file: Option<&Path>, timeout: Duration) -> Result<Client, String> {
    let roots = match ca_file {
        Some(path) => tls::roots(path).map_err(|error| format!("{} {error}", path.display()))?,
        None => tls::system_roots().map_err(|error| error.to_string())?,
    };
    let config = tls::host_config(Trust::Roots(roots)).map_err(|error| error.to_string())?;
    Client::builder()
        .tls_backend_preconfigured((*config).clone())
        .https_only(true)
        .redirect(Policy::none())
        .connect_timeout(timeout.div_f64(2.0))
        .timeout(timeout)
        .user_agent("Sallyport")
        .build()
        .map_err(words)
}

/// Sends `request` and reads the answer.
///
/// # Errors
/// Where there is none.
pub(super) async fn ask(request: RequestBuilder) -> Result<Answer, Failure> {
    let mut response = request.send().await.map_err(|error| {
        if error.is_connect() || error.is_builder() {
            Failure::Unreached(words(error))
        } else {
            Failure::Unknown(words(error))
        }
    })?;
    let status = response.status();
    // Room for all of it at once: a vector that grows leaves unwiped copies behind.
    let mut body = Vec::with_capacity(ANSWER_MAX);
    while let Some(bytes) = response.chunk().await.map_err(|error| Failure::Unknown(words(error)))? {
        if body.len() + bytes.len() > ANSWER_MAX {
            break;
        }
        body.extend_from_slice(&bytes);
    }
    Ok(Answer { status, body: Secret::new(body) })
}

/// What went wrong, without the address, which may hold an account or a number.
pub(crate) fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
