//! Small documents over HTTPS, where keys are had from.
//!
//! Comes in: an address, authorities, and a file with a token for those who ask for one, such as the API server of
//! Kubernetes. Goes out: the document, or one line that says why not. No redirects, no proxies. The token is in no
//! line.

use crate::access::secret;
use axum::http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The largest document, bytes.
const LARGEST: usize = 1 << 20;
/// The longest time for all of it.
const PATIENCE: Duration = Duration::from_secs(5);
const HTTPS: u16 = 443;
/// Kinds of documents. The API server of Kubernetes gives its keys as the first of them only.
const ACCEPTED: &str = "application/jwk-set+json, application/json, */*;q=0.1";

/// The document at an address.
///
/// # Errors
/// It can't be had, in one line.
pub async fn get(url: &str, authorities: Option<&Path>, token: Option<&Path>) -> Result<Bytes, String> {
    let fetched = timeout(PATIENCE, fetch(url, authorities, token)).await;
    fetched.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
}

async fn fetch(url: &str, authorities: Option<&Path>, token: Option<&Path>) -> Result<Bytes, String> {
    let (uri, host) = parse(url)?;
    let (authorities, token) = (authorities.map(PathBuf::from), token.map(PathBuf::from));
    let read = tokio::task::spawn_blocking(move || Ok::<_, String>((trust(authorities)?, bearer(token)?)));
    let (config, token) = read.await.map_err(|_| "its files can't be read")??;
    let name = ServerName::try_from(host.clone()).map_err(|_| format!("'{host}' is no name of a host"))?;
    let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(HTTPS)));
    let stream = stream.await.map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = stream.await.map_err(|error| error.to_string())?;
    let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| error.to_string())?;
    let asked = async move {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::get(path).header(header::ACCEPT, ACCEPTED);
        if let Some(authority) = uri.authority() {
            request = request.header(header::HOST, authority.as_str());
        }
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    };
    tokio::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // What has come before the end of the connection is there still.
        _ = connection => asked.await,
    }
}

/// An address with its host.
///
/// # Errors
/// It is none of HTTPS.
pub fn parse(url: &str) -> Result<(Uri, String), String> {
    let wrong = || format!("'{url}' is no address that begins with https://");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri
        .host()
        .filter(|_| uri.scheme_str() == Some("https"))
        .ok_or_else(wrong)?;
    // It stands in log lines.
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("an address must not have a password in it".into());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((uri, host))
}

/// The authorities of a file, or those of the system.
fn trust(file: Option<PathBuf>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let text = crate::files::read_text(&path).map_err(|error| wrong(&error))?;
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"there is no certificate in it"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no certificates of authorities; name a file with https.cacertfile".into());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The header with the token of a file.
fn bearer(file: Option<PathBuf>) -> Result<Option<HeaderValue>, String> {
    let Some(path) = file else { return Ok(None) };
    let token = secret::line(&path)?;
    let wrong = |_| format!("{}: the first line is no token", path.display());
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_https() {
        let host = |url: &str| parse(url).map(|(_, host)| host);
        assert_eq!(host("https://idp.example:8443/jwks?x=1"), Ok("idp.example".into()));
        assert_eq!(host("https://[::1]:8443/"), Ok("::1".into()));
        for wrong in [
            "http://idp.example/",
            "idp.example",
            "",
            "https:///x",
            "file:///etc/passwd",
            "https://u:p@h/",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
