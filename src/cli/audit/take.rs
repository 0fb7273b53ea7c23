//! `sallyport audit export`: entries for other programs, as many as there are.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;

use super::super::admin::Admin;
use super::{Wanted, progress, progress_ends};
use crate::audit::Sealed;
use crate::audit::format::{CSV_HEAD, csv, json};
use crate::store::{Filter, Reading};

/// Write entries to standard output or a file, the oldest first.
///
/// They are read and written one by one, so that their number does not matter. In CSV (RFC 4180) no cell is a formula.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport audit export --format csv --since 2026-10-01 --until 2026-11-01 --to october.csv
  sallyport audit export --user ANNA --format json | jq '.[].reason'
  sallyport audit export | gzip > audit.jsonl.gz")]
pub(super) struct Export {
    #[command(flatten)]
    wanted: Wanted,
    /// How.
    #[arg(long, value_enum, default_value = "lines")]
    format: Shape,
    /// The file to make, for the gateway's user only; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// A JSON object a line.
    Lines,
    /// One JSON array.
    Json,
    /// Comma-separated, with a head.
    Csv,
}

pub(super) async fn export(Export { wanted, format, to }: Export, admin: &Admin) -> anyhow::Result<ExitCode> {
    let filter = wanted.filter(admin.now, &admin.config.gateway.time_zone)?;
    let store = admin.config.gateway.store.clone();
    let written = tokio::task::spawn_blocking(move || {
        let reading = Reading::open(&store)?;
        match &to {
            None => write(&reading, &filter, format, io::stdout().lock()),
            Some(path) => {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let file = file.with_context(|| format!("{} cannot be made", path.display()))?;
                let count = write(&reading, &filter, format, &file)?;
                file.sync_all()?;
                Ok(count)
            }
        }
    });
    let count = written.await??;
    progress_ends();
    tracing::info!(count, "entries written");
    Ok(ExitCode::SUCCESS)
}

fn write(reading: &Reading, filter: &Filter, format: Shape, out: impl Write) -> anyhow::Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 16, out);
    let tell = progress("written");
    let (mut count, mut trouble) = (0_u64, None);
    out.write_all(match format {
        Shape::Lines => b"",
        Shape::Json => b"[\n",
        Shape::Csv => CSV_HEAD.as_bytes(),
    })?;
    reading.every(filter, |sealed| {
        trouble = one(&mut out, format, &sealed, count == 0).err();
        count += 1;
        tell(count);
        Ok(trouble.is_none())
    })?;
    let ended = match trouble {
        Some(error) => Err(error),
        None => out.write_all(if format == Shape::Json { b"\n]\n" } else { b"" }).and_then(|()| out.flush()),
    };
    match ended {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(count),
        other => Ok(other.map(|()| count)?),
    }
}

fn one(out: &mut impl Write, format: Shape, sealed: &Sealed, is_first: bool) -> io::Result<()> {
    match format {
        Shape::Lines => writeln!(out, "{}", json(sealed)),
        Shape::Json => write!(out, "{}{}", if is_first { "" } else { ",\n" }, json(sealed)),
        Shape::Csv => out.write_all(csv(sealed).as_bytes()),
    }
}
