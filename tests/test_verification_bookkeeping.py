"""Provenance is held against the port it speaks of, and nothing is left at its initial value."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from portkit.conversion import OutputOptions, convert_port
from portkit.counterparts import port_of
from portkit.errors import PortkitError
from portkit.porting import make_port
from portkit.verification import Options
from portkit.verification.bookkeeping import check_provenance, check_untouched
from portkit.verification.jobs import Job
from portkit.verification.sides import side_of, written_side

MAPPING = """portkit: 1
from: theirs
to: ours
for: [net]
rules:
  - {map: "{l:seg}.{p:weight|bias} -> {l}.{p}"}
  - {drop: "old.{r:seg}.w", because: "an auxiliary head"}
"""


def job_of(port, path):
    return Job(port.plan, side_of(port.source), written_side(port.target, Path(path)), Options())


def failed(checks):
    return [f"{check.subject}: {check.what}" for check in checks if not check.passed]


@pytest.fixture
def state():
    generator = np.random.default_rng(3)
    shapes = {"a.weight": (4, 3), "a.bias": (4,), "b.weight": (100,), "old.x.w": (2,)}
    return {name: generator.random(shape, np.float32) for name, shape in shapes.items()}


@pytest.fixture
def ported(folder, state):
    """A file that was ported through a mapping of one's own, with a digest of its source."""
    Path("m.yaml").write_text(MAPPING)
    save_file(state, "w.safetensors")
    port = make_port("w.safetensors", "ours", "m.yaml")
    convert_port(port, Path("k.safetensors"), OutputOptions(digest=True))
    return port, folder / "k.safetensors"


def retell(path, **changes):
    """Change what a file says of itself, and nothing else of it."""
    with safe_open(path, "numpy") as file:
        said = json.loads(file.metadata()["portkit"])
    tensors = load_file(path)
    for key, value in changes.items():
        if isinstance(value, dict):
            held = said[key]
            (held[0] if isinstance(held, list) else held).update(value)
        else:
            said[key] = value
    save_file(tensors, path, {"portkit": json.dumps(said)})


def test_a_port_s_file_says_what_was_planned(ported):
    port, path = ported
    for found in (port, port_of(path)):
        checks = check_provenance(job_of(found, path))
        assert failed(checks) == []
        assert [check.what for check in checks] == [
            "made for ours",
            "w.safetensors: as it was when it was ported",
            "made by m.yaml, as planned",
            "0 tensors, as planned",
            "1 tensors, as planned",
        ]


def test_a_port_of_a_known_model_says_what_was_planned(ports):
    checks = check_provenance(job_of(*ports("vgg11")))
    assert failed(checks) == []
    assert [check.subject for check in checks] == [
        f"provenance: {key}" for key in ("target", "source", "mapping", "initialised", "dropped")
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": "theirs"}, ["provenance: target: made for theirs, verified as ours"]),
        (
            {"file": {"size": 7, "header": "blake3:0123456789abcdef"}},
            [
                "provenance: source: w.safetensors: 7 bytes then, ",
                "headers blake3:0123456789ab… then",
            ],
        ),
        (
            {"file": {"data": "blake3:0123456789abcdef"}},
            ["data blake3:0123456789ab… then, blake3:"],
        ),
        (
            {"mappings": {"digest": "blake3:0123456789abcdef"}},
            ["provenance: mapping: m.yaml changed: blake3:0123456789ab… then, blake3:"],
        ),
        (
            {"initialised": ["b.weight", "c"]},
            ["provenance: initialised: b.weight, c said to be, but not planned"],
        ),
        ({"dropped": []}, ["provenance: dropped: old.x.w not said to be"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_file_that_says_something_else_is_found(ported, changes, said):
    port, path = ported
    retell(path, **changes)
    (found,) = failed(check_provenance(job_of(port, path)))
    assert all(words in found for words in said)


def test_a_source_that_changed_is_found(ported, state):
    port, path = ported
    state["a.bias"][0] += 1
    save_file(state, "w.safetensors")
    (found,) = failed(check_provenance(job_of(port, path)))
    assert found.startswith("provenance: source: w.safetensors: data blake3:")


def test_a_mapping_that_changed_is_found_and_another_one_is_said(ported):
    _, path = ported
    Path("m.yaml").write_text(MAPPING + "# edited\n")
    (found,) = failed(check_provenance(job_of(port_of(path, mapping="m.yaml"), path)))
    assert found.startswith("provenance: mapping: m.yaml changed: blake3:")
    Path("m.yaml").rename("n.yaml")
    checks = check_provenance(job_of(port_of(path, mapping="n.yaml"), path))
    assert failed(checks) == []
    assert checks[-1].what == "made by m.yaml, compared through n.yaml"


def test_another_source_is_said_and_no_fault(ported, state):
    _, path = ported
    save_file(state, "copy.safetensors")
    checks = check_provenance(job_of(port_of(path, "copy.safetensors"), path))
    assert failed(checks) == []
    assert checks[1].what == "made from w.safetensors, compared with copy.safetensors"


def test_no_provenance_is_nothing_to_check_and_a_broken_one_an_error(ported):
    port, path = ported
    tensors = load_file(path)
    save_file(tensors, path)
    assert check_provenance(job_of(port, path)) == []
    save_file(tensors, path, {"portkit": "{"})
    with pytest.raises(PortkitError, match="its portkit provenance is broken"):
        check_provenance(job_of(port, path))


@pytest.mark.parametrize(
    ("name", "value", "cause"),
    [
        ("a.bias", 0.0, "zeros"),
        ("b.weight", 1.0, "ones"),
        ("a.weight", 1e-6, "unrelated"),
    ],
)
def test_a_tensor_left_at_its_initial_value_is_found(ported, name, value, cause):
    port, path = ported
    (fine,) = check_untouched(job_of(port, path))
    assert (fine.passed, fine.what) == (
        True,
        "3 float tensors, none left at one number throughout",
    )
    tensors = load_file(path)
    tensors[name][...] = value
    save_file(tensors, path)
    (found,) = check_untouched(job_of(port, path))
    assert (found.subject, found.passed, found.diagnosis.cause) == (name, False, cause)


def test_what_differs_only_beyond_a_glance_is_no_constant(ported):
    port, path = ported
    tensors = load_file(path)
    tensors["b.weight"][...] = 0
    tensors["b.weight"][-1] = 5
    save_file(tensors, path)
    assert all(check.passed for check in check_untouched(job_of(port, path)))


def test_what_the_source_holds_throughout_is_right(ported, state):
    port, path = ported
    state["a.bias"][...] = 0
    save_file(state, "w.safetensors")
    convert_port(port, path, OutputOptions(force=True))
    assert all(check.passed for check in check_untouched(job_of(port, path)))
