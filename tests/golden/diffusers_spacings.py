#!/usr/bin/env python3
"""Makes diffusers_spacings.json: diffusers' timesteps by spacing, Karras sigmas, scaled-linear alpha-bar.

  python tests/golden/diffusers_spacings.py [--write]      (torch, diffusers 0.42.1)
"""

import json
import sys

import diffusers

from closed_form import HERE

LINEAR = dict(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
SCALED = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
FILE = HERE / "diffusers_spacings.json"
stored = json.loads(FILE.read_text())


def timesteps(spacing, steps):
    scheduler = diffusers.DDIMScheduler(**LINEAR, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    return scheduler.timesteps.tolist()


def karras(steps):
    scheduler = diffusers.HeunDiscreteScheduler(**LINEAR, use_karras_sigmas=True)
    scheduler.set_timesteps(steps)
    # One of each pair: Heun's method calls twice at a level.
    return [s.item() for s in scheduler.sigmas[:1]] + scheduler.sigmas[1:-1:2].tolist()


scaled = diffusers.DDIMScheduler(**SCALED).alphas_cumprod
values = {
    "origin": f"diffusers {diffusers.__version__}",
    "scaled_linear": {t: scaled[int(t)].item() for t in stored["scaled_linear"]},
    "timesteps": {
        name: timesteps(name.split("-")[0], int(name.split("-")[1])) for name in stored["timesteps"]
    },
    "karras_sigmas": {steps: karras(int(steps)) for steps in stored["karras_sigmas"]},
}
if "--write" in sys.argv:
    FILE.write_text(json.dumps(values))
else:
    differ = [key for key in stored if stored[key] != values.get(key)]
    print(f"diffusers_spacings.json: {len(stored)} tables, {len(differ)} differ {differ}")
    sys.exit(bool(differ))
