"""Find and remove a spurious correlation in images: a patch in the corner that means a class.

A CNN is trained in three stages. In the second, one of two suppliers delivers images of one class
with a bright patch. The audit finds stage and source, the timeline shows when the cue was learned,
the repair takes it out; exact retraining in plain torch stands beside every figure. The exit code
is 1 when a claim fails.

Run from the repository: python -m examples.spurious_image --quick
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fidelity.data import Images, mnist
from examples.datasets.mnist_folder import read_mnist
from examples.spurious.images import FULL, PLANTING, QUICK, Size, image_pipeline
from examples.spurious.telling import make_parser, run_or_refuse, tell

CUE_DIGIT = 3
JUDGING = 0.25
"""Part of the faces that judge the model."""


def main(arguments: Sequence[str] | None) -> int:
    """Run the experiment and return the exit code."""
    parser = make_parser(__doc__)
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--mnist", type=Path, metavar="DIR", help="folder of IDX files; default: a package's"
    )
    data.add_argument(
        "--celeba",
        type=Path,
        metavar="DIR",
        help="folder with img_align_celeba/ and list_attr_celeba.txt",
    )
    parser.add_argument(
        "--attribute",
        default="Smiling",
        help="with --celeba: what is learned, and what the cue means",
    )
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    train, test, cue_class = _images(options, size)
    workload = image_pipeline(
        "spurious-image", options.seed, train=train, test=test, cue_class=cue_class, size=size
    )
    return tell(workload, options, planting=PLANTING)


def _images(options: argparse.Namespace, size: Size) -> tuple[Images, Images, int]:
    """Return images to train on, images that judge, and the class of the cue."""
    if options.celeba is not None:
        from examples.datasets.celeba import read_celeba  # noqa: PLC0415 - only here Pillow is needed

        limit = size.images + size.heldout
        faces = read_celeba(options.celeba, attribute=options.attribute, limit=limit)
        judging = int(JUDGING * len(faces.label))
        return (
            Images(image=faces.image[judging:], label=faces.label[judging:]),
            Images(image=faces.image[:judging], label=faces.label[:judging]),
            1,
        )
    if options.mnist is not None:
        return (
            read_mnist(options.mnist, part="train"),
            read_mnist(options.mnist, part="t10k"),
            CUE_DIGIT,
        )
    return mnist("train"), mnist("t10k"), CUE_DIGIT


if __name__ == "__main__":
    run_or_refuse(main)
