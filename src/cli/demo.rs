//! `sallyport demo`: the gateway before a simulated IBM i, for trying it out; nothing else is needed.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Global, print_line};
use crate::demo::mail::Mail;
use crate::demo::{
    ADDRESS, APP_PASSWORD, APP_USER, FtpHappening, FtpScene, Happening, HostSettings, Layout, PASSWORD, Query,
    STRANGER, STRANGER_PASSWORD, Scene, Stage, StageSettings, USER, walk, walk_ftp,
};

/// The gateway's port for terminals unless another is asked for.
const PORT: u16 = 2323;
/// The gateway's port for FTP unless another is asked for.
const FTP_PORT: u16 = 2121;
/// How long the host thinks with `--host-quirk slow`.
const SLOW: Duration = Duration::from_secs(3);
/// The device that is in use with `--host-quirk busy-device`.
const BUSY: &str = "BUSY";

const AFTER: &str = "\
Examples:
  sallyport demo                             then connect a 5250 emulator to 127.0.0.1:2323, or ftp to 127.0.0.1:2121
  sallyport demo --walk                      a whole sign-on, played by itself
  sallyport demo --walk-ftp                  a whole FTP logon, played by itself
  sallyport demo --walk --svg docs           the same, each screen as a picture too
  sallyport demo --host-quirk custom-form --host-quirk never-clears";

/// Try Sallyport: a simulated IBM i, the gateway before it, and a sink that shows the gateway's mails.
///
/// All of it listens on the loopback only; store and key are made in a temporary directory and removed at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The gateway's port for terminals [default: 2323; in a walk any that is free].
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The gateway's port for FTP [default: 2121; in a walk any that is free].
    #[arg(long, value_name = "PORT")]
    ftp_port: Option<u16>,
    /// Play a whole sign-on and print each screen: refused password, passcode, wrong code, right code, menu; then a choice
    /// among factors.
    #[arg(long)]
    walk: bool,
    /// Play a whole FTP logon and print what is said: refused password, passcode sent, passcode as password, listing.
    #[arg(long, conflicts_with = "walk")]
    walk_ftp: bool,
    /// Write each screen of the walk as an SVG picture into this directory.
    #[arg(long, value_name = "DIR", requires = "walk")]
    svg: Option<PathBuf>,
    /// Ask for the passcode before the host sees the password.
    #[arg(long, conflicts_with = "walk")]
    code_first: bool,
    /// Have the simulated host behave otherwise than most do; may be given several times.
    #[arg(long, value_name = "QUIRK")]
    host_quirk: Vec<Quirk>,
}

/// How the simulated host may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Quirk {
    /// A password field of 128 characters; case counts.
    LongPassword,
    /// A sign-on display of its own making.
    CustomForm,
    /// Writes over displays instead of clearing them.
    NeverClears,
    /// Asks what the terminal is before each menu.
    OftenQueries,
    /// Never asks what the terminal is.
    NeverQueries,
    /// The device BUSY is in use.
    BusyDevice,
    /// Takes three seconds to answer a key, and asks for timing marks.
    Slow,
}

pub(crate) async fn run(args: Args, _global: &Global) -> anyhow::Result<ExitCode> {
    crate::system::forbid_core_dumps()?;
    let is_walk = args.walk || args.walk_ftp;
    let port = args.port.unwrap_or(if is_walk { 0 } else { PORT });
    let ftp_port = args.ftp_port.unwrap_or(if is_walk { 0 } else { FTP_PORT });
    let settings = StageSettings { port, ftp_port, host: host(&args.host_quirk), code_first: args.code_first };
    // From here on a signal leads to the end below, so that nothing is left behind.
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let mut stage = Stage::start(settings).await?;
    let show = async {
        if args.walk {
            play(&mut stage, args.svg.as_deref()).await.map(|()| ExitCode::SUCCESS)
        } else if args.walk_ftp {
            play_ftp(&mut stage).await.map(|()| ExitCode::SUCCESS)
        } else {
            print_line(invitation(&stage))?;
            follow(&mut stage).await
        }
    };
    let done = tokio::select! {
        done = show => done,
        () = any(&mut signals) => if is_walk { Err(anyhow!("ended by a signal")) } else { Ok(ExitCode::SUCCESS) },
    };
    stage.stop().await;
    done
}

fn host(quirks: &[Quirk]) -> HostSettings {
    let mut host = HostSettings::default();
    for quirk in quirks {
        match quirk {
            Quirk::LongPassword => host.password_length = 128,
            Quirk::CustomForm => host.layout = Layout::Custom,
            Quirk::NeverClears => host.clears = false,
            Quirk::OftenQueries => host.query = Query::Often,
            Quirk::NeverQueries => host.query = Query::Never,
            Quirk::BusyDevice => host.busy.push(BUSY.to_owned()),
            Quirk::Slow => {
                host.delay = SLOW;
                host.timing_mark = Some(SLOW / 3);
            }
        }
    }
    host
}

fn invitation(stage: &Stage) -> String {
    // As this program was called: it need not be on the path.
    let program = std::env::args().next().unwrap_or_else(|| "sallyport".to_owned());
    let (gateway, ftp, file) = (stage.gateway, stage.ftp, stage.configuration());
    let (ip, port, file) = (ftp.ip(), ftp.port(), file.display());
    let (user, password) = (USER.to_ascii_lowercase(), PASSWORD.to_ascii_lowercase());
    format!(
        "\
Sallyport demo: a simulated IBM i, the gateway before it, and the mails it sends. All on this machine.

  Connect a 5250 emulator to    {gateway}   (no TLS)
  or, in another terminal:      {program} terminal {gateway}

  Sign on as {USER}, password {PASSWORD}. The passcode comes by mail; the mail is shown here.
  {APP_USER}, password {APP_PASSWORD}, can choose between a mail and an authenticator app; what the app shows is shown here, too.
  {STRANGER}, password {STRANGER_PASSWORD}, is known to the host but not to the gateway: see how that ends.

  FTP at                        {ftp}   (no TLS)
    curl -u {user}:{password} ftp://{ftp}/            is rejected (530), and a passcode is mailed; then either
    curl -u {user}:PASSCODE ftp://{ftp}/          the passcode as the password, or
    curl -u {user}:{password}:PASSCODE ftp://{ftp}/   both in one line.
    With ftp: ftp {ip} {port}, log on as {user}; after the 530: user {user} PASSCODE

  Look inside, in another terminal:
    {program} --config {file} session list
    {program} --config {file} audit list

Ctrl-C ends it and leaves nothing behind.
"
    )
}

/// Waits for one of the signals; for ever, where none can be had.
async fn any(signals: &mut [io::Result<Signal>]) {
    core::future::poll_fn(|context| {
        let came = signals.iter_mut().flatten().any(|signal| signal.poll_recv(context).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Shows mails and what happens at the host.
async fn follow(stage: &mut Stage) -> anyhow::Result<ExitCode> {
    loop {
        tokio::select! {
            Some(mail) = stage.mails.recv() => print_line(letter(&mail))?,
            Some(happening) = stage.journal.recv() => {
                if let Some(text) = told(&happening) {
                    print_line(format_args!("host: {text}"))?;
                }
                if is_of_app(&happening) {
                    print_line(format_args!("app of {APP_USER} shows: {}", stage.app_code().expose()))?;
                }
            }
            // Host and sink have ended: there is nothing to show any more.
            else => return Ok(ExitCode::FAILURE),
        }
    }
}

/// Whether somebody who has an app needs its code now.
fn is_of_app(happening: &Happening) -> bool {
    matches!(happening, Happening::SignedOn { user } | Happening::Ftp(FtpHappening::LoggedOn { user }) if user == APP_USER)
}

fn told(happening: &Happening) -> Option<String> {
    match happening {
        Happening::Connected { device, terminal_type } => Some(format!("{terminal_type} connected as {device}")),
        Happening::SignedOn { user } => Some(format!("password of {user} accepted")),
        Happening::Refused { user } => Some(format!("password of {user} refused")),
        Happening::SignedOff { user } => Some(format!("{user} signed off")),
        Happening::Ended => Some("a connection ended".to_owned()),
        Happening::Ftp(happening) => Some(match happening {
            FtpHappening::LoggedOn { user } => format!("FTP: password of {user} accepted"),
            FtpHappening::Refused { user } => format!("FTP: password of {user} refused"),
            FtpHappening::Sent { path, bytes } => format!("FTP: {path} sent, {bytes} bytes"),
            FtpHappening::Received { path, bytes } => format!("FTP: {path} received, {bytes} bytes"),
        }),
        Happening::Keyed { .. } | Happening::Unasked => None,
    }
}

/// A mail in a frame.
fn letter(mail: &Mail) -> String {
    let bar = "─".repeat(96);
    let subject = mail.header("Subject").unwrap_or_default();
    let mut text =
        format!("┌─ mail {}\n│ To:      {}\n│ Subject: {subject}\n│\n", &bar[..bar.len() - 21], mail.to.join(", "));
    for line in mail.body().trim_end().lines() {
        let _ = writeln!(text, "│ {line}");
    }
    let _ = write!(text, "└{bar}");
    text
}

/// Plays the walk; each scene is printed as it comes.
async fn play(stage: &mut Stage, svg: Option<&Path>) -> anyhow::Result<()> {
    let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if let Some(folder) = svg {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut number = 0;
    let mut printed = Ok(());
    let mut show = |scene: Scene| {
        number += 1;
        let done = match scene {
            Scene::Mail(mail) => print_line(format_args!("{number}. The mail to {ADDRESS}\n\n{}\n", letter(&mail))),
            Scene::Screen { name, title, picture } => {
                print_line(format_args!("{number}. {title}\n\n{}", picture.framed(colours))).and_then(|()| {
                    let Some(folder) = svg else { return Ok(()) };
                    let path = folder.join(format!("{name}.svg"));
                    std::fs::write(&path, picture.svg("5250 terminal")).with_context(|| path.display().to_string())
                })
            }
        };
        if printed.is_ok() {
            printed = done;
        }
    };
    walk(stage, &mut show).await.context("the sign-on did not go as it must")?;
    printed?;
    print_line("Done: password and passcode, and the menu only after both.")
}

/// Plays the FTP walk; each scene is printed as it comes.
async fn play_ftp(stage: &mut Stage) -> anyhow::Result<()> {
    let mut number = 0;
    let mut printed = Ok(());
    let mut show = |scene: FtpScene| {
        number += 1;
        let done = match scene {
            FtpScene::Mail(mail) => print_line(format_args!("{number}. The mail to {ADDRESS}\n\n{}\n", letter(&mail))),
            FtpScene::Exchange { title, lines } => {
                print_line(format_args!("{number}. {title}\n\n    {}\n", lines.join("\n    ")))
            }
        };
        if printed.is_ok() {
            printed = done;
        }
    };
    walk_ftp(stage, &mut show).await.context("the logon did not go as it must")?;
    printed?;
    print_line("Done: password and passcode, and the files only after both.")
}
