//! Certificates: whose, by whom, from when to when, and the users that they may stand for (X.509 in DER; RFC 5280).
//!
//! Comes in: octets. Goes out: names as RabbitMQ writes them, which is RFC 4514's way, and times. Nothing is trusted
//! here: whether a certificate is good is for `rustls` to say. Pure.

use crate::config::{Alternative, CertificateName};
use crate::der::{Der, INTEGER, OBJECT_ID, OCTET_STRING, SEQUENCE, SET};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The fields of a certificate that people look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its owner.
    pub subject: String,
    /// The authority that has signed it.
    pub issuer: String,
    /// Begin of its validity, seconds since 1970.
    pub not_before: i64,
    /// End of its validity, seconds since 1970.
    pub not_after: i64,
    /// The owner's common names, with commas between.
    common_name: Option<String>,
    /// Further names of the owner.
    alternatives: Vec<(Alternative, String)>,
}

/// Tags of DER that certificates alone have here.
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Numbers of an attribute and an extension.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];

impl Certificate {
    /// Reads a certificate; `None` if it isn't one.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut whole = Der(Der(der).read(SEQUENCE)?);
        let mut fields = Der(whole.read(SEQUENCE)?);
        if fields.is_next(VERSION) {
            fields.read(VERSION)?;
        }
        fields.read(INTEGER)?;
        fields.read(SEQUENCE)?;
        let issuer = name(fields.read(SEQUENCE)?)?;
        let mut validity = Der(fields.read(SEQUENCE)?);
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let subject = fields.read(SEQUENCE)?;
        let extensions = fields.find(|(tag, _)| *tag == EXTENSIONS);
        Some(Self {
            subject: name(subject)?,
            issuer,
            not_before,
            not_after,
            common_name: common_name(subject),
            alternatives: extensions
                .and_then(|(_, extensions)| alternatives(extensions))
                .unwrap_or_default(),
        })
    }

    /// The name of the user that it stands for; `None` if it has no such name.
    pub fn user(&self, from: CertificateName) -> Option<&str> {
        let named = match from {
            CertificateName::Distinguished => Some(self.subject.as_str()),
            CertificateName::Common => self.common_name.as_deref(),
            CertificateName::Alternative(kind, index) => {
                let mut of_kind = self.alternatives.iter().filter(|(of, _)| *of == kind);
                of_kind.nth(index).map(|(_, name)| name.as_str())
            }
        };
        named.filter(|name| !name.is_empty())
    }
}

/// The common names of an owner.
fn common_name(subject: &[u8]) -> Option<String> {
    let pairs = Der(subject).flat_map(|(_, set)| Der(set));
    let names = pairs.filter_map(|(_, pair)| {
        let mut pair = Der(pair);
        let key = pair.read(OBJECT_ID)?;
        let (tag, value) = pair.next()?;
        (key == COMMON_NAME).then(|| text(tag, value))
    });
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// The further names of an owner, in their order; of kinds that no login can be by, none.
fn alternatives(extensions: &[u8]) -> Option<Vec<(Alternative, String)>> {
    let found = Der(Der(extensions).read(SEQUENCE)?).find_map(|(_, extension)| {
        let mut extension = Der(extension);
        let number = extension.read(OBJECT_ID)?;
        if extension.is_next(BOOLEAN) {
            extension.read(BOOLEAN)?;
        }
        extension.read(OCTET_STRING).filter(|_| number == ALTERNATIVE_NAMES)
    })?;
    let name = |(tag, value): (u8, &[u8])| {
        let text = || String::from_utf8_lossy(value).into_owned();
        match tag {
            0x81 => Some((Alternative::Email, text())),
            0x82 => Some((Alternative::Dns, text())),
            0x86 => Some((Alternative::Uri, text())),
            0x87 => address(value).map(|address| (Alternative::Ip, address)),
            _ => None,
        }
    };
    Some(Der(Der(found).read(SEQUENCE)?).filter_map(name).collect())
}

fn address(octets: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(octets).ok()?;
    Some(Ipv6Addr::from(octets).to_string())
}

/// The time that is read next, in seconds since 1970.
fn time(der: &mut Der<'_>) -> Option<i64> {
    let (tag, text) = der.next()?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (years, rest) = match tag {
        UTC_TIME => text.split_at_checked(2)?,
        GENERALIZED_TIME => text.split_at_checked(4)?,
        _ => return None,
    };
    let year: i64 = years.parse().ok()?;
    let year = match tag {
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        _ => year,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0).filter(|month| (1..=12).contains(month))?, part(2)?);
    let seconds = (part(4)? * 60 + part(6)?) * 60 + part(8)?;
    Some(days(year, month, day) * 86_400 + seconds)
}

/// Days since 1970, by H. Hinnant's algorithm for the Gregorian calendar: years that start in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A name, its last part first (RFC 4514, 2.1).
fn name(der: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Der(der);
    while !sets.is_empty() {
        let mut set = Der(sets.read(SET)?);
        let mut together = String::new();
        while !set.is_empty() {
            let mut pair = Der(set.read(SEQUENCE)?);
            let key = pair.read(OBJECT_ID)?;
            let (tag, value) = pair.next()?;
            if !together.is_empty() {
                together.push('+');
            }
            together.push_str(&attribute(key));
            together.push('=');
            escaped(&text(tag, value), &mut together);
        }
        parts.push(together);
    }
    parts.reverse();
    Some(parts.join(","))
}

fn text(tag: u8, value: &[u8]) -> String {
    if tag == BMP_STRING {
        let pairs = value
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |unit, octet| unit << 8 | u16::from(*octet)));
        return char::decode_utf16(pairs)
            .map(|found| found.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
    }
    String::from_utf8_lossy(value).into_owned()
}

/// The short name of an attribute as RabbitMQ has it, or its number (RFC 4514, 3).
fn attribute(id: &[u8]) -> String {
    let known = match id {
        COMMON_NAME => "CN",
        [0x55, 4, 4] => "SN",
        [0x55, 4, 5] => "SERIALNUMBER",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x55, 4, 12] => "TITLE",
        [0x55, 4, 42] => "GIVENNAME",
        [0x55, 4, 43] => "INITIALS",
        [0x55, 4, 44] => "GENERATIONQUALIFIER",
        [0x55, 4, 65] => "PSEUDONYM",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "EMAILADDRESS",
        _ => return number(id),
    };
    known.to_owned()
}

fn number(id: &[u8]) -> String {
    let (mut out, mut value, mut first) = (String::new(), 0_u64, true);
    for octet in id {
        value = value << 7 | u64::from(octet & 0x7f);
        if octet & 0x80 == 0 {
            let (top, rest) = (value.min(80) / 40, value - value.min(80) / 40 * 40);
            // Writing to a string doesn't fail.
            let _ = match first {
                true => write!(out, "{top}.{rest}"),
                false => write!(out, ".{value}"),
            };
            (value, first) = (0, false);
        }
    }
    out
}

/// A value with `\` before what separates, and octets that aren't printable as `\XX` (RFC 4514, 2.4; RabbitMQ counts
/// `~` among them).
fn escaped(value: &str, out: &mut String) {
    let last = value.len().saturating_sub(1);
    for (at, octet) in value.bytes().enumerate() {
        match octet {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(octet)]),
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            // Writing to a string doesn't fail.
            ..32 | 126.. => _ = write!(out, "\\{octet:02X}"),
            _ => out.push(char::from(octet)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use std::process::Command;

    /// A certificate that openssl makes.
    fn made(subject: &str, days: &str) -> Vec<u8> {
        made_with(subject, days, &[])
    }

    fn made_with(subject: &str, days: &str, extra: &[&str]) -> Vec<u8> {
        let folder = tempfile::TempDir::new().expect("a folder");
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out crt".split(' '))
            .args(["-utf8", "-days", days, "-subj", subject])
            .args(extra)
            .current_dir(folder.path())
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pem = std::fs::read(folder.path().join("crt")).expect("a certificate");
        CertificateDer::from_pem_slice(&pem).expect("a certificate").to_vec()
    }

    #[test]
    fn a_certificate_says_whose_it_is_and_until_when() {
        let found =
            Certificate::parse(&made("/C=DE/O=Häschen, Ltd/CN=shop/unstructuredName=x", "2")).expect("a certificate");
        assert_eq!(
            found.subject,
            r"1.2.840.113549.1.9.2=x,CN=shop,O=H\C3\A4schen\, Ltd,C=DE"
        );
        assert_eq!(found.issuer, found.subject);
        assert_eq!(found.not_after - found.not_before, 2 * 86_400);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a time");
        assert!((now.as_secs() as i64 - found.not_before).abs() < 100);
        let far = Certificate::parse(&made("/CN=far", "20000")).expect("beyond 2050 times have another form");
        assert_eq!(far.not_after - far.not_before, 20_000 * 86_400);
    }

    /// The answers of a RabbitMQ 4.3.6 for such a certificate. (An address it gives as its octets.)
    #[test]
    fn a_user_is_named_in_a_certificate_as_in_rabbitmq() {
        let subject = "/C=DE/ST=Bay/O=Häschen, Ltd/OU=#a /GN=G/SN=S/title=T/serialNumber=7/DC=dc/emailAddress=a@b.c/CN=shop~1/CN=two";
        let names = "subjectAltName=DNS:a.b,IP:127.0.0.1,IP:::1,email:x@y.z,URI:urn:x,DNS:c.d,otherName:1.2.3;UTF8:oo";
        let found = Certificate::parse(&made_with(subject, "2", &["-addext", names])).expect("a certificate");
        let distinguished = r"CN=two,CN=shop\7E1,EMAILADDRESS=a@b.c,DC=dc,SERIALNUMBER=7,TITLE=T,SN=S,GIVENNAME=G,OU=\#a\ ,O=H\C3\A4schen\, Ltd,ST=Bay,C=DE";
        assert_eq!(found.user(CertificateName::Distinguished), Some(distinguished));
        assert_eq!(found.user(CertificateName::Common), Some("shop~1,two"));
        for (kind, index, name) in [
            (Alternative::Dns, 0, Some("a.b")),
            (Alternative::Dns, 1, Some("c.d")),
            (Alternative::Dns, 2, None),
            (Alternative::Ip, 0, Some("127.0.0.1")),
            (Alternative::Ip, 1, Some("::1")),
            (Alternative::Email, 0, Some("x@y.z")),
            (Alternative::Uri, 0, Some("urn:x")),
        ] {
            assert_eq!(
                found.user(CertificateName::Alternative(kind, index)),
                name,
                "{kind:?} {index}"
            );
        }
        let plain = Certificate::parse(&made("/O=nobody", "2")).expect("a certificate");
        assert_eq!(plain.user(CertificateName::Common), None);
        assert_eq!(plain.user(CertificateName::Alternative(Alternative::Dns, 0)), None);
    }

    #[test]
    fn days_are_right_around_leap_years() {
        for (date, expected) in [((1970, 1, 1), 0), ((2000, 2, 29), 11_016), ((2100, 3, 1), 47_541)] {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_a_certificate_or_none(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::parse(&der);
        }

        #[test]
        fn a_damaged_certificate_is_read_or_none(at in 0_usize..300, with in any::<u8>()) {
            use std::sync::OnceLock;
            static MADE: OnceLock<Vec<u8>> = OnceLock::new();
            let mut der = MADE.get_or_init(|| made("/CN=shop", "2")).clone();
            if let Some(byte) = der.get_mut(at) {
                *byte = with;
            }
            let _ = Certificate::parse(&der);
        }
    }
}
