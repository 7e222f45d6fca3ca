//! An identity provider: it signs tokens, and serves its keys over HTTPS as it is told to.
//!
//! In: claims; what to answer. Out: tokens, an address with an authority's certificate, and how often it was asked.
//! Does not know who asks.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::openssl;

/// The answer to those who ask for keys.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A set of keys, or anything else.
    Body(String),
    /// Nothing, for so long.
    Silence(Duration),
}

/// An identity provider.
pub struct Issuer {
    /// Its address.
    pub address: SocketAddr,
    folder: TempDir,
    shared: Arc<Shared>,
    key: Key,
}

/// A key that tokens are signed with.
pub struct Key {
    /// Its id.
    pub id: String,
    pair: EcdsaKeyPair,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
}

impl Key {
    /// A new one.
    pub fn new(id: &str) -> Key {
        let random = SystemRandom::new();
        let with = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(with, &random).expect("a key");
        Key {
            id: id.to_owned(),
            pair: EcdsaKeyPair::from_pkcs8(with, pkcs8.as_ref(), &random).expect("a key"),
        }
    }

    /// Its public part, as a set of keys has it.
    pub fn public(&self) -> Value {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "alg": "ES256", "x": x, "y": y})
    }

    /// A token with this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": "ES256", "typ": "JWT", "kid": self.id}), claims)
    }
}

/// Header and claims, without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// A token that is signed with a secret.
pub fn with_secret(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = unsigned(header, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// The present second.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// Claims of a user with scopes, for so many seconds.
pub fn claims(user: &str, scope: &str, seconds: u64) -> Value {
    json!({"sub": user, "aud": "rabbitmq", "scope": scope, "exp": now() + seconds, "iss": "https://idp.example"})
}

impl Issuer {
    /// One with a key, which it serves.
    pub fn start() -> Issuer {
        let folder = TempDir::new().expect("a folder");
        openssl(
            folder.path(),
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -keyout key -out crt \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost,IP:127.0.0.1",
        );
        let read = |name: &str| fs::read(folder.path().join(name)).expect("openssl has made it");
        let chain = vec![CertificateDer::from_pem_slice(&read("crt")).expect("a certificate")];
        let private = PrivateKeyDer::from_pem_slice(&read("key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .expect("they belong together");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let key = Key::new("1");
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::Body(set(&[&key]))),
            asked: AtomicUsize::new(0),
        });
        let (config, serving) = (Arc::new(config), shared.clone());
        // It ends with the test program.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, serving) = (config.clone(), serving.clone());
                thread::spawn(move || serve(stream, config, &serving));
            }
        });
        Issuer {
            address,
            folder,
            shared,
            key,
        }
    }

    /// The certificate of its authority.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("crt")
    }

    /// The address of its keys.
    pub fn keys_at(&self) -> String {
        format!("https://localhost:{}/keys", self.address.port())
    }

    /// Settings of a broker that accepts its tokens.
    pub fn settings(&self) -> Vec<String> {
        let lines = [
            "resource_server_id=rabbitmq".to_owned(),
            "issuer=https://idp.example".to_owned(),
            format!("jwks_uri={}", self.keys_at()),
            format!("https.cacertfile={}", self.authority().display()),
        ];
        let lines = lines.into_iter().map(|line| format!("--auth-oauth2={line}"));
        ["--auth-backends=oauth2,internal".to_owned()]
            .into_iter()
            .chain(lines)
            .collect()
    }

    /// The key that it signs with.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Signs with another key from now on, and serves that alone.
    pub fn rotate(&mut self, id: &str) {
        self.key = Key::new(id);
        self.answer(Answer::Body(set(&[&self.key])));
    }

    /// Answers so from now on.
    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// The number of times that it was asked.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }
}

/// A set of keys.
pub fn set(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>()}).to_string()
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &Shared) -> Option<()> {
    let connection = ServerConnection::new(config).ok()?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&part[..count]);
    }
    shared.asked.fetch_add(1, Ordering::Relaxed);
    let answer = shared.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let body = match answer {
        Answer::Body(body) => body,
        Answer::Silence(time) => {
            thread::sleep(time);
            return None;
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}
