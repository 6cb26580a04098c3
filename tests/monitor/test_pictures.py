"""What the screens look like: the pictures of the manual, drawn again and compared.

``make pictures`` renews them on purpose, as after a new version of Textual.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType

import pytest
from tests.docs.blocks import DOCS

pytestmark = pytest.mark.timeout(60)


def load_pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "monitor" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pictures"] = module
    spec.loader.exec_module(module)
    return module


pictures = load_pictures()
SOME = (
    "overview",
    "cluster",
    "queue",
    "purge",
    "lost",
    "small",
    "ascii",
    "colour-blind",
    "message",
)
"""Those that are drawn again; the rest differs from them in the rows alone."""


@pytest.mark.parametrize("name", SOME)
def test_a_picture_is_as_it_was(name: str) -> None:
    (picture,) = [picture for picture in pictures.PICTURES if picture.name == name]
    svg, text = pictures.draw(picture)
    # A program that has crashed leaves a picture, too: an empty one.
    assert [words for words in picture.words if words not in text] == []
    kept = (DOCS / "monitor" / f"{name}.svg").read_text("utf-8")
    assert without_ids(svg) == without_ids(kept)
    assert name != "ascii" or not re.search("[▀-▟⠀-⣿▲▼●▸]", text)


def without_ids(svg: str) -> list[str]:
    return re.sub(r"terminal-\d+", "terminal", svg).splitlines()


def test_every_picture_is_in_the_manual() -> None:
    pages = "".join(page.read_text("utf-8") for page in DOCS.glob("monitor/*.md"))
    shown = set(re.findall(r"\{image\} ([\w-]+)\.svg", pages))
    files = {file.stem for file in DOCS.glob("monitor/*.svg")}
    assert files == {picture.name for picture in pictures.PICTURES}
    assert shown <= files
