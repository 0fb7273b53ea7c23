//! TLS on both sides, by rustls on aws-lc-rs: TLS 1.2 and 1.3 (RFC 5246, RFC 8446), nothing older.
//!
//! - A listener shows its certificate and may ask clients for theirs.
//! - Towards a host the certificate is verified, with the system's roots or a file of them, or pinned: a pin is the
//!   SHA-256 of the whole certificate in DER, which is what `openssl x509 -fingerprint -sha256` prints. There is no way
//!   to go without both.
//! - Every handshake has a time limit.

use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, CommonState, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Makes aws-lc-rs the one cryptography provider of this process. Call it before anything else; a second call does nothing.
pub fn install_provider() {
    // The only error is that one is installed already, and nothing else in this program installs one.
    let _ = provider().install_default();
}

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// The file is not what it should be.
    #[error("has no {0} in PEM form")]
    Missing(&'static str),
    /// The file has broken PEM.
    #[error("has broken PEM: {0}")]
    Pem(pem::Error),
    /// A certificate among the trusted ones cannot be used.
    #[error("has a certificate that cannot be used: {0}")]
    Root(rustls::Error),
    /// The system has no trusted certificates where we look for them.
    #[error("the system's trusted certificates were not found{0}")]
    NoSystemRoots(String),
    /// Certificate and key do not belong together, or cannot be used.
    #[error("key and certificate cannot be used together: {0}")]
    Pair(rustls::Error),
    /// The certificates of a client CA cannot be used.
    #[error("cannot be used to verify clients: {0}")]
    ClientCa(String),
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("TLS handshake not done within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// One side refused it.
    #[error("TLS handshake failed: {0}")]
    Failed(io::Error),
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// A client without one is served too; one that is shown must be valid.
    Optional,
    /// A client without a valid one is refused.
    Required,
}

/// The SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of `certificate`.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut pin = [0; 32];
        pin.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate).as_ref());
        Self(pin)
    }

    /// The pin as rules know it.
    #[must_use]
    pub const fn fingerprint(self) -> policy::Fingerprint {
        policy::Fingerprint::new(self.0)
    }
}

impl FromStr for Pin {
    type Err = &'static str;

    /// Reads `sha256:` and 64 hexadecimal digits; colons between the digits, as openssl prints them, are skipped.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "`sha256:` and the 64 hexadecimal digits of `openssl x509 -fingerprint -sha256`";
        let digits = text.strip_prefix("sha256:").ok_or(EXPECTED)?.replace(':', "");
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| EXPECTED)?;
        bytes.try_into().map(Self).map_err(|_| EXPECTED)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a host's certificate is judged.
#[derive(Debug)]
pub enum Trust {
    /// By a chain to one of these, and by its name.
    Roots(RootCertStore),
    /// By being one of these, whatever its names, dates and issuer.
    Pins(Vec<Pin>),
}

/// Reads the certificates of a PEM file, the end-entity's first.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let file = CertificateDer::pem_file_iter(path).map_err(pem_error("certificate"))?;
    let certificates = file.collect::<Result<Vec<_>, _>>().map_err(pem_error("certificate"))?;
    if certificates.is_empty() { Err(Error::Missing("certificate")) } else { Ok(certificates) }
}

/// What a connection that is up speaks: version and cipher suite.
#[must_use]
pub fn describe(connection: &CommonState) -> Option<String> {
    let version = connection.protocol_version()?.as_str()?;
    let suite = connection.negotiated_cipher_suite()?.suite();
    Some(format!("{version} {}", suite.as_str().unwrap_or("unknown suite")))
}

/// From when until when a certificate is valid, in seconds since 1970.
#[must_use]
pub fn dates(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let validity = parsed.tbs_certificate.validity;
    let seconds = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
    Some((seconds(validity.not_before)?, seconds(validity.not_after)?))
}

/// The DNS names and IP addresses that a certificate is for.
#[must_use]
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = x509_cert::Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some((_, names))) = parsed.tbs_certificate.get::<SubjectAltName>() else { return Vec::new() };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes() {
            &[a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            bytes => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    };
    names.0.iter().filter_map(text).collect()
}

/// Whether `certificate` names the subject of `issuer` as its issuer. The signature is not looked at.
#[must_use]
pub fn is_issued_by(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
    let parse = |der: &CertificateDer<'_>| x509_cert::Certificate::from_der(der).ok();
    match (parse(certificate), parse(issuer)) {
        (Some(certificate), Some(issuer)) => certificate.tbs_certificate.issuer == issuer.tbs_certificate.subject,
        _ => false,
    }
}

/// Reads the private key of a PEM file (PKCS #8, PKCS #1 or SEC 1).
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(path).map_err(pem_error("private key"))
}

/// The trusted certificates of a PEM file.
pub fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(Error::Root)?;
    }
    Ok(roots)
}

/// The trusted certificates of this system.
pub fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry old certificates that webpki does not take; the others still count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let mut why = String::new();
        for error in found.errors {
            let _ = write!(why, "; {error}");
        }
        return Err(Error::NoSystemRoots(why));
    }
    Ok(roots)
}

/// What a listener needs to speak TLS.
pub fn listener_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<(RootCertStore, ClientCertificates)>,
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::Pair)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((roots, wish)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()));
            let verifier = match wish {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                ClientCertificates::Required => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| Error::ClientCa(error.to_string()))?)
        }
    };
    Ok(Arc::new(builder.with_single_cert(chain, key).map_err(Error::Pair)?))
}

/// What it needs to speak TLS to a host.
pub fn host_config(trust: Trust) -> Result<Arc<ClientConfig>, Error> {
    client_config(trust, rustls::ALL_VERSIONS, None)
}

/// A certificate with its chain, and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What it needs to speak these versions of TLS to whom `trust` fits, showing `identity` where we are asked who we are.
pub fn client_config(
    trust: Trust,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<Identity>,
) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(versions)
        .map_err(Error::Pair)?;
    let builder = match trust {
        Trust::Roots(roots) => {
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider())).build();
            builder.with_webpki_verifier(verifier.map_err(|error| Error::ClientCa(error.to_string()))?)
        }
        Trust::Pins(pins) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Pinned {
            pins,
            algorithms: provider().signature_verification_algorithms,
        })),
    };
    Ok(Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(Error::Pair)?,
    }))
}

/// Does the listener's side of a handshake.
pub async fn accept(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    limit: Duration,
) -> Result<Box<server::TlsStream<TcpStream>>, HandshakeError> {
    let handshake = TlsAcceptor::from(config).accept(stream);
    match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(HandshakeError::Failed(error)),
        Err(_) => Err(HandshakeError::TimedOut(limit)),
    }
}

/// Does the client's side of a handshake, towards a host.
pub async fn connect(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
    limit: Duration,
) -> Result<Box<client::TlsStream<TcpStream>>, HandshakeError> {
    let handshake = TlsConnector::from(config).connect(name, stream);
    match tokio::time::timeout(limit, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(HandshakeError::Failed(error)),
        Err(_) => Err(HandshakeError::TimedOut(limit)),
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

fn pem_error(what: &'static str) -> impl Fn(pem::Error) -> Error {
    move |error| {
        if let pem::Error::Io(error) = error {
            Error::Read(error)
        } else if matches!(error, pem::Error::NoItemsFound) {
            Error::Missing(what)
        } else {
            Error::Pem(error)
        }
    }
}

/// Takes the certificates that are pinned and no other.
#[derive(Debug)]
struct Pinned {
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pin = Pin::of(end_entity);
        if self.pins.contains(&pin) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(format!("the host's certificate is {pin}, which is not pinned")))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn certificate(
        authority: &CertifiedIssuer<'static, KeyPair>,
        name: &str,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn store(authority: &CertifiedIssuer<'static, KeyPair>) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        roots
    }

    /// Connects a client of `host` to a listener of `listener`; gives what each side says.
    async fn handshake(
        listener: Arc<ServerConfig>,
        host: Arc<ClientConfig>,
        name: &str,
    ) -> (Result<(), String>, Result<(), String>) {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let served = async {
            let (stream, _) = socket.accept().await.unwrap();
            let mut stream = accept(listener, stream, LIMIT).await.map_err(|error| error.to_string())?;
            stream.write_all(b"x").await.and(stream.shutdown().await).map_err(|error| error.to_string())
        };
        let asked = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = connect(host, name, stream, LIMIT).await.map_err(|error| error.to_string())?;
            stream.read_u8().await.map(|_| ()).map_err(|error| error.to_string())
        };
        tokio::join!(served, asked)
    }

    #[tokio::test]
    async fn a_host_is_verified_by_chain_and_name() {
        let (ours, other) = (authority(), authority());
        let (chain, key) = certificate(&ours, "localhost");
        let listener = listener_config(vec![chain], key, None).unwrap();
        let good = host_config(Trust::Roots(store(&ours))).unwrap();
        assert_eq!(handshake(listener.clone(), good.clone(), "localhost").await, (Ok(()), Ok(())));
        let (_, wrong_name) = handshake(listener.clone(), good, "other.example").await;
        let message = wrong_name.unwrap_err();
        assert!(message.contains("not valid for name"), "{message}");
        let bad = host_config(Trust::Roots(store(&other))).unwrap();
        let (_, wrong_issuer) = handshake(listener, bad, "localhost").await;
        let message = wrong_issuer.unwrap_err();
        assert!(message.contains("invalid peer certificate"), "{message}");
    }

    #[tokio::test]
    async fn a_pin_takes_that_certificate_and_no_other() {
        let ours = authority();
        let (chain, key) = certificate(&ours, "localhost");
        let pin = Pin::of(&chain);
        let listener = listener_config(vec![chain], key, None).unwrap();
        let pinned = host_config(Trust::Pins(vec![pin])).unwrap();
        assert_eq!(handshake(listener.clone(), pinned, "any.name").await, (Ok(()), Ok(())));
        let other = host_config(Trust::Pins(vec![Pin([7; 32])])).unwrap();
        let (_, refused) = handshake(listener, other, "localhost").await;
        let message = refused.unwrap_err();
        assert!(message.contains(&pin.to_string()), "the message tells the pin to compare: {message}");
    }

    #[tokio::test]
    async fn client_certificates() {
        let (ours, clients) = (authority(), authority());
        let with_certificate = |issuer: &CertifiedIssuer<'static, KeyPair>| {
            let (chain, key) = certificate(issuer, "client");
            Arc::new(
                ClientConfig::builder_with_provider(Arc::new(provider()))
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_root_certificates(store(&ours))
                    .with_client_auth_cert(vec![chain], key)
                    .unwrap(),
            )
        };
        let listener = |wish| {
            let (chain, key) = certificate(&ours, "localhost");
            listener_config(vec![chain], key, Some((store(&clients), wish))).unwrap()
        };
        let without = host_config(Trust::Roots(store(&ours))).unwrap();
        for wish in [ClientCertificates::Optional, ClientCertificates::Required] {
            assert_eq!(handshake(listener(wish), with_certificate(&clients), "localhost").await, (Ok(()), Ok(())));
            let (stranger, _) = handshake(listener(wish), with_certificate(&ours), "localhost").await;
            assert!(stranger.is_err(), "a certificate of another issuer is refused ({wish:?})");
        }
        assert!(handshake(listener(ClientCertificates::Optional), without.clone(), "localhost").await.0.is_ok());
        assert!(handshake(listener(ClientCertificates::Required), without, "localhost").await.0.is_err());
    }

    #[tokio::test]
    async fn a_handshake_ends_at_its_limit() {
        let ours = authority();
        let (chain, key) = certificate(&ours, "localhost");
        let listener = listener_config(vec![chain], key, None).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _silent = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (stream, _) = socket.accept().await.unwrap();
        let error = accept(listener, stream, Duration::from_millis(20)).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, HandshakeError::TimedOut(_)));
    }

    #[test]
    fn key_and_certificate_must_match() {
        let ours = authority();
        let ((chain, _), (_, key)) = (certificate(&ours, "a"), certificate(&ours, "b"));
        let error = listener_config(vec![chain], key, None).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Pair(_)), "{error}");
    }

    #[test]
    fn pins_parse_as_openssl_prints_them() {
        let pin = Pin([0xAB; 32]);
        assert_eq!(pin.to_string().parse(), Ok(pin));
        let colons = format!("sha256:{}", ["AB"; 32].join(":"));
        assert_eq!(colons.parse(), Ok(pin));
        for wrong in ["", "sha256:", "sha256:ab", "sha1:ab", &format!("sha256:{}", "zz".repeat(32))] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }
}
