"""Where models run, and with which arithmetic: set here, never inherited from the environment."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from portkit.errors import PortkitError

DEVICES = ("cpu", "cuda")


def refuse_device(device: str) -> None:
    """Raise PortkitError for a device that does not exist here."""
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        raise PortkitError.at(device, "is no device", f"use one of: {', '.join(DEVICES)}")
    if kind == "cuda" and not torch.cuda.is_available():
        what = "no GPU that this torch can use is here: nothing was run"
        raise PortkitError.at(device, what, "verify with --device cpu")


@contextmanager
def fixed_arithmetic() -> Iterator[None]:
    """Run the block without TF32, without autotuning and without reduced-precision shortcuts.

    Each of these changes results from run to run or by a thousand roundings, and each can be turned
    on by an import or an environment variable. What was set before comes back afterwards.
    """
    before = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        stack.enter_context(
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            )
        )
        stack.callback(torch.set_float32_matmul_precision, before)
        set_precision()
        yield


def set_precision() -> None:
    """Ask for whole float32 multiplications, on the CPU (oneDNN) and on GPUs (TF32)."""
    torch.set_float32_matmul_precision("highest")


def describe_device(device: str) -> dict[str, str]:
    """Return what a report says about where models ran."""
    cpu = device.startswith("cpu")
    name = f"{torch.get_num_threads()} threads" if cpu else torch.cuda.get_device_name(device)
    return {
        "device": f"{device}, {name}",
        "arithmetic": "float32 matmul precision highest, TF32 off, cuDNN autotuning off",
        "torch": str(torch.__version__),
    }
