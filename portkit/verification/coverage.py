"""The coverage rung: every tensor is accounted for, and both models are configured alike."""

from collections.abc import Iterator

from portkit.planning import Plan
from portkit.tensors import Specs
from portkit.verification.bookkeeping import check_provenance, check_untouched
from portkit.verification.jobs import Job
from portkit.verification.results import Check, RungResult, rung_of


def check_coverage(job: Job, source: Specs, *, models: bool) -> RungResult:
    """Compare the target's header with the plan and, where `models` run, their configurations."""
    plan, target = job.plan, job.target
    with target.open() as reader:
        checks = [*_check_sources(plan, source), *_check_targets(plan, reader.specs)]
    if target.endpoint.specs is not None:
        checks += _check_model(plan, target.endpoint.specs)
    checks += check_provenance(job)
    if "bits" not in job.wanted:  # which would see more than this
        checks += check_untouched(job)
    made, dropped = len(plan.made), len(plan.dropped)
    summary = f"{len(source)} source and {len(plan.steps)} target tensors accounted for"
    if made or dropped:
        summary += f" ({made} made anew, {dropped} dropped)"
    notes = [*job.notes, *(f"{d.spec} is left behind: {d.because}" for d in plan.dropped[:3])]
    notes += [f"{step.target} is made, {step.ops[0]}: {step.because}" for step in plan.made[:3]]
    if models:
        from portkit.verification.configuration import compare_configurations

        compared = compare_configurations(plan, (job.source.skeleton(), target.skeleton()))
        checks += compared.checks
        notes += compared.notes
        summary += f", {len(compared.checks)} settings alike"
    wrong = sum(not check.passed for check in checks)
    if wrong:
        summary = f"{wrong} of {len(checks)} checks failed"
    return rung_of("coverage", checks, summary, tuple(notes))


def _check_sources(plan: Plan, source: Specs) -> Iterator[Check]:
    """Make sure that every source tensor is used, dropped or tied, by name and form."""
    planned = [spec for step in plan.steps for spec in step.sources]
    planned += [dropped.spec for dropped in plan.dropped]
    planned += [tied.spec for tied in plan.tied]
    known = {spec.name for spec in planned}
    for spec in dict.fromkeys(planned):
        found = source.get(spec.name)
        if found != spec:
            what = f"the plan takes {spec.form}, the source has {found.form if found else 'none'}"
            yield Check(spec.name, passed=False, what=what)
    for name, spec in source.items():
        where = "taken" if name in known else "goes nowhere"
        yield Check(name, passed=name in known, what=f"source tensor {spec.form} {where}")


def _check_targets(plan: Plan, found: Specs) -> Iterator[Check]:
    """Hold the file against the plan's targets: no more and no less."""
    seen: set[str] = set()
    for step in plan.steps:
        name, spec = step.target.name, step.target
        if name in seen:
            yield Check(name, passed=False, what="the plan makes it twice")
        elif name not in found:
            yield Check(name, passed=False, what=f"{spec.form} is missing from the file")
        elif found[name] != spec:
            what = f"{found[name].form} in the file, the plan says {spec.form}"
            yield Check(name, passed=False, what=what)
        else:
            yield Check(name, passed=True, what=spec.form)
        seen.add(name)
    for name, spec in found.items():
        if name not in seen:
            yield Check(name, passed=False, what=f"{spec.form} is in the file, not in the plan")


def _check_model(plan: Plan, model: Specs) -> Iterator[Check]:
    """Make sure that the plan leaves nothing of the target model at its initial value."""
    targets = plan.targets
    for name, spec in model.items():
        found = targets.get(name)
        if found is None:
            what = f"{spec.form} of the target model stays at its initial value"
            yield Check(name, passed=False, what=what)
        elif found.shape != spec.shape:
            what = f"the target model has {spec.form}, the plan makes {found.form}"
            yield Check(name, passed=False, what=what)
    for name in targets:
        if name not in model:
            yield Check(name, passed=False, what="the target model has no such tensor")
