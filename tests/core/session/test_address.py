import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.session.address import DEFAULT_PORT, Address, Scheme, parse_address, parse_addresses

SECRET = "s3cret"  # what no message may show


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (("127.0.0.1", 61614), Address("127.0.0.1", 61614)),
        (["broker", 1], Address("broker", 1)),
        (("::1", 61613), Address("::1", 61613)),
        (("[::1]", 61613), Address("::1", 61613)),
        ("stomp://broker", Address("broker", DEFAULT_PORT)),
        ("stomp://broker/", Address("broker", DEFAULT_PORT)),
        ("STOMP://broker:1", Address("broker", 1)),
        ("stomp://Broker.Example:1", Address("Broker.Example", 1)),
        ("stomp://broker:1/prod", Address("broker", 1, vhost="prod")),
        ("stomp://broker:1/%2Fprod", Address("broker", 1, vhost="/prod")),
        ("stomp://[::1]:2/v", Address("::1", 2, vhost="v")),
        ("stomp://[fe80::1%25eth0]:2", Address("fe80::1%eth0", 2)),
        ("stomp://me@broker", Address("broker", login="me")),
        ("stomp://me:@broker", Address("broker", login="me", passcode="")),
        (
            "stomp://me:p%40%2Fw@broker:7/v",
            Address("broker", 7, vhost="v", login="me", passcode="p@/w"),
        ),
        ("stomp://me:a@b@broker", Address("broker", login="me", passcode="a@b")),
    ],
)
def test_an_address_is_read(given, address):
    assert parse_address(given) == address
    assert parse_addresses(given) == (address,)


@pytest.mark.parametrize(
    "given",
    [
        [("a", 1), ("b", 2)],
        (("a", 1), ("b", 2)),
        ["stomp://a:1", "stomp://b:2"],
        ("stomp://a:1", "stomp://b:2"),
        [("a", 1), "stomp://b:2"],
    ],
)
def test_a_list_keeps_its_order(given):
    assert parse_addresses(given) == (Address("a", 1), Address("b", 2))


@pytest.mark.parametrize(
    ("given", "address", "shown"),
    [
        ("stomps://b", Address("b", 61614, scheme=Scheme.STOMPS), "stomps://b:61614"),
        ("tcp://b:61613", Address("b", 61613), "stomp://b:61613"),
        ("nio://b:1", Address("b", 1), "stomp://b:1"),
        ("stomp+nio://b", Address("b", 61613), "stomp://b:61613"),
        ("ssl://b", Address("b", 61614, scheme=Scheme.STOMPS), "stomps://b:61614"),
        ("nio+ssl://b:9", Address("b", 9, scheme=Scheme.STOMPS), "stomps://b:9"),
        ("stomp+nio+ssl://b", Address("b", 61614, scheme=Scheme.STOMPS), "stomps://b:61614"),
        (
            "unix:///run/stompy.sock",
            Address("localhost", scheme=Scheme.UNIX, path="/run/stompy.sock"),
            "unix:///run/stompy.sock",
        ),
        (
            "unix://me:s3cret@/run/a%20b",
            Address(
                "localhost", login="me", passcode="s3cret", scheme=Scheme.UNIX, path="/run/a b"
            ),
            "unix:///run/a%20b",
        ),
        ("stomp+ssl://b/v", Address("b", 61614, "v", scheme=Scheme.STOMPS), "stomps://b:61614/v"),
        ("ws://b", Address("b", 80, scheme=Scheme.WS), "ws://b:80"),
        (
            "wss://me:pw@b:8/ws/%2F?token=s3cret",
            Address(
                "b",
                8,
                login="me",
                passcode="pw",
                scheme=Scheme.WSS,
                path="/ws/%2F",
                query="token=s3cret",
            ),
            "wss://b:8/ws/%2F",
        ),
    ],
)
def test_other_transports(given, address, shown):
    assert parse_address(given) == address
    assert str(address) == shown
    assert SECRET not in repr(address)


def test_options_for_tls_mean_tls():
    assert parse_addresses(("b", 1), secure=True) == (Address("b", 1, scheme=Scheme.STOMPS),)
    assert parse_address("wss://b", secure=True) == parse_address("wss://b")
    for plain, instead in (("stomp://b", "stomps://"), ("ws://b", "wss://")):
        with pytest.raises(ValueError, match=f"without TLS.*{instead}"):
            parse_addresses([plain], secure=True)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "broker",
        "broker:61613",
        "http://broker",
        "stomp:broker",
        "stomp://",
        "stomp://:61613",
        "stomp://broker:0",
        "stomp://broker:65536",
        "stomp://broker:port",
        "stomp://broker:-1",
        "stomp://[::1",
        "stomp://bro ker",
        "stomp://broker?query",
        "stomp://broker#fragment",
        ("broker",),
        ("broker", "61613"),
        ("broker", True),
        ("broker", 0),
        ("broker", 65536),
        ("", 1),
        ("a/b", 1),
        (1, "broker"),
        [],
        (),
        None,
        61613,
        {"host": "broker"},
        [("a", 1), None],
    ],
)
def test_what_is_no_address_is_refused_with_a_reason(given):
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        parse_addresses(given)


def test_a_single_address_is_not_a_list():
    with pytest.raises(ValueError, match="not a list"):
        parse_address([("a", 1)])


@pytest.mark.parametrize(
    "given",
    [
        f"http://me:{SECRET}@broker",
        f"me:{SECRET}@broker",
        f"stomp://me:{SECRET}@broker:port",
        f"stomp://me:{SECRET}@broker:99999",
        f"stomp://me:{SECRET}@",
        f"stomp://me:{SECRET}@broker?x",
        f"stomp://me:x/{SECRET}@broker",
        f"stomp://me:1/{SECRET}@broker",
        f"stomp://me:{SECRET}#x@broker",
        f"https://me:{SECRET}@broker",
        f"wss://broker/?token={SECRET}#x",
        (f"stomp://me:{SECRET}@broker", 61613),
        [f"stomp://me:{SECRET}@broker:port", None],
    ],
)
def test_no_error_shows_a_passcode(given):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_addresses(given)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_no_repr_shows_secrets():
    address = parse_address(f"stomp://login:{SECRET}@broker:1/v")
    for text in (repr(address), str(address)):
        assert SECRET not in text
        assert "login" not in text


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("broker", 1), "stomp://broker:1"),
        (Address("::1", 2, vhost="/v"), "stomp://[::1]:2/%2Fv"),
    ],
)
def test_the_text_is_a_url(address, text):
    assert str(address) == text
    assert parse_address(text) == address


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text):
    for candidate in (text, f"stomp://{text}", f"stomp://{text}@broker:1/{text}"):
        try:
            address = parse_address(candidate)
        except ValueError:
            continue
        assert 0 < address.port < 65536
        assert address.host


@pytest.mark.parametrize(
    "given",
    ["unix://", "unix:path", "unix://run/stompy.sock", "unix:///a?b=c", "unix:///a%00b"],
)
def test_the_path_of_a_unix_socket_is_whole(given):
    with pytest.raises(ValueError, match=r"unix:///path|no path"):
        parse_address(given)


def test_no_tls_is_spoken_at_a_unix_socket():
    with pytest.raises(ValueError, match="stomps://"):
        parse_address("unix:///run/stompy.sock", secure=True)
