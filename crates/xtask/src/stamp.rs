//! The stamp of the SQL that the library relies on: its functions' signatures and the tables of its catalog. The build
//! script writes it into the library and `xtask` into the install script, so that either knows the other
//! (`src/pg/guard.rs`). This file is a module of both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is in front of each statement that counts.
const STATEMENTS: [&str; 4] = ["CREATE FUNCTION", "CREATE PROCEDURE", "CREATE AGGREGATE", "CREATE TABLE"];

/// The stamp of the tree at `root`: 16 hex digits. Comments and layout do not change it.
pub fn of(root: &Path) -> io::Result<String> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a
    for file in sources(root)? {
        for statement in statements(&fs::read_to_string(&file)?) {
            for byte in statement.bytes().chain([b';']) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    Ok(format!("{hash:016x}"))
}

/// The files that may have such statements, in name order.
fn sources(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![];
    for folder in ["sql", "src/api"] {
        for entry in fs::read_dir(root.join(folder))? {
            files.push(entry?.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The statements of a text up to their semicolons, their words parted by single blanks.
fn statements(text: &str) -> Vec<String> {
    let mut found = vec![];
    let mut starts: Vec<usize> =
        STATEMENTS.iter().flat_map(|s| text.match_indices(s).map(|(at, _)| at)).collect();
    starts.sort_unstable();
    for start in starts {
        let statement = text[start..].split(';').next().unwrap_or_default();
        found.push(statement.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn signatures_count_and_comments_do_not() {
        let text = "CREATE FUNCTION damson.a(\n    model text,\n    n bigint)\nAS 'x';\nCOMMENT ON FUNCTION damson.a IS 'A.';";
        let same =
            "CREATE FUNCTION damson.a( model text, n bigint)  AS 'x';\nCOMMENT ON FUNCTION damson.a IS 'B.';";
        assert_eq!(statements(text), ["CREATE FUNCTION damson.a( model text, n bigint) AS 'x'"]);
        assert_eq!(statements(text), statements(same));
        assert_ne!(statements(text), statements(&same.replace("bigint", "text")));
    }
}
