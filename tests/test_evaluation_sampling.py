"""Which images are drawn: laws of the draw."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.evaluation.choices import DataOptions
from portkit.evaluation.sampling import choose, digest, draw

FIRST_DRAW = (6, 5, 2, 9)  # of 12 images, by seed 7
LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=60)


def named(count):
    return [f"a/{n}.png" for n in range(count)]


@given(LABELS, st.integers(1, 70), st.integers(0, 5))
def test_every_class_has_its_share_to_within_one(labels, subset, seed):
    chosen = choose(named(len(labels)), labels, subset, seed)
    assert len(set(chosen)) == len(chosen) == min(subset, len(labels))
    found, counts = Counter(labels[i] for i in chosen), Counter(labels)
    for label, count in counts.items():
        share = len(chosen) * count / len(labels)
        assert abs(found[label] - share) < 1


@given(LABELS, st.integers(0, 70), st.integers(0, 5), st.randoms())
def test_the_order_of_listing_changes_nothing(labels, subset, seed, random):
    ids = named(len(labels))
    order = list(range(len(ids)))
    random.shuffle(order)
    turned = choose([ids[i] for i in order], [labels[i] for i in order], subset, seed)
    before = choose(ids, labels, subset, seed)
    assert [ids[order[i]] for i in turned] == [ids[i] for i in before]


@given(LABELS, st.integers(1, 30))
def test_a_larger_subset_of_unlabelled_images_holds_the_smaller(labels, subset):
    ids = named(len(labels))
    smaller, larger = (choose(ids, None, n, 0) for n in (subset, subset + 3))
    assert larger[: len(smaller)] == smaller


def test_another_seed_draws_others_and_the_same_the_same():
    ids, labels = named(200), [n // 20 for n in range(200)]
    draws = [set(choose(ids, labels, 20, seed)) for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len({frozenset(one) for one in draws}) == 3


def test_classes_are_mixed_and_never_the_first_of_each():
    ids, labels = named(1000), [n // 100 for n in range(1000)]
    chosen = choose(ids, labels, 100, 0)
    assert Counter(labels[i] for i in chosen) == dict.fromkeys(range(10), 10)
    assert len({labels[i] for i in chosen[:10]}) > 3
    assert sum(i % 100 for i in chosen) / 100 == pytest.approx(50, abs=10)


def test_a_draw_is_the_same_on_every_machine():
    assert choose(named(12), [0, 1] * 6, 4, 7) == FIRST_DRAW


def test_digests_tell_ids_and_their_order_apart():
    assert digest(["a", "b"]) == digest(("a", "b"))
    assert len({digest(ids) for ids in (["a", "b"], ["b", "a"], ["ab"], ["", "ab"], [])}) == 5


def test_a_draw_says_what_it_took():
    ids, labels = named(8), [0, 1] * 4
    some = draw(ids, labels, DataOptions("x", 4, 3))
    assert some.words == "4 of 8 images, drawn in proportion to their classes with seed 3"
    assert some.digest == digest(ids[i] for i in some.indices)
    assert some.notes == ()
    every = draw(ids, labels, DataOptions("x"))
    assert (every.words, sorted(every.indices)) == ("all 8 images", list(range(8)))
    assert draw(ids, None, DataOptions("x", 2)).words == (
        "2 of 8 images, drawn without labels with seed 0"
    )


def test_asking_for_more_than_there_is_takes_all_and_says_so():
    made = draw(named(8), None, DataOptions("x", 9))
    assert sorted(made.indices) == list(range(8))
    assert made.notes == ("asked for 9 images, there are 8: all were taken",)
