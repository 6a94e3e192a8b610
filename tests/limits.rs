//! What lies beyond the limits of `docs/limits.md`, met as a user meets it: files that claim or
//! unfold to more than there is, and requests that no machine could answer, each refused at once.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{fmt::Write as _, fs, io::Write as _, process::Command};

use ddim::{
    diagnostic::Diagnostics,
    manifest::{Argument, Manifest, Vocabulary},
    networks::checkpoint::Checkpoint,
    plan::Plan,
    run::{assemble, registry::Registry, runner},
    train::recipe::Recipe,
};
use flate2::{Compression, Crc, write::GzEncoder};
use insta::assert_snapshot;
use support::program::{Ddim, repository};

const BASE: &str = r#"name = "big"
samples = 4
batch = 4
[model]
source = "gaussian"
mean = 0.1
std = 0.5
shape = [1, 2, 2]
[grid]
tau = "linspace"
steps = 5
[solver]
kind = "ddim"
"#;

const TRAINING: &str = r#"name = "t"
task = "denoiser"
[data]
source = "mnist"
[network]
channels = [8, 16]
[budget]
images = 1000
"#;

/// The words of a manifest, without a look at any folder.
fn words() -> Vocabulary {
    let words = assemble::vocabulary(&Registry::shipped());
    Vocabulary { weights: None, stated: None, precision: None, ..words }
}

fn plan(text: &str, sets: &[&str]) -> Result<Plan, Diagnostics> {
    let sets: Vec<Argument> = sets.iter().map(|set| Argument::set(*set)).collect();
    Manifest::parse("big.toml", text)?.plan(None, &sets, &words())
}

fn problem(text: &str, sets: &[&str]) -> String {
    plan(text, sets).unwrap_err().render(false)
}

fn list(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
}

#[test]
fn no_key_takes_more_than_its_limit() {
    let sample = [
        ("samples", "10,000,000"),
        ("batch", "1,000,000"),
        ("schedule.horizon", "1,000,000"),
        ("grid.steps", "1,000,000"),
        ("grid.calls", "10,000,000"),
        ("points", "10,000"),
        ("solver.iterations", "10,000"),
        ("metrics.blocks", "1,000"),
        ("solution.steps", "1,000,000"),
        ("solution.calls", "10,000,000"),
    ];
    for number in ["10000000000", "4611686018427387904"] {
        for (key, most) in sample {
            let message = format!("error: `{key}` must be at most {most}, not {number}\n");
            let task = format!("task={}", if key == "points" { "interpolate" } else { "sample" });
            let tau = if key.starts_with("solution") { "solution" } else { "grid" };
            let tau = format!("{tau}.tau=leading");
            let error = problem(BASE, &[&task, &tau, &format!("{key}={number}")]);
            assert!(error.contains(&message), "{error}");
        }
        let error = problem(BASE, &[&format!("model.shape=[3, {number}, 8]")]);
        assert!(error.contains("`model.shape` must be at most 65,536"), "{error}");
        for (key, most) in [
            ("batch", "1,000,000"),
            ("data.shift", "1,024"),
            ("network.groups", "8,192"),
            ("schedule.horizon", "1,000,000"),
            ("optimiser.warmup", "5,000,000,000"),
            ("budget.images", "5,000,000,000"),
            ("watch.log", "5,000,000,000"),
            ("watch.every", "5,000,000,000"),
            ("watch.samples", "10,000"),
            ("watch.steps", "1,000,000"),
            ("watch.fd_samples", "1,000,000"),
            ("watch.checkpoint", "31,536,000"),
        ] {
            let set = Argument::set(format!("{key}={number}"));
            let error = Recipe::parse("t.toml", TRAINING, &[set]).unwrap_err().render(false);
            let message = format!("`{key}` must be at most {most}, not {number}\n");
            assert!(error.contains(&message), "{error}");
        }
    }
    let minutes = Argument::set("budget.minutes=1e300");
    let error = Recipe::parse("t.toml", TRAINING, &[minutes]).unwrap_err().render(false);
    assert!(error.contains("`budget.minutes` must be at most 525,600, not 1e300"), "{error}");
    // Above 2^63 there are no whole numbers at all.
    assert!(problem(BASE, &["samples=18446744073709551615"]).contains("too large"));
    // A million samples, ten thousand steps and a million levels are none of this.
    plan(BASE, &["samples=1000000", "grid.steps=10000", "schedule.horizon=1000000"]).unwrap();
}

#[test]
fn what_is_fine_alone_may_be_too_much_together() {
    let error = problem(BASE, &["model.shape=[3, 60000, 60000]"]);
    assert!(error.contains("`model.shape` must be of at most 268,435,456 numbers"), "{error}");
    let error = problem(BASE, &["model.shape=[3, 256, 256]", "batch=1000000", "samples=50000"]);
    assert!(error.contains("50000 samples of shape [3, 256, 256] are 9,830,400,000 numbers"));
    let error = problem(BASE, &["model.shape=[3, 2048, 2048]", "samples=10000000"]);
    assert!(error.contains("at most 4,398,046,511,104 are accepted"), "{error}");
    // Only as many as there are samples are in a call.
    plan(BASE, &["model.shape=[3, 256, 256]", "batch=1000000", "samples=500"]).unwrap();
}

#[test]
fn a_large_sweep_is_planned_and_a_larger_one_refused() {
    let two = format!("{BASE}[sweep]\n\"grid.steps\" = [{}]\nseed = ", list(2..102));
    let plan = plan(&format!("{two}[{}]\n", list(0..100)), &[]).unwrap();
    assert_eq!(plan.cells.len(), 10_000);
    runner::check(&plan, &Registry::shipped()).unwrap();
    // Each still knows where its values were written.
    let last = &plan.cells[9_999];
    assert_eq!(last.locate("seed").text(), "99");
    assert_eq!(last.locate("grid.steps").text(), "101");
    let error = problem(&format!("{two}[{}]\n", list(0..101)), &[]);
    assert!(error.contains("the sweep has 10100 cells (100 x 101)"), "{error}");
    assert!(error.contains("at most 10000 are accepted"), "{error}");
    // The product of these does not fit into any number.
    let mut axes = format!("{BASE}[sweep]\n");
    for axis in 0..64 {
        writeln!(axes, "\"model.x{axis}\" = [{}]", list(0..100)).unwrap();
    }
    assert!(problem(&axes, &[]).contains("the sweep has 340282366920938463463374607431768211455"));
    axes.push_str("seed = [1]\n");
    assert!(problem(&axes, &[]).contains("the sweep has 65 axes"));
    let error = problem(&format!("{BASE}[sweep]\nseed = [{}]\n", list(0..100_000)), &[]);
    assert!(error.contains("the sweep has 100000 cells"), "{error}");
    let error = problem(&format!("{BASE}[sweep]\nseed = [{}]\n", "1, ".repeat(100_000)), &[]);
    assert!(error.contains("two entries called `1`"), "{error}");
    assert!(error.ends_with("and 99900 more problems"), "{}", &error[error.len() - 200..]);
}

#[test]
fn what_every_cell_and_profile_repeats_counts_too() {
    let betas = "0.01, ".repeat(3000);
    let long = format!(
        "{BASE}[schedule]\nkind = \"betas\"\nbetas = [{betas}]\n[sweep]\nseed = [{}]\n",
        list(0..10_000)
    );
    let error = problem(&long, &[]);
    assert!(error.contains("the cells of the sweep have 30"), "{error}");
    assert!(error.contains("at most 20000000 are accepted"), "{error}");
    let mut profiles = format!("{BASE}[sweep]\nseed = [{}]\n", list(0..10_000));
    for profile in 0..5 {
        writeln!(profiles, "[profile.p{profile}]\nsamples = {}", profile + 5).unwrap();
    }
    let error = problem(&profiles, &[]);
    assert!(error.contains("the manifest has 60000 cells and more under its profiles"), "{error}");
}

#[test]
fn a_manifest_that_no_one_wrote_is_refused_by_its_size_and_depth() {
    let ddim = Ddim::new();
    ddim.write("m.toml", format!("{BASE}{}", "#".repeat(10_000_000)));
    assert_snapshot!(ddim.fails(2, &["run", "m.toml"]), @"error: cannot read the manifest m.toml: it is longer than 1 MiB, which no text of its kind is");
    let deep = problem(&format!("{BASE}x = {}", "[".repeat(200_000)), &[]);
    assert!(deep.contains("not valid TOML"), "{}", &deep[..200]);
    let dotted = problem(&format!("{}x = 1\n", "a.".repeat(100_000)), &[]);
    assert!(dotted.contains("not valid TOML"), "{}", &dotted[..200]);
    let mut keys = BASE.to_owned();
    for key in 0..2_001 {
        writeln!(keys, "k{key} = 1").unwrap();
    }
    let error = problem(&keys.replacen("[grid]", "[grid]\n[solver.x]\n[other]\n", 1), &[]);
    assert!(error.contains("2,002 keys") || error.contains("2,003 keys"), "{error}");
}

#[test]
fn no_flag_takes_more_than_its_limit() {
    let ddim = Ddim::new();
    let exact = ["--model", "gaussian", "--std", "0.5", "--mean", "0.3"];
    let sample = |flags: &[&str]| {
        let arguments = [&["sample"], &exact[..], flags, &["--out", "a.npy"]].concat();
        ddim.fails(2, &arguments)
    };
    for flag in ["--samples", "--batch", "--steps"] {
        let error = sample(&["--shape", "3,8,8", flag, "10000000000"]);
        assert!(error.contains("must be at most"), "{error}");
    }
    let error = sample(&["--shape", "3,4611686018427387904,8"]);
    assert!(error.contains("must be at most 65,536"), "{error}");
    assert_snapshot!(ddim.fails(2, &["interpolate", "--seeds", "1,2", "--points", "10000000000", "--model", "gaussian", "--out", "a.png"]), @"
    error: invalid value '10000000000' for '--points <N>': it is at most 1,000

    For more information, try '--help'.
    ");
    for arguments in [
        &["speed", "--model", "x", "--steps", "10000000000"][..],
        &["evaluate", "x.npy", "--blocks", "99999999999999999999999"],
        &["stats", "--data", "x", "--out", "y", "--keep", "4611686018427387904"],
        &["reconstruct", "x", "--model", "y", "--out", "z.csv", "--show", "10000000000"],
        &["compile", "x", "--batch", "2000000"],
    ] {
        let error = ddim.fails(2, arguments);
        assert!(error.contains("invalid value"), "{error}");
    }
    assert!(ddim.names().is_empty());
}

#[test]
fn a_network_of_images_beyond_reason_is_refused_by_its_configuration() {
    let ddim = Ddim::new();
    let model = repository("models/cifar10-small");
    fs::create_dir(ddim.path("net")).unwrap();
    let weights = "diffusion_pytorch_model.safetensors";
    fs::copy(format!("{model}/{weights}"), ddim.path("net").join(weights)).unwrap();
    let config = fs::read_to_string(format!("{model}/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let mut refusal = |size: u64| {
        config["sample_size"] = size.into();
        ddim.write("net/config.json", config.to_string());
        ddim.fails(2, &["sample", "--model", "./net", "--out", "a.npy"])
    };
    for size in [10_000_000_000, 1 << 62, u64::MAX] {
        let error = refusal(size);
        assert!(error.contains(&format!("`sample_size` is {size}")), "{error}");
        assert!(error.contains("null, an integer from 1 to 65536"), "{error}");
    }
    assert!(refusal(16_384).contains("images of at most 268435456 numbers"));
    // 1,000,000 images of 32 x 32 at once are fewer numbers than the limit, of 256 x 256 more.
    refused_batch(&ddim, &mut refusal);
}

/// A batch that only the network's own size makes too large.
fn refused_batch(ddim: &Ddim, write: &mut impl FnMut(u64) -> String) {
    let _ = write(16_384);
    let text = fs::read_to_string(ddim.path("net/config.json")).unwrap();
    ddim.write("net/config.json", text.replace("16384", "4096"));
    let error = ddim.fails(
        2,
        &["sample", "--model", "./net", "--samples", "1000", "--batch", "1000", "--out", "a.npy"],
    );
    assert!(error.contains("1000 images of [3, 4096, 4096] in one model call"), "{error}");
}

/// Runs the program with this much memory, in KiB, to take or to map, and returns what it says of its
/// failure.
fn within(ddim: &Ddim, memory: u64, arguments: &[&str]) -> String {
    let done = ddim.after(&format!("ulimit -v {memory}")).args(arguments).output().unwrap();
    let message = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{arguments:?}: {message}");
    message
}

/// LibTorch maps 2 GB before it does anything.
const SMALL: u64 = 4_500_000;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A PNG that claims a size, and holds one empty row.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], content: &[u8]| {
        file.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(content);
        file.extend(kind);
        file.extend(content);
        file.extend(crc.sum().to_be_bytes());
    };
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&sides[..], &[8, 6, 0, 0, 0]].concat());
    chunk(b"IDAT", &[0x78, 0x9c, 0x63, 0, 0, 0, 1, 0, 1]);
    chunk(b"IEND", &[]);
    file
}

#[test]
fn what_unfolds_without_end_takes_no_memory() {
    let ddim = Ddim::new();
    let features = repository("models/cifar10-features");
    let stats = |data: &str| {
        within(&ddim, SMALL, &["stats", "--data", data, "--features", &features, "--out", "r"])
    };
    // 16 MiB of zeros in 16 KiB, a hundred times.
    let zeros = vec![0; 16 << 20];
    let member = gzip(&zeros);
    let mut bomb = gzip(b"\0\0\x08\x03\0\0\x80\0\0\0\x80\0\0\0\x01\0");
    bomb.extend(member.repeat(100));
    ddim.write("train-images-idx3-ubyte.gz", &bomb);
    let error = stats("train-images-idx3-ubyte.gz");
    assert!(error.contains("it unfolds to more than 1073741824 bytes"), "{error}");
    assert!(error.contains("unpack it with gunzip"), "{error}");
    assert!(!error.contains("damaged") && !error.contains("fetch it"), "{error}");
    // An archive whose one file is as long.
    let mut header = [0_u8; 512];
    header[..14].copy_from_slice(b"test_batch.bin");
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(b"14400000000");
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(&header).unwrap();
    for _ in 0..66 {
        encoder.write_all(&zeros).unwrap();
    }
    ddim.write("cifar-10-binary.tar.gz", encoder.finish().unwrap());
    let error = within(
        &ddim,
        SMALL,
        &[
            "stats",
            "--data",
            "cifar-10-binary.tar.gz",
            "--split",
            "test",
            "--features",
            &features,
            "--out",
            "r",
        ],
    );
    assert!(error.contains("it unfolds to more than 1073741824 bytes"), "{error}");
    assert!(error.contains("unpack it with tar") && !error.contains("damaged"), "{error}");
    // Images, each of one row that claims to be many.
    for (width, height) in [(13_000, 13_000), (1 << 30, 1 << 30), (67_108_865, 1)] {
        fs::create_dir_all(ddim.path("images")).unwrap();
        ddim.write("images/a.png", png(width, height));
        let error = stats("images");
        let said = format!("it says that it has {width} x {height} pixels; at most 67108864 are");
        let beyond = "decoding it takes more memory than 67108864 pixels do";
        assert!(error.contains(&said) || error.contains(beyond), "{error}");
    }
    // Columns that would become thousands of times as wide.
    let column = ["P5 1 2000000 255\n".as_bytes(), &vec![0; 2_000_000]].concat();
    fs::remove_file(ddim.path("images/a.png")).unwrap();
    ddim.write("images/a.pgm", column);
    for mode in ["resize-crop:4096", "squash:4096"] {
        let error = within(
            &ddim,
            SMALL,
            &["stats", "--data", "images", "--resize", mode, "--features", &features, "--out", "r"],
        );
        assert!(error.contains("images/a.pgm: resizing an image this narrow takes"), "{error}");
    }
    assert!(!ddim.path("r").exists());
}

#[test]
fn what_a_file_claims_is_compared_with_its_length() {
    let ddim = Ddim::new();
    let features = repository("models/cifar10-features");
    let npy = |shape: &str| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), &[0; 16]].concat()
    };
    for shape in
        ["(100000000, 3, 16, 16)", "(0, 3, 9223372036854775807, 9223372036854775807)", "(5,)"]
    {
        ddim.write("x.npy", npy(shape));
        let arguments = ["stats", "--data", "x.npy", "--features", features.as_str(), "--out", "r"];
        let error = within(&ddim, SMALL, &arguments);
        assert!(error.contains("x.npy") && error.contains("it is damaged"), "{error}");
        let arguments = [
            "sample",
            "--model",
            "gaussian",
            "--mean",
            "0",
            "--std",
            "1",
            "--shape",
            "3,16,16",
            "--latents",
            "x.npy",
            "--out",
            "a.npy",
        ];
        let error = within(&ddim, SMALL, &arguments);
        assert!(error.contains("x.npy"), "{error}");
    }
    // Safetensors whose header is said to be longer than the file, or 100 MB and more.
    for length in [1_u64 << 39, 1 << 20] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{\"a\":{}}");
        ddim.write("x.safetensors", bytes);
        let error = within(&ddim, SMALL, &["inspect", "x.safetensors"]);
        assert!(error.contains("x.safetensors"), "{error}");
    }
    // A pickle of 4 MB: one tensor of long axes, and then that tensor a million times.
    let mut pickle = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00".to_vec();
    pickle.extend(b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQq\x01");
    pickle.extend(b"(h\x01K\x00(");
    pickle.extend(b"K\x01".repeat(16));
    pickle.extend(b"t(");
    pickle.extend(b"K\x01".repeat(16));
    pickle.extend(b"ttq\x02(");
    pickle.extend(b"h\x00h\x02R".repeat(1_500_000));
    pickle.extend(b"l.");
    let legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    ddim.write("x.ckpt", [&legacy[..], &pickle].concat());
    let error = within(&ddim, SMALL, &["inspect", "x.ckpt"]);
    assert!(error.contains("pickle: it") && error.contains(" more than "), "{error}");
}

/// An archive of stored records, and where the central directory has the entry of each.
fn archive(records: &[(&str, Vec<u8>)]) -> (Vec<u8>, Vec<usize>) {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in records {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(content).unwrap();
    }
    let bytes = writer.finish().unwrap().into_inner();
    let entries = bytes.windows(4).enumerate().filter(|(_, four)| four == b"PK\x01\x02");
    let entries = entries.map(|(place, _)| place).collect();
    (bytes, entries)
}

#[test]
fn records_that_share_their_bytes_are_no_larger_than_the_file() {
    // Ten tensors of 25,000 numbers each; the records of nine are said to be that of the first.
    let mut pickle = b"\x80\x02}(".to_vec();
    for key in 0..10 {
        pickle.extend(format!("X\x02\0\0\0w{key}ctorch._utils\n_rebuild_tensor_v2\n(").bytes());
        pickle.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\n");
        pickle.extend(format!("X\x01\0\0\0{key}X\x03\0\0\0cpuM").bytes());
        pickle.extend(25_000_u16.to_le_bytes());
        pickle.extend(b"tQK\0(M");
        pickle.extend(25_000_u16.to_le_bytes());
        pickle.extend(b"t(K\x01ttR");
    }
    pickle.extend(b"u.");
    let names: Vec<String> = (0..10).map(|key| format!("x/data/{key}")).collect();
    let mut records = vec![("x/data.pkl", pickle)];
    records.extend(names.iter().map(|name| (name.as_str(), vec![0])));
    records[1].1 = vec![0; 100_000];
    let (mut bytes, entries) = archive(&records);
    let first = bytes[entries[1]..entries[1] + 46].to_vec();
    for &entry in &entries[2..] {
        // The checksum, both lengths, and the place of the record.
        for field in [16..28, 42..46] {
            bytes[entry + field.start..entry + field.end].copy_from_slice(&first[field]);
        }
    }
    let ddim = Ddim::new();
    ddim.write("x.pt", bytes);
    let file = Checkpoint::open(&ddim.path("x.pt")).unwrap();
    let error = file.load(&file.parts[0]).unwrap_err().to_string();
    assert!(error.contains("is in a storage for which the file is too short"), "{error}");
}

#[test]
fn an_archive_says_how_long_its_arrays_are_and_is_not_believed() {
    let ddim = Ddim::new();
    let (mut bytes, entries) = archive(&[("arr_0.npy", vec![0; 1000])]);
    // 4 GB, in a compressed record of 1000 bytes.
    bytes[entries[0] + 24..entries[0] + 28].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    ddim.write("x.npz", bytes);
    let features = repository("models/cifar10-features");
    let arguments = ["stats", "--data", "x.npz", "--features", features.as_str(), "--out", "r"];
    let error = within(&ddim, SMALL, &arguments);
    assert!(error.contains("`arr_0`: it unfolds to more than 1073741824 bytes"), "{error}");
}

#[test]
fn what_is_no_file_is_no_reference_no_features_and_no_list() {
    let ddim = Ddim::new();
    let done = Command::new("mkfifo").arg(ddim.path("pipe.npz")).status().unwrap();
    assert!(done.success());
    fs::hard_link(ddim.path("pipe.npz"), ddim.path("pipe.csv")).unwrap();
    fs::hard_link(ddim.path("pipe.npz"), ddim.path("pipe.pth")).unwrap();
    let features = repository("models/cifar10-features");
    ddim.write("cifar-10-binary.tar.gz", gzip(b"x"));
    let images = ndarray::Array4::<u8>::from_shape_fn((4, 3, 32, 32), |(n, _, h, w)| {
        u8::try_from((n + h * w) % 251).unwrap()
    });
    let mut npy = vec![];
    ndarray_npy::WriteNpyExt::write_npy(&images, &mut npy).unwrap();
    ddim.write("x.npy", npy);
    for arguments in [
        &["evaluate", "x.npy", "--blocks", "2", "--reference", "pipe.npz"][..],
        &["evaluate", "x.npy", "--blocks", "2", "--reference", "/dev/zero"],
        &["stats", "--data", "x.npy", "--features", "pipe.pth", "--out", "r"],
        &[
            "stats",
            "--data",
            "cifar-10-binary.tar.gz",
            "--exclude",
            "pipe.csv",
            "--features",
            &features,
            "--out",
            "r",
        ],
        &["train", "pipe.csv"],
        &["plan", "/dev/zero"],
    ] {
        // Not by `fails`, which reads every file of the folder.
        let done = ddim.command().args(arguments).output().unwrap();
        let error = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains("and no file"), "{arguments:?}: {error}");
    }
}
