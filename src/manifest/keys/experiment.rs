//! The keys of an experiment.

use super::{
    Fallback::{self, Described, Each, Needed, Nothing, Stated},
    Key, OFF, REQUIRED, TOP, described, flag, is, is_word, kinds, listed, names, number, owners,
    presentation, schedule, words,
};
use crate::{
    core::FAMILIES,
    data::Split,
    manifest::{
        Kind, Vocabulary,
        cell::{
            ENDS, INVERSIONS, ITERATIONS, NOISES, POINTS, PRECISIONS, PROBES, SHARED, STATES,
            TASKS, distributions, exact_models, spacings,
        },
    },
    networks::predicts::Predicts,
    plan::{Measured, TRACES, VARIANCES, WEIGHTS},
};

/// A few words about a section.
pub(super) fn about(section: &str) -> &'static str {
    match section {
        "model" => "What predicts the noise: a network, or a model whose score is known exactly.",
        "schedule" => {
            "The training schedule. Without this section it is what the model's folder says, or else \
             DDPM's linear schedule."
        }
        "grid" => {
            "The noise levels that a sample visits. `ddim taus` shows what each `tau` chooses."
        }
        "solver" => {
            "The method. `ddim solvers` lists each with its order, its model calls and its reference."
        }
        "metrics" => {
            "What is measured; without this section, nothing is. `ddim metrics` says what each measure \
             is and needs."
        }
        "images" => {
            "What is encoded, or coded. Only with `task = \"reconstruct\"`, `\"bits\"` and `\"objective\"`, \
             which need it."
        }
        "objective" => {
            "Which sums are taken. Only with `task = \"objective\"`: J_sigma and L_gamma of Song, Meng, \
             Ermon 2021, Eq. (11) and (5), for each value, on the steps of `[grid]`, with sigma by \
             `solver.eta` of `ddim` or `ddpm`."
        }
        "likelihood" => {
            "How the likelihood of the ODE is taken. Only with `task = \"bits\"` and a method that draws no \
             noise; `ddpm` has a variational bound."
        }
        "solution" => {
            "The reference solution: what `error`, `error-median` and `feature-error` compare with, \
             what carries noise to `grid.window`, and what makes the images of \
             `images.source = \"solution\"`."
        }
        "sweep" => {
            "The axes. The cells are all combinations of their values, in file order, the last axis \
             fastest; 10,000 at most."
        }
        "profile" => "Values laid over the base by `--profile NAME`.",
        "table" => "The table of the results, spanned by two axes of the sweep.",
        "claim" => "A sentence that is checked on the results. Needs `[table]`.",
        "plot" => "A plot of the results.",
        "paper" => "Published values, printed beside the measured ones. Needs `[table]`.",
        _ => "",
    }
}

/// All of them, by section.
pub(super) fn keys(vocabulary: &Vocabulary) -> Vec<Key> {
    [
        top(),
        model(),
        schedule(Stated),
        grid(),
        solver(&vocabulary.solvers),
        metrics(),
        images(),
        likelihood(),
        objective(),
        solution(&vocabulary.solutions),
        sweep(),
        presentation::table(),
        presentation::claim(),
        presentation::plot(),
        presentation::paper(),
    ]
    .concat()
}

fn top() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new(TOP, key, values, default, meaning);
    let count = || described("a whole number, 1 or more");
    vec![
        key(
            "name",
            described("letters, digits, `-` and `_`"),
            REQUIRED,
            "The name of the experiment and of its results folder.",
        ),
        key(
            "seed",
            described("a whole number, 0 or more"),
            is(0),
            "The seed of all noise. Cells with the same seed start from the same noise.",
        ),
        key(
            "samples",
            count(),
            REQUIRED,
            "Samples of each cell, N. With `[metrics]`, at least two for each of `metrics.blocks`.",
        ),
        key(
            "batch",
            count(),
            REQUIRED,
            "Samples of one model call. The last bits of a network's output depend on it.",
        ),
        key("precision", words(PRECISIONS), is_word("f32"), "The arithmetic of the network."),
        key(
            "state",
            words(STATES),
            is_word("f32"),
            "The precision of what the solver carries between model calls. Exact-score models always \
             use `f64`.",
        ),
        key(
            "task",
            words(TASKS),
            is_word("sample"),
            "Draw samples; or encode images and decode them again; or decode the arc between two draws \
             of noise; or say how many bits each byte of images costs; or take the variational \
             objective of DDIM on images, and the weighted loss.",
        ),
        key(
            "points",
            described("a whole number, 3 or more"),
            is(POINTS),
            "Images along each arc, both ends included.",
        )
        .only("`task = \"interpolate\"`"),
        key(
            "noise",
            names(NOISES.map(|(name, _)| name)),
            is_word("own"),
            "What a method that draws noise draws for the images of an arc: for each its own, or for \
             all of an arc the same.",
        )
        .only("`task = \"interpolate\"`"),
    ]
}

fn model() -> Vec<Key> {
    let exact = exact_models();
    let key = |key, values, default, meaning| Key::new("model", key, values, default, meaning);
    vec![
        key(
            "source",
            kinds(&exact)
                .or("weights: a folder or file, a name in `models/`, or \
                     `hf:owner/name[/path][@revision]`"),
            REQUIRED,
            "The model.",
        ),
        key(
            "prediction",
            names(Predicts::ALL.map(Predicts::name)),
            Stated("\"eps\"".to_owned()),
            "What the network predicts.",
        ),
        key(
            "clip_x0",
            flag(),
            Stated(OFF.to_owned()),
            "Clamp the predicted x0 and derive eps from it again. Diffusers' DDIM does so only with \
             `use_clipped_model_output`.",
        ),
        key(
            "clip_range",
            described("a number above 0"),
            Stated("1".to_owned()),
            "The bound of that clamp: x0 stays in [-clip_range, clip_range].",
        )
        .only("`clip_x0`"),
        key(
            "raw",
            flag(),
            is(OFF),
            "Use the weights as they were trained, not their average, where a file has both.",
        )
        .only("weights"),
        key(
            "compiled",
            flag(),
            is(OFF),
            "Compile the network to native code for this machine and for `batch` images a call, once, and \
             run that. Needs a Python that has torch; `ddim compile --help` says more.",
        )
        .only("weights"),
        key(
            "scheduler",
            flag(),
            is("true"),
            "Read the `scheduler_config.json` of the model's folder.",
        )
        .only("weights"),
        key(
            "shape",
            described("three whole numbers, `[C, H, W]`"),
            Needed("for exact-score models; for weights, what their files say"),
            "The shape of one sample. That of D categorical variables with K categories each is \
             `[1, D, K]`, one-hot.",
        ),
        key(
            "mean",
            described("a number, or a list of numbers"),
            REQUIRED,
            "The mean of every element, one number for each component.",
        )
        .only(owners(&exact, "mean")),
        key(
            "std",
            described("a number above 0, or a list of them"),
            REQUIRED,
            "The standard deviation of every element, one number for all components or one for each.",
        )
        .only(owners(&exact, "std")),
        key(
            "weights",
            described("a list of numbers above 0"),
            Described("equal weights"),
            "The weights of the components.",
        )
        .only(owners(&exact, "weights")),
        key(
            "shared",
            words(WEIGHTS),
            Nothing,
            "Let all levels share the slope and the offset, the best for the sum of squared errors of eps on \
             `[grid]` with these `objective.weights`. Without it each level has its own.",
        )
        .only(owners(&exact, "shared")),
        key(
            "table",
            described("a list of K^D numbers, 0 or more"),
            REQUIRED,
            "The weight of every value of D variables with K categories, the last variable fastest.",
        )
        .only(owners(&exact, "table")),
    ]
}

fn grid() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("grid", key, values, default, meaning);
    let count = || described("a whole number, 1 or more");
    let rho = FAMILIES.iter().find_map(|family| family.option.filter(|(name, _)| *name == "rho"));
    let rho = rho.map_or(0.0, |(_, default)| default);
    vec![
        key(
            "tau",
            kinds(&spacings()).or("a falling list of timesteps, or a `.toml` file of `ddim tau`"),
            REQUIRED,
            "Which noise levels are visited.",
        ),
        key(
            "steps",
            count(),
            Needed("unless `calls` is given, or a list as `tau`"),
            "The number of steps, S.",
        ),
        key(
            "calls",
            count(),
            Nothing,
            "Instead of `steps`: the most model calls for each sample; S is the largest that keeps to \
             it.",
        ),
        key(
            "end",
            words(ENDS),
            is_word("clean"),
            "Where the last step goes: to the clean image, or only to the level of timestep 0. Not \
             with `window`.",
        ),
        key("rho", described("a number above 0"), is(rho), "The exponent of the Karras spacing.")
            .only(owners(&spacings(), "rho")),
        key(
            "window",
            described("two falling numbers above 0, for instance `[10.0, 1.0]`"),
            Nothing,
            "Go only from the first sigma to the second. The reference solution carries the noise to \
             the first, so `[solution]` is needed.",
        )
        .only("`linspace-real`, `karras`, `log-snr`"),
    ]
}

fn solver(solvers: &[Kind]) -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("solver", key, values, default, meaning);
    let noisy = solvers.iter().filter(|kind| kind.keys.contains(&"eta"));
    let etas = noisy.map(|kind| (kind.name.clone(), kind.default_eta));
    let mut all = vec![
        key("kind", kinds(solvers), REQUIRED, "The method."),
        key(
            "eta",
            described("a number, 0 or more"),
            each(etas),
            "The noise of a step: 0 adds none, which is DDIM; 1 has the variance of DDPM's posterior.",
        )
        .only(owners(solvers, "eta")),
        key(
            "variance",
            words(VARIANCES),
            Nothing,
            "Instead of `eta`: a variance with a name. `learned` needs a network that predicts it, and \
             `ddpm`; it is the default there if the model's folder says `learned_range`.",
        )
        .only(owners(solvers, "variance")),
    ];
    all.extend(options("solver", solvers));
    all.extend([
        key(
            "inversion",
            words(INVERSIONS),
            is_word("current"),
            "At which level the model is asked on the way from image to latent: `current`, where x is; `next`, where x goes; `fixed-point`, where x goes, repeated so that the step undoes the decoder's. The last two need `ddim` or `euler`.",
        ),
        key(
            "iterations",
            described("a whole number, 1 or more"),
            is(ITERATIONS),
            "Iterations of each step, a model call each.",
        )
        .only("`inversion = \"fixed-point\"`"),
    ]);
    all
}

/// The numbers of the methods themselves, and what can be switched on.
fn options(section: &'static str, kinds: &[Kind]) -> Vec<Key> {
    let once = |mut all: Vec<&'static str>, key| {
        if !all.contains(&key) {
            all.push(key);
        }
        all
    };
    let numbers = kinds.iter().flat_map(|kind| &kind.options).map(|&(key, _)| key);
    let switches = kinds.iter().flat_map(|kind| &kind.switches).copied();
    let number = |key: &'static str| {
        let defaults = kinds.iter().filter_map(|kind| {
            let (_, default) = kind.options.iter().find(|(known, _)| *known == key)?;
            Some((kind.name.clone(), *default))
        });
        let (values, meaning) = about_option(key);
        Key::new(section, key, described(values), each(defaults), meaning)
    };
    let switch = |key: &'static str| {
        let (_, meaning) = about_option(key);
        Key::new(section, key, flag(), is(OFF), meaning)
    };
    let numbers = numbers.fold(vec![], once).into_iter().map(number);
    let switches = switches.fold(vec![], once).into_iter().map(switch);
    numbers
        .chain(switches)
        .map(|key| {
            let owners = owners(kinds, &key.name);
            key.only(owners)
        })
        .collect()
}

/// What an option of a shipped method is; a program's own says it in its own documents.
fn about_option(option: &str) -> (&'static str, &'static str) {
    match option {
        "order" => (
            "a whole number",
            "The order of the method: adams-bashforth 2 to 4, deis 2 to 3, dpm-solver 1 to 3, \
             unipc-bh1 2 to 3, unipc-bh2 2 to 3; UniPC's corrector adds one.",
        ),
        "churn" => (
            "a number, 0 or more",
            "How much noise is added and removed along the way; with 0 the method is deterministic.",
        ),
        "churn_min" => ("a number", "The lowest sigma at which noise is added."),
        "churn_max" => ("a number", "The highest sigma at which noise is added."),
        "churn_std" => ("a number, 0 or more", "Factor on the standard deviation of that noise."),
        "lambda" => (
            "a number, 0 or more",
            "How much noise the reverse SDE has: 0 is its ODE, 1 the variance-exploding SDE itself.",
        ),
        "sigma_scale" => (
            "a number from 0 to 1",
            "sigma_t as a share of its largest: 1 draws nothing from the even distribution, 0 forgets x_t.",
        ),
        "rtol" => ("a number above 0", "The relative tolerance of the adaptive steps."),
        "atol" => ("a number above 0", "The absolute tolerance of the adaptive steps."),
        "lower_order_final" => {
            ("", "Lower the order of the last steps, as diffusers does unless told otherwise.")
        }
        _ => ("a number", "A number of the method's own."),
    }
}

/// Defaults with the methods that have them.
fn each(defaults: impl Iterator<Item = (String, f64)>) -> Fallback {
    let mut values: Vec<(String, Vec<String>)> = vec![];
    for (name, default) in defaults {
        let default = number(default);
        match values.iter_mut().find(|(value, _)| *value == default) {
            Some((_, names)) => names.push(name),
            None => values.push((default, vec![name])),
        }
    }
    Each(values)
}

fn metrics() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("metrics", key, values, default, meaning);
    let default: Vec<String> =
        Measured::DEFAULT.iter().map(|measure| format!("\"{}\"", measure.name())).collect();
    let mut measures = names(Measured::all().map(Measured::name));
    measures.list = true;
    let network =
        "a folder or `.th` file of a classifier, `inception`, or a file of Inception weights";
    let statistics =
        "a `.safetensors` file of `ddim stats`, or an `.npz` file of a mean and a covariance";
    vec![
        key(
            "measures",
            measures,
            is(format!("[{}]", default.join(", "))),
            "What is measured. Every measure belongs to one task.",
        ),
        key(
            "features",
            described(network),
            Needed("for measures on features"),
            "The network whose features are compared.",
        ),
        key(
            "reference",
            described(statistics),
            Needed("for measures that compare with data"),
            "The statistics of real images in these features.",
        ),
        key(
            "blocks",
            described("a whole number, 2 or more"),
            is(crate::metrics::DEFAULT_BLOCKS),
            "The number of blocks of the jackknife behind every interval.",
        ),
        key(
            "quantise",
            flag(),
            is("true"),
            "Round samples to bytes before their features are taken, as saving them would.",
        ),
        key(
            "also.NAME.features",
            described(network),
            REQUIRED,
            "A further network, whose metrics are called `fd.NAME` and so on.",
        ),
        key(
            "also.NAME.reference",
            described(statistics),
            Needed("for measures that compare with data"),
            "The statistics of real images in its features.",
        ),
    ]
}

fn images() -> Vec<Key> {
    let drawn = distributions();
    let key = |key, values, default, meaning| Key::new("images", key, values, default, meaning);
    vec![
        key(
            "source",
            described(
                "a data set's name or path, or `solution` or `draws`, or `gaussian`, `mixture` or `dirac`",
            ),
            REQUIRED,
            "The images. `solution` is what the reference solution makes of the noise (only \
             `reconstruct`). Draws of a distribution are rounded to bytes by `bits`, and not by \
             `objective`; `draws` are those of an exact-score model's own data.",
        ),
        key(
            "mean",
            described("a number, or a list of numbers"),
            REQUIRED,
            "As in `[model]`, of the distribution that images are drawn from.",
        )
        .only(owners(&drawn, "mean")),
        key("std", described("a number above 0, or a list of them"), REQUIRED, "The same.")
            .only(owners(&drawn, "std")),
        key(
            "weights",
            described("a list of numbers above 0"),
            Described("equal weights"),
            "The same.",
        )
        .only(owners(&drawn, "weights")),
        key(
            "split",
            names([Split::Train, Split::Test].map(Split::name)),
            Described("`test`, if the data set has splits"),
            "Which part of the data set.",
        ),
        key(
            "exclude",
            described("a CSV file"),
            Nothing,
            "A list of images to leave out, of CIFAR-10.",
        ),
    ]
}

fn likelihood() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("likelihood", key, values, default, meaning);
    let each = [("exact", "exact-score models"), ("rademacher", "weights")]
        .map(|(value, of)| (format!("\"{value}\""), vec![of.to_owned()]));
    vec![
        key(
            "trace",
            words(TRACES),
            Each(each.to_vec()),
            "The trace of the prediction's Jacobian: exact, or estimated along random directions z as \
             z^T J z, a backward pass each.",
        ),
        key(
            "probes",
            described("a whole number from 1 to 255"),
            is(PROBES),
            "Random directions for each image, the same at every model call.",
        )
        .only("`rademacher` and `gaussian`"),
    ]
}

fn objective() -> Vec<Key> {
    let key = |key, values, default, meaning| Key::new("objective", key, values, default, meaning);
    vec![
        key(
            "weights",
            words(WEIGHTS),
            is_word("exact"),
            "The weights gamma: `exact`, with which J_sigma - L_gamma is the same for every model; \
             `printed`, as appendix B has them, which leaves out a factor; `one`, for L_1.",
        ),
        key(
            "term",
            described("a whole number, 1 or more"),
            Nothing,
            "Only the term of this t, counted from 1, the image's own, to S. Without it all are summed.",
        ),
    ]
}

fn solution(solutions: &[Kind]) -> Vec<Key> {
    // It goes from end to end: a window is the cell's.
    let own = grid().into_iter().filter(|key| key.name != "window").map(|key| {
        let (default, meaning) = match key.name.as_str() {
            "tau" => (
                Needed("with `steps` or `calls`"),
                "A grid of its own, of a method that does not choose its steps. Without one, it goes \
                 from the first level of the cell's grid to the last.",
            ),
            "steps" => (Needed("with `tau`, as in `[grid]`"), "As in `[grid]`."),
            "end" => (key.default.clone(), "As in `[grid]`, which must say the same."),
            _ => (key.default.clone(), "As in `[grid]`."),
        };
        Key { section: "solution", default, meaning: meaning.to_owned(), ..key }
    });
    let method = "The method that counts as exact. `exact` is the flow of a Gaussian.";
    let options = options("solution", solutions).into_iter();
    let options = options.map(|key| Key { meaning: "As in `[solver]`.".to_owned(), ..key });
    std::iter::once(Key::new("solution", "kind", kinds(solutions), REQUIRED, method))
        .chain(options)
        .chain(own)
        .collect()
}

fn sweep() -> Vec<Key> {
    vec![
        Key::new(
            "sweep",
            "\"PATH\"",
            described("a list of values"),
            Nothing,
            format!(
                "An axis: what one key is set to, for instance `\"grid.steps\" = [10, 20]`. What all \
                 cells share cannot be swept: {}.",
                listed(SHARED.iter())
            ),
        ),
        Key::new(
            "sweep",
            "NAME",
            described("a list of `{ label = \"..\", \"PATH\" = value, .. }`"),
            Nothing,
            "An axis of bundles, which set several keys at once; `label` names each in tables.",
        ),
        Key::new(
            "profile",
            "PATH",
            described("as in the base"),
            Nothing,
            "Any key or section of the base, or one that it lacks.",
        ),
        Key::new(
            "profile",
            "remove",
            described("a list of names"),
            Nothing,
            "Sections or keys of the base that this profile does without.",
        ),
    ]
}
