"""Models of the user's own: wrong ports that look right, and right ports that look wrong."""

import pytest

import portkit
from portkit.errors import PortkitError
from portkit.verification import Options, Status

pytestmark = pytest.mark.usefixtures("one_thread")

NETS = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    # Two convolutions and a linear head; `forms` says how the port differs.
    def __init__(self, forms=()):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.forms = forms
        self.start()

    def start(self):
        with torch.no_grad():
            random = torch.Generator().manual_seed(4)
            for tensor in self.parameters():
                tensor.copy_(torch.randn(tensor.shape, generator=random) / 4)

    def body(self, x):
        x = F.max_pool2d(F.relu(self.one(x)), 2, ceil_mode="ceil" in self.forms)
        return F.relu(self.two(x))

    def logits(self, x):
        return self.head(self.body(x).mean((2, 3)))

    def forward(self, x):
        return self.logits(x)

def net(*forms):
    return Net(forms)

# --- wrong ports ---

class Multiples(Net):
    def forward(self, x):
        if x.shape[2] % 16 or x.shape[3] % 16:
            raise ValueError("multiples of 16 only")
        x = self.body(x)
        n, c, h, w = x.shape
        if "turned" in self.forms:
            x = x.reshape(n, c, w, h)
        rows = torch.arange(x.shape[2], dtype=x.dtype)[:, None]
        return self.head((x * rows).mean((2, 3)))

def multiples(): return Multiples()
def multiples_wrong(): return Multiples(("turned",))

class Rounding(Net):
    # Cannot run in float64.
    def __init__(self, forms=()):
        super().__init__(forms)
        self.kernel = torch.ones(3, 1, 3, 3)
    def forward(self, x):
        return self.logits(F.conv2d(x, self.kernel, padding=1, groups=3))

def rounding(): return Rounding()
def rounding_wrong(): return Rounding(("ceil",))

class Twins(Net):
    def forward(self, x):
        y = self.logits(x)
        return {1: y, "1": y.abs()}

def twins(): return Twins()

class Wide(Net):
    def forward(self, x):
        y = self.logits(x)
        return y.double() if "wide" in self.forms else y

def wide(): return Wide()
def wide_wrong(): return Wide(("wide",))

class Held(Net):
    # Holds what it does not use when it is evaluated.
    def __init__(self, forms=()):
        super().__init__(forms)
        values = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
        one, two = values[::-1] if "swapped" in forms else values
        self.register_buffer("pixel_mean", one)
        self.register_buffer("pixel_std", two)

def held(): return Held()
def held_wrong(): return Held(("swapped",))

class Flat(Net):
    # Flattens a map of 4×4 and pools by functions; takes images of 32 to 39 pixels.
    def __init__(self, forms=()):
        super().__init__(forms)
        self.head = nn.Linear(8 * 4 * 4, 5)
        self.start()
    def map(self, x):
        return F.max_pool2d(self.body(x), 4)
    def forward(self, x):
        return self.head(self.map(x).flatten(1))

class Sliding(Flat):
    def __init__(self, forms=()):
        super().__init__(forms)
        weight, bias = self.head.weight.data, self.head.bias.data
        self.head = nn.Conv2d(8, 5, 4)
        self.head.weight.data = weight.reshape(5, 8, 4, 4)
        self.head.bias.data = bias
    def forward(self, x):
        y = self.head(self.map(x))
        if "upside down" in self.forms and y.shape[2] > 1:
            y = y.flip(2)
        return y.flatten(1) if y.shape[2:] == (1, 1) else y

def flat(): return Flat()
def flat_wrong(): return Flat(("ceil",))
def sliding(): return Sliding()
def sliding_wrong(): return Sliding(("upside down",))
def sliding_ceil(): return Sliding(("ceil",))

# --- right ports ---

class Standard(Net):
    # Standardises every image: a constant one is no number.
    def forward(self, x):
        return self.logits((x - x.mean((1, 2, 3), True)) / x.std((1, 2, 3), keepdim=True))

def standard(): return Standard()

class Endless(Net):
    def forward(self, x):
        return torch.log1p(torch.exp(self.logits(x)))

def endless(): return Endless()

class Centred(Net):
    # What it answers to one image depends on the others.
    def forward(self, x):
        y = self.logits(x)
        return y - y.mean(0)

def centred(): return Centred()

class Pairs(Net):
    def forward(self, x):
        y = self.logits(x)
        return (y, y.abs()) if "tuple" in self.forms else {"logits": y, "sizes": y.abs()}

def pairs(): return Pairs()
def pairs_again(): return Pairs(("tuple",))

class Waves(Net):
    def forward(self, x):
        return torch.fft.fft(self.logits(x))

def waves(): return Waves()

class Narrow(Net):
    def forward(self, x):
        return self.logits(x).bfloat16()

def narrow(): return Narrow()

class Sines(Net):
    # Sines of 30 times what a layer answers; the port calls its second layer as a function.
    def forward(self, x):
        x = torch.sin(30 * self.one(x))
        y = (F.conv2d(x, self.two.weight, self.two.bias, padding=1)
             if "function" in self.forms else self.two(x))
        return self.head(torch.sin(30 * y).mean((2, 3)))

def sines(): return Sines()
def sines_again(): return Sines(("function",))

class Depthwise(Net):
    def __init__(self, forms=()):
        super().__init__(forms)
        self.one = nn.Sequential(nn.Conv2d(3, 3, 3, groups=3, padding=1), nn.Conv2d(3, 8, 1))
        self.start()

def depthwise(): return Depthwise()

# --- no models to compare ---

class Extra(Net):
    def get_extra_state(self):
        return {"a": 1}
    def set_extra_state(self, state):
        pass

def extra(): return Extra()
def lazy(): return nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(5))
"""


@pytest.fixture(scope="module")
def verified(tmp_path_factory):
    """Verify two of the nets above: a model must not be compared with itself, so in two modules."""
    folder = tmp_path_factory.mktemp("ownmodels")
    for name in ("source", "target"):
        (folder / f"ownmodels_{name}.py").write_text(NETS)

    def verify(target, source):
        against, options = f"python:ownmodels_source:{source}", Options(input_size=(32, 32))
        return portkit.verify(f"python:ownmodels_target:{target}", against=against, options=options)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield verify


@pytest.mark.parametrize(
    ("target", "source", "rejected_by"),
    [
        ("multiples_wrong", "multiples", "structure"),
        ("rounding_wrong", "rounding", "outputs"),
        ("wide_wrong", "wide", "outputs"),
        ("held_wrong", "held", "bits"),
        ("flat_wrong", "flat", "structure"),
        ("sliding_wrong", "flat", "dense"),
        ("sliding_ceil", "flat", "structure"),
    ],
)
def test_wrong_ports_that_look_right_are_rejected(verified, target, source, rejected_by):
    found = verified(target, source)
    failed = [result.rung for result in found.rungs if result.status is Status.FAILED]
    assert failed[0] == rejected_by


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("net", "net"),
        ("multiples", "multiples"),
        ("rounding", "rounding"),
        ("wide", "wide"),
        ("held", "held"),
        ("flat", "flat"),
        ("sliding", "flat"),
        ("standard", "standard"),
        ("endless", "endless"),
        ("centred", "centred"),
        ("pairs_again", "pairs"),
        ("pairs", "pairs_again"),
        ("waves", "waves"),
        ("narrow", "narrow"),
        ("sines_again", "sines"),
        ("depthwise", "depthwise"),
    ],
)
def test_right_ports_that_look_wrong_pass(verified, target, source):
    found = verified(target, source)
    failed = [(check.subject, check.what) for result in found.rungs for check in result.failed]
    assert (found.passed, failed) == (True, [])


def test_inputs_without_numbers_for_answers_are_left_out_and_said(verified):
    notes = [note for result in verified("standard", "standard").rungs for note in result.notes]
    assert any("are left out: the source answers NaN or infinity" in note for note in notes)


def test_sizes_that_are_not_tried_are_said(verified):
    (words,) = [text for text in verified("multiples", "multiples").not_checked if "sizes" in text]
    assert words == (
        "images of other sizes than 32×32, 32×64, 64×32 px "
        "(33×47, 63×32, 33×35: the source does not run on them)"
    )


WAYS = """
import numpy as np
from PIL import Image

def usual(image):
    scale = 37 / min(image.shape[:2])
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    made = np.asarray(Image.fromarray(image).resize(size, Image.BILINEAR), np.float32) / 255
    top, left = ((side - 32) // 2 for side in made.shape[:2])
    crop = made[top:top + 32, left:left + 32]
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return ((crop - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1).copy()

def mirrored(image):
    return usual(image)[:, :, ::-1].copy()

def blue_first(image):
    return usual(image[:, :, ::-1].copy())
"""


@pytest.mark.parametrize(
    ("way", "cause"), [("mirrored", "mirrored"), ("blue_first", "channels_reversed")]
)
def test_slips_between_preprocessings_of_ones_own_are_named(folder, monkeypatch, way, cause):
    for name, text in (("ownways_nets", NETS), ("ownways_copy", NETS), ("ownways", WAYS)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    ways = ("python:ownways:usual", f"python:ownways:{way}")
    options = Options(input_size=(32, 32), rungs=("pipeline",), preprocess=ways)
    found = portkit.verify(
        "python:ownways_copy:net", against="python:ownways_nets:net", options=options
    )
    causes = {check.diagnosis.cause for check in found.rungs[0].failed if check.diagnosis}
    assert causes == {cause}


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("twins", "output '1': is the name of two"),
        ("extra", "_extra_state is a dict: tensors only are moved"),
        ("lazy", "0.weight has no shape yet"),
    ],
)
def test_what_cannot_be_compared_is_a_complaint(verified, name, complaint):
    with pytest.raises(PortkitError) as caught:
        verified(name, name)
    assert complaint in str(caught.value)
