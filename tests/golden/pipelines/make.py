"""Makes this folder with diffusers 0.42.1 and torch 2.11: python make.py

The cases, the network of random weights and the peer's sampling are those of scripts/agree-with-pipelines;
here with 4 steps. Every case's scheduler is in cases.json, with the spacing of its steps.
"""
import importlib.machinery
import importlib.util
import json
import pathlib
import shutil
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
loader = importlib.machinery.SourceFileLoader("agree", str(HERE.parents[2] / "scripts/agree-with-pipelines"))
agree = importlib.util.module_from_spec(importlib.util.spec_from_loader("agree", loader))
loader.exec_module(agree)
agree.STEPS = 4

with tempfile.TemporaryDirectory() as folder:
    agree.peer(folder)
    made = pathlib.Path(folder)
    kept = {}
    for name, settings in agree.cases():
        shutil.copy(made / f"{name}.npy", HERE)
        kept[name] = {"scheduler": settings, "tau": settings.get("timestep_spacing", "leading")}
        kept[name]["scheduler"].setdefault("clip_sample", True)
    shutil.copy(made / "x_T.npy", HERE)
    shutil.copy(made / name / "model_index.json", HERE)
    (HERE / "unet").mkdir(exist_ok=True)
    for file in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copy(made / name / "unet" / file, HERE / "unet")
lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in kept.items()]
(HERE / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
