"""Readers and writers against the libraries whose files they are: nothing is lost either way."""

import json
import math
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from portkit.errors import PortkitError
from portkit.formats import as_array, open_reader, open_writer, prefixes, select, strip_prefix
from portkit.formats.protocols import Layout
from portkit.tensors import DType, Extent, TensorSpec

TORCH = {
    DType.BOOL: torch.bool,
    DType.U8: torch.uint8,
    DType.I8: torch.int8,
    DType.F8_E4M3: torch.float8_e4m3fn,
    DType.F8_E5M2: torch.float8_e5m2,
    DType.F8_E8M0: torch.float8_e8m0fnu,
    DType.F8_E4M3FNUZ: torch.float8_e4m3fnuz,
    DType.F8_E5M2FNUZ: torch.float8_e5m2fnuz,
    DType.U16: torch.uint16,
    DType.I16: torch.int16,
    DType.F16: torch.float16,
    DType.BF16: torch.bfloat16,
    DType.U32: torch.uint32,
    DType.I32: torch.int32,
    DType.F32: torch.float32,
    DType.U64: torch.uint64,
    DType.I64: torch.int64,
    DType.F64: torch.float64,
    DType.C64: torch.complex64,
}
# What the legacy serialization has a storage type for, and numpy a dtype.
IN_NUMPY = [d for d in DType if not d.startswith(("F8", "BF16"))]

specs_of_any_dtype = st.lists(
    st.tuples(
        st.sampled_from(list(DType)),
        st.lists(st.integers(0, 5), max_size=4).map(tuple),
    ),
    max_size=5,
).map(lambda forms: tuple(TensorSpec(f"t.{i}", s, d) for i, (d, s) in enumerate(forms)))

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def bits_for(spec, seed=0):
    """Return bytes of any pattern: NaN payloads, infinities, -0.0 and subnormals among them."""
    made = np.random.default_rng([seed, spec.size]).bytes(spec.nbytes)
    if spec.dtype is DType.BOOL:
        return bytes(byte & 1 for byte in made)
    specials = np.array([-0.0, np.nan, np.inf], "<f4").tobytes()
    specials += np.array([0x7FC0BEEF, 0xFF800001], "<u4").tobytes()
    return (specials + made)[: spec.nbytes]


def array_of(spec, seed=0):
    return np.frombuffer(bits_for(spec, seed), spec.dtype.carrier).reshape(spec.shape)


def torch_of(spec, seed=0):
    raw = torch.frombuffer(bytearray(bits_for(spec, seed)) or bytearray(1), dtype=torch.uint8)
    return raw[: spec.nbytes].view(TORCH[spec.dtype]).reshape(spec.shape).clone()


def write(path, specs, metadata=None, **options):
    with open_writer(path, Layout(specs, metadata or {}, **options), force=True) as writer:
        for spec in reversed(specs):  # in no particular order
            writer.write(spec.name, array_of(spec))
    return path


def contents(path):
    """Return every spec and its bytes."""
    with open_reader(path) as reader:
        return {
            spec: as_array(reader.fetch(name), spec).tobytes()
            for name, spec in reader.specs.items()
        }


def expected(specs):
    return {spec: bits_for(spec) for spec in specs}


def raw_bytes(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


# --- reader ∘ writer ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
@quick
@given(specs=specs_of_any_dtype)
def test_what_is_written_is_read(tmp_path, suffix, specs):
    path = write(tmp_path / f"w{suffix}", specs, {"portkit": '{"ä": 1}', "format": "pt"})
    assert contents(path) == expected(specs)
    with open_reader(path) as reader:
        assert reader.metadata == {"portkit": '{"ä": 1}', "format": "pt"}
        assert list(reader.specs.values()) == sorted(reader.specs.values(), key=specs.index)


@quick
@given(specs=specs_of_any_dtype)
def test_what_is_written_as_npz_is_read(tmp_path, specs):
    specs = tuple(spec for spec in specs if spec.dtype in IN_NUMPY)
    path = write(tmp_path / "w.npz", specs, {"portkit": '{"ä": 1}'})
    assert contents(path) == expected(specs)
    with open_reader(path) as reader:
        assert reader.metadata == {"portkit": '{"ä": 1}'}


# --- the reference library reads what we write ----------------------------------------------------


@quick
@given(specs=specs_of_any_dtype)
def test_safetensors_reads_what_we_write(tmp_path, specs):
    path = write(tmp_path / "w.safetensors", specs, {"format": "pt"})
    loaded = safetensors.torch.load_file(path)
    assert {name: raw_bytes(tensor) for name, tensor in loaded.items()} == {
        spec.name: bits_for(spec) for spec in specs
    }
    assert {name: (tuple(t.shape), t.dtype) for name, t in loaded.items()} == {
        spec.name: (spec.shape, TORCH[spec.dtype]) for spec in specs
    }


@quick
@given(specs=specs_of_any_dtype)
def test_torch_reads_what_we_write(tmp_path, specs):
    path = write(tmp_path / "w.pth", specs, {"portkit": "{}"})
    loaded = torch.load(path, weights_only=True)
    assert list(loaded) == [spec.name for spec in specs]
    for spec in specs:
        tensor = loaded[spec.name]
        assert (tuple(tensor.shape), tensor.dtype) == (spec.shape, TORCH[spec.dtype])
        assert raw_bytes(tensor) == bits_for(spec)
        assert tensor.is_contiguous()


def test_torch_maps_and_zipfile_checks_what_we_write(tmp_path):
    spec = TensorSpec("w", (5, 7), DType.F32)
    path = write(tmp_path / "w.pth", (spec,), {"a": "b"})
    mapped = torch.load(path, mmap=True, weights_only=True)["w"]
    assert raw_bytes(mapped) == bits_for(spec)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "archive/data.pkl"


@quick
@given(specs=specs_of_any_dtype)
def test_numpy_reads_what_we_write(tmp_path, specs):
    specs = tuple(spec for spec in specs if spec.dtype in IN_NUMPY)
    path = write(tmp_path / "w.npz", specs, {"portkit": "{}"})
    with np.load(path) as loaded, zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert loaded.files == [spec.name for spec in specs]
        for spec in specs:
            assert (loaded[spec.name].shape, loaded[spec.name].dtype.str) == (
                spec.shape,
                np.dtype(spec.dtype.carrier).str,
            )
            assert loaded[spec.name].tobytes() == bits_for(spec)


# --- we read what the reference library writes ----------------------------------------------------


@quick
@given(specs=specs_of_any_dtype)
def test_we_read_what_safetensors_writes(tmp_path, specs):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({s.name: torch_of(s) for s in specs}, path, {"format": "pt"})
    assert contents(path) == expected(specs)


@pytest.mark.parametrize("modern", [True, False], ids=["zip", "legacy"])
@quick
@given(specs=specs_of_any_dtype)
def test_we_read_what_torch_writes(tmp_path, modern, specs):
    path = tmp_path / "w.pth"
    state = {spec.name: torch_of(spec) for spec in specs}
    torch.save(state, path, _use_new_zipfile_serialization=modern)
    assert contents(path) == expected(specs)
    with open_reader(path) as reader:
        assert all(isinstance(reader.fetch(name), Extent) for name in state)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_we_read_what_numpy_writes(tmp_path, save, order, endian):
    specs = [
        TensorSpec(f"{dtype}{rank}", shape, dtype)
        for dtype in IN_NUMPY
        for rank, shape in enumerate([(), (3,), (2, 0), (2, 3, 4)])
    ]
    arrays = {
        spec.name: np.asarray(
            array_of(spec).astype(np.dtype(spec.dtype.carrier).newbyteorder(endian)), order=order
        )
        for spec in specs
        if spec.dtype is not DType.C64 or endian == "<"
    }
    save(tmp_path / "w.npz", **arrays)
    read = contents(tmp_path / "w.npz")
    assert {spec.name: spec.form for spec in read} == {
        spec.name: spec.form for spec in specs if spec.name in arrays
    }
    for spec, raw in read.items():
        assert raw == np.ascontiguousarray(arrays[spec.name], spec.dtype.carrier).tobytes()


def test_plain_npz_arrays_are_extents(tmp_path):
    np.savez(tmp_path / "w.npz", plain=np.arange(6.0).reshape(2, 3), turned=np.ones((2, 3)).T)
    with open_reader(tmp_path / "w.npz") as reader:
        assert isinstance(reader.fetch("plain"), Extent)
        assert reader.fetch("turned").flags.c_contiguous


# --- ONNX -----------------------------------------------------------------------------------------


def onnx_model(path, initializers, **options):
    graph = helper.make_graph([], "g", [], [], initializers)
    model = helper.make_model(graph)
    helper.set_model_props(model, {"portkit": "{}", "a": "ü"})
    onnx.save_model(model, path, **options)
    return path


def same_as_numpy_helper(path, initializers):
    with open_reader(path) as reader:
        assert list(reader.specs) == [tensor.name for tensor in initializers]
        for tensor in initializers:
            spec = reader.specs[tensor.name]
            ours = as_array(reader.fetch(tensor.name), spec)
            theirs = numpy_helper.to_array(tensor, base_dir=str(path.parent))
            assert spec.shape == theirs.shape == ours.shape
            assert ours.dtype.str == np.dtype(spec.dtype.carrier).str
            assert ours.tobytes() == theirs.tobytes(), tensor.name


ONNX_TYPES = {
    TensorProto.FLOAT: [1.5, -0.0, 3e38],
    TensorProto.DOUBLE: [1.5, -0.0, 1e300],
    TensorProto.INT8: [-128, 0, 127],
    TensorProto.UINT8: [0, 1, 255],
    TensorProto.INT16: [-32768, 0, 32767],
    TensorProto.UINT16: [0, 1, 65535],
    TensorProto.INT32: [-(2**31), 0, 2**31 - 1],
    TensorProto.UINT32: [0, 1, 2**32 - 1],
    TensorProto.INT64: [-(2**63), 0, 2**63 - 1],
    TensorProto.UINT64: [0, 1, 2**64 - 1],
    TensorProto.BOOL: [True, False, True],
    TensorProto.FLOAT16: [1.5, -0.0, 6e4],
    TensorProto.BFLOAT16: [1.5, -0.0, 3e38],
    TensorProto.FLOAT8E4M3FN: [1.5, -0.0, 448.0],
    TensorProto.FLOAT8E5M2: [1.5, -0.0, 57344.0],
    TensorProto.COMPLEX64: [1 + 2j, -0.5j, 3],
}


@pytest.mark.parametrize("kind", ONNX_TYPES, ids=TensorProto.DataType.Name)
def test_typed_onnx_fields_are_read(tmp_path, kind):
    tensors = [
        helper.make_tensor("row", kind, [3, 1], ONNX_TYPES[kind]),
        helper.make_tensor("scalar", kind, [], ONNX_TYPES[kind][:1]),
        helper.make_tensor("none", kind, [0, 3], []),
    ]
    same_as_numpy_helper(onnx_model(tmp_path / "m.onnx", tensors), tensors)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "i1", "u1", "b1", "c8"])
def test_raw_onnx_data_is_read_in_place(tmp_path, dtype):
    tensors = [numpy_helper.from_array(np.arange(6).astype(dtype).reshape(2, 3), "w")]
    path = onnx_model(tmp_path / "m.onnx", tensors)
    same_as_numpy_helper(path, tensors)
    with open_reader(path) as reader:
        assert isinstance(reader.fetch("w"), Extent)
        assert reader.metadata == {"portkit": "{}", "a": "ü"}


def test_external_onnx_data_is_read_in_place(tmp_path):
    arrays = {name: np.arange(n, dtype=np.float32).reshape(-1, 3) for name, n in SIZES.items()}
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    (tmp_path / "sub").mkdir()
    options = {"save_as_external_data": True, "location": "m.data", "size_threshold": 0}
    path = onnx_model(tmp_path / "sub" / "m.onnx", tensors, **options)
    assert {spec.name: raw for spec, raw in contents(path).items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    with open_reader(path) as reader:
        assert reader.fetch("a").path == tmp_path / "sub" / "m.data"


SIZES = {"a": 6, "b": 3000, "c": 9}


def light_graphs():
    return sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("*.onnx"))


@pytest.mark.parametrize("path", light_graphs(), ids=lambda path: path.stem)
def test_the_graphs_that_onnx_ships_are_read(path):
    same_as_numpy_helper(path, list(onnx.load(path).graph.initializer))


def test_graphs_ship_with_onnx():
    assert len(light_graphs()) >= 5


# --- safetensors: where data begins, and shards ---------------------------------------------------


@pytest.mark.parametrize("phase", [8, 64, 1000, 2672, 4088])
@pytest.mark.parametrize("count", [1, 40])
def test_data_begins_at_the_asked_phase(tmp_path, phase, count):
    specs = tuple(TensorSpec(f"t.{i}", (2, 3), DType.F32) for i in range(count))
    path = write(tmp_path / "w.safetensors", specs, phase=phase)
    with open_reader(path) as reader:
        assert reader.fetch("t.0").offset % 4096 == phase
    assert len(safetensors.numpy.load_file(path)) == count


@pytest.mark.parametrize("phase", [0, 3, 37])
def test_data_is_aligned_without_a_usable_phase(tmp_path, phase):
    specs = (TensorSpec("t", (2, 3), DType.F64),)
    path = write(tmp_path / "w.safetensors", specs, phase=phase)
    with open_reader(path) as reader:
        assert reader.fetch("t").offset % 8 == 0
    assert list(safetensors.numpy.load_file(path)) == ["t"]


@pytest.mark.parametrize(("shard_bytes", "files"), [(1, 4), (60, 3), (100, 2), (10_000, 1)])
def test_shards_hold_what_the_index_says(tmp_path, shard_bytes, files):
    forms = [("d", (2, 5)), ("a", (3, 4)), ("c", ()), ("b", (1, 6))]
    specs = tuple(TensorSpec(name, shape, DType.F32) for name, shape in forms)
    write(tmp_path / "m.safetensors", specs, {"format": "pt"}, shard_bytes=shard_bytes)
    names = [f"m-{i:05d}-of-{files:05d}.safetensors" for i in range(1, files + 1)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [*names, "m.safetensors.index.json"]
    index = json.loads((tmp_path / "m.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": sum(spec.nbytes for spec in specs)}
    for name in names:
        held = safetensors.numpy.load_file(tmp_path / name)
        assert set(held) == {t for t, shard in index["weight_map"].items() if shard == name}
    assert contents(tmp_path / "m.safetensors.index.json") == expected(specs)
    with open_reader(tmp_path / "m.safetensors.index.json") as reader:
        assert reader.metadata == {"format": "pt"}


def test_an_exception_between_shards_leaves_nothing(tmp_path):
    specs = tuple(TensorSpec(name, (2, 5), DType.F32) for name in "abc")
    layout = Layout(specs, {}, shard_bytes=1)
    with pytest.raises(KeyError), open_writer(tmp_path / "m.safetensors", layout) as out:
        out.write("z", array_of(specs[0]))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_shard_is_kept(tmp_path):
    specs = tuple(TensorSpec(name, (2, 5), DType.F32) for name in "ab")
    taken = tmp_path / "m-00002-of-00002.safetensors"
    taken.write_text("mine")
    with (
        pytest.raises(PortkitError) as caught,
        open_writer(tmp_path / "m.safetensors", Layout(specs, {}, shard_bytes=1)),
    ):
        raise AssertionError("not reached")
    assert str(caught.value) == f"{taken}: already exists\n  fix: use --force to replace it"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(taken.name, "mine")]


def test_twenty_thousand_tensors_in_ten_shards_are_read(tmp_path):
    specs = tuple(TensorSpec(f"layers.{i}.weight", (2,), DType.BF16) for i in range(20_000))
    write(tmp_path / "m.safetensors", specs, shard_bytes=8000)
    with open_reader(tmp_path / "m.safetensors.index.json") as reader:
        assert {reader.fetch(name).path.name[:7] for name in reader.specs} == {
            f"m-{i:05d}" for i in range(1, 11)
        }
        assert set(reader.specs.values()) == set(specs)


# --- writers --------------------------------------------------------------------------------------

PAIR = (TensorSpec("a", (2, 3), DType.F32), TensorSpec("b", (4,), DType.I64))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
def test_values_come_as_arrays_extents_or_pieces(tmp_path, suffix):
    source = write(tmp_path / "source.safetensors", PAIR)
    copied, pieced = tmp_path / f"copied{suffix}", tmp_path / f"pieced{suffix}"
    with open_reader(source) as reader, open_writer(copied, Layout(PAIR, {})) as writer:
        for name in reader.specs:
            writer.write(name, reader.fetch(name))
    with open_writer(pieced, Layout(PAIR, {})) as writer:
        for spec in PAIR:
            raw = bits_for(spec)
            writer.write(spec.name, iter([raw[:3], bytearray(raw[3:8]), memoryview(raw[8:])]))
    whole = write(tmp_path / f"whole{suffix}", PAIR)
    assert copied.read_bytes() == pieced.read_bytes() == whole.read_bytes()
    assert contents(copied) == expected(PAIR)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (np.zeros((2, 2), np.float32), "a F32[2, 3] takes 24 bytes, got 16"),
        (np.zeros((3, 2), np.float32).T, "only C-ordered arrays are written"),
        ([b"12345678"], "a F32[2, 3] takes 24 bytes, got 8"),
    ],
)
def test_a_value_that_does_not_fit_is_a_bug(tmp_path, value, complaint):
    path = tmp_path / "w.safetensors"
    with (
        pytest.raises(AssertionError) as caught,
        open_writer(path, Layout(PAIR, {})) as writer,
    ):
        writer.write("a", value)
    assert str(caught.value) == complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz"])
def test_leaving_a_tensor_out_is_a_bug(tmp_path, suffix):
    with (
        pytest.raises(AssertionError) as caught,
        open_writer(tmp_path / f"w{suffix}", Layout(PAIR, {})) as writer,
    ):
        writer.write("a", array_of(PAIR[0]))
    assert str(caught.value) == "1 tensors were not written, first b"
    assert list(tmp_path.iterdir()) == []


def test_writing_a_tensor_twice_is_a_bug(tmp_path):
    with (
        pytest.raises(AssertionError) as caught,
        open_writer(tmp_path / "w.safetensors", Layout(PAIR, {})) as writer,
    ):
        [writer.write("a", array_of(PAIR[0])) for _ in range(2)]
    assert str(caught.value) == "a is written twice"


WRITABLE = "use one of: .safetensors, .pth, .pt, .bin, .npz"
BRAIN = (TensorSpec("a", (2,), DType.BF16), TensorSpec("b", (2,), DType.F8_E5M2))
BOTH = "write .safetensors or .pth"
WRITING = {
    "w.onnx": ((), {}, f"w.onnx: cannot write file type '.onnx'\n  fix: {WRITABLE}"),
    "w": ((), {}, f"w: cannot write file type ''\n  fix: {WRITABLE}"),
    "w.pth": ((), {"shard_bytes": 5}, "w.pth: only .safetensors files are sharded"),
    "w.npz": (
        BRAIN,
        {},
        f"a: numpy has no BF16\n  fix: {BOTH}\nb: numpy has no F8_E5M2\n  fix: {BOTH}",
    ),
    "w.safetensors": (
        (TensorSpec("__metadata__", (2,), DType.F32),),
        {},
        "__metadata__: is no tensor's name in .safetensors\n  fix: rename it",
    ),
}


@pytest.mark.parametrize("name", WRITING)
def test_what_a_format_cannot_hold_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    specs, options, complaint = WRITING[name]
    with (
        pytest.raises(PortkitError) as caught,
        open_writer(Path(name), Layout(specs, {}, **options)),
    ):
        raise AssertionError("not reached")
    assert str(caught.value) == complaint
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_does_not_fit_an_npz(tmp_path):
    specs = (TensorSpec("é" * 40_000, (2,), DType.F32),)
    with (
        pytest.raises(PortkitError) as caught,
        open_writer(tmp_path / "w.npz", Layout(specs, {})),
    ):
        raise AssertionError("not reached")
    assert str(caught.value) == (
        f"{'é' * 40}...: is a name of 40000 characters, which no zip holds\n  fix: rename it"
    )


def test_long_metadata_does_not_fit_an_npz(tmp_path):
    with (
        pytest.raises(PortkitError) as caught,
        open_writer(tmp_path / "w.npz", Layout((), {"k": "v" * 70_000})),
    ):
        raise AssertionError("not reached")
    assert str(caught.value) == (
        ".npz: holds 65535 bytes of metadata, 70008 are given\n  fix: write .safetensors or .pth"
    )


def test_offsets_beyond_four_gigabytes_are_written_wide():
    from portkit.formats.zips import _entries, directory, local_header, plan_entries

    sizes = {"archive/big": 5 << 30, "archive/small": 12, "archive/late": 3}
    planned = plan_entries(sizes, 64)
    raw = directory(planned, {"archive/big": 7}, b"")
    found = _entries(raw, 3, Path("w.pth"))
    assert {name: (entry.size, entry.header) for name, entry in found.items()} == {
        one.name: (one.size, one.header) for one in planned
    }
    assert all(one.data % 64 == 0 for one in planned)
    for one in planned:
        assert len(local_header(one, 0)) == one.data - one.header


@pytest.mark.slow
def test_torch_reads_a_sparse_file_beyond_four_gigabytes(tmp_path):
    specs = (TensorSpec("big", (5 << 28,), DType.F32), TensorSpec("after", (3,), DType.F32))
    zeros = np.zeros(1 << 20, np.uint8)
    path = tmp_path / "w.pth"
    with open_writer(path, Layout(specs, {})) as writer:
        writer.write("big", (zeros for _ in range(5 << 10)))
        writer.write("after", array_of(specs[1]))
    loaded = torch.load(path, mmap=True, weights_only=True)
    assert raw_bytes(loaded["after"]) == bits_for(specs[1])
    assert loaded["big"].shape == (5 << 28,)
    with open_reader(path) as reader:
        assert dict(reader.specs) == {spec.name: spec for spec in specs}


# --- torch checkpoints as people have them --------------------------------------------------------


def test_nestings_become_dotted_names_and_the_rest_is_ignored(tmp_path):
    weight, bias = torch.arange(6.0).reshape(2, 3), torch.arange(2.0)
    checkpoint = {
        "epoch": 7,
        "arch": "vgg16",
        "best": np.float64(0.5),
        "classes": {"cat", "dog"},
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "dtype": torch.float32,
        "none": None,
        "state_dict": {"module.w": weight, "module.b": torch.nn.Parameter(bias)},
        "optimizer": {"state": {0: {"momentum": torch.ones(2, 3)}}, "groups": [{"lr": 0.1}]},
    }
    torch.save(checkpoint, tmp_path / "c.pth")
    with open_reader(tmp_path / "c.pth") as reader:
        assert {name: spec.form for name, spec in reader.specs.items()} == {
            "state_dict.module.w": "F32[2, 3]",
            "state_dict.module.b": "F32[2]",
            "optimizer.state.0.momentum": "F32[2, 3]",
        }
        assert reader.ignored == (
            "epoch", "arch", "best", "classes", "device", "size.0", "size.1", "dtype", "none",
            "optimizer.groups.0.lr",
        )  # fmt: skip
        inner = select(reader, "state_dict.module.")
        assert list(inner.specs) == ["w", "b"]
        assert as_array(inner.fetch("w"), inner.specs["w"]).tolist() == weight.tolist()
        assert prefixes(reader.specs) == ("state_dict.module.", "state_dict.")


def test_a_module_state_dict_with_its_versions_is_read(tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 4), torch.nn.BatchNorm2d(3))
    torch.save(net.state_dict(), tmp_path / "n.pth")  # carries _metadata as an attribute
    assert {spec.name: raw for spec, raw in contents(tmp_path / "n.pth").items()} == {
        name: raw_bytes(tensor) for name, tensor in net.state_dict().items()
    }


@pytest.mark.parametrize("modern", [True, False], ids=["zip", "legacy"])
def test_disjoint_slices_of_one_storage_are_read(tmp_path, modern):
    whole = torch.arange(20.0)
    state = {"a": whole[2:8].view(2, 3), "b": whole[8:20].view(4, 3), "none": whole[3:3]}
    torch.save(state, tmp_path / "s.pth", _use_new_zipfile_serialization=modern)
    assert {spec.name: raw for spec, raw in contents(tmp_path / "s.pth").items()} == {
        name: raw_bytes(tensor) for name, tensor in state.items()
    }


def test_axes_of_one_may_have_any_stride(tmp_path):
    tensor = torch.arange(6.0).reshape(2, 1, 3).to(memory_format=torch.contiguous_format)
    odd = tensor.as_strided((2, 1, 3), (3, 17, 1))
    torch.save({"w": odd}, tmp_path / "w.pth")
    assert contents(tmp_path / "w.pth") == {
        TensorSpec("w", (2, 1, 3), DType.F32): raw_bytes(tensor)
    }


# --- select, prefixes -----------------------------------------------------------------------------


def specs_named(*names):
    return {name: TensorSpec(name, (2,), DType.F32) for name in names}


@pytest.mark.parametrize(
    ("names", "offered"),
    [
        (("state_dict.module.w", "state_dict.module.b"), ("state_dict.module.", "state_dict.")),
        (("model.w", "ema.w"), ("model.", "ema.")),
        (("features.0.weight", "classifier.0.bias"), ()),
        (("net.w", "epoch"), ("net.",)),
        ((), ()),
    ],
)
def test_prefixes_worth_offering(names, offered):
    assert prefixes(specs_named(*names)) == offered


def test_stripping_a_prefix_renames_the_specs():
    assert strip_prefix(specs_named("a.b.w", "a.x"), "a.b.") == {
        "w": TensorSpec("w", (2,), DType.F32)
    }


def test_selecting_what_is_not_there_says_what_is(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"w": torch.ones(2)}}, path)
    with open_reader(path) as reader, pytest.raises(PortkitError) as caught:
        select(reader, "model.")
    assert str(caught.value) == (
        f"{path}: no tensor's name starts with 'model.'\n  fix: known: 'state_dict.'"
    )


# --- what a file is, whatever its suffix ----------------------------------------------------------


@pytest.mark.parametrize("name", ["download", "w.pth", "w.bin", "w.safetensors", "w.npz"])
@pytest.mark.parametrize("kind", [".safetensors", "zip", "legacy"])
def test_a_misnamed_file_is_known_by_its_content(tmp_path, name, kind):
    if name == "w.npz" and kind == "zip":
        return  # an .npz is a zip: there the suffix decides
    path, spec = tmp_path / name, TensorSpec("w", (2, 3), DType.F32)
    if kind == ".safetensors":
        safetensors.torch.save_file({"w": torch_of(spec)}, path)
    else:
        torch.save({"w": torch_of(spec)}, path, _use_new_zipfile_serialization=kind == "zip")
    assert contents(path) == expected([spec])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (2, 3)])
def test_extents_become_arrays_of_their_shape(tmp_path, shape):
    spec = TensorSpec("w", shape, DType.BF16)
    path = write(tmp_path / "w.safetensors", (spec,))
    with open_reader(path) as reader:
        array = as_array(reader.fetch("w"), spec)
        assert (array.shape, array.dtype.str, array.size) == (shape, "<u2", math.prod(shape))
