//! Seeds for the fuzz targets: made from the scripts, kept beside the targets, replayed here on stable Rust.
//!
//! `SALLYPORT_SEEDS=fuzz/corpus cargo test --test main seeds` writes the seeds that are kept. With the recorded traces at
//! hand, `SALLYPORT_SEEDS=target/corpus SALLYPORT_TRACES=... cargo test --test main seeds` adds what they give; that is never
//! kept, for it is not ours.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::BytesMut;
use proxy_tn5250::record;
use proxy_tn5250::telnet::{self, Splitter, Unit, option};
use sallyport_fuzz::events::{Conversation, Happening, Play, settings};
use sallyport_fuzz::ftp_gate;

use crate::support::script::{self, Script};
use crate::support::trace::{self, From, Trace};
use crate::support::{play, root, skip, traces};

/// Seeds by target and name.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

type Check = fn(&[u8]);

/// Of each target of FTP so many are kept: the scripts say much the same again and again.
const FTP_SEEDS_MAX: usize = 60;

const CHECKS: [(&str, Check); 11] = [
    ("telnet", sallyport_fuzz::telnet),
    ("record", sallyport_fuzz::record),
    ("display", sallyport_fuzz::display),
    ("input", sallyport_fuzz::input),
    ("environ", sallyport_fuzz::environ),
    ("gate_tn5250", sallyport_fuzz::gate_tn5250),
    ("ftp_line", sallyport_fuzz::ftp_line),
    ("ftp_command", sallyport_fuzz::ftp_command),
    ("ftp_reply", sallyport_fuzz::ftp_reply),
    ("ftp_address", sallyport_fuzz::ftp_address),
    ("gate_ftp", sallyport_fuzz::gate_ftp),
];

/// The script as the fuzz target reads it.
fn conversation(script: &Script) -> Conversation {
    Conversation { settings: play::settings(script), happenings: script.steps.iter().map(play::given).collect() }
}

/// What one side said, cut into what the other targets take.
fn units(seeds: &mut Seeds, name: &str, from: From, stream: &[u8]) {
    seeds.insert(("telnet", name.to_owned()), stream.to_vec());
    let (mut splitter, mut buffer) = (Splitter::new(), BytesMut::from(stream));
    let mut number = 0;
    while let Ok(Some(frame)) = splitter.take(&mut buffer) {
        number += 1;
        let name = format!("{name}-{number}");
        match frame.unit {
            Unit::Record { .. } => {
                let content = telnet::unescape(&frame.wire).into_owned();
                if let Ok(record) = record::parse(&content) {
                    let target = if from == From::Host { "display" } else { "input" };
                    seeds.insert((target, name.clone()), record.data.to_vec());
                }
                seeds.insert(("record", name), content);
            }
            Unit::Subnegotiation { option: option::NEW_ENVIRON, body } => {
                seeds.insert(("environ", name), body.to_vec());
            }
            Unit::Subnegotiation { .. } | Unit::Negotiation { .. } | Unit::Command(_) => {}
        }
    }
}

/// The seeds that the scripts give, the same bytes once.
fn from_scripts() -> Seeds {
    let mut seeds = Seeds::new();
    for script in script::read(&root().join("tests/scripts/tn5250")) {
        let conversation = conversation(&script);
        seeds.insert(("gate_tn5250", script.name.clone()), conversation.write());
        for (step, happening) in script.steps.iter().zip(&conversation.happenings) {
            let name = format!("{}-{}", script.name, step.line);
            match happening {
                Happening::Client(bytes) => units(&mut seeds, &name, From::Client, bytes),
                Happening::Host(bytes) => units(&mut seeds, &name, From::Host, bytes),
                Happening::Admit
                | Happening::Challenge(_)
                | Happening::Panel
                | Happening::Refuse(_)
                | Happening::Time(_)
                | Happening::ClientClosed
                | Happening::HostClosed
                | Happening::End => {}
            }
        }
    }
    from_ftp_scripts(&mut seeds);
    let mut seen = std::collections::BTreeSet::new();
    // Records without end are made anew by the scripts each time; they are too long to keep.
    seeds
        .retain(|(target, _), bytes| bytes.len() < 4_096 && !bytes.is_empty() && seen.insert((*target, bytes.clone())));
    let mut count = BTreeMap::<_, usize>::new();
    seeds.retain(|(target, _), _| {
        let count = count.entry(*target).or_default();
        *count += 1;
        !target.contains("ftp") || *count <= FTP_SEEDS_MAX
    });
    seeds
}

/// What the scripts for FTP give: each as a conversation, and what both sides say in them for the codec.
fn from_ftp_scripts(seeds: &mut Seeds) {
    for script in crate::ftp::scripts::scripts() {
        let happenings: Vec<_> = script.steps.iter().map(|step| step.given.clone()).collect();
        let conversation = ftp_gate::Conversation { settings: script.settings, happenings };
        seeds.insert(("gate_ftp", script.name.clone()), conversation.write());
        for (number, happening) in conversation.happenings.iter().enumerate() {
            let name = |part: usize| format!("{}-{number}-{part}", script.name);
            let (bytes, is_host) = if let ftp_gate::Happening::Client(bytes) = happening {
                (bytes, false)
            } else if let ftp_gate::Happening::Host(bytes) = happening {
                (bytes, true)
            } else {
                continue;
            };
            // The longest line there is room for, in pieces of seven bytes.
            let head = [0xFE | u8::from(is_host), 6];
            seeds.insert(("ftp_line", name(0)), [&head[..], bytes].concat());
            if is_host {
                seeds.insert(("ftp_reply", name(0)), bytes.clone());
            }
            for (part, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let (head, rest) = line.split_at(line.len().min(4));
                if matches!(head, b"PORT" | b"EPRT" | b"227 " | b"229 ") {
                    seeds.insert(("ftp_address", name(part)), rest.trim_ascii_start().to_vec());
                }
                if !is_host {
                    seeds.insert(("ftp_command", name(part)), line.to_vec());
                }
            }
        }
    }
}

/// The seeds that recorded traces give.
fn from_traces(traces: &[Trace]) -> Seeds {
    let mut seeds = Seeds::new();
    for trace in traces {
        let name = trace.name.replace('/', "-");
        for from in [From::Client, From::Host] {
            for (number, stretch) in trace.stretches(from).iter().enumerate() {
                units(&mut seeds, &format!("{name}-{from:?}-{number}"), from, stretch);
            }
        }
        let mut play = Play::new(&settings(), None);
        let mut happenings = Vec::new();
        for chunk in &trace.chunks {
            let Some(bytes) = chunk.bytes.clone() else { continue };
            happenings.push(if chunk.from == From::Host { Happening::Host(bytes) } else { Happening::Client(bytes) });
            play.happen(&happenings[happenings.len() - 1]);
            if play.asked() {
                happenings.push(Happening::Admit);
                play.happen(&Happening::Admit);
            }
        }
        seeds.insert(("gate_tn5250", name), Conversation { settings: settings(), happenings }.write());
    }
    seeds
}

fn write(folder: &Path, seeds: &Seeds) {
    for ((target, name), bytes) in seeds {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn seeds_are_those_of_the_scripts() {
    let seeds = from_scripts();
    let kept = root().join("fuzz/corpus");
    if let Some(folder) = std::env::var_os("SALLYPORT_SEEDS") {
        let folder = root().join(folder);
        for (target, _) in CHECKS {
            let _ = std::fs::remove_dir_all(folder.join(target));
        }
        write(&folder, &seeds);
        if folder != kept
            && let Some(traces) = traces()
        {
            write(&folder, &from_traces(&trace::read(&traces)));
        }
    }
    let mut found = 0;
    for (target, _) in CHECKS {
        for entry in std::fs::read_dir(kept.join(target)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(seeds.get(&(target, name.clone())) == Some(&bytes), "{target}/{name} is not what the scripts give");
            found += 1;
        }
    }
    assert_eq!(found, seeds.len(), "seeds are missing: write them anew");
}

#[test]
fn seeds_pass_every_check() {
    for ((target, name), bytes) in from_scripts() {
        let check = CHECKS.iter().find(|check| check.0 == target).unwrap().1;
        assert!(std::panic::catch_unwind(|| check(&bytes)).is_ok(), "{target}/{name}");
    }
}

/// These are kept as they are: no script speaks RADIUS.
#[test]
fn seeds_of_radius_packets_pass() {
    let mut parsed = 0;
    let entries: Vec<_> = std::fs::read_dir(root().join("fuzz/corpus/radius")).unwrap().map(Result::unwrap).collect();
    for entry in &entries {
        let bytes = std::fs::read(entry.path()).unwrap();
        // Cut and bent as well.
        for end in 0..=bytes.len() {
            sallyport_fuzz::radius(&bytes[..end]);
        }
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0xff;
            sallyport_fuzz::radius(&bent);
        }
        parsed += usize::from(sallyport_fuzz::radius::packet::parse(&bytes).is_some());
    }
    assert_eq!((entries.len(), parsed), (10, 7));
}

#[test]
fn traces_pass_every_check() {
    let Some(folder) = traces() else {
        return skip("corpus", "no recorded traces; set SALLYPORT_TRACES to their folder");
    };
    for ((target, name), bytes) in from_traces(&trace::read(&folder)) {
        let check = CHECKS.iter().find(|check| check.0 == target).unwrap().1;
        assert!(std::panic::catch_unwind(|| check(&bytes)).is_ok(), "{target}/{name}");
    }
}

#[test]
fn ftp_conversations_survive_their_encoding() {
    for script in crate::ftp::scripts::scripts() {
        let happenings = script.steps.iter().map(|step| step.given.clone()).collect();
        let written = ftp_gate::Conversation { settings: script.settings, happenings }.write();
        assert_eq!(ftp_gate::Conversation::parse(&written).write(), written, "{}", script.name);
    }
}

#[test]
fn conversations_survive_their_encoding() {
    for script in script::read(&root().join("tests/scripts/tn5250")) {
        let written = conversation(&script).write();
        assert_eq!(Conversation::parse(&written).write(), written, "{}", script.name);
    }
}
