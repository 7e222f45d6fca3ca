//! TLS: certificate and key from files, read again when they change.
//!
//! Comes in: PEM files, as a `kubernetes.io/tls` Secret is mounted. Goes out: an acceptor for the next connection; open
//! ones keep theirs. Does not know what is spoken inside.

use super::certificate::Certificate;
use crate::config::TlsFiles;
use anyhow::{Context, anyhow};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{error, info};

/// Shortest time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest time that a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Certificates that follow their files.
pub struct Certificates {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    expires: Option<i64>,
    stamps: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that can't be read or used, by name.
    pub fn load(files: TlsFiles) -> anyhow::Result<Self> {
        let stamps = stamps(&files);
        let (config, expires) = read(&files)?;
        let current = Mutex::new(Current {
            config: Arc::new(config),
            expires,
            stamps,
            looked: Instant::now(),
        });
        Ok(Self { files, current })
    }

    /// An acceptor with the files as they are now. Files that are broken are logged, and the ones before them stay in
    /// use.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock();
        if current.looked.elapsed() >= LOOK_EVERY {
            current.looked = Instant::now();
            let stamps = stamps(&self.files);
            if stamps != current.stamps {
                current.stamps = stamps;
                match read(&self.files) {
                    Ok((config, expires)) => {
                        info!(certificate = %self.files.certificate.display(), "the TLS certificate was read again");
                        current.config = Arc::new(config);
                        current.expires = expires;
                    }
                    Err(error) => error!("the TLS files have changed and can't be used; the old ones stay: {error:#}"),
                }
            }
        }
        TlsAcceptor::from(current.config.clone())
    }

    /// The end of the first certificate that ends, of the chain and of the authorities, in seconds since 1970.
    pub fn expires(&self) -> Option<i64> {
        self.current.lock().expires
    }

    /// Agrees on TLS with a client.
    ///
    /// # Errors
    /// The client doesn't speak it, has no certificate that is asked for, or takes longer than 10 s.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        timeout(HANDSHAKE_TIMEOUT, self.acceptor().accept(stream)).await?
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<SystemTime>> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    paths
        .into_iter()
        .flatten()
        .map(|path| crate::files::modified(path))
        .collect()
}

/// The configuration, and when the first certificate in it ends.
fn read(files: &TlsFiles) -> anyhow::Result<(ServerConfig, Option<i64>)> {
    let chain = certificates(&files.certificate)?;
    let authorities = files
        .client_ca
        .as_deref()
        .map(certificates)
        .transpose()?
        .unwrap_or_default();
    let ends = chain
        .iter()
        .chain(&authorities)
        .filter_map(|certificate| Certificate::parse(certificate));
    let expires = ends.map(|certificate| certificate.not_after).min();
    let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?)
        .map_err(|error| anyhow!("{}: not a private key in PEM ({error})", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in authorities {
                roots
                    .add(certificate)
                    .with_context(|| format!("{}: not a certificate authority", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key).with_context(|| {
        format!(
            "{} and {} don't belong together",
            files.certificate.display(),
            files.key.display()
        )
    })?;
    Ok((config, expires))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let bytes = bytes(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow!("{}: not certificates in PEM ({error})", path.display()))?;
    if found.is_empty() {
        return Err(anyhow!("{}: there is no certificate in it", path.display()));
    }
    Ok(found)
}

fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    crate::files::read_text(path)
        .map(String::into_bytes)
        .with_context(|| format!("cannot read {}", path.display()))
}
