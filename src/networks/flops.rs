//! The floating-point operations of a UNet, counted from its configuration.

use serde::Serialize;

use crate::networks::unet_config::UnetConfig;

/// The operations of one call for one image: two for each multiply-add of a convolution, a linear map
/// or a product of attention. Norms, activations, softmax and sums are not counted, and biases are not
/// either.
///
/// The network is counted as the configuration describes it, padding multiplied along, the way
/// PyTorch's `FlopCounterMode` counts diffusers' `UNet2DModel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flops {
    /// All convolutions, those behind an enlargement among them.
    pub convolutions: u64,
    /// The convolutions behind an enlargement, on the large image.
    pub enlarging: u64,
    /// The same convolutions merged with the enlargement, as [`Unet`](crate::networks::unet::Unet)
    /// computes them: 2x2 kernels on the small image.
    pub enlarging_merged: u64,
    /// The linear maps of attention: query, key, value and output.
    pub linear: u64,
    /// The two products of attention.
    pub attention: u64,
    /// The timestep's embedding and its projection in every residual block.
    pub timestep: u64,
}

impl Flops {
    /// The operations of a network on images of a height and a width.
    pub fn of(config: &UnetConfig, [height, width]: [usize; 2]) -> Self {
        let pixels = |level: usize| (height >> level) as u64 * (width >> level) as u64;
        let wide = |channels: i64| channels.unsigned_abs();
        let (levels, base) = (config.levels(), wide(config.base()));
        let embedding = wide(config.embedding());
        let mut flops = Self::default();
        flops.convolve(9 * wide(config.in_channels) * base, pixels(0));
        flops.timestep += 2 * (base * embedding + embedding * embedding);
        for (level, blocks) in config.down_channels().iter().enumerate() {
            let attends = config.down_attention[level];
            flops.blocks(blocks, attends, pixels(level), embedding);
            if level + 1 < levels {
                let width = wide(config.block_out_channels[level]);
                flops.convolve(9 * width * width, pixels(level + 1));
            }
        }
        let last = config.block_out_channels.last().copied().unwrap_or(0);
        flops.blocks(&[(last, last)], true, pixels(levels - 1), embedding);
        flops.blocks(&[(last, last)], false, pixels(levels - 1), embedding);
        for (up, blocks) in config.up_channels().iter().enumerate() {
            let level = levels - 1 - up;
            flops.blocks(blocks, config.up_attention[up], pixels(level), embedding);
            if level > 0 {
                let square = wide(config.block_out_channels[level]).pow(2);
                flops.convolve(9 * square, pixels(level - 1));
                flops.enlarging += 2 * 9 * square * pixels(level - 1);
                // Four outputs of 2x2 each, on an image that is one row and one column larger.
                let grown = ((height >> level) as u64 + 1) * ((width >> level) as u64 + 1);
                flops.enlarging_merged += 2 * 16 * square * grown;
            }
        }
        flops.convolve(9 * base * wide(config.out_channels), pixels(0));
        flops
    }

    fn convolve(&mut self, weights: u64, pixels: u64) {
        self.convolutions += 2 * weights * pixels;
    }

    fn blocks(&mut self, blocks: &[(i64, i64)], attention: bool, pixels: u64, embedding: u64) {
        for &(from, to) in blocks {
            let (from, to) = (from.unsigned_abs(), to.unsigned_abs());
            let shortcut = if from == to { 0 } else { from * to };
            self.convolve(9 * from * to + 9 * to * to + shortcut, pixels);
            self.timestep += 2 * embedding * to;
            if attention {
                self.linear += 2 * 4 * to * to * pixels;
                self.attention += 2 * 2 * pixels * pixels * to;
            }
        }
    }

    /// All of them, as the configuration describes the network.
    pub fn configured(&self) -> u64 {
        self.convolutions + self.linear + self.attention + self.timestep
    }

    /// What [`Unet`](crate::networks::unet::Unet) computes for an image when the whole batch has one
    /// timestep: enlargements merged, and the timestep's part, which is then once a batch, left out.
    pub fn computed(&self) -> u64 {
        self.configured() - self.timestep - self.enlarging + self.enlarging_merged
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::networks::architecture::KNOWN;

    /// Convolutions, linear maps and attention, as `FlopCounterMode` of PyTorch 2.11 counts diffusers'
    /// network with one image; it has the timestep's part among the linear maps.
    fn agrees(config: &UnetConfig, side: usize, counted: [u64; 3]) {
        let found = Flops::of(config, [side, side]);
        let Flops { convolutions, linear, attention, timestep, .. } = found;
        assert_eq!([convolutions, linear + timestep, attention], counted);
        assert_eq!(found.configured(), counted.iter().sum::<u64>());
    }

    #[test]
    fn the_operations_are_those_that_pytorch_counts() {
        agrees(&KNOWN[0].config(), 32, [11_422_662_656, 685_244_416, 335_806_464]);
        let small = r#"{"block_out_channels": [8, 16, 24], "layers_per_block": 1,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
            "norm_num_groups": 4, "attention_head_dim": 8, "freq_shift": 1}"#;
        let small = UnetConfig::parse(small, Path::new("config.json")).unwrap();
        agrees(&small, 16, [9_349_120, 481_792, 811_008]);
    }

    #[test]
    fn a_merged_enlargement_has_16_of_36_products_and_a_border() {
        let two = r#"{"block_out_channels": [8, 16], "layers_per_block": 1,
            "down_block_types": ["DownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "UpBlock2D"], "norm_num_groups": 4}"#;
        let config = UnetConfig::parse(two, Path::new("config.json")).unwrap();
        let flops = Flops::of(&config, [8, 16]);
        // One enlargement of 16 channels, from 4 x 8 to 8 x 16.
        assert_eq!(flops.enlarging, 2 * 9 * 16 * 16 * 8 * 16);
        assert_eq!(flops.enlarging_merged, 2 * 16 * 16 * 16 * 5 * 9);
        let saved = flops.enlarging - flops.enlarging_merged + flops.timestep;
        assert_eq!(flops.computed(), flops.configured() - saved);
    }
}
