#!/usr/bin/env python3
"""Makes eps*.pt, inception_stand_in.pt and statistics.npz: programs and arrays of a few lines.

  python tests/golden/programs.py [--write]      (torch 2.11.0)

Without `--write` it holds the stored programs to these ones on an image of noise.
"""

import sys
import zipfile

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


class EpsLoud(Eps):
    """The same as Eps, which prints a line at every call."""

    def forward(self, x, t):
        print("the model speaks")
        return self.gain.view(1, -1, 1, 1) * x * torch.sin(t).view(-1, 1, 1, 1)


class EpsEndless(Eps):
    """Does not return below t = 500."""

    def forward(self, x, t):
        while bool(t[0] < 500.0):
            t = t * 1.0
        return self.gain.view(1, -1, 1, 1) * x * torch.sin(t).view(-1, 1, 1, 1)


class EpsState(Eps):
    """Counts its calls, and answers each with another eps, the more so in the second row."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros([], dtype=torch.int64))

    def forward(self, x, t):
        self.calls += 1
        eps = x / (1.0 + x.abs())
        other = 1e-3 * torch.cos(2.0 * self.calls) * torch.ones_like(x)
        other[1:] = other[1:] * 2.0
        return eps + other


class EpsNan(Eps):
    """Is not a number below t = 500 in the second row."""

    def forward(self, x, t):
        eps = self.gain.view(1, -1, 1, 1) * x * torch.sin(t).view(-1, 1, 1, 1)
        if bool(t[0] < 500.0) and x.shape[0] > 1:
            eps[1] = eps[1] * float("nan")
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


PROGRAMS = {
    "eps.pt": Eps(),
    "eps_range.pt": EpsRange(),
    "eps_room.pt": EpsRoom(),
    "eps_loud.pt": EpsLoud(),
    "eps_endless.pt": EpsEndless(),
    "eps_state.pt": EpsState(),
    "eps_nan.pt": EpsNan(),
    "inception_stand_in.pt": StandIn(),
}
STATISTICS = dict(mu=numpy.array([1.0, 2.0]), sigma=numpy.array([[2.0, 0.5], [0.5, 1.0]]))


def save(program, path):
    """Without the records that say where on which machine the program was written."""
    torch.jit.save(program, path)
    with zipfile.ZipFile(path) as written:
        records = [(name, written.read(name)) for name in written.namelist() if ".debug_pkl" not in name]
    with zipfile.ZipFile(path, "w") as kept:
        for name, record in records:
            kept.writestr(zipfile.ZipInfo(name), record)


if "--write" in sys.argv:
    for name, program in PROGRAMS.items():
        save(torch.jit.script(program), HERE / name)
    numpy.savez(HERE / "statistics.npz", **STATISTICS)
    sys.exit()

x, t = torch.randn(2, 3, 8, 8), torch.tensor([500.0, 617.5])
for name, program in PROGRAMS.items():
    stored = torch.jit.load(HERE / name)
    asks = [(x, True), (x, False)] if "inception" in name else [(x, t)]
    same = all(torch.equal(stored(*ask), program(*ask)) for ask in asks)
    print(name, "the same" if same else "DIFFERS")
stored = numpy.load(HERE / "statistics.npz")
print("statistics.npz", all(numpy.array_equal(stored[k], v) for k, v in STATISTICS.items()))
