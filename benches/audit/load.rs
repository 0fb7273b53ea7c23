//! Measures the audit: appends by many tasks at once, and a store with many entries to filter and verify.
//!
//! ```text
//!   audit-load append STORE COUNT TASKS     appends COUNT entries by TASKS tasks, each durable before the next of its task
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, bail};
use policy::{Service, User};
use sallyport::audit::{Entry, Event, Outcome};
use sallyport::store::Store;
use sallyport::system::System;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["append", store, count, tasks] => append(Path::new(store), count.parse()?, tasks.parse()?).await,
        _ => bail!("usage: audit-load append STORE COUNT TASKS"),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
async fn append(path: &Path, count: u32, tasks: u32) -> anyhow::Result<()> {
    let system = System::new();
    let store = Store::open(path, system.now()).await?;
    let begun = system.instant();
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (store, system) = (store.clone(), system.clone());
        running.spawn(async move {
            for number in (task..count).step_by(usize::try_from(tasks).unwrap_or(1)) {
                store.append(entry(&system, number)?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let seconds = system.instant().duration_since(begun).as_secs_f64();
    println!("{count} entries by {tasks} tasks: {seconds:.2} s, {:.0} a second", f64::from(count) / seconds);
    Ok(())
}

/// An entry as a sign-on makes it; `number` varies user and address.
fn entry(system: &System, number: u32) -> anyhow::Result<Entry> {
    let user: User = format!("USER{}", number % 5_000).parse().ok().context("a name")?;
    let [.., c, d] = number.to_be_bytes();
    let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 20, c, d)), 49_152);
    let outcome = if number.is_multiple_of(50) { Outcome::Denied } else { Outcome::Allowed };
    let entry = Entry::new(system.now(), "gate-1", Event::SignOn, outcome)
        .reason("network-exempt")
        .user(Some(&user))
        .source(source)
        .detail("as a sign-on is written, with some words behind it");
    Ok(Entry {
        connection: Some(format!("{number:032x}")),
        service: Some(Service::Telnet),
        host: Some("PROD".to_owned()),
        listener: Some("terminals".to_owned()),
        rule: Some(i64::from(number % 20)),
        ..entry
    })
}
