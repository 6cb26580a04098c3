"""What type checkers see of calls changes nothing about them; `test_types` has what they see."""

from stompy.session.signatures import EndCall, LooksLike


def test_a_call_stays_what_it_is():
    def commit(receipt: bool | str | None = None) -> str | None:
        """Commit."""
        return None if receipt is None else "r1"

    shown = LooksLike[EndCall[None, str, str | None]]()(commit)
    assert shown is commit
    assert shown(True) == "r1"
