"""What the scripts beside it share: the samplers' closed-form model, x_T, the noise, and the check.

Every script, run by itself, computes its values anew and prints how far they are from the file it
belongs to; with `--write` it writes the file. Needs numpy and safetensors, and what the script says.

diffusers rounds the state of its DPM-Solver++ to f32 at every step, so that the last bit of another
processor's sine can move a sample by 1e-6; on one machine the scripts give the same bytes.
"""

import pathlib
import sys

import numpy
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent


def unit(name, shape):
    """The tensors that tests/support/fill.rs rebuilds."""
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with numpy.errstate(over="ignore"):
        i = numpy.arange(1, int(numpy.prod(shape)) + 1, dtype=numpy.uint64)
        z = numpy.uint64(h) + i * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    return (2 * ((z >> numpy.uint64(11)).astype(numpy.float64) * 2.0**-53) - 1).reshape(shape)


def normal(name, shape):
    u1, u2 = ((unit(f"{name}/{part}", shape) + 1) / 2 for part in ("u1", "u2"))
    return numpy.sqrt(-2 * numpy.log(1 - u1)) * numpy.cos(2 * numpy.pi * u2)


SHAPE = (2, 3, 4, 4)
X_T = normal("sampler/x_T", SHAPE).astype(numpy.float32).astype(numpy.float64)


def eps(x, t):
    """The model, for numpy's arrays and torch's tensors."""
    u = float(t) + 1.0
    a = numpy.exp(-(1e-4 * u + 0.995e-5 * u * u))
    sine = (3 * x).sin() if hasattr(x, "sin") else numpy.sin(3 * x)
    return numpy.sqrt(1 - a) / (0.25 * a + 1 - a) * x + 0.1 * a * sine


def settle(file, tensors, tolerance):
    """Writes the tensors if asked to; else holds the file's to them."""
    path = HERE / file
    if "--write" in sys.argv:
        save_file(tensors, path)
        return
    stored = load_file(path)
    if stored.keys() != tensors.keys():
        sys.exit(f"{file}: other tensors: {sorted(stored.keys() ^ tensors.keys())}")
    worst = max(abs(stored[name] - tensors[name]).max() for name in stored)
    print(f"{file}: {len(stored)} tensors, largest difference {worst:.1e}, tolerance {tolerance:.0e}")
    if not worst <= tolerance:
        sys.exit(1)
