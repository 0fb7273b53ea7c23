//! Recorded conversations of real hosts and clients: every byte is understood and written back.

use bytes::{Bytes, BytesMut};
use proxy_tn5250::telnet::{self, Frame, Splitter, Unit, option};
use proxy_tn5250::{display, environ, input, record};

use sallyport_fuzz::events::{self, Done, Happening, Play};

use crate::support::trace::{self, From, Trace};
use crate::support::{root, script, skip, traces};

/// The traces, or a line that says why not.
fn recorded(test: &str) -> Vec<Trace> {
    let Some(folder) = traces() else {
        skip(test, "no recorded traces; set SALLYPORT_TRACES to their folder");
        return Vec::new();
    };
    trace::read(&folder)
}

/// Cuts a stream into units, given in pieces of `size`; asserts that nothing is lost or changed.
fn split(name: &str, stream: &[u8], size: usize) -> Vec<Frame> {
    let (mut splitter, mut buffer, mut frames) = (Splitter::new(), BytesMut::new(), Vec::new());
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = splitter.take(&mut buffer).unwrap_or_else(|error| panic!("{name}: {error}")) {
            frames.push(frame);
        }
    }
    let taken: Vec<u8> = frames.iter().flat_map(|frame| frame.wire.clone()).chain(buffer).collect();
    assert!(taken == stream, "{name}: pieces of {size} lose or change bytes");
    frames
}

#[test]
fn every_stream_splits_the_same_way_however_it_comes() {
    for trace in recorded("traces") {
        for from in [From::Client, From::Host] {
            for stretch in trace.stretches(from) {
                let whole = split(&trace.name, &stretch, stretch.len());
                for size in [1, 2, 3, 7, 40, 512] {
                    assert_eq!(whole, split(&trace.name, &stretch, size), "{}: pieces of {size}", trace.name);
                }
            }
        }
    }
}

#[test]
fn every_unit_is_written_back_byte_for_byte() {
    let (mut records, mut displays, mut inputs) = (0, 0, 0);
    let recorded = recorded("traces");
    for trace in recorded.iter().filter(|trace| trace.is_5250()) {
        for from in [From::Client, From::Host] {
            let frames =
                trace.stretches(from).into_iter().flat_map(|stretch| split(&trace.name, &stretch, stretch.len()));
            for frame in frames {
                match &frame.unit {
                    Unit::Record { .. } => {
                        records += 1;
                        let place = format!("{} record {records}", trace.name);
                        match from {
                            From::Host => displays += usize::from(host_record(&place, &frame.wire)),
                            From::Client => inputs += usize::from(client_record(&place, &frame.wire)),
                        }
                    }
                    Unit::Negotiation { verb, option } => {
                        assert_eq!(telnet::write_negotiation(*verb, *option), frame.wire);
                    }
                    Unit::Subnegotiation { option, body } => subnegotiation(&trace.name, *option, body, &frame.wire),
                    Unit::Command(_) => {}
                }
            }
        }
    }
    if !recorded.is_empty() {
        println!("{records} records, {displays} with a data stream from the host, {inputs} with input");
        assert!(records > 100 && displays > 40 && inputs > 20);
    }
}

/// Records of the RFC whose length field is not their length: a misprint there, and refused here.
fn is_misprint(content: &[u8]) -> bool {
    content.len() > 2 && usize::from(u16::from_be_bytes([content[0], content[1]])) != content.len()
}

/// Checks a record from the host; whether it had a data stream.
fn host_record(place: &str, wire: &[u8]) -> bool {
    let content = telnet::unescape(wire);
    assert_eq!(telnet::write_record(&content), Bytes::copy_from_slice(wire), "{place}");
    if is_misprint(&content) {
        assert!(record::parse(&content).is_err(), "{place}: a wrong length is refused");
        return false;
    }
    let record = record::parse(&content).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(record.write(), content.as_ref(), "{place}");
    if record.is_startup() {
        let startup = record::startup(&record).unwrap_or_else(|| panic!("{place}: a start-up record"));
        assert!(startup.code.starts_with(['I', '8']), "{place}: {startup:?}");
        return false;
    }
    if record.is_printer() || record.data.is_empty() {
        return false;
    }
    let tokens = display::parse(record.data).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(display::write(&tokens), record.data, "{place}");
    true
}

/// Checks a record from a client; whether it had input.
fn client_record(place: &str, wire: &[u8]) -> bool {
    let content = telnet::unescape(wire);
    if is_misprint(&content) {
        assert!(record::parse(&content).is_err(), "{place}: a wrong length is refused");
        return false;
    }
    let record = record::parse(&content).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(record.write(), content.as_ref(), "{place}");
    if record.data.is_empty() || !record.flags.is_empty() || record.is_printer() || input::is_save_reply(record.data) {
        return false;
    }
    let input = input::parse(record.data).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(input.write(), record.data, "{place}");
    true
}

fn subnegotiation(name: &str, number: u8, body: &[u8], wire: &Bytes) {
    assert_eq!(telnet::write_subnegotiation(number, body), *wire, "{name}");
    if number == option::NEW_ENVIRON {
        let parsed = environ::parse(body).unwrap_or_else(|error| panic!("{name}: {error}"));
        // What is understood survives writing and reading; clients that break the escape rules are read as they mean it.
        let again = environ::parse(&parsed.write()).unwrap();
        assert_eq!(again.write(), parsed.write(), "{name}");
    }
}

/// Plays a trace through a gate whose guard admits at once: what the client gets, and every close.
fn through_the_gate(trace: &Trace) -> (Vec<u8>, Vec<&'static str>) {
    let words = script::words(&root().join("tests/scripts/tn5250"));
    let mut play = Play::new(&events::settings(), None);
    let (mut to_client, mut closes) = (Vec::new(), Vec::new());
    let mut keep = |done: Vec<Done>| {
        for done in done {
            match done {
                Done::ToClient(bytes) => to_client.extend(bytes),
                Done::Close(why) => closes.push(why),
                Done::ToHost(_) | Done::Ask(_) | Done::Tell(_) => {}
            }
        }
    };
    for chunk in &trace.chunks {
        let happening = match (&chunk.bytes, chunk.from) {
            (Some(bytes), From::Client) => Happening::Client(bytes.clone()),
            (Some(bytes), From::Host) => Happening::Host(bytes.clone()),
            // The publisher took the client's bytes out: at the form it was a sign-on, and ours will do.
            (None, From::Client) => Happening::Client(script::bytes("@custom-signon(ANNA,GEHEIM)", &words, "masked")),
            (None, From::Host) => continue,
        };
        keep(play.happen(&happening));
        if play.asked() {
            keep(play.happen(&Happening::Admit));
        }
    }
    (to_client, closes)
}

#[test]
fn what_hosts_sent_comes_out_of_the_gate_unchanged() {
    let mut whole = 0;
    for trace in recorded("traces through the gate") {
        // Whole conversations from the first byte on; the others are single records.
        let stretches = trace.stretches(From::Host);
        let conversation = !trace.name.starts_with("inline/") && !trace.name.starts_with("rfc");
        if !conversation || stretches.len() != 1 {
            continue;
        }
        let (to_client, closes) = through_the_gate(&trace);
        if trace.is_5250() {
            assert!(closes.is_empty(), "{}: {closes:?}", trace.name);
            let same = to_client.iter().zip(&stretches[0]).take_while(|(one, other)| one == other).count();
            assert!(to_client == stretches[0], "{}: differs at byte {same} of {}", trace.name, stretches[0].len());
            whole += 1;
        } else {
            assert_eq!(closes, ["forbidden"], "{}: another protocol", trace.name);
        }
    }
    println!("{whole} conversations pass unchanged");
    assert!(whole > 5 || traces().is_none());
}
