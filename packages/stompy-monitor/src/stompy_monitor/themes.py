"""Six sets of colours. Meaning never hangs on them alone: each alarm has a glyph and a word."""

from __future__ import annotations

from textual.theme import Theme

THEMES = (
    Theme(
        "stompy-dark",
        primary="#6cb6ff",
        secondary="#3f6f9f",
        accent="#c9a0ff",
        warning="#e8b64c",
        error="#ff7b72",
        success="#6bd18a",
        foreground="#d4dbe4",
        background="#0e1217",
        surface="#151b23",
        panel="#1d2631",
    ),
    Theme(
        "stompy-light",
        primary="#0b5cad",
        secondary="#7aa7d6",
        accent="#7a3fb5",
        warning="#8a5a00",
        error="#b3261e",
        success="#1b7a3d",
        foreground="#1d232b",
        background="#fbfaf7",
        surface="#f1f0eb",
        panel="#e4e4dd",
        dark=False,
    ),
    Theme(
        "stompy-high-contrast",
        primary="#ffffff",
        secondary="#c0c0c0",
        accent="#00ffff",
        warning="#ffff00",
        error="#ff6060",
        success="#00ff80",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#262626",
    ),
    # Okabe and Ito: distinguishable with every common kind of colour vision.
    Theme(
        "stompy-colour-blind-dark",
        primary="#56B4E9",
        secondary="#0072B2",
        accent="#CC79A7",
        warning="#E69F00",
        error="#D55E00",
        success="#009E73",
        foreground="#dcdcdc",
        background="#101214",
        surface="#181b1e",
        panel="#22272c",
    ),
    Theme(
        "stompy-colour-blind-light",
        primary="#0072B2",
        secondary="#56B4E9",
        accent="#a3487f",
        warning="#9a6a00",
        error="#D55E00",
        success="#007a59",
        foreground="#1c1c1c",
        background="#fcfcfa",
        surface="#f2f2ee",
        panel="#e5e5df",
        dark=False,
    ),
    # The sixteen colours of the terminal, whatever its owner made of them.
    Theme(
        "stompy-terminal",
        primary="ansi_blue",
        secondary="ansi_cyan",
        accent="ansi_magenta",
        warning="ansi_yellow",
        error="ansi_red",
        success="ansi_green",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_bright_black",
        boost="ansi_default",
        ansi=True,
        variables={"ansi-background": "ansi_black", "ansi-foreground": "ansi_white"},
    ),
)

DEFAULT = "stompy-dark"
TERMINAL = "stompy-terminal"
"""Not under ``NO_COLOR``: there it would paint black on black."""


def full_name(short: str) -> str:
    """The name of a theme as Textual knows it.

    Raises:
        ValueError: there is none of that name.
    """
    if not short:
        return DEFAULT
    names = [theme.name for theme in THEMES]
    for name in (short, f"stompy-{short}"):
        if name in names:
            return name
    known = [name.removeprefix("stompy-") for name in names]
    raise ValueError(f"there is no theme {short!r}: {', '.join(known)}")
