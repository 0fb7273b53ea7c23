//! Goes through the audit, entry by entry, and names whatever was changed, taken out, put in, or moved.
//!
//! Invariants: one pass, in the order of ids, with a few numbers kept for each node. After a fault the entry's own hash is taken
//! for granted, so that one forged entry is one fault and the next one is found as well. Who can write the store can write a chain
//! anew; then the checkpoints do not fit, and those that are left out leave the end without a signature. Against somebody who
//! puts back an old state of the store as a whole, only a checkpoint that was kept elsewhere helps.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Event;
use super::archive::Manifest;
use super::chain::{Cell, Cells, Hash, Head, link};
use super::checkpoint::{Checkpoint, PublicKey};

/// How many faults are told one by one.
const FAULTS_MAX: usize = 200;
/// How many entries of the gateway's may stand behind the newest checkpoint: one is due every 1,000.
const UNSIGNED_MAX: u64 = 5_000;
/// How far apart in time, in milliseconds: one is due every five minutes.
const UNSIGNED_TIME_MAX: i64 = 3_600_000;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Whose chain.
    pub node: String,
    /// The entry it was found at.
    pub id: Option<i64>,
    /// What it is: `altered`, `missing`, `misplaced`, `truncated`, `checkpoint`, `unsigned` or `archive`.
    pub kind: &'static str,
    /// In words.
    pub what: String,
}

/// A chain that was gone through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Whose.
    pub node: String,
    /// How many entries were looked at.
    pub entries: u64,
    /// Where it begins: what is before was archived.
    pub from: Head,
    /// Where it ends.
    pub to: Head,
    /// How many checkpoints stand in it.
    pub checkpoints: u64,
    /// How many entries are covered by the newest of them.
    pub signed: i64,
    /// Who signed them.
    pub keys: Vec<PublicKey>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all is as it was written.
    pub whole: bool,
    /// How many entries were looked at.
    pub entries: u64,
    /// Chain by chain.
    pub chains: Vec<Chain>,
    /// What is wrong: the first 200.
    pub faults: Vec<Fault>,
    /// How many faults there are.
    pub faults_found: usize,
    /// Whether the signatures were held against keys from elsewhere; else they prove nothing but that the checkpoints go together.
    pub keys_trusted: bool,
    /// Kept checkpoints that could not be held against anything, since those entries are archived.
    pub unchecked: Vec<Checkpoint>,
}

/// What vouches for the last entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The checkpoints alone.
    Open,
    /// A signature over where the chains end.
    Signed,
}

/// An entry as it is stored.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its id.
    pub id: i64,
    /// Its number in its node's chain.
    pub sequence: i64,
    /// The hash that stands with it, where it is one.
    pub hash: Option<Hash>,
    /// Its columns, where they are what an entry can have.
    pub cells: Option<Cells<'a>>,
}

#[derive(Debug, Default)]
struct State {
    entries: u64,
    from: Option<Head>,
    id: i64,
    sequence: i64,
    hash: Option<Hash>,
    /// What the last entry's hash should have been, where that is another.
    due: Option<Hash>,
    checkpoints: u64,
    signed: i64,
    keys: Vec<PublicKey>,
    /// Since the newest checkpoint: entries of the gateway, and the times of the first and the last of them.
    unsigned: u64,
    times: Option<(i64, i64)>,
    /// What must still be met.
    kept: Vec<Checkpoint>,
}

/// Goes through entries.
#[derive(Debug)]
pub struct Verifier {
    trusted: Option<Vec<PublicKey>>,
    chains: BTreeMap<String, State>,
    faults: Vec<Fault>,
    found: usize,
    entries: u64,
    unchecked: Vec<Checkpoint>,
    only: Option<String>,
}

impl Verifier {
    /// A verifier that believes these keys and none else, or, without them, whatever key a checkpoint names; `kept` are
    /// checkpoints that the audit must contain.
    #[must_use]
    pub fn new(trusted: Option<Vec<PublicKey>>, kept: Vec<Checkpoint>) -> Self {
        let chains = BTreeMap::new();
        let mut verifier =
            Self { trusted, chains, faults: Vec::new(), found: 0, entries: 0, unchecked: Vec::new(), only: None };
        for checkpoint in kept {
            if verifier.holds(&checkpoint, None) {
                verifier.chains.entry(checkpoint.node.clone()).or_default().kept.push(checkpoint);
            }
        }
        verifier
    }

    /// A verifier of one node's chain, where `node` is given.
    #[must_use]
    pub fn only(mut self, node: Option<String>) -> Self {
        self.chains.retain(|known, _| node.as_ref().is_none_or(|node| node == known));
        self.only = node;
        self
    }

    fn wants(&self, node: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == node)
    }

    /// Says where `node`'s chain begins.
    pub fn begin(&mut self, node: &str, head: Head) {
        if !self.wants(node) {
            return;
        }
        let state = self.chains.entry(node.to_owned()).or_default();
        (state.from, state.id, state.sequence, state.hash, state.due) =
            (Some(head), head.id, head.count, Some(head.hash), None);
        state.signed = head.count;
    }

    /// Says that these entries were taken out and are in an archive. To be told in the order in which that was done.
    pub fn archived(&mut self, manifest: &Manifest) {
        if !manifest.is_signed() || !self.trusts(manifest.key) {
            let last = manifest.last;
            self.fault(
                "",
                Some(last),
                "archive",
                format!("the note of the archive up to entry {last} is not signed by a known key"),
            );
            return;
        }
        for span in &manifest.chains {
            if !self.wants(&span.node) {
                continue;
            }
            let before = self.chains.get(&span.node).map_or(Head::START, |state| Head {
                count: state.sequence,
                id: state.id,
                hash: state.hash.unwrap_or(Hash::START),
            });
            if before.count != span.from.count || before.hash != span.from.hash {
                let what =
                    format!("the archive up to entry {} does not begin where the one before ends", manifest.last);
                self.fault(&span.node, Some(manifest.last), "archive", what);
            }
            self.begin(&span.node, span.to);
        }
    }

    /// Looks at the next entry.
    pub fn entry(&mut self, row: &Row<'_>) {
        self.entries += 1;
        let Some((cells, hash)) = row.cells.as_ref().zip(row.hash) else {
            self.fault("", Some(row.id), "altered", "the entry cannot be read".to_owned());
            return;
        };
        let text = |column: usize| match &cells[column] {
            Cell::Text(text) => text.as_ref(),
            Cell::Empty | Cell::Number(_) => "",
        };
        let number = |column: usize| match &cells[column] {
            Cell::Number(number) => *number,
            Cell::Empty | Cell::Text(_) => 0,
        };
        let (at, node, event, detail) = (number(0), text(1), text(2), text(15));
        let mut state = self.chains.remove(node).unwrap_or_default();
        state.entries += 1;
        let from = *state.from.get_or_insert(Head::START);
        let previous = state.hash.unwrap_or(from.hash);
        let due = state.sequence + 1;
        if row.sequence < due {
            let what = format!("number {} of the chain stands behind number {}", row.sequence, state.sequence);
            self.fault(node, Some(row.id), "misplaced", what);
            self.chains.insert(node.to_owned(), state);
            return;
        }
        let computed = link(previous, row.sequence, row.id, cells);
        let other = state.due.take().map(|due| link(due, row.sequence, row.id, cells));
        let mut intact = true;
        if row.sequence > due {
            let last = row.sequence - 1;
            let which = if last == due { format!("number {due}") } else { format!("numbers {due} to {last}") };
            self.fault(node, Some(row.id), "missing", format!("{which} of the chain should stand before this entry"));
            intact = false;
        } else if computed != hash && other != Some(hash) {
            self.fault(node, Some(row.id), "altered", "the entry, or its place, is not what was written".to_owned());
            state.due = Some(computed);
            intact = false;
        }
        if intact && event == Event::Checkpoint.as_str() {
            self.checkpoint(&mut state, node, row.id, at, detail, previous);
        } else if !matches!(event, "changed" | "contact-tested" | "archived" | "checkpoint") {
            state.unsigned += 1;
            state.times = Some((state.times.map_or(at, |(first, _)| first), at));
        }
        (state.sequence, state.id, state.hash) = (row.sequence, row.id, Some(hash));
        self.meet(&mut state);
        self.chains.insert(node.to_owned(), state);
    }

    /// Ends. `heads` are where the chains are said to stand; `None`: only a part was looked at.
    #[must_use]
    pub fn end(mut self, heads: Option<&[(String, Head)]>, end: End) -> Report {
        for (node, head) in heads.unwrap_or_default() {
            if !self.wants(node) {
                continue;
            }
            let (count, hash) = self.chains.get(node).map_or((0, None), |state| (state.sequence, state.hash));
            if count < head.count {
                let what = format!("the chain ends at number {count}, but {} entries were written", head.count);
                self.fault(node, None, "truncated", what);
            } else if hash != Some(head.hash) || count != head.count {
                self.fault(
                    node,
                    None,
                    "altered",
                    format!("the store's note of the chain's end ({}) does not fit", head.count),
                );
            }
        }
        let mut chains = Vec::new();
        for (node, state) in std::mem::take(&mut self.chains) {
            if let Some(heads) = heads {
                let unnoted = state.entries > 0 && !heads.iter().any(|(known, _)| *known == node);
                if unnoted {
                    self.fault(&node, None, "altered", "the store has no note of the chain's end".to_owned());
                }
                let span = state.times.map_or(0, |(first, last)| last - first);
                // A chain that was never signed is a new one; that is told by its number of checkpoints.
                let was_signed = state.checkpoints > 0 || state.from.is_some_and(|from| from.count > 0);
                if end == End::Open && was_signed && (state.unsigned > UNSIGNED_MAX || span > UNSIGNED_TIME_MAX) {
                    let what = format!(
                        "the last {} entries are covered by no checkpoint, though the gateway was running",
                        state.sequence - state.signed
                    );
                    self.fault(&node, Some(state.id), "unsigned", what);
                }
                for checkpoint in &state.kept {
                    let Head { count, .. } = checkpoint.head;
                    let what = format!(
                        "the chain ends at number {}, but the checkpoint of {} has {count}",
                        state.sequence, checkpoint.at
                    );
                    self.fault(&node, None, "truncated", what);
                }
            } else {
                self.unchecked.extend(state.kept.iter().cloned());
            }
            if let Some((from, hash)) = state.from.zip(state.hash) {
                let to = Head { count: state.sequence, id: state.id, hash };
                let State { entries, checkpoints, signed, keys, .. } = state;
                chains.push(Chain { node, entries, from, to, checkpoints, signed, keys });
            }
        }
        let Self { trusted, faults, found, entries, unchecked, .. } = self;
        Report {
            whole: found == 0,
            entries,
            chains,
            faults,
            faults_found: found,
            keys_trusted: trusted.is_some(),
            unchecked,
        }
    }

    /// How many entries were looked at.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Adds something that was found otherwise.
    pub fn fault(&mut self, node: &str, id: Option<i64>, kind: &'static str, what: String) {
        self.found += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { node: node.to_owned(), id, kind, what });
        }
    }

    /// A checkpoint stands at `id`, behind an entry whose hash is `previous`.
    fn checkpoint(&mut self, state: &mut State, node: &str, id: i64, at: i64, detail: &str, previous: Hash) {
        let Some(checkpoint) = Checkpoint::parse(node, at, detail) else {
            self.fault(node, Some(id), "checkpoint", "the checkpoint cannot be read".to_owned());
            return;
        };
        if !self.holds(&checkpoint, Some(id)) {
            return;
        }
        if (checkpoint.head.count, checkpoint.head.hash) != (state.sequence, previous) {
            let count = checkpoint.head.count;
            self.fault(
                node,
                Some(id),
                "checkpoint",
                format!("the chain is not the one that was signed at number {count}"),
            );
            return;
        }
        state.checkpoints += 1;
        (state.signed, state.unsigned, state.times) = (checkpoint.head.count, 0, None);
        if !state.keys.contains(&checkpoint.key) {
            state.keys.push(checkpoint.key);
        }
    }

    /// Holds the kept checkpoints against the chain where it has come to them.
    fn meet(&mut self, state: &mut State) {
        for checkpoint in std::mem::take(&mut state.kept) {
            let Head { count, .. } = checkpoint.head;
            let from = state.from.unwrap_or(Head::START);
            let known =
                if count == state.sequence { state.hash } else { Some(from.hash).filter(|_| count == from.count) };
            if let Some(known) = known {
                if known != checkpoint.head.hash {
                    let what = format!("number {count} is not the one of the checkpoint of {}", checkpoint.at);
                    self.fault(&checkpoint.node, Some(state.id), "checkpoint", what);
                }
            } else if count < from.count {
                self.unchecked.push(checkpoint);
            } else if count < state.sequence {
                let what = format!("number {count}, of which there is a checkpoint, was passed over");
                self.fault(&checkpoint.node, Some(state.id), "missing", what);
            } else {
                state.kept.push(checkpoint);
            }
        }
    }

    fn holds(&mut self, checkpoint: &Checkpoint, id: Option<i64>) -> bool {
        let what = if !checkpoint.is_signed() {
            "the signature of the checkpoint is wrong".to_owned()
        } else if !self.trusts(checkpoint.key) {
            format!("the checkpoint is signed by {}, which is no known key", checkpoint.key)
        } else {
            return true;
        };
        self.fault(&checkpoint.node, id, "checkpoint", what);
        false
    }

    /// Whether signatures of `key` count.
    #[must_use]
    pub fn trusts(&self, key: PublicKey) -> bool {
        self.trusted.as_ref().is_none_or(|trusted| trusted.contains(&key))
    }
}
