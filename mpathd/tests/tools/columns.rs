//! The formatter (behaviour file 7.2).

use mpathd::cli::columns::{Column, FieldError, Layout, Printer, column};

const COLUMNS: &[Column] = &[
    column("ONE", 6),
    column("TWO", 6),
    column("THREE", 60),
    column("FOUR", 8),
    column("FIVE", 1),
];

fn print(fields: Option<&str>, parseable: bool, screen: usize, rows: &[[&str; 5]]) -> String {
    let layout = Layout::new(COLUMNS, fields, parseable).unwrap();
    let mut out = Vec::new();
    let screen = || screen;
    let mut printer = Printer::new(layout, &mut out, &screen);
    for row in rows {
        printer.row(&row.map(str::to_owned).to_vec()).unwrap();
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn default_columns_end_at_80() {
    let wide = format!("ONE   TWO   THREE{}FOUR\n", " ".repeat(55));
    let row = format!("a     b     c{}d\n", " ".repeat(59));
    assert_eq!(print(None, false, 24, &[["a", "b", "c", "d", "e"]]), wide + &row);
}

#[test]
fn all_columns_go_on() {
    let out = print(Some("ALL"), false, 24, &[["a", "b", "c", "d", "e"]]);
    assert!(out.starts_with("ONE   TWO   THREE") && out.contains("FOUR    FIVE\n"), "{out}");
}

#[test]
fn a_value_that_does_not_fit_takes_the_padding_of_those_after_it() {
    let rows = [
        ["123456", "2", "3", "", ""],
        ["12345678", "2345", "3", "", ""],
        ["1234567890123", "2", "3", "", ""],
        ["12345", "2", "3", "", ""],
    ];
    let out = print(Some("one,two,four,one"), false, 24, &rows);
    let expected = "ONE   TWO   FOUR    ONE\n\
                    123456 2    --      123456\n\
                    12345678 2345 --    12345678\n\
                    1234567890123 2 --  1234567890123\n\
                    12345 2     --      12345\n";
    assert_eq!(out, expected);
}

#[test]
fn empty_and_unobtainable_values() {
    let rows = [["", "?", "x", "", ""]];
    assert_eq!(print(Some("one,two"), false, 24, &rows), "ONE   TWO\n--    ?\n");
    assert_eq!(print(Some("one,two,three"), true, 24, &rows), ":?:x\n");
}

#[test]
fn escapes_between_fields_but_not_in_a_single_one() {
    let rows = [["a:b\\c", "d", "", "", ""]];
    assert_eq!(print(Some("one,two"), true, 24, &rows), "a\\:b\\\\c:d\n");
    assert_eq!(print(Some("one"), true, 24, &rows), "a:b\\c\n");
}

/// Behaviour 159.
#[test]
fn the_header_comes_once_a_screenful() {
    let rows = [["a", "", "", "", ""]; 5];
    assert_eq!(print(Some("one"), false, 3, &rows), "ONE\na\na\nONE\na\na\nONE\na\n");
    assert_eq!(print(Some("one"), true, 3, &rows), "a\n".repeat(5));
    // A terminal of one line still shows values.
    assert_eq!(print(Some("one"), false, 1, &rows[..2]), "ONE\na\nONE\na\n");
}

#[test]
fn long_values_are_cut() {
    let long = "é".repeat(600);
    let out = print(Some("one"), true, 24, &[[&long, "", "", "", ""]]);
    assert_eq!(out.trim_end().len(), 1022);
}

#[test]
fn fields_are_asked_for_in_any_case_and_order() {
    let out = print(Some("Two,ONE,two"), true, 24, &[["a", "b", "", "", ""]]);
    assert_eq!(out, "b:a:b\n");
    let none = Layout::new(COLUMNS, Some(""), false);
    assert_eq!(none, Err(FieldError::NoneValid));
}
