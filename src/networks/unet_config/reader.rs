//! The fields of a `config.json`, taken out one by one.

use serde_json::{Map, Value};

use crate::limits;
use crate::networks::unet_config::{FieldProblem, MOST_LAYERS, MOST_LEVELS, UnetConfig};

/// Numbers of one image.
#[allow(clippy::cast_possible_wrap, reason = "2^28")]
const NUMBERS: i64 = limits::NUMBERS as i64;

/// Fields that change nothing when a trained network is run; the last seven are those of diffusers'
/// `EMAModel`, which writes them beside the network's into `unet_ema/config.json`.
const IGNORED: [&str; 11] = [
    "_diffusers_version",
    "_name_or_path",
    "dropout",
    "num_train_timesteps",
    "decay",
    "inv_gamma",
    "min_decay",
    "optimization_step",
    "power",
    "update_after_step",
    "use_ema_warmup",
];

/// Takes fields out one by one; what is left at the end is unknown.
pub(super) struct Reader {
    pub(super) fields: Map<String, Value>,
    pub(super) problems: Vec<FieldProblem>,
}

impl Reader {
    pub(super) fn config(&mut self) -> UnetConfig {
        for field in IGNORED {
            self.fields.remove(field);
        }
        self.only("_class_name", &["UNet2DModel".into()]);
        self.only("act_fn", &["silu".into(), "swish".into()]);
        self.only("center_input_sample", &[false.into()]);
        self.only("time_embedding_type", &["positional".into()]);
        self.only("mid_block_type", &["UNetMidBlock2D".into()]);
        self.only("mid_block_scale_factor", &[1.into(), 1.0.into()]);
        self.only("downsample_type", &["conv".into()]);
        self.only("upsample_type", &["conv".into()]);
        self.only("resnet_time_scale_shift", &["default".into()]);
        self.only("class_embed_type", &[Value::Null]);
        self.only("num_class_embeds", &[Value::Null]);
        self.only("add_attention", &[true.into()]);

        let config = UnetConfig {
            sample_size: self.sample_size(),
            in_channels: self.positive("in_channels", 3),
            out_channels: self.positive("out_channels", 3),
            block_out_channels: self.widths(),
            layers_per_block: self.layers(),
            down_attention: self.kinds(
                "down_block_types",
                ["DownBlock2D", "AttnDownBlock2D"],
                [false, true, true, true],
            ),
            up_attention: self.kinds(
                "up_block_types",
                ["UpBlock2D", "AttnUpBlock2D"],
                [true, true, true, false],
            ),
            attention_head_dim: self.optional("attention_head_dim", Some(8)),
            norm_num_groups: self.positive("norm_num_groups", 32),
            norm_eps: self.number("norm_eps", 1e-5),
            time_embedding_dim: self.optional("time_embedding_dim", None),
            flip_sin_to_cos: self.flag("flip_sin_to_cos", true),
            freq_shift: self.number("freq_shift", 0.0),
            downsample_padding: self.padding(),
        };
        let attention_groups = self.optional("attn_norm_num_groups", None);
        if let Some(groups) = attention_groups
            && groups != config.norm_num_groups
        {
            let supported = format!("null or norm_num_groups, {}", config.norm_num_groups);
            self.problem("attn_norm_num_groups", groups.to_string(), supported);
        }
        for (field, value) in std::mem::take(&mut self.fields) {
            self.problems.push(FieldProblem { field, value: brief(&value), supported: None });
        }
        if self.problems.is_empty() {
            self.agreement(&config);
        }
        config
    }

    /// Checks what involves more than one field.
    fn agreement(&mut self, config: &UnetConfig) {
        let levels = config.levels();
        let counts = [
            ("down_block_types", config.down_attention.len()),
            ("up_block_types", config.up_attention.len()),
        ];
        for (field, count) in counts {
            if count != levels {
                let supported = format!("one entry for each of the {levels} block_out_channels");
                self.problem(field, format!("a list of {count}"), supported);
            }
        }
        if !self.problems.is_empty() {
            return;
        }
        let groups = config.norm_num_groups;
        let normed = config.tensors().into_iter().filter(|(name, _)| {
            ["norm1.weight", "norm2.weight", "group_norm.weight", "conv_norm_out.weight"]
                .iter()
                .any(|suffix| name.ends_with(suffix))
        });
        if let Some((name, shape)) = normed.into_iter().find(|(_, shape)| shape[0] % groups != 0) {
            let name = name.trim_end_matches(".weight");
            let supported = format!("a divisor of every width; {name} has {}", shape[0]);
            self.problem("norm_num_groups", groups.to_string(), supported);
        }
        if let Some(head) = config.attention_head_dim {
            let last = config.levels() - 1;
            let attends =
                |l: usize| l == last || config.down_attention[l] || config.up_attention[last - l];
            let odd = (0..levels)
                .find(|&l| attends(l) && config.block_out_channels[l] % head != 0)
                .map(|l| config.block_out_channels[l]);
            if let Some(width) = odd {
                let supported = format!("null or a divisor of {width}");
                self.problem("attention_head_dim", head.to_string(), supported);
            }
        }
        let half = config.base() / 2;
        if config.base() % 2 != 0 || half as f64 <= config.freq_shift {
            let supported = format!(
                "a first entry that is even and more than twice freq_shift, {}",
                config.freq_shift
            );
            self.problem(
                "block_out_channels",
                format!("{:?}", config.block_out_channels),
                supported,
            );
        }
        if let Some(size) = config.sample_size
            && size * size * config.in_channels.max(config.out_channels) > NUMBERS
        {
            let supported = format!("images of at most {NUMBERS} numbers");
            self.problem("sample_size", size.to_string(), supported);
        }
        let factor = 1 << (levels - 1);
        if let Some(size) = config.sample_size.filter(|size| size % factor != 0) {
            let supported = format!("a multiple of {factor} for {levels} levels");
            self.problem("sample_size", size.to_string(), supported);
        }
    }

    fn problem(&mut self, field: &str, value: String, supported: String) {
        self.problems.push(FieldProblem {
            field: field.to_owned(),
            value,
            supported: Some(supported),
        });
    }

    /// Takes a field, `None` when absent.
    fn take<T>(
        &mut self,
        field: &str,
        supported: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.fields.remove(field)?;
        let read = read(&value);
        if read.is_none() {
            self.problem(field, brief(&value), supported.to_owned());
        }
        read
    }

    fn only(&mut self, field: &str, accepted: &[Value]) {
        let names: Vec<String> = accepted.iter().map(brief).collect();
        let _ = self.take(field, &names.join(" or "), |v| accepted.contains(v).then_some(()));
    }

    fn positive(&mut self, field: &str, default: i64) -> i64 {
        self.take(field, "an integer from 1 to 65536", positive).unwrap_or(default)
    }

    fn optional(&mut self, field: &str, default: Option<i64>) -> Option<i64> {
        let read = |v: &Value| if v.is_null() { Some(None) } else { positive(v).map(Some) };
        self.take(field, "null or an integer from 1 to 65536", read).unwrap_or(default)
    }

    fn number(&mut self, field: &str, default: f64) -> f64 {
        let read = |v: &Value| v.as_f64().filter(|&x| x >= 0.0);
        self.take(field, "a number that is not negative", read).unwrap_or(default)
    }

    fn flag(&mut self, field: &str, default: bool) -> bool {
        self.take(field, "true or false", Value::as_bool).unwrap_or(default)
    }

    fn padding(&mut self) -> i64 {
        let read = |v: &Value| v.as_i64().filter(|p| [0, 1].contains(p));
        self.take("downsample_padding", "0 or 1", read).unwrap_or(1)
    }

    fn sample_size(&mut self) -> Option<i64> {
        let read = |v: &Value| match v {
            Value::Null => Some(None),
            Value::Array(sides) => match sides.as_slice() {
                [h, w] if h == w => positive(h).map(Some),
                _ => None,
            },
            side => positive(side).map(Some),
        };
        let supported = "null, an integer from 1 to 65536 or a pair of equal ones";
        self.take("sample_size", supported, read).flatten()
    }

    fn layers(&mut self) -> usize {
        let read = |v: &Value| {
            let layers = usize::try_from(v.as_u64()?).ok()?;
            (1..=MOST_LAYERS).contains(&layers).then_some(layers)
        };
        let supported = format!("an integer from 1 to {MOST_LAYERS}");
        self.take("layers_per_block", &supported, read).unwrap_or(2)
    }

    fn widths(&mut self) -> Vec<i64> {
        let read = |v: &Value| {
            let list = v.as_array()?;
            let widths: Option<Vec<i64>> = list.iter().map(positive).collect();
            widths.filter(|w| (1..=MOST_LEVELS).contains(&w.len()))
        };
        let supported = format!("a list of 1 to {MOST_LEVELS} integers from 1 to 65536");
        self.take("block_out_channels", &supported, read)
            .unwrap_or_else(|| vec![224, 448, 672, 896])
    }

    fn kinds(
        &mut self,
        field: &str,
        [plain, attention]: [&str; 2],
        default: [bool; 4],
    ) -> Vec<bool> {
        let kind = |v: &Value| match v.as_str()? {
            name if name == plain => Some(false),
            name if name == attention => Some(true),
            _ => None,
        };
        let supported = format!("a list of \"{plain}\" and \"{attention}\"");
        self.take(field, &supported, |v| v.as_array()?.iter().map(kind).collect())
            .unwrap_or_else(|| default.to_vec())
    }
}

fn positive(value: &Value) -> Option<i64> {
    value.as_i64().filter(|x| (1..=1 << 16).contains(x))
}

pub(super) fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 {
        text.chars().take(57).chain("...".chars()).collect()
    } else {
        text
    }
}
