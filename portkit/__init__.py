"""Moves trained weights between model implementations and file formats, and proves it."""

__version__ = "0.1.0"
