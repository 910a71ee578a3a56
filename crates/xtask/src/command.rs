//! External commands: echoed, run, and their failure turned into a value.

use crate::failure::{Context, Result};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// The command as one would type it; words with blanks or signs are quoted.
fn spelled(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Echoes and runs `command`, its output going where ours goes. A failing exit is an error.
pub fn run(command: &mut Command) -> Result<()> {
    if succeeds(command)? { Ok(()) } else { Err(format!("failed: {}", spelled(command)).into()) }
}

/// Echoes and runs `command`; says whether it succeeded.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    eprintln!("$ {}", spelled(command));
    let status = command.stdin(Stdio::null()).status().context(|| spelled(command))?;
    Ok(status.success())
}

/// Runs `command` quietly and returns what it printed. A failing exit is an error that carries its stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context(|| spelled(command))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("failed: {}\n{}", spelled(command), told.trim_end()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Echoes and runs `command`; its stdout is shown as it comes, and also returned, with its success.
pub fn tee(command: &mut Command) -> Result<(bool, String)> {
    eprintln!("$ {}", spelled(command));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context(|| spelled(command))?;
    let mut printed = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let mut block = [0; 8192];
        loop {
            let count = stdout.read(&mut block).context(|| spelled(command))?;
            let Some(bytes) = block.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
            std::io::stdout().write_all(bytes).context(|| "showing a command's output")?;
            printed.extend_from_slice(bytes);
        }
    }
    let status = child.wait().context(|| spelled(command))?;
    Ok((status.success(), String::from_utf8_lossy(&printed).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_a_command_so_that_it_can_be_pasted() {
        let mut command = Command::new("psql");
        command.args(["-c", "select 'it''s'", "-X", ""]);
        assert_eq!(spelled(&command), r"psql -c 'select '\''it'\'''\''s'\''' -X ''");
    }

    #[test]
    fn carries_what_a_failing_command_said() {
        let failure = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(failure.to_string().ends_with("why"), "{failure}");
    }
}
