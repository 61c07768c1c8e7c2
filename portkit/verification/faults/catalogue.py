"""The catalogue: every fault that can be made of a correct net. Adding to it is adding a row.

Numbers below 30 are those of faults whose effect was measured on trained nets; the others are of
the same kinds, so that what is seen is a class of faults and not a list.
"""

from portkit.verification.faults.computed import COMPUTED_FAULTS
from portkit.verification.faults.entries import Fault
from portkit.verification.faults.stored import STORED_FAULTS

FAULTS: tuple[Fault, ...] = (*STORED_FAULTS, *COMPUTED_FAULTS)
