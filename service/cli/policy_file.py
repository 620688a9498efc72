"""A policy as people write it: YAML of the published schema, named by its canonical JSON."""

import json
from pathlib import Path

from pydantic import ValidationError

from auditor.errors import InputError
from auditor.policy.schema import Policy
from service.cli.yaml_file import read_document

GUIDE = "docs/howto/gate-a-release.md lists the rules."


def read_policy(path: Path) -> Policy:
    """Return the policy of a file.

    Raises:
        InputError: If it cannot be read or is no policy; names the first field that is wrong.
    """
    document = read_document(path, what="policy", guide=GUIDE)
    try:
        # Strict records read lists and enumerations from JSON only.
        return Policy.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InputError(
            ".".join([path.name, *map(str, first["loc"])]),
            expected="a policy of the published schema",
            found=first["msg"],
            remedy=GUIDE,
        ) from error
    except TypeError as error:  # a date, which YAML knows and JSON does not
        raise InputError(
            path.name, expected="text, numbers, lists and mappings", found=error, remedy=GUIDE
        ) from error
