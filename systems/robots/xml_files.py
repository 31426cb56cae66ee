"""XML files in any encoding: what is in them as UTF-8, and their elements."""

import re
from pathlib import Path
from xml.etree import ElementTree

from engine.errors import SceneError

_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # how such a file begins
_ENCODING = re.compile(rb"""<\?xml[^>]*?\sencoding=["']([\w.-]+)["']""")


def xml_bytes(path: Path) -> bytes:
    """What is in an XML file, as UTF-8 whatever its encoding; SceneError where it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SceneError(f"The robot file {path} cannot be read ({error.strerror}).") from None
    declared = _ENCODING.search(content[:200])
    name = (
        "utf-16" if content[:2] in _UTF16 else declared[1].decode().lower().replace("_", "-") if declared else "utf-8"
    )
    if name in ("utf-8", "utf8") and _is_utf8(content):
        return content
    if b"\0" not in content[:200] and _is_utf8(content):  # whatever it says: written as UTF-8 all the same
        name = "utf-8"
    try:
        text = content.decode(name, errors="strict" if name != "utf-16" else "replace")
    except (LookupError, UnicodeDecodeError):
        text = content.decode("cp1252", errors="replace")
    return re.sub(r"""(<\?xml[^>]*?)\s+encoding=["'][^"']*["']""", r"\1", text, count=1).encode()


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def parse_xml(path: Path) -> ElementTree.Element:
    """The elements of an XML file; SceneError with the line where it is not well formed."""
    try:
        return ElementTree.fromstring(xml_bytes(path))
    except (ElementTree.ParseError, ValueError) as error:
        raise SceneError(f"{path} is not well-formed XML: {error}.") from None
