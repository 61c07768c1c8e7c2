"""The catalogue of silent faults, and how each is put into a correct port."""

from portkit.verification.faults.computed import COMPUTED_FAULTS
from portkit.verification.faults.controls import CONTROLS
from portkit.verification.faults.entries import Control, Fault, PixelFault
from portkit.verification.faults.harmless import is_harmless
from portkit.verification.faults.injecting import Faulty, inject, inject_built, inject_into, share
from portkit.verification.faults.pixels import PIXEL_FAULTS
from portkit.verification.faults.stored import STORED_FAULTS

__all__ = [
    "CONTROLS",
    "FAULTS",
    "PIXEL_FAULTS",
    "Control",
    "Fault",
    "Faulty",
    "PixelFault",
    "inject",
    "inject_built",
    "inject_into",
    "is_harmless",
    "share",
]

FAULTS: tuple[Fault, ...] = (*STORED_FAULTS, *COMPUTED_FAULTS)  # adding to it is adding a row
