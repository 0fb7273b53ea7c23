//! TLS by rustls, on aws-lc-rs.

/// Makes aws-lc-rs the one cryptography provider of this process. Call it before anything else; a second call does nothing.
pub fn install_provider() {
    // The only error is that one is installed already, and nothing else in this program installs one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
