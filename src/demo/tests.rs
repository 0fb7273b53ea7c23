//! The simulated host and our terminal against each other: each was written from the protocol, not from the other.

use std::time::Duration;

use proxy_tn5250::input::Aid;
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Happening, Host, HostSettings, Layout, Place, Query};
use crate::terminal::{Key, Options, Session};

const PASSWORD: &str = "Garden";

struct Bench {
    session: Session<DuplexStream>,
    journal: UnboundedReceiver<Happening>,
}

impl Bench {
    fn new(settings: HostSettings, options: Options) -> Self {
        let (sender, journal) = unbounded_channel();
        let settings = HostSettings { journal: Some(sender), ..settings }.with_account("anna", PASSWORD);
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(Host::new(settings).session(far));
        Self { session: Session::new(near, options, Duration::from_secs(10)), journal }
    }

    async fn sign_on(&mut self, password: &str) {
        self.session.wait_for_screen().await.unwrap();
        self.session.fill("anna").unwrap();
        self.session.type_text(password).unwrap();
        self.session.press(Aid::ENTER).await.unwrap();
    }

    async fn choose(&mut self, text: &str) {
        self.session.type_text(text).unwrap();
        self.session.press(Aid::ENTER).await.unwrap();
    }

    async fn shows(&mut self, text: &str) {
        if let Err(error) = self.session.wait_for_text(text).await {
            panic!("{text:?}: {error}\n{}", self.session.screen_text());
        }
    }

    async fn happened(&mut self, wanted: impl Fn(&Happening) -> bool) {
        loop {
            let happening = tokio::time::timeout(Duration::from_secs(10), self.journal.recv()).await.unwrap();
            if wanted(&happening.expect("the host ended")) {
                return;
            }
        }
    }
}

fn key(number: u8) -> Aid {
    Aid::function_key(number).unwrap()
}

#[tokio::test]
async fn sign_on_retry_and_sign_off() {
    let mut bench = Bench::new(HostSettings::default(), Options::default());
    bench.sign_on("wrong").await;
    bench.shows("CPF1107").await;
    assert!(bench.session.screen_text().contains("ANNA"), "the user's name comes back");
    // The user's field was not modified: the retry carries the password alone.
    bench.session.key(Key::Tab).await.unwrap();
    bench.choose(PASSWORD).await;
    bench.shows("Simulated Main Menu").await;
    assert!(bench.session.screen_text().contains("Signed on as ANNA at display QPADEV0001"));
    assert_eq!(bench.session.client().startup().unwrap().code, "I902");
    bench.choose("90").await;
    bench.shows("Simulated Sign On").await;
    bench.happened(|happening| *happening == Happening::Refused { user: "ANNA".into() }).await;
    bench.happened(|happening| *happening == Happening::SignedOn { user: "ANNA".into() }).await;
    bench.happened(|happening| *happening == Happening::SignedOff { user: "ANNA".into() }).await;
}

#[tokio::test]
async fn every_shape_of_the_host_can_be_signed_on_to() {
    let plain = HostSettings::default;
    for settings in [
        HostSettings { password_length: 128, ..plain() },
        HostSettings { layout: Layout::Custom, ..plain() },
        HostSettings { layout: Layout::Custom, password_length: 128, clears: false, ..plain() },
        HostSettings { clears: false, ..plain() },
        HostSettings { query: Query::Never, ..plain() },
        HostSettings { query: Query::Often, ..plain() },
        HostSettings { delay: Duration::from_millis(20), timing_mark: Some(Duration::from_millis(5)), ..plain() },
    ] {
        for options in [Options::default(), Options::wide()] {
            let mut bench = Bench::new(settings.clone(), options);
            bench.sign_on("no").await;
            bench.shows("CPF1107").await;
            bench.session.key(Key::Tab).await.unwrap();
            bench.choose(PASSWORD).await;
            bench.shows("Simulated Main Menu").await;
            assert!(!bench.session.screen_text().contains("Password"), "{}", bench.session.screen_text());
        }
    }
}

#[tokio::test]
async fn long_passwords_have_a_case() {
    let settings = HostSettings { password_length: 128, ..HostSettings::default() };
    let mut bench = Bench::new(settings, Options::default());
    bench.sign_on("GARDEN").await;
    bench.shows("CPF1107").await;
}

#[tokio::test]
async fn pages_of_both_sizes_a_panel_and_a_hidden_field() {
    let mut bench = Bench::new(HostSettings::default(), Options::wide());
    bench.sign_on(PASSWORD).await;
    bench.shows("Simulated Main Menu").await;
    bench.choose("1").await;
    bench.shows("27 rows and 132 columns").await;
    assert_eq!(bench.session.display().screen().columns(), 132);
    bench.session.press(key(3)).await.unwrap();
    bench.shows("Simulated Main Menu").await;
    assert_eq!(bench.session.display().screen().columns(), 80);

    bench.choose("2").await;
    bench.shows("A panel over the menu").await;
    assert!(bench.session.screen_text().contains("Simulated Main Menu"), "the menu is still there");
    bench.choose("Hello").await;
    bench.shows("Remark: Hello").await;
    assert!(!bench.session.screen_text().contains("A panel over the menu"));

    bench.choose("3").await;
    bench.shows("Secret word").await;
    bench.session.fill("anna").unwrap();
    bench.session.type_text("sesame").unwrap();
    assert!(!bench.session.screen_text().contains("sesame"));
    bench.session.press(Aid::ENTER).await.unwrap();
    bench.shows("Logged in").await;
    bench.session.press(Aid::ENTER).await.unwrap();
    bench.shows("Simulated Main Menu").await;

    bench.choose("4").await;
    bench.shows("The message light is on").await;
    assert!(bench.session.display().message_light());
}

#[tokio::test]
async fn a_narrow_terminal_is_not_sent_the_wide_display() {
    let mut bench = Bench::new(HostSettings::default(), Options::default());
    bench.sign_on(PASSWORD).await;
    bench.shows("Simulated Main Menu").await;
    bench.choose("1").await;
    bench.shows("24x80 only").await;
}

#[tokio::test]
async fn system_request_has_a_second_job_with_its_own_sign_on() {
    let mut bench = Bench::new(HostSettings::default(), Options::default());
    bench.sign_on(PASSWORD).await;
    bench.shows(", first job.").await;
    // What was keyed is still there when the display comes back.
    bench.session.type_text("kept").unwrap();
    bench.session.key(Key::SystemRequest(String::new())).await.unwrap();
    bench.shows("Simulated System Request").await;
    bench.session.press(key(12)).await.unwrap();
    bench.shows("===> kept").await;

    bench.session.key(Key::SystemRequest("1".into())).await.unwrap();
    bench.shows("Second job of this display").await;
    bench.sign_on(PASSWORD).await;
    bench.shows(", second job.").await;
    bench.session.key(Key::SystemRequest(String::new())).await.unwrap();
    bench.shows("Simulated System Request").await;
    bench.choose("1").await;
    bench.shows("===> kept").await;
    assert!(bench.session.screen_text().contains(", first job."));
    bench.session.key(Key::SystemRequest("90".into())).await.unwrap();
    bench.shows(", second job.").await;
    bench.choose("90").await;
    bench.shows("Simulated Sign On").await;
}

#[tokio::test]
async fn attention_saves_and_restores() {
    let mut bench = Bench::new(HostSettings::default(), Options::wide());
    bench.sign_on(PASSWORD).await;
    bench.shows("Simulated Main Menu").await;
    bench.choose("1").await;
    bench.shows("27 rows and 132 columns").await;
    bench.session.type_text("wide and kept").unwrap();
    bench.session.key(Key::Attention).await.unwrap();
    bench.shows("Attention was pressed").await;
    bench.session.press(Aid::ENTER).await.unwrap();
    bench.shows("===>  wide and kept").await;
    assert_eq!(bench.session.display().screen().columns(), 132);
    bench.session.press(Aid::ENTER).await.unwrap();
    bench.shows("Simulated Main Menu").await;
}

#[tokio::test]
async fn auto_sign_on_goes_past_the_display_and_falls_back_to_it() {
    let options = Options::default().with_variable("USER", b"anna").with_variable("IBMRSEED", b"");
    let right = options.clone().with_variable("IBMSUBSPW", PASSWORD.as_bytes());
    let mut bench = Bench::new(HostSettings::default(), right);
    bench.shows("Signed on as ANNA").await;
    bench.happened(|happening| matches!(happening, Happening::SignedOn { .. })).await;

    let wrong = options.with_variable("IBMSUBSPW", b"no");
    let mut bench = Bench::new(HostSettings::default(), wrong);
    bench.shows("Simulated Sign On").await;
    assert_eq!(bench.session.client().startup().unwrap().code, "I906");
}

#[tokio::test]
async fn a_device_in_use_is_asked_for_again() {
    let settings = HostSettings { busy: vec!["DSP01".into()], ..HostSettings::default() };
    let options = Options { device: Some("DSP01".into()), ..Options::default() };
    let mut bench = Bench::new(settings, options);
    bench.shows("DSP011").await;
    bench.happened(|happening| matches!(happening, Happening::Connected { device, .. } if device == "DSP011")).await;
}

#[tokio::test]
async fn other_terminals_are_told_so_and_printers_see_nothing() {
    let mut bench =
        Bench::new(HostSettings::default(), Options { terminal_type: "VT220".into(), ..Options::default() });
    bench.session.wait_for_close().await.unwrap();
    let printer = Options { terminal_type: "IBM-3812-1".into(), ..Options::default() };
    let mut bench = Bench::new(HostSettings::default(), printer);
    let shown = tokio::time::timeout(Duration::from_millis(300), bench.session.wait_for_screen()).await;
    assert!(shown.is_err(), "nothing is shown, and the connection stays");
    assert_eq!(bench.session.client().startup().unwrap().code, "I902");
    assert_eq!(bench.session.display().records(), 0);
}

#[tokio::test]
async fn five_wrong_passwords_end_the_connection() {
    let mut bench = Bench::new(HostSettings::default(), Options::default());
    for _ in 0..4 {
        bench.sign_on("no").await;
        bench.shows("CPF1107").await;
    }
    bench.sign_on("no").await;
    bench.session.wait_for_close().await.unwrap();
    bench.happened(|happening| *happening == Happening::Ended).await;
}

#[tokio::test]
async fn keys_are_told_with_their_place() {
    let mut bench = Bench::new(HostSettings::default(), Options::default());
    bench.sign_on(PASSWORD).await;
    bench.happened(|happening| *happening == Happening::Keyed { place: Place::SignOn, aid: Aid::ENTER.0 }).await;
}
