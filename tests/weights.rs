//! Weights met through the binary: inspected, converted, sampled from, and fetched from a Hub that
//! this test plays.

#![cfg(feature = "harness")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use insta::assert_snapshot;
use support::{cases, checkpoints, program::Ddim};

/// `ddim` in an empty folder, with a Hub at this address.
fn with_hub(endpoint: &str) -> Ddim {
    Ddim::new()
        .with("HF_ENDPOINT", endpoint)
        .with("HF_HUB_OFFLINE", "")
        .naming(endpoint, "[endpoint]")
}

/// With a Hub where nothing answers: at port 1.
fn without_hub() -> Ddim {
    with_hub("http://127.0.0.1:1")
}

impl Ddim {
    fn golden(&self, name: &str) -> &Self {
        checkpoints::write(name, self.folder());
        self
    }

    /// Two samples of a model, to the byte.
    fn sample(&self, model: &str, more: &[&str]) -> Vec<u8> {
        let arguments = ["sample", "--model", model, "--steps", "2", "--samples", "2"];
        self.says(&[&arguments, more, &["--quiet", "--out", "x.npy"]].concat());
        fs::read(self.path("x.npy")).unwrap()
    }
}

#[test]
fn inspect_says_what_a_file_is() {
    let ddim = without_hub();
    ddim.golden("tiny_official_list.pth");
    assert_snapshot!(ddim.says(&["inspect", "tiny_official_list.pth"]).0, @r"
    file          tiny_official_list.pth (1,804,413 bytes)
    container     torch.save, zip
    sha256        3f6d5fb4d815d3ccd135c726e6240cf4a1cd2f78dcbfda2ed7a4d49656d9fa1d
    epoch         12
    step          34567
    weights       `[4]`, EMA: 142 tensors, 285,667 parameters, F32, official names
    taken as      the average, as the last place of the official list says; --raw for the other
    not used      `[0]`, raw: 142 tensors, 285,667 parameters, F16, official names under `module.`
    architecture  DDPM UNet, channels 32-32, 1 residual block a level, attention at level 1 and in the middle
    known from    names and shapes of the tensors; groups, heads and padding as in the official code
    meaning       no scheduler_config.json: eps on DDPM's linear schedule is assumed unless you say otherwise
    images        not stated: `model.shape = [3, H, W]`, --shape 3,H,W
    ");
    let list = ddim.says(&["inspect", "tiny_official_list.pth", "--raw", "--tensors"]).0;
    assert_eq!(list.lines().count(), 12 + 142);
    assert!(
        list.contains(
            "F16   [32, 32, 1, 1]         module.mid.attn_1.q.weight  \
             mid_block.attentions.0.to_q.weight"
        ),
        "{list}"
    );
    let json = ddim.says(&["inspect", "tiny_official_list.pth", "--json", "--tensors"]).0;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["parts"][1]["used"], true);
    assert_eq!(json["parts"][0]["element_types"]["F16"], 142);
    assert_eq!(json["architecture"]["block_out_channels"], serde_json::json!([32, 32]));
    assert_eq!(json["problem"], serde_json::Value::Null);
    assert_eq!(json["tensors"].as_array().unwrap().len(), 142);

    fs::copy(support::golden("eps.pt"), ddim.path("eps.pt")).unwrap();
    let program = ddim.says(&["inspect", "eps.pt"]).0;
    assert!(program.contains("a program, forward(x, t) -> eps"), "{program}");
}

#[test]
fn inspect_names_what_stands_in_the_way() {
    let ddim = without_hub();
    let features =
        format!("{}/models/cifar10-features/model.safetensors", env!("CARGO_MANIFEST_DIR"));
    let said = ddim.says(&["inspect", &features]).0;
    // The config.json beside it is that of a classifier.
    assert!(
        said.contains("in the way    [repository]/models/cifar10-features/config.json"),
        "{said}"
    );
    fs::copy(features, ddim.path("alone")).unwrap();
    let said = ddim.says(&["inspect", "alone"]).0;
    assert!(said.ends_with("in the way    there is no `down_blocks.0.resnets.0.conv1.weight`, which every DDPM UNet has"), "{said}");
    ddim.golden("tiny_zip.ckpt");
    assert_snapshot!(ddim.refuses(&["sample", "--model", "./tiny_zip.ckpt", "--raw", "--out", "x.npy"]), @"error: ./tiny_zip.ckpt holds no raw weights; it has one set that does not say what it is");
    assert_snapshot!(ddim.refuses(&["sample", "--model", "./tiny_zip.ckpt", "--out", "x.npy"]), @"error: ./tiny_zip.ckpt: nothing says how large its images are; say so: `model.shape = [3, 32, 32]` (--shape 3,32,32), or `sample_size` in its config.json");
    assert_snapshot!(ddim.refuses(&["sample", "--model", "./alone", "--out", "x.npy"]), @"error: ./alone: there is no `down_blocks.0.resnets.0.conv1.weight`, which every DDPM UNet has");
    assert_snapshot!(ddim.refuses(&["inspect", "absent"]), @"error: cannot read absent: No such file or directory (os error 2)");
}

#[test]
fn convert_writes_what_diffusers_writes() {
    let ddim = without_hub();
    ddim.golden("tiny_diffusers.safetensors");
    let theirs = fs::read(ddim.path("tiny_diffusers.safetensors")).unwrap();
    for name in ["tiny_zip.ckpt", "tiny_legacy.ckpt", "tiny_official_list.pth"] {
        ddim.golden(name);
        let out = format!("{name}-diffusers");
        ddim.says(&["convert", name, "--out", &out, "--sample-size", "8"]);
        let ours = ddim.path(&out).join("diffusion_pytorch_model.safetensors");
        assert!(fs::read(ours).unwrap() == theirs, "{name} is not what save_pretrained wrote");
        assert_eq!(fs::read_dir(ddim.path(&out)).unwrap().count(), 4);
        // The official code's networks are of eps, on the linear schedule.
        let said = ddim.says(&["inspect", &out]).0;
        assert!(said.contains("predicts eps; linear betas 0.0001 to 0.02, T = 1000"), "{said}");
    }
    let folder = "./tiny_zip.ckpt-diffusers";
    let said = ddim.says(&["inspect", folder]).0;
    assert!(said.contains("images        [3, 8, 8]"), "{said}");
    assert_eq!(ddim.sample(folder, &[]), ddim.sample("./tiny_legacy.ckpt", &["--shape", "3,8,8"]));

    // What is there stays there.
    let again = ["convert", "tiny_zip.ckpt", "--out", "tiny_zip.ckpt-diffusers"];
    assert_snapshot!(ddim.refuses(&again), @"error: --out tiny_zip.ckpt-diffusers: the folder is not empty; --force replaces the model's files in it");
    assert_snapshot!(ddim.refuses(&["convert", "tiny_zip.ckpt", "--out", "tiny_legacy.ckpt"]), @"error: --out tiny_legacy.ckpt: it is a file; name a folder");
    assert_snapshot!(ddim.refuses(&["convert", "tiny_zip.ckpt", "--out", "a/b"]), @"error: --out a/b: the folder a does not exist; create it first");
    fs::write(ddim.path("tiny_zip.ckpt-diffusers/README.md"), "mine").unwrap();
    ddim.says(&[&again[..], &["--half", "--force"]].concat());
    assert_eq!(fs::read(ddim.path("tiny_zip.ckpt-diffusers/README.md")).unwrap(), b"mine");
    let said = ddim.says(&["inspect", folder]).0;
    assert!(said.contains("285,667 parameters, F16, diffusers names"), "{said}");
    // A failed conversion leaves no folder.
    fs::write(ddim.path("broken.ckpt"), "PK").unwrap();
    ddim.refuses(&["convert", "broken.ckpt", "--out", "broken"]);
    assert!(!ddim.path("broken").exists());
}

/// A manifest of two small cells with this `[model]`.
fn manifest(ddim: &Ddim, model: &str) {
    let text = format!(
        "name = \"w\"\nsamples = 2\nbatch = 2\n\n[model]\n{model}\n\n[grid]\n\
         tau = \"official-uniform\"\nsteps = 2\n\n[solver]\nkind = \"ddim\"\n"
    );
    fs::write(ddim.path("w.toml"), text).unwrap();
}

#[test]
fn a_manifest_takes_any_source() {
    let ddim = without_hub();
    ddim.golden("tiny_official_list.pth");
    let source = "source = \"./tiny_official_list.pth\"\n";
    manifest(&ddim, &format!("{source}shape = [3, 8, 8]"));
    ddim.says(&["run", "w.toml", "--quiet", "--fresh"]);
    // The same file, other weights: another cell.
    let first = fs::read_to_string(ddim.path("results/w/metrics.csv")).unwrap();
    manifest(&ddim, &format!("{source}shape = [3, 8, 8]\nraw = true"));
    ddim.says(&["run", "w.toml", "--quiet", "--fresh"]);
    assert!(fs::read_to_string(ddim.path("results/w/metrics.csv")).unwrap() != first);

    manifest(&ddim, "source = \"gaussian\"\nshape = [3, 8, 8]\nmean = 0\nstd = 1\nraw = true");
    assert_snapshot!(ddim.refuses(&["check", "w.toml"]), @r#"
    error: `model.raw` does not apply to gaussian
      --> w.toml:10:1
       |
     6 | source = "gaussian"
       |          ---------- chosen here
    ...
    10 | raw = true
       | ^^^
       |
       = help: remove it
    "#);
    manifest(&ddim, &format!("{source}shape = [3, 8]"));
    assert_snapshot!(ddim.refuses(&["check", "w.toml"]), @r"
    error: `model.shape` must be three positive lengths, not `[3, 8]`
     --> w.toml:7:9
      |
    7 | shape = [3, 8]
      |         ^^^^^^
      |
      = help: samples are images of C channels, H x W: `shape = [3, 8, 8]`
    ");
    manifest(&ddim, "source = \"hf:only-one\"");
    assert_snapshot!(ddim.refuses(&["check", "w.toml"]), @r#"
    error: `hf:only-one` does not name a repository
     --> w.toml:6:10
      |
    6 | source = "hf:only-one"
      |          ^^^^^^^^^^^^^
      |
      = help: write `hf:owner/name`, `hf:owner/name/folder` or `hf:owner/name@revision`
    "#);
    manifest(&ddim, "source = \"hf:o/tiny\"");
    let (verdict, said) = ddim.says(&["check", "w.toml"]);
    assert_eq!(verdict, "w.toml: ok, 1 cells");
    let last = said.lines().last().unwrap();
    assert_eq!(last, "w.toml: hf:o/tiny is not here; a run downloads it");
}

/// A Hub on this machine with one repository, `o/tiny`, at the commit `c0ffee`.
struct Hub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn serve(files: Vec<(String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&asked);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                log.lock().unwrap().push(answer(stream.unwrap(), &files));
            }
        });
        Self { endpoint, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Answers one request, and returns what it asked for.
fn answer(mut stream: TcpStream, files: &[(String, Vec<u8>)]) -> String {
    let (mut path, mut first, mut last) = (String::new(), 0, None);
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(rest) = line.strip_prefix("GET ") {
            rest.split(' ').next().unwrap().clone_into(&mut path);
        }
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            let (from, to) = range.split_once('-').unwrap();
            first = from.parse().unwrap();
            last = to.parse::<usize>().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut headers = String::new();
    let (status, body) = match path.as_str() {
        "/api/models/o/tiny/revision/main" | "/api/models/o/tiny/revision/v2" => {
            let names: Vec<_> =
                files.iter().map(|(name, _)| serde_json::json!({"rfilename": name})).collect();
            let info = serde_json::json!({"sha": "c0ffee", "siblings": names, "other": 1});
            ("200 OK", info.to_string().into_bytes())
        }
        "/api/models/o/private/revision/main" => ("401 Unauthorized", vec![]),
        "/api/models/o/gated/revision/main" => ("403 Forbidden", vec![]),
        "/api/models/o/broken/revision/main" => ("500 Internal Server Error", vec![]),
        path => match path
            .strip_prefix("/o/tiny/resolve/c0ffee/")
            .and_then(|name| files.iter().find(|file| file.0 == name))
        {
            Some((name, bytes)) => {
                let end = last.map_or(bytes.len(), |last| last + 1);
                headers = format!(
                    "Content-Range: bytes {first}-{}/{}\r\nETag: \"{}\"\r\nX-Repo-Commit: c0ffee\r\n",
                    end - 1,
                    bytes.len(),
                    name.replace('/', "-")
                );
                ("206 Partial Content", bytes[first..end].to_vec())
            }
            None => ("404 Not Found", vec![]),
        },
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&body).unwrap();
    // The client closes first.
    let _ = stream.read(&mut [0]);
    path
}

/// What a pipeline says of a network of v.
const OF_V: &str = r#"{"_class_name": "DDIMScheduler", "prediction_type": "v_prediction",
    "beta_schedule": "scaled_linear", "clip_sample": false}"#;

fn hub() -> Hub {
    let folder = tempfile::tempdir().unwrap();
    let diffusers = checkpoints::write_folder(folder.path());
    let read = |name: &str| fs::read(diffusers.join(name)).unwrap();
    let (config, weights) = (read("config.json"), read("diffusion_pytorch_model.safetensors"));
    let own = vec![
        ("README.md", b"# tiny".to_vec()),
        ("sub/unet/config.json", config.clone()),
        ("sub/unet/diffusion_pytorch_model.safetensors", weights.clone()),
        ("config.json", config.clone()),
        ("diffusion_pytorch_model.safetensors", weights.clone()),
        ("of-v/unet/config.json", config.clone()),
        ("of-v/unet/diffusion_pytorch_model.safetensors", weights.clone()),
        ("of-v/scheduler/scheduler_config.json", OF_V.into()),
        ("files/alone.bin", weights),
        ("files/config.json", config),
    ];
    let own = own.into_iter().map(|(name, bytes)| (name.to_owned(), bytes));
    Hub::serve(own.chain(cases_of_the_hub()).collect())
}

/// A model in shards, and one with its average beside it.
fn cases_of_the_hub() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    cases::unpack(folder.path());
    let mut files = vec![];
    for inner in ["shards", "checkpoint-500/unet", "checkpoint-500/unet_ema"] {
        for entry in fs::read_dir(folder.path().join(inner)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn a_model_of_the_hub_is_downloaded_once() {
    let hub = hub();
    let mut ddim = with_hub(&hub.endpoint);
    let (_, said) = ddim.says(&[
        "sample",
        "--model",
        "hf:o/tiny",
        "--steps",
        "2",
        "--samples",
        "2",
        "--out",
        "y.npy",
    ]);
    assert_snapshot!(said, @r"
    downloading hf:o/tiny: config.json (0.0 MB)
    downloading hf:o/tiny: diffusion_pytorch_model.safetensors (1.2 MB)
    warning: samples start from pure noise at t = 500, where alpha_bar = 0.078 leaves 0.28 of the image's amplitude: choose a `grid.tau` that starts at a higher timestep, or more steps
    note: hf:o/tiny has no scheduler_config.json; assumed: it predicts eps; the linear schedule, betas 0.0001 to 0.02, T = 1000. To confirm, set `model.prediction` and `schedule.kind`
    wrote y.npy
    ");
    let file = "/o/tiny/resolve/c0ffee";
    let weights = format!("{file}/diffusion_pytorch_model.safetensors");
    let config = format!("{file}/config.json");
    let asked = hub.asked();
    assert_eq!(asked[0], "/api/models/o/tiny/revision/main");
    assert!(asked[1..].iter().all(|path| *path == weights || *path == config), "{asked:?}");

    // From now on nothing is asked, and the samples are those of the same weights in a folder.
    ddim = ddim.with("HF_HUB_OFFLINE", "1");
    let expected = {
        let folder = checkpoints::write_folder(ddim.folder());
        ddim.sample(folder.to_str().unwrap(), &[])
    };
    assert!(ddim.sample("hf:o/tiny", &[]) == expected);
    assert!(hub.asked().is_empty());
    assert_snapshot!(ddim.refuses(&["inspect", "hf:o/tiny@v2"]), @"error: hf:o/tiny@v2 is not in the folder [dir]/hub/hub, and HF_HUB_OFFLINE forbids to download it");
    ddim = ddim.with("HF_HUB_OFFLINE", "");

    // Another revision, a folder, a file.
    assert!(ddim.sample("hf:o/tiny@v2", &[]) == expected);
    assert_eq!(hub.asked(), ["/api/models/o/tiny/revision/v2"], "the commit was here");
    assert!(ddim.sample("hf:o/tiny/sub", &[]) == expected);
    assert!(ddim.sample("hf:o/tiny/files/alone.bin", &["--shape", "3,8,8"]) == expected);
    manifest(&ddim, "source = \"hf:o/tiny\"");
    ddim.says(&["run", "w.toml", "--quiet", "--fresh"]);

    // What says what it predicts comes with it, of a pipeline and of its network alone.
    let of_v = ["--prediction", "v", "--schedule", "scaled-linear"];
    let of_v = ddim.sample("hf:o/tiny", &of_v);
    for part in ["hf:o/tiny/of-v", "hf:o/tiny/of-v/unet"] {
        let (_, said) = ddim.says(&["inspect", part, "-q"]);
        assert!(!said.contains("warning"), "{said}");
        assert!(ddim.sample(part, &[]) == of_v, "{part}");
    }
    assert!(of_v != expected);

    // All shards of an index; the average or the network beside it, both fetched at once.
    cases::unpack(ddim.folder());
    assert!(ddim.sample("hf:o/tiny/shards", &[]) == ddim.sample("./shards", &[]));
    assert!(ddim.sample("hf:o/tiny/checkpoint-500", &[]) == ddim.sample("./checkpoint-500", &[]));
    hub.asked();
    let raw = ddim.sample("hf:o/tiny/checkpoint-500", &["--raw"]);
    assert!(raw == ddim.sample("./checkpoint-500/unet", &[]));
    assert!(hub.asked().is_empty());
}

#[test]
fn what_diffusers_samples_is_sampled_and_what_is_doubtful_is_said() {
    let ddim = without_hub();
    cases::unpack(ddim.folder());
    let reference = cases::reference(ddim.folder());
    reference["x"].write_npy(ddim.path("x_T.npy")).unwrap();
    for model in [
        "score_sde/ckpt.pt",
        "checkpoint-500",
        "process/ckpt.pt",
        "averaged_model/ckpt.pt",
        "process",
        "averaged_model",
        "shards",
        "shards_bin",
        "f64/ckpt.pt",
    ] {
        let model = format!("./{model}");
        let from = ["--latents", "x_T.npy", "--tau", "leading", "--steps", "4", "--out", "o.npy"];
        ddim.says(&[&["sample", "--model", &model], &from[..]].concat());
        let found = tch::Tensor::read_npy(ddim.path("o.npy")).unwrap();
        let off = (found - &reference["sampled"]).abs().max().double_value(&[]);
        assert!(off < 1e-4, "{model}: {off:e}");
    }

    // What is said unasked, with -v, and never when quiet.
    let sample = ["sample", "--steps", "1", "--samples", "1", "--out", "y.npy", "--model"];
    let said = |model: &str, more: &str| ddim.says(&[&sample[..], &[model, more]].concat()).1;
    let beside = "warning: ./average_beside: ./average_beside/ema_weights.safetensors is an average by \
                  its name, and is not read: name it to take it";
    assert!(said("./average_beside", "--threads=1").contains(beside));
    assert_eq!(said("./average_beside", "--quiet"), "");
    let named = said("./checkpoint-500/unet", "--threads=1");
    let average = "./checkpoint-500/unet_ema is an average by its name, and is not read";
    assert!(named.contains(average), "{named}");
    let verbose = said("./process/ckpt.pt", "-v");
    assert!(verbose.contains("left out, no weights: `betas`, `alphas_cumprod`"), "{verbose}");
    let contradiction = "warning: ./process/ckpt.pt: `betas` beside its weights contradicts the schedule in \
                         use: it has 10 timesteps, not 1000; they are those of `schedule.kind = \
                         \"linear\"`, T = 10 (`schedule.horizon`)";
    assert!(verbose.contains(contradiction), "{verbose}");
    manifest(&ddim, "source = \"./average_beside\"");
    assert!(ddim.says(&["run", "w.toml"]).1.contains(beside));

    assert_snapshot!(ddim.says(&["inspect", "score_sde/ckpt.pt"]).0, @r"
    file          score_sde/ckpt.pt (73,404 bytes)
    container     torch.save, zip
    sha256        07fe7d3ee376d9f1a9a960160a6e66cb0e52a39a992f7fb03707c83f625078a8
    step          9
    weights       `ema.shadow_params`, EMA: 94 tensors, 3,123 parameters, F32, diffusers names under `module.`
    taken as      the average, as the key `shadow_params` says; --raw for the other
    not used      `model`, raw: 94 tensors, 3,123 parameters, F32, diffusers names under `module.`
    architecture  DDPM UNet, channels 4, 1 residual block a level, attention at level none on the way down, 0 on the way up and in the middle
    known from    score_sde/config.json
    meaning       no scheduler_config.json: eps on DDPM's linear schedule is assumed unless you say otherwise
    images        [3, 8, 8]
    ");
    assert_snapshot!(ddim.says(&["inspect", "shadow_of_others/ckpt.pt"]).0, @r"
    file          shadow_of_others/ckpt.pt (76,358 bytes)
    container     torch.save, zip
    sha256        d4aa29d0bdabf9fbfbed42a7b0dd014f40d6717aed5850975510ecbe45d370a3
    not used      `model`, raw: 94 tensors, 3,123 parameters, F32, diffusers names
    average       `ema.shadow_params`: it is a list of 93 tensors, which do not fit the 94 of `model` in their order
    in the way    shadow_of_others/ckpt.pt holds an average in `ema.shadow_params`, which cannot be read: it is a list of 93 tensors, which do not fit the 94 of `model` in their order; --raw (`model.raw = true`) takes the weights as they were trained, or save the average by itself as a state_dict
    ");
    assert_snapshot!(ddim.says(&["inspect", "shards"]).0, @r"
    file          shards/diffusion_pytorch_model.safetensors.index.json (30,386 bytes)
    container     safetensors, 3 shards
    shard         shards/diffusion_pytorch_model-00001-of-00003.safetensors
    shard         shards/diffusion_pytorch_model-00002-of-00003.safetensors
    shard         shards/diffusion_pytorch_model-00003-of-00003.safetensors
    sha256        b8edbcbada0a54a2dd916b148a99187e13e801ab7e640935bf1e67ec245eeef8
    weights       94 tensors, 3,123 parameters, F32, diffusers names
    taken as      the one set that there is; nothing says what it is
    architecture  DDPM UNet, channels 4, 1 residual block a level, attention at level none on the way down, 0 on the way up and in the middle
    known from    shards/config.json
    meaning       no scheduler_config.json: eps on DDPM's linear schedule is assumed unless you say otherwise
    images        [3, 8, 8]
    ");
    assert_snapshot!(ddim.refuses(&["sample", "--model", "./no_config/unet.safetensors", "--out", "x.npy"]), @r#"
    error: ./no_config/unet.safetensors: its tensors have diffusers' names, and without a config.json nothing says what leaves no trace in tensors (groups, epsilon, heads, padding, the order of sine and cosine): a wrong guess gives wrong images. Put the config.json that was saved with the network beside the file. If it is lost, write there
      {"sample_size":null,"in_channels":3,"out_channels":3,"block_out_channels":[4],"layers_per_block":1,"down_block_types":["DownBlock2D"],"up_block_types":["AttnUpBlock2D"]}
    and what the network was trained with, where that is not diffusers' default: norm_num_groups 32, norm_eps 1e-5, attention_head_dim 8, downsample_padding 1, flip_sin_to_cos true, freq_shift 0 (the DDPM networks have 32, 1e-6, null, 0, false, 1)
    "#);
    let (_, said) = ddim.says(&["convert", "shards", "--out", "whole"]);
    assert!(said.contains("no scheduler_config.json was written"), "{said}");
    let said_so = ["--prediction", "v", "--schedule", "cosine"];
    ddim.says(&[&["convert", "shards", "--out", "of-v"], &said_so[..]].concat());
    assert_eq!(ddim.sample("./of-v", &[]), ddim.sample("./whole", &said_so));
    assert_eq!(ddim.sample("./whole", &[]), ddim.sample("./shards", &[]));
}

#[test]
fn what_the_hub_does_not_give_ends_in_one_message() {
    let hub = hub();
    let ddim = with_hub(&hub.endpoint);
    assert_snapshot!(ddim.refuses(&["inspect", "hf:o/absent"]), @"error: hf:o/absent: the Hub shows no such repository or revision (status 404): check the name; for a private one, log in with the Hub's own tool or set HF_TOKEN");
    assert_snapshot!(ddim.refuses(&["inspect", "hf:o/private"]), @"error: hf:o/private: the Hub shows no such repository or revision (status 401): check the name; for a private one, log in with the Hub's own tool or set HF_TOKEN");
    assert_snapshot!(ddim.refuses(&["inspect", "hf:o/gated"]), @"error: hf:o/gated: the Hub refuses it (status 403); accept the terms on its page, and log in with the Hub's own tool or set HF_TOKEN");
    assert_snapshot!(ddim.refuses(&["inspect", "hf:o/broken"]), @"error: hf:o/broken: cannot download it: it answers with status 500; on a machine with a network the same command fills the folder [dir]/hub/hub, which can be copied here (HF_ENDPOINT names a mirror)");
    assert_snapshot!(ddim.refuses(&["inspect", "hf:o/tiny/absent"]), @"error: hf:o/tiny/absent: there is no file or folder of a model there (config.json with diffusion_pytorch_model.safetensors or .bin, or a file named in full); the repository has README.md, sub/unet/config.json, sub/unet/diffusion_pytorch_model.safetensors, config.json, diffusion_pytorch_model.safetensors, of-v/unet/config.json and 13 more");
    assert_snapshot!(ddim.refuses(&["inspect", "hf:o"]), @"error: `hf:o` names no repository; write hf:owner/name, hf:owner/name/path or ...@revision");
    let nobody = without_hub();
    assert_snapshot!(nobody.refuses(&["sample", "--model", "hf:o/tiny", "--out", "x.npy"]), @"error: hf:o/tiny: cannot download it: io: Connection refused (os error 111); on a machine with a network the same command fills the folder [dir]/hub/hub, which can be copied here (HF_ENDPOINT names a mirror)");
}
