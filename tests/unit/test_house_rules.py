"""The rules of the house hold for the whole source, and the rules themselves can fail."""

import inspect
from pathlib import Path

import pytest

import auditor.errors
from tests.support import house

PLANTED = [
    (house.flags, "def score(theta, *, use_hessian=False): ..."),
    (house.flags, "def score(theta, *, exact: bool): ..."),
    (house.flags, "def score(exact: bool | None = None): ..."),
    (house.lengths, "x = 1\n" * (house.MAXIMUM_LINES + 1)),
    (house.unpickling, "import torch\ntorch.load('x')"),
    (house.unpickling, "from pickle import loads"),
    (house.unpickling, "import numpy\nnumpy.load('x', allow_pickle=True)"),
    (house.unfinished, "x = 1  # TO" + "DO later"),
    (house.unfinished, "raise NotImplemented" + "Error"),
    (house.undocumented, '"""Module."""\nclass Thing:\n    """A thing."""\n    def do(self): ...'),
    (house.undocumented, "x = 1"),
    (house.global_torch_state, "import torch\ntorch.manual_seed(0)"),
]
FACTS = {
    "service/cli/": "typer turns a boolean parameter of a command into --flag/--no-flag",
    "auditor/model/onnx_ops/reduce.py: ": "`keep` is ONNX's own attribute keepdims",
    "auditor/dynamics/groups.py: expander(uniform)": "a property of the state that is expanded",
    "auditor/dynamics/stepping.py: step_map(uniform)": "a property of the state that is stepped",
    "auditor/dynamics/stepping.py: unpacked(gated)": "whether the arguments hold a gate",
    "service/servicers/health.py: report(holds)": "the outcome of the check that is reported",
}
"""Boolean parameters that are facts and choose nothing, and why."""

RULES = [
    house.module_names,
    house.lengths,
    house.unpickling,
    house.unfinished,
    house.undocumented,
    house.empty_packages,
    house.global_torch_state,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_source_follows_rule(rule: house.Rule) -> None:
    assert house.violations(rule, "auditor", "service") == []


def test_source_has_no_boolean_switches() -> None:
    found = house.violations(house.flags, "auditor", "service")

    assert [line for line in found if not line.startswith(tuple(FACTS))] == []


def test_facts_are_all_still_there() -> None:
    found = house.violations(house.flags, "auditor", "service")

    assert [fact for fact in FACTS if not any(line.startswith(fact) for line in found)] == []


@pytest.mark.parametrize(("rule", "text"), PLANTED)
def test_rule_finds_what_is_planted(rule: house.Rule, text: str) -> None:
    assert rule(Path("auditor/planted.py"), text) != []


def test_only_the_conversion_child_opens_pickles_and_then_plain_ones() -> None:
    careful, careless = "torch.load(x, weights_only=True)", "torch.load(x, weights_only=False)"

    assert house.unpickling(house.CONVERSION, careful) == []
    assert house.unpickling(house.CONVERSION, careless) != []
    assert house.unpickling(Path("service/planted.py"), careful) != []


@pytest.mark.parametrize("path", ["auditor/utils.py", "service/common/thing.py"])
def test_module_names_finds_a_name_without_content(path: str) -> None:
    assert house.module_names(Path(path), "") != []


def test_error_tree_is_drawn_as_the_classes_are() -> None:
    classes = {
        name: parent.__name__ if (parent := kind.__bases__[0]) is not Exception else ""
        for name, kind in inspect.getmembers(auditor.errors, inspect.isclass)
        if issubclass(kind, auditor.errors.AuditorError)
    }

    assert house.drawn_tree(auditor.errors.__doc__ or "") == classes


def test_error_codes_are_distinct() -> None:
    codes = [
        kind.code
        for _, kind in inspect.getmembers(auditor.errors, inspect.isclass)
        if issubclass(kind, auditor.errors.AuditorError)
    ]

    assert len(codes) == len(set(codes))


def test_project_reads_nothing_beside_itself() -> None:
    outside = "../" + "shared"
    files = [
        path
        for folder in ("auditor", "service", "tests", "examples", "benchmarks", "deploy", "docs")
        for path in (house.ROOT / folder).rglob("*")
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".sh"}
    ]

    assert [str(path) for path in files if outside in path.read_text()] == []
