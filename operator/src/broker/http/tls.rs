//! Certificates for HTTPS: whom to trust, and what to show.
//!
//! In: a `Connection`. Out: the configuration of TLS. What is wrong is said without repeating what stands in a Secret.
//! Does not know about HTTP.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::broker::client::Error;
use crate::object::{Connection, Identity};

/// Trusts the system's certificates and those of the connection, and shows the connection's own where it has one.
///
/// # Errors
/// [`Error::Unencodable`] for certificates that cannot be used.
pub(super) fn config(connection: &Connection) -> Result<ClientConfig, Error> {
    let unusable = |what: &str| Error::Unencodable(format!("{what}: not PEM, or not usable"));
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in connection.ca.iter().flat_map(|ca| CertificateDer::pem_slice_iter(ca)) {
        let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
        added.ok_or_else(|| unusable("CA certificate"))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Unencodable(error.to_string()))?
        .with_root_certificates(roots);
    let Some(Identity { certificate, key }) = &connection.identity else {
        return Ok(config.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|_| unusable("the operator's certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| unusable("the key of the operator's certificate"))?;
    config
        .with_client_auth_cert(chain, key)
        .map_err(|_| unusable("the operator's certificate and its key"))
}
