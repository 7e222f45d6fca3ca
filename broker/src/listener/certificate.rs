//! Certificates: whose, by whom, from when to when (X.509 in DER; RFC 5280).
//!
//! Comes in: octets. Goes out: names as RFC 4514 writes them, and times. Nothing is trusted here: whether a certificate
//! is good is for `rustls` to say. Pure.

use std::fmt::Write as _;

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
}

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const VERSION: u8 = 0xa0;

impl Certificate {
    /// Reads a certificate; `None` if it isn't one.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut outer = Der(der);
        let mut whole = Der(outer.read(SEQUENCE)?);
        let mut fields = Der(whole.read(SEQUENCE)?);
        if fields.is_next(VERSION) {
            fields.read(VERSION)?;
        }
        fields.read(INTEGER)?;
        fields.read(SEQUENCE)?;
        let issuer = name(fields.read(SEQUENCE)?)?;
        let mut validity = Der(fields.read(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = name(fields.read(SEQUENCE)?)?;
        Some(Self {
            subject,
            issuer,
            not_before,
            not_after,
        })
    }
}

/// Octets of which one value after the other is read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn is_next(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The contents of the next value, which has this tag.
    fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, contents)| contents)
    }

    /// The next value: tag and contents.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // A length of up to three octets: 16 MiB.
            0x81..=0x83 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
                (octets.iter().fold(0, |len, octet| len << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, contents))
    }

    fn time(&mut self) -> Option<i64> {
        let (tag, text) = self.next()?;
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
    while !sets.0.is_empty() {
        let mut set = Der(sets.read(SET)?);
        let mut together = String::new();
        while !set.0.is_empty() {
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

/// The short name of an attribute, or its number (RFC 4514, 3).
fn attribute(id: &[u8]) -> String {
    let known = match id {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 4] => "SN",
        [0x55, 4, 5] => "SERIALNUMBER",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x55, 4, 12] => "T",
        [0x55, 4, 42] => "GN",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "EMAIL",
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

/// A value with `\` before what separates (RFC 4514, 2.4).
fn escaped(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let apart = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            '#' => at == 0,
            ' ' => at == 0 || at == last,
            _ => false,
        };
        if apart {
            out.push('\\');
        }
        out.push(character);
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
        let folder = tempfile::TempDir::new().expect("a folder");
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out crt".split(' '))
            .args(["-utf8", "-days", days, "-subj", subject])
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
        assert_eq!(found.subject, r"1.2.840.113549.1.9.2=x,CN=shop,O=Häschen\, Ltd,C=DE");
        assert_eq!(found.issuer, found.subject);
        assert_eq!(found.not_after - found.not_before, 2 * 86_400);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a time");
        assert!((now.as_secs() as i64 - found.not_before).abs() < 100);
        let far = Certificate::parse(&made("/CN=far", "20000")).expect("beyond 2050 times have another form");
        assert_eq!(far.not_after - far.not_before, 20_000 * 86_400);
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
