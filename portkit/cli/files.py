"""Small text files that commands leave behind, never over another one by accident."""

from pathlib import Path

from portkit.errors import PortkitError


def write_text(path: Path, text: str, *, force: bool = False) -> None:
    """Write a new text file; raise PortkitError where that cannot be done."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise PortkitError.at(path, "already exists", "use --force to replace it") from None
    except OSError as error:
        raise PortkitError.at(path, f"cannot be written: {error.strerror}") from None
