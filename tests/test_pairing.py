"""Pairing models without a mapping: what users write, ported by hand, must be found again."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

import portkit
from portkit.endpoints import resolve_source
from portkit.errors import PortkitError
from portkit.mapping import load_mapping
from portkit.pairing import infer_mapping
from portkit.verification.sides import side_of

PAIRS = ["renamed", "heads", "transposed", "residual", "numbered", "shared", "branches"]
TESTS = Path(__file__).parent
IMAGES = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def models(monkeypatch):
    """Give a module of models by its name, and make it importable as `pairs.NAME`."""
    monkeypatch.chdir(TESTS)
    monkeypatch.syspath_prepend(TESTS)
    return lambda name: import_module(f"pairs.{name}")


@pytest.fixture
def side(tmp_path):
    """Save a state dict, and give the side that a model with it is."""

    def give(factory, state):
        path = tmp_path / f"{factory.partition(':')[2]}.pth"
        torch.save({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
        return side_of(resolve_source(f"python:{factory}@{path}"))

    return give


def drawn(model, seed=0):
    """Return random weights and statistics for a model, tied ones alike."""
    torch.manual_seed(seed)
    state = model.state_dict(keep_vars=True)
    made = {}
    for name, tensor in state.items():
        twin = next((n for n in made if state[n] is tensor), None)
        if twin is not None:
            made[name] = made[twin]
        elif tensor.is_floating_point():
            made[name] = torch.randn(tensor.shape) / 2
            made[name] = made[name].abs() + 0.5 if name.endswith("var") else made[name]
        else:
            made[name] = torch.tensor(7)
    return made


def ported(pair, state):
    """Port by hand, as the module of a pair says."""
    changes = getattr(pair, "CHANGES", {})
    return {
        target: changes.get(target, lambda w: w)(state[source])
        for target, source in pair.MAPS.items()
    }


@pytest.fixture
def pair_up(models, side):
    """Infer the mapping of a pair whose port is right but for what `spoil` does to it."""

    def infer(name, spoil=lambda state: state, seed=0):
        pair = models(name)
        state = drawn(pair.Old(), seed)
        source = side(f"pairs.{name}:Old", state)
        target = side(f"pairs.{name}:New", spoil(ported(pair, state)))
        return source, target, infer_mapping(source, target, IMAGES)

    return infer


@pytest.mark.parametrize("name", PAIRS)
def test_a_correct_port_is_found_again(models, pair_up, name):
    inferred = pair_up(name)[2]
    assert {pair.target: pair.source for pair in inferred.pairs} == models(name).MAPS
    assert inferred.complete
    assert all("shape" in pair.because for pair in inferred.pairs)


@pytest.mark.parametrize("name", PAIRS)
def test_the_mapping_converts_to_the_port_made_by_hand(pair_up, tmp_path, name):
    source, target, inferred = pair_up(name)
    mapping, made = tmp_path / "inferred.yaml", tmp_path / "made.safetensors"
    mapping.write_text(inferred.text)
    portkit.convert(str(source.endpoint), f"python:pairs.{name}:New", made, mapping=mapping)
    images = torch.from_numpy(IMAGES)
    with torch.inference_mode():
        answers = [m(images) for m in (portkit.load(made), target.build(torch.float32))]
        wanted = source.build(torch.float32)(images)
    assert torch.equal(*answers)
    torch.testing.assert_close(answers[0], wanted)


@pytest.mark.parametrize("name", ["renamed", "heads", "residual", "numbered"])
def test_order_pairs_weights_that_have_nothing_in_common(models, pair_up, name):
    def spoil(state):
        return {n: torch.randn(t.shape) if t.is_floating_point() else t for n, t in state.items()}

    inferred = pair_up(name, spoil)[2]
    assert {pair.target: pair.source for pair in inferred.pairs} == models(name).MAPS
    assert not any("fingerprint" in pair.because for pair in inferred.pairs)
    assert inferred.complete


def swapped(one, other):
    def spoil(state):
        return {**state, one: state[other], other: state[one]}

    return spoil


def test_swapped_layers_are_paired_by_order_and_their_values_are_reported(models, pair_up):
    inferred = pair_up("numbered", swapped("2.weight", "18.weight"))[2]
    assert {pair.target: pair.source for pair in inferred.pairs} == models("numbered").MAPS
    said = {found.target: found for found in inferred.ambiguous}
    assert set(said) == {"2.weight", "18.weight"}
    assert said["2.weight"].candidates == ("conv2.weight", "conv10.weight")
    assert said["2.weight"].decided == (
        "execution order, against its values, which are those of conv10.weight"
    )
    assert "# ambiguous: 2.weight could be conv2.weight or conv10.weight" in inferred.text


def test_a_transposed_square_matrix_is_not_explained_away(pair_up):
    def spoil(state):
        return {**state, "b.weight": state["b.weight"].T}

    inferred = pair_up("transposed", spoil)[2]
    (pair,) = [pair for pair in inferred.pairs if pair.target == "b.weight"]
    assert pair.ops == "rearrange: out in -> in out"
    assert "fingerprint" not in pair.because
    assert "b.weight has the values of same.weight, in another order" in " ".join(inferred.notes)


def test_values_choose_between_branches_that_nothing_else_tells_apart(pair_up):
    inferred = pair_up("branches")[2]
    pairs = {pair.target: pair for pair in inferred.pairs}
    assert "execution order" not in pairs["left_in.weight"].because
    assert "fingerprint" in pairs["left_in.weight"].because
    said = {found.target: found for found in inferred.ambiguous}
    assert said["left_in.weight"].candidates == ("left.0.weight", "right.0.weight")
    assert {found.decided for found in inferred.ambiguous} == {"fingerprint"}
    assert {target.partition("_")[0] for target in said} == {"left", "right"}


def test_names_choose_between_branches_without_common_values(models, pair_up):
    def spoil(state):
        return {name: torch.randn(tensor.shape) for name, tensor in state.items()}

    inferred = pair_up("branches", spoil)[2]
    assert {pair.target: pair.source for pair in inferred.pairs} == models("branches").MAPS
    assert {found.decided for found in inferred.ambiguous} == {"name"}


def test_a_folded_normalisation_is_no_pair(models, side):
    unlike = models("unlike")
    source = side("pairs.unlike:Normalised", drawn(unlike.Normalised()))
    target = side("pairs.unlike:Folded", drawn(unlike.Folded(), seed=1))
    inferred = infer_mapping(source, target, IMAGES)
    assert {pair.target: pair.source for pair in inferred.pairs} == {
        name: name for name in ("b.weight", "b.bias", "fc.weight", "fc.bias")
    }
    assert inferred.unpaired_target == ("a.weight", "a.bias")
    assert set(inferred.unpaired_source) > {"a.weight", "bn.weight", "bn.running_var"}
    assert "(bn) have no counterpart" in inferred.notes[0]


def test_fused_projections_are_reported_and_not_guessed(models, side):
    unlike = models("unlike")
    source = side("pairs.unlike:Separate", drawn(unlike.Separate()))
    target = side("pairs.unlike:Fused", drawn(unlike.Fused(), seed=1))
    inferred = infer_mapping(source, target, IMAGES)
    assert "attention.in_proj_weight" in inferred.unpaired_target
    assert {"q.weight", "k.weight", "v.weight"} <= set(inferred.unpaired_source)
    said = "attention.in_proj_weight [24, 8] is as large as q.weight, k.weight, v.weight together"
    assert any(said in note for note in inferred.notes)
    assert "place" in inferred.unpaired_target


def test_a_layer_too_many_leaves_gaps_that_values_place(models, side):
    unlike = models("unlike")
    state = drawn(unlike.Long())
    kept = {"0": "0", "1": "2"}
    short = {f"{i}.{p}": state[f"{j}.{p}"] for i, j in kept.items() for p in ("weight", "bias")}
    source, target = side("pairs.unlike:Long", state), side("pairs.unlike:Short", short)
    inferred = infer_mapping(source, target, IMAGES)
    assert {pair.target: pair.source for pair in inferred.pairs} == {
        "0.weight": "0.weight",
        "0.bias": "0.bias",
        "1.weight": "2.weight",
        "1.bias": "2.bias",
    }
    assert inferred.unpaired_source == ("1.weight", "1.bias")
    assert {found.target for found in inferred.ambiguous} == set(short)


def test_an_incomplete_mapping_still_loads_and_says_what_is_open(models, side, tmp_path):
    unlike = models("unlike")
    source = side("pairs.unlike:Separate", drawn(unlike.Separate()))
    target = side("pairs.unlike:Fused", drawn(unlike.Fused(), seed=1))
    inferred = infer_mapping(source, target, IMAGES)
    path = tmp_path / "inferred.yaml"
    path.write_text(inferred.text)
    portmap = load_mapping(path)
    assert (portmap.source, portmap.target) == (
        "python:pairs.unlike:Separate",
        "python:pairs.unlike:Fused",
    )
    assert "# no source: the target's attention.in_proj_weight [24, 8]" in inferred.text
    assert "# no counterpart: the source's q.weight [8, 8]" in inferred.text
    assert len(portmap.rules) > 0


def test_a_layer_of_which_the_target_keeps_two_copies_goes_to_both(models, side, tmp_path):
    unlike = models("unlike")
    state = drawn(unlike.Looped())
    copies = {f"{i}.{p}": state[f"conv.{p}"] for i in range(2) for p in ("weight", "bias")}
    source, target = side("pairs.unlike:Looped", state), side("pairs.unlike:Short", copies)
    inferred = infer_mapping(source, target, IMAGES)
    assert inferred.complete
    assert inferred.text.count("shared: true") == 2
    mapping, made = tmp_path / "inferred.yaml", tmp_path / "made.safetensors"
    mapping.write_text(inferred.text)
    portkit.convert(str(source.endpoint), "python:pairs.unlike:Short", made, mapping=mapping)
    models_made = portkit.load(made), source.build(torch.float32)
    with torch.inference_mode():
        answers = [model(torch.from_numpy(IMAGES)) for model in models_made]
    torch.testing.assert_close(*answers)


def test_several_layers_for_one_that_is_called_twice_are_ambiguous(models, side):
    unlike = models("unlike")
    source = side("pairs.unlike:Short", drawn(unlike.Short()))
    target = side("pairs.unlike:Looped", drawn(unlike.Looped(), seed=1))
    inferred = infer_mapping(source, target, IMAGES)
    said = {found.target: found for found in inferred.ambiguous}
    assert said["conv.weight"].candidates == ("0.weight", "1.weight")
    assert said["conv.weight"].decided == "its first call"
    assert inferred.unpaired_source == ("1.weight", "1.bias")


def test_a_model_that_cannot_run_is_an_error_with_its_name(models, side):
    unlike = models("unlike")
    one = side("pairs.unlike:Short", drawn(unlike.Short()))
    with pytest.raises(PortkitError, match=r"Short@.*cannot run on an input \[1, 5, 32, 32\]"):
        infer_mapping(one, one, np.zeros((1, 5, 32, 32), np.float32))


def test_values_reveal_a_flatten_with_channels_last(pair_up):
    def spoil(state):
        wide = state["head.0.weight"].reshape(10, 4, 4, 4)
        return {**state, "head.0.weight": wide.permute(0, 3, 1, 2)}

    inferred = pair_up("heads", spoil)[2]
    (pair,) = [pair for pair in inferred.pairs if pair.target == "head.0.weight"]
    assert pair.ops == "rearrange: out (h w in) -> out in h w (h=4, w=4)"
    assert "does the source flatten its maps channels last?" in inferred.notes[0]


def test_counters_that_an_old_file_lacks_start_at_zero(models, side):
    pair = models("renamed")
    state = drawn(pair.Old())
    target = side("pairs.renamed:New", ported(pair, state))
    del state["norm.num_batches_tracked"]
    inferred = infer_mapping(side("pairs.renamed:Old", state), target, IMAGES)
    assert '- {init: "0.1.num_batches_tracked", with: zeros' in inferred.text
    assert len(inferred.pairs) == len(pair.MAPS) - 1
    assert inferred.complete


def test_an_auxiliary_head_on_one_side_is_dropped_and_on_both_is_paired(models, side):
    pair = models("shared")
    state = drawn(pair.Old())
    source = side("pairs.shared:Old", state)
    alone = infer_mapping(source, side("pairs.shared:New", ported(pair, state)), IMAGES)
    assert alone.dropped == ("aux.weight", "aux.bias")
    assert '- {drop: "aux.weight", because: "the source does not use it' in alone.text
    both = infer_mapping(source, side("pairs.shared:Old", drawn(pair.Old(), seed=1)), IMAGES)
    assert both.complete
    assert not both.dropped
    assert ("aux.weight", "aux.weight") in {(pair.source, pair.target) for pair in both.pairs}
