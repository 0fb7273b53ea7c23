//! Archives: entries in a file of their own, with a signed manifest as its last line, so that they can leave the store.
//!
//! ```text
//!   {"sallyport_audit_archive":1}
//!   {"id":1,"sequence":1,"hash":"…","at":"…","node":"…", …}      one line for each entry, as the chain hashed it
//!   {"manifest":{"at":"…","first":1,"last":9,"count":9,"digest":"…","chains":[…],"key":"…","signature":"…"}}
//! ```
//!
//! `digest` is the SHA-256 of all lines before; `chains` tells for each node where its chain stood before and stands after. The
//! manifest stays in the store as well: there it stands for the entries that left.

use std::fmt::Write as _;
use std::io::{self, BufRead, Write};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Sealed;
use super::chain::{Hash, Head};
use super::checkpoint::{PublicKey, Signature, Signer};
use super::verify::{End, Report, Row, Verifier};

const OPENING: &str = "{\"sallyport_audit_archive\":1}";

/// A node's part of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The node.
    pub node: String,
    /// Where its chain stood before.
    pub from: Head,
    /// And where after.
    pub to: Head,
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// When it was made.
    pub at: Timestamp,
    /// The id of its first entry.
    pub first: i64,
    /// The id of its last entry.
    pub last: i64,
    /// How many entries.
    pub count: i64,
    /// The SHA-256 of the lines before the manifest.
    pub digest: Hash,
    /// Node by node.
    pub chains: Vec<Span>,
    /// Who says so.
    pub key: PublicKey,
    /// And this is the proof.
    pub signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Closing {
    manifest: Manifest,
}

impl Manifest {
    /// Whether its key signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.key.signed(&self.statement(), &self.signature)
    }

    /// What is signed: lines, each ended by a line feed.
    fn statement(&self) -> String {
        let Self { at, first, last, count, digest, chains, .. } = self;
        let at = at.as_millisecond();
        let mut text =
            format!("sallyport audit archive 1\nat {at}\nids {first} {last}\ncount {count}\ndigest {digest}\n");
        for Span { node, from, to } in chains {
            // Writing into a string cannot fail.
            let _ = writeln!(
                text,
                "chain {} {} {} {} {} {} {node}",
                from.count, from.id, from.hash, to.count, to.id, to.hash
            );
        }
        text
    }
}

/// Why an archive is no good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none.
    #[error("line {line}: this is no line of an audit archive")]
    Line {
        /// The line, from 1.
        line: u64,
    },
    /// It ends too soon.
    #[error("the archive has no manifest as its last line: it is cut off")]
    Open,
}

/// Writes an archive.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    digest: Hashing,
    first: Option<i64>,
    last: i64,
    count: i64,
    chains: Vec<Span>,
}

struct Hashing(Context);

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashing(..)")
    }
}

impl<W: Write> Writer<W> {
    /// Begins an archive. `starts` tells where the chains stand that do not begin at their beginning.
    ///
    /// # Errors
    /// Where `out` does not take it.
    pub fn new(out: W, starts: Vec<(String, Head)>) -> io::Result<Self> {
        let chains = starts.into_iter().map(|(node, head)| Span { node, from: head, to: head }).collect();
        let mut writer = Self { out, digest: Hashing(Context::new(&SHA256)), first: None, last: 0, count: 0, chains };
        writer.line(OPENING)?;
        Ok(writer)
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.digest.0.update(line.as_bytes());
        self.digest.0.update(b"\n");
        writeln!(self.out, "{line}")
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Where `out` does not take it.
    pub fn entry(&mut self, sealed: &Sealed) -> io::Result<()> {
        self.line(&serde_json::to_string(sealed)?)?;
        self.first.get_or_insert(sealed.id);
        (self.last, self.count) = (sealed.id, self.count + 1);
        let head = Head { count: sealed.sequence, id: sealed.id, hash: sealed.hash };
        match self.chains.iter_mut().find(|span| span.node == sealed.entry.node) {
            Some(span) => span.to = head,
            None => self.chains.push(Span { node: sealed.entry.node.clone(), from: Head::START, to: head }),
        }
        Ok(())
    }

    /// Ends it: signs the manifest and writes it.
    ///
    /// # Errors
    /// Where `out` does not take it.
    pub fn end(mut self, at: Timestamp, signer: &Signer) -> io::Result<(Manifest, W)> {
        let digest = Hash::from_digest(&self.digest.0.finish());
        // To the millisecond, as it is signed.
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        let mut manifest = Manifest {
            at,
            first: self.first.unwrap_or(0),
            last: self.last,
            count: self.count,
            digest,
            chains: self.chains.into_iter().filter(|span| span.from != span.to).collect(),
            key: signer.public(),
            signature: signer.sign(""),
        };
        manifest.signature = signer.sign(&manifest.statement());
        let closing = Closing { manifest };
        writeln!(self.out, "{}", serde_json::to_string(&closing)?)?;
        self.out.flush()?;
        Ok((closing.manifest, self.out))
    }
}

/// Reads an archive from its first byte to its last and verifies all of it; `progress` hears how many entries were looked at.
///
/// # Errors
/// Where it cannot be read, or is no archive. What is wrong with one that can be read stands in the report.
pub fn verify(
    mut file: impl BufRead + io::Seek,
    mut verifier: Verifier,
    mut progress: impl FnMut(u64),
) -> Result<(Manifest, Report), Error> {
    // The manifest stands at the end and says where the chains begin: so it takes two rounds.
    let (mut digest, mut line, mut number, mut last) = (Context::new(&SHA256), String::new(), 0, String::new());
    while {
        line.clear();
        file.read_line(&mut line)? > 0
    } {
        number += 1;
        if !line.ends_with('\n') {
            return Err(Error::Open);
        }
        if number == 1 && line.trim_end() != OPENING {
            return Err(Error::Line { line: 1 });
        }
        digest.update(last.as_bytes());
        std::mem::swap(&mut last, &mut line);
    }
    let closing: Closing = serde_json::from_str(&last).map_err(|_| Error::Open)?;
    let (manifest, digest, lines) = (closing.manifest, Hash::from_digest(&digest.finish()), number);
    if digest != manifest.digest {
        verifier.fault("", None, "archive", "the file is not what the manifest was made of".to_owned());
    }
    if !manifest.is_signed() {
        verifier.fault("", None, "archive", "the signature of the manifest is wrong".to_owned());
    } else if !verifier.trusts(manifest.key) {
        let what = format!("the manifest is signed by {}, which is no known key", manifest.key);
        verifier.fault("", None, "archive", what);
    }
    for span in &manifest.chains {
        verifier.begin(&span.node, span.from);
    }
    file.rewind()?;
    for number in 1..lines {
        line.clear();
        file.read_line(&mut line)?;
        if number == 1 {
            continue;
        }
        let sealed: Sealed = serde_json::from_str(&line).map_err(|_| Error::Line { line: number })?;
        let Sealed { id, sequence, hash, entry } = &sealed;
        verifier.entry(&Row { id: *id, sequence: *sequence, hash: Some(*hash), cells: Some(entry.cells()) });
        progress(verifier.entries());
    }
    let ends: Vec<_> = manifest.chains.iter().map(|span| (span.node.clone(), span.to)).collect();
    // The end of an archive is signed by its manifest.
    Ok((manifest, verifier.end(Some(&ends), End::Signed)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::chain::link;
    use super::super::{Entry, Event, Outcome};
    use super::*;

    fn signer() -> Signer {
        Signer::new(&[3; 32]).unwrap()
    }

    fn written() -> (Manifest, String) {
        let mut writer = Writer::new(Vec::new(), Vec::new()).unwrap();
        let mut head = Head::START;
        for number in 1..=4 {
            let entry = Entry::new(Timestamp::UNIX_EPOCH, "gate-1", Event::SignOn, Outcome::Denied);
            let entry = entry.detail(&format!("Ünïcode \"{number}\""));
            let hash = link(head.hash, number, number + 2, &entry.cells());
            head = Head { count: number, id: number + 2, hash };
            writer.entry(&Sealed { id: number + 2, sequence: number, hash, entry }).unwrap();
        }
        let (manifest, bytes) = writer.end(Timestamp::UNIX_EPOCH, &signer()).unwrap();
        (manifest, String::from_utf8(bytes).unwrap())
    }

    fn read(text: &str) -> Result<Report, Error> {
        let verifier = Verifier::new(Some(vec![signer().public()]), Vec::new());
        verify(Cursor::new(text.as_bytes()), verifier, |_| ()).map(|(_, report)| report)
    }

    #[test]
    fn an_archive_verifies_and_a_changed_one_does_not() {
        let (manifest, text) = written();
        assert_eq!((manifest.first, manifest.last, manifest.count, manifest.chains.len()), (3, 6, 4, 1));
        let report = read(&text).unwrap();
        assert!(report.whole && report.entries == 4, "{report:#?}");

        let lines: Vec<&str> = text.lines().collect();
        let without = |line: usize| {
            let left: Vec<_> =
                lines.iter().enumerate().filter(|(index, _)| *index != line).map(|(_, line)| *line).collect();
            left.join("\n") + "\n"
        };
        for (changed, kind) in [
            (text.replacen("denied", "allowed", 1), "altered"),
            (without(2), "missing"),
            (without(4), "truncated"),
            (text.replacen("\"count\":4", "\"count\":5", 1), "archive"),
            (text.replacen("\"hash\"", " \"hash\"", 1), "archive"),
        ] {
            let report = read(&changed).unwrap();
            assert!(report.faults.iter().any(|fault| fault.kind == kind), "{kind}: {report:#?}");
        }
        assert!(matches!(read(&without(5)), Err(Error::Open)));
        assert!(matches!(read(text.trim_end()), Err(Error::Open)));
        assert!(matches!(read(&without(0)), Err(Error::Line { line: 1 })));
        assert!(matches!(read(""), Err(Error::Open)));

        let other = Signer::new(&[4; 32]).unwrap();
        let verifier = Verifier::new(Some(vec![other.public()]), Vec::new());
        let (_, report) = verify(Cursor::new(text.as_bytes()), verifier, |_| ()).unwrap();
        assert_eq!(report.faults[0].kind, "archive");
    }
}
