//! Sallyport: an inline second-factor gateway for IBM i.
//!
//! A **relay** moves bytes between a client and the host and asks the **guard** before anybody is let through; see
//! `proxy_tn5250` for the protocol and `policy` for the decisions. This crate holds everything that touches the world.

pub mod alert;
pub mod audit;
pub mod cli;
pub mod code;
pub mod config;
pub mod control;
pub mod delivery;
pub mod demo;
pub mod doctor;
pub mod factor;
pub mod guard;
pub mod health;
pub mod key;
pub mod ledger;
pub mod limit;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod proxyproto;
pub mod replay;
pub mod rulebook;
pub mod seal;
pub mod serve;
pub mod sessions;
pub mod sink;
pub mod store;
pub mod stream;
pub mod system;
pub mod terminal;
#[cfg(test)]
mod testing;
pub mod tls;
