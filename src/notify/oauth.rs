//! Access tokens for XOAUTH2 (OAuth 2.0, RFC 6749 sections 4.4 and 6): fetched with client credentials or a refresh token,
//! and kept in memory until shortly before they expire.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policy::Secret;
use reqwest::Client;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Error, http};
use crate::system::System;

/// How long before its end a token is not used any more.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a token is kept whose answer does not say for how long.
const LIFE: Duration = Duration::from_secs(300);

/// Where access tokens come from.
#[derive(Debug, Clone)]
pub struct OAuthSettings {
    /// The mailbox that the token is for.
    pub username: String,
    /// The token endpoint.
    pub token_url: String,
    /// Who we are there.
    pub client_id: String,
    /// Our secret there; a public client has none.
    pub client_secret: Option<Secret<String>>,
    /// The refresh token; `None`: client credentials are enough.
    pub refresh_token: Option<Secret<String>>,
    /// What is asked for.
    pub scope: Option<String>,
    /// The certificates of the authorities to trust, PEM; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How long fetching may take.
    pub timeout: Duration,
}

/// Fetches tokens and keeps the latest. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: OAuthSettings,
    client: Client,
    system: System,
    latest: Mutex<Option<(Token, Instant)>>,
}

/// An access token, and which one it is.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) number: u64,
    pub(super) text: Secret<String>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    pub(super) fn new(settings: OAuthSettings) -> Result<Self, Error> {
        let client = http::client(settings.ca_file.as_deref(), settings.timeout).map_err(Error::Settings)?;
        Ok(Self(Arc::new(Inner { settings, client, system: System::new(), latest: Mutex::default() })))
    }

    /// A token that is good for a while.
    pub(super) async fn current(&self) -> Result<Token, Error> {
        let mut latest = self.0.latest.lock().await;
        let now = self.0.system.instant();
        if let Some((token, until)) = &*latest
            && now < *until
        {
            return Ok(token.clone());
        }
        let number = latest.as_ref().map_or(0, |(token, _)| token.number).wrapping_add(1);
        let (text, life) = self.0.fetch().await?;
        let token = Token { number, text };
        *latest = Some((token.clone(), now + life.saturating_sub(MARGIN).max(life / 2)));
        Ok(token)
    }
}

impl Inner {
    async fn fetch(&self) -> Result<(Secret<String>, Duration), Error> {
        let settings = &self.settings;
        let mut form = vec![("client_id", settings.client_id.as_str())];
        match &settings.refresh_token {
            Some(token) => form.extend([("grant_type", "refresh_token"), ("refresh_token", token.expose())]),
            None => form.push(("grant_type", "client_credentials")),
        }
        if let Some(secret) = &settings.client_secret {
            form.push(("client_secret", secret.expose()));
        }
        if let Some(scope) = &settings.scope {
            form.push(("scope", scope));
        }
        let request = self.client.post(&settings.token_url).form(&form);
        let answer = http::ask(request).await.map_err(|failure| match failure {
            http::Failure::Unreached(why) | http::Failure::Unknown(why) => Error::Token(why),
        })?;
        if !answer.status.is_success() {
            return Err(Error::Token(format!("status {}", answer.status.as_u16())));
        }
        let granted: Granted = serde_json::from_slice(answer.body.expose())
            .map_err(|_| Error::Token("the answer holds no access token".to_owned()))?;
        let life = granted.expires_in.map_or(LIFE, Duration::from_secs);
        Ok((Secret::new(granted.access_token), life))
    }
}
