"""Ports end to end without torch: routes, provenance, refusals, round trips to the last bit."""

import json
from pathlib import Path

import numpy as np
import pytest

import portkit
from portkit import formats
from portkit.conversion import OutputOptions, convert_port
from portkit.counterparts import port_of
from portkit.endpoints import open_weights, resolve_source
from portkit.errors import PortkitError
from portkit.formats import as_array
from portkit.formats.protocols import Layout
from portkit.manifests import load_manifest
from portkit.planning import compose_plans
from portkit.porting import make_port
from portkit.provenance import read_provenance
from portkit.random_weights import RandomReader
from portkit.tensors import DType, TensorSpec

SMALL = "(width=0.0625, hidden=24, pooled=3, in_channels=2, num_classes=7)"
NINE = (
    "alexnet",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
)
PLANS = Path(__file__).parent / "plans"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def values_of(path):
    with formats.open_reader(Path(path)) as reader:
        return {n: as_array(reader.fetch(n), s).tobytes() for n, s in reader.specs.items()}


DTYPES = {"float32": DType.F32, "int64": DType.I64, "uint16": DType.BF16}


def write(path, tensors, metadata=None):
    specs = tuple(TensorSpec(n, a.shape, DTYPES[a.dtype.name]) for n, a in tensors.items())
    with formats.open_writer(Path(path), Layout(specs, metadata or {})) as writer:
        for name, array in tensors.items():
            writer.write(name, array)


def drawn(scheme, arch, seed=0, **arguments):
    """Return random tensors of a small model, with NaN payloads and negative zeros among them."""
    reader = RandomReader(load_manifest(scheme, arch, arguments).specs, seed)
    tensors = {name: np.array(reader.fetch(name)) for name in reader.specs}
    for array in tensors.values():
        if array.dtype == np.float32 and array.size > 4:
            flat = array.reshape(-1).view(np.uint32)
            flat[:4] = (0x7FC0_1234, 0xFF80_0001, 0x8000_0000, 0x7F80_0000)
    return tensors


def convert(source, target, output, **options):
    return portkit.convert(source, target, output, options=OutputOptions(**options))


def refusal(call, *arguments, **options):
    with pytest.raises(PortkitError) as error:
        call(*arguments, **options)
    return str(error.value)


@pytest.mark.parametrize("arch", NINE)
def test_there_and_back_only_reinterprets_and_changes_no_name(arch):
    """The whole-size nets, as planned; test_cli_full_size and the next test move real bytes."""
    there = make_port(f"torchvision:{arch}@random", "conv-head").plan
    back = make_port(f"conv-head:{arch}@random", f"torchvision:{arch}").plan
    both = compose_plans(there, back)
    source = load_manifest("torchvision", arch, {}).specs
    assert {step.target.name: step.target for step in both.steps} == dict(source)
    assert all(step.reinterprets for step in both.steps)
    assert [step.sources[0].name for step in both.steps] == [s.target.name for s in both.steps]
    assert {tuple(step.target.shape) for step in there.steps} >= {(1000, 4096, 1, 1)}


@pytest.mark.parametrize("arch", ["alexnet", "vgg11", "vgg13_bn", "vgg11_lrn", "vgg16c_bn"])
def test_a_round_trip_is_bit_identical(arch):
    arguments = {"width": 0.0625, "hidden": 24, "pooled": 3, "in_channels": 2, "num_classes": 7}
    write("fc.safetensors", drawn("fc-head", arch, **arguments))
    convert(f"fc-head:{arch}{SMALL}@fc.safetensors", "conv-head", "conv.safetensors")
    convert("conv.safetensors", "fc-head", "back.safetensors")
    assert values_of("back.safetensors") == values_of("fc.safetensors")
    with formats.open_reader(Path("conv.safetensors")) as reader:
        found = read_provenance(reader.metadata, "conv.safetensors")
        assert reader.specs["classifier.0.weight"].shape[2:] == (3, 3)
    assert found.route == ("fc-head", "torchvision", "conv-head")


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors"])
def test_every_writable_format_carries_provenance(suffix):
    convert(f"fc-head:vgg11{SMALL}@random:3", "conv-head", f"a{suffix}")
    port = port_of(Path(f"a{suffix}"))
    assert str(port.source) == (
        "fc-head:vgg11(width=0.0625, hidden=24, pooled=3, in_channels=2, num_classes=7)@random:3"
    )
    assert port.target.reference.scheme == "conv-head"
    convert(f"a{suffix}", "fc-head", "b.safetensors")


def test_a_port_is_not_applied_twice():
    convert(f"fc-head:vgg11{SMALL}@random", "conv-head", "a.safetensors")
    said = refusal(convert, "a.safetensors", "conv-head", "b.safetensors")
    assert "is conv-head:vgg11(" in said
    assert "already, ported from fc-head:vgg11" in said
    said = refusal(convert, f"fc-head:vgg11{SMALL}@a.safetensors", "conv-head", "b.safetensors")
    assert said.startswith("a.safetensors: holds conv-head:vgg11(")
    assert "its provenance says what it is" in said
    said = refusal(make_port, "a.safetensors", "conv-head:vgg11", "vgg/torchvision_to_conv-head")
    assert "a second time would be wrong" in said
    assert not Path("b.safetensors").exists()


def test_a_mapping_within_one_scheme_is_not_applied_twice():
    Path("flip.yaml").write_text(
        "portkit: 1\nfrom: fc-head:vgg11\nto: fc-head:vgg11\nrules:\n"
        '  - {map: "features.0.weight", axes: "o i h w", ops: [{flip: [i]}]}\n'
        '  - map: "features.{i}.weight"\n    where: {i: [3, 6, 8, 11, 13, 16, 18]}\n'
        '  - map: "features.{i}.bias"\n  - map: "classifier.{i}.{p:weight|bias}"\n'
    )
    source = f"fc-head:vgg11{SMALL}@random"
    portkit.convert(source, "fc-head:vgg11", "a.safetensors", mapping="flip.yaml")
    said = refusal(
        portkit.convert, "a.safetensors", "fc-head:vgg11", "b.safetensors", mapping="flip.yaml"
    )
    assert "has been through this mapping already" in said


def test_an_existing_output_is_kept_without_force():
    convert(f"fc-head:vgg11{SMALL}@random:1", "conv-head", "a.safetensors")
    before = Path("a.safetensors").read_bytes()
    said = refusal(convert, f"fc-head:vgg11{SMALL}@random:2", "conv-head", "a.safetensors")
    assert said == "a.safetensors: already exists\n  fix: use --force to replace it"
    assert Path("a.safetensors").read_bytes() == before
    convert(f"fc-head:vgg11{SMALL}@random:2", "conv-head", "a.safetensors", force=True)
    assert Path("a.safetensors").read_bytes() != before
    assert sorted(path.name for path in Path().iterdir()) == ["a.safetensors"]


def test_the_same_port_makes_the_same_bytes():
    for name in ("a", "b"):
        convert(f"fc-head:vgg11{SMALL}@random:1", "conv-head", f"{name}.safetensors")
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


@pytest.mark.parametrize("digest", [False, True])
def test_a_source_that_moved_or_changed_is_noticed(digest):
    tensors = drawn("fc-head", "alexnet", width=0.0625, hidden=24)
    write("fc.safetensors", tensors)
    convert("fc-head:alexnet@fc.safetensors", "conv-head", "a.safetensors", digest=digest)
    assert port_of(Path("a.safetensors")).source.weights.path == Path("fc.safetensors")
    write(
        "other.safetensors",
        {**tensors, "features.0.weight": np.flip(tensors["features.0.weight"]).copy()},
    )
    Path("other.safetensors").replace("fc.safetensors")
    if digest:
        said = refusal(port_of, Path("a.safetensors"))
        assert said.startswith("a.safetensors: its source fc.safetensors changed: data blake3:")
    write("short.safetensors", {**tensors, "features.0.weight": np.ones((1, 2), np.float32)})
    Path("short.safetensors").replace("fc.safetensors")
    assert "bytes then" in refusal(port_of, Path("a.safetensors"))
    Path("fc.safetensors").unlink()
    said = refusal(port_of, Path("a.safetensors"))
    assert "is not at fc.safetensors (blake3:" in said
    assert "fix: name where it is now with --against" in said


def test_both_files_can_move_together():
    write("fc.safetensors", drawn("fc-head", "alexnet", width=0.0625, hidden=24))
    Path("out").mkdir()
    convert("fc-head:alexnet@fc.safetensors", "conv-head", "out/a.safetensors")
    Path("elsewhere").mkdir()
    Path("fc.safetensors").rename("elsewhere/fc.safetensors")
    Path("out").rename("elsewhere/out")
    port = port_of(Path("elsewhere/out/a.safetensors"))
    assert port.source.weights.path.resolve() == Path("elsewhere/fc.safetensors").resolve()


def test_files_as_people_have_them():
    tensors = drawn("torchvision", "vgg11_bn", num_classes=5)
    small = {n: a for n, a in tensors.items() if not n.endswith("num_batches_tracked")}
    write("old.safetensors", {f"state_dict.module.{n}": a for n, a in small.items()})
    said = refusal(make_port, "torchvision:vgg11_bn@old.safetensors", "conv-head")
    assert said == (
        "old.safetensors: holds a torchvision:vgg11_bn state dict under 'state_dict.module.'\n"
        "  fix: write old.safetensors#state_dict.module."
    )
    port = make_port("torchvision:vgg11_bn@old.safetensors#state_dict.module.", "conv-head")
    assert str(port.source) == (
        "torchvision:vgg11_bn(num_classes=5)@old.safetensors#state_dict.module."
    )
    assert port.target.reference.model == "conv-head:vgg11_bn(num_classes=5)"
    assert len(port.plan.made) == 8
    assert {step.because for step in port.plan.made} == {
        "weight files older than PyTorch 0.4.1 have none"
    }
    assert refusal(make_port, "old.safetensors", "conv-head").startswith(
        "old.safetensors: holds a torchvision:vgg11_bn state dict under 'state_dict.module.'"
    )


def test_a_file_that_fits_two_models_is_not_guessed(monkeypatch):
    write("a.safetensors", drawn("conv-head", "alexnet", width=0.0625, hidden=24))
    both = tuple(load_manifest("conv-head", arch, {}) for arch in ("alexnet", "vgg11"))
    monkeypatch.setattr("portkit.endpoints.manifests.recognise", lambda _: both)
    assert refusal(resolve_source, "a.safetensors") == (
        "a.safetensors: fits 2 models: conv-head:alexnet, conv-head:vgg11\n"
        "  fix: write conv-head:alexnet@a.safetensors or conv-head:vgg11@a.safetensors"
    )


def test_a_bare_file_is_recognised_or_says_why_not():
    write("conv.safetensors", drawn("conv-head", "alexnet", width=0.0625, hidden=24))
    source = resolve_source("conv.safetensors")
    assert source.reference.model == "conv-head:alexnet(width=0.0625, hidden=24)"
    tensors = drawn("fc-head", "vgg11", width=0.0625, hidden=24)
    write("vgg.safetensors", tensors)
    assert resolve_source("vgg.safetensors").reference.arch == "vgg11"
    del tensors["features.0.bias"]
    write("odd.safetensors", tensors)
    said = refusal(resolve_source, "odd.safetensors")
    assert said.startswith("odd.safetensors: fits no known model. Nearest: fc-head:vgg11")


def test_half_precision_passes_through():
    specs = load_manifest("fc-head", "alexnet", {"width": 0.0625, "hidden": 24}).specs
    tensors = {n: np.arange(s.size, dtype=np.uint16).reshape(s.shape) for n, s in specs.items()}
    write("half.safetensors", tensors)
    convert("fc-head:alexnet@half.safetensors", "conv-head", "a.safetensors")
    with formats.open_reader(Path("a.safetensors")) as reader:
        assert {spec.dtype for spec in reader.specs.values()} == {DType.BF16}


def test_a_mapping_of_ones_own_needs_no_known_model():
    kernel = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    write(
        "keras.safetensors",
        {"conv/kernel:0": kernel, "conv/bias:0": np.arange(5, dtype=np.float32)},
    )
    Path("m.yaml").write_text(
        "portkit: 1\nfrom: keras-like\nto: torch-like\nfor: [mine]\nrules:\n"
        '  - map: "{n:seg}/kernel:0 -> {n}.weight"\n'
        '    ops: [{rearrange: "h w i o -> o i h w"}]\n'
        '  - map: "{n:seg}/bias:0 -> {n}.bias"\n'
    )
    done = portkit.convert("keras.safetensors", "torch-like", "out.safetensors", mapping="m.yaml")
    assert not done.plan.steps[0].reinterprets
    found = values_of("out.safetensors")
    assert found["conv.weight"] == kernel.transpose(3, 2, 0, 1).tobytes()
    assert port_of(Path("out.safetensors")).plan == done.plan
    Path("m.yaml").write_text(Path("m.yaml").read_text() + "# changed\n")
    assert "its mapping m.yaml changed since" in refusal(port_of, Path("out.safetensors"))


def test_a_target_is_a_model_or_a_head():
    source = f"fc-head:vgg11{SMALL}@random"
    assert refusal(make_port, source, "conv-heads").startswith(
        "conv-heads: is no model that tensors can be moved into\n  fix: use one of: fc-head, "
    )
    said = refusal(make_port, source, "conv-head:vgg16")
    assert said.endswith(
        "no shipped mapping leads to conv-head:vgg16"
        "(num_classes=7, in_channels=2, width=0.0625, hidden=24, pooled=3)\n"
        "  fix: write one: `portkit mappings new SRC DST`, then `--mapping FILE`"
    )
    assert refusal(make_port, source, "conv-head:vgg11@w.pth").startswith(
        "conv-head:vgg11@w.pth: a target has no weights yet"
    )
    assert refusal(make_port, "fc-head:vgg11", "conv-head") == (
        "fc-head:vgg11: names no weights\n  fix: write fc-head:vgg11@FILE, or fc-head:vgg11@random"
    )


def test_published_weights_that_are_not_there_say_where_to_put_them(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("portkit.downloads.download_published", lambda *_: "there is no network")
    said = refusal(make_port, "torchvision:vgg16", "conv-head")
    folder = tmp_path / "home" / "hub" / "checkpoints"
    assert said == (
        f"torchvision:vgg16: vgg16-397923af.pth is not in {folder} and there is no network\n"
        f"  fix: put vgg16-397923af.pth into {folder}, or name a file: torchvision:vgg16@FILE, "
        "or use torchvision:vgg16@random"
    )


def test_broken_provenance_is_said_not_ignored():
    for text in ("{", "[]", '{"version": 1}', json.dumps({"version": "1", "source": "a"})):
        said = refusal(read_provenance, {"portkit": text}, "f.safetensors")
        assert said.startswith("f.safetensors: its portkit provenance is broken: ")


def test_nothing_is_left_when_a_conversion_fails(monkeypatch):
    port = make_port(f"fc-head:vgg11{SMALL}@random", "conv-head")

    def broken(*_):
        raise PortkitError.at("here", "stopped in the middle")

    monkeypatch.setattr("portkit.conversion.converting.run_plan", broken)
    assert refusal(convert_port, port, Path("a.safetensors")) == "here: stopped in the middle"
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.txt")), ids=lambda path: path.stem)
def test_plans_are_golden(path):
    """One line a step; the first line of the file names both ends."""
    ends, *lines = path.read_text().splitlines()
    plan = make_port(*ends.split(" ⇒ ")).plan
    shown = [
        f"{step}  [{ops}]  {step.where}  {' · '.join(step.blind)}".rstrip()
        for step in plan.steps
        for ops in ["; ".join(map(str, step.ops))]
    ]
    assert shown == lines


def test_there_are_golden_plans():
    assert len(list(PLANS.glob("*.txt"))) >= 4


def test_weights_open_under_the_models_names():
    source = resolve_source(f"fc-head:vgg11{SMALL}@random")
    with open_weights(source) as reader:
        assert list(reader.specs) == list(source.specs)


def test_a_changed_shard_is_noticed_by_its_digest():
    tensors = drawn("fc-head", "alexnet", width=0.0625, hidden=24)
    write("fc.safetensors", tensors)
    portkit.convert(
        "fc-head:alexnet@fc.safetensors",
        "conv-head",
        "conv.safetensors",
        options=OutputOptions(shard_bytes=20_000),
    )
    index = Path("conv.safetensors.index.json")
    assert index.is_file()
    convert(str(index), "fc-head", "back.safetensors", digest=True)
    port_of(Path("back.safetensors"))
    shard = max(Path().glob("conv-0*.safetensors"))
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    assert "changed: data blake3:" in refusal(port_of, Path("back.safetensors"))


def test_what_a_checkpoint_holds_beside_tensors_is_said():
    import torch

    net = {"w": torch.zeros(2)}
    torch.save({"net": net, "epoch": 3, "lr": 0.1}, "c.pth")
    Path("m.yaml").write_text('portkit: 1\nfrom: a\nto: b\nfor: [x]\nrules:\n  - map: "w"\n')
    plan = make_port("c.pth#net.", "b", "m.yaml").plan
    assert plan.notes == ("the source also holds epoch, lr: not looked at",)


def test_a_mapping_of_ones_own_leads_back_too():
    kernel = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    write("theirs.safetensors", {"k": kernel, "b": np.arange(5, dtype=np.float32)})
    Path("m.yaml").write_text(
        "portkit: 1\nfrom: theirs\nto: mine\nfor: [x]\nrules:\n"
        '  - {map: "k -> w", ops: [{rearrange: "h w i o -> o i h w"}]}\n  - map: "b"\n'
    )
    portkit.convert("theirs.safetensors", "mine", "mine.safetensors", mapping="m.yaml")
    portkit.convert("mine.safetensors", "theirs", "back.safetensors", mapping="m.yaml")
    assert values_of("back.safetensors") == values_of("theirs.safetensors")
    assert port_of(Path("back.safetensors")).plan.mappings[0].inverted
    said = refusal(make_port, "mine.safetensors", "mine", "m.yaml")
    assert "a second time would be wrong" in said


def test_an_artifact_finds_its_demo_and_misses_its_mapping():
    convert("demo:fashion", "conv-head", "a.safetensors")
    Path("sub").mkdir()
    Path("a.safetensors").rename("sub/a.safetensors")
    assert str(port_of(Path("sub/a.safetensors")).source).endswith("@demo:fashion")
    write("t.safetensors", {"w": np.ones(2, np.float32)})
    Path("m.yaml").write_text('portkit: 1\nfrom: a\nto: b\nfor: [x]\nrules:\n  - map: "w"\n')
    portkit.convert("t.safetensors", "b", "b.safetensors", mapping="m.yaml")
    Path("b.safetensors").rename("sub/b.safetensors")
    assert refusal(port_of, Path("sub/b.safetensors")) == (
        "sub/b.safetensors: its mapping is not at m.yaml\n"
        "  fix: name where it is now with --mapping"
    )


def test_another_precision_than_the_models_is_said():
    specs = load_manifest("fc-head", "alexnet", {"width": 0.0625, "hidden": 24}).specs
    tensors = {n: np.zeros(s.shape, np.uint16) for n, s in specs.items()}
    write("half.safetensors", tensors)
    notes = make_port("fc-head:alexnet@half.safetensors", "conv-head").plan.notes
    assert notes == ("features.0.weight and 15 more stay BF16, the model has F32",)


def test_shards_of_a_replaced_index_go_with_it():
    source = f"fc-head:vgg11{SMALL}@random"
    convert(source, "conv-head", "a.safetensors", shard_bytes=20_000)
    before = set(Path().glob("a-*.safetensors"))
    Path("ab-00001-of-00002.safetensors").write_bytes(b"another's")
    convert(source, "conv-head", "a.safetensors", shard_bytes=90_000, force=True)
    after = set(Path().glob("a-*.safetensors"))
    assert len(after) < len(before)
    assert not after & before
    assert Path("ab-00001-of-00002.safetensors").exists()
    port_of(Path("a.safetensors.index.json"))


def test_a_source_is_never_written_over_even_by_force():
    convert(f"fc-head:vgg11{SMALL}@random", "conv-head", "a.safetensors")
    before = Path("a.safetensors").read_bytes()
    said = refusal(convert, "a.safetensors", "fc-head", "a.safetensors", force=True)
    assert said == (
        "a.safetensors: is what the tensors come from, and the source is never touched\n"
        "  fix: name another output"
    )
    assert Path("a.safetensors").read_bytes() == before
    convert("a.safetensors", "fc-head", "s.safetensors", shard_bytes=20_000)
    index = "s.safetensors.index.json"
    said = refusal(convert, index, "conv-head", "s.safetensors", shard_bytes=9_000, force=True)
    assert "the source is never touched" in said
    assert port_of(Path(index))
