//! The settings, each stated once.
//!
//! Comes in: nothing. Goes out: the table that flags, environment, file, help and docs/settings.md follow. The
//! addresses that are listened on stand in `protocol`, with the services that they are for.

use super::setting::{Described, Setting};
use super::values::{Count, DiskLimit, Filter, Folder, LineFile, OneOf, PemFile, Size, Switch, Time, Watermark};
use crate::protocol::SERVICES;

/// A static for each setting, and a list of all.
macro_rules! settings {
    ($($name:ident: $kind:ty = $setting:expr;)*) => {
        $(pub(super) static $name: Setting<$kind> = $setting;)*

        static TABLE: &[&dyn Described] = &[$(&$name),*];
    };
}

settings! {
    DATA_DIR: Folder = Setting::optional("data_dir", "none, required", Folder, "Folder of the log");
    TLS_CERT: PemFile = Setting::optional("tls_cert", "none", PemFile, "Certificate chain for TLS");
    TLS_KEY: PemFile = Setting::optional("tls_key", "none", PemFile, "Private key for TLS");
    TLS_CA: PemFile = Setting::optional("tls_ca", "none, clients need no certificate", PemFile,
        "Authority whose certificates clients must show over TLS");
    ADMIN_USER_FILE: LineFile = Setting::optional("admin_user_file", "none, guest logs in", LineFile,
        "File with the name of the administrator, who replaces guest");
    ADMIN_PASSWORD_FILE: LineFile = Setting::optional("admin_password_file", "none, guest logs in", LineFile,
        "File with the administrator's password, read at every login");
    FRAME_MAX: Size = Setting::new("frame_max", "128KiB", Size(4 << 10, 64 << 20), "Largest frame").live();
    CHANNEL_MAX: Count = Setting::new("channel_max", "2047", Count(1, 65_535), "Channels a connection may open").live();
    HEARTBEAT: Time = Setting::new("heartbeat", "60s", Time(0, 3_600_000),
        "Time between heartbeats that the broker suggests, 0s for none").live();
    MAX_MESSAGE_SIZE: Size = Setting::new("max_message_size", "128MiB", Size(1 << 10, 512 << 20),
        "Largest message body").live();
    MEMORY_WATERMARK: Watermark = Setting::new("memory_watermark", "40%", Watermark,
        "Memory for messages above which publishers are stopped").described("40% of the memory limit").live();
    DISK_FREE_LIMIT: DiskLimit = Setting::optional("disk_free_limit", "256MiB, or four segments if that is more",
        DiskLimit, "Free disk space below which publishers are stopped").live();
    SEGMENT_SIZE: Size = Setting::new("segment_size", "64MiB", Size(1 << 20, 2 << 30),
        "Size of a segment, a file of the log");
    FLUSH_INTERVAL: Time = Setting::new("flush_interval", "50ms", Time(1, 10_000),
        "Longest time until what no client waits for is synced");
    SHUTDOWN_TIMEOUT: Time = Setting::new("shutdown_timeout", "10s", Time(0, 600_000),
        "Longest time that clients get to close when the broker stops").live();
    LOCK_TIMEOUT: Time = Setting::new("lock_timeout", "0s", Time(0, 600_000),
        "Longest time that the start waits for another process to let go of the folder");
    GUEST_LOOPBACK_ONLY: Switch = Setting::new("guest_loopback_only", "true", Switch,
        "Login of guest from this machine only");
    THREADS: Count = Setting::optional("threads", "one per core", Count(1, 256), "Threads that serve clients");
    LOG: Filter = Setting::new("log", "info", Filter, "Log lines that are written").live();
    LOG_FORMAT: OneOf = Setting::new("log_format", "text", OneOf(&["text", "json"]), "Form of log lines");
}

/// All settings, in the order of help and document.
pub(super) fn all() -> impl Iterator<Item = &'static dyn Described> {
    let (first, rest) = TABLE.split_at(1);
    let services = SERVICES.iter().map(|service| service as &dyn Described);
    first.iter().copied().chain(services).chain(rest.iter().copied())
}

/// The setting with a key of the file.
pub(super) fn find(key: &str) -> Option<&'static dyn Described> {
    all().find(|setting| setting.key() == key)
}
