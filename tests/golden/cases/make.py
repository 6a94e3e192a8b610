"""Writes cases.tar.gz: checkpoints of the kinds that training scripts leave, of one micro network.

Needs torch 2.11, diffusers 0.42.1 and safetensors. Weights are multiples of 1/32 so that the
archive stays small. `reference.safetensors` holds what PyTorch makes of `x` at label `t`: `raw` of
the weights as they were trained, `average` of their average, `f8` and `f16` of the rounded ones,
`program` of the TorchScript programs; and `sampled`, diffusers' DDIMScheduler on the average (4
steps, leading spacing, eta 0, nothing clipped), from `x`.
"""

import copy
import os
import tarfile
import tempfile

import torch
from torch import nn
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from safetensors.torch import save_file

torch.manual_seed(0)
CONFIG = dict(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(4,), layers_per_block=1,
              down_block_types=("DownBlock2D",), up_block_types=("AttnUpBlock2D",),
              norm_num_groups=2, norm_eps=1e-6, attention_head_dim=None, downsample_padding=0,
              flip_sin_to_cos=False, freq_shift=1)


def network(seed):
    torch.manual_seed(seed)
    net = UNet2DModel(**CONFIG).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_((torch.randn_like(p) * 8).round() / 32)
    return net.requires_grad_(False)


raw, average = network(1), network(2)
x = torch.randn(2, 3, 8, 8)
t = 500
out = lambda net: net(x, t).sample
reference = {"x": x, "raw": out(raw), "average": out(average)}

scheduler = DDIMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, clip_sample=False,
                          set_alpha_to_one=True, timestep_spacing="leading")
scheduler.set_timesteps(4)
state = x
for step in scheduler.timesteps:
    state = scheduler.step(average(state, step).sample, step, state, eta=0.0).prev_sample
reference["sampled"] = state

root = tempfile.mkdtemp()
here = lambda *parts: os.path.join(root, *parts)
raw_sd, average_sd = raw.state_dict(), average.state_dict()
rename = lambda sd, prefix: {prefix + name: value for name, value in sd.items()}


def save(name, value, config=True):
    os.makedirs(here(name))
    torch.save(value, here(name, "ckpt.pt"))
    if config:
        raw.save_config(here(name))


# Averages by list, in the order of parameters().
shadow = [p.clone() for p in average.parameters()]
save("score_sde", {"model": rename(raw_sd, "module.") | {"module.sigmas": torch.linspace(0, 1, 10)},
                   "optimizer": {"state": {}}, "step": 9,
                   "ema": {"decay": 0.9999, "num_updates": 9, "shadow_params": shadow}})
ema = EMAModel(raw.parameters())
ema.shadow_params = shadow
save("diffusers_ema_model", {"unet": raw_sd, "ema": ema.state_dict(), "epoch": 3})
save("shadow_alone", {"ema": {"decay": 0.99, "shadow_params": shadow}})
save("shadow_of_others", {"model": raw_sd, "ema": {"shadow_params": shadow[:-1]}})
save("flat_average", {"model": raw_sd, "ema": torch.cat([p.flatten() for p in shadow])})
save("average_in_optimizer", {"model": raw_sd, "optimizer_states": [{"ema": tuple(shadow)}]})
save("numbers_of_an_average", {"model": raw_sd, "ema": {"decay": 0.99, "updates": torch.tensor(3)}})
save("two_averages", {"model": raw_sd, "ema_0.99": average_sd, "ema_0.9999": average_sd})

# Averages by prefix, as ema_pytorch and latent diffusion have them.
counters = {"initted": torch.tensor(True), "step": torch.tensor(9)}
wrapped = {**rename(raw_sd, "online_model.model."), **rename(average_sd, "ema_model.model."), **counters,
           "online_model.betas": torch.linspace(1e-4, 2e-2, 10), "ema_model.betas": torch.linspace(1e-4, 2e-2, 10)}
save("ema_pytorch", {"step": 9, "model": rename(raw_sd, "model."), "opt": {}, "ema": wrapped, "version": "1"})
save("ema_pytorch_flat", wrapped)
save("ema_pytorch_average_alone", {**rename(average_sd, "ema_model."), **counters})
dotless = {"model_ema." + name.replace(".", ""): value for name, value in rename(average_sd, "net.").items()}
save("lit_ema", {"state_dict": {**rename(raw_sd, "model.net."), **dotless, "model_ema.decay": torch.tensor(0.9),
                                "model_ema.num_updates": torch.tensor(9)}, "global_step": 9})
save("lit_ema_of_others", {**rename(raw_sd, "model.net."), "model_ema.somethingelseweight": torch.zeros(4, 4)})
swa = torch.optim.swa_utils.AveragedModel(raw)
swa.module.load_state_dict(average_sd)
save("averaged_model", swa.state_dict())
save("averaged_model_by_key", {"net": raw_sd, "swa_model": swa.state_dict()})


# Modules pickled whole; the class is PyTorch's own, so that nothing else is needed to load them.
class Holder:
    def __init__(self, ema):
        self.decay, self.ema = 0.99, ema


save("module_whole", raw)
save("modules_whole", {"epoch": 4, "model": raw, "ema": average})
save("object_whole", {"model": raw_sd, "ema": Holder(average)})

# Prefixes and what stands beside the network.
save("process", {**rename(average_sd, "denoise_fn."), "betas": torch.linspace(1e-4, 2e-2, 10),
                 "alphas_cumprod": torch.linspace(1, 0, 10), "posterior_variance": torch.zeros(10)})
save("prefix_of_its_own", {**rename(average_sd, "eps_theta.inner."), "num_batches_tracked": torch.tensor(4),
                           "log_one_minus_alphas_cumprod": torch.zeros(10)})
half = list(average_sd)[20:60]
save("half_under_a_prefix", {name if name not in half else "first." + name: value for name, value in average_sd.items()})
save("with_another_network", {**rename(average_sd, "unet."), "text_encoder.embed.weight": torch.zeros(4, 4)})

# Element types.
os.makedirs(here("f8"))
f8 = {name: value.to(torch.float8_e4m3fn if value.dim() > 1 else torch.float8_e5m2) for name, value in average_sd.items()}
save_file(f8, here("f8", "ckpt.safetensors"))
raw.save_config(here("f8"))
save("f8_pickled", f8)
rounded = network(2)
rounded.load_state_dict({name: value.float() for name, value in f8.items()})
reference["f8"] = out(rounded)
save("f64", {name: value.double() for name, value in average_sd.items()})
os.makedirs(here("f64_beyond"))
save_file({**{n: v.double() for n, v in average_sd.items()}, "conv_in.bias": torch.full((4,), 1e300, dtype=torch.float64)},
          here("f64_beyond", "ckpt.safetensors"))
raw.save_config(here("f64_beyond"))

# Shards.
average.save_pretrained(here("shards"), max_shard_size="5KB")
average.save_pretrained(here("shards_bin"), max_shard_size="5KB", safe_serialization=False)
average.save_pretrained(here("shards_fp16"), max_shard_size="5KB", variant="fp16")

# diffusers' training scripts, and an average that is no longer whole.
raw.save_pretrained(here("checkpoint-500", "unet"))
ema = EMAModel(average.parameters(), model_cls=UNet2DModel, model_config=average.config, use_ema_warmup=True)
ema.save_pretrained(here("checkpoint-500", "unet_ema"))
raw.save_pretrained(here("checkpoint-broken", "unet"))
os.makedirs(here("checkpoint-broken", "unet_ema"))
raw.save_pretrained(here("average_beside"))
save_file(average_sd, here("average_beside", "ema_weights.safetensors"))

# Diffusers' names without a configuration.
os.makedirs(here("no_config"))
save_file(average_sd, here("no_config", "unet.safetensors"))
torch.save({"model": raw_sd, "ema": average_sd}, here("no_config", "ckpt.pt"))


class Program(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)

    def forward(self, x, t):
        return self.mix(x) * (1 + 0.001 * t)[:, None, None, None]


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = nn.Embedding(1000, 3)

    def forward(self, x, t):
        return x + self.rows(t)[:, :, None, None]


class Picky(nn.Module):
    def forward(self, x, t):
        assert x.shape[1] == 5, "five channels are needed"
        return x


with torch.no_grad():
    program, table = Program().eval(), Table().eval()
    program.mix.weight.copy_((program.mix.weight * 32).round() / 32)
    program.mix.bias.copy_((program.mix.bias * 32).round() / 32)
    table.rows.weight.copy_((table.rows.weight * 8).round() / 8)
    labels = torch.full((2,), float(t))
    reference["program"], reference["table"] = program(x, labels), table(x, labels.long())
    reference["program_f16"] = program.half()(x.half(), labels.half()).float()
    for name, module in {"f16": program, "f64": copy.deepcopy(program).double(), "long": table,
                         "long_f16": copy.deepcopy(table).half(), "picky": Picky()}.items():
        torch.jit.save(torch.jit.script(module), here(name + ".pt"))

save_file({name: value.detach().contiguous() for name, value in reference.items()}, here("reference.safetensors"))


def tidy(entry):
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


with tarfile.open(os.path.join(os.path.dirname(__file__), "cases.tar.gz"), "w:gz", compresslevel=9) as tar:
    for name in sorted(os.listdir(root)):
        tar.add(here(name), name, filter=tidy)
