//! Another dissector's opinion: Wireshark's, where it is installed and where it is right.

use std::path::Path;
use std::process::Command;

use bytes::BytesMut;
use proxy_tn5250::telnet::{self, Splitter, Unit};
use proxy_tn5250::{display, record};

use crate::support::trace::{self, From};
use crate::support::{program, skip, traces};

/// What both name of a record: its length and opcode, then commands, orders and buffer addresses in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Length(usize),
    Opcode(u8),
    Command(u8),
    Order(u8),
    Address(u8, u8),
}

/// Reads the text that `tshark -V` prints: one list for each record.
fn theirs(capture: &Path) -> Vec<Vec<Item>> {
    let output = Command::new("tshark").args(["-2", "-V", "-Y", "tn5250", "-r"]).arg(capture).output().unwrap();
    assert!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut records: Vec<Vec<Item>> = Vec::new();
    let mut row = 0;
    let mut in_buffer_address = false;
    for line in text.lines().map(str::trim) {
        let hex = || u8::from_str_radix(line.rsplit_once("0x")?.1.trim_end_matches(')'), 16).ok();
        let number = || line.rsplit_once(": ").and_then(|(_, number)| number.parse::<usize>().ok());
        let item = if line.starts_with("TN5250 Logical Record Length:") {
            records.push(Vec::new());
            number().map(Item::Length)
        } else if line.starts_with("TN5250 Operation Code:") {
            hex().map(Item::Opcode)
        } else if line.starts_with("Command Code:") {
            hex().map(Item::Command)
        } else if line.starts_with("Order Code:") {
            in_buffer_address = line.contains("(SBA)");
            hex().map(Item::Order)
        } else if line.starts_with("Row Address:") && in_buffer_address {
            row = number().unwrap();
            None
        } else if line.starts_with("Column Address:") && in_buffer_address {
            Some(Item::Address(u8::try_from(row).unwrap(), u8::try_from(number().unwrap()).unwrap()))
        } else {
            None
        };
        if let (Some(item), Some(record)) = (item, records.last_mut()) {
            record.push(item);
        }
    }
    records
}

/// The same of our own parser.
fn ours(content: &[u8]) -> Vec<Item> {
    let record = record::parse(content).unwrap();
    let mut items = vec![Item::Length(content.len()), Item::Opcode(record.opcode.0)];
    for token in display::parse(record.data).unwrap() {
        let bytes = display::write(std::slice::from_ref(&token));
        match (&token, bytes.as_slice()) {
            (display::Token::Text(_), _) => {}
            (display::Token::SetBufferAddress { row, column }, _) => {
                items.extend([Item::Order(0x11), Item::Address(*row, *column)]);
            }
            (_, [0x04, command, ..]) => items.push(Item::Command(*command)),
            (_, [order, ..]) => items.push(Item::Order(*order)),
            (_, []) => {}
        }
    }
    items
}

#[test]
fn data_streams_are_dissected_alike() {
    let Some(folder) = traces() else { return skip("tshark", "no recorded traces; set SALLYPORT_TRACES") };
    if program("tshark", "SALLYPORT_TSHARK").is_none() {
        return skip("tshark", "tshark is not installed");
    }
    let mut compared = 0;
    for trace in trace::read(&folder).iter().filter(|trace| trace.is_5250()) {
        let capture = folder.join("pcap").join(format!("{}.pcap", trace.name.replace('/', "-")));
        if !capture.is_file() {
            continue;
        }
        // Wireshark reads start-up records, whose header is longer, as malformed data streams.
        let theirs = theirs(&capture).into_iter().filter(|items| items.first() != Some(&Item::Length(0x49)));
        let theirs: Vec<_> = theirs.collect();
        let mut places = [(Splitter::new(), BytesMut::new()), (Splitter::new(), BytesMut::new())];
        let mut at = 0;
        for chunk in &trace.chunks {
            let Some(bytes) = &chunk.bytes else { continue };
            let (splitter, buffer) = &mut places[usize::from(chunk.from == From::Host)];
            buffer.extend_from_slice(bytes);
            while let Some(frame) = splitter.take(buffer).unwrap() {
                let content = telnet::unescape(&frame.wire);
                if !matches!(frame.unit, Unit::Record { .. }) || content.len() == 0x49 {
                    continue;
                }
                let their = theirs.get(at).unwrap_or_else(|| panic!("{}: tshark sees {at} records only", trace.name));
                at += 1;
                assert_eq!(their[0], Item::Length(content.len()), "{}: record {at}", trace.name);
                // What a terminal sends, Wireshark takes for a data stream of the host's.
                if chunk.from == From::Host {
                    assert_eq!(their, &ours(&content), "{}: record {at}", trace.name);
                    compared += 1;
                }
            }
        }
        assert_eq!(at, theirs.len(), "{}: tshark sees more records", trace.name);
    }
    println!("{compared} records of hosts are dissected alike");
    assert!(compared > 10, "hardly a record was compared");
}
