//! The invariants I1 to I8 over generated conversations, and the screen that a user is left with.

use proptest::prelude::*;
use proxy_tn5250::screen::Screen;
use proxy_tn5250::{record, telnet};
use sallyport_fuzz::events::{Done, Happening, Play, settings};
use sallyport_fuzz::watch::SECRETS;

use crate::support::{root, script};

/// What both sides may say, well-formed or not.
const CLIENT: [&str; 20] = [
    "@signon(ANNA,GEHEIM)",
    "@signon(BOB,SCHLUESSEL)",
    "@retry(GEHEIM)",
    "@passcode(731942)",
    "@passcode(000000)",
    "@enter",
    "@f3",
    "@f5",
    "@clear",
    "@system-request(1)",
    "@attention",
    "@query-reply",
    "@save-reply",
    "@cancel-acknowledge",
    "@command(CALL PGM)",
    "@ttype(IBM-3179-2)",
    "@environ(@var(USER,ANNA) @no-seed @uservar(IBMSUBSPW,GEHEIM))",
    "@signon-program(ANNA,GEHEIM,QCMD)",
    "@wont-timing-mark",
    "0012 12A0",
];
const HOST: [&str; 17] = [
    "@form",
    "@form",
    "@form-refused(ANNA)",
    "@custom-form",
    "@login-panel",
    "@menu",
    "@menu",
    "@overlay",
    "@wide-menu",
    "@message",
    "@query",
    "@light-on",
    "@cancel-invite",
    "@save",
    "@restore",
    "@timing-mark",
    "@startup",
];

fn happening() -> impl Strategy<Value = Happening> {
    let words = script::words(&root().join("tests/scripts/tn5250"));
    let of = |texts: &[&str]| {
        let all: Vec<Vec<u8>> = texts.iter().map(|text| script::bytes(text, &words, "property")).collect();
        proptest::sample::select(all)
    };
    prop_oneof![
        8 => of(&CLIENT).prop_map(Happening::Client),
        8 => of(&HOST).prop_map(Happening::Host),
        3 => Just(Happening::Admit),
        2 => Just(Happening::Challenge(None)),
        1 => Just(Happening::Refuse(policy::Notice::Refused)),
        1 => (1..400_u64).prop_map(|seconds| Happening::Time(std::time::Duration::from_secs(seconds))),
        1 => Just(Happening::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// I1 to I6 and I8 are watched while it is played; I7 is the comparison.
    #[test]
    fn any_conversation_keeps_the_invariants(
        happenings in proptest::collection::vec(happening(), 1..30),
        code_first: bool,
        challenge: bool,
        pieces in 1..50_usize,
    ) {
        let mut settings = settings();
        if code_first {
            settings.order = proxy_tn5250::gate::Order::CodeFirst;
        }
        if challenge {
            settings.auto_sign_on = proxy_tn5250::gate::AutoSignOn::Challenge;
        }
        let (mut whole, mut cut) = (Play::new(&settings, None), Play::new(&settings, Some(pieces)));
        for happening in &happenings {
            // A guard answers when it is asked; a verdict out of turn has tests of its own.
            if happening.verdict().is_some() && !whole.asked() {
                continue;
            }
            let (one, other) = (whole.happen(happening), cut.happen(happening));
            prop_assert_eq!(&one, &other, "pieces of {} change what the gate does", pieces);
            for done in one {
                if let Done::Tell(text) = done {
                    for secret in SECRETS {
                        prop_assert!(!text.contains(secret), "I8: a report tells a secret");
                    }
                }
            }
        }
    }

    /// I6: a verdict that nobody asked for closes, in whichever state.
    #[test]
    fn an_unasked_verdict_closes(happenings in proptest::collection::vec(happening(), 0..12)) {
        let mut play = Play::new(&settings(), None);
        for happening in &happenings {
            if happening.verdict().is_none() || play.asked() {
                play.happen(happening);
            }
        }
        if !play.asked() {
            let done = play.happen(&Happening::Admit);
            // A connection that is over, or says farewell, has nothing left to close.
            let over = done.is_empty();
            // A password that is with the host counts, however the connection ends.
            let closed = match done.as_slice() {
                [Done::Close(_)] => true,
                [Done::Tell(told), Done::Close(_)] => told.starts_with("abandoned "),
                _ => false,
            };
            prop_assert!(over || closed, "{:?}", done);
        }
    }
}

/// The screen that a client ends up with, drawn by everything that reached it.
fn drawn(records: impl IntoIterator<Item = bytes::Bytes>) -> Screen {
    let mut screen = Screen::new();
    for wire in records {
        let content = telnet::unescape(&wire);
        if let Ok(record) = record::parse(&content) {
            screen.apply_data(record.data).unwrap();
        }
    }
    screen
}

/// After release the client's screen is what a direct connection would show, whether the host clears the screen or not.
#[test]
fn the_screen_after_release_is_the_direct_one() {
    let words = script::words(&root().join("tests/scripts/tn5250"));
    let bytes = |text: &str| script::bytes(text, &words, "screen");
    for shown in ["@menu", "@overlay", "@wide-menu", "@message @overlay", "@menu @overlay", "@login-panel"] {
        let host: Vec<Vec<u8>> = shown.split(' ').map(&bytes).collect();
        for prompted in [false, true] {
            let mut play = Play::new(&settings(), None);
            let mut through = Vec::new();
            let mut happen = |play: &mut Play, happening: Happening| {
                for done in play.happen(&happening) {
                    if let Done::ToClient(wire) = done {
                        through.push(wire);
                    }
                }
            };
            happen(&mut play, Happening::Host(bytes("@form")));
            happen(&mut play, Happening::Client(bytes("@signon(ANNA,GEHEIM)")));
            for record in &host {
                happen(&mut play, Happening::Host(record.clone()));
            }
            if prompted {
                happen(&mut play, Happening::Challenge(None));
                happen(&mut play, Happening::Client(bytes("@passcode(731942)")));
            }
            happen(&mut play, Happening::Admit);
            let through = drawn(through);
            let direct = drawn(std::iter::once(bytes("@form")).chain(host.clone()).map(bytes::Bytes::from));
            assert_eq!((through.rows(), through.columns()), (direct.rows(), direct.columns()), "{shown}");
            // What the operator keyed stands on the screen of a direct connection, too, but not in what the host drew.
            let keyed = [direct.address_of(6, 53).unwrap(), direct.address_of(7, 53).unwrap()];
            let cells = |screen: &Screen| {
                let mut cells = screen.cells().to_vec();
                for (at, cell) in cells.iter_mut().enumerate() {
                    if keyed.iter().any(|&from| (from..from + 10).contains(&u16::try_from(at).unwrap())) {
                        *cell = 0;
                    }
                }
                cells
            };
            assert_eq!(cells(&through), cells(&direct), "{shown}, prompted: {prompted}");
            let fields = |screen: &Screen| {
                screen
                    .fields()
                    .iter()
                    .map(|field| (field.address, field.length, field.ffw & !0x0800))
                    .collect::<Vec<_>>()
            };
            assert_eq!(fields(&through), fields(&direct), "{shown}, prompted: {prompted}");
        }
    }
}
