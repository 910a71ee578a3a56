//! The command line after the verb: a few named options, and the rest in order.

use crate::failure::{Context, Result};
use std::path::PathBuf;

/// The options of every verb; each verb reads those it knows.
#[derive(Debug, Default)]
pub struct Options {
    /// `--pg N`: the major version of a private server.
    pub pg: Option<u16>,
    /// `--pg-config FILE`: a server outside the tree.
    pub pg_config: Option<PathBuf>,
    /// `--destdir D`: a folder put before every installed path.
    pub destdir: Option<PathBuf>,
    /// `--name NAME`: which private cluster.
    pub name: Option<String>,
    /// `--only NAME`: the tests whose name contains this.
    pub only: Option<String>,
    /// `--accept NAME`: the SQL regression file whose output becomes the expected one.
    pub accept: Option<String>,
    /// Everything else, in order.
    pub rest: Vec<String>,
}

impl Options {
    /// Parses what follows the verb. After `--`, or from the first word that is no known option, the words
    /// go to `rest` as they are, unknown ones included: `psql` hands them on.
    pub fn parse(arguments: Vec<String>) -> Result<Options> {
        let mut options = Options::default();
        let mut arguments = arguments.into_iter();
        while let Some(word) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("option {word} wants a value"));
            match word.as_str() {
                "--pg" => {
                    let text = value()?;
                    options.pg = Some(text.parse().context(|| format!("--pg '{text}'"))?);
                }
                "--pg-config" => options.pg_config = Some(value()?.into()),
                "--destdir" => options.destdir = Some(value()?.into()),
                "--name" => options.name = Some(value()?),
                "--only" => options.only = Some(value()?),
                "--accept" => options.accept = Some(value()?),
                "--" => options.rest.extend(arguments.by_ref()),
                _ => options.rest.push(word),
            }
        }
        Ok(options)
    }

    /// The private server to use: `--pg`, or 15.
    pub fn major(&self) -> u16 {
        self.pg.unwrap_or(15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        Options::parse(words.iter().map(|w| w.to_string()).collect())
    }

    #[test]
    fn reads_options_and_keeps_the_rest_in_order() {
        let options = parse(&["start", "--pg", "18", "-c", "select 1", "--", "--name"]).unwrap();
        assert_eq!(options.major(), 18);
        assert_eq!(options.rest, ["start", "-c", "select 1", "--name"]);
        assert_eq!(options.name, None);
    }

    #[test]
    fn refuses_an_option_without_its_value() {
        assert_eq!(parse(&["--only"]).unwrap_err().to_string(), "option --only wants a value");
    }

    #[test]
    fn refuses_a_version_that_is_no_number() {
        assert!(parse(&["--pg", "fifteen"]).unwrap_err().to_string().starts_with("--pg 'fifteen'"));
    }
}
