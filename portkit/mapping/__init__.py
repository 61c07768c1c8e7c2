"""The mapping language: YAML → PortMap, with line numbers; the library and its algebra."""

from portkit.mapping.inversion import invert, obstacles
from portkit.mapping.library import load_library, mappings_folder
from portkit.mapping.loading import MAPPING_SUFFIXES, load_mapping, parse_mapping
from portkit.mapping.rules import Drop, Init, Made, PortMap, Rule, Tie, Undo

__all__ = [
    "MAPPING_SUFFIXES",
    "Drop",
    "Init",
    "Made",
    "PortMap",
    "Rule",
    "Tie",
    "Undo",
    "invert",
    "load_library",
    "load_mapping",
    "mappings_folder",
    "obstacles",
    "parse_mapping",
]
