"""Every workload by name: one file each, one line here."""

from collections.abc import Callable
from typing import Final

from benchmarks.fidelity.workload import Workload
from benchmarks.fidelity.workloads.digits_adamw import digits_adamw
from benchmarks.fidelity.workloads.digits_falling import digits_falling
from benchmarks.fidelity.workloads.digits_sgd import digits_sgd
from benchmarks.fidelity.workloads.language_model import language_model
from benchmarks.fidelity.workloads.lora_sentences import lora_sentences
from benchmarks.fidelity.workloads.mnist_edge import mnist_edge
from benchmarks.fidelity.workloads.mnist_falling import mnist_falling
from benchmarks.fidelity.workloads.mnist_gentle import mnist_gentle
from benchmarks.fidelity.workloads.mnist_nesterov import mnist_nesterov
from benchmarks.fidelity.workloads.preference_model import preference_model
from benchmarks.fidelity.workloads.resnet_digits import resnet_digits
from benchmarks.fidelity.workloads.sentences import sentences
from benchmarks.fidelity.workloads.tabular import tabular

WORKLOADS: Final[dict[str, Callable[[int, int | None], Workload]]] = {
    "digits_sgd": digits_sgd,
    "digits_adamw": digits_adamw,
    "digits_falling": digits_falling,
    "mnist_nesterov": mnist_nesterov,
    "mnist_edge": mnist_edge,
    "mnist_gentle": mnist_gentle,
    "mnist_falling": mnist_falling,
    "tabular": tabular,
    "language_model": language_model,
    "sentences": sentences,
    "resnet_digits": resnet_digits,
    "lora_sentences": lora_sentences,
    "preference_model": preference_model,
}
"""(seed, rerun) -> workload."""
