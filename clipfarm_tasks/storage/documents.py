"""Read what was stored: by upstream, by an earlier task, by another version of this code."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from clipfarm_tasks.errors import DataError

if TYPE_CHECKING:
    from clipfarm_tasks.storage import Store

_C = TypeVar("_C")
_D = TypeVar("_D", bound=BaseModel)


def parse_document(kind: type[_D], body: bytes, where: str) -> _D:
    """Parse JSON bytes; a field that this version of the code does not know is left out.

    Args:
        kind: what the document is.
        body: its content.
        where: the object, for the message.

    Raises:
        DataError: it is not such a document; one sentence that names every field that is wrong.
    """
    try:
        return kind.model_validate_json(body, extra="ignore")
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'text'}: {item['msg']}" for item in error.errors())
        raise DataError(f"expected a valid {kind.__name__}, got {problems}, in {where}") from error


def read_own(store: "Store", key: str, check: Callable[[bytes, str], _C]) -> _C:
    """What ``check`` makes of a file of our own and its address.

    Nothing tells the size of such a file before it is read, so an answer that was cut short, with a length that
    agrees, looks like a damaged file. What is refused is therefore believed only if a HEAD tells the same size.

    Raises:
        MissingObjectError: there is no such file.
        DataError: ``check`` refused the whole file.
        TransientError: the whole file was not to be had within the time for retries.
    """
    body = store.get(key)
    try:
        return check(body, store.uri(key))
    except DataError:
        known = store.head(key)
        if known is None or known.size == len(body):
            raise
    return check(store.get(key, size=known.size), store.uri(key))
