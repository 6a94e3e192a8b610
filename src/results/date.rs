//! Times as dates: UTC, by the calendar, as in ISO 8601.

/// `2026-11-22T14:59:50Z` of seconds of Unix time, by Howard Hinnant's algorithm for civil dates.
pub fn iso(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468; // since 0000-03-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + 400 * era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds of Unix time of what [`iso`] writes, and of a bare number of seconds, which older files
/// have.
pub fn seconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let fields = text.strip_suffix('Z')?.split(['-', 'T', ':']).map(str::parse);
    let [year, month, day, hour, minute, second] =
        <[u64; 6]>::try_from(fields.collect::<Result<Vec<u64>, _>>().ok()?).ok()?;
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let found = days.checked_sub(719_469)? * 86_400 + 3600 * hour + 60 * minute + second;
    // A date that the calendar does not have is none.
    (iso(found) == text).then_some(found)
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
        ] {
            assert_eq!(iso(time), date);
            assert_eq!(seconds(date), Some(time));
        }
        assert_eq!(short(1_795_359_590), "2026-11-22 14:59 UTC");
        assert_eq!(seconds("1795359590"), Some(1_795_359_590));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "yesterday", "2026-11-22", "2023-02-29T00:00:00Z", "2026-13-01T00:00:00Z"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
