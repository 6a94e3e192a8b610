//! What happens when there is no memory for a batch, by programs that LibTorch refuses it to; and that no
//! set of images takes more memory than a batch of it.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    cell::RefCell,
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use ddim::{
    core::{self, Eval, Method, Result, Solver, State, Step},
    error::Error,
    hardware::Hardware,
    manifest::Manifest,
    measure::features::{Place, features},
    networks::features::{FeatureError, FeatureExtractor},
    run::{
        assemble,
        registry::Registry,
        runner::{self, Options},
    },
    solvers::Euler,
    terminal::progress::Mode,
};
use flate2::{Compression, write::GzEncoder};
use image::RgbImage;
use ndarray::{Array4, s};
use ndarray_npy::NpzWriter;
use support::{
    golden,
    program::{Ddim, repository},
};
use tch::{Kind, TchError, Tensor};

/// Computes the same as `eps.pt`, and has no memory for more than three images.
const ROOM: &str = "eps_room.pt";
const ALL: &str = "eps.pt";

fn with_programs() -> Ddim {
    let ddim = Ddim::new();
    for program in [ROOM, ALL] {
        fs::copy(golden(program), ddim.path(program)).unwrap();
    }
    ddim
}

fn manifest(model: &str, batch: usize, solver: &str) -> String {
    format!(
        r#"name = "m"
samples = 14
batch = {batch}
model = {{ source = "{model}", shape = [3, 8, 8] }}
grid = {{ tau = "leading" }}
solver = {{ kind = "{solver}" }}
solution = {{ kind = "heun", tau = "leading", steps = 8 }}
metrics = {{ measures = ["error"], blocks = 4 }}
[sweep]
"grid.steps" = [4, 5]
"#
    )
}

/// The rows of `metrics.csv` without the key, which names the model's file and the batch.
fn rows(text: &str) -> Vec<Vec<String>> {
    let row = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut rows: Vec<_> = text.lines().map(row).collect();
    let key = rows[0].iter().position(|column| column == "key").unwrap();
    for row in &mut rows {
        row.remove(key);
    }
    rows
}

fn strips(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder.join("strips")).unwrap();
    let mut strips: Vec<_> =
        entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    strips.sort();
    strips
}

fn notes(folder: &Path) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(folder.join("provenance.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let notes = json.get("smaller_batches").cloned().unwrap_or(serde_json::json!({}));
    let notes: std::collections::BTreeMap<String, Vec<String>> =
        serde_json::from_value(notes).unwrap();
    notes.into_iter().collect()
}

#[test]
fn a_run_without_memory_for_its_batch_has_the_numbers_and_pictures_of_one_with_it() {
    let ddim = with_programs();
    ddim.write("room.toml", manifest(ROOM, 8, "euler"));
    ddim.write("all.toml", manifest(ALL, 8, "euler"));
    let (_, said) = ddim.says(&["run", "room.toml", "--out", "room"]);
    let line = "warning: out of memory: samples are computed 2 at a time from here on; `batch = 2` \
                (--set batch=2) begins with that";
    assert_eq!(
        said.lines().filter(|said| said.contains("out of memory")).collect::<Vec<_>>(),
        [line]
    );
    let (_, said) = ddim.says(&["run", "all.toml", "--out", "all"]);
    assert!(!said.contains("memory"), "{said}");
    assert_eq!(rows(&ddim.text("room/metrics.csv")), rows(&ddim.text("all/metrics.csv")));
    // Ten pictures of the first eight samples, although only two of them came first.
    assert_eq!(strips(&ddim.path("room")), strips(&ddim.path("all")));
    let noted = notes(&ddim.path("room"));
    let note = vec!["2 at a time instead of 8 from sample 0 on".to_owned()];
    assert_eq!(noted.iter().map(|(_, notes)| notes).collect::<Vec<_>>(), [&note; 2]);
    for (key, _) in &noted {
        assert!(ddim.text("room/metrics.csv").contains(key.as_str()));
    }
    assert_eq!(notes(&ddim.path("all")), []);
    // A strip that is gone is drawn again in the same parts.
    let strips_before = strips(&ddim.path("room"));
    fs::remove_dir_all(ddim.path("room/strips")).unwrap();
    ddim.says(&["run", "room.toml", "--out", "room"]);
    assert_eq!(strips(&ddim.path("room")), strips_before);
    // A cell that is added keeps what was noted of the others.
    ddim.write("room.toml", manifest(ROOM, 8, "euler").replace("[4, 5]", "[4, 5, 6]"));
    ddim.says(&["run", "room.toml", "--out", "room", "--quiet"]);
    let after = notes(&ddim.path("room"));
    assert_eq!(after.len(), 3);
    assert!(noted.iter().all(|note| after.contains(note)));
}

#[test]
fn a_batch_in_parts_is_that_of_a_smaller_batch_for_an_adaptive_method() {
    let ddim = with_programs();
    let run = |name: &str, model: &str, batch: usize| {
        ddim.write("m.toml", manifest(model, batch, "dormand-prince"));
        ddim.says(&["run", "m.toml", "--out", name, "--quiet"]);
        rows(&ddim.text(&format!("{name}/metrics.csv")))
    };
    let in_parts = run("parts", ROOM, 8);
    assert_eq!(in_parts, run("two", ALL, 2));
    assert_ne!(in_parts, run("eight", ALL, 8), "the steps of a batch are shared");
}

/// Euler, and an interruption at one of its steps.
#[derive(Clone)]
struct Halting(Arc<AtomicUsize>);

impl Method for Halting {
    fn name(&self) -> &'static str {
        "halting"
    }

    fn order(&self) -> Option<u32> {
        Some(1)
    }
}

impl<S: State> Solver<S> for Halting {
    fn step(&self, eval: &mut Eval<'_, S>, x: &S, step: Step) -> Result<S> {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            return Err(core::Error::Interrupted);
        }
        Euler::Sigma.step(eval, x, step)
    }
}

#[test]
fn an_interrupted_run_begins_again_with_its_batch_and_ends_with_the_same_bytes() {
    let halting = Halting(Arc::new(AtomicUsize::new(0)));
    let mut registry = Registry::shipped();
    let own = halting.clone();
    registry.add("halting", &[], move |_| Ok(own.clone()));
    let model = golden(ROOM).display().to_string();
    let text = manifest(&model, 8, "halting").replace("[4, 5]", "[4]");
    let manifest = Manifest::parse("m.toml", &text).unwrap();
    let plan = manifest.plan(None, &[], &assemble::vocabulary(&registry)).unwrap();
    let run = |folder: &Path, steps: usize| {
        halting.0.store(steps, Ordering::Relaxed);
        runner::run(
            &plan,
            &Options {
                registry: &registry,
                folder: folder.to_owned(),
                hardware: Hardware::open("cpu", Some(1)).unwrap(),
                progress: Mode::Quiet,
                chosen: true,
                fresh: false,
                verbose: 0,
                interrupted: &AtomicBool::new(false),
            },
        )
    };
    let [whole, resumed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    run(whole.path(), usize::MAX).unwrap();
    // The numbers of calls are counted by steps without a model; then four parts of two images make a
    // batch, each in four steps, and one part of the second batch is done.
    let error = run(resumed.path(), 4 + 5 * 4 + 2).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    let partial = fs::read_dir(resumed.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut partial = partial.filter(|path| path.extension().is_some_and(|ending| ending == "f32"));
    // A header with the cell's key, and five records with an error of each of two samples.
    let record = 64 + 2 * 4 + 32;
    assert_eq!(fs::metadata(partial.next().unwrap()).unwrap().len(), 132 + 5 * record);
    let from = |sample: usize| format!("2 at a time instead of 8 from sample {sample} on");
    assert_eq!(notes(resumed.path())[0].1, [from(0)]);

    run(resumed.path(), usize::MAX).unwrap();
    let metrics = |folder: &Path| fs::read(folder.join("metrics.csv")).unwrap();
    assert_eq!(metrics(resumed.path()), metrics(whole.path()));
    assert_eq!(strips(resumed.path()), strips(whole.path()));
    assert_eq!(notes(resumed.path())[0].1, [from(0), from(8)]);
}

#[test]
fn every_verb_that_runs_a_model_goes_on_with_fewer_images() {
    let ddim = with_programs();
    let both = |verb: &[&str], more: &[&str], file: Option<&str>| {
        let of = |model: &str| {
            let arguments =
                [verb, &["--model", model, "--shape", "3,8,8", "--tau", "leading"], more].concat();
            let (stdout, said) = ddim.says(&arguments);
            (stdout, said, file.map(|file| ddim.read(file)))
        };
        let (room, all) = (of(ROOM), of(ALL));
        assert_eq!((room.0, room.2), (all.0, all.2), "{verb:?}");
        let line = "warning: out of memory: images are computed 2 at a time from here on; --batch 2 \
                    begins with that";
        assert_eq!(room.1.matches(line).count(), 1, "{verb:?}: {}", room.1);
        assert!(!all.1.contains("memory"), "{}", all.1);
    };
    let eight = ["--steps", "4", "--batch", "8"];
    let with = |more: &[&'static str]| [&eight[..], more].concat();
    both(&["sample"], &with(&["--samples", "14", "--out", "x.npy"]), Some("x.npy"));
    both(&["sample"], &with(&["--samples", "14", "--eta", "1", "--out", "y.npy"]), Some("y.npy"));
    let values = ["--value-range=-99,99"];
    both(&[&["encode", "x.npy"][..], &values].concat(), &with(&["--out", "z.npy"]), Some("z.npy"));
    both(&[&["reconstruct", "x.npy"][..], &values].concat(), &eight, None);
    both(&["decode", "z.npy"], &with(&["--out", "w.npy"]), Some("w.npy"));
    let bytes = Array4::from_shape_fn((9, 3, 8, 8), |(n, c, y, x)| {
        u8::try_from((n * 40 + c * 9 + y * 8 + x) % 256).unwrap()
    });
    ndarray_npy::write_npy(ddim.path("bytes.npy"), &bytes).unwrap();
    both(&["bits", "bytes.npy"], &with(&["--out", "bits.csv"]), Some("bits.csv"));
}

#[test]
fn a_single_sample_that_does_not_fit_is_an_error_with_remedies() {
    let ddim = with_programs();
    let path = manifest(ROOM, 2, "euler")
        .replace("batch = 2", "batch = 2\ntask = \"interpolate\"\npoints = 4")
        .lines()
        .filter(|line| !line.starts_with("solution") && !line.starts_with("metrics"))
        .collect::<Vec<_>>()
        .join("\n");
    ddim.write("m.toml", path);
    let output = ddim.run(&["run", "m.toml", "--quiet"]);
    assert_eq!(output.status.code(), Some(1));
    let said = ddim.plain(&output.stderr);
    assert!(said.contains("you tried to allocate 1125899906842624 bytes"), "{said}");
    assert!(said.contains("not even one image at a time fits; free memory"), "{said}");
}

/// The mean of each image, in at most three images at once.
struct Means(RefCell<Vec<i64>>);

impl FeatureExtractor for Means {
    fn id(&self) -> &'static str {
        "means"
    }

    fn dim(&self) -> usize {
        1
    }

    fn sha256(&self) -> &'static str {
        "0"
    }

    fn features(&self, images: &Tensor) -> std::result::Result<Tensor, FeatureError> {
        let n = images.size()[0];
        self.0.borrow_mut().push(n);
        if n > 3 {
            let said =
                "CUDA out of memory. Tried to allocate 2.00 GiB.\nException raised from malloc";
            return Err(TchError::Torch(said.to_owned()).into());
        }
        Ok(images.f_mean_dim([1, 2, 3].as_slice(), false, Kind::Float)?.f_reshape([n, 1])?)
    }
}

#[test]
fn features_without_memory_for_all_images_are_computed_in_parts() {
    let images = Array4::from_shape_fn((7, 3, 4, 4), |(n, ..)| n as f32 / 8.0 - 0.5);
    let (means, place) = (Means(RefCell::default()), Place::on(tch::Device::Cpu));
    let found = features(&means, images.view(), false, &place).unwrap();
    let expected: Vec<f32> = (0..7).map(|n| f32::midpoint(n as f32 / 8.0 - 0.5, 1.0)).collect();
    assert_eq!(found.column(0).to_vec(), expected);
    assert_eq!(means.0.take(), [7, 4, 2, 2, 2, 1]);
    // The next images are asked for in parts at once.
    features(&means, images.slice(s![..4, .., .., ..]), false, &place).unwrap();
    assert_eq!((means.0.take(), place.most()), (vec![2, 2], Some(2)));
}

/// Bytes of an image as it is stored.
const STORED: usize = 3 * 256 * 256;

/// `n` images of 3 x 256 x 256.
fn bytes(n: usize) -> Array4<u8> {
    Array4::from_shape_fn((n, 3, 256, 256), |(i, c, y, x)| {
        u8::try_from((i * 7 + (c + 1) * y + x * (i % 5)) & 0xff).unwrap()
    })
}

/// Writes `n` images in a layout, and returns their name.
fn write(ddim: &Ddim, layout: &str, n: usize) -> String {
    let name = format!("{n}{layout}");
    let path = ddim.path(&name);
    match layout {
        ".npy" => ndarray_npy::write_npy(path, &bytes(n)).unwrap(),
        "-floats.npy" => {
            let quarter = bytes(n).slice_move(s![.., .., ..128, ..128]);
            ndarray_npy::write_npy(path, &quarter.mapv(|x| f32::from(x) / 127.5 - 1.0)).unwrap();
        }
        ".npz" => {
            let mut npz = NpzWriter::new_compressed(File::create(path).unwrap());
            npz.add_array("arr_0", &bytes(n)).unwrap();
            npz.finish().unwrap();
        }
        "-ubyte.gz" => {
            let mut file = GzEncoder::new(File::create(path).unwrap(), Compression::fast());
            let sides = [0x0803, u32::try_from(n).unwrap(), 768, 256];
            file.write_all(&sides.map(u32::to_be_bytes).concat()).unwrap();
            file.write_all(bytes(n).as_slice().unwrap()).unwrap();
            file.finish().unwrap();
        }
        "-folder" => {
            fs::create_dir(&path).unwrap();
            for (i, image) in bytes(n).outer_iter().enumerate() {
                let bytes = image.permuted_axes([1, 2, 0]).iter().copied().collect();
                let image = RgbImage::from_raw(256, 256, bytes).unwrap();
                image.save(path.join(format!("{i:05}.png"))).unwrap();
            }
        }
        _ => panic!("{layout}"),
    }
    name
}

#[test]
fn no_set_of_images_takes_more_memory_than_a_batch_of_it() {
    // More than a batch, whose memory both have in common.
    const FEW: usize = 300;
    const MANY: usize = 900;
    // Half of what the others would take, were they held; the allocator's mood takes a fifth.
    let most = ((MANY - FEW) * STORED / 2) as u64;
    let ddim = Ddim::new();
    let features = repository("models/cifar10-features");
    let flags = ["--features", &features, "--resize", "squash:32", "--rgb", "--threads", "1"];
    for layout in [".npy", "-floats.npy", ".npz", "-ubyte.gz", "-folder"] {
        let sets = [FEW, MANY].map(|n| write(&ddim, layout, n));
        let stats = ["stats", "--out", "r.safetensors", "--quiet", "--data"];
        let evaluate = ["evaluate", "--reference", "r.safetensors", "--blocks", "4", "--quiet"];
        // Both read in one way; once is enough.
        let verbs =
            if layout == ".npy" { vec![&stats[..], &evaluate[..]] } else { vec![&stats[..]] };
        for verb in verbs {
            let [few, many] =
                [0, 1].map(|i: usize| ddim.peak(&[verb, &[sets[i].as_str()], &flags].concat()));
            eprintln!("{} of {layout}: {few} bytes, and {many}", verb[0]);
            assert!(many < few + most, "{layout}: {few} bytes, and {many} with {MANY} images");
        }
        for set in sets.map(|set| ddim.path(&set)) {
            if set.is_dir() {
                fs::remove_dir_all(set).unwrap();
            } else {
                fs::remove_file(set).unwrap();
            }
        }
    }
}
