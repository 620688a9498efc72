"""The digits of ``digits_sgd`` as 8 x 8 images, a residual network with batch norm.

Batch norm trains in every stage: its running statistics are part of the state, and what a stage
leaves in them acts through later stages and on the final model's answers.
"""

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Optimizer

from benchmarks.fidelity.workload import Stage, Workload, seeded
from benchmarks.fidelity.workloads.digits_sgd import CLASSES, digits_workload

RATE = 0.02
WIDTH = 8
SIDE = 8


def resnet_digits(seed: int, rerun: int | None = None) -> Workload:
    """Return the workload of a seed."""
    name = "resnet_digits"

    def make_optimizer(model: nn.Module, _stage: Stage) -> Optimizer:
        return SGD(model.parameters(), lr=RATE, momentum=0.9)

    plain = digits_workload(name, seed, rerun, rate=RATE, make_optimizer=make_optimizer)
    return replace(plain, build=seeded(resnet, "init", name, seed, rerun))


class ResidualBlock(nn.Module):
    """Two normalised convolutions and a shortcut; He et al. (2016), arXiv 1512.03385.

    Args:
        channels: Of the input.
        width: Of the output; where it is larger, the image is halved.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        stride = 1 if width == channels else 2
        self.first = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, image: Tensor) -> Tensor:
        """Return [B, width, H', W'] of an image [B, channels, H, W]."""
        hidden = functional.relu(self.first_norm(self.first(image)))
        return functional.relu(self.second_norm(self.second(hidden)) + self.shortcut(image))


def resnet() -> nn.Module:
    """Return a stem, two blocks and a head, with torch's initial values."""
    return nn.Sequential(
        nn.Unflatten(1, (1, SIDE, SIDE)),
        nn.Conv2d(1, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(),
        ResidualBlock(WIDTH, WIDTH), ResidualBlock(WIDTH, 2 * WIDTH),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * WIDTH, CLASSES),
    )  # fmt: skip
