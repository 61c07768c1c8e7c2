"""Random weights: the same everywhere, every value its own, logits as if trained."""

import numpy as np
import pytest

from portkit.random_weights import RandomReader
from portkit.tensors import DType, TensorSpec


def reader_of(*specs, seed=0):
    return RandomReader({spec.name: spec for spec in specs}, seed)


WEIGHT = TensorSpec("features.0.weight", (6, 4, 3, 5), DType.F32)


def test_the_bits_are_pinned():
    """Provenance names only the seed: other bits on another machine would be another source."""
    from blake3 import blake3

    found = reader_of(WEIGHT, TensorSpec("z", (2, 2), DType.F32)).fetch(WEIGHT.name)
    assert blake3(found.tobytes()).hexdigest()[:16] == "b905e53996cf6fb6"


def test_seed_and_name_decide_and_nothing_else():
    other = TensorSpec("other", (6, 4, 3, 5), DType.F32)
    one = reader_of(WEIGHT, other, other)
    two = reader_of(WEIGHT, other)
    assert np.array_equal(one.fetch(WEIGHT.name), two.fetch(WEIGHT.name))
    assert not np.array_equal(two.fetch(WEIGHT.name), two.fetch("other"))
    again = reader_of(WEIGHT, other, seed=1)
    assert not np.array_equal(again.fetch(WEIGHT.name), two.fetch(WEIGHT.name))


@pytest.mark.parametrize("dtype", [DType.F16, DType.BF16, DType.F32, DType.F64, DType.I64])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4, 5)])
def test_every_dtype_and_shape_can_be_drawn(dtype, shape):
    found = reader_of(TensorSpec("x", shape, dtype)).fetch("x")
    assert (found.shape, found.dtype) == (shape, np.dtype(dtype.carrier))


def test_batch_norm_buffers_are_drawn_too_and_stay_positive():
    specs = [
        TensorSpec(f"bn.{part}", (500,), DType.F32)
        for part in ("weight", "bias", "running_mean", "running_var")
    ]
    reader = reader_of(*specs, TensorSpec("bn.num_batches_tracked", (), DType.I64))
    values = {spec.name: reader.fetch(spec.name) for spec in specs}
    assert values["bn.running_var"].min() >= 0.5
    assert values["bn.weight"].min() >= 0.5
    assert all(len(np.unique(v)) > 490 for v in values.values())
    assert reader.fetch("bn.num_batches_tracked") >= 1


@pytest.mark.parametrize("arch", ["alexnet", "vgg11", "vgg11_bn"])
def test_logits_look_trained_and_inputs_stay_apart(arch):
    import torch
    import torchvision

    with torch.device("meta"):
        module = getattr(torchvision.models, arch)().eval()
    kinds = {torch.float32: DType.F32, torch.int64: DType.I64}
    specs = {
        name: TensorSpec(name, tuple(t.shape), kinds[t.dtype])
        for name, t in module.state_dict().items()
    }
    reader = RandomReader(specs, 0)
    state = {name: torch.from_numpy(np.array(reader.fetch(name))) for name in specs}
    module.load_state_dict(state, assign=True)
    with torch.inference_mode():
        logits = module(torch.randn(6, 3, 224, 224)).numpy()
    assert 1 < logits.std() < 10
    assert logits.std(0).mean() > 1
    assert len(set(logits.argmax(1))) >= 2
