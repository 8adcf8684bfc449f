"""XML of STS, against the parser of the standard library."""

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webhook.issuers.aws.stsxml import texts

LETTERS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=20)


@st.composite
def trees(draw: st.DrawFn, depth: int = 2) -> ET.Element:
    name, space = (
        draw(st.sampled_from("abc")),
        draw(st.sampled_from(["", "{https://sts.amazonaws.com/doc/}", "{urn:x}"])),
    )
    element = ET.Element(f"{space}{name}", draw(st.dictionaries(st.sampled_from("xy"), LETTERS, max_size=2)))
    element.text, element.tail = draw(LETTERS), draw(LETTERS)
    if depth:
        element.extend(draw(st.lists(trees(depth=depth - 1), max_size=3)))
    return element


@settings(max_examples=40, deadline=None)
@given(tree=trees())
def test_it_finds_the_texts_that_another_parser_finds(tree: ET.Element) -> None:
    tree.tail = None
    wanted = dict[str, str]()

    def look(element: ET.Element) -> None:  # in the order in which they end
        for inner in element:
            look(inner)
        if not len(element):
            wanted.setdefault(element.tag.rpartition("}")[2], element.text or "")

    look(ET.fromstring(ET.tostring(tree)))
    assert texts(ET.tostring(tree, encoding="utf-8", xml_declaration=True)) == wanted


@settings(max_examples=100)
@given(content=st.binary(max_size=60) | st.text("<>/a&;!?[]-\" ='x", max_size=60).map(str.encode))
def test_of_anything_else_it_says_that_it_is_none(content: bytes) -> None:
    try:
        texts(content)
    except ValueError:
        return
    ET.fromstring(content)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no XML",
        b"<a>",
        b"<a></b>",
        b"<a>&b;</a>",
        b"<a/><b/>",
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l8;</a>'.encode(),
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x"><a/>',
        b'<?xml version="1.0" encoding="nobody-knows"?><a/>',
    ],
)
def test_what_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        texts(content)


def test_depth_is_no_trouble() -> None:
    assert texts(b"<a>" * 9000 + b"x" + b"</a>" * 9000) == {"a": "x"}
