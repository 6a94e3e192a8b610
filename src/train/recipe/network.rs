//! `[network]`: widths that can be normalised, levels that exist, stages that only widen.

use std::path::PathBuf;

use crate::manifest::reader::Reader;
use crate::{
    diagnostic::Diagnostic,
    networks::{
        hub,
        unet_config::{MOST_LAYERS, MOST_LEVELS},
    },
    train::recipe::spec::{ClassifierSpec, NetworkSpec},
};

/// More channels than any level has.
const MOST_CHANNELS: usize = 8192;

/// What `network.start` decides, and so nothing else may.
const ARCHITECTURE: [&str; 4] = ["channels", "layers", "attention", "groups"];

/// `[network]` of a denoiser.
pub(crate) fn read_network(r: &mut Reader<'_>) -> NetworkSpec {
    let start: Option<String> = r.get("start");
    let widen = r.get("widen").unwrap_or(false);
    if widen && r.entry("start").is_none() {
        let message = "`network.widen` widens the network of `network.start`, and there is none";
        let help = "remove it: a new network has the channels that its loss needs";
        r.report(Diagnostic::error(r.place("widen"), message).help(help));
    }
    let dropout = r.get("dropout").unwrap_or(0.0);
    let help = "the probability that a value is dropped, for instance 0.1";
    r.ensure("dropout", (0.0..1.0).contains(&dropout), "at least 0 and below 1", help);
    if let Some(start) = start {
        let local = !start.starts_with(hub::SCHEME) && !start.is_empty();
        let help = "`ddim convert` downloads a model of the Hub into a folder";
        r.ensure("start", local, "a folder of this machine", help);
        for key in ARCHITECTURE {
            if r.entry(key).is_some() {
                let message = format!("`{}` is decided by `network.start`", r.path(key));
                let problem = Diagnostic::error(r.place(key), message)
                    .also(r.place("start"), "its config.json has the architecture")
                    .help("remove it, or start from nothing");
                r.report(problem);
            }
        }
        return NetworkSpec {
            channels: vec![],
            layers: 0,
            attention: vec![],
            groups: 0,
            dropout,
            start: Some(PathBuf::from(start)),
            widen,
        };
    }
    let channels: Vec<usize> =
        r.need("channels", "widths by level, full resolution first: `channels = [32, 64, 64]`");
    check_channels(r, &channels);
    let layers = r.get("layers").unwrap_or(1);
    let rule = format!("from 1 to {MOST_LAYERS}");
    r.ensure("layers", (1..=MOST_LAYERS).contains(&layers), &rule, "residual blocks of a level");
    let attention = r.get("attention");
    let attention: Vec<usize> =
        attention.unwrap_or_else(|| if channels.len() > 1 { vec![1] } else { vec![] });
    check_attention(r, &attention, channels.len());
    let groups: usize = r.get("groups").unwrap_or(8);
    r.ensure("groups", groups > 0, "at least 1", "groups of the normalisation, for instance 8");
    if r.sound("channels") && groups > 0 {
        check_groups(r, &channels, groups);
    }
    let signed = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    NetworkSpec {
        channels: channels.into_iter().map(signed).collect(),
        layers,
        attention,
        groups: signed(groups),
        dropout,
        start: None,
        widen: false,
    }
}

fn check_channels(r: &mut Reader<'_>, channels: &[usize]) {
    let rule = format!("a list of 1 to {MOST_LEVELS} widths");
    let help = "one width a level: `channels = [32, 64, 64]`";
    r.ensure("channels", (1..=MOST_LEVELS).contains(&channels.len()), &rule, help);
    for (index, &width) in channels.iter().enumerate() {
        if is_width(index, width) {
            continue;
        }
        let least = least_width(index);
        let message = format!(
            "a width must be even and from {least} to {MOST_CHANNELS} at level {index}, not `{width}`"
        );
        let help = "half of the first level's are the label's sines, half its cosines";
        r.report(Diagnostic::error(r.item_place("channels", index), message).help(help));
    }
}

/// The first level's channels are also the label's sines and cosines, at least two of each.
fn least_width(level: usize) -> usize {
    if level == 0 { 4 } else { 2 }
}

fn is_width(level: usize, width: usize) -> bool {
    width.is_multiple_of(2) && (least_width(level)..=MOST_CHANNELS).contains(&width)
}

fn check_attention(r: &mut Reader<'_>, attention: &[usize], levels: usize) {
    for (index, &level) in attention.iter().enumerate() {
        let place = r.item_place("attention", index);
        if level >= levels && levels > 0 {
            let message = format!("there is no level {level} in a network of {levels}");
            let help = "levels count from 0, the full resolution";
            let problem = Diagnostic::error(place, message).also(r.place("channels"), "the levels");
            r.report(problem.help(help));
        } else if attention[..index].contains(&level) {
            let problem = Diagnostic::error(place, format!("the level {level} is listed twice"));
            r.report(problem.help("name each level once"));
        }
    }
}

fn check_groups(r: &mut Reader<'_>, channels: &[usize], groups: usize) {
    // A default has no place of its own: the widths do not suit it.
    let defaulted = r.entry("groups").is_none();
    // Of a width that was refused nothing follows.
    for (index, &width) in channels.iter().enumerate().filter(|&(i, &width)| is_width(i, width)) {
        let (message, why) = if width % groups != 0 {
            (format!("{groups} groups do not divide the width {width}"), None)
        } else if width == groups {
            let why = "each channel is then normalised by itself, which removes its mean over the \
                       image, and with it the image's colour and brightness";
            (format!("as many groups as channels at level {index}, {groups}"), Some(why))
        } else {
            continue;
        };
        let width_place = r.item_place("channels", index);
        let mut problem = if defaulted {
            Diagnostic::error(width_place, message)
                .help("give `groups`: a proper divisor of every width")
        } else {
            Diagnostic::error(r.place("groups"), message)
                .also(width_place, "the width")
                .help("groups must divide every width and be fewer: 8 suits widths from 16 on")
        };
        if let Some(why) = why {
            problem = problem.note(why);
        }
        r.report(problem);
    }
}

/// `[network]` of a classifier.
pub(crate) fn read_classifier(r: &mut Reader<'_>) -> ClassifierSpec {
    let depth = r.get("depth").unwrap_or(20);
    let layered = (8..=1202).contains(&depth) && depth % 6 == 2;
    r.ensure("depth", layered, "6 n + 2, from 8 to 1202", "the papers' are 20, 32, 44, 56 and 110");
    let widths: Vec<usize> = r.get("widths").unwrap_or_else(|| vec![16, 32, 64]);
    let staged = (1..=MOST_LEVELS).contains(&widths.len())
        && widths.iter().all(|width| (1..=MOST_CHANNELS).contains(width))
        && widths.is_sorted();
    let help = "channels of the stages, none fewer than before it: `widths = [16, 32, 64]`";
    r.ensure("widths", staged, "a rising list of positive widths", help);
    let signed = |width: usize| i64::try_from(width).unwrap_or(i64::MAX);
    ClassifierSpec { depth, widths: widths.into_iter().map(signed).collect() }
}
