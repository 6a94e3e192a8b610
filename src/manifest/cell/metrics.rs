//! `[metrics]`.

use std::collections::BTreeMap;

use crate::{
    diagnostic::{Diagnostic, suggest},
    manifest::reader::Reader,
    metrics,
    plan::{AlsoSpec, Measured, MetricsSpec, measures::column_name},
};

pub(super) fn read(r: &mut Reader<'_>) -> MetricsSpec {
    let measures = read_measures(r);
    // An empty list was reported already, and says nothing about the rest.
    let any = |of: fn(Measured) -> bool| measures.is_empty() || measures.iter().copied().any(of);
    let mut needed = |key, is_needed, help| {
        if is_needed {
            return Some(r.need(key, help));
        }
        let given: Option<String> = r.get(key);
        if given.is_some() {
            let message = format!("`metrics.{key}` is used by no measure");
            let help = "remove it, or measure `fd` or `kid`";
            r.report(Diagnostic::error(r.place(key), message).help(help));
        }
        None
    };
    let (featured, compared) = (any(Measured::needs_features), any(Measured::needs_reference));
    let features = needed("features", featured, "the folder or file of the feature network");
    let reference = needed("reference", compared, "the file with the features of the data set");
    let also = read_also(r, &measures, compared, features.as_deref());
    let blocks = r.get("blocks").unwrap_or(metrics::DEFAULT_BLOCKS);
    r.ensure(
        "blocks",
        blocks >= 2,
        "at least 2",
        "the interval comes from leaving out one at a time",
    );
    let quantise = r.get("quantise").unwrap_or(true);
    MetricsSpec { features, reference, blocks, quantise, measures, also }
}

/// Further networks for the measures that compare distributions.
fn read_also(
    r: &mut Reader<'_>,
    measures: &[Measured],
    compared: bool,
    features: Option<&str>,
) -> BTreeMap<String, AlsoSpec> {
    let read = r.named("also", |r| {
        let features: String = r.need("features", "the folder or file of the feature network");
        let help = "the file with its features of the data set, by `ddim stats`";
        AlsoSpec { features, reference: compared.then(|| r.need("reference", help)) }
    });
    if read.is_empty() {
        return BTreeMap::new();
    }
    let mut refuse = |message: String, help: &str| {
        r.report(Diagnostic::error(r.place("also"), message).help(help));
    };
    if !measures.is_empty() && !measures.iter().any(|measure| measure.is_of_features()) {
        let message = "`metrics.also` is used by no measure".to_owned();
        refuse(message, "remove it, or measure `fd`, `kid` or `is`");
    }
    let column = |features: &str| column_name(metrics::FD.name, Some(features));
    let mut columns: Vec<String> = features.into_iter().map(column).collect();
    for (name, also) in &read {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !name.chars().all(fits) {
            let message = format!("`{name}` cannot be the name of a network in `metrics.also`");
            refuse(message, "its metrics are called `fd.NAME`: use letters, digits, `-` and `_`");
        }
        let column = column(&also.features);
        if columns.contains(&column) && !also.features.is_empty() {
            let message = format!("two networks of `[metrics]` have the column `{column}`");
            refuse(message, "columns are named after folders and files: rename one of the two");
        }
        columns.push(column);
    }
    read.into_iter().collect()
}

/// The measures in a fixed order: the order in which they are written makes no other cell.
fn read_measures(r: &mut Reader<'_>) -> Vec<Measured> {
    let Some(names) = r.get::<Vec<String>>("measures") else { return Measured::DEFAULT.into() };
    if names.is_empty() {
        let problem = Diagnostic::error(r.place("measures"), "`metrics.measures` is empty");
        r.report(problem.help("name what is to be measured: `measures = [\"fd\", \"kid\"]`"));
    }
    for (index, name) in names.iter().enumerate() {
        let place = r.item_place("measures", index);
        if Measured::named(name).is_none() {
            let message = format!("there is no measure called `{name}`");
            let help = suggest(name, Measured::all().map(Measured::name));
            r.report(Diagnostic::error(place, message).help(help));
        } else if names[..index].contains(name) {
            let problem = Diagnostic::error(place, format!("`{name}` is listed twice"));
            r.report(problem.help("name each measure once"));
        }
    }
    Measured::all().filter(|measure| names.iter().any(|name| name == measure.name())).collect()
}
