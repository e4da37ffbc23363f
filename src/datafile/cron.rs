//! Schedules of five fields, as cron reads them: minute, hour, day, month, weekday, in UTC.
//!
//! In: a text. Out: a [`Cron`], which knows the moments that it means. What happens then is not known here.

use jiff::{ToSpan, civil::DateTime};

/// Minutes, hours, days, months and weekdays (0 is Sunday), a bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Where both are restricted, a day that fits either is meant.
    either_day: bool,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A schedule that has no moment within so many days has none: the 29th of February comes every eight years at least.
const FAR: u32 = 366 * 9;

impl Cron {
    /// Five fields of numbers, names, ranges, lists and steps; nothing for anything else.
    pub fn parse(text: &str) -> Option<Cron> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else { return None };
        let week = field(weekdays, (0, 7), DAYS)?;
        Some(Cron {
            minutes: field(minutes, (0, 59), &[])?,
            hours: field(hours, (0, 23), &[])?,
            days: field(days, (1, 31), &[])?,
            months: field(months, (1, 12), MONTHS)?,
            // Sunday is 0 and 7.
            weekdays: (week | week >> 7) & 0x7f,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        })
    }

    /// The first minute after that of `time` which is meant, if any ever is.
    pub fn after(&self, time: DateTime) -> Option<DateTime> {
        let mut day = time.date();
        let mut earliest = i32::from(time.hour()) * 60 + i32::from(time.minute()) + 1;
        for _ in 0..FAR {
            if self.means(day) {
                let fits = |minute: &i32| has(self.hours, minute / 60) && has(self.minutes, minute % 60);
                if let Some(minute) = (earliest..24 * 60).find(fits) {
                    return Some(day.at((minute / 60) as i8, (minute % 60) as i8, 0, 0));
                }
            }
            day = day.checked_add(1.day()).ok()?;
            earliest = 0;
        }
        None
    }

    fn means(&self, day: jiff::civil::Date) -> bool {
        let of_month = has(self.days, day.day().into());
        let of_week = has(self.weekdays, day.weekday().to_sunday_zero_offset().into());
        let day_fits = if self.either_day { of_month || of_week } else { of_month && of_week };
        day_fits && has(self.months, day.month().into())
    }
}

fn has(bits: u64, number: i32) -> bool {
    bits >> number & 1 == 1
}

fn field(text: &str, (low, high): (u32, u32), names: &[&str]) -> Option<u64> {
    let number = |text: &str| {
        let named = names.iter().position(|it| text.eq_ignore_ascii_case(it)).map(|it| it as u32 + low);
        named.or_else(|| text.parse().ok()).filter(|it| (low..=high).contains(it))
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((from, to)) => (number(from)?, number(to)?),
            // `5/15` goes on to the end.
            None if step.is_some() => (number(range)?, high),
            None => (number(range)?, number(range)?),
        };
        let step = step.map_or(Some(1), |it| it.parse().ok().filter(|it| *it > 0))?;
        if from > to {
            return None;
        }
        bits |= (from..=to).step_by(step).fold(0, |bits, it| bits | 1_u64 << it);
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for good in ["* * * * *", "0 * * * *", "*/5 1-3 1,15 jan-mar MON", "41 * * * *", "0 9 * * 0-5/2"] {
            assert!(Cron::parse(good).is_some(), "{good}");
        }
        for bad in
            ["every hour", "* * * *", "60 * * * *", "* * * * * *", "*/0 * * * *", "5-1 * * * *", "", "1- * * * *"]
        {
            assert!(Cron::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn moments() {
        for (cron, from, expected) in [
            ("* * * * *", "2026-01-31T12:00:59", "2026-01-31T12:01:00"),
            ("*/15 * * * *", "2026-01-31T12:46:00", "2026-01-31T13:00:00"),
            ("5/20 * * * *", "2026-01-31T12:06:00", "2026-01-31T12:25:00"),
            ("0 0 * * *", "2026-12-31T23:59:00", "2027-01-01T00:00:00"),
            ("30 9 1 jan *", "2026-01-01T09:30:00", "2027-01-01T09:30:00"),
            // A Monday; then a Monday or the 15th.
            ("0 9 * * mon", "2026-01-31T12:00:00", "2026-02-02T09:00:00"),
            ("0 9 15 * mon", "2026-02-09T09:00:00", "2026-02-15T09:00:00"),
            ("0 0 * * 7", "2026-01-31T12:00:00", "2026-02-01T00:00:00"),
            ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ] {
            let after = Cron::parse(cron).unwrap().after(from.parse().unwrap());
            assert_eq!(after.map(|it| it.to_string()).as_deref(), Some(expected), "{cron} after {from}");
        }
        assert_eq!(Cron::parse("0 0 31 2 *").unwrap().after("2026-01-31T12:00:00".parse().unwrap()), None);
    }
}
