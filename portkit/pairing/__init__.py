"""Which tensors of two models of a user's own correspond, where no mapping says so.

    trace_flow   run a model once: which tensors it uses, in what order, and what feeds what
    align        match two such runs: by structure or, with gaps, by execution order
    infer_mapping   the mapping that follows, its evidence, and all that is not certain

What is inferred is a claim to be verified. Equal values only confirm it, or choose where the order
of execution decides nothing: a port whose layers are swapped must not be paired so that it fits.
"""

from portkit.pairing.inferring import infer_mapping
from portkit.pairing.values import Ambiguity, Inferred, Pairing, Party

__all__ = ["Ambiguity", "Inferred", "Pairing", "Party", "infer_mapping"]
