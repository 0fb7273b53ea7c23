//! The recorded sessions, for tests: `/shared/traces` beside the project, or wherever `SALLYPORT_TRACES` points.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use crate::telnet::{Splitter, Unit, unescape};

/// One direction of one recorded session.
pub(crate) struct Stream {
    /// The folder and the name of the file.
    pub(crate) name: String,
    /// Whether the client sent this.
    pub(crate) is_client: bool,
    /// Whether these are TN5250 records; the others show what a host speaks with other terminal types.
    pub(crate) is_5250: bool,
    /// The bytes, in the pieces in which they were recorded.
    pub(crate) pieces: Vec<Vec<u8>>,
}

impl Stream {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    /// The records in it: wire bytes and content.
    pub(crate) fn records(&self) -> Vec<(Bytes, Vec<u8>)> {
        let (mut splitter, mut buffer) = (Splitter::new(), BytesMut::from(&self.bytes()[..]));
        let mut records = Vec::new();
        while let Some(frame) = splitter.take(&mut buffer).unwrap() {
            if matches!(frame.unit, Unit::Record { .. }) {
                let content = unescape(&frame.wire).into_owned();
                records.push((frame.wire, content));
            }
        }
        records
    }
}

/// All recorded streams; none, and a line that says so, when the recordings are not there.
pub(crate) fn streams() -> Vec<Stream> {
    let root = std::env::var_os("SALLYPORT_TRACES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/traces"), PathBuf::from);
    let mut streams = Vec::new();
    for folder in entries(&root) {
        for file in entries(&folder).into_iter().filter(|file| file.extension().is_some_and(|e| e == "jsonl")) {
            streams.extend(read(&root, &file));
        }
    }
    if streams.is_empty() {
        println!("skipped: no recorded sessions in {}", root.display());
    }
    streams
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    entries
}

fn read(root: &Path, file: &Path) -> Vec<Stream> {
    let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
    let is_5250 = !name.contains("tn3270") && !name.contains("vt220");
    let mut pieces = BTreeMap::<bool, Vec<Vec<u8>>>::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let Some(hex) = member(line, "hex") else { continue };
        let is_client = matches!(member(line, "dir"), Some("tx" | "out"));
        let bytes = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let mut bytes: Vec<u8> = bytes.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        if name.starts_with("inline") && !bytes.ends_with(&[0xFF, 0xEF]) {
            bytes = crate::telnet::write_record(&bytes).to_vec();
        }
        pieces.entry(is_client).or_default().push(bytes);
    }
    let stream = |(is_client, pieces)| Stream { name: name.clone(), is_client, is_5250, pieces };
    pieces.into_iter().map(stream).collect()
}

/// The text member `key` of the JSON object on this line. The recordings have no escapes in the members asked for.
fn member<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
    rest.trim_start().strip_prefix('"')?.split('"').next()
}
