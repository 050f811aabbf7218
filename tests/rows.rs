//! Evidence for the table of threats and faults (`docs/hostile-world.md`): a test that covers a row says so, with what
//! it measured. `tests/rows.py` puts the table together from what the last run left here.

use std::fmt::Display;
use std::fs;
use std::path::Path;

/// The running test covers `rows` (`T5`, `F17`); `figure` is what it measured, with its unit.
///
/// Call it as the last thing of a test: a test that failed before leaves no evidence.
pub(crate) fn covered(rows: &[&str], test: &str, figure: impl Display) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp/rows");
    // A table that cannot be written is noticed by `rows.py`, which misses the row; it is no fault of the program.
    let _ = fs::create_dir_all(&folder);
    let figure = figure.to_string().replace(['\n', '\t', '|'], " ");
    for row in rows {
        let _ = fs::write(folder.join(format!("{row} {test}")), format!("{row}\t{test}\t{figure}\n"));
    }
}
