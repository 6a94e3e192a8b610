#!/usr/bin/env python3
"""Makes eps.pt, eps_range.pt, eps_room.pt, inception_stand_in.pt and statistics.npz: programs and arrays of a few lines.

  python tests/golden/programs.py [--write]      (torch 2.11.0)

Without `--write` it holds the stored programs to these ones on an image of noise.
"""

import sys

import numpy
import torch

from closed_form import HERE


class Eps(torch.nn.Module):
    """eps = gain[c] x sin(t)"""

    def __init__(self):
        super().__init__()
        self.register_buffer("gain", torch.tensor([0.5, 1.0, 2.0]))

    def forward(self, x, t):
        return self.gain.view(1, -1, 1, 1) * x * torch.sin(t).view(-1, 1, 1, 1)


class EpsRange(Eps):
    """The same, and cos(x) after it along the channels, as the range of a learned variance."""

    def forward(self, x, t):
        eps = self.gain.view(1, 3, 1, 1) * x * torch.sin(t).view(-1, 1, 1, 1)
        return torch.cat([eps, torch.cos(x)], 1)


class EpsRoom(Eps):
    """The same as Eps, for which there is no memory with more than three images."""

    def forward(self, x, t):
        eps = self.gain.view(1, -1, 1, 1) * x * torch.sin(t).view(-1, 1, 1, 1)
        if x.shape[0] > 3:
            eps = eps + torch.empty([1 << 48])[0]
        return eps


class StandIn(torch.nn.Module):
    """The interface of inception-2015-12-05.pt: channel means, repeated up to 2048."""

    def forward(
        self,
        img,
        return_features: bool = False,
        use_fp16: bool = False,
        no_output_bias: bool = False,
    ):
        x = img.to(torch.float32).mean([2, 3])
        if return_features:
            return x.repeat(1, 683)[:, :2048]
        return x.softmax(1)


PROGRAMS = {"eps.pt": Eps(), "eps_range.pt": EpsRange(), "eps_room.pt": EpsRoom(), "inception_stand_in.pt": StandIn()}
STATISTICS = dict(mu=numpy.array([1.0, 2.0]), sigma=numpy.array([[2.0, 0.5], [0.5, 1.0]]))

if "--write" in sys.argv:
    for name, program in PROGRAMS.items():
        torch.jit.save(torch.jit.script(program), HERE / name)
    numpy.savez(HERE / "statistics.npz", **STATISTICS)
    sys.exit()

x, t = torch.randn(2, 3, 8, 8), torch.tensor([0.0, 17.5])
for name, program in PROGRAMS.items():
    stored = torch.jit.load(HERE / name)
    asks = [(x, True), (x, False)] if "inception" in name else [(x, t)]
    same = all(torch.equal(stored(*ask), program(*ask)) for ask in asks)
    print(name, "the same" if same else "DIFFERS")
stored = numpy.load(HERE / "statistics.npz")
print("statistics.npz", all(numpy.array_equal(stored[k], v) for k, v in STATISTICS.items()))
