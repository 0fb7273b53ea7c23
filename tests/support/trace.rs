//! Recorded conversations: lines of JSON with a direction and bytes (the format is explained beside the traces).

use std::path::Path;

use serde_json::Value;

use super::files;

/// Who sent a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Client,
    Host,
}

/// One read from the stream; `None` where the publisher removed the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) from: From,
    pub(crate) bytes: Option<Vec<u8>>,
}

/// One recorded conversation.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    /// Its path below the folder, without ending: `xtn5250/login`.
    pub(crate) name: String,
    pub(crate) chunks: Vec<Chunk>,
}

impl Trace {
    /// The bytes of one side in stretches that nothing was removed from.
    pub(crate) fn stretches(&self, from: From) -> Vec<Vec<u8>> {
        let mut stretches = vec![Vec::new()];
        for chunk in self.chunks.iter().filter(|chunk| chunk.from == from) {
            match &chunk.bytes {
                Some(bytes) => stretches.last_mut().unwrap().extend(bytes),
                None => stretches.push(Vec::new()),
            }
        }
        stretches.retain(|stretch| !stretch.is_empty());
        stretches
    }

    /// Whether the stream speaks 5250: the other two show what the same port does for other terminals.
    pub(crate) fn is_5250(&self) -> bool {
        !self.name.contains("tn3270") && !self.name.contains("vt220")
    }
}

/// Reads every trace of the folder.
pub(crate) fn read(folder: &Path) -> Vec<Trace> {
    let traces: Vec<Trace> = files(folder, "jsonl").iter().map(|path| one(folder, path)).collect();
    assert!(traces.len() > 10, "hardly a trace in {}", folder.display());
    traces
}

fn one(folder: &Path, path: &Path) -> Trace {
    let name = path.strip_prefix(folder).unwrap().with_extension("").display().to_string();
    let text = std::fs::read_to_string(path).unwrap();
    let mut chunks = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("{name}:{}", at + 1);
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{place}: {error}"));
        let from = match value["dir"].as_str() {
            Some("rx" | "in") => From::Host,
            Some("tx" | "out") => From::Client,
            _ => continue,
        };
        let bytes = value["hex"].as_str().map(|hex| {
            let mut bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap();
            // Some were published as records without their end.
            if name.starts_with("inline/") {
                bytes.extend([0xFF, 0xEF]);
            }
            bytes
        });
        chunks.push(Chunk { from, bytes });
    }
    Trace { name, chunks }
}
