//! The certificate of the admin plane: read at start-up and again at each reload, whole or not at all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::resolved::AdminTls;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of what was expected.
    #[error("{what} cannot be read from {}: {source}", file.display())]
    File {
        /// Of the two.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file holds none.
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    /// The two do not belong together, or are of a kind that is not known.
    #[error("the certificate in {} cannot be used with the key in {}: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// What new connections are met with. Those that are open keep what they began with.
pub struct Certificates(ArcSwap<ServerConfig>);

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(files: &AdminTls) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from(read(files)?)))
    }

    /// What is in force.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }

    /// Puts what [`read`] gave in force.
    pub fn replace(&self, with: Arc<ServerConfig>) {
        self.0.store(with);
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates(…)")
    }
}

/// Reads certificate and key.
///
/// # Errors
/// When they cannot be read or used.
pub fn read(files: &AdminTls) -> Result<Arc<ServerConfig>, TlsError> {
    let AdminTls { certificate, key } = files;
    let failed = |what, file: &Path| {
        let file = file.to_owned();
        move |source| TlsError::File { what, file, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(failed("the certificate", certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(certificate.clone()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(failed("the private key", key))?;
    let pair = |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
