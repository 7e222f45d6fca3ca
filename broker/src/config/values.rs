//! Values of settings: text to numbers, sizes, times, addresses.
//!
//! Comes in: a key and what somebody wrote. Goes out: the value, or an error with what is allowed. Does not know which settings
//! there are.

use super::{Error, value};
use crate::limits::disk;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) fn number(key: &str, text: &str, (least, most): (u64, u64)) -> Result<u64, Error> {
    let parsed = text
        .trim()
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number));
    parsed.ok_or_else(|| value(key, text, &format!("a whole number from {least} to {most}")))
}

pub(super) fn boolean(key: &str, text: &str) -> Result<bool, Error> {
    text.trim().parse().map_err(|_| value(key, text, "true or false"))
}

/// `64MiB`, `4 KiB`, `1000` (bytes), `10MB`.
pub(super) fn size(key: &str, text: &str, (least, most): (u64, u64)) -> Result<u64, Error> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (digits, unit) = split_unit(text);
    let factor = if unit.is_empty() {
        Some(1)
    } else {
        UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor)
    };
    let bytes = digits
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(digits, factor)| digits.checked_mul(factor));
    let shown = |bytes: u64| {
        let unit = UNITS
            .iter()
            .take(4)
            .rev()
            .find(|(_, factor)| bytes.is_multiple_of(*factor) && bytes >= *factor);
        unit.map_or_else(
            || format!("{bytes}B"),
            |(name, factor)| format!("{}{name}", bytes / factor),
        )
    };
    bytes.filter(|bytes| (least..=most).contains(bytes)).ok_or_else(|| {
        let range = format!(
            "a size with a unit (B, KiB, MiB, GiB, KB, MB, GB) from {} to {}",
            shown(least),
            shown(most)
        );
        value(key, text, &range)
    })
}

/// `50ms`, `10s`, `5m`, `1h`; the range is in milliseconds.
pub(super) fn time(key: &str, text: &str, (least, most): (u64, u64)) -> Result<Duration, Error> {
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = digits
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(digits, factor)| digits.checked_mul(factor));
    millis
        .filter(|millis| (least..=most).contains(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| {
            let shown = |millis: u64| {
                if millis.is_multiple_of(1000) {
                    format!("{}s", millis / 1000)
                } else {
                    format!("{millis}ms")
                }
            };
            value(
                key,
                text,
                &format!(
                    "a time with a unit (ms, s, m, h) from {} to {}",
                    shown(least),
                    shown(most)
                ),
            )
        })
}

pub(super) fn watermark(text: &str) -> Result<u64, Error> {
    let Some(percent) = text.trim().strip_suffix('%') else {
        return size("memory_watermark", text, (16 << 20, 16 << 40));
    };
    let percent = number("memory_watermark", percent, (1, 90)).map_err(|_| {
        value(
            "memory_watermark",
            text,
            "1% to 90% of the memory limit, or a size from 16MiB to 16TiB",
        )
    })?;
    Ok(crate::limits::available::memory_limit() / 100 * percent)
}

pub(super) fn disk_limit(text: Option<&str>, segment_bytes: u64) -> Result<Option<u64>, Error> {
    let least = disk::least_limit(segment_bytes);
    text.map(|text| size("disk_free_limit", text, (least, 16 << 40)))
        .transpose()
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits);
    (digits, unit.trim())
}

/// Addresses, and whether they are only the defaults.
pub(super) fn addresses(key: &str, texts: &[String], port: u16) -> Result<(Vec<SocketAddr>, bool), Error> {
    if texts.is_empty() {
        return Ok((
            vec![
                SocketAddr::from(([127, 0, 0, 1], port)),
                SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)),
            ],
            true,
        ));
    }
    let parse = |text: &String| {
        let allowed = format!("an address and port, e.g. 127.0.0.1:{port}, 0.0.0.0:{port} or [::1]:{port}");
        text.trim().parse().map_err(|_| value(key, text, &allowed))
    };
    texts
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map(|list| (list, false))
}
