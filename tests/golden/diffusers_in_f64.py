"""diffusers' schedulers on the closed-form model, with the schedule set to its f64 values.

In f32, as diffusers has it, the sigma of t = 0 keeps three digits, which moves the samples that end
there by up to 1e-4.
"""

import numpy
import torch

from closed_form import X_T, eps, normal

BETAS = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")


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
