//! Times of schedules in the syntax of cron: `minute hour day month weekday`. Callers: the server's schedules.
//!
//! Times are civil, in whatever time zone the caller has: seconds since 1970 as a clock on the wall shows them. The
//! rules are those of Vixie's cron: `*`, numbers, names of months and weekdays, ranges, lists, steps; Sunday is 0 and
//! 7; where both day and weekday are restricted, either will do. `@hourly`, `@daily`, `@weekly`, `@monthly` and
//! `@yearly` stand for what they say.

use crate::error::{Error, Kind, Result};

/// A parsed schedule: a bit a value that it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether a day must be of both fields, as one of them is `*`.
    both: bool,
}

struct Field {
    name: &'static str,
    low: u64,
    high: u64,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[] },
    Field { name: "hour", low: 0, high: 23, names: &[] },
    Field { name: "day", low: 1, high: 31, names: &[] },
    Field {
        name: "month",
        low: 1,
        high: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "weekday", low: 0, high: 7, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const DAY: i64 = 86_400;

impl Cron {
    /// Parses a schedule.
    ///
    /// # Errors
    /// `Kind::Parameter`, with the field, what was found and what was expected.
    pub fn parse(text: &str) -> Result<Cron> {
        let text = text.trim();
        let nickname = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let spelt = nickname.map_or(text, |(_, spelt)| spelt);
        let words: Vec<&str> = spelt.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else {
            return Err(Error::new(
                Kind::Parameter,
                format!(
                    "schedule \"{text}\" has {} fields, expected 5: minute hour day month weekday",
                    words.len()
                ),
            )
            .hint("\"30 2 * * 1-5\" is half past two on weekdays; \"@daily\" is midnight."));
        };
        let [minutes, hours, days, months, mut weekdays] = [
            parse_field(&FIELDS[0], minute)?,
            parse_field(&FIELDS[1], hour)?,
            parse_field(&FIELDS[2], day)?,
            parse_field(&FIELDS[3], month)?,
            parse_field(&FIELDS[4], weekday)?,
        ];
        if weekdays & 1 << 7 != 0 {
            weekdays |= 1;
        }
        // Vixie's rule, which looks at the first character alone.
        let both = day.starts_with('*') || weekday.starts_with('*');
        Ok(Cron { minutes, hours, days, months, weekdays, both })
    }

    /// The first time after `civil` that the schedule allows, in seconds since 1970; none when no day of the next
    /// nine years is one (the longest that a 29 February is away).
    pub fn next(&self, civil: i64) -> Option<i64> {
        let from = (civil.div_euclid(60) + 1) * 60;
        let first = from.div_euclid(DAY);
        (first..first + 9 * 366).filter(|day| self.allows(*day)).find_map(|day| {
            let earliest = if day == first { from.rem_euclid(DAY) / 60 } else { 0 };
            let minute = (earliest..24 * 60)
                .find(|m| self.hours >> (m / 60) & 1 == 1 && self.minutes >> (m % 60) & 1 == 1);
            minute.map(|m| day * DAY + m * 60)
        })
    }

    fn allows(&self, days: i64) -> bool {
        let (month, day) = civil_date(days);
        // 1 January 1970 was a Thursday.
        let weekday = (days + 4).rem_euclid(7);
        let (of_month, of_week) = (self.days >> day & 1 == 1, self.weekdays >> weekday & 1 == 1);
        self.months >> month & 1 == 1 && if self.both { of_month && of_week } else { of_month || of_week }
    }
}

/// Month and day of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_date(days: i64) -> (i64, i64) {
    let shifted = days + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    (if from_march < 10 { from_march + 3 } else { from_march - 9 }, day)
}

fn parse_field(field: &Field, text: &str) -> Result<u64> {
    let mut allowed = 0;
    for part in text.split(',') {
        let refused = || {
            let Field { name, low, high, .. } = field;
            Error::new(
                Kind::Parameter,
                format!(
                    "{name} \"{part}\" of a schedule is not understood, expected *, {low} to {high}, a range such as {low}-{high}, or a step such as */2"
                ),
            )
        };
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u64>().ok().filter(|s| *s > 0).ok_or_else(refused)?),
            None => (part, 1),
        };
        let (low, high) = match range.split_once('-') {
            _ if range == "*" => (field.low, field.high.min(if field.name == "weekday" { 6 } else { 59 })),
            Some((a, b)) => (value(field, a).ok_or_else(refused)?, value(field, b).ok_or_else(refused)?),
            None => {
                let one = value(field, range).ok_or_else(refused)?;
                (one, if part.contains('/') { field.high } else { one })
            }
        };
        if low > high {
            return Err(refused());
        }
        allowed |= (low..=high).step_by(step.min(64) as usize).fold(0, |bits, v| bits | 1 << v);
    }
    Ok(allowed)
}

fn value(field: &Field, text: &str) -> Option<u64> {
    let named = field.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    // Months count from 1 and weekdays from 0: from where the field does.
    let number = match named {
        Some(place) => place as u64 + field.low,
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok()?,
        None => return None,
    };
    (field.low..=field.high).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-28 23:59:30, a Wednesday.
    const FROM: i64 = 1_709_164_770;

    fn next(cron: &str) -> i64 {
        Cron::parse(cron).unwrap().next(FROM).unwrap() - FROM
    }

    #[test]
    fn finds_the_next_time() {
        let midnight = 30;
        assert_eq!(next("* * * * *"), midnight);
        assert_eq!(next("0 0 29 2 *"), midnight);
        assert_eq!(next("30 2 * * *"), midnight + 9000);
        assert_eq!(next("*/15 9-17 * * mon-fri"), midnight + 9 * 3600);
        // Friday, then Sunday by both of its numbers and its name.
        assert_eq!(next("0 0 * * 5"), midnight + DAY);
        for sunday in ["0", "7", "sun", "SUN"] {
            assert_eq!(next(&format!("0 0 * * {sunday}")), midnight + 3 * DAY);
        }
        // Either the 13th or a Friday; 1 March is a Friday.
        assert_eq!(next("0 0 13 * 5"), midnight + DAY);
        assert_eq!(next("0 0 */2 * 5"), midnight + DAY);
        assert_eq!(next("@monthly"), midnight + DAY);
        assert_eq!(next("0 0 1 jan,apr *"), midnight + 32 * DAY);
        assert_eq!(next("5/20 0 * * *"), midnight + 300);
    }

    #[test]
    fn a_time_that_is_now_is_not_the_next_one() {
        let cron = Cron::parse("0 0 * * *").unwrap();
        assert_eq!(cron.next(0), Some(DAY));
        assert_eq!(cron.next(-1), Some(0));
    }

    #[test]
    fn leap_days_come_and_impossible_days_do_not() {
        let leap = Cron::parse("0 0 29 2 *").unwrap();
        // From 1 March 2096 over 2100, which is no leap year.
        let march_2096 = 3_981_398_400;
        assert_eq!(leap.next(march_2096).map(|t| (t - march_2096) / DAY), Some(8 * 365));
        assert_eq!(Cron::parse("0 0 31 2 *").unwrap().next(FROM), None);
    }

    #[test]
    fn every_day_of_four_centuries_has_the_date_that_counting_gives() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(civil_date(days), (month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn refuses_what_is_no_schedule() {
        let bad = [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "1, * * * *",
            "-1 * * * *",
            "* * * * monday",
            "@often",
            "1-2-3 * * * *",
            "+1 * * * *",
            "99999999999999999999 * * * *",
            "*/99999999999999999999 * * * *",
        ];
        for text in bad {
            assert!(Cron::parse(text).is_err(), "{text}");
        }
        let message = Cron::parse("61 * * * *").unwrap_err().message;
        assert!(message.contains("minute \"61\""), "{message}");
    }
}
