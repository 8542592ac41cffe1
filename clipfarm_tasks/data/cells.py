"""How the text of a cell becomes a value.

Cells that hold nothing, or a word for nothing, become null; cells that hold something unreadable become a value that
can still be counted: NaN among numbers, `UNDECODABLE` among texts. Both count as missing once they have been counted.
"""

import pyarrow as pa
import pyarrow.compute as pc

UNDECODABLE = "\x00undecodable"
# Nothing that an audience or a clock counts comes near it, in milliseconds not even the year 30,000. And the squares
# of 100 million such numbers (1e38 in all) still fit into the float32 that models compute in.
LARGEST_NUMBER = 1e15

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$"
# Not "na": among countries it is Namibia.
_NOTHING = pa.array(["", "nan", "-nan", "none", "null", "n/a", "#n/a", "<na>", "nat"])
_NO_NUMBER = pa.array([*_NOTHING.to_pylist(), "na"])
_WORDS = pa.array(["true", "yes", "false", "no"])
_WORD_VALUES = pa.array(["1", "1", "0", "0"])


def parse_numbers(cells: pa.Array, *, numbers: bool = True, words: bool = False) -> pa.Array:
    """Read text as numbers.

    Accepted are ``12``, ``12.0``, ``1e3``, surrounding blanks and a sign. Nothing, ``nan``, ``none``, ``null``,
    ``n/a``, ``na`` are missing, in any case. ``inf`` and what is beyond `LARGEST_NUMBER` is unreadable: one such cell
    would outweigh all others of its column.

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
    except pa.ArrowInvalid:
        readable = pc.if_else(pc.match_substring_regex(text, _NUMBER), text, "nan")
        values = pc.cast(readable, pa.float64())
    legal = pc.less_equal(pc.abs(values), LARGEST_NUMBER) if numbers else pc.is_in(values, pa.array([0.0, 1.0, None]))
    return pc.if_else(legal, values, float("nan"))


def parse_text(cells: pa.Array) -> pa.Array:
    """Read cells as UTF-8 text without surrounding blanks.

    Args:
        cells: (N,) binary, string or dictionary.

    Returns:
        (N,) string: null where empty or a word for nothing (``None``, ``nan``, ``null``, ``N/A``; any case),
        `UNDECODABLE` where the bytes are not UTF-8.
    """
    plain = pc.cast(cells, pa.binary())
    try:
        text = pc.utf8_trim_whitespace(pc.cast(plain, pa.string()))
    except pa.ArrowInvalid:
        encoded = plain.dictionary_encode()
        decoded = pa.array([_decode(value) for value in encoded.dictionary.to_pylist()], pa.string())
        text = decoded.take(encoded.indices)
    return pc.if_else(pc.is_in(pc.ascii_lower(text), _NOTHING), None, text)


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
