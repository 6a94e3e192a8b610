//! Checkpoints that are known by their published checksum.

use crate::networks::checkpoint::part::Role;

/// A published file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// MD5, in lower-case hexadecimal digits.
    pub md5: &'static str,
    /// What its publisher calls it.
    pub name: &'static str,
    /// What its weights are; the files do not say it.
    pub role: Role,
}

/// The conversions of the DDPM authors' weights in `pesser/pytorch_diffusion`, with the checksums
/// that `functions/ckpt_util.py` of `ermongroup/ddim` states.
const PUBLISHED: [Published; 5] = [
    Published { md5: "1fa350b952534ae442b1d5235cce5cd3", name: "ema_cifar10", role: Role::Ema },
    Published { md5: "82ed3067fd1002f5cf4c339fb80c4669", name: "cifar10", role: Role::Raw },
    Published {
        md5: "1921fa46b66a3665e450e42f36c2720f",
        name: "ema_lsun_bedroom",
        role: Role::Ema,
    },
    Published { md5: "fdc68a23938c2397caba4a260bc2445f", name: "ema_lsun_church", role: Role::Ema },
    Published { md5: "646f23f4821f2459b8bafc57fd824558", name: "ema_lsun_cat", role: Role::Ema },
];

/// The published file with that checksum.
pub fn published(md5: &str) -> Option<Published> {
    PUBLISHED.into_iter().find(|known| known.md5 == md5)
}
