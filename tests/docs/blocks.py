"""The code blocks of the manual and the READMEs.

A block begins with three backticks, its language, and perhaps a word that says how it is tested:

``python``            executed, in the namespace of the blocks before it on the page
``python await``      the same, with ``await`` at the top, as in a notebook
``python compile``    only compiled
``python file=NAME``  written to a file; all files of a page are then given to pytest
``toml file=NAME``    the same
``sh``                its options are looked up
``sh run``            executed as well
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
READMES = (ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md")))
PAGES = {
    str(page.relative_to(ROOT)): page.read_text("utf-8")
    for page in (*sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("monitor/*.md")), *READMES)
}

_BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One code block.

    Attributes:
        language: the first word behind the backticks.
        mark: the second one, or nothing.
        code: what stands in it.
        line: the number of its first line on the page, counted from 0.
    """

    language: str
    mark: str
    code: str
    line: int

    @property
    def file(self) -> str:
        """The name of the file that it is, or nothing."""
        key, _, name = self.mark.partition("=")
        return name if key == "file" else ""


def blocks(page: str, language: str) -> Iterator[Block]:
    """The blocks of a page in one language, in their order."""
    text = PAGES[page]
    for found in _BLOCK.finditer(text):
        name, _, mark = found["info"].partition(" ")
        if name == language:
            yield Block(name, mark, found["code"], text.count("\n", 0, found.start("code")))


def pages_with(language: str, mark: str = "") -> list[str]:
    """The pages that have such a block; with ``mark``, one whose mark begins so."""
    return [
        page
        for page in PAGES
        if any(block.mark.startswith(mark) for block in blocks(page, language))
    ]
