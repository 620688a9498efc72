"""Tokenizers trained on a few sentences, for tests; nothing is downloaded."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

SENTENCES = (
    "the film was a joy from start to end",
    "a dull plot and a dull cast",
    "the cast was great and the plot was new",
    "the end was bad and the start was worse",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def train_tokenizer(folder: Path, *, template: bool = True) -> None:
    """Write ``tokenizer.json`` of a word tokenizer; with a template it adds [CLS] and [SEP]."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(
        SENTENCES, trainers.WordLevelTrainer(special_tokens=list(SPECIAL), show_progress=False)
    )
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(text, tokenizer.token_to_id(text)) for text in ("[CLS]", "[SEP]")],
        )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"pad_token": "[PAD]"}')
