//! What a network predicts.

use serde::Serialize;

/// What a network was trained to predict, by its name in manifests and in the keys of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Predicts {
    /// The noise (Ho et al. 2020, Eq. 14).
    #[default]
    Eps,
    /// The velocity $v = \sqrt{\bar\alpha}\,\epsilon - \sqrt{1 - \bar\alpha}\,x_0$ (Salimans and
    /// Ho 2022, appendix D).
    V,
    /// The clean image.
    X0,
}

impl Predicts {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Eps, Self::V, Self::X0];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eps => "eps",
            Self::V => "v",
            Self::X0 => "x0",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|predicts| predicts.name() == name)
    }
}
