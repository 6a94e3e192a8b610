//! Image sets as a user meets them: reference statistics, distances, and what is refused.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{fs, io::Write, path::Path};

use approx::assert_relative_eq;
use ddim::{
    data::{Split, cifar10, npy},
    results::record::Columns,
};
use flate2::{Compression, write::GzEncoder};
use image::{Rgb, RgbImage};
use ndarray::{Array2, Array4};
use ndarray_npy::WriteNpyExt;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::program::{Ddim, command, repository};

impl Ddim {
    fn evaluate(&self, images: &str, more: &[&str]) -> String {
        self.succeeds(&evaluation(images, more).each_ref())
    }

    fn evaluate_refuses(&self, images: &str, more: &[&str]) -> String {
        self.refuses(&evaluation(images, more).each_ref())
    }

    /// Writes 32 x 32 images: one array, and the same ones as a folder of PNG.
    fn write_images(&self, n: usize) -> Array4<u8> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let images = Array4::from_shape_simple_fn((n, 3, 32, 32), || rng.r#gen::<u8>());
        images.write_npy(fs::File::create(self.path("x.npy")).unwrap()).unwrap();
        fs::create_dir_all(self.path("png")).unwrap();
        for (i, image) in images.outer_iter().enumerate() {
            let png = RgbImage::from_fn(32, 32, |x, y| {
                Rgb([0, 1, 2].map(|c| image[[c, y as usize, x as usize]]))
            });
            png.save(self.path(&format!("png/{i:04}.png"))).unwrap();
        }
        images
    }
}

/// The flags of an evaluation with the embedded extractor and reference.
struct Flags(Vec<String>);

impl Flags {
    fn each_ref(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn evaluation(images: &str, more: &[&str]) -> Flags {
    let (features, reference) = (features_folder(), reference_file());
    let mut flags = vec!["evaluate", images, "--features", &features];
    if !more.contains(&"--reference") {
        flags.extend(["--reference", &reference]);
    }
    flags.extend(["--quiet"]);
    flags.extend(more);
    Flags(flags.into_iter().map(String::from).collect())
}

fn features_folder() -> String {
    repository("models/cifar10-features")
}

fn reference_file() -> String {
    repository("models/cifar10-features/cifar10-train.safetensors")
}

/// An idx file of grey noise, gzipped.
fn idx(n: u32, side: u32) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut bytes: Vec<u8> =
        [0x0803, n, side, side].iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    bytes.extend((0..n * side * side).map(|_| rng.r#gen::<u8>()));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_folder_and_an_array_of_the_same_images_have_the_same_distance() {
    let ddim = Ddim::new();
    ddim.write_images(12);
    let array = ddim.evaluate("x.npy", &["--blocks", "4", "--csv", "x.csv"]);
    let folder = ddim.evaluate("png", &["--blocks", "4", "--csv", "png.csv"]);
    assert_eq!(array.replace("x.npy", "png"), folder);
    assert!(array.contains("FD-cifar10-features") && array.contains("N = 12"), "{array}");
    assert!(array.contains("95 % interval"), "{array}");

    // The columns of metrics.csv; a reader of the one reads the other.
    let text = fs::read_to_string(ddim.path("x.csv")).unwrap();
    let (header, row) = text.trim_end().split_once('\n').unwrap();
    let columns = Columns { axes: vec![], metrics: vec!["FD-cifar10-features".into()] };
    let plain = |header: &str| -> Vec<String> {
        header.split(',').filter(|name| !name.starts_with("param.")).map(String::from).collect()
    };
    assert_eq!(plain(header), columns.header());
    assert!(row.contains(",x.npy all,\"cifar10 train, 49919 images\",,,,12,"), "{row}");
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn samples_written_to_a_file_measure_as_they_do_in_a_run() {
    let ddim = Ddim::new();
    let (features, reference) = (features_folder(), reference_file());
    fs::write(
        ddim.path("g.toml"),
        format!(
            "name = 'g'\nsamples = 12\nbatch = 4\n[model]\nsource = 'gaussian'\n\
             shape = [3, 32, 32]\nmean = 0.1\nstd = 0.5\n[grid]\ntau = 'official-quad'\nsteps = 5\n\
             [solver]\nkind = 'ddim'\n[metrics]\nfeatures = '{features}'\n\
             reference = '{reference}'\nblocks = 4\n"
        ),
    )
    .unwrap();
    ddim.succeeds(&["run", "g.toml", "--quiet"]);
    ddim.succeeds(&[
        "sample",
        "--model",
        "gaussian",
        "--mean",
        "0.1",
        "--std",
        "0.5",
        "--shape",
        "3,32,32",
        "--tau",
        "official-quad",
        "--steps",
        "5",
        "--samples",
        "12",
        "--batch",
        "4",
        "--out",
        "x0.npy",
        "--quiet",
    ]);
    ddim.evaluate("x0.npy", &["--blocks", "4", "--csv", "x0.csv"]);
    let fd = |file: &str| -> f64 {
        let mut reader = csv::Reader::from_path(ddim.path(file)).unwrap();
        let headers = reader.headers().unwrap().clone();
        let column = headers.iter().position(|name| name == "FD-cifar10-features").unwrap();
        reader.records().next().unwrap().unwrap()[column].parse().unwrap()
    };
    assert_relative_eq!(fd("results/g/metrics.csv"), fd("x0.csv"), max_relative = 1e-5);
}

#[test]
fn statistics_of_any_set_serve_as_a_reference_and_say_what_was_done() {
    let ddim = Ddim::new();
    fs::create_dir_all(ddim.path("cache/ddim/fashion-mnist")).unwrap();
    let file = "cache/ddim/fashion-mnist/t10k-images-idx3-ubyte.gz";
    fs::write(ddim.path(file), idx(40, 28)).unwrap();
    let features = features_folder();
    ddim.succeeds(&[
        "stats",
        "--data",
        "fashion-mnist",
        "--split",
        "test",
        "--resize",
        "pad:32",
        "--rgb",
        "--features",
        &features,
        "--out",
        "ref.safetensors",
        "--quiet",
    ]);
    let reference =
        ddim::measure::reference::Reference::read(&ddim.path("ref.safetensors")).unwrap();
    let origin = &reference.origin;
    assert_eq!(
        (origin.dataset.as_str(), origin.split.as_str(), origin.images),
        ("fashion-mnist pad:32 rgb", "test", 40)
    );
    // The set against itself: nothing between them.
    let said = ddim.evaluate(
        "fashion-mnist",
        &["--resize", "pad:32", "--rgb", "--reference", "ref.safetensors", "--csv", "f.csv"],
    );
    assert!(said.contains("FD-cifar10-features  0.0000 at this N"), "{said}");
    // The first images of the path are the first images of the name.
    let flags = ["--limit", "20", "--blocks", "4", "--resize", "pad:32", "--rgb"];
    let by_path = ddim.evaluate(file, &flags);
    let by_name = ddim.evaluate("fashion-mnist", &flags);
    assert_eq!(
        by_path.lines().skip(1).collect::<Vec<_>>(),
        by_name.lines().skip(1).collect::<Vec<_>>()
    );
    // It is in the list of what there is.
    let list = ddim.succeeds(&["models", "."]);
    assert!(list.contains("./ref.safetensors") && list.contains("gaussian"), "{list}");
    let line = list.lines().find(|line| line.starts_with("fashion-mnist")).unwrap();
    assert!(line.contains("only") && line.contains("t10k-images-idx3-ubyte.gz"), "{line}");
}

#[test]
fn the_models_of_the_repository_are_listed_with_their_hashes() {
    let output = command().arg("models").output().unwrap();
    assert!(output.status.success());
    let list = String::from_utf8(output.stdout).unwrap();
    for part in
        ["models/cifar10-small ", "1,113,955  a46f7b4ab394", "8ae6de3bdc7c", "not on this machine"]
    {
        assert!(list.contains(part), "{part}: {list}");
    }
}

#[test]
fn images_that_do_not_fit_end_in_one_message_with_the_remedy() {
    let ddim = Ddim::new();
    fs::write(ddim.path("digits-ubyte.gz"), idx(4, 28)).unwrap();
    insta::assert_snapshot!(ddim.evaluate_refuses("digits-ubyte.gz", &["--blocks", "2"]), @"error: the images of digits-ubyte.gz are 1 x 28 x 28 (channels x height x width), and cifar10-features takes colour images of 32 x 32; add --resize pad:32 or squash:32, and --rgb");
    let large = Array4::<u8>::zeros((4, 3, 64, 48));
    large.write_npy(fs::File::create(ddim.path("large.npy")).unwrap()).unwrap();
    insta::assert_snapshot!(ddim.evaluate_refuses("large.npy", &["--blocks", "2"]), @"error: the images of large.npy are 3 x 64 x 48 (channels x height x width), and cifar10-features takes colour images of 32 x 32; add --resize center-crop:32 or squash:32");
    insta::assert_snapshot!(ddim.evaluate_refuses("large.npy", &["--resize", "pad:32"]), @"error: pad:32 cannot hold images of 48 x 64 (width x height); --resize center-crop:32 or squash:32 makes them smaller");
    ddim.write_images(4);
    insta::assert_snapshot!(ddim.evaluate_refuses("x.npy", &[]), @"error: 4 images cannot be cut into 32 blocks: an interval needs between 2 blocks and as many as there are images, and 3 images at least; see --blocks");
    insta::assert_snapshot!(ddim.evaluate_refuses("x.npy", &["--blocks", "2", "--csv", "no/x.csv"]), @"error: --csv no/x.csv: the folder no does not exist; create it first");
    insta::assert_snapshot!(ddim.evaluate_refuses("x.npy", &["--blocks", "2", "--reference", "absent.safetensors"]), @"error: cannot read absent.safetensors: No such file or directory (os error 2)");
    insta::assert_snapshot!(ddim.evaluate_refuses("x.npy", &["--split", "test"]), @"error: x.npy has no splits; leave --split out");
    insta::assert_snapshot!(ddim.evaluate_refuses("x.npy", &["--exclude", "list.csv"]), @"error: x.npy: an exclusion list names batch files of CIFAR-10, and this is another layout; leave --exclude out");
}

/// A copy of the cases, whose folders are read as a user has them.
fn cases(ddim: &Ddim) {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    copy(Path::new(&repository("tests/golden/image-cases")), ddim.folder());
}

/// The plug-in distance that an evaluation printed.
fn distance(said: &str) -> f64 {
    let line = said.lines().find(|line| line.ends_with("at this N")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn images_of_every_format_and_behind_links_count() {
    let ddim = Ddim::new();
    cases(&ddim);
    #[cfg(unix)]
    std::os::unix::fs::symlink("../05_real/cls", ddim.path("05_symlinked_class/cls")).unwrap();
    let said = |images: &str| ddim.evaluate(images, &["--blocks", "4"]);
    assert!(said("05_other_formats").contains("N = 8"), "{}", said("05_other_formats"));
    assert!(said("05_symlinked_class").contains("N = 8"));
    // They are the images of the right array: the WebP and the TIFF are as lossless as the PNG.
    assert!((distance(&said("05_symlinked_class")) - 30.8).abs() < 0.1);
    // What is passed over is said without -v, in one line, and nothing of it with --quiet.
    fs::write(ddim.path("05_other_formats/a.avif"), "avif").unwrap();
    fs::write(ddim.path("05_other_formats/notes.txt"), "text").unwrap();
    fs::write(ddim.path("05_other_formats/b.AVIF"), "avif").unwrap();
    let (features, reference) = (features_folder(), reference_file());
    let flags = ["--features", &features, "--reference", &reference, "--blocks", "4"];
    let output = ddim.run(&[&["evaluate", "05_other_formats"], &flags[..]].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let line = "05_other_formats: passed over 3 of 11 files: 2 .avif, 1 .txt\n";
    assert!(output.status.success() && stderr.starts_with(line), "{stderr}");
}

#[test]
fn the_range_of_floats_is_judged_by_their_mass_or_stated() {
    let ddim = Ddim::new();
    cases(&ddim);
    let blocks = ["--blocks", "4"];
    let right = distance(&ddim.evaluate("06_right.npy", &blocks));
    assert!((right - 30.8).abs() < 0.1, "{right}");
    insta::assert_snapshot!(ddim.evaluate_refuses("06_unit_range_unclamped.npy", &blocks), @"error: 06_unit_range_unclamped.npy: its values are from -0.0100 to 1.0100 (0.1 % below -0.0100, median 0.4820, 0.1 % above 1.0100): 0.0 % below -0.1, so [0, 1]? give --value-range 0,1 if they are, or save 2 * x - 1; --value-range -1,1 takes them as they are");
    insta::assert_snapshot!(ddim.evaluate_refuses("06_imagenet_normalised.npy", &blocks), @"error: 06_imagenet_normalised.npy: its values are from -2.1179 to 2.6400 (0.1 % below -2.1179, median 0.1527, 0.1 % above 2.6400): 33.1 % beyond [-1, 1] and 13.8 % beyond [-1.5, 1.5], so normalised by a mean and a standard deviation? save x * std + mean and give --value-range 0,1; --value-range -1,1 takes them as they are");
    // Stated, the first is the right one again, and so are bytes as floats and halved values.
    let stated = |name: &str, range: &str| {
        distance(&ddim.evaluate(name, &["--blocks", "4", "--value-range", range]))
    };
    // It was made with 1 % of headroom on both sides.
    assert!((stated("06_unit_range_unclamped.npy", "-0.01,1.01") - right).abs() < 0.5);
    let images: Array4<f32> = npy::read_images(&ddim.path("06_right.npy")).unwrap();
    for (name, low, high) in [("bytes.npy", 0.0, 255.0), ("half.npy", -0.5, 0.5)] {
        npy::write_images(
            &ddim.path(name),
            images.mapv(|x| low + f32::midpoint(x, 1.0) * (high - low)).view(),
        )
        .unwrap();
        let error = ddim.evaluate_refuses(name, &blocks);
        assert!(error.contains(&format!("--value-range {low},{high}")), "{error}");
        assert!((stated(name, &format!("{low},{high}")) - right).abs() < 1e-3, "{name}");
    }
    // In doubles, from big to little, in Fortran's order: the same.
    let doubles = images.mapv(f64::from).reversed_axes().as_standard_layout().into_owned();
    let doubles = doubles.reversed_axes();
    doubles.write_npy(fs::File::create(ddim.path("doubles.npy")).unwrap()).unwrap();
    assert_relative_eq!(distance(&ddim.evaluate("doubles.npy", &blocks)), right);
    // A range that cannot be.
    let wrong = ["--blocks", "4", "--value-range", "0,1"];
    let error = ddim.evaluate_refuses("06_right.npy", &wrong);
    assert!(
        error.contains(
            "lie beyond [0, 1], the range that is stated; give the values of black and white"
        ),
        "{error}"
    );
}

#[test]
fn cifar10_of_python_is_that_of_the_binary_version() {
    let ddim = Ddim::new();
    cases(&ddim);
    let features = features_folder();
    let stats = |data: &str, out: &str| {
        let flags = ["stats", "--data", data, "--features", &features, "--out", out];
        ddim.succeeds(&flags);
        ddim::measure::reference::Reference::read(&ddim.path(out)).unwrap()
    };
    let python = stats("10_batches-py", "python.safetensors");
    assert_eq!((python.origin.dataset.as_str(), python.origin.images), ("cifar10", 10));
    // The same images as records, and in the archive under its name.
    let set =
        cifar10::open(&ddim.path("10_batches-py"), Split::Train, None).unwrap().held().unwrap();
    assert_eq!(set.classes, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    fs::create_dir(ddim.path("bin")).unwrap();
    for (k, rows) in (1..).zip((0..10).step_by(2)) {
        let records = (rows..rows + 2).flat_map(|i| {
            let pixels = set.images.index_axis(ndarray::Axis(0), i);
            [set.classes[i]].into_iter().chain(pixels.iter().copied()).collect::<Vec<u8>>()
        });
        let records: Vec<u8> = records.collect();
        fs::write(ddim.path(&format!("bin/data_batch_{k}.bin")), records).unwrap();
    }
    let binary = stats("bin", "binary.safetensors");
    assert_eq!(binary, python);
    let archive = fs::File::create(ddim.path("cifar-10-python.tar.gz")).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(archive, Compression::fast()));
    tar.append_dir_all("cifar-10-batches-py", ddim.path("10_batches-py")).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    assert_eq!(stats("cifar-10-python.tar.gz", "tar.safetensors"), python);
    // Its folder below the one that is named, as torchvision leaves it.
    fs::create_dir(ddim.path("root")).unwrap();
    fs::rename(ddim.path("10_batches-py"), ddim.path("root/cifar-10-batches-py")).unwrap();
    assert_eq!(stats("root", "root.safetensors"), python);
    let batch = "root/cifar-10-batches-py/data_batch_3";
    fs::write(ddim.path(batch), b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}.").unwrap();
    let flags = ["stats", "--data", "root", "--features", &features, "--out", "x.safetensors"];
    insta::assert_snapshot!(ddim.refuses(&flags), @"error: root/cifar-10-batches-py/data_batch_3 is not a batch of CIFAR-10's Python version: it holds no dictionary with `data`, an array of bytes in C order; unpack or download the archive again");
    fs::remove_file(ddim.path(batch)).unwrap();
    insta::assert_snapshot!(ddim.refuses(&flags), @"error: root/cifar-10-batches-py lacks data_batch_3: unpack or download the whole archive again");
}

#[test]
fn two_sets_are_compared_as_a_set_and_its_statistics_are() {
    let ddim = Ddim::new();
    cases(&ddim);
    ddim.write_images(12);
    let features = features_folder();
    let flags = ["--features", &features, "--quiet", "--blocks", "4", "--measures", "fd,kid"];
    let evaluate = |more: &[&str]| ddim.succeeds(&[&["evaluate", "png"], more, &flags].concat());
    let two = evaluate(&["05_other_formats"]);
    let output = ddim.run(&[
        "stats",
        "--data",
        "05_other_formats",
        "--features",
        &features,
        "--out",
        "r.safetensors",
    ]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.ends_with(
            "wrote r.safetensors: mean, covariance, 8 feature vectors of 8 images \
         (05_other_formats all), 64 features of cifar10-features\n"
        ),
        "{said}"
    );
    assert_eq!(evaluate(&["--reference", "r.safetensors"]), two);
    assert_eq!(evaluate(&["r.safetensors"]), two);
    // As one object, with the numbers of the text.
    let json: serde_json::Value =
        serde_json::from_str(&evaluate(&["05_other_formats", "--json"])).unwrap();
    let fd = &json["metrics"]["FD-cifar10-features"];
    assert_eq!(format!("{:.4}", fd["value"].as_f64().unwrap()), format!("{:.4}", distance(&two)));
    assert!(fd["corrected_low"].as_f64() < fd["corrected_high"].as_f64());
    assert_eq!((&json["n"], &json["images"]), (&12.into(), &"png all".into()));
    assert_eq!(json["reference"], "05_other_formats all, 8 images");
    // A folder as a file of statistics.
    insta::assert_snapshot!(ddim.refuses(&["evaluate", "png", "--features", &features, "--blocks", "4", "--quiet", "--reference", "05_other_formats"]), @"error: 05_other_formats: it is a folder, and a reference is a file of statistics: make one of its images, `ddim stats --data 05_other_formats --out FILE.safetensors`, or compare two sets, `ddim evaluate IMAGES 05_other_formats`");
    insta::assert_snapshot!(ddim.refuses(&["evaluate", "png", "--features", &features, "--blocks", "4", "--quiet"]), @"error: a distance needs a second set of images (`ddim evaluate A B`) or --reference, statistics written by `ddim stats`; `--measures is` and `--measures accuracy` need none");
}

#[test]
fn what_is_no_reference_is_named_for_what_it_is() {
    let ddim = Ddim::new();
    cases(&ddim);
    ddim.write_images(12);
    let refuses = |reference: &str| {
        ddim.evaluate_refuses("png", &["--blocks", "4", "--reference", reference])
    };
    insta::assert_snapshot!(refuses("11_stats_dict.npy"), @r#"error: 11_stats_dict.npy: a pickled dictionary: save mu and sigma as .npz, numpy.savez("FILE.npz", mu=mu, sigma=sigma)"#);
    // The same under another name, the pickle alone, and another pickle.
    let bytes = fs::read(ddim.path("11_stats_dict.npy")).unwrap();
    fs::write(ddim.path("stats.dat"), &bytes).unwrap();
    assert!(refuses("stats.dat").contains("a pickled dictionary: save mu and sigma as .npz"));
    fs::write(ddim.path("stats.pkl"), b"\x80\x04}\x8c\x02muK\x01s.").unwrap();
    assert!(refuses("stats.pkl").contains("a pickled dictionary: save mu and sigma as .npz"));
    fs::write(ddim.path("stats.pkl"), b"\x80\x04K\x01.").unwrap();
    insta::assert_snapshot!(refuses("stats.pkl"), @r#"error: stats.pkl: a pickled Python object, of which nothing is run: save mu and sigma as .npz, numpy.savez("FILE.npz", mu=mu, sigma=sigma)"#);
    insta::assert_snapshot!(refuses("06_right.npy"), @r#"error: 06_right.npy: one array, of shape [8, 3, 32, 32], and a reference is a mean and a covariance: save mu and sigma as .npz, numpy.savez("FILE.npz", mu=mu, sigma=sigma); of an array of images `ddim stats` makes one"#);
    // A covariance that is none, and statistics of single precision in Fortran's order.
    let mu = ndarray::Array1::<f32>::zeros(64);
    let write = |sigma: Array2<f32>| {
        let mut npz = ndarray_npy::NpzWriter::new(fs::File::create(ddim.path("s.npz")).unwrap());
        npz.add_array("mu", &mu).unwrap();
        npz.add_array("sigma", &sigma.reversed_axes()).unwrap();
        npz.finish().unwrap();
    };
    write(-Array2::eye(64));
    insta::assert_snapshot!(refuses("s.npz"), @"error: s.npz: the covariance is not one, for it is not positive semidefinite: the variance of feature 0 is -1; compute the reference again");
    write(Array2::eye(64));
    ddim.evaluate("png", &["--blocks", "4", "--reference", "s.npz"]);
}

#[test]
fn damaged_and_foreign_files_end_in_one_message() {
    let ddim = Ddim::new();
    let write = |name: &str, bytes: &[u8]| fs::write(ddim.path(name), bytes).unwrap();
    fs::create_dir(ddim.path("empty")).unwrap();
    insta::assert_snapshot!(ddim.evaluate_refuses("empty", &[]), @"error: empty is empty: expected images (png, jpg, webp, bmp, tif, ppm, pgm, pbm, gif)");
    fs::create_dir(ddim.path("text")).unwrap();
    write("text/notes.md", b"no image");
    insta::assert_snapshot!(ddim.evaluate_refuses("text", &[]), @"error: text holds no image (png, jpg, webp, bmp, tif, ppm, pgm, pbm, gif), but 1 .md");
    fs::create_dir(ddim.path("corrupt")).unwrap();
    write("corrupt/a.png", b"\x89PNG\r\n\x1a\nand no more");
    insta::assert_snapshot!(ddim.evaluate_refuses("corrupt", &[]), @"error: corrupt/a.png: it cannot be decoded (Format error decoding Png: ChunkType { type: no m, critical: false, private: true, reserved: true, safecopy: true } chunk appeared before IHDR chunk): it is damaged, or none of png, jpg, webp, bmp, tif, ppm, pgm, pbm, gif in spite of its name");
    fs::create_dir(ddim.path("mixed")).unwrap();
    for (name, side) in [("a.png", 32), ("b.png", 32), ("c.png", 30)] {
        RgbImage::new(side, side).save(ddim.path(&format!("mixed/{name}"))).unwrap();
    }
    insta::assert_snapshot!(ddim.evaluate_refuses("mixed", &[]), @"error: mixed/c.png is 30 x 30 (width x height), but mixed/a.png is 32 x 32: images of a set have one size; --resize center-crop:SIDE or squash:SIDE makes them so");
    insta::assert_snapshot!(ddim.evaluate_refuses("mixed/a.png", &[]), @"error: 1 images cannot be cut into 32 blocks: an interval needs between 2 blocks and as many as there are images, and 3 images at least; see --blocks");
    let good = idx(4, 28);
    write("t10k-images-idx3-ubyte.gz", &good[..good.len() / 2]);
    insta::assert_snapshot!(ddim.evaluate_refuses("t10k-images-idx3-ubyte.gz", &[]), @"error: t10k-images-idx3-ubyte.gz: the gzip file is truncated; fetch it again");
    write("magic-ubyte", &[0, 0, 8, 1, 0, 0, 0, 1, 7]);
    insta::assert_snapshot!(ddim.evaluate_refuses("magic-ubyte", &[]), @"error: magic-ubyte: it holds labels (idx1); the images are in the file named ...-images-idx3-ubyte");
    write("other-ubyte", b"\x7fELF and so on, long enough");
    insta::assert_snapshot!(ddim.evaluate_refuses("other-ubyte", &[]), @"error: other-ubyte: it starts with 0x7f454c46, where a file of idx images starts with 0x00000803");
    let matrix = Array2::<f32>::zeros((4, 5));
    matrix.write_npy(fs::File::create(ddim.path("matrix.npy")).unwrap()).unwrap();
    insta::assert_snapshot!(ddim.evaluate_refuses("matrix.npy", &[]), @"error: matrix.npy: its shape is [4, 5]; images are [N, C, H, W], [N, H, W, C], or grey [N, H, W]");
    write("notes.txt", b"no images");
    insta::assert_snapshot!(ddim.evaluate_refuses("notes.txt", &[]), @"error: notes.txt: it is no set of images: expected a folder of image files or one of them (png, jpg, webp, bmp, tif, ppm, pgm, pbm, gif), a .npy or .npz array, an idx file, or CIFAR-10's .tar.gz");
}

#[test]
fn a_run_downloads_the_set_it_encodes_where_it_is_asked_to() {
    let ddim = Ddim::new();
    let manifest = r#"
name = "r"
samples = 4
batch = 4
task = "reconstruct"
[model]
source = "gaussian"
shape = [1, 28, 28]
mean = 0.0
std = 1.0
[images]
source = "fashion-mnist"
[grid]
tau = "linspace"
steps = 4
[solver]
kind = "ddim"
[metrics]
measures = ["mse"]
blocks = 2
"#;
    fs::write(ddim.path("r.toml"), manifest).unwrap();
    let error = ddim.refuses(&["run", "r.toml"]);
    assert!(error.contains("or let `ddim run --download` do it"), "{error}");
    // Nobody listens at this port: what the flag does is seen by what cannot be reached.
    let output = ddim
        .command()
        .envs(["ALL_PROXY", "HTTP_PROXY", "http_proxy"].map(|name| (name, "http://127.0.0.1:9")))
        .args(["run", "r.toml", "--download"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("cannot reach http://fashion-mnist.s3-website"), "{error}");
    assert!(error.contains("t10k-images-idx3-ubyte.gz"), "{error}");
    // A key is what a manifest can leave out.
    image::GrayImage::new(28, 28).save(ddim.path("x.png")).unwrap();
    let other = ["run", "r.toml", "--set", "images.source=x.png", "--set", "images.split=test"];
    let error = ddim.refuses(&other);
    assert!(error.starts_with("error: x.png has no splits; leave `split` out\n"), "{error}");
    // A set that is here is taken as it is.
    let place = ddim.path("cache/ddim/fashion-mnist");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("t10k-images-idx3-ubyte.gz"), idx(4, 28)).unwrap();
    ddim.succeeds(&["run", "r.toml", "--download", "--quiet"]);
    assert!(ddim.path("results/r/metrics.csv").exists());
}

#[test]
fn a_set_that_is_not_here_is_named_with_its_address_checksum_and_place() {
    let ddim = Ddim::new();
    let features = features_folder();
    let stats = |data: &str| {
        ddim.refuses(&["stats", "--data", data, "--features", &features, "--out", "x.safetensors"])
    };
    insta::assert_snapshot!(stats("cifar10"), @"error: cifar10 is not on this machine: looked in DDIM_DATA (not set) and [dir]/cache/ddim; fetch https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (md5 c32a1d4ab5d03f1284b67883e8d87530) and put it at [dir]/cache/ddim/cifar10/cifar-10-binary.tar.gz, or let --download do it; DDIM_DATA may name a folder that has it");
    insta::assert_snapshot!(stats("fashion-mnist"), @"error: fashion-mnist is not on this machine: looked in DDIM_DATA (not set) and [dir]/cache/ddim; fetch http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz (md5 8d4fb7e6c68d591d4c3dfef9ec88bf0d) and put it at [dir]/cache/ddim/fashion-mnist/train-images-idx3-ubyte.gz, or let --download do it; DDIM_DATA may name a folder that has it");
    insta::assert_snapshot!(stats("mnist"), @"error: mnist is not on this machine: looked in DDIM_DATA (not set) and [dir]/cache/ddim; fetch https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz (md5 f68b3c2dcbeaaa9fbdd348bbdeb94873) and put it at [dir]/cache/ddim/mnist/train-images-idx3-ubyte.gz, or let --download do it; DDIM_DATA may name a folder that has it");
    insta::assert_snapshot!(stats("cifar-10"), @"error: there is no data set or path `cifar-10` (did you mean cifar10?); data sets known by name: cifar10, mnist, fashion-mnist, celeba");
    insta::assert_snapshot!(stats("imagenet"), @"error: there is no data set or path `imagenet`; data sets known by name: cifar10, mnist, fashion-mnist, celeba");
    assert_eq!(fs::read_dir(ddim.folder()).unwrap().count(), 0, "something was written");
    insta::assert_snapshot!(ddim.run(&["evaluate", "x", "--reference", "r", "--resize", "crop"]).status, @"exit status: 2");
}
