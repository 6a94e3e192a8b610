//! Which training a checkpoint belongs to.

use serde::Serialize;

use crate::{data::sha256, train::settings::Settings};

/// Everything that decides the weights and the log. Raise `version` when the same settings would
/// give other weights.
#[derive(Serialize)]
struct Identity<'a> {
    version: u32,
    settings: &'a Settings,
    /// Images of one row of the log.
    log: u64,
    /// The hash of the images.
    images: &'a str,
    /// The hash of the weights it begins from.
    start: Option<&'a str>,
}

/// The identity of a training: the hash of its settings and files as JSON, whose keys have the order
/// of the fields and whose floats are the shortest that read back to the same bits.
///
/// # Panics
/// Never: settings are plain data.
pub(crate) fn identity(settings: &Settings, log: u64, images: &str, start: Option<&str>) -> String {
    let identity = Identity { version: 1, settings, log, images, start };
    let json = serde_json::to_string(&identity).expect("invariant: plain data serialises");
    sha256(json.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::Schedule,
        networks::{placement::Precision, predicts::Predicts, unet_config::UnetConfig},
        train::settings::{Augmentation, Budget, Denoiser, DenoiserLossKind, Learner, Optimiser},
    };

    fn settings(schedule: Schedule, rate: f64) -> Settings {
        let learner = Learner::Denoiser(Denoiser {
            network: UnetConfig {
                sample_size: Some(8),
                in_channels: 3,
                out_channels: 3,
                block_out_channels: vec![8, 8],
                layers_per_block: 1,
                down_attention: vec![false, true],
                up_attention: vec![true, false],
                attention_head_dim: None,
                norm_num_groups: 4,
                norm_eps: 1e-6,
                time_embedding_dim: None,
                flip_sin_to_cos: false,
                freq_shift: 1.0,
                downsample_padding: 0,
            },
            dropout: 0.1,
            schedule,
            target: Predicts::Eps,
            weight_cap: 1.0,
            loss: DenoiserLossKind::Simple,
            importance: false,
        });
        Settings {
            seed: 3,
            batch: 4,
            budget: Budget::Images(100),
            learner,
            precision: Precision::F32,
            augmentation: Augmentation { flip: true, shift: 0 },
            optimiser: Optimiser { rate, ..Optimiser::default() },
            ema: 0.9999,
        }
    }

    #[test]
    fn whatever_decides_the_weights_or_the_log_is_in_the_identity() {
        let linear = |last: f64| Schedule::linear(1e-4, last, 10).unwrap();
        let of = |settings: &Settings| identity(settings, 50, "images", None);
        let first = settings(linear(0.02), 2e-4);
        let changed = |change: fn(&mut Denoiser)| {
            let mut settings = first.clone();
            if let Learner::Denoiser(denoiser) = &mut settings.learner {
                change(denoiser);
            }
            settings
        };
        let others = [
            of(&settings(linear(0.02), 2.000_000_000_000_000_4e-4)),
            of(&settings(linear(0.021), 2e-4)),
            of(&Settings { budget: Budget::Minutes(100.0), ..first.clone() }),
            of(&Settings { precision: Precision::Bf16, ..first.clone() }),
            identity(&first, 51, "images", None),
            identity(&first, 50, "other images", None),
            identity(&first, 50, "images", Some("weights")),
            of(&changed(|denoiser| denoiser.loss = DenoiserLossKind::Vlb)),
            of(&changed(|denoiser| denoiser.loss = DenoiserLossKind::Hybrid(0.001))),
            of(&changed(|denoiser| denoiser.loss = DenoiserLossKind::Hybrid(0.002))),
            of(&changed(|denoiser| denoiser.importance = true)),
        ];
        assert!(others.iter().all(|other| *other != of(&first)), "{others:?}");
        // Yesterday's checkpoint must still be continued: this changes with `version` alone.
        let json = serde_json::to_string(&first).unwrap();
        assert!(json.starts_with("{\"seed\":3,\"batch\":4,\"budget\":{\"images\":100},"), "{json}");
        let known = "90f3f364e3744995252cac8f072d9f24acadc1db3b06ddedff6c07836ecca398";
        assert_eq!(of(&first), known);
    }
}
