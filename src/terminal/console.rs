//! A session on a tty, for people: raw mode, drawing with ANSI sequences, a status line below the screen.
//!
//! Invariant: however it ends (quit, signal, error, panic), the tty is as it was.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, Once, PoisonError};

use bytes::BytesMut;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::client::Client;
use super::display::Lock;
use super::keyboard::Key;
use super::keys::{Decoder, Press};
use super::options::Options;
use super::picture::Picture;
use super::session::Error;

/// Alternate screen, no wrapping at the right edge, cleared.
const ENTER: &str = "\x1b[?1049h\x1b[?7l\x1b[2J";
/// The reverse, and the cursor shown.
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How a session on a tty ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The operator left.
    Quit,
    /// The host closed the connection.
    Closed,
    /// A signal asked for it.
    Signal,
}

/// Runs a session on the process's tty until the operator leaves or the host closes; `title` is shown in the status line.
///
/// # Errors
///
/// When there is no tty, the connection fails, or the host sends no 5250 data.
pub async fn run<S>(stream: S, options: Options, title: &str) -> Result<Ending, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut resize = signal(SignalKind::window_change())?;
    let tty = Tty::enter()?;
    let mut keys = read_keys();
    let mut console = Console::new(stream, options, title, tty);
    console.draw()?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(Ending::Signal),
            _ = hang_up.recv() => return Ok(Ending::Signal),
            _ = resize.recv() => console.forget(),
            read = console.stream.read_buf(&mut console.inbound) => {
                if read? == 0 {
                    break;
                }
                let bytes = console.inbound.split();
                console.client.receive(&bytes)?;
            }
            bytes = keys.recv() => {
                let Some(bytes) = bytes else { return Ok(Ending::Quit) };
                if console.keyed(&bytes) {
                    return Ok(Ending::Quit);
                }
            }
        }
        console.flush().await?;
        console.draw()?;
    }
    // The last screen may say why: it stays until a key is pressed.
    console.message = Some("The host closed the connection. Press any key.".to_owned());
    console.draw()?;
    tokio::select! {
        _ = keys.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(Ending::Closed)
}

/// Keys come through a thread: a read of a tty cannot be cancelled, and must not keep the program from ending.
fn read_keys() -> UnboundedReceiver<Vec<u8>> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(count) = io::stdin().lock().read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Console<S> {
    stream: S,
    client: Client,
    inbound: BytesMut,
    decoder: Decoder,
    title: String,
    /// What is keyed on the line of System Request, while it is.
    line: Option<String>,
    message: Option<String>,
    drawn: Vec<String>,
    alarms: u32,
    tty: Tty,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Console<S> {
    fn new(stream: S, options: Options, title: &str, tty: Tty) -> Self {
        Self {
            stream,
            client: Client::new(options),
            inbound: BytesMut::new(),
            decoder: Decoder::default(),
            title: title.to_owned(),
            line: None,
            message: None,
            drawn: Vec::new(),
            alarms: 0,
            tty,
        }
    }

    /// Takes keyed bytes; true to leave.
    fn keyed(&mut self, bytes: &[u8]) -> bool {
        for press in self.decoder.feed(bytes) {
            self.message = None;
            if let Some(line) = self.line.take() {
                self.line = self.key_line(line, press);
                continue;
            }
            match press {
                Press::Quit => return true,
                Press::Redraw => self.forget(),
                Press::SystemRequest => self.line = Some(String::new()),
                Press::Key(key) => self.press(&key),
            }
        }
        false
    }

    /// A key while the line of System Request is open; what comes back is the line, if it stays open.
    fn key_line(&mut self, mut line: String, press: Press) -> Option<String> {
        use proxy_tn5250::input::Aid;
        match press {
            Press::Key(Key::Char(character)) => line.push(character),
            Press::Key(Key::Backspace) => {
                line.pop();
            }
            Press::Key(Key::Aid(Aid::ENTER)) => {
                self.press(&Key::SystemRequest(line));
                return None;
            }
            Press::Quit | Press::Key(Key::Reset) => return None,
            Press::Key(_) | Press::Redraw | Press::SystemRequest => {}
        }
        Some(line)
    }

    fn press(&mut self, key: &Key) {
        if let Err(slip) = self.client.press(key) {
            self.message = Some(slip.to_string());
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        for piece in self.client.take_output() {
            self.stream.write_all(&piece).await?;
        }
        Ok(self.stream.flush().await?)
    }

    /// Draws all rows at the next turn.
    fn forget(&mut self) {
        self.drawn.clear();
    }

    fn draw(&mut self) -> Result<(), Error> {
        let picture = Picture::of(self.client.display());
        let height = self.tty.height().unwrap_or(usize::MAX);
        let mut rows: Vec<String> = (0..picture.rows().len()).map(|row| picture.row(row, true)).collect();
        rows.push(self.status(&picture));
        let mut out = String::from("\x1b[?25l");
        if self.drawn.len() != rows.len() {
            self.drawn = vec![String::new(); rows.len()];
            out.push_str("\x1b[0m\x1b[2J");
        }
        for (row, (new, old)) in rows.into_iter().zip(&mut self.drawn).enumerate().take(height) {
            if new != *old {
                out.push_str(&format!("\x1b[{};1H\x1b[0m\x1b[K{new}", row + 1));
                *old = new;
            }
        }
        let display = self.client.display();
        if display.alarms() != self.alarms {
            self.alarms = display.alarms();
            out.push('\x07');
        }
        let (row, column) = picture.cursor();
        out.push_str(&format!("\x1b[{row};{column}H\x1b[?25h"));
        Ok(self.tty.write(&out)?)
    }

    fn status(&self, picture: &Picture) -> String {
        let display = self.client.display();
        let state = match display.lock() {
            Lock::Free => "",
            Lock::System => "X SYSTEM",
            Lock::Error => "X ERROR, Ctrl-R",
        };
        let light = if display.message_light() { "MW" } else { "" };
        let insert = if display.inserts() { "^" } else { "" };
        let prefix = if self.decoder.is_prefixed() { "Esc" } else { "" };
        let (row, column) = picture.cursor();
        let text = match (&self.line, &self.message) {
            (Some(line), _) => format!("System Request: {line}_   Enter sends it"),
            (None, Some(message)) => message.clone(),
            (None, None) => format!("{}   Ctrl-] quits", self.title),
        };
        format!("\x1b[0;7m {state:15} {light:2} {insert:1} {prefix:3} {row:02}/{column:03}  {text} \x1b[0m")
    }
}

/// What the tty was before; outside of a session there is nothing here.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Gives the tty back as it was; a second call does nothing.
fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // There is nobody left to tell if this fails.
        let _ = io::stdout().write_all(LEAVE.as_bytes());
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &before);
    }
}

/// The tty in raw mode, until dropped.
struct Tty;

impl Tty {
    fn enter() -> io::Result<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(io::Error::other("standard input and output are no terminal"));
        }
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let report = std::panic::take_hook();
            // First the tty, so that the report can be read.
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                report(panic);
            }));
        });
        let mut tty = Self;
        tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &raw)?;
        tty.write(ENTER)?;
        Ok(tty)
    }

    fn height(&self) -> Option<usize> {
        let size = tcgetwinsize(io::stdout().as_fd()).ok()?;
        // Some ttys do not know their size.
        (size.ws_row > 0).then(|| usize::from(size.ws_row))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        restore();
    }
}
