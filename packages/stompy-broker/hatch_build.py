"""Builds the compiled form of this package: in a wheel, or in place for work on the source.

    STOMPY_COMPILE=1 pip wheel .        a platform wheel; fails where it cannot be compiled
    python hatch_build.py               compile in place, where an editable installation finds it
    python hatch_build.py --remove      plain Python again

Without ``STOMPY_COMPILE=1`` a build makes the plain wheel and needs neither mypyc nor a compiler.
What is compiled stands in the package's module ``build``.

This is a hook of our own because hatch-mypyc (0.16) compiles in the source tree, which makes a
later build of the plain wheel take up what lies there; it cannot read the list from the package,
and it asks for mypy and setuptools also when nothing is to be compiled.
The file is the same in each package, so that each can be built alone.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Another mypyc may make other code of the same source; what was tested is what is released.
COMPILER = ("mypy[mypyc]>=2.4,<2.5",)
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


class CompileHook(BuildHookInterface[Any]):
    """Puts the compiled modules into a wheel when ``STOMPY_COMPILE=1`` demands it."""

    _out: Path | None = None

    def dependencies(self) -> list[str]:
        """What a build needs: mypyc, and for it the types of what the package imports."""
        return [*COMPILER, *self.metadata.core.dependencies] if self._is_demanded else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is put together."""
        if not self._is_demanded:
            return
        if version == "editable":
            compile_in_place(Path(self.root))
            return
        self._out = target = Path(tempfile.mkdtemp())
        try:
            compile_package(Path(self.root), target)
        except RuntimeError:
            shutil.rmtree(target)
            raise
        built = {str(file): str(file.relative_to(target)) for file in target.rglob(f"*{SUFFIX}")}
        build_data["force_include"].update(built)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled, once it is in the wheel."""
        if self._out is not None:
            shutil.rmtree(self._out)

    @property
    def _is_demanded(self) -> bool:
        demand = os.environ.get("STOMPY_COMPILE", "0")
        if demand not in {"", "0", "1"}:
            raise ValueError(f"STOMPY_COMPILE must be 1 or 0, not {demand!r}")
        return self.target_name == "wheel" and demand == "1"


def package_of(root: Path) -> Path:
    """The folder of the package's modules."""
    (listing,) = root.glob("src/*/build.py")
    return listing.parent


def modules_of(root: Path) -> list[str]:
    """The names of what is to be compiled. Read, not imported: nothing is installed yet."""
    tree = ast.parse((package_of(root) / "build.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MODULES":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{root}: there is no MODULES in build.py")


def compile_package(root: Path, target: Path, build: Path | None = None) -> None:
    """Compile a package's modules into a folder.

    Args:
        root: where ``pyproject.toml`` is.
        target: gets the extension modules, in the package's folders.
        build: a folder for what can be used again by the next build.

    Raises:
        RuntimeError: it cannot be compiled; the compiler has said why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, __file__, "--root", str(root), "--into", str(target)]
        command += ["--build", str(build or scratch)]
        # A process of its own: mypyc and setuptools leave much behind in the one they run in.
        if subprocess.run(command, check=False, cwd=root / "src").returncode:
            raise RuntimeError(
                f"{package_of(root).name} could not be compiled; the reason stands above. It takes "
                "a C compiler and Python's header files. A build without STOMPY_COMPILE=1 makes "
                "plain Python and needs neither"
            )


def compile_in_place(root: Path) -> None:
    """Compile beside the source, where Python finds it before the source."""
    remove(root, keep=root / "build")
    compile_package(root, root / "src", root / "build")


def remove(root: Path, keep: Path | None = None) -> None:
    """Take away what was compiled in place."""
    for pattern in ("*.so", "*.pyd"):
        for file in package_of(root).rglob(pattern):
            file.unlink()
    if keep is None:
        shutil.rmtree(root / "build", ignore_errors=True)


def run_compiler(root: Path, target: Path, build: Path) -> None:
    """Make C of the modules, and extension modules of that. The folder is ``src``."""
    from mypyc.build import mypycify
    from setuptools import setup

    package = package_of(root).name
    files = [f"{module.replace('.', '/')}.py" for module in modules_of(root)]
    extensions = mypycify(
        # Types were checked by whoever wrote them; here they only guide the compiler.
        ["--config-file=", "--follow-imports=silent", f"--cache-dir={build / 'cache'}", *files],
        target_dir=str(build / "c"),
        group_name=f"{package}._compiled",
        debug_level="0",
    )
    setup(
        name=package,
        packages=[],
        ext_modules=extensions,
        script_args=[
            *("--quiet", "build_ext"),
            *("--build-temp", str(build / "objects")),
            *("--build-lib", str(target)),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--remove", action="store_true", help="make it plain Python again")
    parser.add_argument("--root", type=Path, default=Path(__file__).parent, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = options.root.resolve()
    try:
        if options.remove:
            remove(root)
        elif options.into is None:
            compile_in_place(root)
        else:
            run_compiler(root, options.into, options.build)
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
