//! A provider of text messages for a test: Twilio's Messages resource by HTTPS (REST API 2010-04-01), as its documentation describes it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const TOKEN: &str = "auth token";

/// How long a message may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message that the provider took.
#[derive(Debug)]
pub(crate) struct Text {
    /// The number.
    pub(crate) to: String,
    /// What it says.
    pub(crate) body: String,
}

/// The provider.
#[derive(Debug)]
pub(crate) struct Texts {
    port: u16,
    certificate: String,
    is_up: Arc<AtomicBool>,
    taken: mpsc::Receiver<Text>,
    runtime: Option<Runtime>,
}

impl Texts {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, taken) = mpsc::channel();
        let is_up = Arc::new(AtomicBool::new(true));
        let up = Arc::clone(&is_up);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sender, up) = (acceptor.clone(), sender.clone(), Arc::clone(&up));
                tokio::spawn(async move {
                    let mut stream = BufReader::new(acceptor.accept(stream).await.ok()?);
                    let asked = read(&mut stream).await?;
                    let (status, body) = if up.load(Ordering::Relaxed) { answer(asked, &sender) } else { refuse(503) };
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                    stream.write_all((head + &body).as_bytes()).await.ok()?;
                    stream.shutdown().await.ok()
                });
            }
        });
        Self { port, certificate: made.cert.pem(), is_up, taken, runtime: Some(runtime) }
    }

    /// The table of the configuration that names it.
    pub(crate) fn table(&self) -> String {
        format!(
            "[[sms]]\nname = \"texts\"\nkind = \"twilio\"\nurl = \"https://127.0.0.1:{}\"\naccount = \"{ACCOUNT}\"\n\
             secret = \"{TOKEN}\"\nfrom = \"+15550100\"\nca_file = \"texts.pem\"\ntimeout_seconds = 3\n",
            self.port
        )
    }

    /// Puts the certificate that the table names into the configuration's folder.
    pub(crate) fn prepare(&self, folder: &Path) {
        std::fs::write(folder.join("texts.pem"), &self.certificate).unwrap();
    }

    /// From now on it takes messages, or none.
    pub(crate) fn set_up(&self, up: bool) {
        self.is_up.store(up, Ordering::Relaxed);
    }

    /// The next message with `words` in it; those before it are gone.
    pub(crate) fn next(&self, words: &str) -> Text {
        loop {
            let text = self.taken.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no text message came: {words}"));
            if text.body.contains(words) {
                return text;
            }
        }
    }

    /// Whether a message came that nobody has read.
    pub(crate) fn has_more(&self) -> bool {
        self.taken.try_recv().is_ok()
    }
}

impl Drop for Texts {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What was asked: the first line, the login, the fields of the form.
struct Asked {
    line: String,
    login: String,
    fields: Vec<(String, String)>,
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let (mut login, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => login = value.to_owned(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let form = format!("https://x/?{}", String::from_utf8(body).ok()?);
    let fields = reqwest::Url::parse(&form).ok()?.query_pairs().into_owned().collect();
    Some(Asked { line: line.trim_end().to_owned(), login, fields })
}

fn answer(asked: Asked, taken: &mpsc::Sender<Text>) -> (u16, String) {
    let login = data_encoding::BASE64.encode(format!("{ACCOUNT}:{TOKEN}").as_bytes());
    let field = |name: &str| asked.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    match (field("To"), field("From"), field("Body")) {
        _ if asked.line != format!("POST /2010-04-01/Accounts/{ACCOUNT}/Messages.json HTTP/1.1") => refuse(404),
        _ if asked.login != format!("Basic {login}") => refuse(401),
        (Some(to), Some(_), Some(body)) if to.starts_with('+') => {
            // The test may have seen enough.
            let _ = taken.send(Text { to, body });
            (201, "{\"sid\":\"SM00000000000000000000000000000000\",\"status\":\"queued\"}".to_owned())
        }
        _ => refuse(400),
    }
}

fn refuse(status: u16) -> (u16, String) {
    (status, format!("{{\"code\":20{status},\"message\":\"no\",\"status\":{status}}}"))
}
