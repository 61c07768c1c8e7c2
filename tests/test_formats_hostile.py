"""Files that lie: each is refused with one clear message, and no file brings portkit down."""

import io
import json
import os
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from portkit.errors import PortkitError
from portkit.formats import as_array, open_reader
from portkit.formats.damage import refuse_damage

MEMORY = 64 << 20


def complaint(path):
    """Return what a file is refused with, whether when opened or when its tensors are fetched."""
    with pytest.raises(PortkitError) as caught:
        read_all(path)
    return str(caught.value).replace(f"{path.parent}{os.sep}", "")


def read_all(path):
    with open_reader(path) as reader:
        return {
            name: as_array(reader.fetch(name), spec).tobytes()
            for name, spec in reader.specs.items()
        }


# --- any file -------------------------------------------------------------------------------------


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "w.pth").mkdir()
    assert complaint(tmp_path / "w.pth") == "w.pth: is a folder\n  fix: name the file inside it"


def test_a_missing_file_is_named(tmp_path):
    assert complaint(tmp_path / "w.pth") == "w.pth: no such file"


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert complaint(tmp_path / "w.h5") == (
        "w.h5: unknown file type '.h5'\n"
        "  fix: use one of: .safetensors, .safetensors.index.json, .pth, .pt, .bin, .npz, .onnx"
    )


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.pth")
    assert complaint(tmp_path / "w.pth") == (
        "w.pth: is no ordinary file\n  fix: save what it gives to a file first"
    )


@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "w.onnx"])
def test_an_empty_tensor_too_large_for_any_array_is_refused(tmp_path, name):
    shape = (0, 1 << 40, 1 << 40)
    head = f"{{'descr':'<f4','fortran_order':False,'shape':{shape}}}".encode()
    files = {
        "w.safetensors": safetensor({"w": entry(shape=shape, end=0)}),
        "w.npz": archive([("w.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head)]),
        "w.onnx": model(raw_tensor(shape, b"")),
    }
    (tmp_path / name).write_bytes(files[name])
    what = "F32[0, 1099511627776, 1099511627776] is no array's shape"
    assert complaint(tmp_path / name) == f"{name}: w: {what}"


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensor({}))

    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert complaint(path) == "w.safetensors: cannot be read: Permission denied"


def test_errors_of_the_block_are_not_the_readers(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensor({}))
    with pytest.raises(OSError, match="elsewhere"), open_reader(path):
        raise OSError(28, "elsewhere")


# --- safetensors ----------------------------------------------------------------------------------


def safetensor(header, data=b"", *, claim=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if claim is None else claim) + raw + data


def entry(shape=(2, 3), begin=0, end=24, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


SIZES = "shape and offsets must be lists of sizes, found"
SAFETENSORS = {
    "empty": (b"", "too short for a header: 0 bytes"),
    "seven bytes": (b"1234567", "too short for a header: 7 bytes"),
    "a long header": (
        safetensor(b"{}", claim=1 << 62),
        "the header claims 4611686018427387904 bytes, more than 100000000",
    ),
    "a header beyond the end": (
        safetensor(b"{}", claim=50),
        "cut short: a header of 50 bytes in 10 in all",
    ),
    "a header cut short": (
        safetensor(b'{"a": 1}', claim=5),
        "the header is no JSON: Expecting value: line 1 column 6 (char 5)",
    ),
    "no JSON": (
        safetensor(b"hello"),
        "the header is no JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    "deep JSON": (
        safetensor(b"[" * 100_000),
        "the header is no JSON: it is nested too deep",
    ),
    "bad UTF-8": (
        safetensor(b'{"\xff": 1}'),
        ("the header is no JSON: 'utf-8' codec can't decode byte 0xff in position 2: "
        "invalid start byte"),
    ),
    "a list": (safetensor([]), "the header is no JSON object"),
    "a name twice": (
        safetensor(b'{"w": {}, "v": {}, "w": {}}'),
        "the header names 'w' twice",
    ),
    "a key twice": (
        safetensor(b'{"w": {"dtype": "F32", "dtype": "F64"}}'),
        "the header names 'dtype' twice",
    ),
    "metadata of numbers": (
        safetensor({"__metadata__": {"a": 1}}),
        "__metadata__ must map text to text",
    ),
    "no table": (safetensor({"w": 7}), "w: needs exactly dtype, shape and data_offsets"),
    "more keys": (
        safetensor({"w": entry() | {"more": 1}}, bytes(24)),
        "w: needs exactly dtype, shape and data_offsets",
    ),
    "an unknown dtype": (safetensor({"w": entry(dtype="F4")}), "w: unknown dtype 'F4'"),
    "a dtype that is none": (safetensor({"w": entry(dtype=[7])}), "w: unknown dtype [7]"),
    "a negative size": (
        safetensor({"w": entry(shape=(-2, 3))}),
        f"w: {SIZES} [-2, 3] and [0, 24]",
    ),
    "a size that is a bool": (
        safetensor({"w": entry(shape=(True, 6))}),
        f"w: {SIZES} [True, 6] and [0, 24]",
    ),
    "a size that is a float": (
        safetensor({"w": entry(shape=(2.0, 3))}),
        f"w: {SIZES} [2.0, 3] and [0, 24]",
    ),
    "an absurd size": (
        safetensor({"w": entry(shape=(10**4000, 3))}),
        f"w: {SIZES} [a number of 13288 bits, 3] and [0, 24]",
    ),
    "many axes": (
        safetensor({"w": entry(shape=(1,) * 65)}),
        f"w: {SIZES} list and [0, 24]",
    ),
    "three offsets": (
        safetensor({"w": {"dtype": "F32", "shape": [], "data_offsets": [0, 4, 8]}}),
        f"w: {SIZES} [] and [0, 4, 8]",
    ),
    "offsets backwards": (
        safetensor({"w": entry(begin=24, end=0)}, bytes(24)),
        "w: F32[2, 3] takes 24 bytes, its offsets span -24",
    ),
    "the wrong length": (
        safetensor({"w": entry(end=20)}, bytes(20)),
        "w: F32[2, 3] takes 24 bytes, its offsets span 20",
    ),
    "a size that overflows": (
        safetensor({"w": entry(shape=(1 << 62, 4), end=0)}),
        "w: F32[4611686018427387904, 4] takes 73786976294838206464 bytes, its offsets span 0",
    ),
    "an overlap": (
        safetensor({"a": entry(), "b": entry(begin=12, end=36)}, bytes(36)),
        "b: overlaps the tensor before it: starts at 12, expected 24",
    ),
    "a hole": (
        safetensor({"a": entry(), "b": entry(begin=32, end=56)}, bytes(56)),
        "b: leaves a hole before it: starts at 32, expected 24",
    ),
    "data cut short": (
        safetensor({"w": entry()}, bytes(23)),
        "cut short: tensors need 24 bytes, 23 are there",
    ),
    "data of none": (
        safetensor({"w": entry()}, bytes(25)),
        "1 bytes after the last tensor belong to none",
    ),
    "a name that is no text": (
        safetensor({"\ud800": entry()}, bytes(24)),
        "a tensor's name is no text: '\\ud800' in it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SAFETENSORS)
def test_broken_safetensors_are_refused(tmp_path, case):
    data, words = SAFETENSORS[case]
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    assert complaint(path) == f"w.safetensors: {words}"


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensor({"a": entry(dtype="F4"), "b": entry(), "c": entry(shape=(-1,))}))
    assert complaint(path) == (
        "w.safetensors: a: unknown dtype 'F4'\n"
        f"w.safetensors: c: {SIZES} [-1] and [0, 24]"
    )  # fmt: skip


INDEX = "m.safetensors.index.json"
SHARD = safetensor({"w": entry()}, bytes(24))
INDICES = {
    "no JSON": (b"hello", f"{INDEX}: no index: a JSON object with weight_map is needed"),
    "no map": (b"{}", f"{INDEX}: no index: a JSON object with weight_map is needed"),
    "a map that is none": (
        b'{"weight_map": 7}',
        f"{INDEX}: no index: a JSON object with weight_map is needed",
    ),
    "a path outside": (
        b'{"weight_map": {"w": "../one"}}',
        f"{INDEX}: shard '../one' lies outside the index's folder",
    ),
    "an absolute path": (
        b'{"weight_map": {"w": "/etc/passwd"}}',
        f"{INDEX}: shard '/etc/passwd' lies outside the index's folder",
    ),
    "a Windows path": (
        b'{"weight_map": {"w": "..\\\\one"}}',
        f"{INDEX}: shard '..\\\\one' lies outside the index's folder",
    ),
    "dots": (
        b'{"weight_map": {"w": ".."}}',
        f"{INDEX}: shard '..' lies outside the index's folder",
    ),
    "a missing shard": (
        b'{"weight_map": {"w": "one", "v": "two"}}',
        f"{INDEX}: shard 'two' is not there",
    ),
    "a missing tensor": (
        b'{"weight_map": {"w": "one", "v": "one"}}',
        f"{INDEX}: v is not in one",
    ),
    "a tensor that is not named": (
        b'{"weight_map": {"v": "one"}}',
        f"{INDEX}: w lies in one, the index does not name it\n{INDEX}: v is not in one",
    ),
    "a broken shard": (
        b'{"weight_map": {"w": "bad"}}',
        "bad: too short for a header: 3 bytes",
    ),
    "a tensor in two shards": (
        b'{"weight_map": {"w": "one", "u": "same"}}',
        f"{INDEX}: w lies in same, the index says one\n{INDEX}: u is not in same",
    ),
}


@pytest.mark.parametrize("case", INDICES)
def test_broken_indices_are_refused(tmp_path, case):
    data, words = INDICES[case]
    folder = tmp_path / "folder"
    folder.mkdir()
    for shard in (folder / "one", folder / "same", tmp_path / "one"):
        shard.write_bytes(SHARD)
    (folder / "bad").write_bytes(b"bad")
    (folder / INDEX).write_bytes(data)
    assert complaint(folder / INDEX) == words


def test_shards_may_be_links_to_a_cache(tmp_path):
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (tmp_path / "blob").write_bytes(SHARD)
    (folder / "one").symlink_to("../blob")
    (folder / INDEX).write_bytes(b'{"weight_map": {"w": "one"}}')
    assert read_all(folder / INDEX) == {"w": bytes(24)}


# --- zips and npz ---------------------------------------------------------------------------------


def npy(array, **replaced):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    raw = out.getvalue()
    for old, new in replaced.get("header", ()):
        assert len(old) == len(new)
        raw = raw.replace(old, new)
    return raw


def archive(entries, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in entries:
            made.writestr(name, data)
    return out.getvalue()


def patched(raw, magic, at, data):
    """Overwrite bytes at an offset from the last header with that magic."""
    start = raw.rindex(magic) + at
    return raw[:start] + data + raw[start + len(data) :]


ROW = npy(np.arange(6.0).reshape(2, 3))
PLAIN = archive([("w.npy", ROW)])
CENTRAL, END = b"PK\1\2", b"PK\5\6"
NUMBERS = "save it as a plain number type"
NPZ = {
    "empty": (b"", "cut short: the zip directory is not there"),
    "text": (b"hello", "cut short: the zip directory is not there"),
    "cut short": (PLAIN[:-30], "cut short: the zip directory is not there"),
    "a directory outside": (
        patched(PLAIN, END, 16, struct.pack("<I", 1 << 30)),
        "the zip directory lies outside the file",
    ),
    "many entries": (
        patched(PLAIN, END, 10, struct.pack("<H", 60_000)),
        "the zip directory lies outside the file",
    ),
    "a wide directory that is not there": (
        patched(PLAIN, END, 10, b"\xff\xff"),
        "the zip64 directory is not there",
    ),
    "a broken directory": (
        patched(PLAIN, CENTRAL, 0, b"XXXX"),
        "the zip directory is broken",
    ),
    "a name that is no text": (
        patched(PLAIN, CENTRAL, 46, b"\xff"),
        "the zip directory is broken",
    ),
    "encrypted": (
        patched(PLAIN, CENTRAL, 8, b"\x01"),
        "entry 'w.npy' is encrypted, which is not read",
    ),
    "another method": (
        patched(PLAIN, CENTRAL, 10, b"\x0c"),
        "entry 'w.npy' is packed by method 12, which is not read",
    ),
    "two sizes": (
        patched(PLAIN, CENTRAL, 24, struct.pack("<I", 17)),
        "entry 'w.npy' has two sizes",
    ),
    "an entry beyond the end": (
        patched(PLAIN, CENTRAL, 42, struct.pack("<I", 100_000)),
        "entry 'w.npy' reaches beyond the file",
    ),
    "an entry without a header": (
        patched(PLAIN, CENTRAL, 42, struct.pack("<I", 3)),
        "entry 'w.npy' has no local header",
    ),
    "two entries of one name": (
        archive([("w.npy", ROW), ("v.npy", ROW)]).replace(b"v.npy", b"w.npy"),
        "the zip directory names 'w.npy' twice",
    ),
    "two arrays of one name": (
        archive([("w.npy", ROW), ("w", ROW)]),
        "two arrays are called 'w'",
    ),
    "packed data that is none": (
        patched(archive([("w.npy", b"\x07hello")]), CENTRAL, 10, b"\x08"),
        ("w.npy: its packed data is broken: "
        "Error -3 while decompressing data: invalid block type"),
    ),
    "no npy": (archive([("w.txt", b"hello there, numpy")]), "w.txt: is no .npy"),
    "objects": (
        archive([("w.npy", npy(np.array([None, 7])))]),
        "w.npy: dtype '|O' is not read\n  fix: save it without objects",
    ),
    "text of numpy": (
        archive([("w.npy", npy(np.array(["one"])))]),
        f"w.npy: dtype '<U3' is not read\n  fix: {NUMBERS}",
    ),
    "records": (
        archive([("w.npy", npy(np.zeros(2, "i4,f4")))]),
        f"w.npy: dtype [tuple, tuple] is not read\n  fix: {NUMBERS}",
    ),
    "wide complex": (
        archive([("w.npy", npy(np.zeros(2, "c16")))]),
        f"w.npy: dtype '<c16' is not read\n  fix: {NUMBERS}",
    ),
    "a header of code": (
        archive([("w.npy", npy(np.zeros(2), header=[(b"{'descr': '<f8'", b"{f(): 0 if 1   ")]))]),
        "w.npy: its header cannot be read",
    ),
    "a negative size": (
        archive([("w.npy", npy(np.zeros(12), header=[(b"(12,)", b"(-2,)")]))]),
        "w.npy: its shape is [-2]",
    ),
    "a size that is a float": (
        archive([("w.npy", npy(np.zeros(12), header=[(b"(12,)", b"(2.,)")]))]),
        "w.npy: its shape is [2.0]",
    ),
    "another size": (
        archive([("w.npy", npy(np.zeros(12), header=[(b"(12,)", b"(99,)")]))]),
        "w.npy: F64[99] takes 792 bytes, 96 are there",
    ),
    "a long header": (
        archive([("w.npy", b"\x93NUMPY\x01\x00\xff\xff" + bytes(90))]),
        "w.npy: its header claims 65535 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NPZ)
def test_broken_npz_are_refused(tmp_path, case):
    data, words = NPZ[case]
    path = tmp_path / "w.npz"
    path.write_bytes(data)
    assert complaint(path) == f"w.npz: {words}"


def test_a_bomb_is_refused_unopened(tmp_path):
    raw = archive([("w.npy", npy(np.zeros(1 << 17)))], zipfile.ZIP_DEFLATED)
    (packed,) = struct.unpack_from("<I", raw, raw.rindex(CENTRAL) + 20)
    (tmp_path / "w.npz").write_bytes(patched(raw, CENTRAL, 24, struct.pack("<I", 0xF000_0000)))
    assert complaint(tmp_path / "w.npz") == (
        f"w.npz: w.npy: claims 4026531840 bytes from {packed}\n"
        "  fix: save it uncompressed, with numpy.savez"
    )


def test_a_long_directory_of_few_entries_is_not_read(tmp_path):
    path = tmp_path / "w.npz"
    with path.open("wb") as file:
        file.truncate(1 << 31)  # sparse
        file.seek(1 << 31)
        file.write(END + struct.pack("<HHHHIIH", 0, 0, 1, 1, 1 << 31, 0, 0))
    assert complaint(path) == "w.npz: the zip directory claims 2147483648 bytes for 1 entries"


def test_a_packed_array_shorter_than_it_says_is_refused(tmp_path):
    raw = npy(np.arange(4096.0))
    packed = zlib.compress(raw[:-9], wbits=-15)
    data = archive([("w.npy", packed)])
    data = patched(patched(data, CENTRAL, 10, b"\x08"), CENTRAL, 24, struct.pack("<I", len(raw)))
    (tmp_path / "w.npz").write_bytes(data)
    assert complaint(tmp_path / "w.npz") == ("w.npz: entry 'w.npy' claims 32896 bytes, holds 32887")


# --- ONNX -----------------------------------------------------------------------------------------


def model(*tensors):
    return helper.make_model(helper.make_graph([], "g", [], [], tensors)).SerializeToString()


def raw_tensor(dims=(2, 3), raw=bytes(24), kind=TensorProto.FLOAT, name="w"):
    return TensorProto(name=name, dims=dims, raw_data=raw, data_type=kind)


def external(**said):
    tensor = TensorProto(name="w", dims=[2, 3], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)
    return model(tensor)


def sparse():
    graph = helper.make_graph([], "g", [], [])
    graph.sparse_initializer.add().dims.append(3)
    return helper.make_model(graph).SerializeToString()


BROKEN = "is no ONNX model: its protobuf is broken"
OUTSIDE = "w: its data lies outside the model's folder:"
PLACED = "w: F32[2, 3] takes 24 bytes, 'd' of 40 bytes has"
ONNX = {
    "empty": (b"", "is empty"),
    "text": (b"hello there", BROKEN),
    "zeros": (bytes(40), BROKEN),
    "cut short": (model(raw_tensor())[:-9], BROKEN),
    "no graph": (b"\x08\x0a", "is no ONNX model: it has no graph"),
    "an endless number": (b"\x08" + b"\xff" * 30, BROKEN),
    "a group": (b"\x0b\x0c", BROKEN),
    "a name that is no text": (
        model(raw_tensor(name="wxyz")).replace(b"wxyz", b"wx\xff\xff"),
        BROKEN,
    ),
    "no name": (model(raw_tensor(name="")), "holds an initialiser without a name"),
    "two of one name": (
        model(raw_tensor(), raw_tensor()),
        "two initialisers are called 'w'",
    ),
    "sparse": (sparse(), "holds sparse initialisers, which are not read"),
    "text tensors": (
        model(helper.make_tensor("w", TensorProto.STRING, [1], [b"a"])),
        "w: ONNX data type 8 is not read",
    ),
    "half bytes": (
        model(raw_tensor(kind=TensorProto.INT4)),
        f"w: ONNX data type {TensorProto.INT4} is not read",
    ),
    "a negative size": (model(raw_tensor((-2, 3))), "w: its shape is [-2, 3]"),
    "an absurd size": (
        model(raw_tensor((1 << 62, 1 << 62))),
        ("w: F32[4611686018427387904, 4611686018427387904] takes "
        "85070591730234615865843651857942052864 bytes, 24 are there"),
    ),
    "another size": (
        model(raw_tensor((2, 4))),
        "w: F32[2, 4] takes 32 bytes, 24 are there",
    ),
    "no data": (
        model(TensorProto(name="w", dims=[2], data_type=TensorProto.FLOAT)),
        "w: F32[2] has no data",
    ),
    "too little data": (
        model(TensorProto(name="w", dims=[2], data_type=TensorProto.FLOAT, float_data=[1.0])),
        "w: F32[2] takes 8 bytes, 4 are there",
    ),
    "data of another type": (
        model(TensorProto(name="w", dims=[2], data_type=TensorProto.FLOAT, int32_data=[1, 2])),
        "w: F32[2] lies in a field for other types",
    ),
    "a path outside": (external(location="../d"), f"{OUTSIDE} '../d'"),
    "a path outside, later": (external(location="a/../../d"), f"{OUTSIDE} 'a/../../d'"),
    "a Windows path": (external(location="..\\d"), f"{OUTSIDE} '..\\\\d'"),
    "a drive": (external(location="C:\\d"), f"{OUTSIDE} 'C:\\\\d'"),
    "an absolute path": (external(location="/etc/passwd"), f"{OUTSIDE} '/etc/passwd'"),
    "no path": (external(), f"{OUTSIDE} ''"),
    "this folder": (external(location="."), "w: its data file '.' is not there"),
    "a link outside": (external(location="link"), f"{OUTSIDE} 'link'"),
    "a missing file": (external(location="e"), "w: its data file 'e' is not there"),
    "a folder": (external(location="sub"), "w: its data file 'sub' is not there"),
    "no number": (external(location="d", offset="x"), "w: its place in 'd' is no number"),
    "an endless number of digits": (
        external(location="d", offset="9" * 5000),
        "w: its place in 'd' is no number",
    ),
    "a negative offset": (external(location="d", offset="-1"), f"{PLACED} 24 at -1"),
    "data beyond the end": (external(location="d", offset="17"), f"{PLACED} 24 at 17"),
    "another length": (external(location="d", length="20"), f"{PLACED} 20 at 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", ONNX)
def test_broken_onnx_is_refused(tmp_path, case):
    data, words = ONNX[case]
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "d").write_bytes(bytes(40))
    (tmp_path / "d").write_bytes(bytes(40))
    (folder / "link").symlink_to("../d")
    path = folder / "m.onnx"
    path.write_bytes(data)
    assert complaint(path) == f"m.onnx: {words}"


# --- any bytes ------------------------------------------------------------------------------------


def valid_files():
    """Return a small valid file of every format, by file name."""
    state = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4)}
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    files = {"w.safetensors": safetensors.numpy.save(state, {"k": "v"})}
    for name, modern in (("zip.pth", True), ("legacy.pth", False)):
        out = io.BytesIO()
        saved = {"epoch": 3, "state_dict": tensors, "lr": np.float64(0.5)}
        torch.save(saved, out, _use_new_zipfile_serialization=modern)
        files[name] = out.getvalue()
    for name, save in (("stored.npz", np.savez), ("packed.npz", np.savez_compressed)):
        out = io.BytesIO()
        save(out, **state)
        files[name] = out.getvalue()
    typed = helper.make_tensor("t", TensorProto.FLOAT16, [2], [1.5, 2.5])
    whole = onnx.ModelProto.FromString(model(raw_tensor(), typed))
    whole.ClearField("opset_import")  # the graph comes last, so that no cut is a whole model
    files["m.onnx"] = whole.SerializeToString()
    return files


VALID = valid_files()
flips = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
)
fuzz = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def only_complains(path, data):
    """Read a file, whatever it holds: it can be read, or a PortkitError says why not."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with suppress(PortkitError):
            read_all(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", VALID)
def test_valid_files_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(VALID[name])
    assert len(read_all(tmp_path / name)) == 2


@pytest.mark.parametrize("name", VALID)
@fuzz
@given(flips=flips)
def test_changed_bytes_are_refused_or_read(tmp_path, name, flips):
    data = bytearray(VALID[name])
    for place, value in flips:
        data[int(place * len(data))] = value
    only_complains(tmp_path / name, bytes(data))


@pytest.mark.parametrize("name", VALID)
@fuzz
@given(place=st.floats(0, 1, exclude_max=True), inserted=st.binary(max_size=6))
def test_inserted_and_removed_bytes_are_refused_or_read(tmp_path, name, place, inserted):
    data = VALID[name]
    at = int(place * len(data))
    only_complains(tmp_path / name, data[:at] + inserted + data[at + 3 :])


@pytest.mark.parametrize("name", VALID)
def test_a_file_cut_short_is_refused(tmp_path, name):
    data = VALID[name]
    for length in range(0, len(data), max(1, len(data) // 150)):
        path = tmp_path / name
        path.write_bytes(data[:length])
        with pytest.raises(PortkitError):
            read_all(path)


@fuzz
@given(data=st.binary(max_size=300))
@pytest.mark.parametrize("name", [*VALID, INDEX])
def test_noise_is_refused_or_read(tmp_path, name, data):
    only_complains(tmp_path / name, data)


# --- checksums ------------------------------------------------------------------------------------


def flipped(data, wanted=b"\0\0\xc0?"):
    """Flip one bit of a number that is 1.5."""
    at = data.index(wanted)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def saved_zip(name, value=1.5, **how):
    out = io.BytesIO()
    weight = np.full(3, value, np.float32)
    if name == "w.npz":
        np.savez(out, other=np.ones(2), weight=weight)
    else:
        state = {"other": torch.ones(2), "weight": torch.from_numpy(weight)}
        torch.save(state, out, **how)
    return out.getvalue()


def refuse(path):
    with open_reader(path) as reader:
        refuse_damage(reader, reader.specs)


@pytest.mark.parametrize("name", ["w.npz", "w.pth"])
def test_a_flipped_bit_in_a_zip_is_seen_by_its_checksum(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(saved_zip(name))
    refuse(path)
    path.write_bytes(flipped(saved_zip(name)))
    with pytest.raises(PortkitError) as caught:
        refuse(path)
    assert str(caught.value) == (
        f"{path}: weight: its CRC-32 is wrong: the file is damaged\n"
        "  fix: copy, download or write it again"
    )


def test_a_packed_array_is_checked_when_it_is_fetched(tmp_path):
    raw = archive([("w.npy", npy(np.arange(6.0)))], zipfile.ZIP_DEFLATED)
    (tmp_path / "w.npz").write_bytes(patched(raw, CENTRAL, 16, b"\1\2\3\4"))
    assert complaint(tmp_path / "w.npz").startswith("w.npz: w.npy: its CRC-32 is wrong")


def test_a_torch_file_whose_pickle_is_damaged_is_not_opened(tmp_path):
    data = saved_zip("w.pth").replace(b"other", b"rehto", 1)
    (tmp_path / "w.pth").write_bytes(data)
    assert "data.pkl: its CRC-32 is wrong" in complaint(tmp_path / "w.pth")


def test_files_without_checksums_are_not_called_damaged(tmp_path):
    computed = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        (tmp_path / "w.pth").write_bytes(saved_zip("w.pth"))
        old = saved_zip("w.pth", _use_new_zipfile_serialization=False)
    finally:
        torch.serialization.set_crc32_options(computed)
    (tmp_path / "old.pth").write_bytes(old)
    refuse(tmp_path / "w.pth")
    refuse(tmp_path / "old.pth")
