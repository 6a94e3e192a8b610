//! Times as dates in UTC, in the format of RFC 3339.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// `2026-11-22T14:59:50Z`, from seconds of Unix time. After the year 9999, which the format cannot
/// write, the number of seconds itself.
pub fn iso(seconds: u64) -> String {
    let date =
        i64::try_from(seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

/// Seconds of Unix time, from what [`iso`] writes or from a plain number of seconds, as in older files.
pub fn seconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let date = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let seconds = date.unix_timestamp().try_into().ok()?;
    // RFC 3339 also allows other time zones, fractions and leap seconds, which runs never write.
    (iso(seconds) == text).then_some(seconds)
}

/// `2026-11-22 14:59 UTC`, for people.
pub fn short(seconds: u64) -> String {
    let iso = iso(seconds);
    let (date, time) = iso.split_once('T').unwrap_or((&iso, ""));
    format!("{date} {} UTC", time.get(..5).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar_and_come_back() {
        for (time, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_795_359_590, "2026-11-22T14:59:50Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "253402300800"),
        ] {
            assert_eq!(iso(time), date);
            assert_eq!(seconds(date), Some(time));
        }
        assert_eq!(short(1_795_359_590), "2026-11-22 14:59 UTC");
        assert_eq!(seconds("1795359590"), Some(1_795_359_590));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "yesterday",
            "2026-11-22",
            "2023-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-22T14:59:50+01:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
