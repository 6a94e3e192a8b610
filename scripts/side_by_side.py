"""What the scripts share that measure two programs side by side: workers, spreads, a random network.

Imported by compare-diffusers, training-ratio and speed-cuda; needs Python alone.
"""
import json
import math
import os
import pathlib
import random
import select
import statistics
import subprocess
import tempfile
import time

# How long threads of OpenMP spin while they wait: as ddim has it, without which PyTorch starves on a busy machine.
WAITING = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000")}

# The network of google/ddpm-cifar10-32, 35.7 million parameters, which is that of the DDPM paper.
DDPM_CIFAR10 = {
    "_class_name": "UNet2DModel",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}


class Failed(Exception):
    """A worker that ended, was too slow or said something else than a number."""


class Worker:
    """A program that does one round for each line on its stdin and answers with a line.

    It waits while the other one is measured, and is ended when nobody needs it any more.
    """

    def __init__(self, command, environment=None, limit=300.0):
        self.errors = tempfile.TemporaryFile()
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **(environment or {})},
        )
        self.pending = b""
        try:
            # Whatever libraries print before is passed over.
            while not (first := self.read(limit)).startswith("ready"):
                limit -= time.monotonic() - begun
        except BaseException:
            self.end()
            raise
        self.said = first.removeprefix("ready").strip()
        self.start = time.monotonic() - begun

    def read(self, limit):
        """The next line, waited for as long as that."""
        until = time.monotonic() + limit
        while b"\n" not in self.pending:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failed(f"no answer within {limit:.0f} s{self.why()}")
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                raise Failed(f"ended with status {self.process.wait()}{self.why()}")
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode().strip()

    def ask(self, line="", limit=120.0):
        try:
            self.process.stdin.write(f"{line}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise Failed(f"ended{self.why()}") from error
        return self.read(limit)

    def round(self, limit=120.0):
        """Images a second."""
        answer = self.ask(limit=limit)
        try:
            return float(answer)
        except ValueError as error:
            raise Failed(f"answered {answer!r}") from error

    def why(self):
        self.errors.seek(0)
        lines = [line for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        return ": " + " | ".join(lines[-3:])[-600:] if lines else ""

    def memory(self):
        """The most main memory that it held, in MiB."""
        try:
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
            return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024
        except (OSError, StopIteration):
            return None

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.errors.close()


def spread(values):
    """The median with the lowest and the highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def shown(numbers, decimals):
    return "{median:.{d}f} [{lowest:.{d}f}, {highest:.{d}f}]".format(**numbers, d=decimals)


def in_turn(workers, rounds, limit=120.0):
    """Images a second of each worker by name, a list with one entry a round; every other round backwards."""
    rates = {name: [] for name in workers}
    for index in range(rounds):
        names = list(workers)
        for name in names if index % 2 == 0 else reversed(names):
            rates[name].append(workers[name].round(limit))
    return rates


def device_memory(device):
    """What all programs hold of the GPU, in MiB; none on a CPU or without nvidia-smi."""
    if device != "cuda":
        return None
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return int(done.stdout.split()[0])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        return None


def shapes(config):
    """Every weight of a UNet2DModel of that configuration, and its shape."""
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    base, last, embedding = widths[0], widths[-1], 4 * widths[0]
    found = {}

    def layer(name, *shape):
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    def resnet(name, before, after):
        layer(f"{name}.norm1", before)
        layer(f"{name}.conv1", after, before, 3, 3)
        layer(f"{name}.time_emb_proj", after, embedding)
        layer(f"{name}.norm2", after)
        layer(f"{name}.conv2", after, after, 3, 3)
        if before != after:
            layer(f"{name}.conv_shortcut", after, before, 1, 1)

    def attention(name, width):
        layer(f"{name}.group_norm", width)
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            layer(f"{name}.{part}", width, width)

    def level(name, index, before, width, attends):
        resnet(f"{name}.resnets.{index}", before, width)
        if attends:
            attention(f"{name}.attentions.{index}", width)

    layer("conv_in", base, config["in_channels"], 3, 3)
    layer("time_embedding.linear_1", embedding, base)
    layer("time_embedding.linear_2", embedding, embedding)
    skips, width = [base], base
    for number, wide in enumerate(widths):
        for index in range(layers):
            attends = config["down_block_types"][number].startswith("Attn")
            level(f"down_blocks.{number}", index, width, wide, attends)
            skips.append(wide)
            width = wide
        if number + 1 < len(widths):
            layer(f"down_blocks.{number}.downsamplers.0.conv", wide, wide, 3, 3)
            skips.append(wide)
    resnet("mid_block.resnets.0", last, last)
    attention("mid_block.attentions.0", last)
    resnet("mid_block.resnets.1", last, last)
    for number, wide in enumerate(reversed(widths)):
        for index in range(layers + 1):
            attends = config["up_block_types"][number].startswith("Attn")
            level(f"up_blocks.{number}", index, width + skips.pop(), wide, attends)
            width = wide
        if number + 1 < len(widths):
            layer(f"up_blocks.{number}.upsamplers.0.conv", wide, wide, 3, 3)
    layer("conv_norm_out", base)
    layer("conv_out", config["out_channels"], base, 3, 3)
    return found


def write_network(folder, config=DDPM_CIFAR10, seed=0):
    """A diffusers folder with uniform weights of the usual bound, 1 / sqrt(inputs), from a seed."""
    import array

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    generator, header, values = random.Random(seed), {}, array.array("f")
    all_shapes = shapes(config)
    for name, shape in sorted(all_shapes.items()):
        begin, count = 4 * len(values), math.prod(shape)
        weight = all_shapes[name.rsplit(".", 1)[0] + ".weight"]
        if len(weight) == 1:  # a norm
            values.extend([1.0 if name.endswith("weight") else 0.0] * count)
        else:
            bound = 1 / math.sqrt(math.prod(weight[1:]))
            values.extend(bound * (2 * x - 1) for x in (generator.random() for _ in range(count)))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, 4 * len(values)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "diffusion_pytorch_model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        values.tofile(file)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder
