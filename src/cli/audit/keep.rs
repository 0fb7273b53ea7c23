//! `sallyport audit archive`, `sinks` and `forget-sink`: where entries are besides the store.

use std::path::PathBuf;
use std::process::ExitCode;

use super::super::admin::{Admin, operator};
use super::super::{Global, print_line};
use super::{progress, progress_ends, time};
use crate::audit::neutral;
use crate::ledger::{Archived, Ledger};
use crate::store::SinkState;

/// Move old entries out of the store into a file.
///
/// The entries are verified, written with a signed manifest, read back from the first byte to the last, and only then removed.
/// The manifest stays in the store, so that `audit verify` still proves that nothing is missing. Keep the file: it is the audit now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport audit archive --before 2026-01-01 --to /archive/audit-2025.jsonl
  sallyport audit verify --archive /archive/audit-2025.jsonl")]
pub(super) struct Archive {
    /// Entries before this time.
    #[arg(long, value_name = "TIME")]
    before: String,
    /// The file to make; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

pub(super) async fn archive(args: Archive, admin: &Admin, global: &Global) -> anyhow::Result<ExitCode> {
    let before = time(&args.before, admin.now, &admin.config.gateway.time_zone)?;
    let ledger = Ledger::open(&admin.config, admin.store.clone(), &admin.system)?;
    let to = std::path::absolute(args.to)?;
    let done = ledger.archive(before, to, &format!("by {}", operator()), progress("verified")).await?;
    progress_ends();
    match done {
        None => global.print_one(&None::<Archived>, "There is nothing to archive.")?,
        Some(done) => {
            let file = done.file.display();
            let text = format!("{} entries, {} to {}, are in {file} now.", done.entries, done.first, done.last);
            global.print_one(&done, text)?;
            if !global.json {
                for (sink, count) in &done.lost {
                    print_line(format_args!("Sink {} never got {count} of them.", neutral(sink)))?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn sinks(admin: &Admin, global: &Global) -> anyhow::Result<ExitCode> {
    let sinks = admin.store.sinks().await?;
    let headers = ["sink", "passed on up to", "waiting", "lost", "configured"];
    let is_configured = |name: &str| admin.config.audit.sinks.iter().any(|sink| &*sink.name == name);
    global.print_list(&sinks, &headers, |SinkState { name, through, waiting, lost }| {
        let configured = if is_configured(name) { "yes" } else { "no" };
        vec![
            neutral(name).into_owned(),
            through.to_string(),
            waiting.to_string(),
            lost.to_string(),
            configured.to_owned(),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn forget_sink(name: String, admin: &Admin, global: &Global) -> anyhow::Result<ExitCode> {
    let entry = admin.entry("sink-forgotten", &format!("sink {name} forgotten"));
    admin.store.forget_sink(name.clone(), entry).await?;
    global.print_one(&name, format_args!("Sink {} is forgotten.", neutral(&name)))?;
    Ok(ExitCode::SUCCESS)
}
