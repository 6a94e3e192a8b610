//! The keys of a training.

use super::{
    Fallback::{Described, Is, Needed, Nothing},
    Key, OFF, REQUIRED, TOP, Values, described, flag, is, is_word, names, schedule, text, words,
};
use crate::{data::Split, manifest::cell::PRECISIONS, networks::predicts::Predicts};

/// What a section says of who may have it.
const DENOISER: &str = "`task = \"denoiser\"`";
const CLASSIFIER: &str = "`task = \"classifier\"`";

/// A few words about a section.
pub(super) fn about(section: &str) -> &'static str {
    match section {
        TOP => "`[profile.NAME]` is as in an experiment.",
        "data" => "The images that are learned from, and what is done to them.",
        "network" => "The architecture.",
        "schedule" => "The noise that is learned. Only with `task = \"denoiser\"`.",
        "loss" => "What is learned. Only with `task = \"denoiser\"`.",
        "optimiser" => "Adam, its learning rate, and the average of the weights.",
        "budget" => "When the training ends: one of the two.",
        "watch" => "What is written on the way.",
        _ => "",
    }
}

/// All of them, by section.
pub(super) fn keys() -> Vec<Key> {
    // A network that starts from nothing has at least two timesteps to learn, and no folder.
    let schedule = schedule(Is).into_iter().map(|key| match key.name.as_str() {
        "horizon" => {
            let values = Values { described: "a whole number, 2 or more", ..key.values };
            Key { values, ..key }
        }
        _ => key,
    });
    [top(), data(), network(), schedule.collect(), loss(), optimiser(), budget(), watch()].concat()
}

fn top() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new(TOP, key, values, default, meaning);
    vec![
        key(
            "name",
            described("letters, digits, `-` and `_`"),
            REQUIRED,
            "The name of the training and of its folder.",
        ),
        key("task", names(["denoiser", "classifier"]), REQUIRED, "What is trained."),
        key(
            "seed",
            described("a whole number, 0 or more"),
            is(0),
            "The seed of the first weights, of the order of the images and of every draw.",
        ),
        key(
            "batch",
            described("a whole number, 1 or more; of a classifier, 2"),
            is(32),
            "Images of one step.",
        ),
        key(
            "precision",
            words(PRECISIONS),
            is_word("f32"),
            "The arithmetic of the network. The weights stay in `f32`.",
        ),
    ]
}

fn data() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("data", key, values, default, meaning);
    vec![
        key("source", described("a data set's name or path"), REQUIRED, "The images."),
        key(
            "split",
            names([Split::Train, Split::Test].map(Split::name)),
            Described("`train`, if the data set has splits"),
            "Which part of the data set.",
        ),
        key(
            "exclude",
            described("a CSV file"),
            Nothing,
            "A list of images to leave out, of CIFAR-10.",
        ),
        key(
            "resize",
            described(
                "`none`, `pad:SIDE`, `center-crop:SIDE`, `resize-crop:SIDE`, `celeba:SIDE`, \
                 `squash:SIDE`",
            ),
            is_word("none"),
            "What is done about the size of the images.",
        ),
        key("rgb", flag(), is(OFF), "Give grey images three equal channels."),
        key("flip", flag(), is(OFF), "Mirror each image with probability 1/2."),
        key(
            "shift",
            described("a whole number, 0 or more"),
            is(0),
            "Move each image by up to this many pixels.",
        ),
    ]
}

fn network() -> Vec<Key> {
    let key = |key, values, default, meaning| {
        Key::new("network", key, values, default, meaning).only(DENOISER)
    };
    vec![
        key(
            "channels",
            described("a list of 1 to 16 even whole numbers"),
            Needed("unless `start` is given"),
            "The width of each level, full resolution first.",
        ),
        key(
            "layers",
            described("a whole number from 1 to 64"),
            is(1),
            "Residual blocks of each level.",
        ),
        key(
            "attention",
            described("a list of levels, counted from 0"),
            is("[1]"),
            "The levels with self-attention. A network of one level has none unless told otherwise.",
        ),
        key(
            "groups",
            described("a whole number, 1 or more"),
            is(8),
            "Groups of the group normalisation; they must divide every width and be fewer.",
        ),
        key(
            "dropout",
            described("a number, at least 0 and below 1"),
            is(0),
            "The probability that a value in a residual block is dropped.",
        ),
        key(
            "start",
            described("a folder"),
            Nothing,
            "The first weights and the architecture. Of the keys above, only `dropout` goes with it.",
        ),
        key(
            "widen",
            flag(),
            is(OFF),
            "Give the network of `start` as many output channels again, for the range of a variance. They \
             begin at 0, the middle of the range.",
        ),
        key("depth", described("6 n + 2, from 8 to 1202"), is(20), "Layers of the ResNet.")
            .only(CLASSIFIER),
        key(
            "widths",
            described("a list of whole numbers, none below the one before"),
            is("[16, 32, 64]"),
            "Channels of its stages.",
        )
        .only(CLASSIFIER),
    ]
}

fn loss() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("loss", key, values, default, meaning);
    let drawn = [("uniform", "hybrid"), ("importance", "vlb")]
        .map(|(value, kind)| (format!("\"{value}\""), vec![kind.to_owned()]));
    vec![
        key(
            "kind",
            names(["simple", "hybrid", "vlb"]),
            is_word("simple"),
            "What is minimised: the squared error; `hybrid`, which adds T times a term of the variational \
             bound that moves the variance alone; or `vlb`, that term by itself. The last two learn a \
             variance in as many output channels again.",
        ),
        key(
            "vlb_weight",
            described("a number above 0"),
            is(0.001),
            "The weight of the bound, in bits per dimension.",
        )
        .only("`kind = \"hybrid\"`"),
        key(
            "timesteps",
            names(["uniform", "importance"]),
            super::Fallback::Each(drawn.to_vec()),
            "How they are drawn: uniformly; or by `importance`, as often as the root of the mean square of \
             a timestep's last ten losses, weighted by the inverse.",
        )
        .only("`kind = \"hybrid\"` and `\"vlb\"`"),
        key(
            "target",
            names(Predicts::ALL.map(Predicts::name)),
            is_word("eps"),
            "What the network predicts.",
        ),
        key(
            "weight_cap",
            described("a number, 1 or more"),
            is(1),
            "Weigh the error of eps by min(1 / alpha_bar, cap); 1 is L_simple.",
        )
        .only("`target = \"eps\"`"),
    ]
}

fn optimiser() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("optimiser", key, values, default, meaning);
    let part = || described("a number from 0 to 1");
    let below_one = || described("a number, at least 0 and below 1");
    let positive = || described("a number above 0");
    let each = [("0.9999", "denoiser"), ("0", "classifier")]
        .map(|(value, task)| (value.to_owned(), vec![task.to_owned()]));
    vec![
        key("rate", positive(), is("2e-4"), "The learning rate."),
        key(
            "warmup",
            described("a whole number, 0 or more"),
            is(0),
            "Images over which the rate rises from 0.",
        ),
        key(
            "decay",
            part(),
            is(0),
            "The last part of the budget, over which the rate falls by a cosine.",
        ),
        key("floor", part(), is(0), "What the rate falls to, as a part of `rate`."),
        key("beta1", below_one(), is("0.9"), "Adam's decay of the mean gradient."),
        key("beta2", below_one(), is("0.999"), "Adam's decay of the mean squared gradient."),
        key("epsilon", positive(), is("1e-8"), "What Adam adds to the root of that mean square."),
        key(
            "weight_decay",
            described("a number, 0 or more"),
            is(0),
            "Each step shrinks the weights by this times the rate.",
        ),
        key("clip", positive(), is(1), "The largest norm of the gradient."),
        key(
            "ema",
            below_one(),
            super::Fallback::Each(each.to_vec()),
            "The decay of the average of the weights; 0 keeps the weights themselves.",
        ),
    ]
}

fn budget() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("budget", key, values, default, meaning);
    vec![
        key(
            "images",
            described("a whole number, at least `batch`"),
            Needed("unless `minutes` is given"),
            "Images to see, each counted each time.",
        ),
        key(
            "minutes",
            described("a number above 0"),
            Nothing,
            "How long it may take; the speed of its first 5 % turns it into a number of images.",
        ),
    ]
}

fn watch() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("watch", key, values, default, meaning);
    let count = || described("a whole number, 1 or more");
    vec![
        key(
            "log",
            count(),
            is(10_000),
            "Images of one row of `loss.csv`. The default is a batch where that is more.",
        ),
        key("checkpoint", described("a number above 0"), is(120), "Seconds between checkpoints."),
        key("every", count(), Described("only at the end"), "Images between grids of samples.")
            .only(DENOISER),
        key("samples", count(), is(64), "Samples of a grid.").only(DENOISER),
        key("steps", count(), is(20), "DDIM steps of these samples.").only(DENOISER),
        key(
            "features",
            text(),
            Nothing,
            "The feature network of a Fréchet distance, which is then measured; needs `reference`.",
        )
        .only(DENOISER),
        key("reference", text(), Nothing, "The statistics of real images in these features.")
            .only(DENOISER),
        key(
            "fd_samples",
            described("a whole number, 20 or more"),
            is(512),
            "Samples of that distance. Needs `features`.",
        )
        .only(DENOISER),
    ]
}
