//! TLS towards Coze: which certificates are trusted, and the handshake.
//!
//! Trusted are the authorities of the system and those of the settings.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::SettingsError;
use super::socket::Socket;

/// What a handshake with one server needs.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// Reads certificates in PEM form.
///
/// # Errors
/// If there are none, or they are malformed.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match read {
        Ok(read) if !read.is_empty() => Ok(read),
        Ok(_) => Err(SettingsError("no certificate in PEM form".to_owned())),
        Err(error) => Err(SettingsError(format!("no certificate in PEM form: {error}"))),
    }
}

/// What all handshakes need.
///
/// # Errors
/// If a certificate cannot be used, or the system has none and none are given.
pub(super) fn connector(more: Vec<CertificateDer<'static>>) -> Result<TlsConnector, SettingsError> {
    let unusable = |error: rustls::Error| SettingsError(format!("TLS cannot be used: {error}"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(more, Arc::clone(&provider)).map_err(unusable)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        // That is how a verifier is given that adds to the system's
        // certificates; it checks all that the usual one does.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Tls {
    /// For the server of a URL.
    ///
    /// # Errors
    /// If its name is none that a certificate could have.
    pub(super) fn new(connector: TlsConnector, url: &Url) -> Result<Self, SettingsError> {
        let unnamed = || SettingsError("the host cannot be checked by TLS".to_owned());
        let name = match url.host().ok_or_else(unnamed)? {
            Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| unnamed())?,
            Host::Ipv4(address) => ServerName::IpAddress(std::net::IpAddr::from(address).into()),
            Host::Ipv6(address) => ServerName::IpAddress(std::net::IpAddr::from(address).into()),
        };
        Ok(Self { connector, name })
    }

    /// Does the handshake over a socket.
    ///
    /// # Errors
    /// If it fails.
    pub(super) async fn over(&self, socket: Socket) -> io::Result<Socket> {
        let stream = self.connector.connect(self.name.clone(), socket).await?;
        Ok(Socket::Tls(Box::new(stream)))
    }
}
