"""Carry out a Plan: bytes moved by the kernel, permutes streamed, outputs whole or not at all."""

from portkit.conversion.carrying import run_plan
from portkit.conversion.converting import Converted, OutputOptions, convert_port

__all__ = ["Converted", "OutputOptions", "convert_port", "run_plan"]
