//! `sallyport serve`: runs the gateway until it is told to stop.

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{Global, print_line};
use crate::config::{Config, Open};
use crate::delivery::{self, Worker};
use crate::guard::Guard;
use crate::key::Key;
use crate::serve;
use crate::store::Store;
use crate::system::{self, System};

/// Descriptors for all that is not a session: listeners, store, mail, logs.
const DESCRIPTORS_KEPT: usize = 64;

/// Run the gateway.
///
/// Once its listeners are bound it prints a line for each and a last one `ready`, and logs to standard error. SIGTERM and
/// SIGINT stop it: no new connections, a farewell on every screen, and what is left after five seconds is cut; a second
/// signal cuts at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport serve --config /etc/sallyport/sallyport.toml
  sallyport serve --log debug
  sallyport serve --log-format json 2>> /var/log/sallyport.json")]
pub(crate) struct Args {}

pub(crate) async fn run(_args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    tell_panics();
    system::forbid_core_dumps()?;
    let descriptors = raise_descriptors();
    let config = global.load()?;
    let open = config.open()?;
    let sessions = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_KEPT) / 2;
    if sessions < config.limits.connections {
        let connections = config.limits.connections;
        tracing::warn!(
            descriptors,
            sessions,
            connections,
            "the open files allowed (ulimit -n) are too few for limits.connections"
        );
    }
    let mut stop = Signals::new()?;
    let system = System::new();
    let (guard, worker) = guard(&config, &open, &system).await?;
    let running = serve::start(&config, open, guard, worker, system).await?;
    for bound in &running.listeners {
        let serve::Bound { listener, service, address, host } = bound;
        tracing::info!(%listener, %service, %address, %host, "listening");
        print_line(format_args!("{listener}: {service} on {address} to {host}"))?;
    }
    print_line("ready")?;
    stop.next().await;
    tokio::select! {
        () = running.stop() => Ok(ExitCode::SUCCESS),
        () = stop.next() => anyhow::bail!("stopped at once, by a second signal"),
    }
}

async fn guard(config: &Config, open: &Open, system: &System) -> anyhow::Result<(Guard, Worker)> {
    let store = Store::open(&config.gateway.store, system.now()).await?;
    let key = Key::open(&config.gateway.key_file, system)?;
    let (post, worker) = delivery::open(config, open, store, &key, system.clone())?;
    Ok((Guard::open(post, key, system.clone()).await?, worker))
}

/// Logs where a panic was, never with which words: those may hold what was on the wire.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: a fault in Sallyport; please report it");
    }));
}

/// Allows as many open files as this process may have, and says how many those are.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let allowed = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    // None: without a limit.
    allowed.unwrap_or(u64::MAX)
}

/// The signals that ask for the end.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}
