"""From an obstore error to the error of this project that says what to do about it."""

import re

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from clipfarm_tasks.config import Settings
from clipfarm_tasks.errors import ChangedObjectError, ClipfarmError, ConfigError, MissingObjectError, TransientError

NOT_FOUND = (NotFoundError, FileNotFoundError)
S3_ERRORS = (BaseError, *NOT_FOUND)
# A client error is the caller's fault and will not heal, except for these three: timeout, conflict, throttling.
_CLIENT_ERROR = re.compile(r"status code: (?!408|409|429)[34]\d\d|Received redirect")
_REFUSED = re.compile(r"status code: 40[13]")
# S3's own words for "come again", whatever the status: a conditional write that met another one, an idle connection,
# credentials that ran out while the request was made (the next one gets new ones, if there are any).
_COME_AGAIN = re.compile(r"status code: 409|<Code>(RequestTimeout|ExpiredToken)</Code>")
_SHOWN = 300  # characters of the cause in a message


class AlreadyThereError(ClipfarmError):
    """A conditional create met an existing object."""


def no_such_bucket(error: Exception) -> bool:
    """Whether a "not found" is about the bucket; the answer to a HEAD never says so."""
    return "NoSuchBucket" in str(error)


def named(error: Exception, where: str, settings: Settings) -> ClipfarmError:
    """Name what happened at ``where``: wrong bucket or key pair, missing, changed, already there, or transient."""
    text = str(error)
    short = " ".join(text.split("Debug source", 1)[0].split())[:_SHOWN]
    result: ClipfarmError
    if no_such_bucket(error):
        result = ConfigError(
            f"expected bucket {settings.bucket} to exist at {settings.endpoint_url or 'AWS'}, got NoSuchBucket: "
            "check CLIPFARM_BUCKET and AWS_ENDPOINT_URL"
        )
    elif isinstance(error, NOT_FOUND):
        result = MissingObjectError(f"expected an object at {where}, got none")
    elif _COME_AGAIN.search(text):
        result = TransientError(f"expected an answer for {where}, got none after retries: {short}")
    elif isinstance(error, PermissionDeniedError | UnauthenticatedError) or _REFUSED.search(text):
        result = ConfigError(
            f"expected permission for {where}, got refused: check the key pair (AWS_ACCESS_KEY_ID, "
            f"AWS_SECRET_ACCESS_KEY or the connection clipfarm_s3) and the bucket policy; {short}"
        )
    elif isinstance(error, AlreadyExistsError):
        result = AlreadyThereError(where)
    elif isinstance(error, PreconditionError):
        result = ChangedObjectError(
            f"expected {where} as it was when the run was resolved, got another version: upstream overwrote it; "
            "start a new run, or clear this one from resolve_run"
        )
    elif _CLIENT_ERROR.search(text):
        result = ConfigError(f"expected a valid request for {where}, got refused: check region and endpoint; {short}")
    else:
        result = TransientError(f"expected an answer for {where}, got none after retries: {short}")
    return result
