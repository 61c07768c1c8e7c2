"""Puts every fault of the catalogue into correct ports, and shows which rungs see it.

Each rung judges by itself. Beside it stands what is usually done instead: `torch.allclose` with
atol 1e-5 on one noise input, and top-1 agreement on eight. Fails where a fault survives every rung,
where a control does not pass, or where less than 90 % of the nameable causes are named rightly.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from portkit.errors import PortkitError
from portkit.evaluation.data import load_photos
from portkit.evaluation.preprocessing import Preprocessing
from portkit.runners.torch import run_module
from portkit.verification import Options, Status
from portkit.verification.battery import guess_inputs, training_size
from portkit.verification.faults import (
    CONTROLS,
    FAULTS,
    PIXEL_FAULTS,
    Control,
    Fault,
    Faulty,
    PixelFault,
    inject_built,
    is_harmless,
)
from portkit.verification.jobs import Job
from portkit.verification.ladder import verify_job
from portkit.verification.pipeline import Pipelines, check_pipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import nets

RUNGS = ("coverage", "bits", "structure", "dense", "layers", "outputs")
HEADS = ("fault", "net", "place", *RUNGS, "pipeline", "allclose", "top-1", "cause")
FULL = {name: (f"torchvision:{name}@random:7", "conv-head") for name in nets.KNOWN}
ENOUGH = 0.9  # of the nameable causes


@dataclass(frozen=True, slots=True)
class Row:
    """One fault in one net: what each rung says, and what it is said to be."""

    fault: str
    net: str
    place: str
    seen: dict[str, str]  # rung → "✗" rejected, "·" not seen, "!" refused, "" does not apply
    named: str  # "named", "misnamed: …", "" where it has no name

    @property
    def survives(self) -> bool:
        return "✗" not in (self.seen[rung] for rung in (*RUNGS, "pipeline") if rung in self.seen)

    @property
    def cells(self) -> tuple[str, ...]:
        marks = (self.seen.get(name, "") for name in HEADS[3:-1])
        return (self.fault, self.net, self.place, *marks, self.named)


class Trials:
    """One correct port on which faults are tried."""

    def __init__(self, name: str, job: Job) -> None:
        self.name, self.job = name, job
        self.net = job.target.build(torch.float64)
        size = job.options.input_size or (training_size(job.source.endpoint),) * 2
        inputs = guess_inputs(job.source.skeleton(), (size,))
        random = np.random.default_rng(0)
        form = (inputs.channels, *size) if inputs.channels else (inputs.features,)
        self.noise = random.standard_normal((8, *form), np.float32)
        self.right = _scores(job.source.build(torch.float32), self.noise)

    def judge(self, rung: str, entry: Faulty) -> Any:
        options = replace(self.job.options, rungs=(rung,))
        return verify_job(replace(self.job, target=entry.side, options=options))

    def usual(self, entry: Faulty) -> dict[str, str]:
        """Return what is usually done: one tolerance on one input, and top-1 agreement on eight."""
        torch.manual_seed(0)
        try:
            found = _scores(entry.side.build(torch.float32), self.noise)
        except (RuntimeError, ValueError):
            return {"allclose": "✗", "top-1": "✗"}
        if found.shape != self.right.shape:
            return {"allclose": "✗", "top-1": "✗"}
        close = np.allclose(found[:1], self.right[:1], rtol=1e-5, atol=1e-5)
        agreed = (found.argmax(1) == self.right.argmax(1)).mean()
        return {"allclose": "·" if close else "✗", "top-1": f"{agreed:.0%}"}

    def try_fault(self, fault: Fault, seed: int) -> Row | None:
        """Put a fault in and let every rung judge; None where it has no place, or no effect."""
        faulty = inject_built(self.job.target, self.net, fault, seed)
        if faulty is None:
            return None
        seen, causes = {}, []
        for rung in RUNGS:
            try:
                found = self.judge(rung, faulty)
            except PortkitError as error:
                _say(f"{fault.id}, {rung}: {error.problems[0].what}")
                seen[rung] = "!"
                continue
            seen[rung] = _mark(found.rungs[0].status)
            causes += _causes(found)
        seen |= self.usual(faulty)
        if "✗" not in seen.values() and is_harmless(self.job, self.net, fault, seed):
            return None
        return Row(
            f"{fault.id} {fault.words}", self.name, faulty.place, seen, _named(fault, causes)
        )

    def try_control(self, control: Control) -> str:
        """Return the rung that a change that is no fault fails; empty where all pass."""
        faulty = inject_built(self.job.target, self.net, control, 0)
        for rung in control.rungs if faulty else ():
            if not self.judge(rung, faulty).passed:
                return f"{control.words} in {self.name}: {rung} fails"
        return ""


def _scores(net: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    made = next(iter(run_module(net, images).values()))
    return made.mean((2, 3)) if made.ndim == 4 else made


def _mark(status: Status) -> str:
    return {Status.FAILED: "✗", Status.PASSED: "·"}.get(status, "")


def _causes(found: Any) -> list[str]:
    checks = (check for rung in found.rungs for check in rung.failed)
    return [check.diagnosis.cause for check in checks if check.diagnosis]


def _named(fault: Fault, causes: list[str]) -> str:
    if not fault.cause:
        return ""
    if set(causes) & set(fault.causes):
        return "named"
    return f"misnamed: {', '.join(dict.fromkeys(causes)) or 'nothing'}"


def try_pixels(fault: PixelFault) -> Row:
    """Judge a fault of preprocessing from pixels on, before a fixed linear model."""
    how = Preprocessing(crop=64, resize=72)
    matrix = np.random.default_rng(0).standard_normal((3 * 64 * 64, 5)).astype(np.float32) / 64
    lines = Pipelines(
        (how, fault.alter(how)),
        lambda batch: batch.reshape(len(batch), -1) @ matrix,
        lambda batch: batch.reshape(len(batch), -1) @ matrix,
        lambda batch: batch.reshape(len(batch), -1).astype(np.float64) @ matrix,
    )
    found = check_pipeline(load_photos()[:2], lines, how)
    causes = {check.diagnosis.cause for check in found.failed if check.diagnosis}
    named = "named" if fault.cause in causes else f"misnamed: {', '.join(causes)}"
    seen = {"pipeline": _mark(found.status)}
    return Row(f"{fault.id} {fault.words}", "pixels", "preprocessing", seen, named)


def find_rows(trials: Trials, faults: list[Fault], seeds: int) -> Iterator[Row]:
    for fault in faults:
        for seed in range(seeds):
            row = trials.try_fault(fault, seed)
            if row is None:
                break
            _say(" ".join(row.cells))
            yield row


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _print_table(rows: list[Row], *, markdown: bool) -> None:
    lines = [HEADS, *(row.cells for row in rows)]
    if markdown:
        lines.insert(1, ("---",) * len(HEADS))
        for line in lines:
            print(f"| {' | '.join(line)} |")
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(f"{cell:{n}}" for cell, n in zip(line, widths, strict=True)).rstrip())


def print_by_fault(rows: list[Row]) -> None:
    """Print a Markdown table of faults: in how many of its placements a rung sees each."""
    rungs = (*RUNGS, "pipeline", "allclose", "top-1")
    print(f"| fault | placements | {' | '.join(rungs)} | named |")
    print(f"| --- | ---: |{' --- |' * (len(rungs) + 1)}")
    for fault in dict.fromkeys(row.fault for row in rows):
        own = [row for row in rows if row.fault == fault]
        named = [row.named == "named" for row in own if row.named]
        cells = [_share([_sees(row, rung) for row in own]) for rung in rungs]
        print(f"| {fault} | {len(own)} | {' | '.join(cells)} | {_share(named)} |")


def _sees(row: Row, rung: str) -> bool | None:
    """Say whether a rung sees a fault; for top-1 agreement, whether it falls below 100 %."""
    mark = row.seen.get(rung, "")
    if not mark:
        return None
    return mark != "100%" if rung == "top-1" else mark != "·"


def _share(seen: Sequence[bool | None]) -> str:
    """Write how many of those that apply are true: ✗ for all, · for none."""
    known = [one for one in seen if one is not None]
    if not known:
        return ""
    if all(known):
        return "✗"
    return f"{sum(known)} of {len(known)}" if any(known) else "·"


def _sum_up(rows: list[Row], failed: list[str]) -> bool:
    """Print what came of it, and say whether that is as it should be."""
    survivors = [row for row in rows if row.survives]
    named = [row.named == "named" for row in rows if row.named]
    share = sum(named) / len(named) if named else 1.0
    close = sum(row.seen.get("allclose") == "·" for row in rows)
    agreed = sum(row.seen.get("top-1") == "100%" for row in rows)
    print(f"\n{len(rows)} placements of {len({row.fault for row in rows})} faults")
    print(f"survivors: {len(survivors)}; controls that fail: {len(failed)}")
    print(f"causes named rightly: {sum(named)} of {len(named)}, {share:.1%}")
    print(f"allclose would pass {close} of them, top-1 agreement {agreed}")
    for words in (*(f"{row.fault} in {row.net}, {row.place}" for row in survivors), *failed):
        print(f"  not as it should be: {words}")
    return not survivors and not failed and share >= ENOUGH


def main() -> None:
    known = {**nets.PORTS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", default=",".join(known), help=f"some of: {', '.join(known)}")
    parser.add_argument("--faults", default="", help="some ids, such as W01,B08; all by default")
    parser.add_argument("--seeds", type=int, default=1, help="placements of each fault")
    parser.add_argument("--full", action="store_true", help="torchvision's nets at full size")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--by-fault", action="store_true", help="sum placements up, as Markdown")
    options = parser.parse_args()
    torch.set_num_threads(1 if not options.full else torch.get_num_threads())
    if options.full:
        nets.PORTS.update(FULL)
    chosen = list(FULL) if options.full else options.nets.split(",")
    ids = options.faults.split(",") if options.faults else [fault.id for fault in FAULTS]
    faults = [fault for fault in FAULTS if fault.id in ids]
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            size = nets.OWN_SIZE if name in nets.OWN else None
            asked = Options(input_size=size, quick=options.full)
            trials = Trials(name, nets.make_job(name, Path(folder), asked))
            rows += find_rows(trials, faults, options.seeds)
            failed += filter(None, map(trials.try_control, CONTROLS))
    rows += [try_pixels(f) for f in PIXEL_FAULTS if not options.faults or f.id in ids]
    if options.by_fault:
        print_by_fault(rows)
    else:
        _print_table(rows, markdown=options.markdown)
    raise SystemExit(0 if _sum_up(rows, failed) else 1)


if __name__ == "__main__":
    main()
