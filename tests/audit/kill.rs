//! The gateway killed at random moments while users sign on: whoever saw the menu has an entry, and the chain holds.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxy_tn5250::input::Aid;
use rusqlite::Connection;
use sallyport::audit::verify::Verifier;
use sallyport::ledger::signer;
use sallyport::store::{Part, Reading};
use sallyport::system::System;
use sallyport::terminal::{Options, Session};

use crate::support::site::{PASSWORD, Plan, Site, USER};

/// How often: `SALLYPORT_LONG=1` means 200 times.
const ROUNDS: u32 = 40;
/// How many users at once.
const USERS: usize = 4;

/// Signs on; the client's port where the menu was seen.
async fn sign_on(gateway: std::net::SocketAddr) -> Option<u16> {
    let stream = tokio::net::TcpStream::connect(gateway).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let port = stream.local_addr().ok()?.port();
    let mut terminal = Session::new(stream, Options::default(), Duration::from_secs(10));
    terminal.wait_for_text("Sign On").await.ok()?;
    terminal.fill(USER).ok()?;
    terminal.type_text(PASSWORD).ok()?;
    terminal.press(Aid::ENTER).await.ok()?;
    terminal.wait_for_text("Simulated Main Menu").await.ok()?;
    Some(port)
}

#[test]
fn no_admitted_session_is_without_its_entry() {
    let rounds = if std::env::var_os("SALLYPORT_LONG").is_some() { 200 } else { ROUNDS };
    let limits = "connects_per_minute = 1000000\nunauthenticated_per_source = 1000";
    let mut site = Site::start(Plan { limits, ..Plan::default() });
    site.admin(&["network", "add", "127.0.0.0/8", "exempt"]);
    let system = System::new();
    let (mut admitted_in_all, mut newest) = (0, 0);
    for round in 0..rounds {
        let mut dice = [0];
        system.fill(&mut dice).unwrap();
        let moment = Duration::from_millis(20 + u64::from(dice[0]) * 2);
        let (seen, gateway) = (Arc::new(Mutex::new(Vec::new())), site.gateway);
        let users = site.block_on(async {
            let mut users = tokio::task::JoinSet::new();
            for _ in 0..USERS {
                let seen = Arc::clone(&seen);
                users.spawn(async move {
                    // Until nobody is there any more.
                    while let Some(port) = sign_on(gateway).await {
                        seen.lock().unwrap().push(port);
                    }
                });
            }
            tokio::time::sleep(moment).await;
            users
        });
        site.process.kill().unwrap();
        site.process.wait().unwrap();
        site.block_on(async { users.join_all().await });

        let store = Connection::open(site.file("store.db")).unwrap();
        let mut statement = store
            .prepare("SELECT port FROM audit WHERE id > ?1 AND event = 'sign-on' AND outcome = 'allowed'")
            .unwrap();
        let written: BTreeSet<u16> =
            statement.query_map([newest], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        newest = store.query_row("SELECT max(id) FROM audit", [], |row| row.get::<_, i64>(0)).unwrap();
        let seen = seen.lock().unwrap();
        for port in seen.iter() {
            assert!(written.contains(port), "round {round}: somebody at port {port} was let in without an entry");
        }
        admitted_in_all += seen.len();

        let key = signer::read(&site.file("store.audit-key")).unwrap().unwrap().public();
        let verifier = Verifier::new(Some(vec![key]), Vec::new());
        let report = Reading::open(&site.file("store.db")).unwrap().verify(verifier, &Part::default(), |_| ()).unwrap();
        assert!(report.whole, "round {round}: {report:#?}");
        site.restart();
    }
    assert!(admitted_in_all > 0, "nobody ever got in, which proves nothing");
}
