"""How the text of a cell becomes a value.

Cells that hold nothing become null; cells that hold something unreadable become a value that can still be counted:
NaN among numbers, `UNDECODABLE` among texts. Both count as missing once they have been counted.
"""

import pyarrow as pa
import pyarrow.compute as pc

UNDECODABLE = "\x00undecodable"

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$"
_NO_NUMBER = pa.array(["", "nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity", "none", "null", "na"])
_WORDS = pa.array(["true", "yes", "false", "no"])
_WORD_VALUES = pa.array(["1", "1", "0", "0"])


def parse_numbers(cells: pa.Array, *, numbers: bool = True, words: bool = False) -> pa.Array:
    """Read text as numbers.

    Accepted are ``12``, ``12.0``, ``1e3``, surrounding blanks and a sign. Nothing, ``nan``, ``inf``, ``none``,
    ``null``, ``na`` and what overflows float64 are missing.

    Args:
        cells: (N,) binary or string.
        numbers: whether numbers other than 0 and 1 are readable.
        words: whether true, false, yes and no are readable, as 1 and 0; any case.

    Returns:
        (N,) float64: null where missing, NaN where unreadable.
    """
    text = pc.ascii_lower(pc.ascii_trim_whitespace(_as_text(cells)))
    text = pc.if_else(pc.is_in(text, _NO_NUMBER), None, text)
    if words:
        position = pc.index_in(text, _WORDS)
        text = pc.if_else(pc.is_valid(position), _WORD_VALUES.take(position), text)
    try:
        values = pc.cast(text, pa.float64())
        unreadable = None
    except pa.ArrowInvalid:
        unreadable = pc.invert(pc.match_substring_regex(text, _NUMBER))
        values = pc.cast(pc.if_else(unreadable, None, text), pa.float64())
    values = pc.if_else(pc.is_finite(values), values, None)
    if not numbers:
        other = pc.invert(pc.is_in(values, pa.array([0.0, 1.0, None])))
        values = pc.if_else(other, float("nan"), values)
    return values if unreadable is None else pc.if_else(pc.fill_null(unreadable, False), float("nan"), values)


def parse_text(cells: pa.Array) -> pa.Array:
    """Read cells as UTF-8 text without surrounding blanks.

    Args:
        cells: (N,) binary, string or dictionary.

    Returns:
        (N,) string: null where empty, `UNDECODABLE` where the bytes are not UTF-8.
    """
    plain = pc.cast(cells, pa.binary())
    try:
        text = pc.utf8_trim_whitespace(pc.cast(plain, pa.string()))
    except pa.ArrowInvalid:
        encoded = plain.dictionary_encode()
        decoded = pa.array([_decode(value) for value in encoded.dictionary.to_pylist()], pa.string())
        text = decoded.take(encoded.indices)
    return pc.if_else(pc.equal(text, ""), None, text)


def _as_text(cells: pa.Array) -> pa.Array:
    """View bytes as text without checking them: what is not ASCII matches no number anyway."""
    return pc.cast(cells, options=pc.CastOptions(target_type=pa.string(), allow_invalid_utf8=True))


def _decode(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return UNDECODABLE
