"""Reading the XML of Sentinel products, which comes from outside: no document types, no entities, no size
without an end.
"""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from eo_pipeline.errors import SourceError

#: The largest real file (granule metadata of a wide view) has 0.6 MB, an annotation of Sentinel-1 1.7 MB.
LARGEST: Final = 64_000_000


def parse_xml(data: bytes, where: str) -> Element:
    """The root element of a document; names of elements and attributes lose their namespaces.

    Parameters
    ----------
    data : bytes
        The document.
    where : str
        Its path, for messages.

    Raises
    ------
    SourceError
        It is no XML, is cut off, is larger than 64 MB, or declares a document type or entities, which no
        Sentinel product does and which can be used to read other files or to fill the memory.

    Examples
    --------
    >>> parse_xml(b'<n1:a xmlns:n1="x"><b>7</b></n1:a>', "made.xml").findtext("b")
    '7'
    """
    if len(data) > LARGEST:
        raise SourceError(f"{where} has {len(data)} bytes, more than any metadata. Fetch it again.")
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def refuse(*_: Any) -> None:
        raise SourceError(
            f"{where} declares a document type or entities, which no Sentinel product does. It was altered: "
            "fetch it again from its archive."
        )

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(
        tag.rpartition(":")[2], {name.rpartition(":")[2]: value for name, value in attributes.items()}
    )
    parser.EndElementHandler = lambda tag: builder.end(tag.rpartition(":")[2])
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise SourceError(f"{where} is no whole XML document ({error}). Fetch it again.") from error
    return builder.close()


def text_of(root: Element, tag: str, where: str) -> str:
    """The text of the first element `tag` anywhere below `root`.

    Raises
    ------
    SourceError
        There is none.
    """
    found = find_text(root, tag)
    if found is None:
        raise SourceError(
            f"{where} has no {tag}. It is incomplete, or no metadata of this kind: fetch it again."
        )
    return found


def find_text(root: Element, tag: str) -> str | None:
    """The text of the first element `tag` anywhere below `root`; None where there is none."""
    element = next(root.iter(tag), None)
    return None if element is None or element.text is None else element.text.strip()


def number_of(root: Element, tag: str, where: str) -> float:
    """The number in the first element `tag`; see `text_of`."""
    text = text_of(root, tag, where)
    try:
        return float(text)
    except ValueError as error:
        raise SourceError(f"{where}: {tag} = {text!r} is no number. Fetch the file again.") from error
