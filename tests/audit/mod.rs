//! The audit of a running gateway: killed at any moment, attacked, searched for secrets, and received by rsyslog.

mod kill;
mod receiver;
mod secret;
mod verbs;
