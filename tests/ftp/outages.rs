//! What is broken around the gateway opens no door.

use std::net::TcpListener;

use super::puppet::{Puppet, Raw};
use super::server::{Folder, PASSWORD, Tls, USER, free};
use super::stage::Plan;

#[test]
fn without_a_mail_relay_nobody_gets_in() {
    let (folder, host) = (Folder::new("no-relay"), Puppet::plain());
    let plan = Plan::new().host("PROD", host.address, Tls::Plain, "").host("TEST", host.address, Tls::Plain, "");
    let plan =
        plan.listener("files", "PROD", Tls::Plain, "").listener("account", "TEST", Tls::Plain, "mode = \"account\"");
    let stage = plan.without_relay().start(&folder, &[USER]);
    for name in ["files", "account"] {
        let mut client = Raw::connect(stage.port(name));
        let code = client.log_on(USER, PASSWORD);
        assert!(["530", "332", "421"].contains(&code.as_str()), "{name}: {code}");
        let code = client.ask("LIST");
        assert!(["530", "421", ""].contains(&code.as_str()), "{name}: {code}");
        let mut client = Raw::connect(stage.port(name));
        assert_ne!(client.log_on(USER, "000000"), "230");
        host.heard_only_checks();
    }
}

#[test]
fn without_a_host_the_client_is_told() {
    let folder = Folder::new("no-host");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let plan = Plan::new().host("PROD", free(), Tls::Plain, "");
    let plan = plan.host("TEST", silent.local_addr().unwrap(), Tls::Plain, "");
    let stage = plan
        .limits("host_connect_seconds = 2")
        .listener("files", "PROD", Tls::Plain, "")
        .listener("hidden", "PROD", Tls::Plain, "hide_system = true\nbanner = [\"Hello.\"]")
        .listener("silent", "TEST", Tls::Plain, "hide_system = true\ncheck_seconds = 2")
        .start(&folder, &[USER]);
    let mut client = Raw::from_address([127, 0, 0, 1].into(), stage.port("files"));
    assert_eq!(client.code(), "421");
    for name in ["hidden", "silent"] {
        let mut client = Raw::connect(stage.port(name));
        let code = client.log_on(USER, PASSWORD);
        assert!(["530", "421"].contains(&code.as_str()), "{name}: {code}");
    }
    assert_eq!(stage.unread(), 0);
}

#[test]
fn without_a_store_nobody_gets_in() {
    let (folder, host) = (Folder::new("no-store"), Puppet::plain());
    let plan = Plan::new().host("PROD", host.address, Tls::Plain, "");
    let stage = plan.listener("files", "PROD", Tls::Plain, "").start(&folder, &[USER]);
    let mut client = Raw::connect(stage.port("files"));
    assert_eq!(client.log_on(USER, PASSWORD), "530");
    let code = stage.passcode();
    // Somebody holds the store's lock and does not let go.
    let store = rusqlite::Connection::open(folder.join("store.db")).unwrap();
    store.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let answer = client.log_on(USER, &code);
    assert!(["530", "421", ""].contains(&answer.as_str()), "{answer}");
    host.heard_only_checks();
    drop(store);
    assert_eq!(stage.reasons().iter().filter(|reason| *reason == "passcode-right").count(), 0);
}
