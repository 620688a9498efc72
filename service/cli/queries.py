"""``stageaudit queries``: what can be asked about a model, what it needs, an example of each."""

from dataclasses import asdict, dataclass

from rich.markup import escape
from rich.table import Table

from auditor.effects import AGGREGATES, DIFFERENTIABLE, UNITS, QueryKind
from service.cli.output import JsonOption, console, emit


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryRow:
    """One line of the table.

    Attributes:
        kind: What stands after ``kind:`` in a request.
        answers: The value, in words.
        needs: Fields beside ``name``, ``better`` and ``data``; optional ones in brackets.
        example: Those fields as a request file has them.
    """

    kind: QueryKind
    answers: str
    needs: str
    example: str

    @property
    def unit(self) -> str:
        """Unit of the value and of its effects."""
        return UNITS[self.kind]

    @property
    def gradient(self) -> str:
        """Whether ``aa_score`` can be asked for it."""
        return "yes" if self.kind in DIFFERENTIABLE else "no"

    @property
    def values(self) -> str:
        """What single values are about."""
        if self.kind is QueryKind.METRIC:
            return "as its graph says"
        return "all examples" if self.kind in AGGREGATES else "each example"


QUERIES: tuple[QueryRow, ...] = (
    QueryRow(
        kind=QueryKind.LOSS,
        answers="cross entropy of the target; of log-odds, binary; of tokens, their mean",
        needs="target [mask]",
        example="{kind: loss, target: label}",
    ),
    QueryRow(
        kind=QueryKind.LOGIT,
        answers="logit of a class, or of each example's own; of one output, its log-odds",
        needs="target or class",
        example="{kind: logit, class: 3}",
    ),
    QueryRow(
        kind=QueryKind.MARGIN,
        answers="log-odds of a class, or of each example's own",
        needs="target or class",
        example="{kind: margin, class: 3}",
    ),
    QueryRow(
        kind=QueryKind.PROBABILITY,
        answers="probability of a class, or of each example's own",
        needs="target or class",
        example="{kind: probability, class: 3}",
    ),
    QueryRow(
        kind=QueryKind.ACCURACY,
        answers="part of the examples, or tokens, whose target is the most likely class",
        needs="target [mask]",
        example="{kind: accuracy}",
    ),
    QueryRow(
        kind=QueryKind.LOG_LIKELIHOOD,
        answers="log-probability of given completions: the sum over their tokens",
        needs="target [mask]",
        example="{kind: log_likelihood, target: next, mask: completion}",
    ),
    QueryRow(
        kind=QueryKind.PERPLEXITY,
        answers="exponential of the mean loss over all tokens",
        needs="target [mask]",
        example="{kind: perplexity, target: next}",
    ),
    QueryRow(
        kind=QueryKind.SCORE,
        answers="an output of the model as it is, such as the score of a toxicity head",
        needs="[output] [class] [unit]",
        example="{kind: score, output: 1, unit: toxicity}",
    ),
    QueryRow(
        kind=QueryKind.AUROC,
        answers="area under the ROC curve of a class against the others, by its log-odds",
        needs="target; class, where there are more than two",
        example="{kind: auroc, class: 3}",
    ),
    QueryRow(
        kind=QueryKind.ECE,
        answers="expected calibration error of the predicted class, or of one class",
        needs="target [class] [bins: 15]",
        example="{kind: ece, bins: 15}",
    ),
    QueryRow(
        kind=QueryKind.ACCURACY_GAP,
        answers="accuracy of the best group less that of the worst",
        needs="target, group [groups]",
        example="{kind: accuracy_gap, group: sex}",
    ),
    QueryRow(
        kind=QueryKind.DEMOGRAPHIC_PARITY,
        answers="largest less smallest rate at which groups are predicted a class",
        needs="group [groups]; class, where there are more than two",
        example="{kind: demographic_parity, class: 1, group: sex}",
    ),
    QueryRow(
        kind=QueryKind.EQUALISED_ODDS,
        answers="the larger gap between groups of true and of false positive rates",
        needs="target, group [groups]; class, where there are more than two",
        example="{kind: equalised_odds, class: 1, group: {sex: [f, m]}}",
    ),
    QueryRow(
        kind=QueryKind.WORST_GROUP,
        answers="accuracy, or loss, of the group where it is worst",
        needs="target, group [groups] [measure: accuracy or loss]",
        example="{kind: worst_group, group: sex, measure: loss}",
    ),
    QueryRow(
        kind=QueryKind.METRIC,
        answers="your ONNX graph (output, target) -> a value an example, or one number",
        needs="metric, target [unit]",
        example="{kind: metric, metric: brier.onnx}",
    ),
    QueryRow(
        kind=QueryKind.OUTSIDE,
        answers="values that your own program measures on every checkpoint; local audits only",
        needs="tool, and --outside on the command line; no data [unit]",
        example="{kind: outside, tool: toxigen}",
    ),
)
"""Every kind of query."""


def queries(*, as_json: JsonOption = False) -> None:
    """List the kinds of queries: what they answer, what they need, an example.

    Every query has a `name`, says which direction is `better`, and names its `data`; it may select
    rows by `where: {column: value}` and name a `cluster` column of what was sampled together.
    docs/howto/audit.md explains the fields.
    """
    emit(
        {
            "queries": [
                {**asdict(row), "unit": row.unit, "gradient": row.gradient, "values": row.values}
                for row in QUERIES
            ]
        },
        as_json=as_json,
        human=lambda: console.print(_table()),
    )


def _table() -> Table:
    table = Table(title="Queries", title_justify="left")
    for heading in ("kind", "answers", "unit", "needs [optional]", "values of", "gradient"):
        table.add_column(heading, overflow="fold")
    for row in QUERIES:
        table.add_row(
            str(row.kind), escape(row.answers), row.unit,
            f"{escape(row.needs)}\n[dim]{escape(row.example)}[/]", row.values, row.gradient,
        )  # fmt: skip
    return table
