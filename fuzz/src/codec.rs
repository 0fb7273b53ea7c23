//! Checks of the parsers: total, bounded, inverse to their writers, and blind to how the input is cut.

use bytes::BytesMut;
use proxy_tn5250::ebcdic::CodePage;
use proxy_tn5250::screen::Screen;
use proxy_tn5250::telnet::{self, Frame, Splitter, Unit};
use proxy_tn5250::{display, environ, input, record, signon};

/// What a splitter makes of `data` that comes in pieces of `size`: the frames, and where it gave up.
fn split(data: &[u8], size: usize) -> (Vec<Frame>, Option<proxy_tn5250::Error>, usize) {
    let mut splitter = Splitter::new();
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in data.chunks(size.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match splitter.take(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), buffer.len()),
            }
        }
        assert!(buffer.len() <= telnet::RECORD_MAX + telnet::SUBNEGOTIATION_MAX, "the splitter keeps too much");
    }
    (frames, None, buffer.len())
}

/// The splitter: what it takes is what came in; pieces change nothing; what it makes of a unit can be written back.
pub fn telnet(data: &[u8]) {
    let (frames, error, left) = split(data, data.len());
    let size = 1 + usize::from(data.first().copied().unwrap_or(0) % 40);
    let (cut, cut_error, _) = split(data, size);
    assert_eq!(frames, cut, "pieces of {size} give other frames");
    assert_eq!(error.is_some(), cut_error.is_some(), "pieces of {size} give another end");
    let taken: Vec<u8> = frames.iter().flat_map(|frame| frame.wire.iter().copied()).collect();
    assert!(data.starts_with(&taken), "what was taken is not what came in");
    if error.is_none() {
        assert_eq!(taken.len() + left, data.len(), "bytes were lost");
    }
    for frame in &frames {
        match &frame.unit {
            Unit::Record { embedded } => {
                let content = telnet::unescape(&frame.wire);
                let commands = telnet::embedded(&frame.wire);
                assert_eq!(*embedded, !commands.is_empty(), "embedded commands are told apart");
                if !embedded {
                    assert_eq!(telnet::write_record(&content), frame.wire, "a record is written back as it came");
                }
            }
            Unit::Negotiation { verb, option } => {
                assert_eq!(telnet::write_negotiation(*verb, *option), frame.wire);
            }
            Unit::Subnegotiation { option, body } => {
                assert_eq!(telnet::write_subnegotiation(*option, body), frame.wire);
                if let Ok(kind) = telnet::terminal_type(body) {
                    assert_eq!(kind.write(), body.as_ref());
                }
            }
            Unit::Command(_) => assert!(frame.wire.len() >= 2),
        }
    }
    // Any content makes one record, however many FF it has.
    let wire = telnet::write_record(data);
    let (frames, error, left) = split(&wire, size);
    if data.len() <= telnet::RECORD_MAX / 2 {
        assert!(error.is_none() && left == 0 && frames.len() == 1, "written records are whole records");
        assert_eq!(telnet::unescape(&wire).as_ref(), data);
    }
    let _ = (telnet::mode_of(data), telnet::is_wide(data));
}

/// Records: what parses is written back byte for byte.
pub fn record(data: &[u8]) {
    let Ok(parsed) = record::parse(data) else { return };
    assert_eq!(parsed.write(), data, "a record is written back as it came");
    if let Some(startup) = record::startup(&parsed) {
        assert!(parsed.is_startup());
        let _ = startup;
    }
    let _ = (parsed.is_printer(), format!("{parsed:?}"));
    display(parsed.data);
    input(parsed.data);
}

/// The data stream from the host: parse and write are inverse; any screen can be applied, drawn again and recognised.
pub fn display(data: &[u8]) {
    let mut screen = Screen::new();
    for token in display::Tokens::new(data).take_while(Result::is_ok).flatten() {
        let _ = (token.draws(), token.clears_screen(), token.asks_answer());
        if screen.apply(&token).is_err() {
            break;
        }
    }
    let cells = usize::from(screen.rows()) * usize::from(screen.columns());
    assert_eq!(screen.cells().len(), cells, "the image has the screen's size");
    if screen.is_known() {
        let repaint = screen.repaint();
        let mut again = Screen::new();
        for token in display::parse(&repaint).expect("our own repaint parses") {
            again.apply(&token).expect("our own repaint applies");
        }
        assert_eq!((again.rows(), again.columns()), (screen.rows(), screen.columns()), "repaint keeps the size");
        assert_eq!(again.fields(), screen.fields(), "repaint keeps the format table");
        // What is keyed into a hidden field is left out, and with it whatever a senseless host has lie under the field.
        if !signon::has_hidden_input(&screen) {
            assert_eq!(again.cells(), screen.cells(), "repaint keeps what is shown");
            assert_eq!(again.repaint(), repaint, "a repaint repaints itself");
        }
    }
    let form = signon::find(&screen, &[], CodePage::CP037);
    assert!(form.is_none() || signon::has_hidden_input(&screen), "a form has a hidden field");
    let _ = (signon::sketch(&screen), signon::raw_hidden_field(data));
    if let Ok(tokens) = display::parse(data) {
        assert_eq!(display::write(&tokens), data, "a data stream is written back as it came");
    }
}

/// The data from the terminal: parse and write are inverse; fields lie inside the record.
pub fn input(data: &[u8]) {
    if let Ok(parsed) = input::parse(data) {
        assert_eq!(parsed.write(), data, "input is written back as it came");
        for known in [None, Some(4)] {
            if let Ok(fields) = parsed.modified(|_, _| known) {
                let length: usize = fields.iter().map(|field| field.data.len() + 3).sum();
                assert!(length <= parsed.body.len(), "fields are longer than the record");
            }
        }
        let _ = format!("{parsed:?}");
    }
    let _ = (input::is_query_reply(data), input::is_save_reply(data));
}

/// NEW-ENVIRON: total, and what was written is read back as it was meant.
pub fn environ(data: &[u8]) {
    let Ok(parsed) = environ::parse(data) else { return };
    let written = parsed.write();
    let again = environ::parse(&written).expect("what we write parses");
    assert_eq!(again.write(), written, "writing is stable");
    if let environ::Environ::Is(variables) | environ::Environ::Info(variables) = &parsed {
        for variable in variables {
            let sign_on = environ::is_sign_on(&variable.name);
            assert!(!(sign_on && environ::is_allowed(&variable.name)), "a sign-on variable is never on the allow-list");
        }
    }
}
