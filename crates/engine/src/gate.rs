//! Gates: conditions over named metrics that a version must meet, such as `auc > 0.9 and drift_share < 0.1`.
//! Callers: the server's deployments, through a look-up of metrics by name.
//!
//! Numbers, names (letters, digits, `_`, parts joined by dots), `+ - * /`, comparisons, `and`, `or`, `not` and
//! brackets; words in any case. A comparison with a metric that is NaN does not hold, as in IEEE 754, except `!=`.

use crate::error::{Error, Kind, Result};

/// How deep brackets and signs may nest.
const DEEPEST: usize = 64;
/// Bytes of a gate.
const LONGEST: usize = 4096;

/// A parsed gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate(Expr);

/// What became of a gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// The metrics that it names, in order, with their values.
    pub values: Vec<(String, f64)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    Number(f64),
    Name(String),
    Negative(Box<Expr>),
    Arithmetic(Box<Expr>, char, Box<Expr>),
    Compare(Box<Expr>, Comparison, Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    Unequal,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Word(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 13] = ["<=", ">=", "<>", "!=", "<", ">", "=", "(", ")", "+", "-", "*", "/"];

impl Gate {
    /// Parses a gate.
    ///
    /// # Errors
    /// `Kind::Parameter`, with what was found and what was expected.
    pub fn parse(text: &str) -> Result<Gate> {
        if text.len() > LONGEST {
            return Err(refused(format!("gate has {} bytes, expected at most {LONGEST}", text.len())));
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
        let expr = parser.or()?;
        if let Some(token) = parser.peek() {
            return Err(refused(format!("gate goes on with {}, expected its end", shown(Some(token)))));
        }
        if !expr.is_condition() {
            return Err(refused("gate is a number, expected a condition".into()));
        }
        Ok(Gate(expr))
    }

    /// The metrics that it names, each once, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names = vec![];
        self.0.collect(&mut names);
        names
    }

    /// Decides with the values of metrics.
    ///
    /// # Errors
    /// What `metric` gives for a name that it does not know.
    pub fn decide<E>(
        &self,
        mut metric: impl FnMut(&str) -> std::result::Result<f64, E>,
    ) -> std::result::Result<Verdict, E> {
        let mut values: Vec<(String, f64)> = vec![];
        for name in self.names() {
            values.push((name.to_string(), metric(name)?));
        }
        let holds = self.0.holds(&values);
        Ok(Verdict { holds, values })
    }
}

impl Expr {
    fn is_condition(&self) -> bool {
        matches!(self, Expr::Compare(..) | Expr::Not(_) | Expr::And(..) | Expr::Or(..))
    }

    fn collect<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Expr::Number(_) => {}
            Expr::Name(name) if names.contains(&name.as_str()) => {}
            Expr::Name(name) => names.push(name),
            Expr::Negative(a) | Expr::Not(a) => a.collect(names),
            Expr::Arithmetic(a, _, b) | Expr::Compare(a, _, b) | Expr::And(a, b) | Expr::Or(a, b) => {
                a.collect(names);
                b.collect(names);
            }
        }
    }

    /// The value of what is a number; parsing made sure that it is one.
    fn number(&self, values: &[(String, f64)]) -> f64 {
        match self {
            Expr::Number(v) => *v,
            Expr::Name(name) => values.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, v)| *v),
            Expr::Negative(a) => -a.number(values),
            Expr::Arithmetic(a, op, b) => {
                let (a, b) = (a.number(values), b.number(values));
                match op {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    _ => a / b,
                }
            }
            _ => f64::NAN,
        }
    }

    fn holds(&self, values: &[(String, f64)]) -> bool {
        match self {
            Expr::Compare(a, comparison, b) => {
                let (a, b) = (a.number(values), b.number(values));
                match comparison {
                    Comparison::Less => a < b,
                    Comparison::LessOrEqual => a <= b,
                    Comparison::Greater => a > b,
                    Comparison::GreaterOrEqual => a >= b,
                    Comparison::Equal => a == b,
                    Comparison::Unequal => a != b,
                }
            }
            Expr::Not(a) => !a.holds(values),
            Expr::And(a, b) => a.holds(values) && b.holds(values),
            Expr::Or(a, b) => a.holds(values) || b.holds(values),
            _ => false,
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = if first.is_ascii_digit() || first == '.' {
            let length = number_length(rest);
            let value = rest[..length].parse::<f64>().ok().filter(|v| v.is_finite());
            let value =
                value.ok_or_else(|| refused(format!("\"{}\" of the gate is no number", &rest[..length])))?;
            tokens.push(Token::Number(value));
            length
        } else if first.is_alphabetic() || first == '_' {
            let ends = |c: char| !(c.is_alphanumeric() || c == '_' || c == '.');
            let length = rest.find(ends).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_string()));
            length
        } else {
            let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s));
            let symbol = symbol.ok_or_else(|| {
                refused(format!("gate has \"{first}\", expected metrics, numbers, comparisons, and, or, not"))
                    .hint("For example: auc > 0.9 and drift_share < 0.1")
            })?;
            tokens.push(Token::Symbol(symbol));
            symbol.len()
        };
        rest = rest[taken..].trim_start();
    }
    Ok(tokens)
}

/// Digits, a point, digits, and an exponent where one follows.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn symbol(&mut self, wanted: &[&'static str]) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Symbol(s)) if wanted.contains(s) => {
                let s = *s;
                self.at += 1;
                Some(s)
            }
            _ => None,
        }
    }

    fn word(&mut self, wanted: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w.eq_ignore_ascii_case(wanted));
        self.at += usize::from(found);
        found
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(refused(format!("gate nests deeper than {DEEPEST}")));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.word("or") {
            let right = self.and()?;
            left = Expr::Or(Box::new(condition(left)?), Box::new(condition(right)?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.word("and") {
            let right = self.not()?;
            left = Expr::And(Box::new(condition(left)?), Box::new(condition(right)?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        if self.word("not") {
            let negated = self.deeper(Self::not)?;
            return Ok(Expr::Not(Box::new(condition(negated)?)));
        }
        let left = self.sum()?;
        let comparison = match self.symbol(&["<=", ">=", "<>", "!=", "<", ">", "="]) {
            None => return Ok(left),
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some(">") => Comparison::Greater,
            Some(">=") => Comparison::GreaterOrEqual,
            Some("=") => Comparison::Equal,
            Some(_) => Comparison::Unequal,
        };
        let right = self.sum()?;
        Ok(Expr::Compare(Box::new(number(left)?), comparison, Box::new(number(right)?)))
    }

    fn sum(&mut self) -> Result<Expr> {
        let mut left = self.product()?;
        while let Some(op) = self.symbol(&["+", "-"]) {
            let right = self.product()?;
            left = arithmetic(left, op, right)?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.primary()?;
        while let Some(op) = self.symbol(&["*", "/"]) {
            let right = self.primary()?;
            left = arithmetic(left, op, right)?;
        }
        Ok(left)
    }

    fn primary(&mut self) -> Result<Expr> {
        if self.symbol(&["-"]).is_some() {
            let negated = self.deeper(Self::primary)?;
            return Ok(Expr::Negative(Box::new(number(negated)?)));
        }
        if self.symbol(&["("]).is_some() {
            let inner = self.deeper(Self::or)?;
            if self.symbol(&[")"]).is_none() {
                return Err(refused(format!("gate has {}, expected \")\"", shown(self.peek()))));
            }
            return Ok(inner);
        }
        let expr = match self.peek() {
            Some(Token::Number(v)) => Expr::Number(*v),
            Some(Token::Word(w)) if !["and", "or", "not"].iter().any(|k| w.eq_ignore_ascii_case(k)) => {
                Expr::Name(w.clone())
            }
            other => {
                return Err(refused(format!("gate has {}, expected a metric or a number", shown(other))));
            }
        };
        self.at += 1;
        Ok(expr)
    }
}

fn arithmetic(left: Expr, op: &str, right: Expr) -> Result<Expr> {
    let op = op.chars().next().unwrap_or('+');
    Ok(Expr::Arithmetic(Box::new(number(left)?), op, Box::new(number(right)?)))
}

fn condition(expr: Expr) -> Result<Expr> {
    if expr.is_condition() {
        Ok(expr)
    } else {
        Err(refused("gate joins a number by and, or or not, expected a comparison".into()))
    }
}

fn number(expr: Expr) -> Result<Expr> {
    if expr.is_condition() {
        Err(refused("gate compares or counts with a condition, expected a metric or a number".into()))
    } else {
        Ok(expr)
    }
}

fn shown(token: Option<&Token>) -> String {
    match token {
        None => "its end".into(),
        Some(Token::Number(v)) => v.to_string(),
        Some(Token::Word(w)) => format!("\"{w}\""),
        Some(Token::Symbol(s)) => format!("\"{s}\""),
    }
}

fn refused(message: String) -> Error {
    Error::new(Kind::Parameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        let metric = |name: &str| match name {
            "auc" => Ok(0.92),
            "production.auc" => Ok(0.9),
            "drift_share" => Ok(0.05),
            "broken" => Ok(f64::NAN),
            _ => Err(name.to_string()),
        };
        Gate::parse(text).unwrap().decide(metric).unwrap().holds
    }

    #[test]
    fn decides_by_the_rules_of_arithmetic_and_logic() {
        for text in [
            "auc > 0.9 and drift_share < 0.1",
            "auc > 1 OR auc>.9",
            "auc >= production.auc + 0.02 - 1e-9",
            "not auc < 0.5",
            "not (auc < 0.5 or drift_share > 0.5)",
            "1 + 2 * 3 = 7",
            "(1 + 2) * 3 = 9",
            "8 / 2 / 2 = 2",
            "5 - 2 - 1 = 2",
            "-drift_share < 0",
            "- -1 = 1",
            "auc > 0.99 and auc > 0.99 or drift_share < 0.1",
            "broken != broken",
            "auc <> 1",
            "(((auc > 0.9)))",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "auc > 0.95",
            "broken > 0",
            "broken <= 0",
            "not auc > 0.5 and auc > 0.5",
            "auc > 0.99 or not drift_share < 1",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn tells_the_values_that_it_was_decided_by() {
        let gate = Gate::parse("a > b and a < 3").unwrap();
        let verdict = gate.decide(|name| Ok::<_, ()>(if name == "a" { 2.0 } else { 1.0 })).unwrap();
        assert_eq!(verdict, Verdict { holds: true, values: vec![("a".into(), 2.0), ("b".into(), 1.0)] });
        assert_eq!(gate.decide(|name| Err::<f64, _>(name.to_string())), Err("a".to_string()));
    }

    #[test]
    fn refuses_what_is_no_condition() {
        for text in [
            "",
            "auc",
            "auc >",
            "> 0.9",
            "auc > 0.9 and",
            "auc 0.9",
            "auc > 0.9 0.8",
            "auc and drift",
            "(auc > 1",
            "auc > 1)",
            "auc > (b > c)",
            "1 < 2 < 3",
            "auc > 1; DROP TABLE x",
            "auc > '1'",
            "not auc",
            "auc > 1e999",
            "1..2 > 0",
            "and > 1",
        ] {
            assert_eq!(Gate::parse(text).unwrap_err().kind, Kind::Parameter, "{text}");
        }
        assert!(Gate::parse(&format!("{}auc > 1{}", "(".repeat(100), ")".repeat(100))).is_err());
        assert!(Gate::parse(&format!("{}auc > 1", "not ".repeat(100))).is_err());
        assert!(Gate::parse(&format!("auc > {}1", "- ".repeat(2000))).is_err());
    }
}
