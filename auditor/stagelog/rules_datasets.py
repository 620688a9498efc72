"""Cross-field rules of a dataset entry."""

from auditor.errors import StageLogError
from auditor.stagelog.dataset import Dataset


def check_dataset(dataset: Dataset, *, where: str) -> None:
    """Refuse an entry that contradicts itself.

    Args:
        dataset: The entry.
        where: Its path, such as ``datasets["reviews"]``.

    Raises:
        StageLogError: If shards do not add up to the examples, coverage is incomplete, or a
            column has categories without being text codes.
    """
    if not dataset.columns:
        raise StageLogError(
            f"{where}.columns", expected="at least one column", found="none", remedy="Add columns."
        )
    for name, column in dataset.columns.items():
        if column.categories is None:
            continue
        at = f'{where}.columns["{name}"]'
        if column.dtype != "int32" or column.shape != ():
            raise StageLogError(
                at,
                expected="codes of dtype int32 and shape [] with categories",
                found=f"{column.dtype} {list(column.shape)}",
                remedy="Store text as codes, or leave categories out.",
            )
        if len(set(column.categories)) != len(column.categories):
            raise StageLogError(
                f"{at}.categories",
                expected="each category once",
                found=column.categories,
                remedy="Merge the categories of the same name.",
            )
    _check_coverage(dataset, where=where)


def _check_coverage(dataset: Dataset, *, where: str) -> None:
    held = sum(shard.count for shard in dataset.shards)
    coverage = dataset.coverage
    if coverage.hashes is not None and coverage.kind != "hashes":
        raise StageLogError(
            f"{where}.coverage.hashes",
            expected="hashes only with coverage `hashes`",
            found=coverage.kind,
            remedy="Leave the hashes out.",
        )
    if coverage.kind == "hashes":
        if dataset.shards:
            raise StageLogError(
                f"{where}.shards",
                expected="no shards with coverage `hashes`",
                found=f"{len(dataset.shards)} shards",
                remedy="Say `full` or `sample`, or remove the shards.",
            )
        return
    if held != dataset.examples:
        raise StageLogError(
            f"{where}.shards",
            expected=f"shards of {dataset.examples} examples together",
            found=f"{held} examples",
            remedy="Record every shard, or correct `examples`.",
        )
    if coverage.kind == "sample" and (
        coverage.of is None or coverage.seed is None or coverage.of < dataset.examples
    ):
        raise StageLogError(
            f"{where}.coverage",
            expected=f"`of` >= {dataset.examples} and the `seed` of the sample",
            found=f"of {coverage.of}, seed {coverage.seed}",
            remedy="Say how many examples there were and how the sample was drawn.",
        )
