"""Pictures of the pages: on a desk, on a telephone, in the dark, on paper."""

import shutil
import subprocess
from pathlib import Path

from examples.report_page.browser import look

DESK = {"width": 1240, "height": 1320, "scheme": "light"}
PLOT = "#effects > .query:nth-of-type(2)"
PHONE = {"width": 390, "height": 844, "scheme": "light", "scale": 1.5}


def take_pictures(folder: Path, pictures: Path) -> None:
    """Write PNG files of the two pages in ``folder`` into ``pictures``."""
    pictures.mkdir(parents=True, exist_ok=True)
    report, repair = ((folder / f"{name}.html").resolve().as_uri() for name in ("report", "repair"))
    paper = folder / "report.pdf"
    look([
        {**DESK, "url": report, "picture": str(pictures / "desktop.png"), "pdf": str(paper)},
        {**DESK, "url": report, "picture": str(pictures / "effects.png"), "anchor": "#effects"},
        {**DESK, "url": report, "picture": str(pictures / "plot.png"), "anchor": PLOT},
        {**DESK, "url": report, "picture": str(pictures / "timeline.png"), "anchor": "#timeline"},
        {**DESK, "scheme": "dark", "url": report, "picture": str(pictures / "dark.png")},
        {**PHONE, "url": report, "picture": str(pictures / "narrow.png"), "height": 1500},
        {**DESK, "url": repair, "picture": str(pictures / "repair.png"), "anchor": "#repair"},
    ])
    subprocess.run(  # noqa: S603 - poppler's program on our own file
        [
            str(shutil.which("pdftoppm")),
            "-png",
            "-r",
            "80",
            "-singlefile",
            paper,
            pictures / "print",
        ],
        check=True,
    )
    _shrink(pictures)


def _shrink(pictures: Path) -> None:
    """Keep 72 colours of each picture: pages have few, and a folder of pictures stays small."""
    from PIL import Image  # noqa: PLC0415 - only here

    for path in pictures.glob("*.png"):
        with Image.open(path) as image:
            small = image.convert("RGB").quantize(72, dither=Image.Dither.NONE)
        small.save(path, optimize=True)
