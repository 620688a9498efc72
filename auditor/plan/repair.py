"""What a repair asks for: which counterfactual's model is handed out, and what it has to meet."""

from typing import Annotated, Literal

from pydantic import Field

from auditor.stagelog.record import Name, Record


class Goal(Record):
    """A bound on one query of the repaired model.

    ``value`` bounds the query itself ("cue < 0.1"), ``change`` its value after the repair minus
    that before ("accuracy > -0.01").
    """

    query: Name
    of: Literal["value", "change"]
    relation: Literal["<", ">"]
    bound: float

    @property
    def text(self) -> str:
        """The goal as people write it."""
        subject = self.query if self.of == "value" else f"change of {self.query}"
        return f"{subject} {self.relation} {self.bound:g}"

    def figure(self, *, before: float, after: float) -> float:
        """Return the number that is bounded."""
        return after if self.of == "value" else after - before

    def excess(self, *, before: float, after: float) -> float:
        """Return how far the bound is exceeded, in the query's unit; negative when it is met."""
        distance = self.figure(before=before, after=after) - self.bound
        return distance if self.relation == "<" else -distance

    def is_met(self, *, before: float, after: float) -> bool:
        """Say whether the figure lies on the right side of the bound; the bound itself does not."""
        return self.excess(before=before, after=after) < 0


class RepairRequest(Record):
    """Hand out the model of one of the request's interventions.

    ``intervention`` is its position among them, from 0.
    """

    intervention: Annotated[int, Field(ge=0)] = 0
    goals: tuple[Goal, ...] = ()
