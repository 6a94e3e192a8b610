//! The keys of what is shown: tables, claims, plots and published values.

use super::{
    Fallback::{Described, Needed, Nothing},
    Key, OFF, REQUIRED, described, flag, is, is_word, listed, text, words,
};
use crate::manifest::presentation::{AGAINST, CHECKS, COLUMNS, FITTED, OWN_CLAIM};

pub(super) fn table() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("table", key, values, default, meaning);
    let axis = || described("an axis");
    vec![
        key("rows", axis(), REQUIRED, "The axis whose labels are the rows."),
        key("columns", axis(), REQUIRED, "The axis whose labels are the columns."),
        key("value", described("a metric"), REQUIRED, "The metric in the cells."),
        key(
            "caption",
            text(),
            is_word(""),
            "A sentence below the table. `{fd}` becomes the name of the column.",
        ),
        key("over", axis(), Nothing, "Average over this axis, usually `seed`."),
        key(
            "fit",
            words(AGAINST),
            Nothing,
            "Fit the order of convergence of each row, against model calls or steps.",
        ),
        key(
            "rank",
            flag(),
            is(OFF),
            "Compare how the measures of the distribution rank the cells; needs two of them.",
        ),
    ]
}

pub(super) fn claim() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("claim", key, values, default, meaning);
    vec![
        key("text", text(), REQUIRED, "The claim, as a sentence."),
        key("source", text(), is_word(OWN_CLAIM), "Who makes it."),
        key(
            "check",
            words(CHECKS),
            REQUIRED,
            "`lowest`, `highest`: the row is, in each column. `decreases`: it falls from each column to the next. `below`: it is below the row `other` in each column. `order`: its fitted order lies in `between`. `between`: its value, less that of the row `other` if one is named, lies in `between` in each column.",
        ),
        key("row", described("a label"), REQUIRED, "The row it is about."),
        key(
            "columns",
            described("a list of labels"),
            REQUIRED,
            "The columns it is about, in order; at least two for `decreases` and `order`.",
        ),
        key(
            "other",
            described("a label"),
            Needed("with `check = \"below\"`"),
            "The row to be below, or whose value is taken off.",
        )
        .only("`below` and `between`"),
        key(
            "between",
            described("two rising numbers"),
            Needed("with `check = \"order\"` or `\"between\"`"),
            "The smallest and the largest order or value.",
        )
        .only("`order` and `between`"),
        key("descriptive", flag(), is(OFF), "It was written after a first look at the results."),
    ]
}

pub(super) fn plot() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("plot", key, values, default, meaning);
    let x = "The horizontal axis: an axis of the sweep whose labels are numbers, a metric, or a column \
             of `metrics.csv`";
    vec![
        key(
            "name",
            described("letters, digits, `-` and `_`"),
            REQUIRED,
            "The name of the file, without its ending.",
        ),
        Key::new(
            "plot",
            "x",
            described("an axis, a metric or a column"),
            REQUIRED,
            format!("{x}: {}.", listed(COLUMNS.iter())),
        ),
        key(
            "y",
            described("a metric, or `seconds`"),
            REQUIRED,
            "The vertical axis; `seconds` is the time of one sample.",
        ),
        key("series", described("an axis"), REQUIRED, "The axis whose labels are the curves."),
        key(
            "only",
            described("a list of labels"),
            Described("all curves"),
            "Which curves are drawn.",
        ),
        key("title", text(), Described("from the labels of both axes"), "The title."),
        key("x_label", text(), Described("from `x`"), "The label of the horizontal axis."),
        key("y_label", text(), Described("from `y`"), "The label of the vertical axis."),
        key("log_x", flag(), is(OFF), "A logarithmic horizontal axis."),
        key("log_y", flag(), is(OFF), "A logarithmic vertical axis."),
        key(
            "triangles",
            described("a list of numbers above 0"),
            Nothing,
            "Triangles with the slopes of these orders. Needs `log_x` and `log_y`.",
        ),
        key(
            "fit",
            words(FITTED),
            Nothing,
            "Fit a straight line. Needs `y = \"seconds\"` and `calls` or `S` as `x`.",
        ),
    ]
}

pub(super) fn paper() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("paper", key, values, default, meaning);
    vec![
        key("source", text(), REQUIRED, "Where the values were published."),
        key("metric", text(), REQUIRED, "What they are, with their N."),
        key("columns", described("a list of labels"), REQUIRED, "The published columns."),
        key(
            "rows",
            described("a list of `{ label = \"..\", values = [..] }`"),
            REQUIRED,
            "The published rows.",
        ),
        key("rows.label", described("a label"), REQUIRED, "The row, by its label."),
        key(
            "rows.values",
            described("a list of numbers, or `\"-\"` where none was published"),
            REQUIRED,
            "Its values, one for each column.",
        ),
    ]
}
