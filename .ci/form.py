"""Do the installed packages run compiled? Run by the Python of the environment they are in.

The exit status is 0 when every module that a compiled wheel has in compiled form runs so.
"""

import sys
from importlib import import_module
from importlib.util import find_spec


def main() -> None:
    packages = [package for package in ("stompy", "stompy_broker") if find_spec(package)]
    for package in packages:
        build = import_module(f"{package}.build")
        for module in build.MODULES:
            import_module(module)
        print(f"{package}: {len(build.MODULES)} modules, compiled: {build.compiled()}")
    if import_module(f"{packages[-1]}.build").compiled() != "yes":
        sys.exit("not all of them run compiled")


if __name__ == "__main__":
    main()
