"""Read a JSON document that was stored: by upstream, by an earlier task, by another version of this code."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from clipfarm_tasks.errors import DataError

_D = TypeVar("_D", bound=BaseModel)


def parse_document(kind: type[_D], body: bytes, where: str) -> _D:
    """Parse JSON bytes.

    Args:
        kind: what the document is.
        body: its content.
        where: the object, for the message.

    Raises:
        DataError: it is not such a document; one sentence that names every field that is wrong.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'text'}: {item['msg']}" for item in error.errors())
        raise DataError(f"expected a valid {kind.__name__}, got {problems}, in {where}") from error
