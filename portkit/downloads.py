"""Fetching torchvision's own weight files, by the address that torchvision itself knows."""

from pathlib import Path


def download_published(arch: str, path: Path) -> str:
    """Download an architecture's weight file to `path`; return why that failed, or nothing."""
    try:
        from torch.hub import download_url_to_file
        from torchvision.models import get_model_weights
    except ImportError:
        return "torchvision, which knows its address, is not installed"
    for entry in get_model_weights(arch):
        if entry.url.rpartition("/")[2] == path.name:
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = path.stem.rpartition("-")[2]
            try:
                download_url_to_file(entry.url, str(path), digest, progress=True)
            except (OSError, RuntimeError) as error:
                return f"could not be downloaded: {error}"
            return ""
    return f"torchvision's {arch} has no weights of that name"
