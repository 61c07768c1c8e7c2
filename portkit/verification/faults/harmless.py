"""Whether a fault of some input sizes shows at any size that a port is for."""

from itertools import product

import numpy as np
from torch import nn

from portkit.runners.torch import run_module
from portkit.verification.battery import guess_inputs, noise
from portkit.verification.faults.entries import Fault
from portkit.verification.faults.injecting import inject, share
from portkit.verification.jobs import Job


def is_harmless(job: Job, net: nn.Module, fault: Fault, seed: int) -> bool:
    """Say whether a fault changes no bit at the smallest and largest sizes of the mapping's claim.

    A mapping that makes no claim about sizes is for all of them.
    """
    valid = job.plan.facts.get("valid_sizes")
    if not (fault.by_size and valid):
        return False
    sizes = tuple(product(valid["h"], valid["w"]))
    inputs = guess_inputs(job.source.skeleton(), sizes)
    if not (inputs and inputs.channels):
        return False
    faulty = share(net)
    inject(fault, faulty, seed)
    random = np.random.default_rng(2)
    for size in sizes:
        images = noise(random, inputs.channels, size)[None]
        try:
            ours, theirs = (run_module(one, images) for one in (net, faulty))
        except Exception:  # whatever a user's own model may raise
            return False
        one, other = ({k: v.tobytes() for k, v in side.items()} for side in (ours, theirs))
        if one != other:
            return False
    return True
