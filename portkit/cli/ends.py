"""Models and files by their headers: weights need not be there."""

from portkit import manifests
from portkit.endpoints import Endpoint, resolve_source
from portkit.references import Reference, is_entry, parse_reference


def open_end(text: str) -> Endpoint:
    """Return what is known of a model or file from its headers; raise PortkitError."""
    reference = parse_reference(text)
    if needs_no_file(reference):
        model = manifests.load_manifest(reference.scheme, reference.arch, reference.arguments)
        return Endpoint(reference, model)
    return resolve_source(text, scheme="" if reference.scheme else "theirs")


def needs_no_file(reference: Reference) -> bool:
    """Say whether a model's headers are known by themselves, and no weights of a user's named."""
    published = not reference.weights or is_entry(reference.weights)
    return published and reference.scheme in manifests.schemes()
