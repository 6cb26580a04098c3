"""Check the types of the manual's code as a user's type checker would; run by ``make types``.

Each page becomes a module in which a line has the number that it has on the page, so that a
complaint says where to look. Examples have no annotations; what they make of the library's types is
checked.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs.blocks import PAGES, ROOT, blocks

OPTIONS = (
    "--strict",
    "--config-file=",
    "--no-error-summary",
    "--allow-redefinition",
    "--allow-untyped-defs",
    "--allow-incomplete-defs",
    "--allow-untyped-calls",
    # Blocks of one page are tried one after the other, and some as in a notebook.
    "--disable-error-code=no-redef",
    "--disable-error-code=top-level-await",
    # Libraries of other people.
    "--disable-error-code=import-untyped",
    "--allow-subclassing-any",
)


def modules() -> dict[str, str]:
    """Source by the name of the module, which says the page."""
    written: dict[str, list[str]] = {}
    for page in PAGES:
        for block in blocks(page, "python"):
            if block.mark == "compile":
                continue  # a part of something that is not there
            stem = page.removesuffix(".md").replace("/", "_").replace("-", "_")
            # Files of a page import each other by name.
            name = block.file.removesuffix(".py") or stem
            lines = written.setdefault(name, [])
            lines += [""] * (block.line - len(lines))
            lines += block.code.splitlines()
    return {name: "\n".join(lines) + "\n" for name, lines in written.items()}


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        for name, source in modules().items():
            (Path(directory) / f"{name}.py").write_text(source, "utf-8")
        cache = ROOT / ".mypy_cache" / "manual"
        command = (sys.executable, "-m", "mypy", *OPTIONS, f"--cache-dir={cache}", ".")
        return subprocess.run(command, cwd=directory, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
