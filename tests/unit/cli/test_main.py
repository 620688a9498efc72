"""The entry point: lazy loading, help, exit codes."""

import subprocess
import sys

import pytest

from service.cli.main import COMMANDS, build, run, wanted


def outcome(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    return int(ended.value.code or 0)


def test_wanted_is_the_command_alone() -> None:
    assert wanted(["--json", "estimators"]) == ("estimators",)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["estimatorz"]])
def test_wanted_is_everything_for_help_and_typing_errors(arguments: list[str]) -> None:
    assert wanted(arguments) == tuple(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = outcome(name, "--help")

    assert code == 0
    assert "--json" in capsys.readouterr().out or name in {
        "data",
        "keys",
        "log",
        "policy",
        "report",
        "serve",
    }


def test_build_loads_only_what_is_named() -> None:
    script = (
        "import sys; from service.cli.main import build; build(['verify']);"
        "print([m for m in ('torch', 'numpy', 'grpc', 'yaml', 'service.cli.audit')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_unknown_command_is_a_usage_error_with_a_suggestion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = outcome("estimatorz")

    assert code == 2
    assert "estimators" in capsys.readouterr().err


def test_errors_become_exit_codes(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    code = outcome("audit", "--skip", "all", "--skip", "vendor", "--log", "x")

    assert code == 7
    assert "--skip all" in capsys.readouterr().err


def test_build_keeps_groups_as_groups() -> None:
    names = {group.name for group in build(("log", "keys", "report")).registered_groups}

    assert names == {"log", "keys", "report"}
