"""Makes the files that the benchmarks convert: VGG-16's tensors, filled with random bytes.

The safetensors files are written with the standard library; the `.pth` files by torch, in a process
of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path

CONVS = {
    0: "block1_conv1", 2: "block1_conv2", 5: "block2_conv1", 7: "block2_conv2",
    10: "block3_conv1", 12: "block3_conv2", 14: "block3_conv3",
    17: "block4_conv1", 19: "block4_conv2", 21: "block4_conv3",
    24: "block5_conv1", 26: "block5_conv2", 28: "block5_conv3",
}  # fmt: skip
LINEARS = {0: "fc1", 3: "fc2", 6: "predictions"}
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
FEATURES = (512 * 7 * 7, 4096, 4096, 1000)

# Keras lays kernels out height, width, in, out and flattens channels last.
CHANNEL_LAST = f"""portkit: 1
from: keras
to: torchvision:vgg16
tables:
  conv: {json.dumps({name: index for index, name in CONVS.items()}).replace('"', "")}
  linear: {{fc2: 3, predictions: 6}}
rules:
  - map: "{{n:conv}}.kernel -> features.{{conv[n]}}.weight"
    ops: [{{rearrange: "h w in out -> out in h w"}}]
  - map: "{{n:conv}}.bias -> features.{{conv[n]}}.bias"
  - map: "fc1.kernel -> classifier.0.weight"
    ops: [{{rearrange: "(h w c) out -> out (c h w)", sizes: {{h: 7, w: 7}}}}]
  - map: "fc1.bias -> classifier.0.bias"
  - map: "{{n:linear}}.kernel -> classifier.{{linear[n]}}.weight"
    ops: [{{rearrange: "in out -> out in"}}]
  - map: "{{n:linear}}.bias -> classifier.{{linear[n]}}.bias"
"""

LARGE = """portkit: 1
from: layers
to: blocks
for: [any]
rules:
  - map: "layer.{i}.weight -> block.{i+1}.kernel"
    ops: [{rearrange: "out in -> out in 1 1"}]
"""

Shapes = Mapping[str, tuple[int, ...]]

_SAVE = """
import sys, torch
from collections import OrderedDict
from safetensors.torch import load_file
source, output, modern = sys.argv[1:]
state = load_file(source)
order = [line for line in open(source + ".order").read().split()]
state = OrderedDict((name, state[name]) for name in order)
torch.save(state, output, _use_new_zipfile_serialization=modern == "zip")
"""


def torchvision_shapes() -> Shapes:
    """Return VGG-16's tensors as torchvision names and shapes them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for place, index in enumerate(CONVS):
        shapes[f"features.{index}.weight"] = (CHANNELS[place + 1], CHANNELS[place], 3, 3)
        shapes[f"features.{index}.bias"] = (CHANNELS[place + 1],)
    for place, index in enumerate(LINEARS):
        shapes[f"classifier.{index}.weight"] = (FEATURES[place + 1], FEATURES[place])
        shapes[f"classifier.{index}.bias"] = (FEATURES[place + 1],)
    return shapes


def keras_shapes() -> Shapes:
    """Return VGG-16's tensors as Keras names and shapes them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for place, name in enumerate(CONVS.values()):
        shapes[f"{name}.kernel"] = (3, 3, CHANNELS[place], CHANNELS[place + 1])
        shapes[f"{name}.bias"] = (CHANNELS[place + 1],)
    for place, name in enumerate(LINEARS.values()):
        shapes[f"{name}.kernel"] = (FEATURES[place], FEATURES[place + 1])
        shapes[f"{name}.bias"] = (FEATURES[place + 1],)
    return shapes


def write_random_safetensors(path: Path, shapes: Shapes) -> None:
    """Write float32 tensors of random bytes, megabyte by megabyte."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, offset, 1 << 20):
            file.write(os.urandom(min(1 << 20, offset - start)))


def write_pth(source: Path, output: Path, serialization: str) -> None:
    """Save a safetensors file's tensors with torch.save, as `zip` or `legacy`."""
    order = source.with_name(f"{source.name}.order")
    order.write_text("\n".join(torchvision_shapes()))
    words = [sys.executable, "-c", _SAVE, str(source), str(output), serialization]
    subprocess.run(words, check=True)
    order.unlink()


def make_large_file(folder: Path) -> None:
    """Write 5 GB of tensors as a language model has them, and a mapping that renames them."""
    shapes = {f"layer.{i}.weight": (8192, 4096) for i in range(38)}
    write_random_safetensors(folder / "large.safetensors", shapes)
    (folder / "large.yaml").write_text(LARGE)


def make_files(folder: Path) -> None:
    """Write every input of the benchmarks below a folder."""
    write_random_safetensors(folder / "vgg16.safetensors", torchvision_shapes())
    write_random_safetensors(folder / "keras.safetensors", keras_shapes())
    write_pth(folder / "vgg16.safetensors", folder / "zip.pth", "zip")
    write_pth(folder / "vgg16.safetensors", folder / "legacy.pth", "legacy")
    (folder / "keras.yaml").write_text(CHANNEL_LAST)
