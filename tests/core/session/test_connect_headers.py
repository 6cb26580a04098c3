"""What CONNECT says of who connects."""

from stompy.session.address import Address
from stompy.session.connect_headers import ConnectHeaders


def test_connect_leaves_out_what_is_not_known():
    known = Address("b", 1, login="url", passcode="url-pw", vhost="path")
    assert ConnectHeaders(None, None, None, {"n": 1}).to(Address("b", 1)) == {"host": "/", "n": "1"}
    assert ConnectHeaders(None, None, None, {}).to(known) == {
        "host": "path",
        "login": "url",
        "passcode": "url-pw",
    }
    assert ConnectHeaders("me", "pw", "v", {"host": "w"}).to(known) == {
        "host": "w",
        "login": "me",
        "passcode": "pw",
    }


def test_an_introduction_shows_no_passcode():
    connect_headers = ConnectHeaders("me", "secret", None, {"client-id": 7})
    assert "secret" not in repr(connect_headers)
    assert connect_headers.client_id == "7"
