"""A policy as people write it: YAML of the published schema, named by its canonical JSON."""

import json
from pathlib import Path

from auditor.errors import InputError
from auditor.policy.read import GUIDE, read_policy_json
from auditor.policy.schema import Policy
from service.cli.yaml_file import read_document


def read_policy(path: Path) -> Policy:
    """Return the policy of a file.

    Raises:
        InputError: If it cannot be read or is no policy; names the first field that is wrong.
    """
    document = read_document(path, what="policy", guide=GUIDE)
    try:
        text = json.dumps(document)
    except TypeError as error:  # a date, which YAML knows and JSON does not
        raise InputError(
            path.name, expected="text, numbers, lists and mappings", found=error, remedy=GUIDE
        ) from error
    return read_policy_json(text, where=path.name)
