"""Raw outputs in a file, and judging them again under other tolerances without running a model."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from portkit import formats
from portkit.errors import PortkitError
from portkit.formats.publishing import publishing
from portkit.verification.jobs import refuse_options
from portkit.verification.results import (
    RUNGS,
    Check,
    Evidence,
    Options,
    RungResult,
    Status,
    Verification,
    rung_of,
)

if TYPE_CHECKING:
    from portkit.formats.protocols import Array, Reader

_ABOUT = "verification"  # the array that holds what the others are, as JSON
_DIGEST = "digest"  # the array that holds the blake3 of all others
_SIDES = ("port", "source", "exact")
_LARGEST_SHARE = 1e-2  # of the largest value: a source less exact than that proves nothing
_AGAIN = "save the outputs again"


def save_outputs(verification: Verification, path: Path) -> int:
    """Write what models answered, and what was found beside it; return how many outputs.

    An .npz: `0.port`, `0.source`, `0.exact` and so on, as they were compared, `verification`, JSON
    as bytes, and `digest`, by which a file that was changed is told. Raise PortkitError where there
    is nothing to save, or no way to.
    """
    import numpy as np

    arrays: dict[str, Array] = {}
    rungs = [_rung_as_dict(rung, arrays) for rung in verification.rungs]
    if not arrays:
        what = "no outputs were compared, so there are none to save"
        raise PortkitError.at(path, what, "see why in the report")
    about = {
        "portkit_outputs": 1,
        "artifact": verification.artifact,
        "source": verification.source,
        "target": verification.target,
        "not_checked": verification.not_checked,
        "environment": dict(verification.environment),
        "rungs": rungs,
    }
    arrays[_ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    arrays[_DIGEST] = digest_arrays((name, arrays[name]) for name in sorted(arrays))
    with publishing(path, force=True) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return sum(name.endswith(".port") for name in arrays)


def digest_arrays(arrays: "Iterable[tuple[str, Array]]") -> "Array":
    """Return the blake3 of arrays and their names, uint8 `[32]`."""
    import numpy as np
    from blake3 import blake3

    hasher = blake3()
    for name, array in arrays:
        head = json.dumps([name, array.dtype.str, array.shape])
        hasher.update(f"{head}\n".encode())
        hasher.update(array.tobytes())
    return np.frombuffer(hasher.digest(), np.uint8)


def _rung_as_dict(rung: RungResult, arrays: "dict[str, Array]") -> dict[str, Any]:
    """Describe a rung: of checks without outputs only the failed ones, and how many there are."""
    kept = [check for check in rung.checks if check.evidence is not None or not check.passed]
    return {
        "rung": rung.rung,
        "status": rung.status.value,
        "summary": rung.summary,
        "checked": len(rung.checks),
        "left_out": len(rung.checks) - len(kept),
        "checks": [_check_as_dict(check, arrays) for check in kept],
    }


def _check_as_dict(check: Check, arrays: "dict[str, Array]") -> dict[str, Any]:
    described: dict[str, Any] = {"subject": check.subject, "what": check.what}
    evidence = check.evidence
    if evidence is None:
        return described
    place = sum(name.endswith(".port") for name in arrays)
    sides = [side for side in _SIDES if getattr(evidence, side) is not None]
    for side in sides:
        arrays[f"{place}.{side}"] = getattr(evidence, side)
    found = {"outputs": place, "sides": sides, "share": evidence.share, "gate": evidence.gate}
    return {**described, **found}


def judge_saved(path: Path, options: Options) -> Verification:
    """Judge saved outputs under the options' tolerances; raise PortkitError for other files.

    What was found without outputs (tensors, layers) is taken over as it was.
    """
    refuse_options(options)
    with formats.open_reader(path) as reader:
        about = _read_about(reader, path)
        try:
            rungs = tuple(_judge_rung(rung, reader, options) for rung in about["rungs"])
            saved = Verification(
                artifact=str(about["artifact"]),
                source=str(about["source"]),
                target=str(about["target"]),
                rungs=rungs,
                not_checked=tuple(map(str, about["not_checked"])),
                environment=MappingProxyType(dict(about["environment"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"is damaged: {type(error).__name__} {error}"
            raise PortkitError.at(path, what, _AGAIN) from error
    if not any(check.evidence for rung in rungs for check in rung.checks):
        raise PortkitError.at(path, "holds no outputs", "save some with --save-outputs")
    note = f"no model was run: judged from {path}"
    return replace(saved, not_checked=(*saved.not_checked, note))


def _read_about(reader: "Reader", path: Path) -> dict[str, Any]:
    fix = "name a file that `portkit verify --save-outputs` wrote"
    if _ABOUT not in reader.specs:
        raise PortkitError.at(path, "holds no outputs of a verification", fix)
    _refuse_changed(reader, path)
    try:
        about = json.loads(_array(reader, _ABOUT).tobytes())
        known = isinstance(about, dict) and about.get("portkit_outputs") == 1
    except (ValueError, RecursionError):
        known = False
    if not known:
        raise PortkitError.at(path, "holds outputs in a form that is not known here", fix)
    return dict(about)


def _refuse_changed(reader: "Reader", path: Path) -> None:
    if _DIGEST not in reader.specs:
        raise PortkitError.at(path, "has no digest of what it holds", _AGAIN)
    names = sorted(name for name in reader.specs if name != _DIGEST)
    found = digest_arrays((name, _array(reader, name)) for name in names)
    if found.tobytes() != _array(reader, _DIGEST).tobytes():
        raise PortkitError.at(path, "has been changed since it was written", _AGAIN)


def _array(reader: "Reader", name: str) -> "Array":
    import numpy as np

    return np.array(formats.as_array(reader.fetch(name), reader.specs[name]))


def _judge_rung(saved: Mapping[str, Any], reader: "Reader", options: Options) -> RungResult:
    rung, status, summary = saved["rung"], Status(saved["status"]), str(saved["summary"])
    if rung not in RUNGS:
        raise ValueError(f"no rung is called {rung!r}")
    checks = list(_judge_checks(saved["checks"], reader, options))
    if int(saved["checked"]) != len(checks) + int(saved["left_out"]):
        raise ValueError(f"{rung} had {saved['checked']} checks, {len(checks)} are there")
    if any(check.evidence for check in checks):
        return rung_of(rung, checks, f"{_sum_up(checks)}, judged again")
    if status is Status.FAILED and not checks:
        raise ValueError(f"{rung} failed with nothing that did")
    if not all(check.passed for check in checks):
        status = Status.FAILED
    return RungResult(rung, status, f"{summary}, as found when outputs were saved", tuple(checks))


def _judge_checks(
    saved: list[Mapping[str, Any]], reader: "Reader", options: Options
) -> Iterator[Check]:
    from portkit.verification.judging import judge

    for one in saved:
        subject = str(one["subject"])
        if "outputs" not in one:
            yield Check(subject, passed=False, what=str(one["what"]))
            continue
        yield judge(subject, _evidence(one, reader), options.tolerances)


def _evidence(saved: Mapping[str, Any], reader: "Reader") -> Evidence:
    """Read what was compared; raise ValueError for gates that no verification sets."""
    from portkit.verification.judging import WITHOUT_EXACT

    arrays = {side: _array(reader, f"{int(saved['outputs'])}.{side}") for side in saved["sides"]}
    share, gate = float(saved["share"]), saved["gate"]
    if not 0 <= share <= _LARGEST_SHARE:
        raise ValueError(f"a share of {share:g}, at most {_LARGEST_SHARE:g} is let off")
    if gate is not None and not 0 <= float(gate) <= WITHOUT_EXACT:
        raise ValueError(f"a gate of {float(gate):g}, at most {WITHOUT_EXACT:g} is let off")
    return Evidence(**arrays, share=share, gate=None if gate is None else float(gate))


def _sum_up(checks: list[Check]) -> str:
    rhos = [check.numbers["rho"] for check in checks if "rho" in check.numbers]
    differences = [check.numbers["max_abs"] for check in checks if "max_abs" in check.numbers]
    if rhos:
        return f"ρ {max(rhos):.2f} at most, {len(checks)} outputs"
    worst = f"{max(differences):.2g}" if differences else "not comparable"
    return f"max |port - source| {worst}, {len(checks)} outputs"
