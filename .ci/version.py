"""Writes the version in the file ``VERSION`` to every place that has to hold it.

    echo 0.2.0 > VERSION && make version

A published package needs its version inside itself, so there are several places; this is why they
cannot differ. A test runs it and finds nothing to change.
"""

import argparse
import re
import sys
from pathlib import Path

PLACES = (
    ("packages/*/pyproject.toml", r'^(version = ")[^"]+(")$'),
    ("packages/*/pyproject.toml", r'^(\s*"stompy-(?:core|monitor)==)[^"]+(",)$'),
    ("packages/*/src/*/__init__.py", r'^(__version__ = ")[^"]+(")$'),
    ("packages/*/src/*/version.py", r'^(__version__ = ")[^"]+(")$'),
)
"""Files, and in each what stands before and behind the version."""


def changes(root: Path) -> dict[Path, str]:
    """The files that hold another version, with the text that they should have."""
    version = (root / "VERSION").read_text("utf-8").strip()
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        sys.exit(f"VERSION: {version!r} is no version such as 0.2.0 or 0.2.0rc1")
    texts: dict[Path, str] = {}
    for pattern, place in PLACES:
        for file in sorted(root.glob(pattern)):
            text = texts.get(file) or file.read_text("utf-8")
            texts[file] = re.sub(place, rf"\g<1>{version}\g<2>", text, flags=re.MULTILINE)
    return {file: text for file, text in texts.items() if text != file.read_text("utf-8")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write VERSION to every place that holds it.")
    parser.add_argument("root", type=Path, nargs="?", default=Path(__file__).parents[1])
    root = parser.parse_args().root
    for file, text in changes(root).items():
        file.write_text(text, "utf-8")
        print(file.relative_to(root))


if __name__ == "__main__":
    main()
