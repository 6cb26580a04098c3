"""Header names and values: what each version can say, and how."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stompy.errors import ErrorCode, ProtocolError
from stompy.protocol.codec import FrameParser, encode_frame
from stompy.protocol.headers import (
    ALL_VERSIONS,
    OPENING_RULES,
    RULES,
    Version,
    escape,
    header_lines,
    is_writable,
    unescape,
)

texts = st.text(
    st.one_of(
        st.sampled_from("\\:\r\n\t rnc"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=10,
)


def test_versions_compare_by_age():
    assert sorted(ALL_VERSIONS) == [Version.V1_0, Version.V1_1, Version.V1_2]
    assert ALL_VERSIONS[0] is max(ALL_VERSIONS)
    assert f"{Version.V1_2}" == "1.2"


@pytest.mark.parametrize(
    ("version", "wire", "text"),
    [
        (Version.V1_0, r"a\nb\cc\\d\re\tf", r"a\nb\cc\\d\re\tf"),
        (Version.V1_1, r"a\nb\cc\\d", "a\nb:c\\d"),
        (Version.V1_1, r"\\n\\c\\\\", r"\n\c\\"),
        (Version.V1_2, r"a\nb\cc\\d\re", "a\nb:c\\d\re"),
        (Version.V1_2, r"\r\n", "\r\n"),
        (Version.V1_2, "", ""),
    ],
)
def test_unescape(version: Version, wire: str, text: str):
    assert unescape(wire, RULES[version]) == text


def test_connect_is_not_unescaped():
    assert unescape(r"\n\x", OPENING_RULES) == r"\n\x"


@pytest.mark.parametrize("wire", [r"\t", r"\N", "\\", r"a\\\ ", "\\\n", "\\:", r"\é"])
@pytest.mark.parametrize("version", [Version.V1_1, Version.V1_2])
def test_undefined_sequences(version: Version, wire: str):
    with pytest.raises(ProtocolError, match=f"no escape sequence of STOMP {version}") as caught:
        unescape(wire, RULES[version])
    assert caught.value.error_code is ErrorCode.BAD_ESCAPE


def test_r_is_undefined_in_1_1():
    with pytest.raises(ProtocolError):
        unescape(r"\r", RULES[Version.V1_1])


@given(texts)
def test_1_2_gives_everything_back(text: str):
    wire = escape(text, Version.V1_2)
    assert not set(wire) & set("\r\n:")
    assert unescape(wire, RULES[Version.V1_2]) == text


@given(texts)
def test_1_1_loses_a_cr_at_the_end_only(text: str):
    wire = escape(text, Version.V1_1)
    assert not set(wire) & set("\n:")
    assert not wire.endswith("\r")
    assert unescape(wire, RULES[Version.V1_1]) == text.rstrip("\r")


@given(texts)
def test_1_0_never_writes_a_line_break(text: str):
    assert escape(text, Version.V1_0) == text.replace("\n", r"\n").replace("\r", r"\r")


@pytest.mark.parametrize("version", list(Version))
@given(name=texts, value=texts)
def test_what_is_writable_is_what_comes_back(version: Version, name: str, value: str):
    if name.strip() == "content-length":
        return
    parser = FrameParser(version=version)
    frames = parser.feed(encode_frame("SEND", {name: value}, version=version))
    comes_back = [head.headers for head, _ in frames] == [{name: value}]
    assert is_writable(name, value, version) == comes_back


@pytest.mark.parametrize("version", list(Version))
@given(headers=st.dictionaries(texts, texts, max_size=4))
def test_lines_are_lines(version: Version, headers: dict[str, str]):
    """Whatever is in the headers: each makes one line at most, and the line has a name."""
    headers = {name: value for name, value in headers.items() if name}
    lines = header_lines(headers, version).split("\n")
    assert lines.pop() == ""
    assert len(lines) <= len(headers)
    for line in lines:
        name, colon, _ = line.partition(":")
        assert name.strip("\r")
        assert colon


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        (Version.V1_0, "x:1:2\\n\\r\n"),
        (Version.V1_1, "x:1\\c2\\n\na\\cb:\na\\nb:\nq:\nq:\n"),
        (Version.V1_2, "x:1\\c2\\n\\r\na\\cb:\na\\nb:\nq\\r:\nq:\\r\n\\r:\n"),
    ],
)
def test_lines_of_each_version(version: Version, lines: str):
    headers = {"x": "1:2\n\r", "a:b": "", "a\nb": "", "q\r": "", "q": "\r", "\r": ""}
    if version is Version.V1_0:
        lines += "q:\\r\n"
    assert header_lines(headers, version) == lines


@pytest.mark.parametrize("version", [Version.V1_1, Version.V1_2])
def test_plain_lines_take_the_short_way(version: Version):
    assert header_lines({"a": "b", "c": "d e"}, version) == "a:b\nc:d e\n"
    assert header_lines({}, version) == ""
    # As many colons and line breaks as there are headers, but not one in each.
    assert header_lines({"a": "b:c", "d": "e"}, version) == "a:b\\cc\nd:e\n"
