//! Data connections, transfers, and what interrupts them.

use super::*;

/// A client in passive mode, ready to transfer.
const READY: &str = "
    C PASV
    =>H PASV
    H 227 Entering Passive Mode (10,0,0,2,40,0).
    =>D open client listen V4, host connect 10.0.0.2:10240
    D ready c=192.0.2.1:50000
    =>C 227 Entering Passive Mode (192,0,2,1,195,80).
";

const DOWNLOAD: &str = "
    C RETR f
    =>H RETR f
    H 150 Retrieving (1024 bytes).
    =>C 150 Retrieving (1024 bytes).
    =>D start plain plain to Client
";

fn ready(script: &str) {
    play_open(&settings(), &format!("{READY}{script}"));
}

fn download(script: &str) {
    ready(&format!("{DOWNLOAD}{script}"));
}

#[test]
fn a_download_is_done_when_it_is_delivered() {
    download("H 226 done\n=>D finish\nD ended clean\n=>C 226 done\nC PWD\n=>H PWD");
    download("D ended clean\nH 250 done\n=>C 250 done\nC RETR g\n=>C 425 No data connection.");
    // The next command waits for it.
    download("C PWD\nH 226 done\n=>D finish\nD ended clean\n=>C 226 done\n=>H PWD");
    // A host that leaves out its first word.
    ready("C LIST\n=>H LIST\nH 226 done\n=>D start plain plain to Client\n=>D finish\nD ended clean\n=>C 226 done");
    ready(
        "C LIST\n=>H LIST\nH 125-NAMEFMT set to 1.|125 List started.\n=>C 125-NAMEFMT set to 1.\n=>C 125 List started.\n=>D start plain plain to Client",
    );
}

#[test]
fn a_cut_download_is_never_226() {
    let cut = "=>C 426 The data connection was cut; the transfer is not complete.";
    download(&format!("H 226 done\n=>D finish\nD ended cut\n{cut}\nC PWD\n=>H PWD"));
    download(&format!("H 226 done\n=>D finish\nD failed client\n{cut}"));
    download(&format!("D ended cut\nH 226 done\n{cut}\nC PWD\n=>H PWD"));
    download("D ended cut\nH 451 disk\n=>C 451 disk\nC PWD\n=>H PWD");
    download("H 426 broken\n=>D abort\n=>C 426 broken\nD ended cut\nC PWD\n=>H PWD");
    // The host may take its time, but not for ever; then its word is nobody's.
    download(&format!("D ended cut\nC PWD\nT 30\n{cut}\nH 226 done\n=>H PWD\nH 257 x\n=>C 257 x"));
    ready("C RETR f\n=>H RETR f\nD failed client\nT 30\n=>C 425 No data connection.\nH 425 no");
    download(&format!(
        "D ended cut\nT 30\n{cut}\nT 3600\n=>C 421 Server not available.\n=>X timed out: the host's reply"
    ));
}

#[test]
fn uploads() {
    let script = "
        C STOR f
        =>H STOR f
        H 150 go
        =>C 150 go
        =>D start plain plain to Host
        D ended clean
        H 226 stored
        =>C 226 stored
    ";
    ready(script);
    ready(
        "C APPE f\n=>H APPE f\nH 150 go\n=>C 150 go\n=>D start plain plain to Host\nH 552 full\n=>D abort\n=>C 552 full\nC PWD\n=>H PWD",
    );
}

#[test]
fn unused_data_connections_are_closed() {
    ready("C RETR f\n=>H RETR f\nH 550 none\n=>D abort\n=>C 550 none\nC RETR f\n=>C 425 No data connection.");
    ready("D failed client\nC RETR f\n=>C 425 No data connection.\nC PWD\n=>H PWD");
    ready("C ABOR\n=>D abort\n=>H ABOR\nH 226 nothing\n=>C 226 nothing");
    ready("C PASV\n=>D abort\n=>H PASV");
    play_open(&settings(), "C RETR f\n=>C 425 No data connection.");
    // Nobody came in time: the host would empty the file before anybody knew.
    ready("D ended cut\nC STOR f\n=>C 425 No data connection.");
}

#[test]
fn aborts() {
    let cut = "=>C 426 The data connection was cut; the transfer is not complete.";
    let abort = "C ABOR\n=>H ABOR\n=>D abort\n";
    download(&format!("{abort}H 426 aborted\n=>C 426 aborted\nH 226 ok\n=>C 226 ok\nC PWD\n=>H PWD"));
    download(&format!("{abort}D ended cut\nH 426 aborted|226 ok\n=>C 426 aborted\n=>C 226 ok\nC PWD\n=>H PWD"));
    // Done, but not delivered.
    download(&format!("{abort}H 226 done\n{cut}\nH 225 nothing to abort\n=>C 225 nothing to abort\nC PWD\n=>H PWD"));
    // One word for both.
    download(&format!("{abort}H 226 closed\n{cut}\nC PWD\nT 5\n=>C 226 closed\n=>H PWD"));
    download(&format!("{abort}H 426 aborted\n=>C 426 aborted\nT 5\nC PWD\n=>H PWD"));
    // The host was done already.
    download(&format!("H 226 done\n=>D finish\n{abort}{cut}\nH 226 nothing\n=>C 226 nothing\nC PWD\n=>H PWD"));
    // A host that does not know the word.
    download(&format!("{abort}H 502 what?\n=>C 502 what?\nH 426 cut\n=>C 426 cut\nC PWD\n=>H PWD"));
    // What comes late is not taken for the next command's.
    let late = "=>C 426 aborted\nT 5\nC DELE f\n=>H DELE f\nH 226 late\nH 550 none\n=>C 550 none\n";
    download(&format!("{abort}H 426 aborted\n{late}C ABOR\n=>H ABOR\nH 226 nothing\n=>C 226 nothing"));
    let again = "C PASV\n=>H PASV\nH 225 late\nH 227 Entering Passive Mode (10,0,0,2,40,0).\n\
                 =>D open client listen V4, host connect 10.0.0.2:10240\nD ready c=192.0.2.1:50000\n\
                 =>C 227 Entering Passive Mode (192,0,2,1,195,80).";
    download(&format!("{abort}H 426 aborted\n=>C 426 aborted\nT 5\n{again}"));
    // Nor is anything missed where the host said it in one word.
    download(&format!(
        "{abort}H 226 closed\n{cut}\nT 5\n=>C 226 closed\nC PWD\n=>H PWD\nH 257 x\n=>C 257 x\nC X\n=>H X\nH 226 y\n=>C 226 y"
    ));
    // One that says nothing at all.
    download(&format!("{abort}T 30\n{cut}\nH 426 late\nH 226 later\nC PWD\n=>H PWD"));
}

#[test]
fn every_word_that_is_owed_is_waited_for() {
    let cut = "=>C 426 The data connection was cut; the transfer is not complete.";
    let asked = "C NOOP\n=>H NOOP\nD ended cut\nT 30\n";
    download(&format!("{asked}{cut}\nC DELE f\nH 426 late\nH 200 still here\n=>H DELE f\nH 550 none\n=>C 550 none"));
    let abort = "C STAT\n=>H STAT\nC ABOR\n=>H ABOR\n=>D abort\n";
    download(&format!(
        "{abort}T 30\n{cut}\nC DELE f\nH 211 busy\nH 426 late\n=>H DELE f\nH 226 later\nH 550 none\n=>C 550 none"
    ));
    // The end was told, and a question is still open.
    let done = "C NOOP\n=>H NOOP\nD ended clean\nH 226 done\n=>C 226 done\nT 30\n";
    download(&format!("{done}C DELE f\nH 200 late\n=>H DELE f\nH 550 none\n=>C 550 none"));
}

#[test]
fn a_goodbye_behind_a_transfer_waits_for_its_end() {
    let end = "H 226 done\n=>D finish\nD ended clean\n=>C 226 done\n=>H QUIT\nH 221 bye\n=>C 221 bye\n=>X closed by the client";
    download(&format!("C QUIT\nBYE\n{end}"));
    download(&format!("C NOOP|QUIT\n=>H NOOP\nBYE\nH 200 ok\n=>C 200 ok\n{end}"));
    // Who does not say it is gone, and so is who is gone altogether.
    download("BYE\n=>X closed by the client");
    download("C QUIT\nBYE\nBYE\n=>X closed by the client");
    play_open(&settings(), "C RCMD long\n=>H RCMD long\nC QUIT\nBYE\n=>X closed by the client");
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.play(&format!("{LOGGED_ON}{READY}{DOWNLOAD}C QUIT\nBYE"));
    assert!(!bench.gate.wants_client(), "nothing more comes");
}

#[test]
fn telnet_in_front_of_abor() {
    let mut bench = Bench::new(&settings(), CLIENT, usize::MAX);
    bench.play(&format!("{LOGGED_ON}{READY}{DOWNLOAD}"));
    bench.feed(Event::Client(b"\xFF\xF4\xFF"));
    bench.feed(Event::Client(b"\xF2ABOR\r\n"));
    bench.play("=>H ABOR\n=>D abort\nH 426 x|226 y\n=>C 426 x\n=>C 226 y");
}

#[test]
fn questions_during_a_transfer_go_at_once() {
    download(
        "C STAT\n=>H STAT\nH 213-status|213 end\n=>C 213-status\n=>C 213 end\nH 226 done\n=>D finish\nD ended clean\n=>C 226 done",
    );
    download(
        "C NOOP\n=>H NOOP\nH 226 done\n=>D finish\nH 200 ok\n=>C 200 ok\nD ended clean\n=>C 226 done\nC PWD\n=>H PWD",
    );
    download("C NOOP\n=>H NOOP\nD ended clean\nH 226 done\n=>C 226 done\nC PWD\nH 200 ok\n=>C 200 ok\n=>H PWD");
    download(
        "C QUIT\nH 226 done\n=>D finish\nD ended clean\n=>C 226 done\n=>H QUIT\nH 221 bye\n=>C 221 bye\n=>X closed by the client",
    );
    download("C NOOP|NOOP|NOOP|NOOP|NOOP|PWD\n=>H NOOP\n=>H NOOP\n=>H NOOP\n=>H NOOP\nH 200 a\n=>C 200 a\n=>H NOOP");
}

#[test]
fn farewells() {
    play_open(&settings(), "C QUIT\n=>H QUIT\nH 221-bye|221 bye\n=>C 221-bye\n=>C 221 bye\n=>X closed by the client");
    play_open(&settings(), "C QUIT\n=>H QUIT\nT 5\n=>C 221 Goodbye.\n=>X closed by the client");
    play_open(&settings(), "C QUIT\n=>H QUIT\nGONE\n=>HANGUP\n=>C 221 Goodbye.\n=>X closed by the client");
    play_open(&settings(), "GONE\n=>HANGUP\n=>C 421 The host ended the connection.\n=>X closed by the host");
    play_open(
        &settings(),
        "T 900\n=>H QUIT\n=>HANGUP\n=>C 421 Closing the connection.\n=>X timed out: the next command",
    );
    play_open(
        &settings(),
        "C RCMD long\n=>H RCMD long\nT 3599\nT 1\n=>C 421 Server not available.\n=>X timed out: the host's reply",
    );
    // What is on its way to the client arrives all the same.
    let gone = "=>C 421 The host ended the connection.\n=>X closed by the host";
    download(&format!("H 226 done\n=>D finish\nGONE\n=>HANGUP\nC NOOP\nD ended clean\n=>C 226 done\n{gone}"));
    download(&format!("GONE\n=>HANGUP\n=>D abort\n{gone}"));
    download(&format!("H 226 done\n=>D finish\nH 421 idle\n=>HANGUP\nD ended clean\n=>C 226 done\n{gone}"));
    download("H 421 down\n=>D abort\n=>C 421 down\n=>X closed by the host");
}

#[test]
fn extended_passive() {
    let script = "
        C EPSV
        =>H EPSV
        H 229 Entering Extended Passive Mode (!!!46934!).
        =>D open client listen V4, host connect 10.0.0.2:46934
        D ready c=192.0.2.1:50000
        =>C 229 Entering Extended Passive Mode (|||50000|).
        C EPSV 2
        =>C 522 Network protocol not offered, use (1).
        C EPSV 3
        =>C 522 Network protocol not offered, use (1).
        C EPSV ALL
        =>C 200 EPSV only from now on.
        C PASV
        =>C 501 Not after EPSV ALL.
        C PORT 192,0,2,7,40,0
        =>C 501 Not after EPSV ALL.
        C EPRT |1|192.0.2.7|5000|
        =>C 501 Not after EPSV ALL.
        C EPSV 1
        =>D abort
        =>H EPSV
    ";
    play_open(&settings(), script);
}

#[test]
fn the_other_way_is_tried() {
    let script = "
        C EPSV
        =>H EPSV
        H 502 what?
        =>H PASV
        H 227 Passive (10,0,0,2,40,0)
        =>D open client listen V4, host connect 10.0.0.2:10240
        D failed host
        =>C 425 No data connection.
    ";
    play_open(&settings(), script);
    let script = "
        C PASV
        =>H PASV
        H 227 =10,0,0,2,40,0
        =>D open client listen V4, host connect 10.0.0.2:10240
        D failed host
        =>H EPSV
        H 229 (|||5000|)
        =>D open client listen V4, host connect 10.0.0.2:5000
        D ready c=192.0.2.1:50000
        =>C 227 Entering Passive Mode (192,0,2,1,195,80).
    ";
    play_open(&settings(), script);
    play_open(&settings(), "C PASV\n=>H PASV\nH 530 no\n=>H EPSV\nH 500 no\n=>C 425 No data connection.");
    play_open(
        &settings(),
        "C PASV\n=>H PASV\nH 227 (10,0,0,2,40,0)\n=>D open client listen V4, host connect 10.0.0.2:10240\nD failed client\n=>C 425 No data connection.",
    );
    play_open(
        &settings(),
        "C PASV\n=>H PASV\nH 227 (10,0,0,2,40,0)\n=>D open client listen V4, host connect 10.0.0.2:10240\nT 30\n=>D abort\n=>C 425 No data connection.\nC PWD\n=>H PWD",
    );
}

#[test]
fn active_on_both_sides() {
    let script = "
        C PORT 192,0,2,7,40,0
        =>D open client connect 192.0.2.7:10240, host listen V4
        D ready h=10.0.0.1:50001
        =>H PORT 10,0,0,1,195,81
        H 200 PORT subcommand request successful.
        =>C 200 PORT command successful.
        C LIST
        =>H LIST
        H 150 here
        =>C 150 here
        =>D start plain plain to Client
    ";
    play_open(&settings(), script);
    let script = "
        C EPRT |1|192.0.2.7|10240|
        =>D open client connect 192.0.2.7:10240, host listen V4
        D ready h=10.0.0.1:50001
        =>H EPRT |1|10.0.0.1|50001|
        H 500 what?
        =>H PORT 10,0,0,1,195,81
        H 200 ok
        =>C 200 EPRT command successful.
    ";
    play_open(&settings(), script);
    play_open(
        &settings(),
        "C PORT 192,0,2,7,40,0\n=>D open client connect 192.0.2.7:10240, host listen V4\nD ready h=10.0.0.1:50001\n=>H PORT 10,0,0,1,195,81\nH 500 no\n=>H EPRT |1|10.0.0.1|50001|\nH 500 no\n=>D abort\n=>C 500 no",
    );
}

#[test]
fn modes_can_differ() {
    let passive = Settings { host_mode: HostMode::Passive, ..settings() };
    let script = "
        C PORT 192,0,2,7,40,0
        =>H PASV
        H 227 (10,0,0,2,40,1)
        =>D open client connect 192.0.2.7:10240, host connect 10.0.0.2:10241
        D ready
        =>C 200 PORT command successful.
    ";
    play_open(&passive, script);
    let active = Settings { host_mode: HostMode::Active, ..settings() };
    let script = "
        C EPSV
        =>D open client listen V4, host listen V4
        D ready c=192.0.2.1:50000 h=10.0.0.1:50001
        =>H EPRT |1|10.0.0.1|50001|
        H 200 ok
        =>C 229 Entering Extended Passive Mode (|||50000|).
    ";
    play_open(&active, script);
}

#[test]
fn families_can_differ() {
    let script = "
        C PASV
        =>C 522 PASV is for IPv4, use EPSV.
        C PORT 192,0,2,7,40,0
        =>C 522 Network protocol not offered, use (2).
        C EPSV 1
        =>C 522 Network protocol not offered, use (2).
        C EPSV 2
        =>H EPSV
        H 229 (|||5000|)
        =>D open client listen V6, host connect 10.0.0.2:5000
        D ready c=[2001:db8::1]:50000
        =>C 229 (|||50000|)
        C EPRT |2|2001:db8::7|5001|
        =>D abort
        =>D open client connect [2001:db8::7]:5001, host listen V4
    ";
    play_from("2001:db8::7", &settings(), &format!("{LOGGED_ON}{script}"));
    let script = "
        C PASV
        =>H EPSV
        H 229 (|||5000|)
        =>D open client listen V4, host connect [2001:db8::2]:5000
        D ready c=192.0.2.1:50000
        =>C 227 Entering Passive Mode (192,0,2,1,195,80).
        C PORT 192,0,2,7,40,0
        =>D abort
        =>D open client connect 192.0.2.7:10240, host listen V6
        D ready h=[2001:db8::1]:50001
        =>H EPRT |2|2001:db8::1|50001|
    ";
    let logged_on = LOGGED_ON.replace("UP\n", "UP 2001:db8::2\n");
    play_from("::ffff:192.0.2.7", &settings(), &format!("{logged_on}{script}"));
}

#[test]
fn lists_of_what_there_is() {
    let script = "
        C FEAT
        =>H FEAT
        H 500 what?
        =>C 211-Features:
        =>C  EPRT
        =>C  EPSV
        =>C 211 End
        C HELP
        =>H HELP
        H 214-Commands:| USER CCC LPSV PASV|214 End
        =>C 214-Commands:
        =>C  USER          PASV
        =>C 214 End
        C HELP CCC
        =>H HELP CCC
        H 214 Clear.
        =>C 214 Clear.
        C SYST
        =>H SYST
        H 215  OS/400 is the remote operating system. The TCP/IP version is \"V7R5M0\".
        =>C 215  OS/400 is the remote operating system. The TCP/IP version is \"V7R5M0\".
    ";
    play_open(&settings(), script);
}
