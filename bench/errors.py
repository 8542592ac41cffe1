"""What can go wrong with a row, named so that the other rows are still measured."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from clipfarm_tasks.errors import ClipfarmError, TransientError


class NotHereError(ClipfarmError):
    """This machine cannot measure the row: nothing failed."""


@contextmanager
def named_boto_errors(where: str) -> Iterator[None]:
    """Raise what boto3 raises during the block as a TransientError at ``where``."""
    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise TransientError(f"expected an answer for {where}, got {type(error).__name__}: {error}") from error
