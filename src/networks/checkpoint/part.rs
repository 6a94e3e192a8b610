//! The sets of weights of a checkpoint.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};
use tch::Kind;

use crate::data::pickle::TensorNode;
use crate::networks::checkpoint::{levels::LEVELS, names::Translation};

/// Tensors in the order of a file.
pub(super) type Named = Vec<(String, TensorNode)>;

/// What a set of weights is to its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one set of a file that does not say what it is.
    Only,
    /// The weights as they were trained.
    Raw,
    /// Their exponential moving average.
    Ema,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Only => "not stated",
            Self::Raw => "raw",
            Self::Ema => "EMA",
        })
    }
}

/// Which set of weights is wanted where a file has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The moving average where there is one: published numbers are those of the average.
    #[default]
    Ema,
    /// The weights as they were trained.
    Raw,
}

/// One set of weights of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it is in the file: empty for the whole, `[4]`, `state_dict`, `ema.shadow`.
    pub path: String,
    /// What it is.
    pub role: Role,
    /// What says so; none for one set that says nothing.
    pub sign: Option<String>,
    /// Counters and buffers beside the weights, from which nothing is computed.
    pub left_out: Vec<String>,
    /// The one of them that says the noise levels.
    pub(super) levels: Option<(String, TensorNode)>,
    pub(super) tensors: BTreeMap<String, TensorNode>,
    /// The names in the order of the file.
    pub(super) order: Vec<String>,
}

/// Why a set of weights is the one that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// In words.
    pub text: String,
    /// Whether it is an average and the raw weights are there too.
    pub raw_too: bool,
}

impl Reason {
    /// A reason without a choice.
    pub(in crate::networks) fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), raw_too: false }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.raw_too { "; the raw weights are there too" } else { "" })
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An average that is there and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where it is in the file.
    pub path: String,
    /// Why it cannot be read.
    pub why: String,
}

impl Part {
    pub(super) fn new(
        path: String,
        role: Role,
        sign: Option<String>,
        tensors: Named,
        left_out: Named,
    ) -> Self {
        let named = |wanted| {
            left_out.iter().find(|(name, node)| {
                let kinds = [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16];
                leaf(name) == wanted && kinds.contains(&node.storage.kind)
            })
        };
        let levels = LEVELS.into_iter().find_map(named).cloned();
        let left_out = left_out.into_iter().map(|(name, _)| name).collect();
        let order = tensors.iter().map(|(name, _)| name.clone()).collect();
        Self { path, role, sign, left_out, levels, tensors: tensors.into_iter().collect(), order }
    }

    /// Names of the tensors, their shapes and element types.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[i64], Kind)> {
        self.tensors
            .iter()
            .map(|(name, node)| (name.as_str(), node.shape.as_slice(), node.storage.kind))
    }

    /// How its names become diffusers' current ones.
    pub fn translation(&self) -> Translation {
        Translation::of(self.tensors.keys().map(String::as_str))
    }

    /// Shapes under diffusers' current names.
    pub fn shapes(&self) -> BTreeMap<String, Vec<i64>> {
        let translation = self.translation();
        let shape = |(name, shape, _): (&str, &[i64], Kind)| {
            let name = translation.name(name);
            let shape = translation.shape(&name, shape).to_vec();
            (name, shape)
        };
        self.tensors().map(shape).collect()
    }
}

/// The last part of a name.
pub(super) fn leaf(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The name of an element type, as safetensors has it.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Float => "F32",
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Double => "F64",
        Kind::Int64 => "I64",
        Kind::Int => "I32",
        Kind::Int16 => "I16",
        Kind::Int8 => "I8",
        Kind::Uint8 => "U8",
        Kind::Bool => "BOOL",
        Kind::Float8e4m3fn => "F8_E4M3",
        Kind::Float8e5m2 => "F8_E5M2",
        _ => "another type",
    }
}
