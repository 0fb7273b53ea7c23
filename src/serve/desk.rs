//! What callers at the control socket get: the sessions, the log, a reload, and the listening sockets for a successor.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Arc, Control, Event, House, Order, Outcome, io};
use crate::control::socket::{self, Offer};
use crate::control::{Answer, Caller, Command, Status};
use crate::log;
use crate::sessions::{EndError, Summary};

impl House {
    /// Answers at `control` until another process takes over; then at a socket of its own.
    pub(super) async fn answer(self: Arc<Self>, control: Control) {
        tokio::select! {
            () = self.serve_callers(control) => {}
            () = self.replaced.cancelled() => {}
        }
        self.released.cancel();
        match Control::bind_beside(&self.control, std::process::id()) {
            Ok(control) => self.serve_callers(control).await,
            Err(error) => tracing::error!(%error, "the sessions that are left cannot be listed"),
        }
    }

    async fn serve_callers(self: &Arc<Self>, control: Control) {
        let (answers, hands) = (Arc::clone(self), Arc::clone(self));
        let answer = move |command, caller| {
            let house = Arc::clone(&answers);
            async move { house.handle(command, caller).await }
        };
        let hand_over = move |stream, caller| {
            let house = Arc::clone(&hands);
            async move { house.hand_over(stream, caller).await }
        };
        control.run(answer, hand_over).await;
    }

    async fn handle(self: Arc<Self>, command: Command, caller: Caller) -> Answer {
        match command {
            Command::Status => Answer::Status { status: self.status().await },
            Command::SessionList => Answer::Sessions { sessions: self.sessions.list() },
            Command::SessionEnd { id } => match self.sessions.end(&id) {
                Ok(session) => {
                    self.ended_by(&session, &caller.to_string());
                    Answer::Ended { session }
                }
                Err(error @ EndError::NotFound) => Answer::NotFound { message: error.to_string() },
                Err(error @ EndError::Ambiguous(_)) => Answer::Refused { message: error.to_string() },
            },
            Command::SessionsEnd { selection } => {
                let sessions = self.sessions.end_all(&selection);
                sessions.iter().for_each(|session| self.ended_by(session, &caller.to_string()));
                Answer::Sessions { sessions }
            }
            Command::LogShow => Self::levels(),
            Command::LogLevel { levels } => self.set_levels(Some(&levels), caller).await,
            Command::LogReset => self.set_levels(None, caller).await,
            Command::Reload => match self.reload(&caller.to_string()).await {
                Ok(changes) => Answer::Reloaded { changes },
                Err(message) => Answer::Refused { message },
            },
            Command::Restart => self.restart().await,
            // It is served apart, since it goes on.
            Command::TakeOver => Answer::Refused { message: "there is nothing to take over here".into() },
        }
    }

    async fn status(&self) -> Status {
        let entrances = self.entrances.lock().await;
        Status {
            process: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listeners: entrances
                .iter()
                .map(|entrance| (entrance.bound.listener.to_string(), entrance.bound.address))
                .collect(),
            sessions: self.sessions.count(),
            is_draining: self.shut.is_cancelled(),
        }
    }

    /// Writes to the audit that `session` was ended, and by whom.
    pub(super) fn ended_by(&self, session: &Summary, by: &str) {
        let user = session.user.as_deref().unwrap_or("nobody");
        let detail = format!("session {} of {user} from {}, by {by}", session.id, session.source);
        let guard = self.guard.clone();
        self.late.spawn(async move {
            if let Err(error) = guard.note(None, Event::SessionEnded, &detail).await {
                tracing::error!(%error, detail, "an ended session was not written to the audit");
            }
        });
    }

    fn levels() -> Answer {
        match log::levels() {
            Some(levels) => Answer::Log { current: levels.current(), configured: levels.configured().to_owned() },
            None => Answer::Refused { message: "this process has no log".into() },
        }
    }

    /// Sets the log levels, or goes back to those configured.
    async fn set_levels(&self, wanted: Option<&str>, caller: Caller) -> Answer {
        let Some(levels) = log::levels() else { return Self::levels() };
        let before = levels.current();
        let set = match wanted {
            Some(wanted) => levels.set(wanted),
            None => levels.reset(),
        };
        if let Err(error) = set {
            return Answer::Refused { message: error.to_string() };
        }
        let detail = format!("logs {} instead of {before}; by {caller}", levels.current());
        if let Err(error) = self.guard.changed("log-levels", Outcome::Noted, &detail).await {
            // What is not in the audit does not count.
            let _ = levels.set(&before);
            return Answer::Refused { message: format!("it cannot be written to the audit: {error}") };
        }
        tracing::info!(levels = levels.current(), "log levels changed");
        Self::levels()
    }

    async fn restart(&self) -> Answer {
        if self.shut.is_cancelled() {
            return Answer::Refused { message: "this process is about to end already".into() };
        }
        let (sender, started) = tokio::sync::oneshot::channel();
        if self.orders.try_send(Order::Restart(sender)).is_err() {
            return Answer::Refused { message: "something else is under way; try again".into() };
        }
        match started.await {
            Ok(Ok(process)) => Answer::Restarting { process },
            Ok(Err(error)) => Answer::Refused { message: format!("no process could be started: {error}") },
            Err(_) => Answer::Refused { message: "this process cannot start another one".into() },
        }
    }

    /// Hands the listening sockets over; once the other process serves, accepts nobody any more.
    async fn hand_over(self: Arc<Self>, mut stream: UnixStream, caller: Caller) -> io::Result<()> {
        async fn say(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
            let mut line = serde_json::to_vec(answer)?;
            line.push(b'\n');
            stream.write_all(&line).await
        }
        let Ok(_changing) = self.changing.try_lock() else {
            return say(&mut stream, &Answer::Refused { message: "a reload or a take-over is under way".into() }).await;
        };
        if self.shut.is_cancelled() || caller.process == Some(std::process::id()) {
            return say(&mut stream, &Answer::Refused { message: "there is nothing to take over here".into() }).await;
        }
        let mut sockets: Vec<_> = self
            .entrances
            .lock()
            .await
            .iter()
            .map(|entrance| {
                let name = Some(entrance.bound.listener.to_string());
                (Offer { name, configured: entrance.configured }, Arc::clone(&entrance.socket))
            })
            .collect();
        if let Some((configured, socket)) = &self.metrics {
            sockets.push((Offer { name: None, configured: *configured }, Arc::clone(socket)));
        }
        let offers = sockets.iter().map(|(offer, _)| offer.clone()).collect();
        say(&mut stream, &Answer::Sockets { process: std::process::id(), sockets: offers }).await?;
        for (_, socket) in &sockets {
            socket::send(&stream, socket.as_ref()).await?;
        }
        let mut word = [0; 8];
        stream.read_exact(&mut word).await?;
        if &word != b"serving\n" {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // In a task of its own: half a take-over, because its time is up, would be none.
        let house = Arc::clone(&self);
        let let_go = tokio::spawn(async move {
            tracing::info!(process = caller.process, "another process takes over");
            house.shut.cancel();
            house.entrances.lock().await.clear();
            house.replaced.cancel();
            house.released.cancelled().await;
            house.hand_duties_over().await;
            // Whoever waits for orders ends this process by itself.
            let _ = house.orders.send(Order::Replaced(caller.process)).await;
            say(&mut stream, &Answer::Released).await
        });
        let_go.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
