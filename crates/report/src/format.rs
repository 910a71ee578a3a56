//! Numbers and texts for people.

/// A number in four digits or so: `0.8731`, `12.5`, `1,234,567`, `3.2e-9`.
pub(crate) fn number(x: f64) -> String {
    let size = x.abs();
    if !x.is_finite() {
        return if x.is_nan() {
            "–".into()
        } else if x > 0.0 {
            "∞".into()
        } else {
            "−∞".into()
        };
    }
    if size >= 1e15 || (size < 1e-4 && x != 0.0) {
        return format!("{x:.2e}").replace('-', "−");
    }
    if x.fract() == 0.0 {
        return whole(x as i64);
    }
    let decimals = match size {
        s if s >= 1000.0 => 0,
        s if s >= 100.0 => 1,
        s if s >= 10.0 => 2,
        s if s >= 1.0 => 3,
        _ => 4,
    };
    let text = format!("{x:.decimals$}");
    if decimals == 0 {
        return whole(x.round() as i64);
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.replace('-', "−")
}

/// As [`number`], with all its decimals, so that those of a column stand below each other.
pub(crate) fn measure(x: f64) -> String {
    match x.abs() {
        s if !s.is_finite() || s >= 1000.0 || (s < 1e-3 && s != 0.0) => number(x),
        s if s >= 100.0 => format!("{x:.2}").replace('-', "−"),
        _ => format!("{x:.4}").replace('-', "−"),
    }
}

/// A whole number in groups of three digits.
pub(crate) fn whole(x: i64) -> String {
    let digits = x.unsigned_abs().to_string();
    let mut out = String::from(if x < 0 { "−" } else { "" });
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A share in per cent.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        p if p == 0.0 || p == 100.0 => format!("{p:.0} %"),
        p if p.abs() < 0.1 => "< 0.1 %".into(),
        p if p > 99.9 && p < 100.0 => "> 99.9 %".into(),
        p => format!("{p:.1} %"),
    }
}

/// A text on one line of at most so many characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    let line: String = text.chars().take(most + 1).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= most { line } else { cut(&line, most) }
}

/// A text of at most so many characters, its lines kept.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_string(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Seconds since 2000 as a date, with the time where there is one.
pub(crate) fn time(seconds: f64) -> String {
    let micros = seconds * 1e6;
    // Years that a date can say.
    if micros.abs() < 2e17 { engine::explain::timestamp(micros as i64) } else { number(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_lose_no_sign() {
        let cases = [
            (0.0, "0"),
            (0.87312, "0.8731"),
            (-12.5, "−12.5"),
            (1_234_567.0, "1,234,567"),
            (1234.56, "1,235"),
            (3.2e-9, "3.20e−9"),
            (f64::NAN, "–"),
            (f64::NEG_INFINITY, "−∞"),
            (1e300, "1.00e300"),
        ];
        for (x, text) in cases {
            assert_eq!(number(x), text);
        }
        assert_eq!(
            (measure(0.9), measure(-0.12345), measure(250.0)),
            ("0.9000".into(), "−0.1235".into(), "250.00".into())
        );
    }

    #[test]
    fn shares_are_never_rounded_to_none_or_all() {
        let all = [0.0, 1.0, 0.00001, 0.99999, 0.256].map(percent);
        assert_eq!(all, ["0 %", "100 %", "< 0.1 %", "> 99.9 %", "25.6 %"]);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(short("schön", 5), "schön");
        assert_eq!(short("schönes", 5), "schö…");
        assert_eq!(short("a\nb", 5), "a b");
        assert_eq!(cut("a\nbcd", 3), "a\n…");
        assert_eq!(time(86_400.0), "2000-01-02");
    }
}
