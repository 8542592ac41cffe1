"""One way to write an ETag, so that two that mean the same content are equal as text."""

import html
import re

_HEX = re.compile(r"[0-9a-fA-F]+(-\d+)?")  # an MD5, or that of a multipart upload with the number of its parts


def canonical(etag: str | None) -> str:
    """The ETag as S3 writes it: strong, in quotes, its digits in lower case; empty for none.

    Servers and what stands before them write one and the same as ``"abc"``, ``abc``, ``W/"abc"``, ``"ABC"`` or
    ``&quot;abc&quot;``, and in the listing not always as in the object's own headers.
    """
    value = html.unescape(etag or "").strip().removeprefix("W/").strip().strip('"')
    if not value:
        return ""
    return f'"{value.lower() if _HEX.fullmatch(value) else value}"'
