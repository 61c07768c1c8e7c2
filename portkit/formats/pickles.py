"""The pickles inside torch files, read for their tensor table alone. Nothing in them is run.

Only the names below have a meaning here, and each means one of our own inert stand-ins. Any other
name is refused before it is looked up. The pure-Python unpickler is used because its memo is a
dict (the C one allocates as many entries as a hostile index asks for), and because single opcodes
can be given a tamer meaning: no state is set on anything, and nothing nested is hashed, which
takes forever where tuples hold each other twice, level after level.
"""

import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from portkit.errors import PortkitError, Problems
from portkit.formats.limits import brief, is_count, is_shape
from portkit.tensors import DType, TensorSpec

if TYPE_CHECKING:
    from mmap import mmap

_DEEPEST = 32  # levels of nesting in a checkpoint
_MOST = 1_000_000  # values in a checkpoint, shared ones counted each time
_MOST_NAMED = 1000  # values that are no tensors, and whose names are kept


@dataclass(frozen=True, slots=True)
class Storage:
    """A flat run of elements that tensors look into. `dtype` is None for untyped bytes."""

    dtype: DType | None
    key: str
    length: int  # elements, or bytes where untyped
    offset: int = 0  # elements into the stored run, for views that old files hold


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a rebuild helper would have made."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Inert:
    """A value of no interest, such as an optimiser's scalar."""


_TYPED: Mapping[str, DType] = MappingProxyType(
    {
        "FloatStorage": DType.F32, "DoubleStorage": DType.F64, "HalfStorage": DType.F16,
        "BFloat16Storage": DType.BF16, "LongStorage": DType.I64, "IntStorage": DType.I32,
        "ShortStorage": DType.I16, "CharStorage": DType.I8, "ByteStorage": DType.U8,
        "BoolStorage": DType.BOOL, "ComplexFloatStorage": DType.C64,
    }
)  # fmt: skip
STORAGES: Mapping[DType, str] = MappingProxyType({dtype: name for name, dtype in _TYPED.items()})
TORCH_DTYPES: Mapping[str, DType] = MappingProxyType(
    {
        "float32": DType.F32, "float64": DType.F64, "float16": DType.F16,
        "bfloat16": DType.BF16, "int64": DType.I64, "int32": DType.I32, "int16": DType.I16,
        "int8": DType.I8, "uint8": DType.U8, "uint16": DType.U16, "uint32": DType.U32,
        "uint64": DType.U64, "bool": DType.BOOL, "complex64": DType.C64,
        "float8_e4m3fn": DType.F8_E4M3, "float8_e5m2": DType.F8_E5M2,
        "float8_e4m3fnuz": DType.F8_E4M3FNUZ, "float8_e5m2fnuz": DType.F8_E5M2FNUZ,
        "float8_e8m0fnu": DType.F8_E8M0,
    }
)  # fmt: skip


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Tensor:
    dtype = next((value for value in rest if isinstance(value, DType)), None)
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    found = storage.dtype or dtype
    if found is None or (dtype or found) is not found:
        raise pickle.UnpicklingError(f"a tensor of {dtype} in a storage of {storage.dtype}")
    fits = is_count(offset) and is_shape(shape) and is_shape(strides)
    if not fits or len(shape) != len(strides):
        what = f"a tensor of shape {brief(shape)}, strides {brief(strides)}, at {brief(offset)}"
        raise pickle.UnpicklingError(what)
    return Tensor(storage, offset, tuple(shape), tuple(strides), found)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _inert(*_: Any) -> Inert:
    return Inert()


def _size(values: Any = ()) -> tuple[Any, ...]:
    return tuple(values)


def _ordered(items: Any = ()) -> dict[Any, Any]:
    return {_key(key): value for key, value in items}


def _key(key: Any) -> Any:
    """Return a dict's key; refuse what is no plain value, or a large number."""
    if type(key) in (str, bytes, bool, float, type(None)) or is_count(key):
        return key
    raise pickle.UnpicklingError(f"a key that is a {type(key).__name__}")


_UTILS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "_rebuild_tensor": _rebuild,
        "_rebuild_tensor_v2": _rebuild,
        "_rebuild_tensor_v3": _rebuild,
        "_rebuild_parameter": _rebuild_parameter,
        "_rebuild_parameter_with_state": _rebuild_parameter,
    }
)
_OTHERS: Mapping[tuple[str, str], Any] = MappingProxyType(
    {
        ("collections", "OrderedDict"): _ordered,
        ("torch", "Size"): _size,
        ("torch", "device"): _inert,
        ("torch.storage", "UntypedStorage"): None,
        ("torch", "UntypedStorage"): None,
        ("numpy.core.multiarray", "scalar"): _inert,
        ("numpy._core.multiarray", "scalar"): _inert,
        ("numpy", "dtype"): _inert,
        ("_codecs", "encode"): _inert,
        ("builtins", "set"): _inert,
        ("__builtin__", "set"): _inert,
    }
)


def find_meaning(path: Path, module: str, name: str) -> Any:
    """Return the stand-in for a global; raise PortkitError for one that has none."""
    if module == "torch._utils" and name in _UTILS:
        return _UTILS[name]
    if module == "torch" and name in _TYPED:
        return _TYPED[name]
    if module == "torch" and name in TORCH_DTYPES:
        return TORCH_DTYPES[name]
    if (module, name) in _OTHERS:
        return _OTHERS[module, name]
    raise PortkitError.at(path, *_refusal(module, name))


def _refusal(module: str, name: str) -> tuple[str, str]:
    resave = "save its state dict instead: torch.save(model.state_dict(), FILE)"
    if module == "torch._utils" and name.startswith("_rebuild"):
        kind = name.removeprefix("_rebuild_")
        return f"holds a {kind}, and only plain dense tensors are read", "save dense tensors"
    is_standard = module.partition(".")[0] in (*sys.stdlib_module_names, "__builtin__")
    if name[:1].isupper() and not is_standard:
        return f"is a whole pickled object ({module}.{name}), and running it is refused", resave
    return f"its pickle asks for {module}.{name}, which portkit will not run", resave


class _TableUnpickler(pickle._Unpickler):  # noqa: SLF001
    """Unpickles with our stand-ins for everything."""

    # those of the base class, which its type stubs leave out
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: BinaryIO, path: Path) -> None:
        # Python 2 wrote names as bytes, and numbers' raw bytes too
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._path = path
        self.widths: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return find_meaning(self._path, module, name)

    def persistent_load(self, pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            if isinstance(pid, tuple) and pid[:1] == ("module",):
                raise PortkitError.at(self._path, *_refusal("torch.nn.", "Module"))
            raise pickle.UnpicklingError(f"persistent id {str(pid)[:60]}")
        kind, key, length = pid[1], pid[2], pid[4]
        view = pid[5] if len(pid) > 5 else None
        offset = view[1] if isinstance(view, tuple) and len(view) == 3 else 0
        if not isinstance(key, str) or not is_count(length) or not is_count(offset):
            found = f"{brief(length)} elements at {brief(offset)}"
            raise pickle.UnpicklingError(f"storage {brief(key)} of {found}")
        dtype = kind if isinstance(kind, DType) else None
        self.widths[key] = dtype.itemsize if dtype else 1
        return Storage(dtype, key, length, offset)

    def load_build(self) -> None:
        self.stack.pop()

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def load_empty_set(self) -> None:
        self.append(Inert())

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(Inert())

    def load_additems(self) -> None:
        self.pop_mark()

    dispatch = MappingProxyType(  # type: ignore[assignment]
        {
            **pickle._Unpickler.dispatch,  # noqa: SLF001
            pickle.BUILD[0]: load_build,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
            pickle.DICT[0]: load_dict,
            pickle.EMPTY_SET[0]: load_empty_set,
            pickle.FROZENSET[0]: load_frozenset,
            pickle.ADDITEMS[0]: load_additems,
        }
    )


@dataclass(frozen=True, slots=True)
class Table:
    """An unpickled object, and how many bytes an element of each storage in it takes."""

    root: Any
    widths: Mapping[str, int] = field(default_factory=dict)


def load_table(file: "BinaryIO | mmap", path: Path) -> Table:
    """Unpickle one object made of containers, plain values and Tensors; raise PortkitError."""
    unpickler = _TableUnpickler(cast("BinaryIO", file), path)
    try:
        return Table(unpickler.load(), unpickler.widths)
    except PortkitError:
        raise
    except Exception as error:
        what = f"its pickle cannot be read: {type(error).__name__}: {str(error)[:120]}"
        raise PortkitError.at(path, what) from None


def flatten(root: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return tensors by dotted name, and the names of values that are none."""
    if isinstance(root, Tensor):
        fix = "save a dict of them: torch.save(model.state_dict(), FILE)"
        raise PortkitError.at(path, "holds one tensor without a name", fix)
    tensors: dict[str, Tensor] = {}
    others: list[str] = []
    for seen, (name, value) in enumerate(_walk(root, "", 0, path)):
        if seen > _MOST:
            raise PortkitError.at(path, f"holds more than {_MOST} values")
        if not isinstance(value, Tensor):
            others += [name] * (len(others) < _MOST_NAMED)
        elif name in tensors:
            raise PortkitError.at(path, f"two tensors are called {name!r}")
        else:
            tensors[name] = value
    return tensors, tuple(others)


def _walk(value: Any, name: str, depth: int, path: Path) -> Iterator[tuple[str, Any]]:
    if depth > _DEEPEST:
        raise PortkitError.at(path, f"nested deeper than {_DEEPEST} levels, at {name[:80]!r}")
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, inner in items:
        text = str(key) if isinstance(key, str | int) else ascii(key)[:40]
        yield from _walk(inner, f"{name}.{text}" if name else text, depth + 1, path)
    if not value:
        yield name, None


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor's header, and where it lies within its storage, in bytes."""

    spec: TensorSpec
    key: str
    begin: int

    @property
    def end(self) -> int:
        return self.begin + self.spec.nbytes


def place(tensors: Mapping[str, Tensor], path: Path) -> tuple[Placed, ...]:
    """Return where each tensor lies; raise PortkitError listing those that lie badly."""
    problems = Problems()
    placed = [_place(name, tensor, path, problems) for name, tensor in tensors.items()]
    problems.raise_if_any()
    found = tuple(one for one in placed if one)
    _refuse_sharing(found, path)
    return found


def _place(name: str, tensor: Tensor, path: Path, problems: Problems) -> Placed | None:
    spec = TensorSpec(name, tensor.shape, tensor.dtype)
    where = f"{path}: {name}"
    expected = _row_major(tensor.shape)
    strides = [s for s, n in zip(tensor.strides, tensor.shape, strict=True) if n != 1]
    if spec.size and strides != [s for s, n in zip(expected, tensor.shape, strict=True) if n != 1]:
        what = f"{spec.form} is not contiguous: strides {list(tensor.strides)}, not {expected}"
        problems.add(where, what, "save tensor.contiguous()")
        return None
    storage, width = tensor.storage, tensor.dtype.itemsize
    room = storage.length * (storage.dtype.itemsize if storage.dtype else 1)
    if tensor.offset * width + spec.nbytes > room:
        what = f"{spec.form} at element {tensor.offset} reaches beyond its storage of {room} bytes"
        problems.add(where, what)
        return None
    return Placed(spec, storage.key, (storage.offset + tensor.offset) * width)


def _row_major(shape: tuple[int, ...]) -> list[int]:
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _refuse_sharing(placed: tuple[Placed, ...], path: Path) -> None:
    problems = Problems()
    last: dict[str, Placed] = {}
    for one in sorted(placed, key=lambda p: (p.key, p.begin, p.end)):
        before = last.get(one.key)
        if before and one.spec.nbytes and one.begin < before.end:
            what = f"shares its storage with {before.spec.name}"
            problems.add(f"{path}: {one.spec.name}", what, "save tensor.clone(), or leave one out")
        if one.spec.nbytes and (before is None or one.end > before.end):
            last[one.key] = one
    problems.raise_if_any()
