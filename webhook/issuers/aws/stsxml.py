"""XML as STS answers: a few texts, by name."""

from collections.abc import Mapping
from typing import NoReturn
from xml.parsers import expat


def texts(content: bytes) -> Mapping[str, str]:
    """Of the elements that have no others in them, by their names without namespaces; of one name the first. Raises
    ValueError. A document type is refused: it could define entities, which grow, or are fetched.
    """
    found, inside = dict[str, str](), list[_Element]()

    def begin(name: str, _attributes: Mapping[str, str]) -> None:
        if inside:
            inside[-1].leaf = False
        inside.append(_Element(name.rpartition(" ")[2]))

    def end(_name: str) -> None:
        one = inside.pop()
        if one.leaf:
            found.setdefault(one.name, "".join(one.parts))

    def text(part: str) -> None:
        inside[-1].parts.append(part)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = begin, end, text
    parser.StartDoctypeDeclHandler = _refused
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError):  # the latter: an encoding that nobody knows
        raise ValueError("it is no XML") from None
    return found


class _Element:
    __slots__ = ("leaf", "name", "parts")

    def __init__(self, name: str) -> None:
        self.name, self.leaf, self.parts = name, True, list[str]()


def _refused(*_: object) -> NoReturn:
    raise ValueError("it has a document type")
