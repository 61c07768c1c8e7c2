"""From pixels to a model's input: bit for bit as torchvision documents it."""

from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import pil_loader
from torchvision.models import VGG16_Weights

from portkit.endpoints import Endpoint, resolve_source, resolve_target
from portkit.errors import PortkitError
from portkit.evaluation.data import load_fashion, load_photos
from portkit.evaluation.decoding import decode_image, draw_thumbnail
from portkit.evaluation.preprocessing import (
    Preprocessing,
    documented,
    fashion_preprocessing,
    imagenet_preprocessing,
)
from portkit.manifests import Manifest
from portkit.provenance import Provenance
from portkit.references import Reference
from portkit.tensors import DType, TensorSpec

PHOTOS = load_photos()


def complaint(work, *words):
    with pytest.raises(PortkitError) as caught:
        work(*words)
    return str(caught.value)


# As torchvision documents it


@pytest.mark.parametrize("photo", range(len(PHOTOS)))
@pytest.mark.parametrize(
    "size",
    [
        (512, 512),
        (201, 333),
        (257, 256),
        (256, 259),
        (99, 100),
        (224, 223),
        (31, 7),
        (1, 1),
        (3, 97),
    ],
)
def test_every_bit_is_torchvisions(photo, size):
    image = PHOTOS[photo][: size[0], : size[1]]
    theirs = VGG16_Weights.IMAGENET1K_V1.transforms()(Image.fromarray(image)).numpy()
    ours = imagenet_preprocessing()(image)
    assert ours.dtype == np.float32
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("crop", [64, 97, 113, 299])
@pytest.mark.parametrize("resize", [97, 130, 299])
def test_other_sizes_and_crops_beyond_the_image_are_torchvisions(crop, resize):
    from torchvision.transforms._presets import ImageClassification

    image = PHOTOS[1][:211, :300]
    theirs = ImageClassification(crop_size=crop, resize_size=resize)(Image.fromarray(image))
    assert Preprocessing(crop, resize)(image).tobytes() == theirs.numpy().tobytes()


def grey(photo):
    return photo.convert("L")


def grey_and_alpha(photo):
    return photo.convert("LA")


def rgba(photo):
    made = photo.convert("RGBA")
    made.putalpha(grey(photo))
    return made


def palette(photo):
    return photo.quantize(64)


def transparent_palette(photo):
    made = photo.quantize(16)
    made.info["transparency"] = bytes(range(0, 256, 16))
    return made


def cmyk(photo):
    return photo.convert("CMYK")


def bilevel(photo):
    return photo.convert("1")


def deep(photo):
    return Image.fromarray(np.array(grey(photo), np.uint16) * 257)


FORMS = {
    grey: ".png",
    grey_and_alpha: ".png",
    rgba: ".png",
    palette: ".png",
    transparent_palette: ".png",
    cmyk: ".jpg",
    bilevel: ".png",
    deep: ".png",
}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize(
    ("form", "suffix"), FORMS.items(), ids=lambda f: getattr(f, "__name__", "")
)
def test_files_of_every_form_are_read_as_imagefolder_reads_them(tmp_path, form, suffix):
    path = tmp_path / f"photo{suffix}"
    made = form(Image.fromarray(PHOTOS[2][:70, :91]))
    made.save(path)
    theirs = pil_loader(path)
    pixels = decode_image(path)
    assert pixels.shape == (70, 91, 3)
    assert np.array_equal(pixels, np.asarray(theirs))
    expected = VGG16_Weights.IMAGENET1K_V1.transforms()(theirs).numpy()
    assert imagenet_preprocessing()(pixels).tobytes() == expected.tobytes()


def test_a_cameras_orientation_is_left_as_it_is(tmp_path):
    photo = Image.fromarray(PHOTOS[0][:80, :50])
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    photo.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as saved:
        assert saved.getexif()[0x0112] == 6
    assert np.array_equal(decode_image(tmp_path / "turned.png"), PHOTOS[0][:80, :50])


def test_a_grey_model_gets_one_channel(tmp_path):
    Image.fromarray(PHOTOS[0][:20, :30]).save(tmp_path / "p.png")
    pixels = decode_image(tmp_path / "p.png", 1)
    assert pixels.shape == (20, 30, 1)
    assert np.array_equal(pixels[..., 0], np.asarray(grey(Image.fromarray(PHOTOS[0][:20, :30]))))


def test_fashion_is_scaled_normalised_and_interpolated_with_half_pixel_centres():
    image = load_fashion().images[0]
    scaled = (image / 255 - 0.2860) / 0.3530
    at = np.clip((np.arange(96) + 0.5) * 28 / 96 - 0.5, 0, 27)
    low = np.minimum(at.astype(int), 26)
    weights = np.zeros((96, 28))
    weights[np.arange(96), low] = 1 - (at - low)
    weights[np.arange(96), low + 1] = at - low
    got = fashion_preprocessing()(image)
    assert (got.shape, got.dtype) == ((1, 96, 96), np.float32)
    np.testing.assert_allclose(got[0], weights @ scaled @ weights.T, atol=1e-5)
    assert np.array_equal(fashion_preprocessing()(image[:, :, None]), got)


def test_channel_order_range_and_layout():
    image = PHOTOS[3]
    right = Preprocessing(8, 9, (0.0,) * 3, (1.0,) * 3)
    scaled = right(image)
    assert scaled.shape == (3, 8, 8)
    assert 0 <= scaled.min() < scaled.max() <= 1
    turned = Preprocessing(8, 9, (0.0,) * 3, (1.0,) * 3, channels="BGR", top=255.0, layout="CWH")
    np.testing.assert_allclose(turned(image), scaled[::-1].swapaxes(1, 2) * 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "image: is float32[4, 4, 3], uint8 [H, W, C] is needed"),
        (
            np.zeros((1, 4, 4, 3), np.uint8),
            "image: is uint8[1, 4, 4, 3], uint8 [H, W, C] is needed",
        ),
        (np.zeros((0, 4, 3), np.uint8), "image: is uint8[0, 4, 3], uint8 [H, W, C] is needed"),
        (
            np.zeros((1, 4000, 3), np.uint8),
            (
                "image: is 1×4000 px, too long a strip to resize and crop\n"
                "  fix: remove it from the data"
            ),
        ),
    ],
)
def test_what_is_no_image(image, words):
    assert complaint(imagenet_preprocessing(), image) == words


def test_a_preprocessing_in_words():
    assert str(imagenet_preprocessing(96)) == (
        "shorter side 110 px (bilinear), centre 96 px, RGB 0–1, "
        "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225"
    )
    assert str(fashion_preprocessing()) == "interpolated to 96 px, L 0–1, mean 0.286, std 0.353"


def test_thumbnails_are_small_pngs():
    from io import BytesIO

    made = Image.open(BytesIO(draw_thumbnail(PHOTOS[0][:100, :200])))
    assert (made.format, made.size) == ("PNG", (96, 48))
    assert Image.open(BytesIO(draw_thumbnail(load_fashion().images[0]))).size == (28, 28)


# What a model's documentation asks for


def test_colour_and_grey_models():
    vgg = resolve_source("fc-head:vgg16@random")
    assert documented(vgg) == imagenet_preprocessing(224)
    assert documented(vgg, 96) == imagenet_preprocessing(96)
    assert documented(resolve_source("demo:fashion"), 96) == fashion_preprocessing(96)


def test_weights_with_constants_of_their_own_keep_them_when_ported():
    target = resolve_target("conv-head:vgg16", resolve_source("fc-head:vgg16@random"))
    source = "torchvision:vgg16@IMAGENET1K_FEATURES"
    provenances = (
        Provenance("1", source, "conv-head:vgg16", (), ()),
        Provenance("1", "conv-head:vgg16", "fc-head:vgg16", (), (), before=(source,)),
    )
    theirs = VGG16_Weights.IMAGENET1K_FEATURES.transforms()
    expected = theirs(Image.fromarray(PHOTOS[0])).numpy()
    for provenance in provenances:
        ported = Endpoint(target.reference, target.manifest, None, provenance)
        assert documented(ported)(PHOTOS[0]).tobytes() == expected.tobytes()


def own_model(shape):
    specs = MappingProxyType({"w": TensorSpec("w", shape, DType.F32)})
    return Endpoint(Reference("python", "m:net"), Manifest("python", "m:net", {}, specs))


def test_a_model_of_ones_own_is_known_by_its_first_kernel():
    assert documented(own_model((8, 3, 5, 5))) == imagenet_preprocessing(224)
    assert documented(own_model((8, 1, 5, 5)), 28) == fashion_preprocessing(28)
    fix = "\n  fix: name your own: --preprocess python:MODULE:FUNCTION"
    assert complaint(documented, own_model((8, 4, 5, 5))) == (
        "python:m:net: takes 4 channels: preprocessing is documented for 1 and 3" + fix
    )
    assert complaint(documented, own_model((8, 30))) == (
        "python:m:net: takes no images: preprocessing is documented for 1 and 3" + fix
    )
