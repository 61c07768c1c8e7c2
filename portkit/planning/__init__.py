"""Decide, from headers alone, what every tensor becomes: a PortMap and headers make a Plan."""

from portkit.planning.composition import compose_plans
from portkit.planning.making import Ends, make_plan
from portkit.planning.steps import Dropped, MappingId, Plan, Step, Tied, apply_step

__all__ = [
    "Dropped",
    "Ends",
    "MappingId",
    "Plan",
    "Step",
    "Tied",
    "apply_step",
    "compose_plans",
    "make_plan",
]
