"""What a start or a wake may take of a hello-world's: verdicts that name the phase that grew. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Shares of a hello world's fastest: `most` altogether, and `phases` to say which one is to blame.

    Each phase may take a third more than was measured on a quiet machine of two cores.
    """

    what: str
    phases: Mapping[str, float]
    most: float

    def verdict(self, spent: Mapping[str, float]) -> str:
        """What is over the budget; empty when nothing is."""
        if (total := sum(spent.values())) <= self.most:
            return ""
        grown = [f"{phase} {spent[phase]:.2f} of {most}" for phase, most in self.phases.items() if spent[phase] > most]
        told = ", ".join(grown) or "every phase has grown"
        return f"{self.what} takes {total:.2f} of hello world's, and may take {self.most}: {told}"

    def verdict_after(self, tries: int, spent: Callable[[], Mapping[str, float]]) -> str:
        """The last verdict on what is spent: asked again, after more rounds, until it is within the budget.

        A neighbour on the machine slows single rounds; more of them show what a start or a wake can be.
        """
        verdict = ""
        for _ in range(tries):
            if not (verdict := self.verdict(spent())):
                break
        return verdict
