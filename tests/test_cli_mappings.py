"""`portkit mappings`: the library, and a mapping of one's own grown from a skeleton."""

from pathlib import Path

import numpy as np


def test_mappings_are_listed_and_shown(run):
    assert "vgg/torchvision_to_conv-head" in run("mappings", "list").out
    one_way = {
        one["name"] for one in run("mappings", "list", "--json").json if not one["backwards"]
    }
    assert one_way == {"vgg/bn-folded"}
    shown = run("mappings", "show", "vgg/torchvision_to_conv-head").out
    assert "from: torchvision\nto: conv-head\n" in shown


def test_an_unknown_mapping_is_named_with_its_nearest(run):
    ran = run("mappings", "show", "vgg/torchvision_to_convhead")
    assert ran.code == 2
    assert ran.err.startswith(
        "error: vgg/torchvision_to_convhead: no shipped mapping has this name\n"
        "  fix: nearest: vgg/torchvision_to_conv-head"
    )


def test_the_library_plans_for_every_architecture_both_ways(run):
    ran = run("mappings", "check")
    assert (ran.code, ran.err) == (0, "")
    assert "torchvision:vgg16 → conv-head:vgg16: 32 tensors" in ran.out
    assert "conv-head:vgg16 → torchvision:vgg16: 32 tensors" in ran.out
    assert "conv-head:vgg11_lrn → torchvision → conv-head:vgg11_lrn: 22 tensors" in ran.out


def test_a_mapping_of_one_s_own_grows_from_the_skeleton(run):
    np.savez("w.npz", stem=np.zeros((3, 2)), w=np.zeros((2, 6)), n=np.zeros(()))
    np.savez("v.npz", stem=np.zeros((3, 2)), k=np.zeros((2, 3, 2)), extra=np.zeros(5))
    ran = run("mappings", "new", "w.npz", "v.npz", "-o", "m.yaml")
    assert ran.out == (
        "wrote     m.yaml: 3 source and 3 target tensors\n"
        "ready     1 rules; the rest is listed as comments to fill in\n"
        "next      portkit mappings check m.yaml w.npz v.npz\n"
    )
    assert Path("m.yaml").read_text() == SKELETON
    ran = run("mappings", "check", "m.yaml", "w.npz", "v.npz")
    assert (ran.code, ran.err) == (2, MISFITS)
    filled = SKELETON.replace("  # - ", "  - ").replace("  #   ops", "    ops")
    filled = filled.replace('  - {drop: "w", because: why}\n', "")
    Path("m.yaml").write_text(filled.replace("… -> …", "a (b c) -> a b c"))
    ran = run("mappings", "check", "m.yaml", "w.npz", "v.npz")
    said = "m.yaml:17: w: (b c) is 6 long: give sizes for all but one of ['b', 'c']"
    assert (ran.code, ran.err) == (2, f"error: {said}\n")
    text = Path("m.yaml").read_text()
    Path("m.yaml").write_text(text.replace('b c"}]', 'b c", sizes: {c: 2}}]'))
    ran = run("mappings", "check", "m.yaml", "w.npz", "v.npz")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("m.yaml   w.npz → v.npz: 3 tensors, 1 dropped, 1 made\n")


MISFITS = """\
error: m.yaml: no rule takes w F64[2, 6]
error: m.yaml: no rule takes n F64[]
error: m.yaml: nothing gives k F64[2, 3, 2], which v.npz needs
error: m.yaml: nothing gives extra F64[5], which v.npz needs
"""

SKELETON = """\
# Fill this in until the following command is content; it says what is missing, line by
# line:  portkit mappings check m.yaml w.npz v.npz
# The README describes the language: patterns such as features.{i}.weight, ops, tables.
portkit: 1
from: "w"
to: "v"
for: ["w"]  # the architectures that this mapping is meant for

rules:
  # The same name and shape on both sides. Shapes prove little: are these the same?
  - map: "stem"  # F64[3, 2]

  # Each of these needs one rule. Sources with as many elements stand below it: keep
  # the right one, without its '# ', or make the tensor anew with `init`.

  # k F64[2, 3, 2]
  # - map: "w -> k"
  #   ops: [{rearrange: "… -> …"}]  # from [2, 6] to [2, 3, 2]

  # extra F64[5]
  # - {init: "extra", with: zeros, because: why}

  # Each of these must be taken by a rule above, or dropped with a reason.
  # F64[2, 6]
  # - {drop: "w", because: why}
  # F64[]
  # - {drop: "n", because: why}
"""
