#!/usr/bin/env python3
"""Makes samplers_multistep.safetensors: SDE-DPM-Solver++(2M), and UniPC to t = 0 in full order.

  python tests/golden/samplers_multistep.py [--write]      (torch, diffusers 0.42.1)
"""

import diffusers

from closed_form import settle
from diffusers_in_f64 import sample

FULL = dict(lower_order_final=False, final_sigmas_type="sigma_min")
CASES = {
    "sde-dpmsolver++2m-linspace": (
        diffusers.DPMSolverMultistepScheduler,
        dict(algorithm_type="sde-dpmsolver++"),
    ),
    "unipc-bh1-first-level": (
        diffusers.UniPCMultistepScheduler,
        dict(FULL, solver_order=2, solver_type="bh1"),
    ),
    "unipc3-bh2-first-level": (diffusers.UniPCMultistepScheduler, dict(FULL, solver_order=3)),
}

settle(
    "samplers_multistep.safetensors",
    {
        f"diffusers/{name}/S{steps}": sample(kind, steps, **options)
        for name, (kind, options) in CASES.items()
        for steps in (10, 20, 50)
    },
    2e-6,
)
