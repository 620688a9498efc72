"""An evaluation set as a folder that ``stageaudit push`` and ``audit`` take."""

from collections.abc import Mapping
from pathlib import Path

from auditor.edge.folder import BLOBS_FOLDER, EVALSET_FILE, FolderBlobs, write_durably
from auditor.record.evalset import ColumnValues, write_evaluation_set
from auditor.stagelog.digest import Digest


def write_evaluation_folder(
    folder: Path,
    *,
    name: str,
    columns: Mapping[str, ColumnValues],
    tokenizer: str | None = None,
) -> Digest:
    """Return the digest of an evaluation set that is written to ``folder``.

    Args:
        folder: Receives ``evalset.json`` and ``blobs/``.
        name: What reports call it.
        columns: Values by column name, the same number of examples in each; ``id`` aligns the rows
            of a probe's two sets.
        tokenizer: Digest of the tokenizer that made the columns, if one did.

    Raises:
        ShapeError: If columns have different lengths.
        UnsupportedError: If values have a dtype that cannot be recorded.
    """
    blobs = FolderBlobs(folder / BLOBS_FOLDER)
    digest = write_evaluation_set(name, columns, blobs, tokenizer=tokenizer)
    # The manifest is a blob of its folder too: that is how an audit finds it by digest.
    write_durably(folder / EVALSET_FILE, blobs.read(digest), mode=0o644)
    return digest
