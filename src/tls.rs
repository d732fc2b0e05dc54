//! The gateway's own certificate.
//!
//! In come PEM texts, out comes what a TLS handshake needs, or the reason why
//! they do not fit. Reads no files, opens no sockets.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::secret::Digest;

/// A certificate with its key, ready to serve.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    /// Of the certificate alone: it tells one from the next.
    digest: Digest,
}

/// A certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no certificate.
    #[error("no certificate in PEM form")]
    NoCertificate,
    /// There is no key.
    #[error("no private key in PEM form")]
    NoKey,
    /// They do not fit together, or are of a kind that cannot be used.
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
}

impl Identity {
    /// Takes a chain of certificates, the gateway's own first, and the key.
    ///
    /// # Errors
    /// If either is not there, or the two do not fit together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, Error> {
        let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(Error::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Error::NoKey)?;
        let digest = Digest::of_bytes(certificates);
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), digest })
    }

    /// What a handshake needs.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.digest.matches(&other.digest)
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[track_caller]
    fn fault(certificate: &str, key: &str) -> String {
        Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_certificate_and_its_key_are_taken() {
        let (certificate, key) = made();
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(identity, identity.clone());
        assert_eq!(identity.config().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(!format!("{identity:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let ((certificate, key), (_, other)) = (made(), made());
        assert_eq!(fault("", &key), "no certificate in PEM form");
        assert_eq!(fault(&key, &key), "no certificate in PEM form");
        assert_eq!(fault(&certificate, ""), "no private key in PEM form");
        assert!(
            fault(&certificate, &other).contains("keys may not be consistent"),
            "{}",
            fault(&certificate, &other)
        );
    }
}
