"""Ports that take other inputs than their source, as the mapping states it."""

import numpy as np
import pytest

from portkit.conversion import convert_port
from portkit.porting import make_port
from portkit.verification import Options, verify_port
from portkit.verification.adapting import adapt_inputs

SIZES = "(in_channels=3, num_classes=7, width=0.0625, hidden=24, pooled=3)"
REVERSED = """\
portkit: 1
from: fc-head
to: conv-head
for: [vgg11]
tables:
  linear: {2: 0, 5: 3, 8: 6}
  conv: {3: 3, 6: 6, 8: 8, 11: 11, 13: 13, 16: 16, 18: 18}
rules:
  - map: "features.0.weight"
    axes: "out in h w"
    ops: [{flip: [in]}]
  - map: "features.0.bias"
  - map: "features.{i:conv}.{p:weight|bias} -> features.{conv[i]}.{p}"
  - map: "classifier.2.weight -> classifier.0.weight"
    ops: [{rearrange: "out (c h w) -> out c h w", sizes: {h: pooled, w: pooled}}]
  - map: "classifier.5.weight -> classifier.3.weight"
    ops: [{rearrange: "out in -> out in 1 1"}]
  - map: "classifier.8.weight -> classifier.6.weight"
    ops: [{rearrange: "out in -> out in 1 1"}]
  - map: "classifier.{i:linear}.bias -> classifier.{linear[i]}.bias"
"""
STATED = """\
facts:
  input: {source: {channel_order: RGB}, target: {channel_order: BGR}}
"""

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("stated", [True, False])
def test_channels_in_another_order_pass_where_that_is_stated(tmp_path, stated):
    (tmp_path / "m.yaml").write_text(REVERSED + STATED * stated)
    port = make_port(f"fc-head:vgg11{SIZES}@random", "conv-head", tmp_path / "m.yaml")
    convert_port(port, tmp_path / "net.safetensors")
    found = verify_port(port, tmp_path / "net.safetensors", Options())
    assert found.passed is stated
    if stated:
        assert {rung.rung for rung in found.rungs} >= {"layers", "outputs", "pipeline"}
        notes = next(rung.notes for rung in found.rungs if rung.rung == "pipeline")
        assert "BGR" in notes[1]


def test_inputs_are_adapted_as_the_formula_says():
    random = np.random.default_rng(3)
    pixels = random.random((2, 3, 5, 4))
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.4])
    facts = {
        "input": {
            "source": {"mean": tuple(mean), "std": tuple(std), "channel_order": "RGB"},
            "target": {"mean": (7.0, 8.0, 9.0), "range": (0.0, 255.0), "channel_order": "BGR"},
        }
    }
    ours = (pixels - mean[:, None, None]) / std[:, None, None]
    theirs = pixels[:, ::-1] * 255 - np.array([7.0, 8.0, 9.0])[:, None, None]
    np.testing.assert_allclose(adapt_inputs(facts)(ours), theirs, rtol=1e-12)


def test_inputs_that_are_alike_are_left_alone():
    assert adapt_inputs({}) is None
    assert adapt_inputs({"input": {"source": {"std": (2.0,)}, "target": {"std": (2.0,)}}}) is None
