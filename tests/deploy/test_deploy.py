"""What the broker's ``deploy/`` offers has been tried, as far as this machine can."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
import trustme

import stompy_broker.cli
from stompy_broker.cli.console import EXIT_USAGE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "packages/stompy-broker/deploy"
BIN = Path(sys.executable).parent
UNIT = DEPLOY / "stompy-broker.service"
SAMPLES = sorted(DEPLOY.glob("*.toml"))

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
needs_logrotate = pytest.mark.skipif(not shutil.which("logrotate"), reason="no logrotate here")


def run(
    *command: str | Path, check: bool = True, said: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=check, input=said, capture_output=True, text=True, timeout=60
    )


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.fixture(scope="module")
def etc(tmp_path_factory) -> Path:
    """The samples, and what they expect in /etc/stompy-broker."""
    folder = tmp_path_factory.mktemp("etc")
    authority = trustme.CA()
    certificate = authority.issue_cert("broker.example.org")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "tls.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    run(BIN / "stompy-broker", "cluster", "secret", folder / "cluster.secret")
    run(BIN / "stompy-broker", "user", "add", folder / "users.txt", "shop", said="open sesame\n")
    for sample in SAMPLES:
        text = sample.read_text().replace("/etc/stompy-broker", str(folder))
        (folder / sample.name).write_text(text)
    return folder


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_the_samples_are_valid(sample, etc):
    here = etc / sample.name
    assert run(BIN / "stompy-broker", "check", here).stdout == f"{here}: valid\n"


def test_the_server_is_closed_by_default(etc):
    said = run(
        *(BIN / "stompy-broker", "check", etc / "server.toml"),
        *("--explain-access", "shop", "/queue/orders.new"),
    ).stdout
    assert re.findall(r"^(\w+) = allow", said, re.MULTILINE) == ["send", "create"]


def test_there_is_a_sample_for_each_place():
    assert [path.stem for path in SAMPLES] == ["cluster", "lab", "laptop", "server"]


def test_the_hashes_of_the_samples_fit_no_password():
    used = {hash_ for path in SAMPLES for hash_ in re.findall(r'"(\$argon2.*?)"', path.read_text())}
    shown = (ROOT / "docs" / "broker.toml").read_text()
    assert used
    assert all(hash_ in shown for hash_ in used)


@pytest.mark.parametrize("name", ["stompy-broker.service", "Containerfile"])
def test_the_options_in_use_exist(name):
    text = (DEPLOY / name).read_text()
    lines = [line for line in text.splitlines() if line.startswith(("Exec", "ENTRYPOINT", "CMD"))]
    used = {option for line in lines for option in re.findall(r"--[a-z-]+", line)}
    assert used
    assert used <= options_of(stompy_broker.cli.main)


def test_a_wrong_configuration_is_not_tried_again():
    prevented = re.search(r"^RestartPreventExitStatus=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert prevented is not None
    assert int(prevented[1]) == EXIT_USAGE


@needs_systemd
def test_systemd_understands_the_unit(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/stompy/bin", str(BIN)))
    done = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit, check=False)
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []
    assert done.returncode == 0


@needs_systemd
def test_the_unit_exposes_little():
    run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", UNIT)


@needs_logrotate
def test_the_log_goes_on_after_its_rotation(tmp_path):
    log, rules = tmp_path / "stompy-broker.log", tmp_path / "rules"
    original = (DEPLOY / "stompy-broker.logrotate").read_text()
    rules.write_text(original.replace("/var/log/stompy-broker.log", str(log)))
    rules.chmod(0o644)
    with log.open("ab") as appended:
        command = [BIN / "stompy-broker", "--port", "0", "--memory"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=appended) as broker:
            assert broker.stdout is not None
            assert broker.stdout.readline().startswith(b"stompy-broker ready")
            run("logrotate", "--force", "--state", tmp_path / "state", rules)
            broker.send_signal(signal.SIGTERM)
    assert "listening on" in Path(f"{log}.1").read_text()
    assert log.read_text().endswith("stopped\n")
    assert "\0" not in log.read_text()
