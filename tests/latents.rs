//! Encoding, decoding, reconstruction and interpolation as a user meets them.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use approx::assert_abs_diff_eq;
use ddim::{
    core::{CLEAN, Draw, KeyedNoise, Level, Noise as _, slerp},
    data::npy,
    run::latents::{self, Latents},
};
use image::RgbImage;
use insta::assert_snapshot;
use ndarray::{Array2, Array4, ArrayD, Axis, Ix4, s};
use support::{
    fill, grid, max_abs_diff,
    program::{Ddim, repository},
};

/// Data N(0, 0.5^2), in which every deterministic method is linear.
const EXACT: [&str; 8] = ["--model", "gaussian", "--mean", "0", "--std", "0.5", "--shape", "3,4,4"];

impl Ddim {
    fn exact(&self, verb: &[&str], more: &[&str]) -> (String, String) {
        self.says(&[verb, &EXACT, more].concat())
    }

    fn exact_refuses(&self, verb: &[&str], more: &[&str]) -> String {
        self.refuses(&[verb, &EXACT, more].concat())
    }

    fn array(&self, name: &str) -> Array4<f64> {
        npy::read_images(&self.path(name)).unwrap().mapv(f64::from)
    }

    fn latents(&self, name: &str) -> Latents {
        latents::read(&self.path(name)).unwrap()
    }
}

/// Values in [-1, 1) that are no multiples of 1/255.
fn images(n: usize) -> Array4<f32> {
    let values = fill::unit("latents/x", n * 48);
    #[allow(clippy::cast_possible_truncation)]
    let values = values.into_iter().map(|v| v as f32).collect();
    Array4::from_shape_vec((n, 3, 4, 4), values).unwrap()
}

/// `ddim` in a folder with five images, `x.npy`.
fn with_images() -> Ddim {
    let ddim = Ddim::new();
    npy::write_images(&ddim.path("x.npy"), images(5).view()).unwrap();
    ddim
}

fn hold(found: &Array4<f64>, expected: &Array4<f64>, epsilon: f64) {
    let difference = max_abs_diff(&found.clone().into_dyn(), &expected.clone().into_dyn());
    assert!(difference <= epsilon, "off by {difference:.1e}");
}

/// What DDIM multiplies x by on a way through levels, for data N(0, 0.5^2).
fn factor(levels: &[Level]) -> f64 {
    let step = |pair: &[Level]| {
        let (from, to) = (pair[0], pair[1]);
        let slope = from.std() / (0.25 * from.alpha_bar + 1.0 - from.alpha_bar);
        let h = to.signal() * (to.sigma() - from.sigma());
        to.signal() / from.signal() + h * slope
    };
    levels.windows(2).map(step).product()
}

#[test]
fn encoding_is_the_solver_on_the_reversed_grid() {
    let ddim = with_images();
    ddim.exact(&["encode", "x.npy"], &["--steps", "20", "--out", "z.npy"]);
    ddim.exact(&["encode", "x.npy"], &["--steps", "20", "--out", "z.safetensors"]);
    let levels = grid(&ddim::core::Tau::OFFICIAL_UNIFORM, 20).reversed().levels().to_vec();
    assert_eq!(levels[0], CLEAN);
    let expected = images(5).mapv(f64::from) * factor(&levels);
    // The states of exact-score models are f64, and so are their files.
    let (array, tensors) = (ddim.latents("z.npy"), ddim.latents("z.safetensors"));
    hold(&array.z, &expected, 1e-13);
    assert_eq!(array.z, tensors.z);
    let origin = array.origin.unwrap();
    assert_eq!(Some(&origin), tensors.origin.as_ref());
    assert_eq!(origin.weights, None);
    assert_eq!(origin.images.unwrap().0, "x.npy");
    let cell: serde_json::Value = serde_json::from_str(&origin.cell).unwrap();
    assert_eq!(cell["grid"]["steps"], 20);
    assert_eq!(cell["schedule"]["beta_end"], 0.02);
    // Bytes do not depend on the batch.
    ddim.exact(&["encode", "x.npy"], &["--steps", "20", "--batch", "2", "--out", "b.npy"]);
    assert_eq!(fs::read(ddim.path("b.npy")).unwrap(), fs::read(ddim.path("z.npy")).unwrap());
}

#[test]
fn what_made_latents_decodes_them_and_says_what_is_done_otherwise() {
    let ddim = with_images();
    let fixed = ["--steps", "20", "--inversion", "fixed-point", "--iterations", "60"];
    ddim.exact(&["encode", "x.npy"], &[&fixed[..], &["--out", "z.npy"]].concat());
    let (_, said) =
        ddim.says(&["decode", "z.npy", "--out", "y.npy", "--out", "grid.png", "--out", "all"]);
    assert_eq!(said, "wrote y.npy\nwrote grid.png\nwrote all");
    hold(&ddim.array("y.npy"), &images(5).mapv(f64::from), 1e-6);
    assert_eq!(fs::read_dir(ddim.path("all")).unwrap().count(), 5);
    let picture = image::open(ddim.path("all/3.png")).unwrap().into_rgb8();
    let byte = ddim::data::to_u8(images(5)[[3, 1, 2, 0]]);
    assert_eq!((picture.width(), picture.get_pixel(0, 2).0[1]), (4, byte));
    let (_, said) =
        ddim.says(&["decode", "z.npy", "--steps", "10", "--solver", "heun", "--out", "y.npy"]);
    assert_snapshot!(said, @r#"
    warning: these settings differ from those that made z.npy:
      grid.steps: 20 there, 10 here
      solver.kind: "ddim" there, "heun" here
      solver.variance.eta: 0.0 there, nothing here
    wrote y.npy
    "#);
    let (_, said) = ddim.says(&["decode", "z.npy", "--steps", "10", "--quiet", "--out", "y.npy"]);
    assert_eq!(said, "");
    // Of an array that says nothing, the flags do.
    npy::write_images(&ddim.path("noise.npy"), images(2).view()).unwrap();
    ddim.exact(&["decode", "noise.npy"], &["--steps", "20", "--out", "y.npy"]);
    let levels = grid(&ddim::core::Tau::OFFICIAL_UNIFORM, 20).levels().to_vec();
    let expected = images(2).mapv(f64::from) * factor(&levels);
    hold(&ddim.array("y.npy"), &expected, 1e-6);
}

#[test]
fn a_reconstruction_is_measured_image_by_image() {
    let ddim = with_images();
    let outs = ["--out", "e.csv", "--out", "p.png", "--out", "y.npy", "--show", "3"];
    let (printed, _) = ddim.exact(
        &["reconstruct", "x.npy"],
        &[&["--steps", "10", "--batch", "2"], &outs[..]].concat(),
    );
    let forward = grid(&ddim::core::Tau::OFFICIAL_UNIFORM, 10);
    let encode = factor(forward.clone().reversed().levels());
    let whole = encode * factor(forward.levels());
    let mut reader = csv::Reader::from_path(ddim.path("e.csv")).unwrap();
    let header: Vec<String> = reader.headers().unwrap().iter().map(String::from).collect();
    assert_eq!(header[..4], ["image", "file", "mse_unit", "mse"]);
    let rows: Vec<Vec<f64>> = reader
        .records()
        .map(|row| {
            let row = row.unwrap();
            // An array has no files.
            let numbers = row.iter().enumerate().filter(|(column, _)| *column != 1);
            numbers.map(|(_, field)| field.parse().unwrap()).collect()
        })
        .collect();
    let x = images(5).mapv(f64::from);
    let mut mean = 0.0;
    for (i, row) in rows.iter().enumerate() {
        let squares = x.index_axis(Axis(0), i).mapv(|v| v * v).mean().unwrap();
        let error = squares * (whole - 1.0).powi(2);
        assert_abs_diff_eq!(row[2], error, epsilon = 1e-14);
        assert_abs_diff_eq!(row[1], 0.25 * error, epsilon = 1e-14);
        // The norm is the last of the latent's numbers.
        assert_abs_diff_eq!(row[8], squares.sqrt() * encode, epsilon = 1e-13);
        mean += error / 20.0;
    }
    assert_eq!(rows.len(), 5);
    assert!(printed.starts_with("x.npy, N = 5, 20 calls per image\n"), "{printed}");
    assert!(printed.contains(&format!("error on [0, 1]         {mean:.3e} +- ")), "{printed}");
    hold(&ddim.array("y.npy"), &(x * whole), 1e-6);
    // Three columns of 4 x 4 images, twice their size, two pixels apart.
    let picture = image::open(ddim.path("p.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (3 * 10 + 2, 3 * 10 + 2));
}

#[test]
fn between_seeds_latents_and_images_lies_an_arc() {
    let ddim = with_images();
    let steps = ["--steps", "10"];
    // Seeds: the ends are their samples.
    let more = ["--seeds", "3,8", "--points", "3", "--out", "row.npy", "--out", "row.png"];
    ddim.exact(&["interpolate"], &[&steps[..], &more].concat());
    let row = ddim.array("row.npy");
    for (seed, at) in [("3", 0), ("8", 2)] {
        let more = ["--seed", seed, "--samples", "1", "--out", "one.npy"];
        ddim.exact(&["sample"], &[&steps[..], &more].concat());
        let one = ddim.array("one.npy");
        hold(&row.slice(s![at..=at, .., .., ..]).to_owned(), &one, 1e-6);
    }
    // The model is linear, so the arc's middle decodes to the middle of the decoded arc.
    let flat =
        |x: &Array4<f64>, i: usize| x.index_axis(Axis(0), i).iter().copied().collect::<Vec<_>>();
    let middle = slerp(&flat(&row, 0), &flat(&row, 2), 0.5).unwrap();
    assert_abs_diff_eq!(flat(&row, 1)[..], middle[..], epsilon = 1e-6);
    assert_eq!(image::open(ddim.path("row.png")).unwrap().width(), 3 * 10 + 2);
    // Latents: four corners of a grid, and its middle.
    ddim.exact(&["encode", "x.npy"], &[&steps[..], &["--out", "z.npy"]].concat());
    ddim.says(&[
        "interpolate",
        "--latents",
        "z.npy",
        "--pick",
        "0,1,2,4",
        "--points",
        "3",
        "--out",
        "g.npy",
    ]);
    ddim.says(&["decode", "z.npy", "--out", "ends.npy"]);
    let (grid, ends) = (ddim.array("g.npy"), ddim.array("ends.npy"));
    assert_eq!(grid.shape(), [9, 3, 4, 4]);
    for (at, end) in [(0, 0), (2, 1), (6, 2), (8, 4)] {
        assert_abs_diff_eq!(flat(&grid, at)[..], flat(&ends, end)[..], epsilon = 1e-6);
    }
    let left = slerp(&flat(&ends, 0), &flat(&ends, 2), 0.5).unwrap();
    let right = slerp(&flat(&ends, 1), &flat(&ends, 4), 0.5).unwrap();
    let middle = slerp(&left, &right, 0.5).unwrap();
    assert_abs_diff_eq!(flat(&grid, 4)[..], middle[..], epsilon = 1e-6);
    // Images: encoded first, from files of their own.
    for (name, value) in [("a.png", 40), ("b.png", 200)] {
        RgbImage::from_fn(4, 4, |x, y| {
            image::Rgb([value, 9 * u8::try_from(x + 4 * y).unwrap(), 77])
        })
        .save(ddim.path(name))
        .unwrap();
    }
    let more = [
        "--inversion",
        "fixed-point",
        "--iterations",
        "60",
        "--alphas",
        "0,0.25,1",
        "--out",
        "i.npy",
    ];
    ddim.exact(&["interpolate", "a.png", "b.png"], &[&steps[..], &more].concat());
    let row = ddim.array("i.npy").mapv(|v| (127.5 * (v + 1.0)).round());
    assert_abs_diff_eq!(row[[0, 0, 1, 2]], 40.0);
    assert_abs_diff_eq!(row[[2, 0, 1, 2]], 200.0);
    assert_abs_diff_eq!(row[[2, 1, 1, 2]], 54.0);
}

/// A window as every command takes it: by the reference solution from x_T, and on by the method.
const WINDOW: [&str; 16] = [
    "--tau",
    "log-snr",
    "--steps",
    "6",
    "--solver",
    "heun",
    "--set",
    "grid.window=[10.0, 1.0]",
    "--set",
    "solution.kind=dormand-prince",
    "--set",
    "solution.rtol=1e-6",
    "--set",
    "solution.atol=1e-6",
    "--batch",
    "3",
];

#[test]
fn a_window_takes_the_same_way_from_a_seed_and_from_its_x_t() {
    let ddim = with_images();
    let seeded = [&WINDOW[..], &["--seed", "5", "--samples", "7"]].concat();
    ddim.exact(&["sample", "--out", "seeded.npy"], &seeded);
    let keyed = |first| KeyedNoise { seed: 5, first };
    let like = ArrayD::zeros(vec![7, 3, 4, 4]);
    let x_t = keyed(0).draw(&like, Draw::Initial).unwrap().into_dimensionality::<Ix4>().unwrap();
    ndarray_npy::write_npy(ddim.path("x_t.npy"), &x_t).unwrap();
    ddim.exact(&["sample", "--latents", "x_t.npy", "--out", "given.npy"], &WINDOW);
    ddim.exact(&["decode", "x_t.npy", "--out", "decoded.npy"], &WINDOW);
    let bytes = |name: &str| fs::read(ddim.path(name)).unwrap();
    assert_eq!(bytes("seeded.npy"), bytes("given.npy"));
    assert_eq!(bytes("seeded.npy"), bytes("decoded.npy"));
    // The ends of an arc between two seeds are their samples.
    let arc =
        [&["interpolate", "--seeds", "5,6", "--points", "2", "--out", "arc.npy"], &WINDOW[..]];
    ddim.exact(&arc.concat(), &[]);
    let first = ddim.array("seeded.npy").slice(s![..1, .., .., ..]).to_owned();
    hold(&ddim.array("arc.npy").slice(s![..1, .., .., ..]).to_owned(), &first, 1e-5);
    // Without the way to sigma = 10, x_T is taken for what is there, and the samples are others.
    let (_, said) = ddim.exact(
        &["sample", "--latents", "x_t.npy", "--out", "other.npy"],
        &["--tau", "karras", "--steps", "6", "--solver", "heun", "--batch", "3"],
    );
    assert!(!said.contains("warning"), "{said}");
    assert!((ddim.array("other.npy") - ddim.array("given.npy")).iter().any(|x| x.abs() > 1e-2));
}

#[test]
fn images_are_not_encoded_into_a_window() {
    let ddim = with_images();
    for verb in [
        &["encode", "x.npy", "--out", "z.npy"][..],
        &["reconstruct", "x.npy"],
        &["interpolate", "x.npy", "--range", "0..2", "--out", "row.npy"],
    ] {
        let said = ddim.exact_refuses(verb, &WINDOW);
        assert_eq!(
            said.lines().last().unwrap_or_default(),
            "error: grid.window ends at sigma = 1, but images are at the clean end; remove it"
        );
    }
}

#[test]
fn a_network_encodes_in_single_and_in_double_precision() {
    let ddim = with_images();
    let model = repository("models/cifar10-small");
    let more = ["--model", &model, "--samples", "2", "--steps", "3", "--out", "x0.npy"];
    ddim.says(&[&["sample"], &more[..]].concat());
    let mut latents = vec![];
    for state in ["f32", "f64"] {
        let more = ["--steps", "3", "--state", state, "--out", "z.safetensors"];
        ddim.says(&[&["encode", "x0.npy", "--model", &model], &more[..]].concat());
        let bytes = fs::read(ddim.path("z.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(format!("{:?}", file.tensor("latents").unwrap().dtype()).to_lowercase(), state);
        let read = ddim.latents("z.safetensors");
        assert_eq!(read.origin.unwrap().weights.unwrap().len(), 64);
        latents.push(read.z);
    }
    let difference = max_abs_diff(&latents[0].clone().into_dyn(), &latents[1].clone().into_dyn());
    assert!(0.0 < difference && difference < 1e-4, "{difference:.1e}");
    // The file knows its weights by their hash, wherever they lie.
    let (_, said) =
        ddim.says(&["decode", "z.safetensors", "--model", &format!("{model}/."), "--out", "y.npy"]);
    assert_eq!(said, "wrote y.npy");
}

#[test]
fn an_interruption_leaves_nothing_behind() {
    let ddim = with_images();
    let model = repository("models/cifar10-small");
    let noise = Array4::from_shape_fn((64, 3, 32, 32), |(_, _, y, _)| y as f32 / 16.0 - 1.0);
    npy::write_images(&ddim.path("noise.npy"), noise.view()).unwrap();
    let before = ddim.names();
    let outs = ["--out", "a.npy", "--out", "b", "--out", "c.png", "--quiet"];
    let decode = ["decode", "noise.npy", "--model", &model, "--steps", "1000", "--batch", "8"];
    let encode = ["encode", "noise.npy", "--model", &model, "--steps", "1000", "--out", "z.npy"];
    for arguments in [[&decode[..], &outs].concat(), encode.to_vec()] {
        let mut child = ddim.command().args(&arguments).stderr(Stdio::null()).spawn().unwrap();
        // It has begun when there is a temporary file.
        let begun = Instant::now();
        while ddim.names() == before {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never began");
            assert!(child.try_wait().unwrap().is_none(), "it was too fast to be interrupted");
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(ddim.names(), before);
    }
}

#[test]
fn one_array_goes_to_stdout_and_nothing_else_does() {
    let ddim = with_images();
    let stdout = |arguments: &[&str]| {
        let output = ddim.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        output.stdout
    };
    for verb in [
        &["sample", "--samples", "3"][..],
        &["encode", "x.npy"],
        &["decode", "x.npy"],
        &["interpolate", "--seeds", "1,2", "--points", "3"],
    ] {
        let of = |out: &'static str| [verb, &EXACT, &["--steps", "4", "--out", out]].concat();
        let sent = stdout(&of("-"));
        stdout(&of("file.npy"));
        assert_eq!(sent, fs::read(ddim.path("file.npy")).unwrap(), "{verb:?}");
        fs::remove_file(ddim.path("file.npy")).unwrap();
        assert!(!ddim.path("-").exists() && !ddim.path("-.json").exists());
    }
    // Beside a file, but not twice, and not where numbers are printed.
    let sample = ["sample", "--steps", "4", "--samples", "2"];
    let both = [&sample[..], &EXACT, &["--out", "-", "--out", "y.npy"]].concat();
    assert_eq!(stdout(&both), fs::read(ddim.path("y.npy")).unwrap());
    assert_snapshot!(ddim.exact_refuses(&sample, &["--out", "-", "--out", "-"]), @"error: --out - is given twice: stdout takes one array");
    assert_snapshot!(ddim.exact_refuses(&["reconstruct", "x.npy"], &["--out", "-"]), @"error: --out -: stdout is used for the errors; name a file");
}

#[test]
fn errors_have_the_files_of_their_images_and_a_form_for_programs() {
    let ddim = with_images();
    fs::create_dir_all(ddim.path("faces/sub")).unwrap();
    for (name, value) in [("b.png", 90), ("sub/a.bmp", 160), ("a.webp", 30)] {
        let image = RgbImage::from_fn(4, 4, |x, y| {
            image::Rgb([value, u8::try_from(40 * x).unwrap(), u8::try_from(50 * y).unwrap()])
        });
        image.save(ddim.path("faces").join(name)).unwrap();
    }
    let files = |images: &[&str]| {
        let more = ["--steps", "4", "--out", "e.csv"];
        ddim.exact(&[&["reconstruct"], images].concat(), &more);
        let mut reader = csv::Reader::from_path(ddim.path("e.csv")).unwrap();
        assert_eq!(reader.headers().unwrap()[1], *"file");
        reader.records().map(|row| row.unwrap()[1].to_owned()).collect::<Vec<_>>()
    };
    let all = ["faces/a.webp", "faces/b.png", "faces/sub/a.bmp"];
    assert_eq!(files(&["faces"]), all);
    assert_eq!(files(&["faces", "--range", "1..3"]), all[1..]);
    assert_eq!(files(&["x.npy", "--limit", "2"]).len(), 2);
    // Arrays have none; of several sets each image keeps its own.
    assert_eq!(files(&["x.npy"]), [""; 5]);
    let mixed = [&[""; 5][..], &["faces/b.png"]].concat();
    assert_eq!(files(&["x.npy", "faces/b.png"]), mixed);
    let (text, _) = ddim.exact(&["reconstruct", "faces"], &["--steps", "4"]);
    let (json, _) = ddim.exact(&["reconstruct", "faces"], &["--steps", "4", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let error = json["metrics"]["mse_unit"]["value"].as_f64().unwrap();
    assert!(text.contains(&format!("error on [0, 1]         {error:.3e}")), "{text}");
    assert_eq!((&json["n"], &json["images"]), (&3.into(), &"faces".into()));
}

#[test]
fn latents_in_any_order_of_axes_and_bytes_are_the_same() {
    let ddim = with_images();
    let case = |name: &str| repository(&format!("tests/golden/image-cases/12_{name}.npy"));
    let sample = |latents: &str, out: &str| {
        let shape = ["--model", "gaussian", "--mean", "0", "--std", "0.5", "--shape", "3,16,16"];
        let more = ["--latents", latents, "--steps", "4", "--out", out];
        ddim.says(&[&["sample"], &shape[..], &more].concat());
        fs::read(ddim.path(out)).unwrap()
    };
    let right = sample(&case("x_T"), "c.npy");
    assert_eq!(sample(&case("fortran_latents"), "f.npy"), right);
    // Big-endian, and in double precision.
    let bytes = fs::read(case("x_T")).unwrap();
    let (header, values) = bytes.split_at(128);
    let write = |name: &str, kind: &str, values: Vec<u8>| {
        let text = String::from_utf8(header[10..].to_vec()).unwrap().replace("<f4", kind);
        fs::write(ddim.path(name), [&header[..10], text.as_bytes(), &values].concat()).unwrap();
    };
    let big = values.as_chunks::<4>().0.iter().flat_map(|b| b.iter().rev().copied());
    write("big.npy", ">f4", big.collect());
    assert_eq!(sample("big.npy", "b.npy"), right);
    let single = |b: &[u8; 4]| f64::from(f32::from_le_bytes(*b)).to_be_bytes();
    write("double.npy", ">f8", values.as_chunks().0.iter().flat_map(single).collect());
    assert_eq!(sample("double.npy", "d.npy"), right);
}

#[test]
fn bad_images_and_flags_end_in_one_message() {
    let ddim = with_images();
    let encode = |more: &[&str]| ddim.exact_refuses(&["encode"], more);
    assert_snapshot!(encode(&["x.npy", "--out", "z.pt"]), @"error: --out z.pt: latents are written as .npy or .safetensors; - is .npy to stdout");
    assert_snapshot!(encode(&["x.npy", "--out", "no/z.npy"]), @"error: --out no/z.npy: the folder no does not exist; create it first");
    assert_snapshot!(encode(&["y.npy", "--out", "z.npy"]), @"error: there is no data set or path `y.npy`; data sets known by name: cifar10, mnist, fashion-mnist, celeba");
    fs::create_dir(ddim.path("empty")).unwrap();
    assert_snapshot!(encode(&["empty", "--out", "z.npy"]), @"error: empty is empty: expected images (png, jpg, webp, bmp, tif, ppm, pgm, pbm, gif)");
    RgbImage::new(6, 6).save(ddim.path("six.png")).unwrap();
    assert_snapshot!(encode(&["six.png", "--out", "z.npy"]), @"error: the images of six.png are 3 x 6 x 6 (channels x height x width), but this model's are 3 x 4 x 4 (channels x height x width); add --resize center-crop:4 or squash:4");
    image::GrayImage::new(4, 4).save(ddim.path("grey.png")).unwrap();
    assert_snapshot!(encode(&["grey.png", "--out", "z.npy"]), @"error: the images of grey.png are 1 x 4 x 4 (channels x height x width), but this model's are 3 x 4 x 4 (channels x height x width); add --rgb");
    assert_snapshot!(encode(&["x.npy", "six.png", "--out", "z.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: x.npy is 3 x 4 x 4 (channels x height x width), but six.png is 3 x 6 x 6 (channels x height x width); make all images the same size with --resize center-crop:SIDE or squash:SIDE
    "#);
    assert_snapshot!(encode(&["x.npy", "--range", "3..9", "--out", "z.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: --range 3..9: x.npy has 5 images, counted from 0
    "#);
    assert_snapshot!(encode(&["x.npy", "--range", "3", "--out", "z.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: --range 3: give two positions, the second larger, for instance 0..64
    "#);
    assert_snapshot!(encode(&["x.npy", "--eta", "0.5", "--out", "z.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: ddim adds noise and cannot run from clean to noisy; only solvers that draw no noise can, for instance ddim with `eta = 0`
    "#);
    assert_snapshot!(encode(&["x.npy", "--solver", "euler-sigma2", "--out", "z.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: euler-sigma2 divides by the sigma it starts from and cannot start at the clean end, where sigma = 0; start at the first level: `end = "first-level"`
    "#);
    assert_snapshot!(encode(&["x.npy", "--solver", "heun", "--inversion", "next", "--out", "z.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: heun: the next and the fixed-point convention can only invert steps of one model call without noise; use `inversion = "current"`, or a solver of one call: ddim with `eta = 0`, euler or euler-sigma2
    "#);
    assert_snapshot!(encode(&["x.npy", "--inversion", "nxt", "--out", "z.npy"]), @r"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: `solver.inversion` cannot be `nxt`
     --> command line:1:13
      |
    1 | --inversion nxt
      |             ^^^
      |
      = help: did you mean `next`?
    ");
    assert_snapshot!(encode(&["x.npy", "--inversion", "next", "--iterations", "4", "--out", "z.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: `solver.iterations` does not apply to this convention of inversion
     --> command line:1:14
      |
    1 | --iterations 4
      |              ^
      |
     ::: command line:1:13
      |
    1 | --inversion next
      |             ---- chosen here
      |
      = help: it belongs to `inversion = "fixed-point"`; remove it, or choose that
    "#);
    assert_snapshot!(encode(&["x.npy", "--inversion", "fixed-point", "--iterations", "0", "--out", "z.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: `solver.iterations` must be at least 1, not `0`
     --> command line:1:14
      |
    1 | --iterations 0
      |              ^
      |
      = help: one alone is "next"
    "#);
    assert_snapshot!(encode(&["x.npy", "--state", "f32", "--out", "z.npy"]), @r"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: `state` must be f64, not `f32`
     --> command line:1:9
      |
    1 | --state f32
      |         ^^^
      |
      = help: exact-score models only use f64
    ");
    // Where nothing is encoded, a convention would do nothing.
    assert_snapshot!(ddim.exact_refuses(&["sample"], &["--set", "solver.inversion=next", "--out", "a.npy"]), @r"
    error: `solver.inversion` has no effect: this experiment encodes no images
     --> command line:1:24
      |
    1 | --set solver.inversion=next
      |                        ^^^^
      |
      = help: it is for `ddim encode`, `reconstruct` and `interpolate`: remove it
    ");
}

#[test]
fn bad_latents_end_in_one_message() {
    let ddim = with_images();
    ddim.exact(&["encode", "x.npy"], &["--steps", "10", "--out", "z.npy"]);
    ddim.exact(&["encode", "x.npy"], &["--steps", "10", "--out", "z.safetensors"]);
    let decode = |name: &str| ddim.refuses(&["decode", name, "--out", "y.npy"]);
    assert_snapshot!(decode("x.npy"), @"error: x.npy does not say which model it belongs to; choose one with --model");
    assert_snapshot!(decode("no.npy"), @"error: cannot read no.npy: No such file or directory (os error 2)");
    assert_snapshot!(decode("z.png"), @"error: z.png: latents are in .npy or .safetensors files");
    let write = |name: &str, z: Array4<f64>| ndarray_npy::write_npy(ddim.path(name), &z).unwrap();
    write("wide.npy", Array4::zeros((2, 3, 4, 5)));
    assert_snapshot!(ddim.exact_refuses(&["decode", "wide.npy"], &["--out", "y.npy"]), @"error: wide.npy: the latents are 3 x 4 x 5 (channels x height x width), but this model's are 3 x 4 x 4 (channels x height x width); choose the model that made them");
    write("nan.npy", Array4::from_elem((2, 3, 4, 4), f64::NAN));
    assert_snapshot!(decode("nan.npy"), @"error: nan.npy: latent 0 (from 0) has NaN or infinite values; write them without");
    write("none.npy", Array4::zeros((0, 3, 4, 4)));
    assert_snapshot!(decode("none.npy"), @"error: none.npy: its shape is [0, 3, 4, 4]: nothing is in it");
    ndarray_npy::write_npy(ddim.path("flat.npy"), &Array2::<f32>::zeros((2, 48))).unwrap();
    assert_snapshot!(decode("flat.npy"), @"error: flat.npy: its shape is [2, 48]; latents are [N, C, H, W]");
    fs::write(ddim.path("half.safetensors"), &fs::read(ddim.path("z.safetensors")).unwrap()[..900])
        .unwrap();
    assert!(decode("half.safetensors").contains("it is damaged or no .safetensors file"));
    assert_snapshot!(decode(&repository("models/cifar10-features/model.safetensors")).split(", but").next().unwrap().rsplit('/').next().unwrap(), @"model.safetensors: it holds no tensor called `latents`");
    // The file beside an array is about that array.
    fs::copy(ddim.path("x.npy"), ddim.path("z.npy")).unwrap();
    assert_snapshot!(decode("z.npy"), @"error: z.npy.json is about another array than z.npy, by its hash; encode again, or remove it and name the model");
    fs::write(ddim.path("z.npy.json"), "{}").unwrap();
    assert_snapshot!(decode("z.npy"), @"error: z.npy.json does not say what made z.npy; remove it, and name the model");
    // Where a file's manifest has what a flag contradicts, the place is in the file.
    let (_, said) = ddim.says(&["decode", "z.safetensors", "--std", "0.25", "--out", "y.npy"]);
    assert_snapshot!(said, @r#"
    warning: these settings differ from those that made z.safetensors:
      model.exact.std: [0.5] there, [0.25] here
    wrote y.npy
    "#);
    fs::create_dir_all(ddim.path("full/of")).unwrap();
    assert_snapshot!(ddim.refuses(&["decode", "z.safetensors", "--out", "full"]), @"error: --out full: the folder is not empty; name a new one");
    assert_snapshot!(ddim.refuses(&["decode", "z.safetensors", "--out", "no/new"]), @"error: --out no/new: the folder no does not exist; create it first");
    assert_snapshot!(ddim.refuses(&["decode", "z.safetensors", "--out", "y.jpg"]), @"error: --out y.jpg: images are written as .npy (an array; - is stdout), .png (a grid), or into a new folder (a name without an extension)");
}

#[test]
fn bad_ends_end_in_one_message() {
    let ddim = with_images();
    let between =
        |more: &[&str]| ddim.exact_refuses(&["interpolate"], &[more, &["--out", "y.npy"]].concat());
    assert_snapshot!(between(&[]), @"error: nothing to interpolate between: name images, --latents FILE, or --seeds A,B");
    assert_snapshot!(between(&["--seeds", "1,2,3"]), @"error: --seeds gives 3, but a row has 2 ends and a grid 4; give 2 or 4 seeds");
    assert_snapshot!(between(&["x.npy"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: x.npy has 5, but a row has 2 ends and a grid 4; give 2 or 4 of them, with --pick
    "#);
    assert_snapshot!(between(&["x.npy", "--pick", "0,5"]), @r#"
    x.npy: values from -0.9787 to 0.9884 (0.1 % below -0.9787, median -0.0568, 0.1 % above 0.9884), taken as [-1, 1]
    error: --pick 5: x.npy has 5, counted from 0
    "#);
    assert_snapshot!(between(&["--seeds", "1,2", "--points", "1"]), @"error: --points 1: give at least 2, for the two ends");
    assert_snapshot!(between(&["--seeds", "1,2", "--alphas", "0,1.5"]), @"error: --alphas: 1.5 is not between 0 and 1, where the two ends are");
    assert_snapshot!(ddim.refuses(&["interpolate", "--seeds", "1,2", "--out", "y.npy"]), @"error: --model is missing: give a folder or file of weights, or gaussian, mixture or dirac");
    let mut opposite = images(2).mapv(f64::from);
    let first = opposite.slice(s![..1, .., .., ..]).to_owned();
    opposite.slice_mut(s![1.., .., .., ..]).assign(&-first);
    ndarray_npy::write_npy(ddim.path("z.npy"), &opposite).unwrap();
    assert_snapshot!(between(&["--latents", "z.npy"]), @"error: slerp: the ends are opposite, so the arc between them is not unique");
    assert_snapshot!(between(&["--latents", "z.npy", "--seeds", "1,2"]).lines().next().unwrap(), @"error: the argument '--latents <FILE>' cannot be used with '--seeds <A,B[,C,D]>'");
}
