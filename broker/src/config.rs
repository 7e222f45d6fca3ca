//! Settings, checked.
//!
//! Comes in: a TOML file, the environment (`LEVERET_...`), flags; each overrides the one before. Goes out: `Config`, or
//! one line that names the key, the value and what is allowed. What there is to set stands in `config/table.rs`, once.

/// Settings of tokens.
mod oauth2;

/// Settings as they were written: flags, environment, file.
mod flags;

/// The settings, each stated once.
mod table;

/// The table for other programs.
#[cfg(test)]
mod schema;

/// A setting: what is said of it once, for file, environment, flags, help and document.
mod setting;

/// Values of settings: text to numbers, sizes, times, files, addresses.
mod values;

/// A setting that can't be used, in one line.
mod error;

pub use error::Error;
pub use flags::Flags;

use crate::access::logins::Backends;
use crate::access::secret;
use crate::access::users::Users;
use crate::limits::Most;
use crate::protocol::{SERVICES, Service};
use setting::{Described, Setting};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use table::{
    ADMIN_PASSWORD_FILE, ADMIN_USER_FILE, AUTH_BACKENDS, AUTH_MECHANISMS, AUTH_OAUTH2, CHANNEL_MAX, DATA_DIR,
    DEFINITIONS_SKIP_IF_UNCHANGED, DISK_FREE_LIMIT, FLUSH_INTERVAL, FRAME_MAX, GUEST_LOOPBACK_ONLY, HANDSHAKE_TIMEOUT,
    HEARTBEAT, INITIAL_FRAME_MAX, LOAD_DEFINITIONS, LOCK_TIMEOUT, LOG, LOG_FORMAT, MANAGEMENT_HTTP_MAX_BODY_SIZE,
    MAX_HEADER_SIZE, MAX_MESSAGE_SIZE, MEMORY_WATERMARK, SEGMENT_SIZE, SHUTDOWN_TIMEOUT, SSL_CERT_LOGIN_FROM,
    SSL_CERT_LOGIN_SAN_INDEX, SSL_CERT_LOGIN_SAN_TYPE, THREADS, TLS_CA, TLS_CERT, TLS_KEY, ZEROMQ,
};
use values::{DiskLimit, Kind, addresses, default_addresses};

/// Threads that serve clients, at least, however few cores there are: while one is busy for long, others answer.
const THREADS_MIN: usize = 4;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the log.
    pub data_dir: PathBuf,
    /// Services, and the addresses that they listen on.
    pub listen: Vec<Listen>,
    /// Certificates, if there are addresses that need them.
    pub tls: Option<TlsFiles>,
    /// Users who may log in.
    pub users: Users,
    /// Definitions that a start loads.
    pub definitions: Option<Definitions>,
    /// Largest body of a request over HTTP, bytes.
    pub max_body_bytes: u64,
    /// Those whom a login is asked of.
    pub backends: Backends,
    /// ZeroMQ's sockets, as lines of `NAME.FIELD=VALUE`.
    pub zeromq: Vec<String>,
    /// Terms for clients that connect.
    pub offer: Offer,
    /// Most connections, channels, queues and so on.
    pub most: Most,
    /// Largest message body, bytes.
    pub max_message_bytes: u64,
    /// Largest header of a message, bytes.
    pub max_header_bytes: u64,
    /// Bytes of messages in memory above which publishers are stopped.
    pub memory_watermark_bytes: u64,
    /// Free bytes of the data's file system below which publishers are stopped; `None` is the default for the segments'
    /// size.
    pub disk_free_limit_bytes: Option<u64>,
    /// Size of a segment of the log, bytes.
    pub segment_bytes: u64,
    /// Longest time until what no client waits for is synced.
    pub flush_interval: Duration,
    /// Longest time that clients get to close.
    pub shutdown_timeout: Duration,
    /// Longest time that the start waits for another process to let go of the folder.
    pub lock_timeout: Duration,
    /// Threads of the runtime.
    pub threads: usize,
    /// Log filter.
    pub log: String,
    /// True if log lines are JSON.
    pub log_json: bool,
}

/// Definitions that a start loads.
#[derive(Clone, Debug)]
pub struct Definitions {
    /// A file, or a folder of files.
    pub path: PathBuf,
    /// True if they are passed over where they are as at the last time.
    pub skip_if_unchanged: bool,
    /// Largest file, bytes.
    pub max_bytes: u64,
}

/// The addresses of a service.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The service.
    pub service: &'static Service,
    /// Its addresses.
    pub addresses: Vec<SocketAddr>,
    /// True if they are only the defaults: those that this machine doesn't have are left out.
    pub defaults: bool,
}

/// Terms for a client that connects.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Limits that it is offered.
    pub limits: Limits,
    /// Largest frame until it has logged in, bytes.
    pub initial_frame_max: u32,
    /// Longest time until connection.open.
    pub handshake_timeout: Duration,
    /// Ways to log in.
    pub mechanisms: Mechanisms,
    /// The name in a certificate that its user has.
    pub certificate_name: CertificateName,
}

/// Ways to log in that are offered (SASL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// User and password.
    pub plain: bool,
    /// The same in a table of AMQP.
    pub amqplain: bool,
    /// The certificate of a client over TLS.
    pub external: bool,
}

/// The name in a certificate that a user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The whole name of the owner.
    Distinguished,
    /// The common name of the owner.
    Common,
    /// A further name: the one at this place among those of its kind, from 0 on.
    Alternative(Alternative, usize),
}

/// Kinds of further names in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alternative {
    /// A host.
    Dns,
    /// An address.
    Ip,
    /// An address of mail.
    Email,
    /// A URI.
    Uri,
}

/// Limits of a connection, as offered or agreed at connection.tune.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest frame, bytes; 0 is no limit.
    pub frame_max: u32,
    /// Highest channel number; 0 is no limit but that of the protocol.
    pub channel_max: u16,
    /// Heartbeat, seconds; 0 is none.
    pub heartbeat_seconds: u16,
}

/// Files of TLS, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The broker's certificate, with those up to its authority.
    pub certificate: PathBuf,
    /// The broker's key.
    pub key: PathBuf,
    /// Authority of clients' certificates; without it clients need none.
    pub client_ca: Option<PathBuf>,
}

/// True if a change of a setting takes effect while the broker runs, soon after the settings file has changed; all
/// others do at the next start. The writer of the file (the operator, for one) may rely on it.
pub fn is_live(key: &str) -> bool {
    table::find(key).is_some_and(Described::live)
}

impl Flags {
    /// Checks everything.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn check(&self) -> Result<Config, Error> {
        let cores = || {
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .clamp(THREADS_MIN, 256)
        };
        let segment_bytes = self.read(&SEGMENT_SIZE)?;
        let limits = Limits {
            frame_max: self.read(&FRAME_MAX)? as u32,
            channel_max: self.read(&CHANNEL_MAX)? as u16,
            heartbeat_seconds: self.read(&HEARTBEAT)?.as_secs() as u16,
        };
        Ok(Config {
            data_dir: self.data_dir()?,
            listen: SERVICES
                .iter()
                .filter_map(|service| self.listen(service).transpose())
                .collect::<Result<_, _>>()?,
            tls: self.tls_files()?,
            users: self.users()?,
            definitions: self.definitions()?,
            max_body_bytes: self.read(&MANAGEMENT_HTTP_MAX_BODY_SIZE)?,
            backends: self.backends()?,
            zeromq: self.texts(ZEROMQ.key).to_vec(),
            offer: Offer {
                limits,
                initial_frame_max: self.read(&INITIAL_FRAME_MAX)? as u32,
                handshake_timeout: self.read(&HANDSHAKE_TIMEOUT)?,
                mechanisms: self.mechanisms()?,
                certificate_name: self.certificate_name()?,
            },
            most: Most::each(|quota| self.read(table::of_quota(quota)))?,
            max_message_bytes: self.read(&MAX_MESSAGE_SIZE)?,
            max_header_bytes: self.read(&MAX_HEADER_SIZE)?,
            memory_watermark_bytes: self.read(&MEMORY_WATERMARK)?,
            disk_free_limit_bytes: self.disk_free_limit(segment_bytes)?,
            segment_bytes,
            flush_interval: self.read(&FLUSH_INTERVAL)?,
            shutdown_timeout: self.read(&SHUTDOWN_TIMEOUT)?,
            lock_timeout: self.read(&LOCK_TIMEOUT)?,
            threads: self.optional(&THREADS)?.map_or_else(cores, |threads| threads as usize),
            log: self.read(&LOG)?,
            log_json: self.read(&LOG_FORMAT)? == "json",
        })
    }

    fn data_dir(&self) -> Result<PathBuf, Error> {
        self.optional(&DATA_DIR)?
            .filter(|folder| !folder.as_os_str().is_empty())
            .ok_or(Error::NoDataDir)
    }

    /// The addresses of a service. One over TLS has none but those that are given, which need a certificate.
    fn listen(&self, service: &'static Service) -> Result<Option<Listen>, Error> {
        let (key, texts) = (service.setting, self.texts(service.setting));
        if service.tls && !texts.is_empty() && self.text(&TLS_CERT).is_none() {
            let allowed = "an address only together with tls_cert and tls_key";
            return Err(Error::value(key, &texts.join(","), allowed));
        }
        let defaults = texts.is_empty();
        let addresses = match defaults {
            true if service.tls => return Ok(None),
            true => default_addresses(service.port),
            false => addresses(key, texts, service.port)?,
        };
        Ok(Some(Listen {
            service,
            addresses,
            defaults,
        }))
    }

    fn tls_files(&self) -> Result<Option<TlsFiles>, Error> {
        let client_ca = self.optional(&TLS_CA)?;
        match (self.both(&TLS_CERT, &TLS_KEY)?, client_ca) {
            (Some((certificate, key)), client_ca) => Ok(Some(TlsFiles {
                certificate,
                key,
                client_ca,
            })),
            (None, Some(path)) => Err(Error::value(
                TLS_CA.key,
                &path.display().to_string(),
                "a file only together with tls_cert and tls_key",
            )),
            (None, None) => Ok(None),
        }
    }

    fn users(&self) -> Result<Users, Error> {
        if let Some((user, password)) = self.both(&ADMIN_USER_FILE, &ADMIN_PASSWORD_FILE)? {
            for (key, path) in [(ADMIN_USER_FILE.key, &user), (ADMIN_PASSWORD_FILE.key, &password)] {
                secret::line(path).map_err(|why| {
                    let allowed = format!("a file with one line ({why})");
                    Error::value(key, &path.display().to_string(), &allowed)
                })?;
            }
            return Ok(Users::Files { user, password });
        }
        Ok(Users::Guest {
            loopback_only: self.read(&GUEST_LOOPBACK_ONLY)?,
            made: self.text(&LOAD_DEFINITIONS).is_none(),
        })
    }

    fn definitions(&self) -> Result<Option<Definitions>, Error> {
        let Some(path) = self.optional(&LOAD_DEFINITIONS)? else {
            return Ok(None);
        };
        Ok(Some(Definitions {
            path,
            skip_if_unchanged: self.read(&DEFINITIONS_SKIP_IF_UNCHANGED)?,
            max_bytes: self.read(&MANAGEMENT_HTTP_MAX_BODY_SIZE)?,
        }))
    }

    fn backends(&self) -> Result<Backends, Error> {
        let texts = self.texts(AUTH_BACKENDS.key).iter();
        let named: Vec<&str> = texts.map(|text| AUTH_BACKENDS.parse(text)).collect::<Result<_, _>>()?;
        let has = |name: &str| named.iter().any(|named| named.ends_with(name));
        let tokens = oauth2::terms(self.texts(AUTH_OAUTH2.key))?;
        if has("oauth2") != tokens.is_some() {
            let (key, allowed) = match tokens {
                None => (AUTH_BACKENDS.key, "oauth2 only together with auth_oauth2"),
                Some(_) => (AUTH_OAUTH2.key, "anything only together with oauth2 in auth_backends"),
            };
            return Err(Error::value(key, &named.join(","), allowed));
        }
        Ok(Backends {
            internal: named.is_empty() || has("internal"),
            tokens,
        })
    }

    fn mechanisms(&self) -> Result<Mechanisms, Error> {
        let texts = self.texts(AUTH_MECHANISMS.key).iter();
        let named: Vec<&str> = texts
            .map(|text| AUTH_MECHANISMS.parse(text))
            .collect::<Result<_, _>>()?;
        let has = |name: &str| named.contains(&name);
        if has("EXTERNAL") && self.text(&TLS_CA).is_none() {
            let allowed = "EXTERNAL only together with tls_ca";
            return Err(Error::value(AUTH_MECHANISMS.key, &named.join(","), allowed));
        }
        Ok(Mechanisms {
            plain: named.is_empty() || has("PLAIN"),
            amqplain: named.is_empty() || has("AMQPLAIN"),
            external: has("EXTERNAL"),
        })
    }

    fn certificate_name(&self) -> Result<CertificateName, Error> {
        let kind = match self.read(&SSL_CERT_LOGIN_SAN_TYPE)? {
            "ip" => Alternative::Ip,
            "email" => Alternative::Email,
            "uri" => Alternative::Uri,
            _ => Alternative::Dns,
        };
        let index = self.read(&SSL_CERT_LOGIN_SAN_INDEX)? as usize;
        Ok(match self.read(&SSL_CERT_LOGIN_FROM)? {
            "common_name" => CertificateName::Common,
            "distinguished_name" => CertificateName::Distinguished,
            _ => CertificateName::Alternative(kind, index),
        })
    }

    fn disk_free_limit(&self, segment_bytes: u64) -> Result<Option<u64>, Error> {
        let text = self.text(&DISK_FREE_LIMIT);
        let parse = |text| DiskLimit::with_segments(segment_bytes).parse(DISK_FREE_LIMIT.key, text);
        text.map(parse).transpose()
    }

    /// Two files that only make sense together.
    fn both<K: Kind<Value = PathBuf>>(
        &self,
        a: &Setting<K>,
        b: &Setting<K>,
    ) -> Result<Option<(PathBuf, PathBuf)>, Error> {
        let alone = |given: &Setting<K>, path: PathBuf, other: &Setting<K>| {
            let allowed = format!("a file only together with {}", other.key);
            Err(Error::value(given.key, &path.display().to_string(), &allowed))
        };
        match (self.optional(a)?, self.optional(b)?) {
            (Some(first), Some(second)) => Ok(Some((first, second))),
            (Some(path), None) => alone(a, path, b),
            (None, Some(path)) => alone(b, path, a),
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
