"""Names, shapes and dtypes of the known models, as data: no model is built to know them.

A dimension is a number or a product such as `8*base*pooled*pooled`, so one file describes a net at
every number of classes, channels and units. `tools/make_manifests.py` writes them.
"""

from portkit.manifests.files import (
    Manifest,
    archs,
    arguments_for,
    check_specs,
    load_manifest,
    match_manifest,
    schemes,
)
from portkit.manifests.recognition import nearest, recognise

__all__ = [
    "Manifest",
    "archs",
    "arguments_for",
    "check_specs",
    "load_manifest",
    "match_manifest",
    "nearest",
    "recognise",
    "schemes",
]
