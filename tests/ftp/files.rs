//! Large files, many files, and transfers that are broken off.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use super::client::{Client, Desk, Logon, Way, noise, said, same, url};
use super::puppet::Raw;
use super::server::{Folder, PASSWORD, Server, Tls, USER};
use super::stage::{Plan, Stage};
use crate::support::skip;

const TLS: [Tls; 3] = [Tls::Plain, Tls::Explicit, Tls::Implicit];

/// A gateway with all fronts to one vsftpd, and a passcode for its window.
fn open<'a>(folder: &'a Folder, back: Tls) -> Result<(Server, Stage<'a>, String), String> {
    let server = Server::vsftpd(folder, "host", back)?;
    let mut plan = Plan::new().host("PROD", server.address, back, "");
    for front in TLS {
        plan = plan.listener(&format!("{front:?}"), "PROD", front, "");
    }
    let stage = plan.start(folder, &[USER]);
    let mut client = Raw::connect(stage.port("Plain"));
    let code = client.admit(&stage);
    Ok((server, stage, code))
}

/// Writes `megabytes` of noise.
fn write_large(path: &Path, megabytes: u32) {
    let mut file = fs::File::create(path).unwrap();
    for seed in 0..megabytes {
        file.write_all(&noise(1 << 20, seed * 2 + 1)).unwrap();
    }
}

fn equal(left: &Path, right: &Path) -> bool {
    let [mut left, mut right] = [left, right].map(|path| fs::File::open(path).unwrap());
    let length = |file: &fs::File| file.metadata().unwrap().len();
    if length(&left) != length(&right) {
        return false;
    }
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = left.read(&mut one).unwrap();
        if count == 0 {
            return true;
        }
        right.read_exact(&mut other[..count]).unwrap();
        if one[..count] != other[..count] {
            return false;
        }
    }
}

/// 64 MiB up and down; with `SALLYPORT_LONG` set, 1 GiB.
#[test]
fn large_files_arrive_whole() {
    let megabytes = if std::env::var_os("SALLYPORT_LONG").is_some() { 1024 } else { 64 };
    if let Some(why) = Client::Curl.missing() {
        return skip("ftp large", &why);
    }
    for (back, front) in [(Tls::Plain, Tls::Plain), (Tls::Explicit, Tls::Explicit)] {
        let folder = Folder::new(&format!("large-{back:?}"));
        let (server, stage, code) = match open(&folder, back) {
            Ok(opened) => opened,
            Err(why) => return skip("ftp large", &why),
        };
        let desk = Desk::new(&folder, "large");
        write_large(&desk.path("up.bin"), megabytes);
        let way = Way { port: stage.port(&format!("{front:?}")), tls: front, passive: true };
        for options in [["-T", "up.bin"], ["-o", "down.bin"]] {
            let output = desk.curl(way, Logon::new(USER, &code), &[&options[..], &[&url(way, "large.bin")]].concat());
            assert!(output.status.success(), "{front:?} {options:?}: {}", said(&output));
        }
        for arrived in [server.files.join("large.bin"), desk.path("down.bin")] {
            assert!(equal(&desk.path("up.bin"), &arrived), "{front:?}: {} differs", arrived.display());
        }
    }
}

#[test]
fn a_mirror_in_parallel() {
    if let Some(why) = Client::Lftp.missing() {
        return skip("ftp mirror", &why);
    }
    let folder = Folder::new("mirror");
    let (server, stage, code) = match open(&folder, Tls::Explicit) {
        Ok(opened) => opened,
        Err(why) => return skip("ftp mirror", &why),
    };
    for front in TLS {
        let desk = Desk::new(&folder, "mirror");
        for number in 0..30_u32 {
            fs::create_dir_all(desk.path(&format!("up/{}", number % 3))).unwrap();
            desk.write(&format!("up/{}/{number}.bin", number % 3), &noise(number as usize * 977, number));
        }
        let way = Way { port: stage.port(&format!("{front:?}")), tls: front, passive: true };
        let commands = "mirror -R --parallel=4 up there\nmirror --parallel=4 there down\nrm -r there\n";
        let output = desk.lftp(way, Logon::new(USER, &code), commands);
        assert!(output.status.success(), "{front:?}: {}", said(&output));
        for number in 0..30_u32 {
            let name = format!("down/{}/{number}.bin", number % 3);
            same(&desk.path(&name), &noise(number as usize * 977, number));
        }
        assert!(server.names().is_empty(), "{front:?}: {:?}", server.names());
    }
    assert_eq!(stage.unread(), 0, "one passcode for all connections");
}

/// ftplib sends ABOR as urgent data.
#[test]
fn a_download_is_aborted_and_the_session_goes_on() {
    if let Some(why) = Client::Ftplib.missing() {
        return skip("ftp abort", &why);
    }
    let folder = Folder::new("abort");
    let (server, stage, code) = match open(&folder, Tls::Plain) {
        Ok(opened) => opened,
        Err(why) => return skip("ftp abort", &why),
    };
    write_large(&server.files.join("large.bin"), 40);
    for passive in [true, false] {
        let desk = Desk::new(&folder, "abort");
        let way = Way { port: stage.port("Plain"), tls: Tls::Plain, passive };
        let output = desk.ftplib(way, Logon::new(USER, &code), "abort");
        assert!(output.status.success() && said(&output).contains("large.bin"), "{passive}: {}", said(&output));
    }
    // As lftp and others: IAC IP, Data Mark as the urgent byte, then the line.
    let mut client = Raw::connect(stage.port("Plain"));
    assert_eq!(client.log_on(USER, &code), "230");
    assert_eq!(client.ask("TYPE I"), "200");
    let mut data = TcpStream::connect(client.passive()).unwrap();
    assert_eq!(client.ask("RETR large.bin"), "150");
    data.read_exact(&mut [0; 1000]).unwrap();
    client.send([0xFF, 0xF4, 0xFF]);
    socket2::SockRef::from(client.stream()).send_out_of_band(&[0xF2]).unwrap();
    client.send("ABOR\r\n");
    let code = client.code();
    assert!(["426", "226", "225"].contains(&code.as_str()), "{code}");
    if code == "426" {
        assert!(client.code().starts_with('2'));
    }
    drop(data);
    assert_eq!(client.ask("PWD"), "257", "in step");
}

/// What was cut on one side is not whole on the other.
#[test]
fn a_cut_upload_is_not_taken_for_a_whole_one() {
    let folder = Folder::new("cut");
    let host = super::puppet::Puppet::plain();
    let plan = Plan::new().host("PROD", host.address, Tls::Plain, "").listener("files", "PROD", Tls::Plain, "");
    let stage = plan.start(&folder, &[USER]);
    let mut client = Raw::connect(stage.port("files"));
    client.admit(&stage);
    let mut data = TcpStream::connect(client.passive()).unwrap();
    assert_eq!(client.ask("STOR x"), "150");
    data.write_all(&noise(5000, 3)).unwrap();
    super::server::pause(std::time::Duration::from_millis(200));
    socket2::SockRef::from(&data).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(data);
    let code = client.code();
    assert!(code.starts_with('4'), "{code}");
    let heard = host.heard();
    assert!(heard.iter().any(|line| line.starts_with("STORED") && line.ends_with("cut")), "{heard:?}");
    assert_eq!(client.log_on(USER, PASSWORD), "230", "the session goes on, and its window is open");
}
