"""What images a model is judged on, as the command line and the report say it."""

from dataclasses import dataclass

SHIPPED = ("shipped", "demo")  # names of the Fashion-MNIST subset that ships with portkit


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Where images are, and how many of them are drawn with which seed; 0 means all of them."""

    path: str
    subset: int = 0
    seed: int = 0

    @property
    def is_shipped(self) -> bool:
        return self.path in SHIPPED
