//! Times as RabbitMQ writes them.
//!
//! Pure, but for the clock of `date`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The time of something that was `ago`, as RabbitMQ writes it: `2026-11-22T19:30:26.375+00:00`.
pub fn date(ago: Duration) -> String {
    date_of(millis(SystemTime::now()).saturating_sub(ago.as_millis() as u64))
}

/// A second since 1970, as RabbitMQ writes it of certificates: `2026-11-22T19:30:26Z`.
pub fn second(seconds: i64) -> String {
    let date = date_of(u64::try_from(seconds).unwrap_or_default() * 1000);
    format!("{}Z", date.split('.').next().unwrap_or_default())
}

/// Days to dates by H. Hinnant's algorithm for the Gregorian calendar: eras of 400 years, years that start in March.
fn date_of(millis: u64) -> String {
    let (seconds, milli) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{milli:03}+00:00",
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(date_of(0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(date_of(951_782_399_999), "2000-02-28T23:59:59.999+00:00");
        assert_eq!(date_of(951_782_400_000), "2000-02-29T00:00:00.000+00:00");
        assert_eq!(date_of(1_795_375_826_375), "2026-11-22T19:30:26.375+00:00");
        assert_eq!(date_of(4_107_542_400_000), "2100-03-01T00:00:00.000+00:00");
    }
}
