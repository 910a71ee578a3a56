//! Days and times as references to models write them: `churn@2026-01-31`, `churn@2026-01-31 12:30+01`. Callers: the
//! server's references and aliases.
//!
//! Only the ISO 8601 order of year, month and day is read, with digits alone: it means the same whatever the settings of
//! a session are, and cannot be taken for an alias.

use crate::error::{Error, Kind, Result};

/// A day, or a time of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment<'a> {
    /// As it was written.
    pub text: &'a str,
    /// Whether it is a day as a whole.
    pub day: bool,
}

impl<'a> Moment<'a> {
    /// Parses `YYYY-MM-DD`, or that with ` HH:MM`, seconds, up to six digits of their fraction and an offset from UTC
    /// (`Z`, `+01`, `-03:30`); a `T` may stand for the blank.
    ///
    /// # Errors
    /// `Kind::Parameter` for what is neither, or no day of the calendar.
    pub fn parse(text: &'a str) -> Result<Moment<'a>> {
        let refused = |why: &str| {
            Err(Error::new(Kind::Parameter, format!("\"{text}\" is no day or time: {why}"))
                .hint("Write 2026-01-31, 2026-01-31 12:30:00 or 2026-01-31 12:30:00+01:00."))
        };
        if !looks_like(text) {
            return refused("expected a year, a month and a day");
        }
        let number = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap_or(0);
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        if year == 0 || !(1..=12).contains(&month) || !(1..=days(year, month)).contains(&day) {
            return refused("there is no such day");
        }
        let rest = &text[10..];
        if rest.is_empty() {
            return Ok(Moment { text, day: true });
        }
        match rest.strip_prefix([' ', 'T']).is_some_and(is_time) {
            true => Ok(Moment { text, day: false }),
            false => refused("expected hours and minutes behind the day"),
        }
    }
}

/// Whether a text begins as a day does, and can therefore be no alias.
pub fn looks_like(text: &str) -> bool {
    let shape = |(i, b): (usize, &u8)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() };
    text.len() >= 10 && text.as_bytes()[..10].iter().enumerate().all(shape)
}

fn days(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => 31,
    }
}

/// `HH:MM[:SS[.ffffff]]` and an offset.
fn is_time(text: &str) -> bool {
    let (clock, offset) = match text.find(['Z', '+', '-']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let parts: Vec<&str> = clock.split(':').collect();
    let fits = parts.iter().zip([23, 59, 59]).all(|(part, most)| two_digits(part, most));
    let whole = match parts.len() {
        2 => !text.contains('.'),
        n => n == 3,
    };
    let digits = (1..=6).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    fits && whole && digits && is_offset(offset)
}

fn is_offset(text: &str) -> bool {
    if matches!(text, "" | "Z") {
        return true;
    }
    let Some(offset) = text.strip_prefix(['+', '-']) else { return false };
    let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "00"));
    two_digits(hours, 15) && two_digits(minutes, 59)
}

fn two_digits(text: &str, most: u32) -> bool {
    text.len() == 2
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u32>().is_ok_and(|n| n <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_days_and_times() {
        for text in ["2026-01-31", "2024-02-29", "2000-02-29", "0001-12-31"] {
            assert_eq!(Moment::parse(text).unwrap(), Moment { text, day: true });
        }
        for text in [
            "2026-01-31 12:30",
            "2026-01-31T23:59:59",
            "2026-01-31 00:00:00.5",
            "2026-01-31 12:30:00.123456+01:00",
            "2026-01-31T12:30Z",
            "2026-01-31 12:30-03:30",
        ] {
            assert_eq!(Moment::parse(text).unwrap(), Moment { text, day: false });
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "2026",
            "31-01-2026",
            "2026/01/31",
            "2026-1-31",
            "champion",
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-04-31",
            "2026-01-00",
            "0000-01-01",
            "2026-01-31 ",
            "2026-01-31 12",
            "2026-01-31 24:00",
            "2026-01-31 12:60",
            "2026-01-31 12:30:60",
            "2026-01-31 12:30.5",
            "2026-01-31 12:30:00.",
            "2026-01-31 12:30:00.1234567",
            "2026-01-31 12:30+1",
            "2026-01-31 12:30+16",
            "2026-01-31 12:30+01:60",
            "2026-01-31 12:30 Europe/Berlin",
            "2026-01-31x",
            "2026-01-311",
            "2026-01-31 12:30ZZ",
            "2026-01-31 1é:30",
            "2026-01-3é",
        ] {
            assert_eq!(Moment::parse(text).unwrap_err().kind, Kind::Parameter, "{text}");
        }
    }
}
