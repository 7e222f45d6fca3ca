//! The settings, each stated once.
//!
//! Comes in: nothing. Goes out: the table that flags, environment, file, help and docs/settings.md follow. The
//! addresses that are listened on stand in `protocol`, with the services that they are for.

use super::setting::{Described, Setting};
use super::values::{
    AnyOf, Count, DiskLimit, Document, Filter, Folder, LineFile, Most, OneOf, PemFile, Size, Switch, Time, Tree,
    Watermark,
};
use crate::limits::Quota;
use crate::protocol::SERVICES;

/// A static for each setting, and a list of all.
macro_rules! settings {
    ($($name:ident: $kind:ty = $setting:expr;)*) => {
        $(pub(super) static $name: Setting<$kind> = $setting;)*

        static TABLE: &[&dyn Described] = &[$(&$name),*];

        /// All settings, as other programs may check them.
        #[cfg(test)]
        pub(super) fn schema() -> Vec<serde_json::Value> {
            vec![$(super::schema::row(&$name)),*]
        }
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
        "File with the administrator's password, read again when it has changed");
    LOAD_DEFINITIONS: Document = Setting::optional("load_definitions", "none", Document,
        "Definitions that every start loads before it serves anybody, users included; then no guest is made");
    DEFINITIONS_SKIP_IF_UNCHANGED: Switch = Setting::new("definitions_skip_if_unchanged", "false", Switch,
        "Definitions that are as at the last start are passed over");
    MANAGEMENT_HTTP_MAX_BODY_SIZE: Size = Setting::new("management_http_max_body_size", "20MB", Size(64 << 10, 1 << 30),
        "Largest body of a request over HTTP, and file of definitions");
    AUTH_BACKENDS: AnyOf = Setting::optional("auth_backends", "internal",
        AnyOf(&["internal", "oauth2", "rabbit_auth_backend_internal", "rabbit_auth_backend_oauth2"]),
        "Those whom a login is asked of: the broker's own users, tokens");
    AUTH_OAUTH2: Tree = Setting::optional("auth_oauth2", "none", Tree, "Tokens that are accepted");
    ZEROMQ: Tree = Setting::optional("zeromq", "none", Tree, "Sockets for ZeroMQ's clients, by their names");
    AUTH_MECHANISMS: AnyOf = Setting::optional("auth_mechanisms", "PLAIN and AMQPLAIN",
        AnyOf(&["PLAIN", "AMQPLAIN", "EXTERNAL"]),
        "Ways to log in that AMQP clients are offered; EXTERNAL, by certificate, over TLS with tls_ca").live();
    SSL_CERT_LOGIN_FROM: OneOf = Setting::new("ssl_cert_login_from", "distinguished_name",
        OneOf(&["distinguished_name", "common_name", "subject_alternative_name", "subject_alt_name"]),
        "Name in a client's certificate that its user has").live();
    SSL_CERT_LOGIN_SAN_TYPE: OneOf = Setting::new("ssl_cert_login_san_type", "dns",
        OneOf(&["dns", "ip", "email", "uri"]), "Kind of a subject's alternative name that its user has").live();
    SSL_CERT_LOGIN_SAN_INDEX: Count = Setting::new("ssl_cert_login_san_index", "0", Count(0, 65_535),
        "Place of that name among those of its kind").live();
    FRAME_MAX: Size = Setting::new("frame_max", "128KiB", Size(4 << 10, 64 << 20), "Largest frame").live();
    INITIAL_FRAME_MAX: Size = Setting::new("initial_frame_max", "8KiB", Size(4 << 10, 1 << 20),
        "Largest frame before a client has logged in").live();
    CHANNEL_MAX: Count = Setting::new("channel_max", "2047", Count(1, 65_535), "Channels a connection may open").live();
    HEARTBEAT: Time = Setting::new("heartbeat", "60s", Time(0, 3_600_000),
        "Time between heartbeats that the broker suggests, 0s for none").live();
    HANDSHAKE_TIMEOUT: Time = Setting::new("handshake_timeout", "10s", Time(1_000, 600_000),
        "Longest time from a client's connecting to its connection.open").live();
    CONNECTION_MAX: Most = quota(Quota::Connections, "Connections that may be open");
    CHANNEL_MAX_PER_NODE: Most = quota(Quota::Channels, "Channels that may be open over all connections");
    CONSUMER_MAX_PER_CHANNEL: Most = quota(Quota::ConsumersPerChannel, "Consumers that a channel may have");
    CLUSTER_QUEUE_LIMIT: Most = quota(Quota::Queues, "Queues that there may be");
    CLUSTER_EXCHANGE_LIMIT: Most = quota(Quota::Exchanges, "Exchanges that there may be, predeclared ones included");
    CLUSTER_BINDING_LIMIT: Most = quota(Quota::Bindings, "Bindings that there may be, those to the default exchange left out");
    VHOST_MAX: Most = quota(Quota::Vhosts, "Virtual hosts that there may be");
    MAX_MESSAGE_SIZE: Size = Setting::new("max_message_size", "128MiB", Size(1 << 10, 512 << 20),
        "Largest message body").live();
    MAX_HEADER_SIZE: Size = Setting::new("max_header_size", "128KiB", Size(4 << 10, 64 << 20),
        "Largest header of a message: its properties, headers included").live();
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
    THREADS: Count = Setting::optional("threads", "one per core, at least 4", Count(1, 256), "Threads that serve clients");
    LOG: Filter = Setting::new("log", "info", Filter, "Log lines that are written").live();
    LOG_FORMAT: OneOf = Setting::new("log_format", "text", OneOf(&["text", "json"]), "Form of log lines");
}

/// The setting for the most that there may be of something.
const fn quota(quota: Quota, about: &'static str) -> Setting<Most> {
    Setting::new(quota.setting(), "infinity", Most, about).live()
}

/// The setting of a quota.
pub(super) fn of_quota(quota: Quota) -> &'static Setting<Most> {
    match quota {
        Quota::Connections => &CONNECTION_MAX,
        Quota::Channels => &CHANNEL_MAX_PER_NODE,
        Quota::ConsumersPerChannel => &CONSUMER_MAX_PER_CHANNEL,
        Quota::Queues => &CLUSTER_QUEUE_LIMIT,
        Quota::Exchanges => &CLUSTER_EXCHANGE_LIMIT,
        Quota::Bindings => &CLUSTER_BINDING_LIMIT,
        Quota::Vhosts => &VHOST_MAX,
    }
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
