//! `sallyport terminal`: a plain 5250 terminal in the console, also for probes and support.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Global, Usage, print_line};
use crate::terminal::{Ending, HELP, Keyboard, NARROW, Options, Session, run as run_console};
use crate::tls::{self, Pin, Trust};

/// How long connecting, a handshake and the first screen may take.
const CONNECT_MAX: Duration = Duration::from_secs(15);

const EXAMPLES: &str = "\
Examples:
  sallyport terminal 127.0.0.1:2323
  sallyport terminal --type IBM-3477-FC --device ANNA01 gateway.example.com
  sallyport terminal --tls --ca-file ca.pem gateway.example.com:992
  sallyport terminal --print ibmi.example.com        the first screen as text: is the host up?";

/// A plain 5250 terminal, to a gateway or to a host.
///
/// It shows 24x80 and, with a terminal type that has it, 27x132; the window needs one row more for the status line.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{HELP}\n\n{EXAMPLES}"))]
pub(crate) struct Args {
    /// Where to connect: HOST or HOST:PORT [default port: 23, with TLS 992].
    #[arg(value_name = "HOST[:PORT]")]
    address: String,
    /// The terminal type; IBM-3477-FC shows 27x132 too.
    #[arg(long = "type", value_name = "TYPE", default_value = NARROW)]
    terminal_type: String,
    /// The display device to ask for.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// The code page, as a CCSID.
    #[arg(long, value_name = "CCSID", default_value_t = 37)]
    code_page: u16,
    /// A further NEW-ENVIRON variable, for instance IBMIMENU=MAIN; may be given several times. Others on this machine can
    /// see what stands here: no place for a password.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Print the first screen as text and leave.
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
struct TlsArgs {
    /// Speak TLS from the first byte on.
    #[arg(long)]
    tls: bool,
    /// Trust the certificates in this PEM file [default: those of the system].
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_file: Option<std::path::PathBuf>,
    /// Trust exactly the certificate with this SHA-256, `sha256:` and 64 hexadecimal digits; may be given several times.
    #[arg(long, value_name = "PIN", requires = "tls", conflicts_with = "ca_file")]
    pin: Vec<String>,
    /// The name that the certificate must have [default: HOST].
    #[arg(long, value_name = "NAME", requires = "tls")]
    server_name: Option<String>,
    /// The certificate to show when asked for one, and its chain, PEM.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<std::path::PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "client_certificate", requires = "tls")]
    client_key: Option<std::path::PathBuf>,
    /// DANGEROUS: take any certificate. Whoever is in between reads your password.
    #[arg(long, requires = "tls", conflicts_with_all = ["ca_file", "pin"])]
    dangerously_accept_any_certificate: bool,
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

pub(crate) async fn run(args: Args, _global: &Global) -> anyhow::Result<ExitCode> {
    let options = options(&args)?;
    let (host, port) = split_address(&args.address, if args.tls.tls { 992 } else { 23 })?;
    let stream = connect(&args.tls, host, port).await?;
    if args.print {
        let mut session = Session::new(stream, options, CONNECT_MAX);
        session.wait_for_screen().await.with_context(|| format!("{}: no screen", args.address))?;
        print_line(session.screen_text().trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    match run_console(stream, options, &args.address).await? {
        Ending::Quit | Ending::Closed => Ok(ExitCode::SUCCESS),
        Ending::Signal => bail!("ended by a signal"),
    }
}

fn options(args: &Args) -> Result<Options, Usage> {
    let keyboard = Keyboard::from_ccsid(args.code_page).ok_or_else(|| {
        let known: Vec<String> = Keyboard::ccsids().map(|ccsid| ccsid.to_string()).collect();
        Usage(format!("--code-page {}: expected one of {}", args.code_page, known.join(", ")))
    })?;
    let mut options = Options {
        terminal_type: args.terminal_type.to_ascii_uppercase(),
        device: args.device.as_ref().map(|name| name.to_ascii_uppercase()),
        keyboard,
        ..Options::default()
    };
    for variable in &args.variables {
        let (name, value) = variable
            .split_once('=')
            .ok_or_else(|| Usage("--env: expected NAME=VALUE, for instance IBMIMENU=MAIN".to_owned()))?;
        options = options.with_variable(name, value.as_bytes());
    }
    Ok(options)
}

/// `host`, `host:port`, `[address]`, `[address]:port` or a bare IPv6 address.
fn split_address(address: &str, default: u16) -> Result<(&str, u16), Usage> {
    let wrong = || Usage(format!("{address}: expected HOST or HOST:PORT, for instance ibmi.example.com:{default}"));
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) })
        }
        None if address.matches(':').count() > 1 => (address, None),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(default), |port| port.parse().map_err(|_| wrong()))?;
    if host.is_empty() || port == 0 { Err(wrong()) } else { Ok((host, port)) }
}

async fn connect(args: &TlsArgs, host: &str, port: u16) -> anyhow::Result<Box<dyn Stream>> {
    let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect((host, port)))
        .await
        .with_context(|| format!("{host} port {port}: no answer in {CONNECT_MAX:?}"))?
        .with_context(|| format!("{host} port {port}"))?;
    stream.set_nodelay(true)?;
    if !args.tls {
        return Ok(Box::new(stream));
    }
    let name = args.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|_| Usage("--server-name: expected a host name".to_owned()))?;
    match tls::connect(client_config(args)?, name.clone(), stream, CONNECT_MAX).await {
        Ok(stream) => Ok(stream),
        Err(error) => {
            let hint = match shown_certificate(name, host, port).await {
                Some(pin) => format!("; the certificate shown is {pin}: once you have checked that, --pin takes it"),
                None => String::new(),
            };
            Err(anyhow!(error).context(format!("{host} port {port}: TLS{hint}")))
        }
    }
}

/// The pin of the certificate that the other side shows: for a person to compare.
async fn shown_certificate(name: ServerName<'static>, host: &str, port: u16) -> Option<Pin> {
    let seen = Arc::new(OnceLock::new());
    let mut config = tls::host_config(Trust::Pins(Vec::new())).ok()?;
    let provider = Arc::clone(config.crypto_provider());
    let look = Unchecked { provider, seen: Arc::clone(&seen) };
    Arc::make_mut(&mut config).dangerous().set_certificate_verifier(Arc::new(look));
    let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect((host, port))).await.ok()?.ok()?;
    // Nothing is said on this connection; how the handshake ends does not matter.
    let _ = tls::connect(config, name, stream, CONNECT_MAX).await;
    seen.get().copied()
}

fn client_config(args: &TlsArgs) -> anyhow::Result<Arc<ClientConfig>> {
    let trust = if args.dangerously_accept_any_certificate || !args.pin.is_empty() {
        let pins =
            args.pin.iter().map(|pin| pin.parse::<Pin>().map_err(|error| Usage(format!("--pin {pin}: {error}"))));
        Trust::Pins(pins.collect::<Result<_, _>>()?)
    } else {
        Trust::Roots(match &args.ca_file {
            Some(path) => tls::roots(path).with_context(|| path.display().to_string())?,
            None => tls::system_roots()?,
        })
    };
    let mut config = tls::host_config(trust)?;
    let provider = Arc::clone(config.crypto_provider());
    let changed = Arc::make_mut(&mut config);
    if args.dangerously_accept_any_certificate {
        changed
            .dangerous()
            .set_certificate_verifier(Arc::new(Unchecked { provider: Arc::clone(&provider), seen: Arc::default() }));
    }
    if let (Some(chain), Some(key)) = (&args.client_certificate, &args.client_key) {
        let chain = tls::certificates(chain).with_context(|| chain.display().to_string())?;
        let key = tls::private_key(key).with_context(|| key.display().to_string())?;
        let pair = CertifiedKey::from_der(chain, key, &provider)?;
        changed.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair));
    }
    Ok(config)
}

/// Takes any certificate: for a look at it, or for one who asked for just that.
#[derive(Debug)]
struct Unchecked {
    provider: Arc<CryptoProvider>,
    seen: Arc<OnceLock<Pin>>,
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.seen.get_or_init(|| Pin::of(certificate));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, host, port) in [
            ("host", "host", 23),
            ("host:2323", "host", 2323),
            ("10.0.0.1:99", "10.0.0.1", 99),
            ("::1", "::1", 23),
            ("[::1]", "::1", 23),
            ("[::1]:2323", "::1", 2323),
        ] {
            assert_eq!(split_address(text, 23).unwrap(), (host, port), "{text}");
        }
        for text in ["", ":23", "host:", "host:0", "host:x", "host:99999", "[::1", "[::1]23"] {
            assert!(split_address(text, 23).is_err(), "{text}");
        }
    }
}
