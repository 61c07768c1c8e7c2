"""Planning: every tensor accounted for, every misfit listed, from headers alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit.errors import PortkitError
from portkit.mapping import invert, load_mapping
from portkit.ops import Kind
from portkit.planning import Ends, apply_step, compose_plans, make_plan
from portkit.tensors import DType, TensorSpec

HEAD = "portkit: 1\nfrom: theirs\nto: ours\nfor: [tiny]\n"


def specs(**shapes):
    return {
        name.replace("__", "."): TensorSpec(name.replace("__", "."), tuple(shape), DType.F32)
        for name, shape in shapes.items()
    }


@pytest.fixture
def mapping(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, head=HEAD):
        (tmp_path / "m.yaml").write_text(head + text)
        return load_mapping((tmp_path / "m.yaml").relative_to(tmp_path))

    return write


def plan(portmap, source, target, **symbols):
    return make_plan(portmap, Ends(source, target, symbols, ("src", "dst")))


def complaints(portmap, source, target, **symbols):
    with pytest.raises(PortkitError) as error:
        plan(portmap, source, target, **symbols)
    return str(error.value)


def test_a_plan_names_concrete_tensors_and_why_shapes_prove_nothing(mapping):
    portmap = mapping("""rules:
  - map: "f.{i}.weight -> g.{i+1}.weight"
  - map: "fc -> conv"
    shape: "[o, c*2*3] -> [o, c, 2, 3]"
    ops: [{rearrange: "o (c h w) -> o c h w", sizes: {h: 2, w: 3}}]
""")
    made = plan(
        portmap,
        specs(f__0__weight=(4, 4), f__1__weight=(4, 4), fc=(5, 24)),
        specs(g__1__weight=(4, 4), g__2__weight=(4, 4), conv=(5, 4, 2, 3)),
    )
    assert [(str(s), s.where, s.kind, s.reinterprets, s.blind) for s in made.steps] == [
        (
            "f.0.weight F32[4, 4] → g.1.weight F32[4, 4]",
            "m.yaml:6",
            Kind.EXACT,
            True,
            ("square: 4=4", "siblings: g.2.weight"),
        ),
        (
            "f.1.weight F32[4, 4] → g.2.weight F32[4, 4]",
            "m.yaml:6",
            Kind.EXACT,
            True,
            ("square: 4=4", "siblings: g.1.weight"),
        ),
        ("fc F32[5, 24] → conv F32[5, 4, 2, 3]", "m.yaml:7", Kind.EXACT, True, ("flatten order",)),
    ]


def test_every_misfit_is_listed_at_once(mapping):
    portmap = mapping("""rules:
  - map: "a.{p:weight|bias}"
  - map: "classifer.weight"
  - map: "fc -> conv"
    ops: [{rearrange: "o (c h w) -> o c h w", sizes: {h: 2, w: 3}}]
  - map: "twice -> a.bias"
  - {drop: "a.bias", because: "no"}
""")
    source = specs(
        a__weight=(4, 3), a__bias=(4,), classifier__weight=(2, 2), fc=(5, 25), twice=(4,)
    )
    target = specs(a__weight=(3, 4), a__bias=(4,), classifier__weight=(2, 2), conv=(5, 4, 2, 3))
    assert (
        complaints(portmap, source, target)
        == """\
m.yaml:6 and m.yaml:11: both take a.bias F32[4]
  fix: say `shared: true` on each rule, if both are meant
m.yaml:6 and m.yaml:10: a.bias would be written 2 times
m.yaml:6: gives a.weight F32[4, 3], but dst has F32[3, 4]
  fix: give the ops that turn one into the other
m.yaml:8: fc: (c h w): 25 is no multiple of 6
m.yaml: no rule takes classifier.weight F32[2, 2]
  fix: closest rule takes 'classifer.weight' (m.yaml:7)
m.yaml: nothing gives classifier.weight F32[2, 2], which dst needs
  fix: closest rule gives 'classifer.weight' (m.yaml:7)
m.yaml:7: no tensor is named like 'classifer.weight'"""
    )


def test_a_rule_may_give_only_what_the_target_has(mapping):
    portmap = mapping('rules:\n  - map: "{x:**}"\n')
    assert (
        complaints(portmap, specs(ab=(1,), c=(1,)), specs(abc=(1,), c=(1,)))
        == """\
m.yaml:6: gives ab F32[1], but dst has no such tensor
  fix: nearest: 'abc'
m.yaml: nothing gives abc F32[1], which dst needs"""
    )


def test_what_is_dropped_made_or_missing_is_said(mapping):
    portmap = mapping("""rules:
  - map: "w"
  - map: "bn.{p:count|mean}"
    if_missing: {init: zeros, because: "old files"}
  - {drop: "aux.{r:**}", because: "not used"}
  - {init: "head.{r:**}", with: {kind: normal, std: 0.1, seed: 7}, because: "new head"}
""")
    made = plan(
        portmap,
        specs(w=(2,), bn__mean=(2,), aux__a__b=(9,)),
        specs(w=(2,), bn__mean=(2,), bn__count=(), head__fc=(3, 2)),
    )
    assert [
        (s.target.name, s.kind, str(s.ops[-1]) if s.ops else "", s.because) for s in made.steps
    ] == [
        ("w", Kind.EXACT, "", ""),
        ("bn.mean", Kind.EXACT, "", ""),
        ("bn.count", Kind.MADE, "zeros", "old files"),
        ("head.fc", Kind.MADE, "normal std 0.1 seed 7", "new head"),
    ]
    assert [(d.spec.name, d.because) for d in made.dropped] == [("aux.a.b", "not used")]


def test_dtypes_pass_through_but_are_never_cast_in_silence(mapping):
    portmap = mapping('rules:\n  - map: "{x:seg}"\n')
    half = {"w": TensorSpec("w", (2,), DType.BF16)}
    assert plan(portmap, half, specs(w=(2,))).steps[0].target.dtype is DType.BF16
    whole = {"w": TensorSpec("w", (2,), DType.I64)}
    assert complaints(portmap, whole, specs(w=(2,))) == (
        "m.yaml:6: gives w I64[2], but dst has F32[2]\n  fix: add a cast"
    )


def test_many_become_one_and_one_many(mapping):
    portmap = mapping("""rules:
  - from: ["t.0.{c}.w", "t.1.{c}.w"]
    to: "{c}.w"
    axes: "out in"
    ops: [{concat: {axis: out, sizes: [3, 2]}}]
""")
    source = specs(t__0__5__w=(3, 4), t__1__5__w=(2, 4))
    there = plan(portmap, source, specs(**{"5__w": (5, 4)}))
    (step,) = there.steps
    arrays = tuple(np.arange(s.size).reshape(s.shape) + 100 * i for i, s in enumerate(step.sources))
    joined = apply_step(step, arrays)
    assert joined.tolist() == np.concatenate(arrays).tolist()

    back = plan(invert(portmap), there.targets, source)
    assert [str(s.ops[-1]) for s in back.steps] == ["piece 0", "piece 1"]
    for step, array in zip(back.steps, arrays, strict=True):
        assert apply_step(step, (joined,)).tolist() == array.tolist()

    round_trip = compose_plans(there, back)
    for step, array in zip(round_trip.steps, arrays, strict=True):
        assert apply_step(step, arrays).tolist() == array.tolist()


def test_a_part_that_is_missing_is_named(mapping):
    portmap = mapping("""rules:
  - from: ["a.{i}", "b.{i}"]
    to: "c.{i}"
    axes: "out"
    ops: [{concat: {axis: out, sizes: [1, 1]}}]
""")
    assert complaints(
        portmap, specs(a__0=(1,), b__0=(1,), a__1=(1,)), specs(c__0=(2,), c__1=(2,))
    ) == ("m.yaml:6: c.1 needs b.1, which the source lacks")


def test_composition_fuses_moves(mapping):
    out = mapping("""rules:
  - map: "w"
    ops: [{rearrange: "o c h w -> h w c o"}]
""")
    source = specs(w=(2, 3, 4, 5))
    there = plan(out, source, specs(w=(4, 5, 3, 2)))
    assert not there.steps[0].reinterprets
    back = plan(invert(out), there.targets, source)
    both = compose_plans(there, back)
    assert both.steps[0].reinterprets
    assert both.route == ("theirs", "ours", "theirs")


def test_facts_meet_or_are_refused(mapping):
    one = mapping("rules:\n  - map: w\nfacts:\n  valid_sizes: {h: [10, 30], w: [1, 9]}\n")
    first = plan(one, specs(w=(1,)), specs(w=(1,)))
    two = mapping("rules:\n  - map: w\nfacts:\n  valid_sizes: {h: [20*n, 20*n+20], w: [1, 9]}\n")
    second = plan(two, specs(w=(1,)), specs(w=(1,)), n=1)
    assert compose_plans(first, second).facts["valid_sizes"] == {"h": (20, 30), "w": (1, 9)}
    eps = [
        plan(mapping(f"rules:\n  - map: w\nfacts: {{batchnorm_eps: {e}}}\n"), specs(w=(1,)), None)
        for e in ("1e-5", "1e-3")
    ]
    with pytest.raises(PortkitError, match="facts: the route's mappings disagree on batchnorm_eps"):
        compose_plans(*eps)


def test_shared_tensors_may_be_taken_twice_when_every_rule_says_so(mapping):
    text = 'rules:\n  - {map: "w -> a", shared: true}\n  - {map: "w -> b", shared: %s}\n'
    assert len(plan(mapping(text % "true"), specs(w=(1,)), specs(a=(1,), b=(1,))).steps) == 2
    assert complaints(mapping(text % "false"), specs(w=(1,)), specs(a=(1,), b=(1,))).startswith(
        "m.yaml:6 and m.yaml:7: both take w F32[1]"
    )


def test_long_lists_are_cut(mapping):
    portmap = mapping("rules: []\n")
    source = {f"w.{i}": TensorSpec(f"w.{i}", (1,), DType.F32) for i in range(50)}
    lines = complaints(portmap, source, {}).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "m.yaml: and 30 more like these"


def test_twenty_thousand_tensors_are_planned_in_one_pass(mapping):
    portmap = mapping("""rules:
  - map: "layers.{i}.{m:seg}.{p:weight|bias}"
""")
    source = {
        name: TensorSpec(name, (i % 7 + 1, 3), DType.F32)
        for i in range(10_000)
        for name in (f"layers.{i}.conv.weight", f"layers.{i}.conv.bias")
    }
    assert len(plan(portmap, source, source).steps) == 20_000


@settings(deadline=None)
@given(data=st.data())
def test_every_source_name_ends_in_exactly_one_place(data, tmp_path_factory):
    names = data.draw(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1))
    kept = data.draw(st.sets(st.sampled_from("abcdefgh")))
    dropped = data.draw(st.sets(st.sampled_from("abcdefgh"))) - kept
    rules = [f'  - map: "{n}"' for n in sorted(kept)]
    rules += [f'  - {{drop: "{n}", because: "x"}}' for n in sorted(dropped)]
    path = tmp_path_factory.mktemp("m") / "m.yaml"
    path.write_text(HEAD + "rules:\n" + "\n".join(rules) + ("" if rules else "  []") + "\n")
    source = specs(**dict.fromkeys(names, (2,)))
    try:
        made = plan(load_mapping(path), source, None)
    except PortkitError as error:
        untaken = {p.what.split()[3] for p in error.problems if p.what.startswith("no rule takes")}
        assert untaken == set(names) - kept - dropped
        assert untaken
    else:
        assert {s.target.name for s in made.steps} == set(names) & kept
        assert {d.spec.name for d in made.dropped} == set(names) & dropped
        assert set(names) <= kept | dropped


@pytest.mark.parametrize(
    ("ties", "what"),
    [
        (["copy -> embed", "embed -> copy"], "which no rule moves"),
        (["copy -> copy"], "which no rule moves"),
        (["copy -> none"], "which the source lacks"),
        (["copy -> other"], "which is F32[3]"),
    ],
)
def test_a_tie_needs_a_tensor_that_is_moved(mapping, ties, what):
    rules = "".join(f'  - {{tie: "{tie}", because: "same"}}\n' for tie in ties)
    kept = "" if len(ties) > 1 else '  - map: "embed"\n'
    portmap = mapping(f'rules:\n{rules}{kept}  - map: "other"\n')
    source = specs(copy=(2,), embed=(2,), other=(3,))
    assert what in complaints(portmap, source, None)


def test_a_tie_that_holds_is_not_written(mapping):
    portmap = mapping('rules:\n  - {tie: "copy -> embed", because: "same"}\n  - map: "embed"\n')
    made = plan(portmap, specs(copy=(2,), embed=(2,)), specs(embed=(2,)))
    assert [(t.spec.name, t.equals) for t in made.tied] == [("copy", "embed")]


def test_every_source_of_a_joined_tensor_is_made_anew_on_the_way_back(mapping):
    portmap = mapping("""rules:
  - from: ["a", "b"]
    to: "c"
    axes: "out"
    ops: [{concat: {axis: out, sizes: [1, 2]}}, {slice: {out: "::2"}}]
    inverse: {init: zeros, because: "half of it is gone"}
""")
    back = plan(invert(portmap), specs(c=(2,)), specs(a=(1,), b=(2,)))
    assert [(s.target.name, s.because) for s in back.steps] == [
        ("a", "half of it is gone"),
        ("b", "half of it is gone"),
    ]
    assert [d.spec.name for d in back.dropped] == ["c"]
