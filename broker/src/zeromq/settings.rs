//! Sockets of the settings file: `[zeromq.NAME]`.
//!
//! Comes in: lines of `NAME.FIELD=VALUE`, as flags and environment have them and tables of the file are written. Goes
//! out: sockets, as parameters declare them, with their vhosts and keys; or the first fault.

use super::socket::Name;
use super::spec::Spec;
use crate::access::secret;
use leveret_zmtp::curve::{KeyPair, SecretKey};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// A socket of the settings.
#[derive(Clone, Debug)]
pub struct Fixed {
    /// Its names.
    pub name: Name,
    /// Its declaration.
    pub spec: Spec,
    /// Its key pair, if it is in a file.
    pub pair: Option<KeyPair>,
}

/// The vhost of a socket that names none.
const VHOST: &str = "/";
/// Fields that a parameter doesn't have.
const OWN: [&str; 2] = ["vhost", "curve-secret-key-file"];
/// Fields that are numbers, and those that are true or false: here all values are texts.
const NUMBERS: [&str; 6] = ["heartbeat", "hwm", "max-frames", "max-message", "prefetch", "timeout"];
const SWITCHES: [&str; 3] = ["anywhere", "durable", "errors"];

/// The sockets that these lines declare.
///
/// # Errors
/// The first line, or socket, that can't be used, and why.
pub fn fixed(lines: &[String]) -> Result<Vec<Fixed>, String> {
    let mut sockets: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for line in lines {
        let wrong = || format!("setting zeromq: '{line}' is not NAME.FIELD=VALUE");
        let (path, value) = split(line).ok_or_else(wrong)?;
        let (name, field, below) = match path.as_slice() {
            [name, field] => (name, field.replace('_', "-"), None),
            [name, field, below] => (name, field.replace('_', "-"), Some(below.clone())),
            _ => return Err(wrong()),
        };
        let fields = sockets.entry(name.clone()).or_default();
        match below {
            None => _ = fields.insert(field.clone(), typed(&field, value)),
            Some(below) => {
                let inner = fields.entry(field).or_insert_with(|| Value::Object(Map::new()));
                let inner = inner.as_object_mut().ok_or_else(wrong)?;
                inner.insert(below, Value::String(value.to_owned()));
            }
        }
    }
    let declared = sockets.into_iter().map(|(name, fields)| {
        let fault = |why: String| format!("setting zeromq.{name}: {why}");
        one(&name, fields).map_err(fault)
    });
    declared.collect()
}

fn one(name: &str, mut fields: Map<String, Value>) -> Result<Fixed, String> {
    let [vhost, key] = OWN.map(|field| fields.remove(field));
    let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
    let pair = text(key).map(|path| pair(Path::new(&path))).transpose()?;
    let spec = Spec::parse(&Value::Object(fields)).map_err(|fault| fault.to_string())?;
    Ok(Fixed {
        name: Name {
            vhost: text(vhost).unwrap_or_else(|| VHOST.to_owned()),
            name: name.to_owned(),
        },
        spec,
        pair,
    })
}

/// The pair of the secret key in a file.
fn pair(path: &Path) -> Result<KeyPair, String> {
    let wrong = |why: &str| format!("curve_secret_key_file '{}': {why}", path.display());
    let line = secret::line(path).map_err(|why| wrong(&why.to_string()))?;
    let secret = SecretKey::from_z85(&line).ok_or_else(|| wrong("no key: 40 characters in Z85"))?;
    Ok(secret.into())
}

/// The value of a field, as JSON has it. One that is none stays a text, and is refused as that.
fn typed(field: &str, text: &str) -> Value {
    let number = || text.parse::<u64>().ok().map(Value::from);
    let switch = || text.parse::<bool>().ok().map(Value::from);
    let value = match field {
        field if NUMBERS.contains(&field) => number(),
        field if SWITCHES.contains(&field) => switch(),
        _ => None,
    };
    value.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The parts of a name, and the value. A part with a dot in it stands in quotes.
fn split(line: &str) -> Option<(Vec<String>, &str)> {
    let (mut parts, mut rest) = (Vec::new(), line);
    loop {
        let (part, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(['.', '='])?),
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part.to_owned());
        match behind.strip_prefix('=') {
            Some(value) => return Some((parts, value)),
            None => rest = behind.strip_prefix('.')?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zeromq::spec::Mechanism;
    use std::io::Write;

    fn lines(lines: &[&str]) -> Result<Vec<Fixed>, String> {
        fixed(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn tables_are_sockets() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let pair = KeyPair::generate();
        writeln!(file, "{}", &*pair.secret().to_z85()).expect("written");
        let key = format!("ticks.curve_secret_key_file={}", file.path().display());
        let client = "ticks.curve_clients.\"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\"=reader=1";
        let sockets = lines(&[
            "jobs.listen=tcp://*:5555",
            "jobs.type=pull",
            "jobs.queue=q=1",
            "jobs.user=u",
            "jobs.durable=true",
            "jobs.max_frames=5",
            "ticks.listen=tcp://*:5556",
            "ticks.vhost=prices",
            "ticks.type=push",
            "ticks.queue=q",
            "ticks.mechanism=curve",
            client,
            &key,
        ]);
        let sockets = sockets.expect("two sockets");
        let [jobs, ticks] = sockets.as_slice() else {
            panic!("{sockets:?}")
        };
        assert_eq!((jobs.name.vhost.as_str(), jobs.name.name.as_str()), ("/", "jobs"));
        assert_eq!((jobs.spec.durable, jobs.spec.max_frames), (true, 5));
        assert_eq!(jobs.spec.queue().map(|queue| queue.as_bytes()), Some(&b"q=1"[..]));
        assert_eq!(ticks.name.vhost, "prices");
        assert_eq!(ticks.pair.as_ref().map(KeyPair::public), Some(pair.public()));
        let Mechanism::Curve { clients } = &ticks.spec.mechanism else {
            panic!("{ticks:?}")
        };
        assert_eq!(clients.values().collect::<Vec<_>>(), ["reader=1"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |given: &[&str]| lines(given).expect_err("refused");
        assert_eq!(refused(&["jobs"]), "setting zeromq: 'jobs' is not NAME.FIELD=VALUE");
        assert_eq!(refused(&["jobs=1"]), "setting zeromq: 'jobs=1' is not NAME.FIELD=VALUE");
        assert_eq!(
            refused(&["jobs.type=pull"]),
            "setting zeromq.jobs: field 'listen' is missing"
        );
        assert_eq!(
            refused(&[
                "j.type=pull",
                "j.listen=tcp://*:1",
                "j.queue=q",
                "j.user=u",
                "j.durable=yes"
            ]),
            "setting zeromq.j: durable must be true or false, actually was \"yes\""
        );
        let missing = refused(&["j.curve-secret-key-file=/nowhere"]);
        assert!(
            missing.starts_with("setting zeromq.j: curve_secret_key_file '/nowhere': "),
            "{missing}"
        );
    }
}
