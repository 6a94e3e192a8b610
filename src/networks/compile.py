"""Compiles a network into an AOTInductor package. `ddim compile` runs this with a Python that has torch.

Usage: compile.py REQUEST, a file of JSON:

    config    diffusers' config.json of a UNet2DModel, with `weights`: a safetensors file of F32
    module    instead of both, FILE.py:FUNCTION of a function that returns a torch.nn.Module
    shape     [C, H, W] of the images
    batch     images a call, or null for any number
    device    "cpu" or "cuda"
    precision "f32" or "bf16"
    autotune  whether kernels are chosen by timing them
    inductor  further options of Inductor, by name
    metadata  texts to keep in the package
    out       the package to write
    room      a folder that is removed afterwards
    held      images on which a module's package is compared with the module

Every step is announced on stdout as one line. A mistake of the user ends with exit code 2 and one line
on stderr that begins with `refused: `, or `unfit: ` where another Python would help.
"""

import ctypes
import importlib.util
import inspect
import json
import math
import os
import platform
import sys
from pathlib import Path


def refuse(message, why="refused"):
    """Ends with a message about something that the user can change."""
    print(f"{why}: {message}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def say(step):
    print(step, flush=True)


try:
    import torch
except ImportError as error:
    refuse(f"this Python cannot import torch ({error})", "unfit")

OLDEST = (2, 6)
if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < OLDEST:
    refuse(f"torch {torch.__version__} is too old to compile packages", "unfit")

from torch import nn
from torch.nn import functional as F


# The network of `networks/unet.rs`: the parameterisation of diffusers' UNet2DModel, with weights that meet
# the same input joined, and nothing in it that branches on the number of images.


class Norm(nn.Module):
    def __init__(self, weights, name, config):
        super().__init__()
        self.weight, self.bias = weights.parameters(name)
        self.groups, self.eps = config["norm_num_groups"], config["norm_eps"]

    def forward(self, x):
        return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)


class Conv(nn.Module):
    def __init__(self, weights, name, stride=1, padding=1, bias=True):
        super().__init__()
        self.weight, self.bias = weights.parameters(name)
        if not bias:
            self.bias = None
        self.stride, self.padding = stride, padding

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class Upsample(nn.Module):
    """Enlargement by two and the 3x3 convolution behind it, as one 2x2 convolution of the small image.

    Four neighbouring outputs see the same pixels, so the kernel's columns that meet the same pixel are
    summed: 16/36 of the products, and the large image is written once.
    """

    def __init__(self, weights, name):
        super().__init__()
        weight, bias = weights.tensors(name)
        weight = weight.double()

        def phase(weight, axis, second):
            a, b, c = weight.split(1, axis)
            return torch.cat([a + b, c] if second else [a, b + c], axis)

        phases = [phase(phase(weight, 2, y), 3, x) for y in (False, True) for x in (False, True)]
        self.weight = weights.parameter(torch.cat(phases))
        self.bias = weights.parameter(bias.repeat(4))

    def forward(self, x):
        n, c, h, w = x.shape
        y = F.conv2d(x, self.weight, self.bias, 1, 1).permute(0, 2, 3, 1)
        a, b, c, d = y.chunk(4, 3)
        upper = torch.stack([a[:, :h, :w], b[:, :h, 1:]], 3)
        lower = torch.stack([c[:, 1:, :w], d[:, 1:, 1:]], 3)
        y = torch.stack([upper, lower], 2)
        return y.reshape(n, 2 * h, 2 * w, a.shape[3]).permute(0, 3, 1, 2)


class Resnet(nn.Module):
    def __init__(self, weights, name, config):
        super().__init__()
        self.norm1 = Norm(weights, f"{name}.norm1", config)
        # Its bias and the timestep's projection are added to the same values.
        self.conv1 = Conv(weights, f"{name}.conv1", bias=False)
        self.part = weights.project(name)
        self.norm2 = Norm(weights, f"{name}.norm2", config)
        self.conv2 = Conv(weights, f"{name}.conv2")
        shortcut = f"{name}.conv_shortcut"
        self.shortcut = Conv(weights, shortcut, padding=0) if weights.has(shortcut) else None

    def forward(self, x, added):
        h = self.conv1(F.silu(self.norm1(x))) + added[self.part][:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.shortcut is None else self.shortcut(x))


class Attention(nn.Module):
    def __init__(self, weights, name, config):
        super().__init__()
        self.norm = Norm(weights, f"{name}.group_norm", config)
        parts = [weights.tensors(f"{name}.{part}") for part in ("to_q", "to_k", "to_v")]
        self.weight = weights.parameter(torch.cat([weight for weight, _ in parts]))
        self.bias = weights.parameter(torch.cat([bias for _, bias in parts]))
        self.out_weight, self.out_bias = weights.parameters(f"{name}.to_out.0")
        width = self.out_bias.shape[0]
        self.heads = width // (config["attention_head_dim"] or width)
        # TF32 is on for cuDNN's convolutions and off for cuBLAS's products.
        self.convolves = weights.device == "cuda" and weights.kind == torch.float32

    def product(self, rows, weight, bias, sides):
        if not self.convolves:
            return F.linear(rows, weight, bias)
        n, pixels, c = rows.shape
        images = rows.reshape(n, *sides, c).permute(0, 3, 1, 2)
        y = F.conv2d(images, weight[:, :, None, None], bias)
        return y.permute(0, 2, 3, 1).reshape(n, pixels, weight.shape[0])

    def forward(self, x):
        n, c, h, w = x.shape
        rows = self.norm(x).permute(0, 2, 3, 1).reshape(n, h * w, c)
        qkv = self.product(rows, self.weight, self.bias, (h, w))
        qkv = qkv.reshape(n, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c)
        y = self.product(y, self.out_weight, self.out_bias, (h, w))
        return y.reshape(n, h, w, c).permute(0, 3, 1, 2) + x


class Level(nn.Module):
    def __init__(self, weights, name, blocks, attention, config):
        super().__init__()
        named = range(blocks)
        self.resnets = nn.ModuleList(Resnet(weights, f"{name}.resnets.{b}", config) for b in named)
        named = named if attention else ()
        self.attentions = nn.ModuleList(
            Attention(weights, f"{name}.attentions.{b}", config) for b in named
        )
        self.sampler = None

    def blocks(self):
        attentions = list(self.attentions) or [None] * len(self.resnets)
        return zip(self.resnets, attentions)


class Unet(nn.Module):
    def __init__(self, config, weights):
        super().__init__()
        self.kind = weights.kind
        widths = config["block_out_channels"]
        levels, layers = len(widths), config["layers_per_block"]
        self.padding = config["downsample_padding"]
        self.conv_in = Conv(weights, "conv_in")
        self.down = nn.ModuleList()
        for l in range(levels):
            name, attends = f"down_blocks.{l}", config["down_block_types"][l].startswith("Attn")
            level = Level(weights, name, layers, attends, config)
            if l + 1 < levels:
                level.sampler = Conv(weights, f"{name}.downsamplers.0.conv", 2, self.padding)
            self.down.append(level)
        self.before = Resnet(weights, "mid_block.resnets.0", config)
        self.middle = Attention(weights, "mid_block.attentions.0", config)
        self.after = Resnet(weights, "mid_block.resnets.1", config)
        self.up = nn.ModuleList()
        for u in range(levels):
            name, attends = f"up_blocks.{u}", config["up_block_types"][u].startswith("Attn")
            level = Level(weights, name, layers + 1, attends, config)
            if u + 1 < levels:
                level.sampler = Upsample(weights, f"{name}.upsamplers.0.conv")
            self.up.append(level)
        self.norm_out = Norm(weights, "conv_norm_out", config)
        self.conv_out = Conv(weights, "conv_out")
        self.time1 = nn.ParameterList(weights.f32("time_embedding.linear_1"))
        self.time2 = nn.ParameterList(weights.f32("time_embedding.linear_2"))
        joined = [torch.cat(parts) for parts in zip(*weights.projections)]
        self.projections = nn.ParameterList(nn.Parameter(part, False) for part in joined)
        self.parts = [bias.shape[0] for _, bias in weights.projections]
        half = widths[0] // 2
        scale = -math.log(10000) / (half - config["freq_shift"])
        frequencies = [math.exp(scale * i) for i in range(half)]
        frequencies = torch.tensor(frequencies, dtype=torch.float64, device=weights.device)
        self.register_buffer("frequencies", frequencies)
        self.flip = config["flip_sin_to_cos"]

    def added(self, t):
        # In f64: a t near 1000 loses three digits of the phase in f32.
        phase = t.to(torch.float64)[:, None] * self.frequencies
        features = [phase.cos(), phase.sin()] if self.flip else [phase.sin(), phase.cos()]
        features = torch.cat(features, 1).to(torch.float32)
        hidden = F.silu(F.linear(features, *self.time1))
        hidden = F.silu(F.linear(hidden, *self.time2))
        return F.linear(hidden, *self.projections).to(self.kind).split(self.parts, 1)

    def forward(self, x, t):
        added = self.added(t)
        x = self.conv_in(x.to(self.kind).contiguous(memory_format=torch.channels_last))
        skips = [x]
        for level in self.down:
            for resnet, attention in level.blocks():
                x = resnet(x, added)
                if attention is not None:
                    x = attention(x)
                skips.append(x)
            if level.sampler is not None:
                # Zeros on the right and at the bottom only: TensorFlow's "same" at stride 2.
                x = level.sampler(F.pad(x, (0, 1, 0, 1)) if self.padding == 0 else x)
                skips.append(x)
        x = self.after(self.middle(self.before(x, added)), added)
        for level in self.up:
            for resnet, attention in level.blocks():
                x = resnet(torch.cat([x, skips.pop()], 1), added)
                if attention is not None:
                    x = attention(x)
            if level.sampler is not None:
                x = level.sampler(x)
        x = self.conv_out(F.silu(self.norm_out(x)))
        return x.to(torch.float32).contiguous()


class Weights:
    """The tensors of a safetensors file of F32: the length of a JSON header, the header, the numbers."""

    def __init__(self, path, device, kind):
        self.device, self.kind, self.projections = device, kind, []
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            self.header = json.loads(file.read(length))
            self.data = bytearray(file.read())
        self.header.pop("__metadata__", None)

    def has(self, layer):
        return f"{layer}.weight" in self.header

    def tensor(self, name):
        entry = self.header[name]
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(self.data, dtype=torch.float32, offset=begin, count=(end - begin) // 4)
        return values.reshape(entry["shape"]).clone()

    def tensors(self, layer):
        return self.tensor(f"{layer}.weight"), self.tensor(f"{layer}.bias")

    def parameter(self, tensor):
        tensor = tensor.to(self.device, self.kind)
        if tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return nn.Parameter(tensor, requires_grad=False)

    def parameters(self, layer):
        return [self.parameter(tensor) for tensor in self.tensors(layer)]

    def f32(self, layer):
        return [nn.Parameter(tensor.to(self.device), False) for tensor in self.tensors(layer)]

    def project(self, resnet):
        """Remembers a block's projection of the timestep, and returns its place among them."""
        weight, bias = self.tensors(f"{resnet}.time_emb_proj")
        bias = bias + self.tensor(f"{resnet}.conv1.bias")
        self.projections.append((weight.to(self.device), bias.to(self.device)))
        return len(self.projections) - 1


def build(request, device, kind):
    """The network, and whether one timestep serves all images."""
    if "module" not in request:
        weights = Weights(request["weights"], device, kind)
        return Unet(request["config"], weights).to(device).eval(), True
    path, _, name = request["module"].rpartition(":")
    if not Path(path).is_file():
        refuse(f"{path} is no file")
    # As when the file is run: what lies beside it can be imported.
    sys.path.insert(0, str(Path(path).resolve().parent))
    spec = importlib.util.spec_from_file_location("user_network", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = getattr(module, name)()
    except Exception as error:
        refuse(f"{request['module']}: {type(error).__name__}: {error}")
    if not isinstance(made, nn.Module):
        refuse(f"{request['module']} returned a {type(made).__name__}, not a torch.nn.Module")
    taken = [p.name for p in inspect.signature(made.forward).parameters.values()]
    if len(taken) < 2:
        refuse(f"{request['module']}: forward takes {taken}, not images and timesteps")
    return Cast(made.to(device, kind).eval(), kind), False


class Cast(nn.Module):
    """A user's network with f32 around it."""

    def __init__(self, inner, kind):
        super().__init__()
        self.inner, self.kind = inner, kind

    def forward(self, x, t):
        return self.inner(x.to(self.kind), t.to(self.kind)).to(torch.float32).contiguous()


def hold(network, request, index, label):
    """Writes images and what the network makes of them, to compare the package with."""
    n = request["held"]
    x = torch.randn([request["batch"] or n, *request["shape"]]).to(request["device"])
    t = torch.full([x.shape[0]], label, device=x.device)
    for name, tensor in (("x", x), ("eps", network(x, t))):
        tensor = tensor[:n].cpu().contiguous()
        if tensor.shape[0] < n:
            tensor = torch.cat([tensor] * n)[:n]
        data = ctypes.string_at(tensor.data_ptr(), tensor.numel() * 4)
        Path(request["room"], f"{name}{index}.f32").write_bytes(data)


def processor():
    """The instruction sets of the processor that code for this machine may use."""
    families = ("sse", "ssse", "avx", "fma", "bmi", "f16c", "amx", "vaes", "vpclmul", "gfni", "movbe", "abm")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return ""
    return " ".join(sorted(f for f in flags.split(":")[1].split() if f.startswith(families)))


def find_cuda(room):
    """Shows the compiler CUDA's headers and the driver's library, wherever they are."""
    from torch.utils import cpp_extension

    home = cpp_extension.CUDA_HOME
    if home is None or not Path(home, "include", "cuda.h").is_file():
        # The packages that torch depends on have the headers as well.
        beside = Path(torch.__file__).parents[1].glob("nvidia/cu*")
        home = next((str(p) for p in beside if (p / "include" / "cuda.h").is_file()), None)
        if home is None:
            refuse("there are no CUDA headers: install the CUDA toolkit, and set CUDA_HOME if it is elsewhere")
    os.environ["CUDA_HOME"] = cpp_extension.CUDA_HOME = home
    # A machine that only runs programs has no libcuda.so, the name that a linker looks for.
    torch.cuda.init()
    maps = Path("/proc/self/maps").read_text().splitlines()
    driver = next((line[line.index("/") :] for line in maps if "/libcuda.so" in line), None)
    if driver is not None:
        folder = Path(room, "driver")
        folder.mkdir()
        (folder / "libcuda.so").symlink_to(driver)
        known = os.environ.get("LIBRARY_PATH")
        os.environ["LIBRARY_PATH"] = f"{folder}:{known}" if known else str(folder)


def main():
    request = json.loads(Path(sys.argv[1]).read_text())
    device, batch, shape = request["device"], request["batch"], request["shape"]
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[request["precision"]]
    if device == "cuda" and not torch.cuda.is_available():
        refuse(f"torch {torch.__version__} of this Python sees no GPU", "unfit")
    if device == "cuda":
        find_cuda(request["room"])
    if device == "cuda" and os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        torch.backends.cudnn.allow_tf32 = False
    say("building the network")
    with torch.no_grad():
        network, shared = build(request, device, kind)
        # An export generalises from an example of any size but 0 and 1.
        images = torch.randn([batch or 8, *shape], device=device)
        # f32 would round a timestep between integers, and with it the phases.
        t = torch.full([1], 500.0, dtype=torch.float64, device=device)
        if not shared:
            t = t.float().expand(images.shape[0]).contiguous()
        out = network(images, t)
        sides = [images.shape[0], shape[1], shape[2]]
        if list(out.shape) not in ([sides[0], c, *sides[1:]] for c in (shape[0], 2 * shape[0])):
            refuse(f"the network returns {list(out.shape)} for images {list(images.shape)}")
        for index, label in enumerate((0.0, 500.0, 999.0) if "module" in request else ()):
            hold(network, request, index, label)
        say("exporting it")
        dynamic = None
        if batch is None:
            n = torch.export.Dim("n", min=1, max=65536)
            dynamic = {"x": {0: n}, "t": None if shared else {0: n}}
        program = torch.export.export(network, (images, t), dynamic_shapes=dynamic)
    metadata = {
        "ddim.device": device,
        "ddim.batch": "dynamic" if batch is None else str(batch),
        "ddim.shape": ",".join(str(side) for side in shape),
        "ddim.channels": str(out.shape[1]),
        "ddim.timesteps": "1" if shared else "n",
        "ddim.precision": request["precision"],
        "ddim.torch": torch.__version__,
        "ddim.machine": platform.machine(),
        "ddim.parameters": str(sum(p.numel() for p in network.parameters())),
        "ddim.tensors": str(sum(1 for _ in network.parameters())),
        "ddim.autotuned": "yes" if request["autotune"] else "no",
    }
    metadata |= request["metadata"]
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        metadata |= {
            "ddim.gpu": torch.cuda.get_device_name(),
            "ddim.architecture": f"sm_{major}{minor}",
            "ddim.tf32": "on" if torch.backends.cudnn.allow_tf32 else "off",
        }
    else:
        metadata["ddim.processor"] = processor()
    options = {
        "aot_inductor.metadata": metadata,
        # The program that runs it decides on the number of threads.
        "cpp.dynamic_threads": True,
        "max_autotune": request["autotune"],
        "coordinate_descent_tuning": request["autotune"] and device == "cuda",
    }
    if hasattr(torch._inductor.config.aot_inductor, "link_libtorch"):
        # The program that loads it has LibTorch already, maybe without its part for CUDA.
        options["aot_inductor.link_libtorch"] = False
    say("compiling it")
    torch._inductor.aoti_compile_and_package(
        program, package_path=request["out"], inductor_configs=options | request["inductor"]
    )
    say("compiled")


if __name__ == "__main__":
    main()
