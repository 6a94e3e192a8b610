#!/usr/bin/env python3
"""Makes samplers_diffusers.safetensors and .json: diffusers' schedulers on the closed-form model.

  python tests/golden/samplers_diffusers.py [--write]      (torch, diffusers 0.42.1)

States are f64, and the schedulers' own tables are what diffusers makes them, f32.
"""

import json
import sys

import diffusers
import torch
from diffusers.schedulers import scheduling_ddpm

from closed_form import HERE, SHAPE, X_T, eps, normal, settle

BETAS = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
PLAIN = dict(clip_sample=False)
CASES = {
    "ddim-leading": (diffusers.DDIMScheduler, PLAIN),
    "ddim-inverse-leading": (diffusers.DDIMInverseScheduler, PLAIN),
    "ddpm-fixed_small": (diffusers.DDPMScheduler, dict(PLAIN, variance_type="fixed_small")),
    "heun-linspace": (diffusers.HeunDiscreteScheduler, {}),
    "heun-karras": (diffusers.HeunDiscreteScheduler, dict(use_karras_sigmas=True)),
    "dpmsolver++2m-linspace": (diffusers.DPMSolverMultistepScheduler, {}),
    "unipc-bh2-linspace": (diffusers.UniPCMultistepScheduler, {}),
    "pndm-leading": (diffusers.PNDMScheduler, dict(skip_prk_steps=True, set_alpha_to_one=True)),
    "deis-linspace": (diffusers.DEISMultistepScheduler, {}),
}

draws = iter(())
scheduling_ddpm.randn_tensor = lambda *_, **__: torch.from_numpy(next(draws))

tensors, cases = {"x_T": X_T}, {}
for name, (kind, options) in CASES.items():
    for steps in (10, 20, 50):
        scheduler = kind(**BETAS, **options)
        scheduler.set_timesteps(steps)
        draws = (normal(f"sampler/z{k}", SHAPE) for k in range(steps))
        x = torch.from_numpy(X_T)
        if name.startswith("heun"):
            x = x * scheduler.init_noise_sigma.double()
        calls = 0
        for t in scheduler.timesteps:
            x = scheduler.step(eps(scheduler.scale_model_input(x, t), t), t, x).prev_sample
            calls += 1
        tensors[f"diffusers/{name}/S{steps}"] = x.double().numpy()
        case = {"timesteps": [float(t) for t in scheduler.timesteps]}
        cases[f"{name}/S{steps}"] = case if "inverse" in name else {"model_calls": calls} | case

settle("samplers_diffusers.safetensors", tensors, 2e-6)
text = {"diffusers_version": diffusers.__version__, "cases": cases}
path = HERE / "samplers_diffusers.json"
if "--write" in sys.argv:
    path.write_text(json.dumps(text) + "\n")
else:
    stored = json.loads(path.read_text())
    differ = [k for k in stored["cases"].keys() | cases.keys() if stored["cases"].get(k) != cases.get(k)]
    print(f"samplers_diffusers.json: {len(cases)} cases, {len(differ)} differ")
    sys.exit(bool(differ))
