//! What a network is made of.

use tch::{TchError, Tensor};

use crate::backends::fused::{self, Dropped};
use crate::networks::{placement::Layout, unet::narrow_norm};

/// Dropout inside a residual block, before its second convolution.
pub trait Dropout {
    /// Drops some of the values `[N, C, H, W]` of the block at that position in the network.
    ///
    /// # Errors
    /// What LibTorch refuses.
    fn apply(&self, block: usize, x: &Tensor) -> Result<Tensor, TchError>;

    /// The same as what a kernel needs for it.
    ///
    /// # Errors
    /// What LibTorch refuses.
    fn of_kernel(&self, block: usize) -> Result<Dropped, TchError>;
}

/// Images whose channels are in one tensor, or in two side by side.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a>(pub(super) &'a Tensor, pub(super) Option<&'a Tensor>);

impl Parts<'_> {
    fn joined(self) -> Result<Tensor, TchError> {
        match self.1 {
            Some(second) => Tensor::f_cat(&[self.0, second], 1),
            None => Ok(self.0.shallow_clone()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl Linear {
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor, TchError> {
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
    /// Convolves with the layer's own bias.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.with(self.bias.as_ref(), x)
    }

    /// Convolves with another bias, or none.
    fn with(&self, bias: Option<&Tensor>, x: &Tensor) -> Result<Tensor, TchError> {
        x.f_conv2d(&self.weight, bias, [self.stride; 2], [self.padding; 2], [1; 2], 1)
    }

    /// The same and a sum, where cuDNN would leave the bias to a pass of its own.
    pub(super) fn plus(&self, x: &Tensor, terms: [Option<&Tensor>; 2]) -> Result<Tensor, TchError> {
        fused::add(self.with(None, x)?, self.bias.as_ref(), terms.into())
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
    pub(super) fn apply(&self, x: &Tensor, layout: Layout) -> Result<Tensor, TchError> {
        let (_, _, h, w) = x.size4()?;
        // Output row r of the 2x2 convolution sees rows r - 1 and r: the upper of two neighbours
        // in row i is at r = i, the lower at r = i + 1; columns alike.
        let y = self.0.apply(x)?;
        if y.requires_grad() { interleave(&y, h, w) } else { interleave_view(&y, h, w, layout) }
    }

    /// The same with one pass behind the convolution.
    pub(super) fn fused(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let y = self.0.with(None, x)?;
        // The four outputs have one bias.
        let bias = self.0.bias.as_ref().map(|bias| bias.f_narrow(0, 0, bias.size1()? / 4));
        fused::interleave(&y, bias.transpose()?.as_ref())
    }
}

/// The four outputs `[N, 4 C, h + 1, w + 1]` side by side, `[N, C, 2 h, 2 w]`.
fn interleave(y: &Tensor, h: i64, w: i64) -> Result<Tensor, TchError> {
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
fn interleave_view(y: &Tensor, h: i64, w: i64, layout: Layout) -> Result<Tensor, TchError> {
    let (n, channels, _, _) = y.size4()?;
    let c = channels / 4;
    let &[image, channel, row, column] = y.stride().as_slice() else {
        return Err(TchError::Shape("a convolution's result has four axes".into()));
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
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let norm = self.with(false);
        if narrow_norm::applies(&norm, x) {
            return narrow_norm::apply(&norm, x)?.f_to_kind(x.kind());
        }
        x.f_group_norm(self.groups, Some(&self.weight), Some(&self.bias), self.eps, true)
    }

    pub(super) fn silu(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let norm = self.with(true);
        if narrow_norm::applies(&norm, x) {
            return silu(narrow_norm::apply(&norm, x)?)?.f_to_kind(x.kind());
        }
        silu(self.apply(x)?)
    }

    /// Normalises x + added by a kernel, and applies SiLU and dropout if wanted.
    pub(super) fn fused(
        &self,
        x: Parts<'_>,
        added: Option<&Tensor>,
        silu: bool,
        dropped: Option<&Dropped>,
    ) -> Result<Tensor, TchError> {
        fused::norm((x.0, x.1), added, &self.with(silu), dropped)
    }

    fn with(&self, silu: bool) -> fused::Norm<'_> {
        let Self { weight, bias, groups, eps } = self;
        fused::Norm { weight, bias, groups: *groups, eps: *eps, silu }
    }
}

/// $x\,\sigma(x)$, in place where no gradient needs x.
pub(super) fn silu(mut x: Tensor) -> Result<Tensor, TchError> {
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
    /// The input's way around, where the widths differ: a 1x1 convolution of all its channels, or
    /// for the kernels, which never join the two parts of an input, one of each part.
    pub(super) shortcut: Vec<Conv>,
}

impl Resnet {
    pub(super) fn apply(
        &self,
        x: Parts<'_>,
        added: &[Tensor],
        dropout: Option<&dyn Dropout>,
    ) -> Result<Tensor, TchError> {
        let x = &x.joined()?;
        let time = &added[self.index];
        let h = self.norm1.silu(x)?;
        let h = if time.size()[0] == 1 {
            self.conv1.with(Some(&time.f_squeeze_dim(0)?), &h)?
        } else {
            let mut h = self.conv1.apply(&h)?;
            h.f_add_(&time.f_unsqueeze(2)?.f_unsqueeze(3)?)?
        };
        let mut h = self.norm2.silu(&h)?;
        if let Some(dropout) = dropout {
            h = dropout.apply(self.index, &h)?;
        }
        let mut h = self.conv2.apply(&h)?;
        match self.shortcut.first() {
            Some(conv) => h.f_add_(&conv.apply(x)?),
            None => h.f_add_(x),
        }
    }

    /// The same in as few passes as can be.
    pub(super) fn fused(
        &self,
        x: Parts<'_>,
        added: &[Tensor],
        dropout: Option<&dyn Dropout>,
    ) -> Result<Tensor, TchError> {
        let h = self.conv1.apply(&self.norm1.fused(x, None, true, None)?)?;
        let dropped = dropout.map(|dropout| dropout.of_kernel(self.index));
        let (added, dropped) = (Some(&added[self.index]), dropped.transpose()?);
        let h = self.norm2.fused(Parts(&h, None), added, true, dropped.as_ref())?;
        let Parts(first, second) = x;
        match self.shortcut.as_slice() {
            [] => self.conv2.plus(&h, [Some(&x.joined()?), None]),
            [conv] => self.conv2.plus(&h, [Some(&conv.with(None, &x.joined()?)?), None]),
            [conv, other, ..] => {
                let second = second.map(|second| other.with(None, second)).transpose()?;
                self.conv2.plus(&h, [Some(&conv.with(None, first)?), second.as_ref()])
            }
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
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let y = self.attend(&self.qkv.apply(&self.norm.apply(x)?)?)?;
        self.out.apply(&y)?.f_add_(x)
    }

    /// The same in as few passes as can be.
    pub(super) fn fused(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let y = self.norm.fused(Parts(x, None), None, false, None)?;
        let y = self.attend(&self.qkv.plus(&y, [None, None])?)?;
        self.out.plus(&y, [Some(x), None])
    }

    /// From queries, keys and values `[N, 3 C, H, W]` to `[N, C, H, W]`.
    fn attend(&self, qkv: &Tensor) -> Result<Tensor, TchError> {
        let (n, channels, height, width) = qkv.size4()?;
        let (pixels, c) = (height * width, channels / 3);
        // [N, H W, 3 C], a view of a channels-last tensor.
        let qkv = qkv.f_permute([0, 2, 3, 1])?.f_reshape([n, pixels, channels])?;
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
        y.f_transpose(1, 2)?.f_reshape([n, height, width, c])?.f_permute([0, 3, 1, 2])
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
