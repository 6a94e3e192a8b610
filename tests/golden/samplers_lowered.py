#!/usr/bin/env python3
"""Makes samplers_lowered.safetensors: diffusers' multistep samplers with their defaults for the last steps.

  python tests/golden/samplers_lowered.py      (torch, numpy, safetensors and diffusers 0.42.1)

The model, x_T and the noise are those of README.md. The schedule is set to its f64 values, which
diffusers rounds to f32. Printed is how far each default moves the samples: the largest difference from
the same sampler with `lower_order_final = False`, or what the line says.
"""
import pathlib

import diffusers
import numpy
import torch
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
X_T = load_file(HERE / "samplers_diffusers.safetensors")["x_T"]
BETAS = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")


def eps(x, t):
    u = float(t) + 1.0
    a = numpy.exp(-(1e-4 * u + 0.995e-5 * u * u))
    return numpy.sqrt(1 - a) / (0.25 * a + 1 - a) * x + 0.1 * a * torch.sin(3 * x)


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


def sample(kind, steps, **options):
    scheduler = kind(**BETAS, **options)
    scheduler.set_timesteps(steps)
    betas = numpy.linspace(1e-4, 0.02, 1000)
    alpha_bar = numpy.cumprod(1 - betas)
    if hasattr(scheduler, "sigmas"):
        sigmas = numpy.sqrt((1 - alpha_bar) / alpha_bar)
        last = scheduler.sigmas[-1].item() and sigmas[0]
        scheduler.sigmas = torch.from_numpy(numpy.append(sigmas[scheduler.timesteps.numpy()], last))
    else:
        scheduler.alphas_cumprod = torch.from_numpy(alpha_bar)
        clean = scheduler.config.set_alpha_to_one
        scheduler.final_alpha_cumprod = torch.tensor(1.0 if clean else alpha_bar[0], dtype=torch.float64)
    noisy = options.get("algorithm_type") == "sde-dpmsolver++"
    x = torch.from_numpy(X_T)
    for k, t in enumerate(scheduler.timesteps):
        more = {"variance_noise": torch.from_numpy(normal(f"sampler/z{k}", X_T.shape))} if noisy else {}
        x = scheduler.step(eps(x, t), t, x, **more).prev_sample
    return x.numpy()


UNIPC, DEIS, DPM = (
    diffusers.UniPCMultistepScheduler,
    diffusers.DEISMultistepScheduler,
    diffusers.DPMSolverMultistepScheduler,
)
NOISY_END = dict(final_sigmas_type="sigma_min")
CASES = {
    "unipc2-bh2": (UNIPC, dict(solver_order=2)),
    "unipc3-bh2": (UNIPC, dict(solver_order=3)),
    "unipc3-bh1": (UNIPC, dict(solver_order=3, solver_type="bh1")),
    "unipc2-bh2-first-level": (UNIPC, dict(solver_order=2, **NOISY_END)),
    "unipc3-bh2-first-level": (UNIPC, dict(solver_order=3, **NOISY_END)),
    "deis2-first-level": (DEIS, dict(solver_order=2)),
    "deis3-first-level": (DEIS, dict(solver_order=3)),
    "dpmsolver++2m": (DPM, dict()),
    "dpmsolver++2m-first-level": (DPM, NOISY_END),
    "sde-dpmsolver++2m": (DPM, dict(algorithm_type="sde-dpmsolver++")),
    "sde-dpmsolver++2m-first-level": (DPM, dict(algorithm_type="sde-dpmsolver++", **NOISY_END)),
}

tensors = {}
print("largest difference at S =", "10", "20", "50", sep="\t")
for name, (kind, options) in CASES.items():
    effects = []
    for steps in (10, 20, 50):
        lowered = sample(kind, steps, **options)
        try:
            effects.append(abs(lowered - sample(kind, steps, lower_order_final=False, **options)).max())
        except torch.linalg.LinAlgError:  # UniPC has no other way to the clean end
            effects.append(numpy.nan)
        tensors[f"{name}/S{steps}"] = lowered
    print(name, *(f"{effect:.1e}" for effect in effects), sep="\t")
print("euler_at_final, first level", *(
    f"{abs(sample(DPM, s, **NOISY_END) - sample(DPM, s, euler_at_final=True, **NOISY_END)).max():.1e}"
    for s in (10, 20, 50)
), sep="\t")
plms = dict(skip_prk_steps=True, set_alpha_to_one=True)
for what, other in [
    ("PNDM, set_alpha_to_one = False", dict(plms, set_alpha_to_one=False)),
    ("PNDM, skip_prk_steps = False", dict(plms, skip_prk_steps=False)),
]:
    print(what, *(
        f"{abs(sample(diffusers.PNDMScheduler, s, **plms) - sample(diffusers.PNDMScheduler, s, **other)).max():.1e}"
        for s in (10, 20, 50)
    ), sep="\t")
KEPT = ("unipc3", "unipc2-bh2-first-level", "deis2", "dpmsolver++2m-first-level", "sde-dpmsolver++2m-first-level")
save_file(
    {case: tensor for case, tensor in tensors.items() if case.startswith(KEPT)},
    HERE / "samplers_lowered.safetensors",
)
