"""A training that is killed: what it had made durable is in the recovered log."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.main import run

SCRIPT = """
import sys, torch
from torch import nn
from auditor.record.recorder import Recorder

torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
x, label = torch.randn(64, 4), torch.randint(3, (64,))
recorder = Recorder(sys.argv[1], model, run_name="killed")
data = recorder.dataset("data", {"x": x, "label": label})
done = 0
for name in ("one", "two"):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with recorder.stage(name, optimizer=optimizer, loss="cross_entropy", inputs={"input": "x"},
                        target="label", cadence_steps=5) as stage:
        for step in range(40):
            rows = torch.randperm(64)[:8]
            stage.batch(data, rows)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), label[rows]).backward()
            optimizer.step()
            done += 1
            if done % 5 == 0:
                stage.flush()
                print(done, flush=True)
    print(done, flush=True)
print("end", flush=True)
sys.stdin.read()
"""


def leave(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.mark.slow
@pytest.mark.parametrize("lines", [2, 9, 15])
def test_killed_process_loses_nothing_that_was_durable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: int
) -> None:
    """The kill comes some steps after the line was read: at no chosen point."""
    folder = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        durable = [int(process.stdout.readline()) for _ in range(lines)][-1]
        process.kill()
        process.wait()

    assert leave("log", "recover", folder, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["stages"][-1]["end_step"] >= durable

    assert leave("log", "check", folder, "--replay", "--json") == 0
    assert json.loads(capsys.readouterr().out)["consistent"]
