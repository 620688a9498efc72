"""A policy from its JSON, for whoever gets it from somewhere."""

from typing import Final

from pydantic import ValidationError

from auditor.errors import InputError
from auditor.policy.schema import Policy
from auditor.stagelog.strict_json import first_problem

POLICY_LIMIT_BYTES: Final = 2**20
GUIDE: Final = "docs/howto/gate-a-release.md lists the rules."


def read_policy_json(data: bytes | str, *, where: str) -> Policy:
    """Return the policy of a JSON document; names the first field that is wrong.

    Args:
        data: The document.
        where: What to call it in messages.

    Raises:
        InputError: If it is too large or no policy.
    """
    if len(data) > POLICY_LIMIT_BYTES:
        raise InputError(
            where,
            expected=f"at most {POLICY_LIMIT_BYTES} bytes",
            found=f"{len(data)} bytes",
            remedy="Split it into policies that are judged one by one.",
        )
    try:
        # Strict records read lists and enumerations from JSON only.
        return Policy.model_validate_json(data)
    except ValidationError as error:
        field, problem = first_problem(error, where=where)
        raise InputError(
            field,
            expected="a policy of the published schema",
            found=problem,
            remedy=GUIDE,
        ) from error
