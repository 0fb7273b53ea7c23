//! `sallyport audit verify`, `checkpoint` and `key`: whether the audit is what was written.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};

use super::super::admin::{Admin, counted};
use super::super::{FAILED, Global, NotFound, Usage, print_json, print_line};
use super::{progress, progress_ends, time};
use crate::audit::archive;
use crate::audit::checkpoint::{Checkpoint, PublicKey};
use crate::audit::neutral;
use crate::audit::verify::{Report, Verifier};
use crate::ledger::{Ledger, signer};
use crate::store::{Part, Reading};

/// Verify that no entry was changed, taken out, put in or moved. The exit code is 1 where one was.
///
/// It follows each node's chain of hashes from entry to entry and checks the signatures of the checkpoints, against the keys of
/// --public-key, else against the gateway's own key file. Whoever can write into the store can put back an old state of it: only a
/// checkpoint kept elsewhere (--checkpoint) or what the sinks got tells that.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport audit verify
  sallyport audit verify --since 30d --json
  sallyport audit verify --public-key gate-1.pub --checkpoint checkpoint-october.json
  sallyport audit verify --archive audit-2025.jsonl --public-key gate-1.pub")]
pub(super) struct Verify {
    /// From this time on; the chain must fit the entry before.
    #[arg(long, value_name = "TIME", conflicts_with = "archive")]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME", conflicts_with = "archive")]
    until: Option<String>,
    /// This node's chain only.
    #[arg(long)]
    node: Option<String>,
    /// A file with the public keys that count, one a line, as `audit key` prints them.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// A file with checkpoints that the audit must contain, as `audit checkpoint` prints them; may be given several times.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Verify this archive instead of the store.
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
}

pub(super) async fn verify(args: Verify, admin: &Admin, global: &Global) -> anyhow::Result<ExitCode> {
    let zone = &admin.config.gateway.time_zone;
    let at = |text: Option<String>| text.map(|text| time(&text, admin.now, zone)).transpose();
    let part = Part { node: args.node.clone(), since: at(args.since)?, until: at(args.until)? };
    let kept = args.checkpoint.iter().map(|path| checkpoints(path)).collect::<anyhow::Result<Vec<_>>>()?.concat();
    let verifier = Verifier::new(keys(args.public_key.as_deref(), admin)?, kept);
    let store = admin.config.gateway.store.clone();
    let verified = tokio::task::spawn_blocking(move || match args.archive {
        None => Ok(Reading::open(&store)?.verify(verifier, &part, progress("verified"))?),
        Some(path) => {
            let file = File::open(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            let report = archive::verify(BufReader::new(file), verifier.only(part.node), progress("verified"));
            report.map(|(_, report)| report).with_context(|| path.display().to_string())
        }
    });
    let report: Report = verified.await??;
    progress_ends();
    if global.json {
        print_json(&report)?;
    } else {
        print_line(summary(&report))?;
    }
    Ok(if report.whole { ExitCode::SUCCESS } else { FAILED.into() })
}

fn summary(report: &Report) -> String {
    let mut lines = Vec::new();
    for chain in &report.chains {
        let first = chain.from.count + 1;
        let before = if chain.from.count > 0 { " (those before are archived, or were not asked for)" } else { "" };
        lines.push(format!(
            "{}: {}, numbers {first} to {}{before}; {}, signed up to number {}",
            neutral(&chain.node),
            plural(chain.entries, "entry", "entries"),
            chain.to.count,
            plural(chain.checkpoints, "checkpoint", "checkpoints"),
            chain.signed,
        ));
        if chain.signed == 0 {
            lines.push(
                "  nothing of it is signed: who can write into the store could have written all of it anew".to_owned(),
            );
        }
        for key in &chain.keys {
            lines.push(format!("  signed by {key}"));
        }
    }
    if !report.keys_trusted {
        lines.push(
            "There is no key to hold the signatures against: they prove only that the checkpoints go together."
                .to_owned(),
        );
    }
    for checkpoint in &report.unchecked {
        let (node, count) = (neutral(&checkpoint.node), checkpoint.head.count);
        lines.push(format!(
            "The checkpoint of {node} at number {count} was not met: that entry is archived, or was not asked for."
        ));
    }
    for fault in &report.faults {
        let node = if fault.node.is_empty() { String::new() } else { format!(" of {}", neutral(&fault.node)) };
        let entry = fault.id.map_or_else(|| format!("The chain{node}"), |id| format!("Entry {id}{node}"));
        lines.push(format!("{entry}: {}: {}", fault.kind, neutral(&fault.what)));
    }
    lines.push(if report.whole {
        format!("The audit is whole: {}.", plural(report.entries, "entry", "entries"))
    } else {
        format!("The audit is BROKEN: {}.", counted(report.faults_found, "fault"))
    });
    lines.join("\n")
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The keys that count: those of the file, else the gateway's own, where this user can read that.
fn keys(file: Option<&Path>, admin: &Admin) -> anyhow::Result<Option<Vec<PublicKey>>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let keys = PublicKey::all(&text).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        return Ok(Some(keys));
    }
    match signer::read(&admin.config.audit.key_file) {
        Ok(signer) => Ok(signer.map(|signer| vec![signer.public()])),
        Err(error) => {
            tracing::warn!(%error, "the gateway's own key is not used");
            Ok(None)
        }
    }
}

fn checkpoints(path: &Path) -> anyhow::Result<Vec<Checkpoint>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let read = serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<Vec<_>, _>>();
    let read: Vec<Checkpoint> = read.map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    if read.is_empty() {
        return Err(Usage(format!("{} holds no checkpoint", path.display())).into());
    }
    Ok(read)
}

pub(super) async fn checkpoint(admin: &Admin) -> anyhow::Result<ExitCode> {
    let ledger = Ledger::open(&admin.config, admin.store.clone(), &admin.system)?;
    let checkpoint = ledger.checkpoint().await?.ok_or_else(|| anyhow!("there is no entry to sign yet"))?;
    print_line(serde_json::to_string(&checkpoint)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Print the public key by which checkpoints and archives are verified. It is no secret.
///
/// Compare it with what the gateway's operators told you before you believe it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport audit key > gate-1.pub
  sallyport audit key --pem | openssl pkey -pubin -noout -text")]
pub(super) struct Key {
    /// As openssl reads it.
    #[arg(long)]
    pem: bool,
}

pub(super) fn key(args: &Key, admin: &Admin, global: &Global) -> anyhow::Result<ExitCode> {
    let path = &admin.config.audit.key_file;
    let signer = signer::read(path)?.ok_or_else(|| {
        NotFound(format!("there is no key {} yet: `serve` and `audit checkpoint` make it", path.display()))
    })?;
    let key = signer.public();
    if args.pem {
        print_line(key.pem())?;
    } else {
        global.print_one(&key, key)?;
    }
    Ok(ExitCode::SUCCESS)
}
