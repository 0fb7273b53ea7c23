//! `sallyport serve`: runs the gateway until it is told to stop.

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Global, print_line};
use crate::config::{Config, Open};
use crate::control::AskError;
use crate::control::socket::{self, Inherited, Offer};
use crate::delivery::{self, Worker};
use crate::factor::Judge;
use crate::guard::Guard;
use crate::key::Key;
use crate::metrics;
use crate::serve::{self, Means, Order, Running};
use crate::store::Store;
use crate::system::{self, System};

/// Descriptors for all that is not a session: listeners, store, mail, logs.
pub(super) const DESCRIPTORS_KEPT: usize = 64;

/// Run the gateway.
///
/// Once its listeners are bound it prints a line for each and a last one `ready`, and logs to standard error. SIGHUP has it
/// read its configuration anew. SIGTERM and SIGINT stop it: no new connections, sessions may end by themselves for
/// limits.stop_seconds, then a farewell on every screen, and what is left after five seconds is cut; a second signal cuts at
/// once. Under systemd it takes the sockets it is given and says when it is ready.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sallyport serve --config /etc/sallyport/sallyport.toml
  sallyport serve --take-over --drain-seconds 600
  sallyport serve --log debug
  sallyport serve --log-format json 2>> /var/log/sallyport.json")]
pub(crate) struct Args {
    /// Take the listening sockets over from the gateway that runs with the same control socket and user; that one accepts
    /// nobody any more, and ends when its sessions have. Where none runs, just start.
    #[arg(long)]
    take_over: bool,
    /// How long this process, when another takes over from it, lets its sessions live [default: limits.drain_seconds].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=604_800))]
    drain_seconds: Option<u64>,
}

pub(crate) async fn run(args: Args, global: &Global) -> anyhow::Result<ExitCode> {
    tell_panics();
    system::forbid_core_dumps()?;
    // Taken now: an upgrade may put another file in its place.
    let program = std::env::current_exe()?;
    let descriptors = raise_descriptors();
    let config = global.load()?;
    let mut open = config.open()?;
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
    let mut signals = Signals::new()?;
    let system = System::new();
    let (guard, worker) = guard(&config, &mut open, &system).await?;
    let means = means(&config, args.take_over).await?;
    let mut running = serve::start_with(&config, open, guard, worker, system, means).await?;
    for bound in &running.listeners {
        let serve::Bound { listener, service, address, host } = bound;
        tracing::info!(%listener, %service, %address, %host, "listening");
        print_line(format_args!("{listener}: {service} on {address} to {host}"))?;
    }
    if let Some(address) = running.metrics {
        print_line(format_args!("metrics and health on {address}"))?;
    }
    print_line("ready")?;
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    let _watchdog = tokio::spawn(feed_watchdog());
    let is_replaced = live(&mut running, &mut signals, &program).await;
    let (drain, stop) = running.patience();
    let patience = match (is_replaced, args.drain_seconds) {
        (true, Some(seconds)) => Duration::from_secs(seconds),
        (true, None) => drain,
        (false, _) => stop,
    };
    if !is_replaced {
        notify(&[NotifyState::Stopping, NotifyState::Status("letting sessions end")]);
    }
    tokio::select! {
        () = running.drain(patience) => {}
        () = signals.stop() => {
            anyhow::ensure!(is_replaced, "stopped at once, by a second signal");
        }
    }
    tokio::select! {
        () = running.stop() => Ok(ExitCode::SUCCESS),
        () = signals.stop() => anyhow::bail!("stopped at once, by a second signal"),
    }
}

/// Does as it is told until it shall end; whether another process has taken over.
async fn live(running: &mut Running, signals: &mut Signals, program: &std::path::Path) -> bool {
    loop {
        tokio::select! {
            wish = signals.next() => {
                if wish == Wish::Stop {
                    return false;
                }
                let now = NotifyState::monotonic_usec_now().ok();
                let reloading = std::iter::once(NotifyState::Reloading).chain(now);
                notify(&reloading.collect::<Vec<_>>());
                // What came of it is in the log and in the audit.
                let _ = running.reload("SIGHUP").await;
                notify(&[NotifyState::Ready]);
            }
            order = running.order() => match order {
                Order::Restart(answer) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(succeed(program));
                }
                Order::Replaced(process) => {
                    if let Some(process) = process {
                        notify(&[NotifyState::MainPid(process)]);
                    }
                    return true;
                }
            }
        }
    }
}

/// Starts a process that takes over, by the arguments of this one; its number.
fn succeed(program: &std::path::Path) -> std::io::Result<u32> {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--take-over") {
        arguments.push("--take-over".into());
    }
    let mut command = std::process::Command::new(program);
    // What systemd set for this process alone.
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    let mut child = command.args(arguments).stdin(Stdio::null()).spawn()?;
    let process = child.id();
    tracing::info!(process, program = %program.display(), "a process was started that takes over");
    tokio::task::spawn_blocking(move || match child.wait() {
        Ok(status) => tracing::warn!(process, %status, "the process that took over has ended"),
        Err(error) => tracing::warn!(process, %error, "it is not known how the process that took over is"),
    });
    Ok(process)
}

/// What the gateway starts with: the sockets of the process before, or of systemd.
async fn means(config: &Config, take_over: bool) -> anyhow::Result<Means> {
    if take_over {
        match socket::take_over(&config.gateway.control).await {
            Ok((sockets, predecessor)) => return Ok(Means { sockets, predecessor: Some(predecessor) }),
            Err(AskError::NotRunning(_)) => tracing::info!("no gateway runs here that could be taken over from"),
            Err(error) => return Err(error.into()),
        }
    }
    let mut given = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        let Some(socket) = given.take_tcp_listener(index)? else { continue };
        socket.set_nonblocking(true)?;
        let configured = socket.local_addr()?;
        sockets.push(Inherited { offer: Offer { name: None, configured }, socket });
    }
    Ok(Means { sockets, predecessor: None })
}

async fn guard(config: &Config, open: &mut Open, system: &System) -> anyhow::Result<(Guard, Worker)> {
    let store = Store::open(&config.gateway.store, system.now()).await?;
    let key = Key::open(&config.gateway.key_file, system)?;
    let (post, worker) = delivery::open(config, open, store, &key, system.clone())?;
    let judge = Judge::from_config(config, open, &key, system)?;
    Ok((Guard::open(post, judge, key, system.clone()).await?, worker))
}

/// Tells the service manager, where there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Tells the service manager twice in each of its intervals that this process is alive.
async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut interval = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
    loop {
        interval.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

/// Logs where a panic was, never with which words: those may hold what was on the wire.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        metrics::panicked();
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

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stop,
    Reload,
}

/// The signals that the gateway listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// What the next one asks for.
    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }

    /// The next one that asks for the end.
    async fn stop(&mut self) {
        while self.next().await != Wish::Stop {}
    }
}
