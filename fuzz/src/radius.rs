//! Checks of the RADIUS packets: total, bounded, inverse to their writer.

/// The codec itself, which touches nothing: taken in as a file, since the program around it has a runtime.
#[path = "../../src/factor/radius/packet.rs"]
pub mod packet;

use packet::{HEADER, PACKET_MAX, VALUE_MAX};

/// Packets: what parses is written back byte for byte, padding apart, and every attribute lies where it says.
pub fn radius(data: &[u8]) {
    let Some(parsed) = packet::parse(data) else { return };
    assert!(
        (HEADER..=PACKET_MAX).contains(&parsed.bytes.len()) && data.starts_with(parsed.bytes),
        "a packet is bounded"
    );
    let mut at = HEADER;
    for attribute in &parsed.attributes {
        assert_eq!(attribute.at, at + 2, "attributes stand one behind the other");
        assert!(attribute.value.len() <= VALUE_MAX);
        at = attribute.at + attribute.value.len();
        assert_eq!(&parsed.bytes[attribute.at..at], attribute.value);
        assert!(parsed.values(attribute.kind).any(|value| value == attribute.value));
    }
    assert_eq!(at, parsed.bytes.len(), "nothing is left over");
    let attributes: Vec<(u8, &[u8])> = parsed.attributes.iter().map(|one| (one.kind, one.value)).collect();
    let written = packet::write(parsed.code, parsed.identifier, parsed.authenticator, &attributes);
    assert_eq!(written.as_deref(), Some(parsed.bytes), "a packet is written back as it came");
    let mut padded = parsed.bytes.to_vec();
    padded.push(0);
    assert_eq!(packet::parse(&padded).as_ref(), Some(&parsed), "padding is left out");
}
