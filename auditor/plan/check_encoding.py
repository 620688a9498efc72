"""Were evaluation data made from texts and images as the model's own training data were?"""

from typing import Literal

from auditor.errors import PreconditionError
from auditor.stagelog.dataset import Dataset
from auditor.stagelog.log import Stage, StageLog

_REMEDIES = {
    "tokenizer": "Build the data again with the tokenizer of the model: `stageaudit data "
    "from-jsonl FILE --tokenizer MODEL_FOLDER`; `stageaudit data show` prints digests.",
    "preprocessing": "Build the data again as the model's images were prepared: `stageaudit data "
    "from-images DIR --preprocessing MODEL_FOLDER`; `stageaudit data show` prints digests.",
}


def check_encoding(dataset: Dataset, *, stage: Stage, log: StageLog, where: str, name: str) -> None:
    """Refuse data whose tokenizer or preprocessing is known to differ from the stage's.

    Where either side does not say, nothing is compared: older logs and sets name none.

    Args:
        dataset: The data.
        stage: Whose model reads it.
        log: The log of the stage.
        where: The path of the data in the request.
        name: What the data is called.

    Raises:
        PreconditionError: If both name one and they differ; both digests are shown.
    """
    _check(dataset, "tokenizer", stage=stage, log=log, where=where, name=name)
    _check(dataset, "preprocessing", stage=stage, log=log, where=where, name=name)


def declared_encodings(
    kind: Literal["tokenizer", "preprocessing"], *, stage: Stage, log: StageLog
) -> list[str]:
    """Return the digests that a stage or its datasets name, each once; usually one or none."""
    named = [
        stage.tokenizer if kind == "tokenizer" else stage.preprocessing,
        *(
            data.tokenizer if kind == "tokenizer" else data.preprocessing
            for data in (log.datasets[used] for used in stage.datasets)
        ),
    ]
    return list(dict.fromkeys(digest for digest in named if digest is not None))


def _check(
    dataset: Dataset,
    kind: Literal["tokenizer", "preprocessing"],
    *,
    stage: Stage,
    log: StageLog,
    where: str,
    name: str,
) -> None:
    found = dataset.tokenizer if kind == "tokenizer" else dataset.preprocessing
    expected = declared_encodings(kind, stage=stage, log=log)
    if found is None or not expected or found in expected:
        return
    raise PreconditionError(
        f"{where}.{kind}",
        expected=f"the {kind} of stage {stage.name!r}, {' or '.join(expected)}",
        found=f"{found} in {name!r}",
        remedy=_REMEDIES[kind],
    )
