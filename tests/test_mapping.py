"""The mapping language: files that load, files that do not and say exactly why."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from portkit.errors import PortkitError
from portkit.mapping import invert, load_library, load_mapping, mappings_folder, obstacles
from portkit.mapping.facts import resolve_facts, turn_facts
from portkit.mapping.library import find_routes, shipped_mapping
from portkit.mapping.shapes import ShapeError, parse_shape

CASES = Path(__file__).parent / "cases"
SCHEMA = json.loads((mappings_folder() / "portkit-mapping.schema.json").read_text())

# Broken in ways that a schema cannot say: YAML itself, patterns, references between words.
BEYOND_SCHEMA = {
    "alias", "empty", "fact_without_number", "fold_over_padding", "hole_on_one_side",
    "input_that_cannot_be", "mean_without_channels", "misspelt_hole", "python_tag",
    "rearrange_reduces", "repeated_key", "shape_symbol_alone", "sizes_backwards", "tab_indent",
    "table_repeats_value", "two_arrows", "two_documents", "where_without_hole",
}  # fmt: skip

ONE_WAY = {"vgg/bn-folded"}  # what they compute cannot be undone


def cases(folder):
    return sorted((CASES / folder).glob("*.yaml"))


@pytest.mark.parametrize("path", cases("bad"), ids=lambda path: path.stem)
def test_a_bad_mapping_says_everything_that_is_wrong(path, monkeypatch):
    monkeypatch.chdir(CASES)
    with pytest.raises(PortkitError) as error:
        load_mapping(path.relative_to(CASES))
    assert str(error.value) + "\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", cases("good"), ids=lambda path: path.stem)
def test_a_good_mapping_loads(path):
    load_mapping(path)


@pytest.mark.parametrize("path", cases("good"), ids=lambda path: path.stem)
def test_the_schema_accepts_what_the_loader_accepts(path):
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


@pytest.mark.parametrize(
    "path", [p for p in cases("bad") if p.stem not in BEYOND_SCHEMA], ids=lambda path: path.stem
)
def test_the_schema_refuses_what_the_loader_refuses(path):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_shipped_mapping_follows_the_schema_and_can_be_inverted_or_says_why_not():
    library = load_library()
    assert len(library) >= 4
    for portmap in library:
        jsonschema.validate(yaml.safe_load(portmap.path.read_text()), SCHEMA)
        if portmap.name in ONE_WAY:
            assert obstacles(portmap)
            continue
        assert obstacles(portmap) == ()
        turned = invert(portmap)
        assert (turned.source, turned.target) == (portmap.target, portmap.source)
        again = invert(turned)
        for rule, twice in zip(portmap.rules, again.rules, strict=True):
            assert (twice.takes, twice.gives, twice.ops) == (rule.takes, rule.gives, rule.ops)
            assert (twice.shape, twice.limits) == (rule.shape, rule.limits)
        assert not again.inverted


def test_what_is_said_of_one_side_is_said_of_the_other_on_the_way_back():
    facts = load_mapping(CASES / "good" / "one_of_each.yaml", "m").facts
    turned = turn_facts(facts)
    assert turned["flatten"] == {"source": "c h w", "target": "h w c"}
    assert turned["labels"] == {"count": "num_classes", "source": "torchvision", "target": "caffe"}
    assert turned["heads"] == {"source": (), "target": ("aux1", "aux2")}
    assert turned["eval_only"] == facts["eval_only"] == ("Dropout", "StochasticDepth")
    assert turn_facts(turned) == facts
    assert resolve_facts(facts, {"num_classes": 7, "pooled": 7})["labels"]["count"] == 7
    assert "count" not in resolve_facts(facts, {"pooled": 7})["labels"]


def test_a_mapping_that_loses_something_refuses_to_be_inverted():
    portmap = load_mapping(CASES / "good" / "one_of_each.yaml", "m")
    with pytest.raises(PortkitError) as error:
        invert(portmap)
    how = "  fix: say how the tensor is made then: `inverse: {init: zeros, because: …}`\n"
    assert str(error.value) == (
        "m.yaml:19: cannot be inverted: a quarter kept\n"
        f"{how}"
        "m.yaml:22: cannot be inverted: the statistics are gone\n"
        f"{how}"
        "m.yaml:26: cannot be inverted: mean and std are in the weights\n"
        f"{how}"
        "m.yaml:30: cannot be inverted: colours\n"
        f"{how}"
        "m.yaml:31: cannot be inverted: inputs\n"
        f"{how}"
        "m.yaml:32: cannot be inverted: rounded\n"
        f"{how}"
        "m.yaml:33: cannot be inverted: rounded\n"
        f"{how}"
        "m.yaml:40: cannot be inverted: out.w was tied to emb.w"
    )


def test_routes_go_through_schemes_that_ship():
    (route,) = find_routes("fc-head", "conv-head", "vgg16")
    assert [(edge.name, edge.inverted) for edge in route] == [
        ("vgg/torchvision_to_fc-head", True),
        ("vgg/torchvision_to_conv-head", False),
    ]
    assert find_routes("fc-head", "conv-head", "lenet") == ()


def test_a_mapping_between_two_architectures_is_no_route_within_either():
    for arch in ("vgg16", "vgg16_bn"):
        (route,) = find_routes("torchvision", "fc-head", arch)
        assert [edge.name for edge in route] == ["vgg/torchvision_to_fc-head"]


def test_an_unknown_mapping_names_the_nearest():
    with pytest.raises(PortkitError) as error:
        shipped_mapping("vgg/torchvision-to-convhead")
    assert str(error.value).startswith(
        "vgg/torchvision-to-convhead: no shipped mapping has this name\n"
        "  fix: nearest: vgg/torchvision_to_conv-head, "
    )


def test_files_that_are_no_files(tmp_path):
    with pytest.raises(PortkitError, match="no such file"):
        load_mapping(tmp_path / "none.yaml")
    with pytest.raises(PortkitError, match="cannot be read: Is a directory"):
        load_mapping(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"portkit: 1 # \xe4")
    with pytest.raises(PortkitError, match="byte 13 is not UTF-8"):
        load_mapping(tmp_path / "latin.yaml")
    (tmp_path / "deep.yaml").write_text("[" * 50_000)
    with pytest.raises(PortkitError):
        load_mapping(tmp_path / "deep.yaml")
    (tmp_path / "big.yaml").write_text("#" * (5 << 20))
    with pytest.raises(PortkitError, match="that is no mapping"):
        load_mapping(tmp_path / "big.yaml")


@pytest.mark.parametrize(
    ("text", "shape", "what"),
    [
        ("[o, c*7*7] -> [o, c, 7, 7]", (5, 98), None),
        ("[o, c*7*7] -> [o, c, 7, 7]", (5, 100), "c*7*7: 100 is no multiple of 49"),
        ("[o, i] -> [i, o]", (5,), "[o, i] has 2 axes, found [5]"),
        ("[o, 7] -> [7, o]", (5, 8), "7 should be 7, found 8"),
        ("[a, a] -> [a*a]", (5, 6), "a should be 5, found 6"),
        ("[a*b] -> [a, b]", (6,), "a*b is 6: only one of a, b can be found"),
        ("[] -> []", (), None),
    ],
)
def test_shape_rules_bind_on_the_left(text, shape, what):
    rule = parse_shape(text)
    assert str(rule) == text
    assert rule.inverse().inverse() == rule
    if what is None:
        rule.bind(shape, {})
    else:
        with pytest.raises(ShapeError) as error:
            rule.bind(shape, {})
        assert str(error.value) == what


def test_a_shape_rule_checks_what_came_out():
    rule = parse_shape("[o, c*7*7] -> [o, c, 7, 7]")
    symbols = rule.bind((5, 98), {})
    rule.check((5, 2, 7, 7), symbols)
    with pytest.raises(ShapeError) as error:
        rule.check((5, 7, 7, 2), symbols)
    assert str(error.value) == "[o, c, 7, 7] is [5, 2, 7, 7], the ops make [5, 7, 7, 2]"


def test_the_schema_knows_the_same_ops_fills_and_facts():
    from portkit.mapping.facts import FACTS
    from portkit.ops import OPS
    from portkit.ops.filling import CONSTANTS, DRAWN

    defs = SCHEMA["$defs"]
    assert [form["required"][0] for form in defs["op"]["oneOf"]] == list(OPS)
    assert tuple(defs["filling"]["enum"]) == CONSTANTS + DRAWN
    assert set(defs["facts"]["properties"]) == set(FACTS)
