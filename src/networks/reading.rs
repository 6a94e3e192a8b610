//! A network as it is read: its files, the set of weights that counts, its configuration, and
//! remarks on them.

use std::collections::BTreeSet;

use crate::networks::{
    architecture::{known, recognise},
    checkpoint::{Checkpoint, Part, Reason, Role, Which, kind_name, names::Convention},
    files::ModelFiles,
    open_error::OpenError,
    unet_config::UnetConfig,
};

/// Something to say of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// One line.
    pub text: String,
    /// Whether a result may differ from what the reader expects, so that it is shown without being asked for.
    pub warning: bool,
}

/// A set of weights and the network that it belongs to.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) files: &'a ModelFiles,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) part: &'a Part,
    pub(super) which: Which,
}

impl<'a> Reading<'a> {
    /// Chooses the set.
    pub(super) fn of(
        files: &'a ModelFiles,
        checkpoint: &'a Checkpoint,
        which: Which,
    ) -> Result<Self, OpenError> {
        let part = files.choose(checkpoint, which)?;
        Ok(Self { files, checkpoint, part, which })
    }

    /// The configuration that was read, or the one that the tensors show.
    pub(super) fn config(&self, read: Option<UnetConfig>) -> Result<UnetConfig, OpenError> {
        match read {
            Some(config) => Ok(config),
            None => recognise(&self.part.shapes(), self.part.translation().convention)
                .map_err(|why| OpenError::Unrecognised { path: self.files.weights.clone(), why }),
        }
    }

    /// Where the configuration is from.
    pub(super) fn origin(&self, config: &UnetConfig) -> String {
        match (&self.files.config, known(config)) {
            (Some(path), _) => path.display().to_string(),
            (None, _) if self.part.translation().convention == Convention::Official => {
                "names and shapes of the tensors; groups, heads and padding as in the official code"
                    .to_owned()
            }
            (None, Some(known)) => format!(
                "shapes of the tensors, which are those of {}; groups, heads and padding as \
                 published",
                known.name
            ),
            (None, None) => "names and shapes of the tensors".to_owned(),
        }
    }

    /// What the weights are that count, and why.
    pub(super) fn reason(&self) -> Reason {
        self.files.reason(self.checkpoint, self.part, self.which)
    }

    /// The remarks.
    pub(super) fn remarks(&self, config: &UnetConfig) -> Vec<Remark> {
        let mut remarks = vec![];
        let mut say = |warning, text| remarks.push(Remark { text, warning });
        let place = match self.part.path.as_str() {
            "" => String::new(),
            path => format!("`{path}`: "),
        };
        say(false, format!("weights: {place}{}", self.reason()));
        let names = self.part.translation().convention;
        let guessed = self.files.config.is_none() && names != Convention::Official;
        if guessed && let Some(known) = known(config) {
            let text = format!(
                "no config.json: taken for {}, whose shapes it has, with groups, heads and padding \
                 as published; if it was trained otherwise, write a config.json beside it",
                known.name
            );
            say(true, text);
        }
        let averaged = self.part.role == Role::Ema || self.files.role == Role::Ema;
        if self.which == Which::Ema && !averaged {
            for path in &self.files.averages {
                let text = format!(
                    "{} is an average by its name, and is not read: name it to take it",
                    path.display()
                );
                say(true, text);
            }
        }
        if !self.part.left_out.is_empty() {
            say(false, format!("left out, no weights: {}", left_out(self.part)));
        }
        if let Some(cast) = cast(self.part) {
            say(false, cast);
        }
        remarks
    }
}

/// The counters and buffers of a set, by name.
pub(super) fn left_out(part: &Part) -> String {
    part.left_out.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What happens to element types other than those that networks are saved in.
pub(super) fn cast(part: &Part) -> Option<String> {
    let kinds: BTreeSet<&str> = part.tensors().map(|(.., kind)| kind_name(kind)).collect();
    let rounded = kinds.contains("F64").then_some("F64 weights are rounded to F32");
    let widened = kinds
        .iter()
        .any(|kind| kind.starts_with("F8"))
        .then_some("F8 weights are cast to F32, which does not give their digits back");
    let said: Vec<&str> = rounded.into_iter().chain(widened).collect();
    (!said.is_empty()).then(|| said.join("; "))
}
