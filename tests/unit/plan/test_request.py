"""Labels of interventions: short, printable, and different where the interventions are."""

import pytest

from auditor.plan.request import LABEL_LIMIT, Intervention, Reference, Selection, StepWindow


def replaced(**changes: object) -> str:
    reference = Reference.model_validate({"dataset": "clean"} | changes)
    return Intervention(kind="replace", stage="vendor", reference=reference).label


def dropped(*values: str) -> str:
    return Intervention(
        kind="drop", stage="vendor", where=Selection(columns={"source": values})
    ).label


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (Intervention(kind="skip", stage="vendor").label, "skip vendor"),
        (Intervention(kind="fade", stage="vendor", alpha=0.5).label, "fade vendor alpha=0.5"),
        (dropped("a", "b"), "drop vendor source=a|b"),
        (replaced(), "replace vendor by=clean"),
        (replaced(order="recorded"), "replace vendor by=clean order=recorded"),
        (
            replaced(where=Selection(columns={"source": ("own",)})),
            "replace vendor by=clean source=own",
        ),
        (
            Intervention(
                kind="skip", stage="vendor", steps=StepWindow(first_step=2, end_step=4)
            ).label,
            "skip vendor steps=2-4",
        ),
    ],
    ids=lambda text: text,
)
def test_label_says_what_is_changed(label, expected):
    assert label == expected


def test_long_labels_are_cut_and_still_differ():
    many = [f"vendor-{number}" for number in range(100)]

    one, other = dropped(*many), dropped(*many, "vendor-100")

    assert len(one) == len(other) == LABEL_LIMIT
    assert one != other
    assert one.startswith("drop vendor source=vendor-0|vendor-1|")


def test_labels_are_printable():
    assert dropped("two\nlines").isprintable()
