"""Write the photographs that ship with portkit, from scikit-image's freely licensed samples.

    python tools/make_demo_images.py        # needs scikit-image, which carries them: no download

Each is checked to be at least 256 pixels high and wide, so that it gives two crops of that size.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from skimage import data

FOLDER = Path(__file__).parents[1] / "portkit" / "evaluation" / "data" / "photos"
QUALITY = 90
LEAST = 256  # pixels a side


@dataclass(frozen=True, slots=True)
class Photo:
    """A sample of scikit-image's, and what its documentation there says of its rights."""

    name: str
    shows: str
    licence: str


PHOTOS = (
    Photo(
        "astronaut",
        "Eileen Collins, NASA's Great Images database, https://flic.kr/p/r9qvLn",
        "public domain, no known copyright restrictions",
    ),
    Photo("chelsea", "Chelsea the cat, photographed by Stefan van der Walt", "CC0 1.0"),
    Photo(
        "coffee",
        "a cup of coffee, courtesy of Pikolo Espresso Bar, photographed by Rachel Michetti",
        "CC0 1.0",
    ),
    Photo(
        "rocket",
        "Falcon 9 with DSCOVR lifting off, SpaceX,\n"
        "  https://www.flickr.com/photos/spacexphotos/16511594820",
        "public domain, released by SpaceX",
    ),
)
PREFACE = f"""\
The photographs in this folder are free of copyright restrictions. They were taken from
scikit-image's sample data (skimage.data, whose documentation states the rights quoted here) and
stored again as JPEG of quality {QUALITY}, otherwise unchanged.
CC0 1.0: https://creativecommons.org/publicdomain/zero/1.0/
"""


def write_photo(photo: Photo, folder: Path) -> None:
    """Store one photograph as JPEG without metadata; raise AssertionError where it is too small."""
    image = Image.fromarray(getattr(data, photo.name)())
    if image.mode != "RGB" or min(image.size) < LEAST:
        raise AssertionError(f"{photo.name} is {image.mode} of {image.size}, too small or not RGB")
    image.save(folder / f"{photo.name}.jpg", quality=QUALITY, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    for photo in PHOTOS:
        write_photo(photo, folder)
    entries = [f"{p.name}.jpg\n  {p.shows}\n  {p.licence}\n" for p in PHOTOS]
    (folder / "LICENSES.txt").write_text("\n".join([PREFACE, *entries]), encoding="utf-8")


if __name__ == "__main__":
    main()
