//! What a training wrote down, as CSV and as plots.

use serde_json::{Map, Value};

use crate::train::job::{exam::Exam, store::Diary};
use crate::{
    error::Result,
    plan::presentation::PlotSpec,
    report::{
        overview::File,
        plot::{Figure, Points},
    },
    results::record::{Estimate, csv_bytes},
    train::{
        denoiser::VLB,
        trainer::{GRADIENT, Row},
    },
};

/// Points of a curve: more of them hide each other's markers.
const POINTS: usize = 32;

/// The files of a diary: `log.jsonl`, `loss.csv` and its plot, and the same of exams where there are any.
pub(crate) fn files(diary: &Diary, columns: &[String], measure: Option<&str>) -> Result<Vec<File>> {
    let Diary { rows, exams } = diary;
    let mut files = vec![
        ("loss.csv".to_owned(), loss_csv(rows, columns)),
        ("log.jsonl".to_owned(), json_lines(diary, columns, measure)),
    ];
    if !rows.is_empty() {
        let bounded = columns.iter().any(|column| column == VLB);
        // Beside a bound, the loss is a sum of two units.
        let apart =
            |column: &str| column == GRADIENT || (bounded && [VLB, "loss"].contains(&column));
        let drawn: Vec<usize> = (0..columns.len()).filter(|&k| !apart(&columns[k])).collect();
        let curves = drawn.iter().map(|&k| (columns[k].clone(), averaged(rows, k))).collect();
        let denoiser = columns.iter().any(|column| column.contains(" t "));
        let label = if denoiser {
            "mean squared error of a value, all labels and quarters of them"
        } else {
            "cross entropy in nats, and fraction of images misclassified"
        };
        files.extend(drawing("loss", "How does the loss fall?", label, curves)?);
        if let Some(k) = columns.iter().position(|column| column == VLB) {
            let label = "variational bound without the prior's term, bits per dimension";
            let curves = vec![(columns[k].clone(), averaged(rows, k))];
            files.extend(drawing(VLB, "How does the bound fall?", label, curves)?);
        }
    }
    if let (Some(measure), false) = (measure, exams.is_empty()) {
        let stem = if measure.starts_with("FD") { "distance" } else { "error" };
        files.push((format!("{stem}.csv"), exams_csv(exams, measure)));
        if exams.len() > 1 {
            let n = exams[0].n;
            let points =
                exams.iter().map(|exam| (thousands(exam.seen), Some(exam.estimate))).collect();
            let label = format!("{measure}, N = {n}, with 95 % intervals");
            let curves = vec![(measure.to_owned(), points)];
            files.extend(drawing(stem, "What becomes of the samples?", &label, curves)?);
        }
    }
    Ok(files)
}

/// To a tenth: rows end at whole batches, a few images after the round number.
fn thousands(images: u64) -> f64 {
    (images as f64 / 100.0).round() / 10.0
}

fn drawing(name: &str, title: &str, y: &str, curves: Vec<(String, Points)>) -> Result<Vec<File>> {
    let mut values = curves.iter().flat_map(|(_, points)| points).filter_map(|(_, y)| *y);
    let positive = values.all(|y| y.value > 0.0);
    let spec = PlotSpec {
        name: name.to_owned(),
        title: title.to_owned(),
        x: "images".to_owned(),
        y: name.to_owned(),
        series: String::new(),
        x_label: "images seen, in thousands".to_owned(),
        y_label: y.to_owned(),
        log_x: false,
        log_y: positive,
        only: vec![],
        triangles: vec![],
        fit: None,
    };
    let figure = Figure::of_curves(spec, curves)?;
    let svg = figure.svg()?.into_bytes();
    Ok(vec![(format!("{name}.svg"), svg), (format!("{name}.png"), figure.png()?)])
}

/// A column by images seen, in at most [`POINTS`] means of neighbouring rows.
fn averaged(rows: &[Row], column: usize) -> Points {
    rows.chunks(rows.len().div_ceil(POINTS))
        .filter_map(|rows| {
            let values: Vec<f64> =
                rows.iter().map(|row| row.means[column]).filter(|mean| mean.is_finite()).collect();
            let seen = rows.last()?.seen;
            let value = values.iter().sum::<f64>() / values.len() as f64;
            let estimate = Estimate { value, interval: None };
            (!values.is_empty()).then(|| (thousands(seen), Some(estimate)))
        })
        .collect()
}

fn loss_csv(rows: &[Row], columns: &[String]) -> Vec<u8> {
    let header: Vec<String> =
        std::iter::once("images".to_owned()).chain(columns.iter().cloned()).collect();
    let number = |x: &f64| if x.is_nan() { String::new() } else { format!("{x:?}") };
    let lines = rows.iter().map(|row| {
        std::iter::once(row.seen.to_string()).chain(row.means.iter().map(number)).collect()
    });
    csv_bytes(&header, lines)
}

/// Everything in the order of images seen, a JSON object a line with `step` as what readers of such
/// logs count by: images here.
fn json_lines(diary: &Diary, columns: &[String], measure: Option<&str>) -> Vec<u8> {
    let number = |x: f64| serde_json::Number::from_f64(x).map(Value::Number);
    let object = |seen: u64, values: Vec<(String, f64)>| {
        let values = values.into_iter().filter_map(|(name, x)| Some((name, number(x)?)));
        let line = [("step".to_owned(), Value::from(seen))].into_iter().chain(values);
        (seen, Value::Object(line.collect::<Map<_, _>>()))
    };
    let rows = diary.rows.iter().map(|row| {
        object(row.seen, columns.iter().cloned().zip(row.means.iter().copied()).collect())
    });
    let exams = diary.exams.iter().filter_map(|exam| {
        let (measure, Estimate { value, interval }) = (measure?, exam.estimate);
        let mut values = vec![(measure.to_owned(), value), ("N".to_owned(), exam.n as f64)];
        if let Some((low, high)) = interval {
            values.extend([(format!("{measure}.low"), low), (format!("{measure}.high"), high)]);
        }
        Some(object(exam.seen, values))
    });
    let mut lines: Vec<(u64, Value)> = rows.chain(exams).collect();
    lines.sort_by_key(|(seen, _)| *seen);
    lines.into_iter().flat_map(|(_, line)| format!("{line}\n").into_bytes()).collect()
}

fn exams_csv(exams: &[Exam], measure: &str) -> Vec<u8> {
    let [low, high] = ["low", "high"].map(|end| format!("{measure}.{end}"));
    let header = ["images", measure, &low, &high, "N"].map(str::to_owned);
    let lines = exams.iter().map(|exam| {
        let Estimate { value, interval } = exam.estimate;
        let end = |end: Option<f64>| end.map_or_else(String::new, |end| format!("{end:?}"));
        vec![
            exam.seen.to_string(),
            format!("{value:?}"),
            end(interval.map(|(low, _)| low)),
            end(interval.map(|(_, high)| high)),
            exam.n.to_string(),
        ]
    });
    csv_bytes(&header, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_of_one_row_has_its_loss_drawn() {
        let rows = vec![Row { seen: 80, means: vec![0.5, f64::NAN] }];
        let diary = Diary { rows, exams: vec![] };
        let columns = ["loss", "loss t 0..250"].map(String::from);
        let files = files(&diary, &columns, None).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["loss.csv", "log.jsonl", "loss.svg", "loss.png"]);
    }
}
