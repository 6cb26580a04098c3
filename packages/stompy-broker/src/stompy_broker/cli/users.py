"""The sub-commands ``stompy-broker user``, which edit a users file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from stompy_broker.cli.console import complain
from stompy_broker.security.auth import hash_password
from stompy_broker.security.users import UsersFileError, check_login, read_users, write_users

EXIT_REFUSED = 1

_EPILOG = """
\b
Exit status:
  0  done
  1  the file cannot be used, or the login is there already, or is not there
  2  wrong usage

\b
Examples:
  stompy-broker user add users.txt ann
  pwgen 20 1 | tee /dev/stderr | stompy-broker user add users.txt ann
"""

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
_LOGIN = click.argument("login")


@click.group(epilog=_EPILOG)
def user() -> None:
    """Edit a file of users, as `security.users_file` names it.

    Passwords are asked for, or read from the first line of standard input. A running broker
    goes by the new file when it gets SIGHUP.
    """


@user.command("add", epilog=_EPILOG)
@_FILE
@_LOGIN
def user_add(file: Path, login: str) -> None:
    """Add LOGIN to FILE, which is made if need be."""
    with _problems_told():
        users = read_users(file) if file.exists() else {}
        check_login(login)
        if login in users:
            raise UsersFileError(f"{file}: {login!r} is there already; use set-password")
        write_users(file, {**users, login: hash_password(_password())})
    click.echo(f"{file}: {login} added")


@user.command("set-password", epilog=_EPILOG)
@_FILE
@_LOGIN
def user_set_password(file: Path, login: str) -> None:
    """Give LOGIN in FILE another password."""
    with _problems_told():
        users = _with_login(file, login)
        write_users(file, {**users, login: hash_password(_password())})
    click.echo(f"{file}: {login} has a new password")


@user.command("delete", epilog=_EPILOG)
@_FILE
@_LOGIN
def user_delete(file: Path, login: str) -> None:
    """Take LOGIN out of FILE."""
    with _problems_told():
        users = _with_login(file, login)
        del users[login]
        write_users(file, users)
    click.echo(f"{file}: {login} deleted")


@user.command("list", epilog=_EPILOG)
@_FILE
def user_list(file: Path) -> None:
    """Print the logins in FILE, one a line."""
    with _problems_told():
        for login in sorted(read_users(file)):
            click.echo(login)


def _with_login(file: Path, login: str) -> dict[str, str]:
    users = read_users(file)
    if login not in users:
        raise UsersFileError(f"{file}: there is no {login!r}")
    return users


def _password() -> str:
    if _at_a_terminal():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise UsersFileError("an empty password is none")
    return str(password)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


@contextlib.contextmanager
def _problems_told() -> Iterator[None]:
    try:
        yield
    except UsersFileError as error:
        complain(str(error))
        sys.exit(EXIT_REFUSED)
