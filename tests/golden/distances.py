"""Distances by other people's code: writes distances.json beside this file.

Needs numpy, prdc 0.2 (Naeem et al. 2020, whose precision and recall are Kynkäänniemi et al.'s) and
POT 0.9.7. Inputs are those of tests/support/fill.rs.
"""

import json
import pathlib

import numpy as np
import ot
import prdc


def unit(name, *shape):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    with np.errstate(over="ignore"):
        index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
        z = np.uint64(seed) + index * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (2.0 * ((z >> np.uint64(11)) * 2.0**-53) - 1.0).reshape(shape)


def normal(name, *shape):
    u1, u2 = (0.5 * (unit(f"{name}/u{k}", *shape) + 1.0) for k in (1, 2))
    return np.sqrt(-2.0 * np.log(1.0 - u1)) * np.cos(2.0 * np.pi * u2)


def manifold(points, centres, k):
    """The authors' formula, written out: the share of points inside the centres' balls."""
    apart = lambda a, b: np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(-1))
    radii = np.sort(apart(centres, centres), axis=1)[:, k]  # the 0-th is the centre itself
    return float((apart(points, centres) <= radii[None, :]).any(axis=1).mean())


found = {}
for n, d in [(200, 4), (256, 16), (400, 64)]:
    x = 0.8 * normal(f"distances/x{d}", n, d) + 0.3
    y = normal(f"distances/y{d}", n, d)
    along = unit(f"distances/along{d}", 10, d)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    peer = prdc.compute_prdc(real_features=y, fake_features=x, nearest_k=3)
    assert abs(peer["precision"] - manifold(x, y, 3)) < 1e-12
    assert abs(peer["recall"] - manifold(y, x, 3)) < 1e-12
    found[f"{n}x{d}"] = {
        "precision": float(peer["precision"]),
        "recall": float(peer["recall"]),
        "sliced_wasserstein": float(ot.sliced_wasserstein_distance(x, y, projections=along.T, p=2)),
        "mean_error": float(((x.mean(0) - y.mean(0)) ** 2).mean()),
        "covariance_error": float(((np.cov(x.T) - np.cov(y.T)) ** 2).sum() / d),
    }
path = pathlib.Path(__file__).with_name("distances.json")
path.write_text(json.dumps(found, indent=1) + "\n")
