//! The integration tests, one binary: fences, scripts, traces, clients, faults.
//!
//! `tests/run` runs them with everything they can use; a test that lacks a foreign program says so and passes
//! (`support::skip`).

mod administer;
mod alerts;
mod architecture;
mod audit;
mod clients;
mod command_line;
mod corpus;
mod delivery;
mod demo;
mod factor;
mod factors;
mod faults;
mod ftp;
mod operate;
mod properties;
mod readme;
mod rules;
mod scripts;
mod support;
mod terminal;
mod traces;
mod tshark;
