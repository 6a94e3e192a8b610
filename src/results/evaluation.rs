//! What `ddim evaluate` measured, as one row with the columns of `metrics.csv`.

use crate::{
    measure::{accuracy::Accuracy, evaluate::Evaluation},
    results::record::{Columns, FIELDS, SE, csv_bytes, fields},
};

/// The row and its header. Its parameters are the images and the reference; `S`, `levels` and
/// `calls` are empty, since images do not say how they were made.
pub fn csv(evaluation: &Evaluation) -> Vec<u8> {
    let Evaluation { metrics, accuracy, images, n, reference, key } = evaluation;
    let names = metrics.iter().map(|(_, column, _)| column);
    let columns = Columns {
        axes: vec!["images".to_owned(), "reference".to_owned()],
        metrics: names.chain(accuracy.iter().map(|a| &a.column)).cloned().collect(),
    };
    let mut row = vec!["0".to_owned(), key.clone(), "done".to_owned()];
    row.extend([images.clone(), reference.clone().unwrap_or_default()]);
    row.extend(["", "", "", &n.to_string()].map(String::from));
    row.extend(metrics.iter().flat_map(|(_, _, value)| fields(value)));
    row.extend(accuracy.iter().flat_map(of_accuracy));
    csv_bytes(&columns.header(), std::iter::once(row))
}

/// The value and standard error of a proportion as the columns of a metric; it has no jackknife.
fn of_accuracy(accuracy: &Accuracy) -> [String; FIELDS] {
    let mut fields = [const { String::new() }; FIELDS];
    fields[0] = format!("{:?}", accuracy.value());
    fields[SE] = format!("{:?}", accuracy.standard_error());
    fields
}
