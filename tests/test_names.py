"""The pattern language: tables of what matches, and the law that filling undoes matching."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.names import Pattern, PatternError, parse_patterns

TABLES = {"extra": {24: 1, 26: 3, 28: 5}, "blocks": {"a": "block1", "b": "block10"}}


def pattern(text: str, *others: str) -> Pattern:
    return parse_patterns([text, *others], TABLES)[0]


@pytest.mark.parametrize(
    ("text", "name", "captures"),
    [
        ("features.0.weight", "features.0.weight", {}),
        ("features.{i}.weight", "features.12.weight", {"i": 12}),
        ("features.{i}.weight", "features.012.weight", None),
        ("features.{i}.weight", "features.x.weight", None),
        ("features.{i}.weight", "features.3.weight.extra", None),
        ("features.{i}.weight", "features.3.weight\n", None),
        ("f.{2*i+1}.b", "f.7.b", {"i": 3}),
        ("f.{2*i+1}.b", "f.8.b", None),
        ("f.{i+2}.b", "f.1.b", None),
        ("f.{i-1}.b", "f.0.b", {"i": 1}),
        ("{x:seg}.kernel", "conv1.kernel", {"x": "conv1"}),
        ("{x:seg}.kernel", "a.conv1.kernel", None),
        ("{x:seg}/kernel", "conv1/kernel", {"x": "conv1"}),
        ("{x:**}.kernel", "a/b.conv1.kernel", {"x": "a/b.conv1"}),
        ("{x:**}.kernel", ".kernel", None),
        ("bn.{p:weight|bias}", "bn.bias", {"p": "bias"}),
        ("bn.{p:weight|bias}", "bn.biass", None),
        ("features.{i:extra}.weight", "features.26.weight", {"i": 26}),
        ("features.{i:extra}.weight", "features.25.weight", None),
        ("b.{extra[i]}.weight", "b.3.weight", {"i": 26}),
        ("b.{extra[i]}.weight", "b.2.weight", None),
        ("{blocks[k]}_conv1", "block10_conv1", {"k": "b"}),
        ("{i}.{i}.w", "4.4.w", {"i": 4}),
        ("{i}.{i}.w", "4.5.w", None),
        ("{i}.{i+1}.w", "4.5.w", {"i": 4}),
        ("functional_1/block{b}_conv{c}/Conv:0", "functional_1/block1_conv2/Conv:0", None),
        ("a{{b}}.{i}", "a{b}.3", {"i": 3}),
        ("größe.{i}", "größe.3", {"i": 3}),
    ],
)
def test_a_pattern_matches_whole_names_only(text, name, captures):
    if "block{b}" in text:
        captures = {"b": 1, "c": 2}
    assert pattern(text).match(name) == captures


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("features.{i", "unbalanced brace\n    features.{i\n             ^"),
        ("features.i}", "unbalanced brace\n    features.i}\n              ^"),
        ("f.{}", "misspelt hole {}\n    f.{}\n      ^"),
        ("f.{2i}", "misspelt hole {2i}\n    f.{2i}\n      ^"),
        ("f.{p:}", "misspelt hole {p:}\n    f.{p:}\n      ^"),
        (
            "f.{p:word}",
            "unknown kind 'word' in 'f.{p:word}', use one of: seg, **, a|b, extra, blocks",
        ),
        ("f.{nosuch[i]}", "no table is named 'nosuch', in 'f.{nosuch[i]}'"),
        ("f.{0*i+1}", "{0*i+1} multiplies by zero, nothing could be told back"),
        ("f.{p:a||b}", "choice 'a||b' in 'f.{p:a||b}' has an empty or repeated option"),
        ("f.{p:a|b}.{p:b|c}", "{p} is declared twice, differently"),
        (
            "{i}{j}",
            (
                "'{i}{j}' could match a name in two ways: "
                "{i} and {j} need a separator that neither can hold"
            ),
        ),
        (
            "{a:seg}_{b:seg}",
            (
                "'{a:seg}_{b:seg}' could match a name in two ways: "
                "{a} and {b} need a separator that neither can hold"
            ),
        ),
        (
            "{i}0{j}",
            (
                "'{i}0{j}' could match a name in two ways: "
                "{i} and {j} need a separator that neither can hold"
            ),
        ),
        ("{a:**}.{b:**}", "'{a:**}.{b:**}' could match a name in two ways: it has two {:**}"),
        ("", "an empty pattern matches no tensor"),
    ],
)
def test_a_pattern_that_cannot_be_read_says_why(text, what):
    with pytest.raises(PatternError) as error:
        pattern(text)
    assert str(error.value) == what


def test_arithmetic_needs_an_integer():
    with pytest.raises(PatternError, match=r"\{x\+1\} does arithmetic on 'x', not an integer"):
        parse_patterns(["{x:seg}.w", "{x+1}.w"], {})


def test_a_hole_is_declared_once_for_the_whole_rule():
    takes, gives = parse_patterns(["a.{p:weight|bias}", "b.{p}"], {})
    assert takes.match("a.bias") == {"p": "bias"}
    assert gives.match("b.other") is None
    assert gives.fill({"p": "bias"}) == "b.bias"


def test_a_name_that_would_be_negative_is_no_name():
    (found,) = parse_patterns(["f.{i-3}"], {})
    assert found.fill({"i": 2}) is None


PIECES = st.sampled_from(
    ["a", "layer", "{i}", "{2*j+1}", "{x:seg}", "{y:**}", "{p:weight|bias}", "{k:extra}", "w{{}}"]
)


@given(
    st.lists(PIECES, min_size=1, max_size=5, unique=True),
    st.integers(0, 10**6),
    st.integers(0, 99),
    st.text("abc_-:é", min_size=1, max_size=6),
    st.lists(st.text("xyz", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_matching_undoes_filling(pieces, i, j, x, parts):
    found = pattern(".".join(pieces))
    values = {"i": i, "j": j, "x": x, "y": "/".join(parts), "p": "bias", "k": 28}
    captures = {name: values[name] for name in found.holes}
    assert found.match(found.fill(captures)) == captures
