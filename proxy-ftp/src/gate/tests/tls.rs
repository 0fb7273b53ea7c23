//! TLS on either side, and what comes through its cracks.

use super::*;

fn offered() -> Settings {
    Settings { client_tls: ClientTls::Offered, ..settings() }
}

#[test]
fn auth_begins_anew() {
    let script = "
        =>C 220 Welcome.
        C USER anna
        =>C 331 Enter password.
        C AUTH GSSAPI
        =>C 504 AUTH TLS only.
        C auth tls
        =>C 234 Begin the TLS handshake.
        =>S Client
        S client
        C PASS hunter2
        =>C 503 Send USER first.
        C AUTH SSL
        =>C 503 TLS is on already.
        C PROT P
        =>C 503 AUTH TLS and PBSZ come first.
        C PBSZ 4096
        =>C 200 PBSZ=0
        C PROT S
        =>C 536 PROT C and P only.
        C PROT X
        =>C 504 PROT C and P only.
        C PROT P
        =>C 200 Data is protected.
        C PROT C
        =>C 200 Data is not protected.
    ";
    play(&offered(), script);
    play(
        &offered(),
        "=>C 220 Welcome.\nC AUTH TLS\n=>C 234 Begin the TLS handshake.\n=>S Client\nT 15\n=>X timed out: the handshake",
    );
}

#[test]
fn whatever_stands_behind_auth_ends_it() {
    // In the same read; what comes later is for the handshake, which it breaks.
    let mut bench = Bench::new(&offered(), CLIENT, usize::MAX);
    bench.play("=>C 220 Welcome.\nC AUTH TLS|USER anna\n=>! Suspicious\n=>C 421 Closing the connection.\n=>X not allowed: bytes behind AUTH before the handshake");
    let mut bench = Bench::new(&offered(), CLIENT, usize::MAX);
    bench.play("=>C 220 Welcome.\nC AUTH TLS\n=>C 234 Begin the TLS handshake.\n=>S Client\nC USER anna\n=>X not allowed: plain bytes before the handshake");
}

#[test]
fn auth_relocks_an_open_gate() {
    let script = "
        C AUTH TLS
        =>H QUIT
        =>HANGUP
        =>C 234 Begin the TLS handshake.
        =>S Client
        S client
        C PWD
        =>C 530 Not logged on.
    ";
    play_open(&offered(), script);
}

#[test]
fn tls_can_be_required() {
    let settings = Settings { client_tls: ClientTls::Required, client_data: ClientData::Private, ..settings() };
    let script = "
        =>C 220 Welcome.
        C USER anna
        =>C 530 AUTH TLS comes first.
        C PASS hunter2
        =>C 530 AUTH TLS comes first.
        C AUTH TLS
        =>C 234 Begin the TLS handshake.
        =>S Client
        S client
    ";
    let logged_on = LOGGED_ON.replace("=>C 220 Welcome.", "");
    let data = "
        C LIST
        =>C 521 PROT P comes first.
        C PBSZ 0
        =>C 200 PBSZ=0
        C PROT C
        =>C 534 PROT P only.
        C PROT P
        =>C 200 Data is protected.
        C LIST
        =>C 425 No data connection.
    ";
    play(&settings, &format!("{script}{logged_on}{data}"));
    let implicit = Settings { client_tls: ClientTls::Implicit, ..settings };
    let script = format!("=>S Client\nS client\n{LOGGED_ON}C LIST\n=>C 425 No data connection.");
    play(&implicit, &script);
}

const LINK: &str = "
    =>C 220 Welcome.
    C USER anna
    =>C 331 Enter password.
    C PASS hunter2
    =>? password ANNA hunter2
    V admit-with hunter2
    =>DIAL
    UP
";

const LOGON: &str = "
    =>H USER anna
    H 331 Enter password.
    =>H PASS hunter2
    H 230 ANNA logged on.
    =>! HostAccepted
    =>H PBSZ 0
    H 200 ok
";

#[test]
fn tls_with_the_host() {
    let explicit = Settings { host_tls: HostTls::Explicit, ..settings() };
    let end = "=>H PROT C\nH 200 ok\n=>C 230 ANNA logged on.";
    let auth = format!("{LINK}H 220 QTCP.\n=>H AUTH TLS\n");
    play(&explicit, &format!("{auth}H 234 go\n=>S Host\nS host\n{LOGON}{end}"));
    let lost = "=>HANGUP\n=>! HostUnavailable\n=>C 421 Server not available.\n=>X host not available: ";
    // Never in the clear instead.
    play(&explicit, &format!("{auth}H 431 not now\n{lost}the host refuses AUTH TLS"));
    play(&explicit, &format!("{auth}H 234 go\n=>S Host\nFAIL\n{lost}no connection"));
    let mut bench = Bench::new(&explicit, CLIENT, usize::MAX);
    bench.play(&format!("{auth}H 234 go|230 in\n{lost}bytes behind the reply to AUTH TLS"));
    let implicit = Settings { host_tls: HostTls::Implicit, ..settings() };
    play(&implicit, &format!("{LINK}=>S Host\nS host\nH 220 QTCP.\n{LOGON}{end}"));
    let always = Settings { host_data: HostData::Always, ..implicit.clone() };
    let start = format!("{LINK}=>S Host\nS host\nH 220 QTCP.\n{LOGON}");
    play(&always, &format!("{start}=>H PROT P\nH 200 ok\n=>C 230 ANNA logged on."));
    play(&always, &format!("{start}=>H PROT P\nH 534 no\n{lost}the host refuses PROT P"));
}

#[test]
fn the_hosts_protection_follows_the_clients() {
    let settings = Settings { client_tls: ClientTls::Offered, host_tls: HostTls::Implicit, ..settings() };
    let secure = "=>C 220 Welcome.\nC AUTH TLS\n=>C 234 Begin the TLS handshake.\n=>S Client\nS client\nC PBSZ 0\n=>C 200 PBSZ=0\n";
    let link = LINK.replace("=>C 220 Welcome.", "");
    // Before the logon it is kept for the host.
    let before = format!(
        "{secure}C PROT P\n=>C 200 Data is protected.\n{link}=>S Host\nS host\nH 220 QTCP.\n{LOGON}=>H PROT P\nH 200 ok\n=>C 230 ANNA logged on.\n"
    );
    let transfer = "
        C EPSV
        =>H EPSV
        H 229 Extended (|||5000|)
        =>D open client listen V4, host connect 10.0.0.2:5000
        D ready c=192.0.2.1:50000
        =>C 229 Extended (|||50000|)
        C RETR f
        =>H RETR f
        H 150 here
        =>C 150 here
        =>D start tls tls to Client
    ";
    play(&settings, &format!("{before}{transfer}"));
    let after = "
        =>H PROT C
        H 200 ok
        =>C 230 ANNA logged on.
        C PROT P
        =>H PROT P
        H 200 ok
        =>C 200 Data is protected.
        C PROT P
        =>C 200 Data is protected.
        C PROT C
        =>H PROT C
        H 522 no
        =>C 522 no
    ";
    let logon = format!("{secure}{link}=>S Host\nS host\nH 220 QTCP.\n{LOGON}");
    play(&settings, &format!("{logon}{after}{transfer}"));
    let never = Settings { host_data: HostData::Never, ..settings };
    let after = "=>H PROT C\nH 200 ok\n=>C 230 ANNA logged on.\nC PROT P\n=>C 200 Data is protected.\n";
    play(&never, &format!("{logon}{after}{}", transfer.replace("tls tls", "tls plain")));
}
