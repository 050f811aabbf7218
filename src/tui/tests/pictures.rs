//! The tabs and one delivery as pictures, at the three sizes that are designed.

use super::{Bench, SIZES};

fn picture(name: &str, prepare: impl Fn(&mut Bench)) {
    for (columns, rows) in SIZES {
        let mut bench = Bench::new(columns, rows);
        prepare(&mut bench);
        insta::assert_snapshot!(format!("{name}_{columns}x{rows}"), bench.screen());
    }
}

#[test]
fn overview() {
    picture("overview", |_| ());
}

#[test]
fn webhooks() {
    picture("webhooks", |bench| {
        bench.press("2").answer_all();
    });
}

#[test]
fn deliveries() {
    picture("deliveries", |bench| {
        bench.press("3").answer_all().press("j Space j Space j").answer_all();
    });
}

#[test]
fn delivery() {
    picture("delivery", |bench| {
        bench.press("3").answer_all().press("j Enter").answer_all();
    });
}
