"""`portkit verify` between two references: by mapping, by names, by inference; its files."""

import json
from pathlib import Path

import numpy as np
import pytest

from portkit.verification import Check, Verification
from portkit.verification.results import rung_of
from portkit.verification.selftest import SelfTest, Trial

SMALL = "(num_classes=7, in_channels=3, width=0.0625, hidden=24, pooled=3)"
FC, CONV = f"fc-head:vgg11{SMALL}", f"conv-head:vgg11{SMALL}"
QUICK = "--quick"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def ported(run):
    """A small net, ported in the current folder."""
    assert run("convert", f"{FC}@random:1", "conv-head", "-o", "c.safetensors", "-q").code == 0
    return "c.safetensors"


def test_two_references_are_compared_through_a_shipped_mapping(run, ported):
    ran = run("verify", f"{CONV}@{ported}", "--against", f"{FC}@random:1", QUICK)
    assert (ran.code, ran.err) == (0, "")
    ran = run("verify", f"{FC}@random:1", "--against", ported, QUICK, "--json")
    assert (ran.code, ran.json["passed"]) == (0, True)
    ran = run("verify", f"{CONV}@{ported}", "--against", f"{FC}@random:2", QUICK)
    assert ran.code == 1
    assert "NOT verified" in ran.out


def test_two_weights_of_one_model_are_compared_by_name(run, ported):
    assert run("convert", ported, "fc-head", "-o", "back.safetensors", "-q").code == 0
    ran = run("verify", f"{FC}@back.safetensors", "--against", f"{FC}@random:1", QUICK)
    assert (ran.code, ran.err) == (0, "")
    ran = run("verify", f"{FC}@random:2", "--against", f"{FC}@random:1", QUICK)
    assert ran.code == 1


def test_a_ported_file_is_compared_with_a_source_of_another_scheme(run, ported):
    torchvision = f"torchvision:vgg11@{ported}"
    assert run("verify", ported, "--against", torchvision, QUICK).code == 2
    assert run("convert", ported, "fc-head", "-o", "back.safetensors", "-q").code == 0
    assert run("verify", "back.safetensors", "--against", f"{CONV}@{ported}", QUICK).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"{FC}@random:1", "--against", f"{FC}@random:1"], "is compared with itself"),
        ([f"{FC}@random:1"], "name its source with --against"),
        ([f"{FC}@random:1", "--against", "torchvision:alexnet@random"], "no shipped mapping leads"),
        (["x.safetensors", "--device", "cuda:7x"], "no such file"),
        (["a", "b", "--save-outputs", "o.npz"], "is for one target"),
        (["a", "--save-outputs", "o.txt"], "raw outputs are saved as .npz"),
        (["a", "--save-mapping", "m.yaml", "--mapping", "n"], "writes what is inferred"),
        (["a", "--subset", "3"], "--subset"),
        (["a", "--junit", "no/where.xml"], "there is no folder no"),
    ],
)
def test_what_makes_no_sense_is_an_error(run, words, said):
    ran = run("verify", *words)
    assert ran.code == 2
    assert said in ran.err


NETS = """\
import torch
from torch import nn

class Old(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.three = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
    def forward(self, x):
        for layer in (self.one, self.two, self.three):
            x = layer(x).relu()
        return self.head(x.mean((2, 3)))

class New(nn.Module):
    def __init__(self):
        super().__init__()
        self.classify = nn.Conv2d(8, 5, 1)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        )
    def forward(self, x):
        return self.classify(self.body(x)).flatten(1)

def old():
    torch.manual_seed(3)
    return Old()

def new(*order):
    ours, made = old().state_dict(), New()
    layers = [f"{name}" for name in (order or ("one", "two", "three"))]
    names = dict(zip(("body.0", "body.2", "body.4"), layers)) | {"classify": "head"}
    state = {f"{t}.{p}": ours[f"{s}.{p}"] for t, s in names.items() for p in ("weight", "bias")}
    state["classify.weight"] = state["classify.weight"][:, :, None, None]
    made.load_state_dict(state)
    return made

class Late(Old):
    def forward(self, x):
        answer = super().forward(x)
        return answer if len(x) < 4 else answer.flip(0)

def late():
    made = Late()
    made.load_state_dict(old().state_dict())
    return made

def swapped():
    return new("one", "three", "two")

class Dense(New):
    # Scores every place; their mean are the logits.
    def forward(self, x):
        return self.classify(self.body[:-1](x))

def dense(*order):
    made = Dense()
    made.load_state_dict(new(*order).state_dict())
    return made

def dense_swapped():
    return dense("one", "three", "two")

def other():
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
"""


@pytest.fixture
def nets(folder, monkeypatch):
    """Give two user's own models, in a module that no other test has imported."""
    name = f"pairnets_{folder.name.replace('-', '_')}"
    Path(f"{name}.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(folder))
    return f"python:{name}"


def test_models_of_ones_own_are_paired_and_the_pairing_is_said(run, nets):
    ran = run(
        "verify", f"{nets}:new", "--against", f"{nets}:old", "--input-size", "24,20",
        "--save-mapping", "m.yaml",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert "which tensors correspond was inferred" in ran.out
    assert "rearrange" in ran.out
    assert "written to m.yaml" in ran.out
    assert "the pairing of 8 tensors was inferred" in ran.out
    again = run(
        "verify", f"{nets}:new", "--against", f"{nets}:old", "--input-size", "24,20",
        "--mapping", "m.yaml", "--json",
    )  # fmt: skip
    assert (again.code, "pairing" in again.json) == (0, False)


def test_swapped_layers_are_not_paired_so_that_they_fit(run, nets):
    ran = run(
        "verify", f"{nets}:swapped", "--against", f"{nets}:old", "--input-size", "24,20", "--json"
    )
    assert ran.code == 1
    pairs = {pair["source"]: pair["target"] for pair in ran.json["pairing"]["pairs"]}
    assert pairs["two.weight"] == "body.2.weight"
    assert ran.json["pairing"]["ambiguous"]


def test_models_that_do_not_correspond_are_an_error(run, nets):
    ran = run("verify", f"{nets}:other", "--against", f"{nets}:old", "--input-size", "24,20")
    assert ran.code == 2
    assert "--save-mapping" in ran.err


def test_every_report_is_written_and_outputs_are_judged_again(run, ported):
    ran = run(
        "verify", ported, QUICK, "--junit", "r.xml", "--html", "r.html", "--save-outputs", "o.npz"
    )
    assert (ran.code, ran.err) == (0, "")
    assert Path("r.xml").read_bytes().startswith(b"<?xml")
    assert "verified" in Path("r.html").read_text()
    again = run("verify", "--from", "o.npz", "--json")
    assert (again.code, again.json["passed"]) == (0, True)
    strict = run("verify", "--from", "o.npz", "--atol", "1e-30", "--junit", "s.xml")
    assert strict.code == 1
    assert b"<failure" in Path("s.xml").read_bytes()
    assert run("verify", ported, QUICK, "--save-outputs", "o.npz").code == 2


def test_images_decide(run, ported, folder):
    random = np.random.default_rng(0)
    (folder / "cats").mkdir()
    (folder / "dogs").mkdir()
    from PIL import Image

    for place, name in enumerate(["cats/a.png", "cats/b.png", "dogs/c.png", "dogs/d.png"]):
        pixels = random.integers(0, 255, (90 + place, 120, 3), np.uint8)
        Image.fromarray(pixels).save(name)
    ran = run("verify", ported, "--data", ".", "--subset", "3", "--json")
    assert ran.code == 0, ran.out
    rungs = {rung["rung"]: rung for rung in ran.json["rungs"]}
    assert rungs["decisions"]["status"] == "passed"
    assert "3 of 4 images" in " ".join(rungs["decisions"]["notes"])
    assert run("verify", ported, "--data", "nothing").code == 2


def test_a_gpu_is_used_where_there_is_one_and_said_to_be_missing_elsewhere(run, ported):
    import torch

    ran = run("verify", ported, QUICK, "--device", "cuda", "--json")
    if torch.cuda.is_available():
        assert (ran.code, ran.json["passed"]) == (0, True)
        assert ran.json["environment"]["device"].startswith("cuda")
    else:
        assert (ran.code, ran.out) == (2, json.dumps(json.loads(ran.out), indent=2) + "\n")
        assert "no GPU" in ran.err


def test_the_verifier_proves_itself_on_this_port(run, ported):
    ran = run("verify", ported, "--self-test", "--json")
    assert ran.code == 0
    tested = ran.json["self_test"]
    assert tested["survivors"] == []
    assert len({trial["fault"] for trial in tested["trials"]}) >= 20
    assert ran.json["rungs"][-1]["rung"] == "self-test"
    assert len(ran.json["rungs"][-1]["checks"]) == len(tested["trials"])


def trial_of(fault, words, rung):
    return Trial(fault, words, "here", bool(rung), rung, cause_found="", cause_expected="")


def test_a_survivor_is_a_failure_in_every_report(run, ported, monkeypatch):
    passed = rung_of("bits", [Check("w", passed=True, what="alike")], "")
    trials = (
        trial_of("W01", "weights swapped", rung="bits"),
        trial_of("W12", "a layer left out", rung=""),
    )
    tested = SelfTest(Verification(ported, "s", "t", (passed,)), trials, ())
    monkeypatch.setattr("portkit.verification.selftest.self_test", lambda _: tested)
    ran = run("verify", ported, "--self-test", "--junit", "r.xml", "--html", "r.html", "--json")
    assert (ran.code, ran.json["passed"], ran.json["self_test"]["survivors"]) == (1, False, ["W12"])
    said = "W12 a layer left out: in here: no rung rejects it"
    assert said in Path("r.xml").read_text()
    assert "NOT verified" in Path("r.html").read_text()


def test_a_port_of_which_no_model_is_known_cannot_be_tested(run):
    np.savez("w.npz", w=np.arange(6, dtype=np.float32))
    Path("m.yaml").write_text(
        'portkit: 1\nfrom: theirs\nto: ours\nfor: [net]\nrules:\n  - map: "w -> k"\n'
    )
    words = ("--mapping", "m.yaml")
    assert run("convert", "w.npz", "ours", *words, "-o", "k.safetensors", "-q").code == 0
    ran = run("verify", "k.safetensors", *words, "--self-test")
    why = "no model is known for the tensors of 'theirs'"
    said = f"error: --self-test: runs both models, which cannot be: {why}\n"
    assert (ran.code, ran.err) == (2, said)


@pytest.mark.parametrize(("one", "other"), [("dense", "old"), ("old", "dense"), ("new", "dense")])
def test_pooling_before_a_head_or_after_it_is_the_same(run, nets, one, other):
    words = ("verify", f"{nets}:{one}", "--against", f"{nets}:{other}", "--input-size", "24,20")
    ran = run(*words, "--json")
    assert (ran.code, ran.json["passed"]) == (0, True)


def test_pooling_after_a_head_hides_no_fault(run, nets):
    words = ("--against", f"{nets}:old", "--input-size", "24,20", "--save-mapping", "m.yaml")
    assert run("verify", f"{nets}:dense", *words, QUICK).code == 0
    mapping = Path("m.yaml").read_text()
    Path("m.yaml").write_text(mapping.replace(":dense", ":dense_swapped"))
    ran = run("verify", f"{nets}:dense_swapped", *words[:4], "--mapping", "m.yaml")
    assert ran.code == 1


def test_a_rung_that_is_asked_for_by_name_and_cannot_be_checked_is_no_proof(run, nets):
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (2, 30, 40, 3), np.uint8)
    for place, image in enumerate(pixels):
        Image.fromarray(image).save(f"image{place}.png")
    words = ("verify", f"{nets}:new", "--against", f"{nets}:old", "--input-size", "24")
    ran = run(*words, "--data", ".", "--rungs", "structure,accuracy")
    assert ran.code == 2
    assert "--rungs: accuracy could not be checked: " in ran.err
    assert run(*words, "--data", ".", "--rungs", "structure,decisions").code == 0


def test_nothing_dearer_is_run_after_a_failure(run, nets):
    ran = run(
        "verify", f"{nets}:late", "--against", f"{nets}:old", "--input-size", "24,20", "--json"
    )
    assert ran.code == 1
    assert ran.json["rungs"][-1]["rung"] == "outputs"
    assert "pipeline: an earlier rung failed" in ran.json["not_checked"]
