//! Lines of CSV: no cell of any reading is a formula, and numbers stay numbers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postrider::cli::output::csv::{Field, line};
use postrider::domain::text::misleads;

fuzz_target!(|input: (Vec<String>, u64)| {
    let (texts, number) = input;
    let mut fields: Vec<Field> = texts.iter().map(Field::from).collect();
    fields.push(Field::Number(number));
    let line = line(&fields);
    let line = line.strip_suffix("\r\n").expect("a line end");
    assert!(!line.contains(misleads), "{line:?}");
    assert!(line.ends_with(&number.to_string()));
    // Every place where some spreadsheet may begin a cell.
    for cell in line.split([',', ';']) {
        let cell = cell.trim_start_matches(|c: char| c.is_whitespace() || c == '"');
        assert!(!cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) || texts.iter().any(|text| text.contains(',')), "{line:?}");
    }
});
