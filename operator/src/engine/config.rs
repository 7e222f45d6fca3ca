//! (pure) The broker's settings file, and the ConfigMap it is in.
//!
//! In: a `Broker`, and the cluster as an issuer of tokens. Out: TOML, or the settings that the broker would refuse:
//! what takes a broker down is never rolled out. Does not know about pods, apart from the paths that files are mounted
//! under.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::account_tokens::{self, Issuer};
use super::child::{Child, ChildKind};
use super::names;
use crate::object::Object;
use crate::resource::BrokerSpec;
use crate::resource::settings::{is_live, refusals};
use crate::resource::workload::{Plain, Tls};

/// Name of the file in the ConfigMap.
pub const FILE: &str = "leveret.toml";
/// Folders in the container.
pub const CONFIG: &str = "/etc/leveret/config";
pub const ADMIN: &str = "/etc/leveret/admin";
pub const TLS: &str = "/etc/leveret/tls";
pub const CLIENT_CA: &str = "/etc/leveret/client-ca";
pub const DATA: &str = "/var/lib/leveret";
/// Ports, each as AMQP 0-9-1 or RabbitMQ has it.
pub const AMQP: u16 = 5672;
pub const AMQPS: u16 = 5671;
pub const HTTP: u16 = 15672;
pub const HTTPS: u16 = 15671;
/// Metrics and probes, without a password or TLS.
pub const METRICS: u16 = 15692;

/// True when the ports without TLS are open to others than the pod itself.
pub fn is_plain(spec: &BrokerSpec) -> bool {
    spec.tls.as_ref().is_none_or(|tls| tls.plain == Plain::Allowed)
}

/// True when the operator itself uses TLS: where it can, which it cannot where a certificate is asked for and it has
/// none.
pub fn operator_uses_tls(spec: &BrokerSpec) -> bool {
    let can = |tls: &Tls| tls.client_auth.is_none() || tls.operator_secret_ref.is_some();
    spec.tls.as_ref().is_some_and(can)
}

/// The settings file, as a whole and without what a running broker reads again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub file: String,
    /// The part that only a new process takes.
    pub fixed: String,
    /// The file with the keys of tokens, where the broker takes some. It is read again when it changes.
    pub keys: Option<String>,
}

/// The settings file. A broker that takes tokens of service accounts needs the issuer.
///
/// # Errors
/// All settings that the broker would refuse, in its words.
pub fn settings(broker: &Object<BrokerSpec>, issuer: Option<&Issuer>) -> Result<Settings, String> {
    let spec = &broker.spec;
    let address = if is_plain(spec) { "0.0.0.0" } else { "127.0.0.1" };
    let mut lines = vec![
        ("data_dir", json!(DATA)),
        ("amqp_listen", json!([format!("{address}:{AMQP}")])),
        ("http_listen", json!([format!("{address}:{HTTP}")])),
        ("prometheus_listen", json!([format!("0.0.0.0:{METRICS}")])),
        ("admin_user_file", json!(format!("{ADMIN}/username"))),
        ("admin_password_file", json!(format!("{ADMIN}/password"))),
    ];
    if let Some(tls) = &spec.tls {
        lines.push(("amqps_listen", json!([format!("0.0.0.0:{AMQPS}")])));
        lines.push(("https_listen", json!([format!("0.0.0.0:{HTTPS}")])));
        lines.push(("tls_cert", json!(format!("{TLS}/tls.crt"))));
        lines.push(("tls_key", json!(format!("{TLS}/tls.key"))));
        if tls.client_auth.is_some() {
            lines.push(("tls_ca", json!(format!("{CLIENT_CA}/ca.crt"))));
        }
    }
    let refused: Vec<String> = refusals(&spec.settings).into_iter().map(|(_, text)| text).collect();
    if !refused.is_empty() {
        return Err(refused.join("; "));
    }
    let mut file = String::new();
    for (key, value) in lines {
        let _ = writeln!(file, "{key} = {value}");
    }
    let mut fixed = file.clone();
    let issuer = issuer.filter(|_| spec.service_account_tokens.is_some());
    let all = match issuer {
        Some(issuer) => account_tokens::settings(broker, issuer, CONFIG)?,
        None if spec.service_account_tokens.is_some() => return Err("the cluster's keys are not known".to_owned()),
        None => spec.settings.clone(),
    };
    for (key, value) in &all {
        let line = format!("{key} = {}\n", written(value));
        file.push_str(&line);
        if !is_live(key) {
            fixed.push_str(&line);
        }
    }
    Ok(Settings {
        file,
        fixed,
        keys: issuer.map(|issuer| issuer.file().to_owned()),
    })
}

/// A value as TOML has it: text, numbers and truth values are written as in JSON.
fn written(value: &Value) -> String {
    let all = |texts: Vec<String>| texts.join(", ");
    match value {
        Value::Object(below) => {
            let pairs = below
                .iter()
                .map(|(key, value)| format!("{} = {}", written(&json!(key)), written(value)));
            format!("{{ {} }}", all(pairs.collect()))
        }
        Value::Array(values) => format!("[{}]", all(values.iter().map(written).collect())),
        // JSON lets this character stand as it is, TOML does not.
        value => value.to_string().replace('\u{7f}', "\\u007f"),
    }
}

/// The ConfigMap.
pub fn config_map(broker: &Object<BrokerSpec>, settings: &Settings) -> Child {
    let name = names::config(&broker.meta.key);
    let metadata = names::metadata(broker, &name);
    let mut data = json!({ FILE: settings.file });
    if let (Some(keys), Some(data)) = (&settings.keys, data.as_object_mut()) {
        data.insert(account_tokens::FILE.to_owned(), json!(keys));
    }
    Child::new(ChildKind::ConfigMap, &name, metadata, json!({ "data": data }))
}
