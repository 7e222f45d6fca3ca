//! Every setting: its key, unit, default and range.
//!
//! Comes in: a TOML file, the environment (`LEVERET_...`), flags; each overrides the one before. Goes out: [`Config`], or one line
//! that names the key, the value and what is allowed.

mod values;

use crate::access::users::{self, Users};
use crate::files;
use crate::protocol::{SERVICES, Service};
use clap::Parser;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use values::{addresses, boolean, disk_limit, number, size, time, watermark};

/// Flags and environment. Values are text here and checked with those of the file.
#[derive(Clone, Debug, Default, Parser)]
#[command(
    name = "leveret-broker",
    version,
    about = "An AMQP 0-9-1 message broker with a durable, synced log",
    after_help = "leveret-broker check DIR reads and verifies a data directory offline; see leveret-broker check --help"
)]
pub struct Flags {
    /// Settings file in TOML; keys are the flags' names with underscores
    #[arg(long, env = "LEVERET_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the log; made if it isn't there
    #[arg(long, env = "LEVERET_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address of AMQP clients, repeatable [default: 127.0.0.1:5672 and [::1]:5672]
    #[arg(long, env = "LEVERET_AMQP_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub amqp_listen: Vec<String>,
    /// Address of the HTTP API, repeatable [default: 127.0.0.1:15672 and [::1]:15672]
    #[arg(long, env = "LEVERET_HTTP_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub http_listen: Vec<String>,
    /// Address of AMQP clients over TLS, repeatable [default: none]
    #[arg(long, env = "LEVERET_AMQPS_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub amqps_listen: Vec<String>,
    /// Address of the HTTP API over TLS, repeatable [default: none]
    #[arg(long, env = "LEVERET_HTTPS_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',')]
    pub https_listen: Vec<String>,
    /// Certificate chain for TLS, PEM; read anew when it changes
    #[arg(long, env = "LEVERET_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// Private key for TLS, PEM; read anew when it changes
    #[arg(long, env = "LEVERET_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Authority whose certificates clients must show over TLS, PEM [default: clients need none]
    #[arg(long, env = "LEVERET_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<String>,
    /// File with the administrator's name, who then replaces guest [default: none]
    #[arg(long, env = "LEVERET_ADMIN_USER_FILE", value_name = "FILE")]
    pub admin_user_file: Option<String>,
    /// File with the administrator's password, read at every login [default: none]
    #[arg(long, env = "LEVERET_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    pub admin_password_file: Option<String>,
    /// Largest frame [default: 128KiB; 4KiB to 64MiB]
    #[arg(long, env = "LEVERET_FRAME_MAX", value_name = "SIZE")]
    pub frame_max: Option<String>,
    /// Channels a connection may open [default: 2047; 1 to 65535]
    #[arg(long, env = "LEVERET_CHANNEL_MAX", value_name = "COUNT")]
    pub channel_max: Option<String>,
    /// Time between heartbeats that the broker suggests [default: 60s; 0s (none) to 3600s]
    #[arg(long, env = "LEVERET_HEARTBEAT", value_name = "TIME")]
    pub heartbeat: Option<String>,
    /// Largest message body [default: 128MiB; 1KiB to 512MiB]
    #[arg(long, env = "LEVERET_MAX_MESSAGE_SIZE", value_name = "SIZE")]
    pub max_message_size: Option<String>,
    /// Memory for messages above which publishers are stopped [default: 40% of the memory limit; 16MiB to 16TiB, or 1% to 90%]
    #[arg(long, env = "LEVERET_MEMORY_WATERMARK", value_name = "SIZE|PERCENT")]
    pub memory_watermark: Option<String>,
    /// Free disk space below which publishers are stopped [default: 256MiB, or 4 files of the log; 3 of them to 16TiB]
    #[arg(long, env = "LEVERET_DISK_FREE_LIMIT", value_name = "SIZE")]
    pub disk_free_limit: Option<String>,
    /// Size of a file of the log [default: 64MiB; 1MiB to 2GiB]
    #[arg(long, env = "LEVERET_SEGMENT_SIZE", value_name = "SIZE")]
    pub segment_size: Option<String>,
    /// Longest time until something that nobody waits for is synced [default: 50ms; 1ms to 10s]
    #[arg(long, env = "LEVERET_FLUSH_INTERVAL", value_name = "TIME")]
    pub flush_interval: Option<String>,
    /// Longest time that clients get to close when the broker stops [default: 10s; 0s to 600s]
    #[arg(long, env = "LEVERET_SHUTDOWN_TIMEOUT", value_name = "TIME")]
    pub shutdown_timeout: Option<String>,
    /// Longest time that the start waits for another process to let go of the folder [default: 0s; 0s to 600s]
    #[arg(long, env = "LEVERET_LOCK_TIMEOUT", value_name = "TIME")]
    pub lock_timeout: Option<String>,
    /// Whether guest may only log in from this machine [default: true; true or false]
    #[arg(long, env = "LEVERET_GUEST_LOOPBACK_ONLY", value_name = "BOOL")]
    pub guest_loopback_only: Option<String>,
    /// Threads that serve clients [default: one per core; 1 to 256]
    #[arg(long, env = "LEVERET_THREADS", value_name = "COUNT")]
    pub threads: Option<String>,
    /// What is logged [default: info; error, warn, info, debug, trace, or a tracing filter]
    #[arg(long, env = "LEVERET_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look [default: text; text or json]
    #[arg(long, env = "LEVERET_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the log.
    pub data_dir: PathBuf,
    /// What is listened for, and where.
    pub listen: Vec<Listen>,
    /// Certificates, if there are addresses that need them.
    pub tls: Option<TlsFiles>,
    /// Who may log in.
    pub users: Users,
    /// What connections are offered.
    pub limits: crate::node::Limits,
    /// Largest message body, bytes.
    pub max_message_bytes: u64,
    /// Bytes of messages in memory above which publishers are stopped.
    pub memory_watermark_bytes: u64,
    /// Free bytes of the data's file system below which publishers are stopped; `None` is the default for the segments' size.
    pub disk_free_limit_bytes: Option<u64>,
    /// Size of a segment of the log, bytes.
    pub segment_bytes: u64,
    /// Longest time until something that nobody waits for is synced.
    pub flush_interval: Duration,
    /// Longest time that clients get to close.
    pub shutdown_timeout: Duration,
    /// Longest time that the start waits for another process to let go of the folder.
    pub lock_timeout: Duration,
    /// Threads of the runtime.
    pub threads: usize,
    /// Log filter.
    pub log: String,
    /// Whether log lines are JSON.
    pub log_json: bool,
}

/// The addresses of a service.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The service.
    pub service: &'static Service,
    /// Its addresses.
    pub addresses: Vec<SocketAddr>,
    /// Whether they are only the defaults: those that this machine doesn't have are left out.
    pub defaults: bool,
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

/// A setting that can't be used: key, value and what is allowed, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value.
    #[error("setting {key}: '{value}' is not allowed; {allowed}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A required setting isn't there.
    #[error(
        "setting data_dir is missing; name a folder with --data-dir DIR, LEVERET_DATA_DIR or data_dir in the settings file"
    )]
    NoDataDir,
    /// The file can't be read.
    #[error("settings file {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why, with line and column where there is one.
        reason: String,
    },
}

const KEYS: [&str; 24] = [
    "data_dir",
    "amqp_listen",
    "http_listen",
    "amqps_listen",
    "https_listen",
    "tls_cert",
    "tls_key",
    "tls_ca",
    "admin_user_file",
    "admin_password_file",
    "frame_max",
    "channel_max",
    "heartbeat",
    "max_message_size",
    "memory_watermark",
    "disk_free_limit",
    "segment_size",
    "flush_interval",
    "shutdown_timeout",
    "lock_timeout",
    "guest_loopback_only",
    "threads",
    "log",
    "log_format",
];

/// Settings that take effect while the broker runs, soon after the settings file has changed; all others at the next start.
/// Whoever writes the file (the operator, for one) may rely on this list.
pub const RELOADABLE: [&str; 8] = [
    "frame_max",
    "channel_max",
    "heartbeat",
    "max_message_size",
    "memory_watermark",
    "disk_free_limit",
    "shutdown_timeout",
    "log",
];

impl Flags {
    /// These, and what the file that they name says besides. The file is read at every call.
    ///
    /// # Errors
    /// The file, or a key of it, that can't be used.
    pub fn with_file(&self) -> Result<Self, Error> {
        let mut filled = self.clone();
        if let Some(path) = &self.config {
            let text = files::read_text(path).map_err(|error| file_error(path, &error))?;
            filled.fill(path, &text)?;
        }
        Ok(filled)
    }

    /// Keys whose values are not written alike in `other`.
    pub fn differences(&self, other: &Flags) -> Vec<&'static str> {
        let (mut a, mut b) = (self.clone(), other.clone());
        let mut differs = |key: &str| match (a.list(key), b.list(key)) {
            (Some(a), Some(b)) => a != b,
            _ => a.slot(key) != b.slot(key),
        };
        KEYS.into_iter().filter(|key| differs(key)).collect()
    }

    /// Takes from the file what neither flags nor environment say.
    fn fill(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let table: toml::Table = text.parse().map_err(|error| file_error(path, &error))?;
        for (key, value) in table {
            let values = texts(&value).ok_or_else(|| {
                let allowed = "a text, number or true/false, or a list of texts where the setting is a list".to_owned();
                Error::Value {
                    key: key.clone(),
                    value: value.to_string(),
                    allowed,
                }
            })?;
            if let Some(list) = self.list(&key) {
                if list.is_empty() {
                    *list = values;
                }
                continue;
            }
            let Some(slot) = self.slot(&key) else {
                let allowed = format!(
                    "there is no such setting in {}; there are {}",
                    path.display(),
                    KEYS.join(", ")
                );
                return Err(Error::Value {
                    key,
                    value: value.to_string(),
                    allowed,
                });
            };
            if let ([one], None) = (values.as_slice(), slot.as_ref()) {
                *slot = Some(one.clone());
            } else if values.len() != 1 {
                return Err(Error::Value {
                    key,
                    value: value.to_string(),
                    allowed: "one value, not a list".into(),
                });
            }
        }
        Ok(())
    }

    fn list(&mut self, key: &str) -> Option<&mut Vec<String>> {
        Some(match key {
            "amqp_listen" => &mut self.amqp_listen,
            "http_listen" => &mut self.http_listen,
            "amqps_listen" => &mut self.amqps_listen,
            "https_listen" => &mut self.https_listen,
            _ => return None,
        })
    }

    fn slot(&mut self, key: &str) -> Option<&mut Option<String>> {
        Some(match key {
            "data_dir" => &mut self.data_dir,
            "tls_cert" => &mut self.tls_cert,
            "tls_key" => &mut self.tls_key,
            "tls_ca" => &mut self.tls_ca,
            "admin_user_file" => &mut self.admin_user_file,
            "admin_password_file" => &mut self.admin_password_file,
            "frame_max" => &mut self.frame_max,
            "channel_max" => &mut self.channel_max,
            "heartbeat" => &mut self.heartbeat,
            "max_message_size" => &mut self.max_message_size,
            "memory_watermark" => &mut self.memory_watermark,
            "disk_free_limit" => &mut self.disk_free_limit,
            "segment_size" => &mut self.segment_size,
            "flush_interval" => &mut self.flush_interval,
            "shutdown_timeout" => &mut self.shutdown_timeout,
            "lock_timeout" => &mut self.lock_timeout,
            "guest_loopback_only" => &mut self.guest_loopback_only,
            "threads" => &mut self.threads,
            "log" => &mut self.log,
            "log_format" => &mut self.log_format,
            _ => return None,
        })
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn check(&self) -> Result<Config, Error> {
        let seconds = |key, text: &Option<String>, default, range| time(key, text.as_deref().unwrap_or(default), range);
        let bytes = |key, text: &Option<String>, default, range| size(key, text.as_deref().unwrap_or(default), range);
        let heartbeat = seconds("heartbeat", &self.heartbeat, "60s", (0, 3_600_000))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(256);
        let log_format = self.log_format.as_deref().unwrap_or("text");
        let segment_bytes = bytes("segment_size", &self.segment_size, "64MiB", (1 << 20, 2 << 30))?;
        let limits = crate::node::Limits {
            frame_max: bytes("frame_max", &self.frame_max, "128KiB", (4 << 10, 64 << 20))? as u32,
            channel_max: number("channel_max", self.channel_max.as_deref().unwrap_or("2047"), (1, 65535))? as u16,
            heartbeat_seconds: heartbeat.as_secs() as u16,
        };
        let max_message = &self.max_message_size;
        Ok(Config {
            data_dir: self
                .data_dir
                .clone()
                .filter(|dir| !dir.is_empty())
                .ok_or(Error::NoDataDir)?
                .into(),
            listen: self.listen()?,
            tls: self.tls_files()?,
            users: self.users()?,
            limits,
            max_message_bytes: bytes("max_message_size", max_message, "128MiB", (1 << 10, 512 << 20))?,
            memory_watermark_bytes: watermark(self.memory_watermark.as_deref().unwrap_or("40%"))?,
            disk_free_limit_bytes: disk_limit(self.disk_free_limit.as_deref(), segment_bytes)?,
            segment_bytes,
            flush_interval: seconds("flush_interval", &self.flush_interval, "50ms", (1, 10_000))?,
            shutdown_timeout: seconds("shutdown_timeout", &self.shutdown_timeout, "10s", (0, 600_000))?,
            lock_timeout: seconds("lock_timeout", &self.lock_timeout, "0s", (0, 600_000))?,
            threads: match &self.threads {
                Some(text) => number("threads", text, (1, 256))? as usize,
                None => cores,
            },
            log: self.log.clone().unwrap_or_else(|| "info".into()),
            log_json: match log_format {
                "text" => false,
                "json" => true,
                other => return Err(value("log_format", other, "text or json")),
            },
        })
    }
}

impl Flags {
    /// The addresses of each service that has some. Those over TLS need a certificate.
    fn listen(&self) -> Result<Vec<Listen>, Error> {
        let mut given = self.clone();
        let mut listens = Vec::new();
        for service in &SERVICES {
            let key = service.setting;
            let texts = given.list(key).map(std::mem::take).unwrap_or_default();
            if service.tls && texts.is_empty() {
                continue;
            }
            if service.tls && self.tls_cert.is_none() {
                let allowed = "an address only together with tls_cert and tls_key";
                return Err(value(key, &texts.join(","), allowed));
            }
            let (addresses, defaults) = addresses(key, &texts, service.port)?;
            listens.push(Listen {
                service,
                addresses,
                defaults,
            });
        }
        Ok(listens)
    }

    fn tls_files(&self) -> Result<Option<TlsFiles>, Error> {
        let Some((certificate, key)) = both(("tls_cert", &self.tls_cert), ("tls_key", &self.tls_key))? else {
            return match &self.tls_ca {
                Some(path) => Err(value("tls_ca", path, "a file only together with tls_cert and tls_key")),
                None => Ok(None),
            };
        };
        Ok(Some(TlsFiles {
            certificate,
            key,
            client_ca: self.tls_ca.as_ref().map(PathBuf::from),
        }))
    }

    fn users(&self) -> Result<Users, Error> {
        let user = ("admin_user_file", &self.admin_user_file);
        if let Some((user, password)) = both(user, ("admin_password_file", &self.admin_password_file))? {
            for (key, path) in [("admin_user_file", &user), ("admin_password_file", &password)] {
                users::line(path).map_err(|why| {
                    value(
                        key,
                        &path.display().to_string(),
                        &format!("a file with one line ({why})"),
                    )
                })?;
            }
            return Ok(Users::Files { user, password });
        }
        let loopback_only = boolean(
            "guest_loopback_only",
            self.guest_loopback_only.as_deref().unwrap_or("true"),
        )?;
        Ok(Users::Guest { loopback_only })
    }
}

/// Two files that only make sense together.
fn both(a: (&str, &Option<String>), b: (&str, &Option<String>)) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    match (a.1, b.1) {
        (Some(a), Some(b)) => Ok(Some((a.into(), b.into()))),
        (Some(given), None) => Err(value(a.0, given, &format!("a file only together with {}", b.0))),
        (None, Some(given)) => Err(value(b.0, given, &format!("a file only together with {}", a.0))),
        (None, None) => Ok(None),
    }
}

fn file_error(path: &Path, error: &dyn std::fmt::Display) -> Error {
    let reason = error
        .to_string()
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    Error::File {
        path: path.to_owned(),
        reason,
    }
}

fn value(key: &str, value: &str, allowed: &str) -> Error {
    Error::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        allowed: format!("allowed is {allowed}"),
    }
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    Some(match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Boolean(on) => vec![on.to_string()],
        toml::Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
