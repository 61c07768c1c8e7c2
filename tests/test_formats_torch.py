"""Torch's pickles, built by hand: the old helpers that real files use, and what must not be run."""

import io
import os
import pickle
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from torch._utils import _rebuild_tensor, _rebuild_tensor_v2

from portkit.errors import PortkitError
from portkit.formats import as_array, open_reader
from portkit.formats.pickles import TORCH_DTYPES

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"long": 4}}
NO_GRADIENT = False
RESAVE = "save its state dict instead: torch.save(model.state_dict(), FILE)"


class Call:
    """Pickles as a call of a function that the unpickler is to find by name."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Stored:
    """Pickles as a persistent id, as torch writes storages."""

    def __init__(self, *pid):
        self.pid = pid


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Stored) else None


def pickled(value, protocol=2):
    out = io.BytesIO()
    Pickler(out, protocol).dump(value)
    return out.getvalue()


def storage(key="0", count=6, kind=torch.FloatStorage, view=()):
    return Stored("storage", kind, key, "cpu", count, *view)


def tensor(held=None, *, offset=0, shape=(2, 3), strides=(3, 1)):
    return Call(_rebuild_tensor_v2, held or storage(), offset, shape, strides, NO_GRADIENT, {})


def legacy(root, storages, *, protocol=PROTOCOL, system=SYSTEM, keys=None):
    """Return a legacy file: five pickles, then each storage's element count and bytes."""
    parts = [MAGIC, protocol, system, root, list(storages) if keys is None else keys]
    data = b"".join(map(pickled, parts))
    for array in storages.values():
        data += struct.pack("<q", array.size) + array.tobytes()
    return data


def zipped(data_pkl, storages=(("0", 24),), **entries):
    """Return a zip as torch.save writes it, around any pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("w/data.pkl", data_pkl)
        for key, nbytes in storages:
            archive.writestr(f"w/data/{key}", bytes(range(nbytes)))
        for name, data in entries.items():
            archive.writestr(f"w/{name}", data)
    return out.getvalue()


def patched(raw, magic, at, data):
    """Overwrite bytes at an offset from the last header with that magic."""
    start = raw.rindex(magic) + at
    return raw[:start] + data + raw[start + len(data) :]


def read(path):
    with open_reader(path) as reader:
        return {
            name: as_array(reader.fetch(name), spec).tolist() for name, spec in reader.specs.items()
        }


def complaint(folder, data, name="w.pth"):
    """Return what a file is refused with."""
    (folder / name).write_bytes(data)
    with pytest.raises(PortkitError) as caught, open_reader(folder / name):
        raise AssertionError("not reached")
    return str(caught.value).replace(f"{folder}{os.sep}", "")


# --- what old files hold --------------------------------------------------------------------------

SIX = np.arange(6, dtype=np.float32)


def test_the_first_rebuild_helper_takes_four_arguments(tmp_path):
    old = Call(_rebuild_tensor, storage("94", 6), 0, (2, 3), (3, 1))
    (tmp_path / "w.pth").write_bytes(legacy({"w": old}, {"94": SIX}))
    assert read(tmp_path / "w.pth") == {"w": [[0, 1, 2], [3, 4, 5]]}


def test_storages_may_be_views_of_others(tmp_path):
    whole = storage("94", 20, view=(None,))
    part = storage("94", 20, view=(("95", 8, 6),))
    root = {
        "part": tensor(part),
        "whole": tensor(whole, shape=(8,), strides=(1,)),
        "inner": tensor(storage("94", 20, view=(("96", 14, 6),)), offset=2, shape=(2, 2),
                        strides=(2, 1)),
    }  # fmt: skip
    (tmp_path / "w.pth").write_bytes(legacy(root, {"94": np.arange(20, dtype=np.float32)}))
    assert read(tmp_path / "w.pth") == {
        "part": [[8, 9, 10], [11, 12, 13]],
        "whole": list(range(8)),
        "inner": [[16, 17], [18, 19]],
    }


def test_storages_of_several_types_follow_in_the_order_of_the_list(tmp_path):
    root = {
        "a": tensor(storage("1", 6, torch.DoubleStorage)),
        "b": tensor(storage("2", 3, torch.ByteStorage), shape=(3,), strides=(1,)),
        "c": tensor(storage("3", 1, torch.LongStorage), shape=(), strides=()),
    }
    held = {"3": np.array([-7]), "1": SIX.astype("f8"), "2": np.array([9, 8, 7], "u1")}
    (tmp_path / "w.pth").write_bytes(legacy(root, held))
    assert read(tmp_path / "w.pth") == {"a": [[0, 1, 2], [3, 4, 5]], "b": [9, 8, 7], "c": -7}


def test_python_2_wrote_names_as_bytes(tmp_path):
    def short(text):
        return b"U" + bytes([len(text)]) + text

    call = b"ctorch._utils\n_rebuild_tensor\n"
    held = b"(" + short(b"storage") + b"ctorch\nFloatStorage\n" + short(b"0") + short(b"cpu")
    held += b"K\x06NtQ"
    numbers = b"K\x00(K\x02K\x03t(K\x03K\x01t"
    root = b"\x80\x02}(" + short(b"conv.weight") + call + b"(" + held + numbers + b"tR"
    root += short(b"best") + short(b"\xff\xfe\x00") + b"u."
    data = b"".join(map(pickled, [MAGIC, PROTOCOL, SYSTEM])) + root + b"\x80\x02]U\x010a."
    (tmp_path / "w.pth").write_bytes(data + struct.pack("<q", 6) + SIX.tobytes())
    assert read(tmp_path / "w.pth") == {"conv.weight": [[0, 1, 2], [3, 4, 5]]}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_is_read(tmp_path, protocol):
    root = pickled({"w": tensor(), "seen": {1, 2}, "few": frozenset("a"), "raw": b"\0"}, protocol)
    (tmp_path / "w.pth").write_bytes(zipped(root))
    with open_reader(tmp_path / "w.pth") as reader:
        assert [str(spec) for spec in reader.specs.values()] == ["w F32[2, 3]"]
        assert reader.ignored == ("seen", "few", "raw")


def test_numpy_scalars_are_ignored(tmp_path):
    root = pickled({"w": tensor(), "acc": np.float64(0.5), "n": np.int32(7)})
    (tmp_path / "w.pth").write_bytes(zipped(root))
    with open_reader(tmp_path / "w.pth") as reader:
        assert reader.ignored == ("acc", "n")


def test_every_dtype_name_is_one_of_torchs():
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in TORCH_DTYPES)


def test_only_the_first_thousand_values_are_named(tmp_path):
    root = pickled({"history": list(range(5000)), "w": tensor()})
    (tmp_path / "w.pth").write_bytes(zipped(root))
    with open_reader(tmp_path / "w.pth") as reader:
        assert len(reader.ignored) == 1000


# --- tensors that are not plain -------------------------------------------------------------------

BAD_TENSORS = {
    "turned": (
        {"w": tensor(strides=(1, 2))},
        ("w.pth: w: F32[2, 3] is not contiguous: strides [1, 2], not [3, 1]\n"
        "  fix: save tensor.contiguous()"),
    ),
    "expanded": (
        {"w": tensor(strides=(0, 1))},
        ("w.pth: w: F32[2, 3] is not contiguous: strides [0, 1], not [3, 1]\n"
        "  fix: save tensor.contiguous()"),
    ),
    "tied": (
        {"w": tensor(), "v": tensor()},
        "w.pth: v: shares its storage with w\n  fix: save tensor.clone(), or leave one out",
    ),
    "overlapping": (
        {"w": tensor(shape=(4,), strides=(1,)),
         "v": tensor(offset=3, shape=(2,), strides=(1,))},
        "w.pth: v: shares its storage with w\n  fix: save tensor.clone(), or leave one out",
    ),
    "beyond its storage": (
        {"w": tensor(offset=1)},
        "w.pth: w: F32[2, 3] at element 1 reaches beyond its storage of 24 bytes",
    ),
    "beyond its entry": (
        {"w": tensor(storage("0", 7), offset=1)},
        "w.pth: w: F32[2, 3] ends at byte 28 of a storage of 24",
    ),
    "without its entry": (
        {"w": tensor(storage("5"))},
        "w.pth: storage 'w/data/5' is not in the archive",
    ),
    "several": (
        {"a": tensor(strides=(1, 2)), "b": tensor(), "c": tensor(offset=2)},
        ("w.pth: a: F32[2, 3] is not contiguous: strides [1, 2], not [3, 1]\n"
        "  fix: save tensor.contiguous()\n"
        "w.pth: c: F32[2, 3] at element 2 reaches beyond its storage of 24 bytes"),
    ),
    "negative": (
        {"w": tensor(offset=-1)},
        ("w.pth: its pickle cannot be read: "
        "a tensor of shape [2, 3], strides [3, 1], at -1"),
    ),
    "absurd": (
        {"w": tensor(shape=(2, 1 << 900))},
        ("w.pth: its pickle cannot be read: "
        "a tensor of shape [2, a number of 901 bits], strides [3, 1], at 0"),
    ),
    "huge": (
        {"w": tensor(shape=(1 << 62, 1 << 62), strides=(1 << 62, 1))},
        ("w.pth: w: F32[4611686018427387904, 4611686018427387904] at element 0 "
        "reaches beyond its storage of 24 bytes"),
    ),
    "of many axes": (
        {"w": tensor(shape=(1,) * 65, strides=(1,) * 65)},
        ("w.pth: its pickle cannot be read: "
        "a tensor of shape tuple, strides tuple, at 0"),
    ),
    "lopsided": (
        {"w": tensor(shape=(2, 3, 1))},
        ("w.pth: its pickle cannot be read: "
        "a tensor of shape [2, 3, 1], strides [3, 1], at 0"),
    ),
    "a bare tensor": (
        tensor(),
        ("w.pth: holds one tensor without a name\n"
        "  fix: save a dict of them: torch.save(model.state_dict(), FILE)"),
    ),
    "two of one name": (
        {"a": {"b": tensor()}, "a.b": tensor()},
        "w.pth: two tensors are called 'a.b'",
    ),
    "a name that is no text": (
        {"a\ud800": tensor()},
        "w.pth: a tensor's name is no text: '\\ud800' in it",
    ),
    "a nested key": (
        {(1, (2, 3)): tensor()},
        "w.pth: its pickle cannot be read: a key that is a tuple",
    ),
    "a long key": (
        {1 << 90_000: tensor()},
        "w.pth: its pickle cannot be read: a key that is a int",
    ),
    "an odd persistent id": (
        {"w": Stored("storage", 7)},
        "w.pth: its pickle cannot be read: persistent id ['storage', 7]",
    ),
    "a storage of two types": (
        {"w": tensor(), "v": tensor(storage(kind=torch.DoubleStorage))},
        ("w.pth: its pickle cannot be read: "
        "storage '0' has elements of 4 and of 8 bytes"),
    ),
    "a shape that no array has": (
        {"w": tensor(shape=(0, 1 << 62, 1 << 62), strides=(1, 1, 1))},
        ("w.pth: w: F32[0, 4611686018427387904, 4611686018427387904] "
        "is no array's shape"),
    ),
    "an endless storage": (
        {"w": tensor(storage("0", -6))},
        "w.pth: its pickle cannot be read: storage '0' of -6 elements at 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_that_are_not_plain_are_refused(tmp_path, case):
    root, words = BAD_TENSORS[case]
    assert complaint(tmp_path, zipped(pickled(root))) == words


def test_sparse_and_quantized_tensors_are_refused_by_name(tmp_path):
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "sparse.pth")
    assert complaint(tmp_path, (tmp_path / "sparse.pth").read_bytes()) == (
        "w.pth: holds a sparse_tensor, and only plain dense tensors are read\n"
        "  fix: save dense tensors"
    )


def test_wide_complex_tensors_are_refused_by_name(tmp_path):
    torch.save({"w": torch.ones(3, dtype=torch.complex128)}, tmp_path / "wide.pth")
    assert complaint(tmp_path, (tmp_path / "wide.pth").read_bytes()) == (
        "w.pth: holds ComplexDouble elements, which are not read\n"
        "  fix: save them as another type, such as tensor.float()"
    )


# --- pickles that want to run code ----------------------------------------------------------------

WILL_NOT = "which portkit will not run"
EVIL = {
    "posix.system": f"w.pth: its pickle asks for posix.system, {WILL_NOT}",
    "os.system": f"w.pth: its pickle asks for os.system, {WILL_NOT}",
    "builtins.eval": f"w.pth: its pickle asks for builtins.eval, {WILL_NOT}",
    "builtins.getattr": f"w.pth: its pickle asks for builtins.getattr, {WILL_NOT}",
    "subprocess.Popen": f"w.pth: its pickle asks for subprocess.Popen, {WILL_NOT}",
    "torch.load": f"w.pth: its pickle asks for torch.load, {WILL_NOT}",
    "torch.storage._load_from_bytes": (
        f"w.pth: its pickle asks for torch.storage._load_from_bytes, {WILL_NOT}"
    ),
    "numpy._core.multiarray._reconstruct": (
        f"w.pth: its pickle asks for numpy._core.multiarray._reconstruct, {WILL_NOT}"
    ),
    "torch.nn.modules.container.Sequential": (
        "w.pth: is a whole pickled object (torch.nn.modules.container.Sequential), "
        "and running it is refused"
    ),
    "mymodels.Net": "w.pth: is a whole pickled object (mymodels.Net), and running it is refused",
}


def evil(name, marker, *, kind):
    """Return a pickle that would call a global with a shell command."""
    module, _, function = name.rpartition(".")
    argument = b"X" + struct.pack("<I", len(marker)) + marker
    match kind:
        case "global":
            call = f"c{module}\n{function}\n".encode() + b"(" + argument + b"tR"
        case "stack":
            texts = [b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, function)]
            call = b"".join(texts) + b"\x93(" + argument + b"tR"
        case "inst":
            call = b"(" + argument + f"i{module}\n{function}\n".encode()
        case "obj":
            call = b"(" + f"c{module}\n{function}\n".encode() + argument + b"o"
        case "new":
            call = f"c{module}\n{function}\n".encode() + b"(" + argument + b"t\x81"
    return b"\x80\x04}X\x01\x00\x00\x00w" + call + b"s."


@pytest.mark.parametrize("kind", ["global", "stack", "inst", "obj", "new"])
@pytest.mark.parametrize("name", EVIL)
def test_code_is_refused_and_does_not_run(tmp_path, name, kind):
    marker = tmp_path / "ran"
    data = evil(name, f"touch {marker}".encode(), kind=kind)
    assert complaint(tmp_path, zipped(data)) == f"{EVIL[name]}\n  fix: {RESAVE}"
    assert not marker.exists()


@pytest.mark.parametrize("place", range(5))
def test_code_is_refused_in_each_pickle_of_a_legacy_file(tmp_path, place):
    marker = tmp_path / "ran"
    parts = [pickled(part) for part in (MAGIC, PROTOCOL, SYSTEM, {}, [])]
    parts[place] = evil("os.system", f"touch {marker}".encode(), kind="global")
    words = complaint(tmp_path, b"".join(parts))
    refused = f"w.pth: its pickle asks for os.system, which portkit will not run\n  fix: {RESAVE}"
    assert words == (refused if place else WRONG_START)
    assert not marker.exists()


WRONG_START = (
    "w.pth: is no torch.save file\n"
    "  fix: load it with the torch that wrote it and save it again with torch.save"
)


def test_a_whole_saved_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "w.pth")
    assert complaint(tmp_path, (tmp_path / "w.pth").read_bytes()) == (
        "w.pth: is a whole pickled object (torch.nn.modules.linear.Linear), "
        f"and running it is refused\n  fix: {RESAVE}"
    )


@pytest.mark.parametrize(
    "target",
    [b"ctorch\nfloat32\n", b"ctorch._utils\n_rebuild_tensor\n", b"ccollections\nOrderedDict\n"],
)
@pytest.mark.parametrize(
    "state", [b"}X\x01\x00\x00\x00xK\x07s", b"N}X\x08\x00\x00\x00__name__Ns\x86"]
)
def test_a_pickle_sets_no_state_on_what_stands_in(tmp_path, target, state):
    before = [dict(vars(value)) for value in TORCH_DTYPES.values()]
    (tmp_path / "w.pth").write_bytes(zipped(b"\x80\x02}X\x01\0\0\0k" + target + state + b"bs."))
    with open_reader(tmp_path / "w.pth") as reader:
        assert reader.ignored == ("k",)
    assert [dict(vars(value)) for value in TORCH_DTYPES.values()] == before
    assert str(TORCH_DTYPES["float32"]) == "F32"


def tar_of(data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("sys_info")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def packed_zip(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def legacy_around(data_pkl):
    return b"".join(map(pickled, (MAGIC, PROTOCOL, SYSTEM))) + data_pkl + pickled([])


# --- pickles that want to grow --------------------------------------------------------------------


def nested(depth):
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def doubled(levels, opening, pair):
    """Return a pickle whose every level holds the one before twice."""
    steps = (opening + b"h" + bytes([i]) * 1 + b"h" + bytes([i]) + pair for i in range(levels))
    memo = (b"q" + bytes([i + 1]) for i in range(levels))
    body = b"".join(step + put for step, put in zip(steps, memo, strict=True))
    return b"\x80\x02]q\x00" + body


ENDS_EARLY = "w.pth: its pickle cannot be read: it ends early"
TOO_DEEP = f"w.pth: nested deeper than 32 levels, at '{'.'.join('0' * 33)}'"
BOMBS = {
    "deep lists": (nested(5000), TOO_DEEP),
    "itself": (b"\x80\x02]q\x00h\x00a.", TOO_DEEP),
    "shared lists": (
        doubled(30, b"](", b"e") + b".",
        "w.pth: holds the same values again and again, more than 100000 times",
    ),
    "a long list again and again": (
        b"\x80\x02](" + b"N" * 40_000 + b"eq\x01](" + b"h\x01" * 100_000 + b"e.",
        "w.pth: holds the same values again and again, more than 100000 times",
    ),
    "a long name again and again": (
        b"\x80\x02}X" + struct.pack("<I", 1 << 20) + b"k" * (1 << 20) + b"](" +
        b"N" * 2000 + b"es.",
        "w.pth: a name is longer than 1000 characters, under ''",
    ),
    "sizes of a long list": (
        b"\x80\x02](" + b"N" * 100_000 + b"eq\x01ctorch\nSize\nq\x02](" +
        b"h\x02h\x01\x85R" * 2000 + b"e.",
        "w.pth: its pickle cannot be read: a size of list",
    ),
    "calls with a long tuple": (
        b"\x80\x02(" + b"N" * 100_000 + b"tq\x01ctorch\nSize\nq\x02](" +
        b"h\x02h\x01R" * 2000 + b"e.",
        ("w.pth: its pickle cannot be read: "
        "a call with arguments that torch does not write"),
    ),
    "a long bytearray": (
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"ab.",
        "w.pth: its pickle cannot be read: it ends early",
    ),
    "shared tuples as a key": (
        doubled(60, b"", b"\x86") + b"}h\x3cK\x01s.",
        "w.pth: its pickle cannot be read: a key that is a tuple",
    ),
    "shared tuples as a shape": (
        doubled(60, b"", b"\x86") + b"ctorch._utils\n_rebuild_tensor\n"
        b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000NK\x06tQK\x00h\x3c)tR.",
        ("w.pth: its pickle cannot be read: "
        "a tensor of shape [tuple, tuple], strides [], at 0"),
    ),
    "shared tuples as a storage's key": (
        doubled(60, b"", b"\x86") + b"(X\x07\0\0\0storageNh\x3cNK\x01tQ.",
        ("w.pth: its pickle cannot be read: "
        "storage [tuple, tuple] of 1 elements at 0"),
    ),
    "long bytes": (
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"ab.",
        "w.pth: its pickle cannot be read: it ends early",
    ),
    "a long number": (
        b"\x80\x02\x8b\xff\xff\xff\x7fab.",
        "w.pth: its pickle cannot be read: it ends early",
    ),
    "noise": (
        b"\x07\x07",
        "w.pth: its pickle cannot be read: KeyError: 7",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrap", [zipped, legacy_around], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", BOMBS)
def test_bombs_are_refused_in_little_memory(tmp_path, case, wrap):
    data, words = BOMBS[case]
    complaint(tmp_path, wrap(pickled(7)))  # so that nothing is imported on the way
    tracemalloc.start()
    try:
        assert complaint(tmp_path, wrap(data)) == words
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_an_ordered_dicts_pairs_make_one_dict(tmp_path):
    pairs = b"](](K\x01K\x02e](K\x03K\x04eeq\x01"
    made = b"ccollections\nOrderedDict\nq\x02h\x01\x85R"
    again = b"h\x02h\x01\x85R"
    data = b"\x80\x02](" + pairs + made + again + b"e."
    (tmp_path / "w.pth").write_bytes(zipped(data))
    with open_reader(tmp_path / "w.pth") as reader:
        assert reader.ignored == ("0", "1.1", "1.3", "2")


@pytest.mark.parametrize("opcode", [b"o", b"isys\nexit\n"])
def test_opcodes_of_old_instances_are_refused(tmp_path, opcode):
    data = b"\x80\x02(ccollections\nOrderedDict\n" + opcode + b"."
    words = complaint(tmp_path, zipped(data))
    assert (
        words
        == {
            b"o": "w.pth: its pickle cannot be read: it uses an opcode that torch does not write",
            b"isys\nexit\n": (
                f"w.pth: its pickle asks for sys.exit, which portkit will not run\n  fix: {RESAVE}"
            ),
        }[opcode]
    )


def test_a_far_memo_allocates_nothing(tmp_path):
    (tmp_path / "w.pth").write_bytes(zipped(b"\x80\x02]r\xff\xff\xff\xff."))
    assert read(tmp_path / "w.pth") == {}


# --- whole files ----------------------------------------------------------------------------------

GOOD = pickled({"w": tensor()})
NOT_TORCH = "load it with the torch that wrote it and save it again with torch.save"
WHOLE_FILES = {
    "empty": (b"", f"w.pth: is no torch.save file\n  fix: {NOT_TORCH}"),
    "noise": (b"\x80\x02hello", f"w.pth: is no torch.save file\n  fix: {NOT_TORCH}"),
    "a plain pickle": (pickled([1]), f"w.pth: is no torch.save file\n  fix: {NOT_TORCH}"),
    "a tar": (tar_of(b"sys_info"), f"w.pth: is a tar of before PyTorch 0.1.10\n  fix: {NOT_TORCH}"),
    "no pickle": (
        zipped(GOOD).replace(b"data.pkl", b"none.pkl"),
        "w.pth: is a zip without data.pkl, which torch.save writes",
    ),
    "TorchScript": (
        zipped(GOOD, **{"constants.pkl": b"", "code/net.py": b""}),
        ("w.pth: is a TorchScript archive\n"
        "  fix: load it with torch.jit.load and save its state dict with torch.save"),
    ),
    "big-endian": (
        zipped(GOOD, byteorder=b"big"),
        "w.pth: was written on a big-endian machine, which is not read",
    ),
    "big-endian, legacy": (
        legacy({}, {}, system={**SYSTEM, "little_endian": False}),
        "w.pth: was written on a big-endian machine, which is not read",
    ),
    "another protocol": (
        legacy({}, {}, protocol=1002),
        "w.pth: legacy protocol 1001 is read, found 1002",
    ),
    "no dict": (zipped(pickled(7)), "w.pth: holds no dict of tensors but a int"),
    "a list that is none": (legacy({}, {}, keys=7), "w.pth: its list of storages is no list"),
    "a storage twice": (
        legacy({"w": tensor()}, {"0": SIX}, keys=["0", "0"]) + bytes(100),
        "w.pth: lists storage '0' twice",
    ),
    "a storage of no tensor": (
        legacy({}, {"5": SIX}),
        "w.pth: no tensor tells how wide storage '5' is",
    ),
    "a storage left out": (
        legacy({"w": tensor()}, {}),
        "w.pth: storage '0' is not in the file",
    ),
    "a storage cut short": (
        legacy({"w": tensor()}, {"0": SIX})[:-1],
        "w.pth: cut short: storage '0' reaches beyond the file",
    ),
    "a storage that is shorter than it says": (
        legacy({"w": tensor()}, {"0": SIX[:5]}),
        "w.pth: w: F32[2, 3] ends at byte 24 of a storage of 20",
    ),
    "a negative storage": (
        legacy({"w": tensor()}, {"0": SIX[:0]})[:-8] + struct.pack("<q", -6),
        "w.pth: cut short: storage '0' reaches beyond the file",
    ),
    "metadata that is none": (
        zipped(GOOD, **{"portkit.json": b'{"a": 1}'}),
        "w.pth: its portkit.json does not map text to text",
    ),
    "packed": (
        packed_zip({"w/data.pkl": GOOD, "w/data/0": bytes(24)}),
        ("w.pth: storage 'w/data/0' is compressed\n"
        "  fix: save it again with torch.save, which packs nothing"),
    ),
    "packed to the same size": (
        patched(zipped(GOOD), b"PK\1\2", 10, b"\x08"),
        ("w.pth: storage 'w/data/0' is compressed\n"
        "  fix: save it again with torch.save, which packs nothing"),
    ),
    "a packed bomb": (
        packed_zip({"w/data.pkl": b"]" * (5 << 20)}),
        "w.pth: entry 'w/data.pkl' claims 5242880 bytes, more than 4194304",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_files_that_are_not_what_they_should_be_are_refused(tmp_path, case):
    data, words = WHOLE_FILES[case]
    assert complaint(tmp_path, data) == words
