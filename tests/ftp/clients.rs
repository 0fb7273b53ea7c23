//! Six clients in all modes: straight to the servers, so that the rest proves something, and through the gateway.

use super::client::{ALL, Client, Logon, Way, content, is_rejected, said, same};
use super::server::{Folder, PASSWORD, Server, Tls, USER};
use super::stage::{Plan, Stage};
use crate::support::skip;

/// The clients that are here; the others are told.
fn clients(test: &str) -> Vec<Client> {
    let (there, missing): (Vec<Client>, Vec<Client>) = ALL.iter().partition(|client| client.missing().is_none());
    for client in missing {
        skip(test, &client.missing().unwrap());
    }
    there
}

/// Does the client's work in every mode it has, and looks at what is left on the server.
fn work(client: Client, port: u16, tls: Tls, logon: Logon<'_>, server: &Server, folder: &Folder) {
    for passive in [true, false].into_iter().filter(|passive| client.speaks(tls, *passive)) {
        client.work(Way { port, tls, passive }, logon, folder);
        assert_eq!(server.names(), ["b.bin"], "{client:?} {tls:?} passive {passive}");
        same(&server.files.join("b.bin"), &content());
        std::fs::remove_file(server.files.join("b.bin")).unwrap();
    }
}

#[test]
fn straight_to_the_servers() {
    let folder = Folder::new("straight");
    let server = match Server::vsftpd(&folder, "straight", Tls::Plain) {
        Ok(server) => server,
        Err(why) => return skip("ftp straight", &why),
    };
    for client in clients("ftp straight") {
        work(client, server.address.port(), Tls::Plain, Logon::new(USER, PASSWORD), &server, &folder);
        let way = Way { port: server.address.port(), tls: Tls::Plain, passive: true };
        let output = client.list(way, Logon::new(USER, "wrong"), &folder);
        assert!(is_rejected(&output), "{client:?}: {}", said(&output));
    }
}

const TLS: [Tls; 3] = [Tls::Plain, Tls::Explicit, Tls::Implicit];

/// Gets a passcode by a first logon that is rejected, and says which.
fn passcode(stage: &Stage<'_>, client: Client, way: Way, folder: &Folder) -> String {
    let output = client.list(way, Logon::new(USER, PASSWORD), folder);
    let text = said(&output);
    assert!(is_rejected(&output), "{client:?} {way:?}: the first logon is rejected: {text}");
    assert!(!text.contains("b.bin"), "{client:?} {way:?}: nothing is listed before the passcode: {text}");
    stage.passcode()
}

/// Every client, every TLS on both sides, passive and active: the first logon rejected, then everything with the passcode.
#[test]
fn through_the_gateway_to_vsftpd() {
    let folder = Folder::new("vsftpd");
    let mut servers = Vec::new();
    let mut plan = Plan::new();
    for tls in TLS {
        let server = match Server::vsftpd(&folder, &format!("{tls:?}"), tls) {
            Ok(server) => server,
            Err(why) => return skip("ftp vsftpd", &why),
        };
        let name = format!("{tls:?}");
        plan = plan.host(&name, server.address, tls, "");
        for front in TLS {
            plan = plan.listener(&format!("{front:?}-{tls:?}"), &name, front, "");
        }
        servers.push((tls, server));
    }
    let stage = plan.start(&folder, &[USER]);
    let clients = clients("ftp vsftpd");
    let Some(first) = clients.first() else { return };
    for (back, server) in &servers {
        // One challenge for each host: the window covers all clients of this address.
        let way = |front| Way { port: stage.port(&format!("{front:?}-{back:?}")), tls: front, passive: true };
        let code = passcode(&stage, *first, way(Tls::Plain), &folder);
        for client in &clients {
            for front in TLS {
                work(*client, way(front).port, front, Logon::new(USER, &code), server, &folder);
            }
        }
    }
    assert_eq!(stage.unread(), 0, "no passcode but those that were asked for");
}

/// Each client's own way through the three ways of giving the passcode.
#[test]
fn three_ways_to_give_the_passcode() {
    let folder = Folder::new("ways");
    let server = match Server::pyftpdlib(&folder, "py", Tls::Explicit) {
        Ok(server) => server,
        Err(why) => return skip("ftp passcode", &why),
    };
    let clients = clients("ftp passcode");
    for client in clients {
        let desk = Folder::new(&format!("ways-{client:?}"));
        std::fs::copy(folder.certificate(), desk.certificate()).unwrap();
        let plan = Plan::new()
            .host("PROD", server.address, Tls::Explicit, "")
            .host("TEST", server.address, Tls::Explicit, "")
            .host("MORE", server.address, Tls::Explicit, "")
            .listener("reject", "PROD", Tls::Plain, "")
            .listener("one-line", "TEST", Tls::Plain, "")
            .listener("account", "MORE", Tls::Plain, "mode = \"account\"");
        std::fs::copy(folder.key(), desk.key()).unwrap();
        let stage = plan.start(&desk, &[USER]);
        let way = |name: &str| Way { port: stage.port(name), tls: Tls::Plain, passive: true };

        let code = passcode(&stage, client, way("reject"), &desk);
        let before = server.asked().len();
        work(client, way("reject").port, Tls::Plain, Logon::new(USER, &code), &server, &desk);
        let asked = &server.asked()[before..];
        assert!(asked.iter().all(|line| *line == format!("{USER} {PASSWORD}")), "the host sees the password only");

        let code = passcode(&stage, client, way("one-line"), &desk);
        let both = format!("{PASSWORD}:{code}");
        let output = client.list(way("one-line"), Logon::new(USER, &both), &desk);
        assert!(output.status.success() && !is_rejected(&output), "{client:?}: {}", said(&output));

        if client.has_account() {
            // Without the account it is asked for, and none of these clients knows what to say.
            let output = client.list(way("account"), Logon::new(USER, PASSWORD), &desk);
            let text = said(&output);
            assert!(!text.contains("226"), "{client:?}: nothing is listed: {text}");
            let code = stage.passcode();
            let logon = Logon { account: Some(&code), ..Logon::new(USER, PASSWORD) };
            work(client, way("account").port, Tls::Plain, logon, &server, &desk);
        }
        assert_eq!(stage.unread(), 0, "{client:?}");
    }
}
