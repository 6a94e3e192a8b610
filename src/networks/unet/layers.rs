//! What a network is made of.

use tch::Tensor;

use crate::networks::{placement::Layout, unet::narrow_norm};

/// What is applied inside a residual block, before its second convolution: the block's position in
/// the network and the values, `[N, C, H, W]`.
pub type Drop<'a> = &'a dyn Fn(usize, Tensor) -> Result<Tensor, tch::TchError>;

#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl Linear {
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        x.f_linear(&self.weight, Some(&self.bias))
    }
}

#[derive(Debug)]
pub(super) struct Conv {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) stride: i64,
    pub(super) padding: i64,
}

impl Conv {
    /// Convolves with the layer's own bias, or with the one given.
    pub(super) fn apply(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor, tch::TchError> {
        let bias = bias.or(self.bias.as_ref());
        x.f_conv2d(&self.weight, bias, [self.stride; 2], [self.padding; 2], [1; 2], 1)
    }
}

/// Nearest-neighbour enlargement by two and the 3x3 convolution behind it, as one convolution.
///
/// Four neighbouring outputs see the same pixels of the small image, two by two: with the
/// kernel's columns summed that meet the same pixel, each of the four is a 2x2 convolution of the
/// small image, at 16/36 of the products and without the large one.
#[derive(Debug)]
pub(super) struct Upsample(pub(super) Conv);

impl Upsample {
    pub(super) fn apply(&self, x: &Tensor, layout: Layout) -> Result<Tensor, tch::TchError> {
        let (_, _, h, w) = x.size4()?;
        // Output row r of the 2x2 convolution sees rows r - 1 and r: the upper of two neighbours
        // in row i is at r = i, the lower at r = i + 1; columns alike.
        let y = self.0.apply(x, None)?;
        if y.requires_grad() { interleave(&y, h, w) } else { interleave_view(&y, h, w, layout) }
    }
}

/// The four outputs `[N, 4 C, h + 1, w + 1]` side by side, `[N, C, 2 h, 2 w]`.
fn interleave(y: &Tensor, h: i64, w: i64) -> Result<Tensor, tch::TchError> {
    let phases = y.f_permute([0, 2, 3, 1])?.f_chunk(4, 3)?;
    let crop = |(phase, (lower, right)): (&Tensor, (i64, i64))| {
        phase.f_narrow(1, lower, h)?.f_narrow(2, right, w)
    };
    let places = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let phases = phases.iter().zip(places).map(crop).collect::<Result<Vec<_>, _>>()?;
    let rows =
        phases.chunks(2).map(|row| Tensor::f_stack(row, 3)).collect::<Result<Vec<_>, _>>()?;
    let y = Tensor::f_stack(&rows, 2)?;
    y.f_flatten(3, 4)?.f_flatten(1, 2)?.f_permute([0, 3, 1, 2])
}

/// The same in one pass, by a view that is slow to differentiate.
fn interleave_view(y: &Tensor, h: i64, w: i64, layout: Layout) -> Result<Tensor, tch::TchError> {
    let (n, channels, _, _) = y.size4()?;
    let c = channels / 4;
    let &[image, channel, row, column] = y.stride().as_slice() else {
        return Err(tch::TchError::Shape("a convolution's result has four axes".into()));
    };
    let (lower, right) = (row + 2 * c * channel, column + c * channel);
    match layout {
        Layout::ChannelsLast => y
            .f_as_strided([n, h, 2, w, 2, c], [image, row, lower, column, right, channel], None)?
            .f_reshape([n, 2 * h, 2 * w, c])?
            .f_permute([0, 3, 1, 2]),
        Layout::ChannelsFirst => y
            .f_as_strided([n, c, h, 2, w, 2], [image, channel, row, lower, column, right], None)?
            .f_reshape([n, c, 2 * h, 2 * w]),
    }
}

#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) groups: i64,
    pub(super) eps: f64,
}

impl Norm {
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        if narrow_norm::applies(self, x) {
            return narrow_norm::apply(self, x)?.f_to_kind(x.kind());
        }
        x.f_group_norm(self.groups, Some(&self.weight), Some(&self.bias), self.eps, true)
    }

    pub(super) fn silu(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        if narrow_norm::applies(self, x) {
            return silu(narrow_norm::apply(self, x)?)?.f_to_kind(x.kind());
        }
        silu(self.apply(x)?)
    }
}

/// $x\,\sigma(x)$, in place where no gradient needs x.
pub(super) fn silu(mut x: Tensor) -> Result<Tensor, tch::TchError> {
    if x.requires_grad() { x.f_silu() } else { x.f_silu_() }
}

/// norm, swish, convolution, + timestep, norm, swish, dropout, convolution, + input.
#[derive(Debug)]
pub(super) struct Resnet {
    pub(super) norm1: Norm,
    pub(super) conv1: Conv,
    /// Its position among the residual blocks, in the order of the weights.
    pub(super) index: usize,
    pub(super) norm2: Norm,
    pub(super) conv2: Conv,
    pub(super) shortcut: Option<Conv>,
}

impl Resnet {
    pub(super) fn apply(
        &self,
        x: &Tensor,
        added: &[Tensor],
        drop: Option<Drop<'_>>,
    ) -> Result<Tensor, tch::TchError> {
        let time = &added[self.index];
        let h = self.norm1.silu(x)?;
        let h = if time.size()[0] == 1 {
            self.conv1.apply(&h, Some(&time.f_squeeze_dim(0)?))?
        } else {
            let mut h = self.conv1.apply(&h, None)?;
            h.f_add_(&time.f_unsqueeze(2)?.f_unsqueeze(3)?)?
        };
        let mut h = self.norm2.silu(&h)?;
        if let Some(drop) = drop {
            h = drop(self.index, h)?;
        }
        let mut h = self.conv2.apply(&h, None)?;
        match &self.shortcut {
            Some(conv) => h.f_add_(&conv.apply(x, None)?),
            None => h.f_add_(x),
        }
    }
}

/// Self-attention over the pixels, with a residual connection.
///
/// The linear maps are 1x1 convolutions, which add their bias without another pass.
#[derive(Debug)]
pub(super) struct Attention {
    pub(super) norm: Norm,
    pub(super) qkv: Conv,
    pub(super) out: Conv,
    pub(super) heads: i64,
}

impl Attention {
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        let (n, c, height, width) = x.size4()?;
        let pixels = height * width;
        // [N, H W, 3 C], a view of a channels-last tensor.
        let qkv = self.qkv.apply(&self.norm.apply(x)?, None)?;
        let qkv = qkv.f_permute([0, 2, 3, 1])?.f_reshape([n, pixels, 3 * c])?;
        let parts = qkv.f_split(c, 2)?;
        let head = |i: usize| {
            parts[i].f_reshape([n, pixels, self.heads, c / self.heads])?.f_transpose(1, 2)
        };
        let y = Tensor::f_scaled_dot_product_attention(
            &head(0)?,
            &head(1)?,
            &head(2)?,
            None::<&Tensor>,
            0.0,
            false,
            None,
            false,
        )?;
        let y = y.f_transpose(1, 2)?.f_reshape([n, height, width, c])?.f_permute([0, 3, 1, 2])?;
        self.out.apply(&y, None)?.f_add_(x)
    }
}

/// The blocks of one resolution.
#[derive(Debug)]
pub(super) struct Level<S> {
    pub(super) resnets: Vec<Resnet>,
    pub(super) attentions: Vec<Attention>,
    /// The convolution that leads to the next resolution.
    pub(super) sampler: Option<S>,
}

impl<S> Level<S> {
    pub(super) fn blocks(&self) -> impl Iterator<Item = (&Resnet, Option<&Attention>)> {
        self.resnets.iter().enumerate().map(|(b, resnet)| (resnet, self.attentions.get(b)))
    }
}
