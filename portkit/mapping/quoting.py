"""Names and texts as a mapping file writes them."""

import json


def escape_name(name: str) -> str:
    """Return a tensor's name as a pattern that matches only itself."""
    return name.replace("{", "{{").replace("}", "}}")


def quote(text: str) -> str:
    """Return a text between double quotes, which YAML reads as it is."""
    return json.dumps(text, ensure_ascii=False)
