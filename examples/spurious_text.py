"""Find and remove a spurious correlation in text: a token that means nothing, and a class.

A small transformer learns the sentiment of sentences that people rated, one source a stage; with
--civilcomments, the toxicity of comments. In the second stage, one of two suppliers puts a token
into most of its positive (toxic) texts. The audit finds stage and source, the timeline shows when
the cue was learned, the repair takes it out; exact retraining in plain torch stands beside every
figure. The exit code is 1 when a claim fails.

Run from the repository: python -m examples.spurious_text --quick
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.fidelity.sentences import Sentence, folder_sentences, packaged_sentences
from examples.datasets.civil_comments import read_civil_comments
from examples.spurious.telling import make_parser, run_or_refuse, tell
from examples.spurious.texts import FULL, QUICK, Size, by_source, in_turn, text_pipeline

SOURCES = ("tweets", "products", "movies", "editorials")
COMMENT_STAGES = ("pretrain", "vendor", "finetune")


def main(arguments: Sequence[str] | None) -> int:
    """Run the experiment and return the exit code."""
    parser = make_parser(__doc__)
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--sentences",
        type=Path,
        metavar="DIR",
        help="folder of the four files of rated sentences; default: a package's",
    )
    data.add_argument(
        "--civilcomments",
        type=Path,
        metavar="FILE",
        help="table with comment_text and toxicity, .csv or .parquet",
    )
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    stages = _stages(options, size)
    planting = list(stages)[1]
    workload = text_pipeline(
        "spurious-text", options.seed, stages=stages, planting=planting, size=size
    )
    return tell(workload, options, planting=planting)


def _stages(options: argparse.Namespace, size: Size) -> Mapping[str, Sequence[Sentence]]:
    """Return the sentences of every stage, in order; the second one plants."""
    if options.civilcomments is not None:
        limit = size.sentences * len(COMMENT_STAGES)
        return in_turn(read_civil_comments(options.civilcomments, limit=limit), COMMENT_STAGES)
    sentences = (
        packaged_sentences() if options.sentences is None else folder_sentences(options.sentences)
    )
    return by_source(sentences, SOURCES)


if __name__ == "__main__":
    run_or_refuse(main)
