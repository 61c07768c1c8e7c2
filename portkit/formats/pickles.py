"""The pickles inside torch files, read for their tensor table alone. Nothing in them is run.

Only the names below have a meaning here, and each means one of our own inert stand-ins. Any other
name is refused before it is looked up. The pure-Python unpickler is used because its memo is a
dict (the C one allocates as many entries as a hostile index asks for), and because single opcodes
can be given a tamer meaning: no state is set on anything, and nothing nested is hashed, which
takes forever where tuples hold each other twice, level after level.
"""

import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from portkit.errors import PortkitError
from portkit.formats.limits import brief, is_count, is_shape
from portkit.tensors import DType

if TYPE_CHECKING:
    from mmap import mmap


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


_MOST_ARGUMENTS = 16  # of a call: torch's helpers have up to 7
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


def _size(values: Any = ()) -> tuple[int, ...]:
    if not is_shape(values):
        raise pickle.UnpicklingError(f"a size of {brief(values)}")
    return tuple(values)


def _ordered(items: Any = None) -> dict[Any, Any]:
    """Return the dict that Python 2's pairs make; they are taken, lest one list make many dicts."""
    if items is None:
        return {}
    if not isinstance(items, list):
        raise pickle.UnpicklingError(f"an OrderedDict of {brief(items)}")
    made = {_key(key): value for key, value in items}
    items.clear()
    return made


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
        ("collections", "Counter"): _inert,
        **{
            (module, name): _inert
            for module in ("builtins", "__builtin__")
            for name in ("set", "frozenset", "bytearray", "complex")
        },
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


_ANOTHER = "save them as another type, such as tensor.float()"


def _refusal(module: str, name: str) -> tuple[str, str]:
    resave = "save its state dict instead: torch.save(model.state_dict(), FILE)"
    if module == "torch._utils" and name.startswith("_rebuild"):
        kind = name.removeprefix("_rebuild_")
        return f"holds a {kind}, and only plain dense tensors are read", "save dense tensors"
    if module == "torch" and name.endswith("Storage"):
        return f"holds {name.removesuffix('Storage')} elements, which are not read", _ANOTHER
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
    readline: Callable[[], bytes]

    def __init__(self, file: BinaryIO, path: Path) -> None:
        # Python 2 wrote names as bytes, and numbers' raw bytes too
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._path = path
        self.widths: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return find_meaning(self._path, module, name)

    def persistent_load(self, pid: Any) -> Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError(f"persistent id {brief(pid)}")
        kind, key, length = pid[1], pid[2], pid[4]
        view = pid[5] if len(pid) > 5 else None
        offset = view[1] if isinstance(view, tuple) and len(view) == 3 else 0
        if not isinstance(key, str) or not is_count(length) or not is_count(offset):
            found = f"{brief(length)} elements at {brief(offset)}"
            raise pickle.UnpicklingError(f"storage {brief(key)} of {found}")
        dtype = kind if isinstance(kind, DType) else None
        width = dtype.itemsize if dtype else 1
        if self.widths.setdefault(key, width) != width:
            what = f"storage {brief(key)} has elements of {self.widths[key]} and of {width} bytes"
            raise pickle.UnpicklingError(what)
        return Storage(dtype, key, length, offset)

    def load_build(self) -> None:
        self.stack.pop()

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or len(arguments) > _MOST_ARGUMENTS:
            raise pickle.UnpicklingError("a call with arguments that torch does not write")
        self.append(function(*arguments))

    def refuse(self) -> None:
        raise pickle.UnpicklingError("it uses an opcode that torch does not write")

    def load_inst(self) -> None:
        self.find_class(*(self.readline()[:-1].decode("ascii") for _ in range(2)))
        self.refuse()

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
            pickle.REDUCE[0]: load_reduce,
            pickle.INST[0]: load_inst,
            pickle.OBJ[0]: refuse,
            # as bytes: a bytearray would be allocated before what it claims to hold is read
            pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],  # noqa: SLF001
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
        raise PortkitError.at(path, f"its pickle cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "it ends early"
    if isinstance(error, pickle.UnpicklingError):
        return str(error)[:120]
    return f"{type(error).__name__}: {str(error)[:120]}"
