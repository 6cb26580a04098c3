"""The example of an application with tests: they pass, with nothing but what a user has."""

import shutil
import subprocess
import sys

from tests.docs.blocks import ROOT


def test_the_shop_passes_its_own_tests(tmp_path):
    shop = shutil.copytree(ROOT / "examples" / "shop", tmp_path / "shop")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=18, cwd=shop
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
