//! Values of flags, checked while the command line is parsed.
//!
//! In: a word. Out: a value within its range, or what is allowed. Does not know about which flag it is for.

use std::time::Duration;

use crate::resource::Period;

/// A label of DNS names, which is what names of namespaces are (RFC 1123).
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let valid = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if valid {
        Ok(text.to_owned())
    } else {
        Err("a namespace has 1 to 63 small letters, digits and inner dashes".to_owned())
    }
}

pub(super) fn lease_duration(text: &str) -> Result<Duration, String> {
    duration(text, "3s", "5m")
}

pub(super) fn up_to_an_hour(text: &str) -> Result<Duration, String> {
    duration(text, "1s", "1h")
}

pub(super) fn none_or_up_to_an_hour(text: &str) -> Result<Duration, String> {
    match text {
        "0s" => Ok(Duration::ZERO),
        text => up_to_an_hour(text),
    }
}

pub(super) fn deletion_timeout(text: &str) -> Result<Duration, String> {
    duration(text, "0s", "24h")
}

pub(super) fn list_limit(text: &str) -> Result<usize, String> {
    size(text, "1MiB", "1GiB")
}

pub(super) fn list_memory(text: &str) -> Result<usize, String> {
    size(text, "16MiB", "64GiB")
}

/// A number with the units of the broker's settings.
fn size(text: &str, least: &str, most: &str) -> Result<usize, String> {
    let octets = |text: &str| {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1_usize)];
        let mut parts = units.iter().filter_map(|(unit, factor)| {
            let number: usize = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*factor)
        });
        parts
            .next()
            .ok_or_else(|| "a size is a number with KiB, MiB or GiB".to_owned())
    };
    let value = octets(text)?;
    match (octets(least)?..=octets(most)?).contains(&value) {
        true => Ok(value),
        false => Err(format!("allowed is {least} to {most}")),
    }
}

fn duration(text: &str, least: &str, most: &str) -> Result<Duration, String> {
    let millis = |text: &str| Period(text.to_owned()).millis().map_err(|error| error.to_string());
    let value = millis(text)?;
    if !(millis(least)?..=millis(most)?).contains(&value) {
        return Err(format!("allowed is {least} to {most}"));
    }
    u64::try_from(value)
        .map(Duration::from_millis)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(up_to_an_hour("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(up_to_an_hour("0s"), Err("allowed is 1s to 1h".to_owned()));
        assert!(lease_duration("10").is_err());
        assert_eq!(list_limit("20MiB"), Ok(20 << 20));
        assert_eq!(list_memory("1GiB"), Ok(1 << 30));
        for bad in ["16", "2GiB", "MiB", "1.5MiB", "99999999999999999999KiB"] {
            assert!(list_limit(bad).is_err(), "{bad}");
        }
        assert!(namespace("shop-1").is_ok());
        for wrong in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
            assert!(namespace(wrong).is_err(), "{wrong}");
        }
    }
}
