//! Dates and times as people and programs write them, read as the engine's `best_effort` reads them, but
//! what does not exist (30 February, hour 25) is refused.
//!
//! In: text. Out: days or nanoseconds since 1970. The clock is not known: nothing is filled in with today.

use jiff::{civil, fmt::rfc2822, tz::TimeZone};

/// Seconds since 1970 and the nanoseconds that follow them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// A column's time zone: where text without one is read.
#[derive(Debug, Clone)]
pub(super) enum Zone {
    Utc,
    Named(TimeZone),
}

impl Zone {
    pub(super) fn find(name: Option<&str>) -> Option<Zone> {
        match name {
            None | Some("UTC" | "Etc/UTC" | "Etc/GMT" | "GMT" | "Zulu" | "Etc/Zulu" | "Universal") => Some(Zone::Utc),
            Some(name) => TimeZone::get(name).ok().map(Zone::Named),
        }
    }
}

/// Days since 1970 of `2024-01-02`, `2024-1-2`, `2024/01/02` or `20240102`.
pub(super) fn date(text: &str) -> Option<i32> {
    let mut cursor = Cursor(text.as_bytes());
    let (year, month, day) = cursor.year_month_day()?;
    cursor.0.is_empty().then(|| days(year, month, day)).flatten()
}

/// A moment: a date with or without a time, a fraction and a zone or offset; or seconds, milliseconds,
/// microseconds or nanoseconds since 1970, told apart by their number of digits.
pub(super) fn moment(text: &str, zone: &Zone) -> Option<Moment> {
    if let Some(moment) = usual(text.as_bytes(), zone) {
        return Some(moment);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == text.len() || text.as_bytes().get(digits) == Some(&b'.') {
        return numeric(text, digits, zone);
    }
    civil_moment(text, zone).or_else(|| {
        let zoned = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        (zoned.subsec_nanosecond() == 0).then(|| Moment { seconds: zoned.as_second(), nanos: 0 })
    })
}

/// `2024-01-02T03:04:05`, as most programs write it, with a fraction and a `Z` or neither, read without looking for
/// what else it could be.
fn usual(text: &[u8], zone: &Zone) -> Option<Moment> {
    let (head, rest) = text.split_first_chunk::<19>()?;
    let marks = [head[4], head[7], head[13], head[16]] == *b"--::" && matches!(head[10], b'T' | b' ');
    let mut wrong = 0;
    let mut two = |at: usize| {
        let (tens, ones) = (head[at].wrapping_sub(b'0'), head[at + 1].wrapping_sub(b'0'));
        wrong |= u8::from(tens > 9) | u8::from(ones > 9);
        i64::from(tens) * 10 + i64::from(ones)
    };
    let [century, year, month, day, hour, minute, second] = [0, 2, 5, 8, 11, 14, 17].map(&mut two);
    if !marks || wrong != 0 {
        return None;
    }
    let mut cursor = Cursor(rest);
    let nanos = cursor.fraction()?;
    let (days, seconds) = (days(century * 100 + year, month, day)?, clock(hour, minute, second)?);
    match cursor.0 {
        [] => local(days, seconds, nanos, zone),
        b"Z" => Some(Moment { seconds: i64::from(days) * 86_400 + seconds, nanos }),
        _ => None,
    }
}

fn numeric(text: &str, digits: usize, zone: &Zone) -> Option<Moment> {
    let (whole, rest) = text.split_at(digits);
    let number: i64 = whole.parse().ok()?;
    let split = |unit: i64| Moment { seconds: number / unit, nanos: (number % unit * (1_000_000_000 / unit)) as u32 };
    match digits {
        9 | 10 => {
            let mut cursor = Cursor(rest.as_bytes());
            let nanos = cursor.fraction()?;
            cursor.0.is_empty().then_some(Moment { seconds: number, nanos })
        }
        _ if !rest.is_empty() => None,
        8 => local(date(whole)?, 0, 0, zone),
        14 => {
            let part = |at: usize| whole.get(at..at + 2)?.parse::<i64>().ok();
            let seconds = clock(part(8)?, part(10)?, part(12)?)?;
            local(date(&whole[..8])?, seconds, 0, zone)
        }
        13 => Some(split(1_000)),
        16 => Some(split(1_000_000)),
        19 => Some(split(1_000_000_000)),
        _ => None,
    }
}

fn civil_moment(text: &str, zone: &Zone) -> Option<Moment> {
    let mut cursor = Cursor(text.as_bytes());
    let (year, month, day) = cursor.year_month_day()?;
    let days = days(year, month, day)?;
    if cursor.0.is_empty() {
        return local(days, 0, 0, zone);
    }
    if !cursor.take(b'T') && !cursor.take(b't') && !cursor.spaces() {
        return None;
    }
    let hour = cursor.number(1, 2)?;
    if !cursor.take(b':') {
        return None;
    }
    let minute = cursor.number(2, 2).or_else(|| cursor.number(1, 1))?;
    let (mut second, mut nanos) = (0, 0);
    if cursor.take(b':') {
        second = cursor.number(2, 2).or_else(|| cursor.number(1, 1))?;
        nanos = cursor.fraction()?;
    }
    let seconds = clock(hour, minute, second)?;
    cursor.spaces();
    match cursor.0 {
        [] => local(days, seconds, nanos, zone),
        b"Z" | b"z" | b"UTC" | b"GMT" => Some(Moment { seconds: i64::from(days) * 86_400 + seconds, nanos }),
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let mut cursor = Cursor(rest);
            let hours = cursor.number(2, 2).or_else(|| cursor.number(1, 1))?;
            cursor.take(b':');
            let minutes = if cursor.0.is_empty() { 0 } else { cursor.number(2, 2)? };
            if !cursor.0.is_empty() || hours > 15 || minutes > 59 {
                return None;
            }
            let offset = (hours * 60 + minutes) * 60 * if *sign == b'-' { -1 } else { 1 };
            Some(Moment { seconds: i64::from(days) * 86_400 + seconds - offset, nanos })
        }
        _ => None,
    }
}

fn local(days: i32, seconds: i64, nanos: u32, zone: &Zone) -> Option<Moment> {
    let naive = i64::from(days) * 86_400 + seconds;
    match zone {
        Zone::Utc => Some(Moment { seconds: naive, nanos }),
        Zone::Named(zone) => {
            let civil = TimeZone::UTC.to_datetime(jiff::Timestamp::from_second(naive).ok()?);
            // An hour that the clocks leave out is read as the engine reads it: by the offset that comes after it.
            let seconds = zone.to_ambiguous_timestamp(civil).earlier().ok()?.as_second();
            Some(Moment { seconds, nanos })
        }
    }
}

/// Days since 1970 of a day that exists.
fn days(year: i64, month: i64, day: i64) -> Option<i32> {
    let date = civil::Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    // Days from the civil calendar, counted from March so that a leap day is a year's last.
    let (y, m) = if date.month() <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * m + 2) / 5 + day - 1;
    i32::try_from(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468).ok()
}

fn clock(hour: i64, minute: i64, second: i64) -> Option<i64> {
    (hour < 24 && minute < 60 && second < 60).then_some(hour * 3600 + minute * 60 + second)
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take(&mut self, wanted: u8) -> bool {
        match self.0 {
            [first, rest @ ..] if *first == wanted => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn spaces(&mut self) -> bool {
        let before = self.0.len();
        while self.take(b' ') {}
        self.0.len() < before
    }

    /// A number of `least` to `most` digits, as many as there are.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let digits = self.0.iter().take(most).take_while(|it| it.is_ascii_digit()).count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(number.iter().fold(0, |acc, it| acc * 10 + i64::from(it - b'0')))
    }

    fn year_month_day(&mut self) -> Option<(i64, i64, i64)> {
        let year = self.number(4, 4)?;
        let separator = match self.0.first()? {
            it @ (b'-' | b'/') => *it,
            _ => return Some((year, self.number(2, 2)?, self.number(2, 2)?)),
        };
        self.take(separator);
        let month = self.number(1, 2)?;
        if !self.take(separator) {
            return None;
        }
        Some((year, month, self.number(1, 2)?))
    }

    /// `.123…` as nanoseconds; what is finer is cut off. Nothing is 0, a dot without digits is wrong.
    fn fraction(&mut self) -> Option<u32> {
        if !self.take(b'.') {
            return Some(0);
        }
        let digits = self.0.iter().take_while(|it| it.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let (fraction, rest) = self.0.split_at(digits);
        self.0 = rest;
        const TENS: [u32; 10] = [0, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
        let kept = &fraction[..digits.min(9)];
        Some(kept.iter().fold(0, |acc, it| acc * 10 + u32::from(it - b'0')) * TENS[kept.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        let at = |seconds, nanos| Some(Moment { seconds, nanos });
        for (text, wanted) in [
            ("2024-01-02", at(1_704_153_600, 0)),
            ("2024-01-02T03:04:05.123456Z", at(1_704_164_645, 123_456_000)),
            ("2024-01-02 03:04:05+02:00", at(1_704_157_445, 0)),
            ("2024-01-02T03:04:05 -0230", at(1_704_173_645, 0)),
            ("2024-1-2 3:04", at(1_704_164_640, 0)),
            ("20240102030405", at(1_704_164_645, 0)),
            ("1700000000", at(1_700_000_000, 0)),
            ("1700000000.5", at(1_700_000_000, 500_000_000)),
            ("1700000000123", at(1_700_000_000, 123_000_000)),
            ("1700000000123456789", at(1_700_000_000, 123_456_789)),
            ("1960-01-01T00:00:00.5Z", at(-315_619_200, 500_000_000)),
            ("2000-02-29", at(951_782_400, 0)),
            ("Mon, 02 Jan 2006 15:04:05 +0000", at(1_136_214_245, 0)),
            ("2024-02-30 00:00:00", None),
            ("2023-02-29", None),
            ("2024-01-02 25:00:00", None),
            ("2024-01-02T03:04:60", None),
            ("2024-01-02 03:04:05x", None),
            ("2024-01-02T", None),
            ("12345", None),
            ("", None),
            ("0", None),
            ("-5", None),
            ("yesterday", None),
        ] {
            assert_eq!(moment(text, &Zone::Utc), wanted, "{text}");
        }
    }

    #[test]
    fn text_without_a_zone_is_in_the_column_s_zone() {
        let madrid = Zone::find(Some("Europe/Madrid")).unwrap();
        assert_eq!(moment("2024-07-01 12:00:00", &madrid).unwrap().seconds, 1_719_828_000);
        assert_eq!(moment("2024-07-01 12:00:00Z", &madrid).unwrap().seconds, 1_719_835_200);
        assert_eq!(moment("1719828000", &madrid).unwrap().seconds, 1_719_828_000);
        assert_eq!(moment("2024-03-31 02:30:00", &madrid), moment("2024-03-31 01:30:00", &madrid));
        assert!(Zone::find(Some("Europe/Nowhere")).is_none());
    }

    #[test]
    fn days_count_from_1970() {
        for (text, wanted) in [
            ("1970-01-01", Some(0)),
            ("1969-12-31", Some(-1)),
            ("20240229", Some(19_782)),
            ("2024-2-29", Some(19_782)),
            ("2024-02-30", None),
            ("2024-01-02T00:00:00", None),
            ("2024-01/02", None),
            ("0000-00-00", None),
        ] {
            assert_eq!(date(text), wanted, "{text}");
        }
    }
}
