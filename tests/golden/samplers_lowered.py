#!/usr/bin/env python3
"""Makes samplers_lowered.safetensors: diffusers' multistep samplers with their defaults for the last steps.

  python tests/golden/samplers_lowered.py [--write]      (torch, diffusers 0.42.1)

The model, x_T and the noise are those of README.md. The schedule is set to its f64 values, which
diffusers rounds to f32. Printed is how far each default moves the samples: the largest difference from
the same sampler with `lower_order_final = False`, or what the line says.
"""
import diffusers
import numpy
import torch

from closed_form import settle
from diffusers_in_f64 import sample

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
settle(
    "samplers_lowered.safetensors",
    {case: tensor for case, tensor in tensors.items() if case.startswith(KEPT)},
    2e-6,
)
