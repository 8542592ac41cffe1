"""From an error of obstore or Lance to the error of this project that says what to do about it."""

import html
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
# What is missing or has changed has a type in obstore, and words of its own in Lance.
_CLIENT_ERROR = re.compile(r"status code: (?!404|408|409|412|429)[34]\d\d|Received redirect")
_REFUSED = re.compile(r"status code: 40[13]|403 Forbidden")
# A conditional write that met another one, of which nobody can say yet how it ends; obstore takes it for the end.
_CONFLICT = re.compile(r"status code: 409")
# S3's own words for "come again", whatever the status: an idle connection, or credentials that ran out while the
# request was made (the next one gets new ones, if there are any).
_COME_AGAIN = re.compile(r"<Code>(RequestTimeout|ExpiredToken|SlowDown|ServiceUnavailable)</Code>")
_CODE = re.compile(r"<Code>\s*([^<]+?)\s*</Code>")
_MESSAGE = re.compile(r"<Message>\s*([^<]+?)\s*</Message>")
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)|invalid peer certificate: (\w+)")
# What lies under an answer that never came, in the words of the system.
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"|(TimedOut|IncompleteMessage|ConnectionReset)|kind: (Timeout)')
_SHOWN = 300  # characters of the error in a message, beside code and cause
_KEY_PAIR = "check the key pair (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or the connection clipfarm_s3)"
_OF_CREDENTIALS = "External AWS credential provider: "
_ADVICE = {
    "AccessDenied": f"{_KEY_PAIR} and what the bucket policy allows it",
    "AllAccessDisabled": "the bucket or the account is locked: ask its owner",
    "ExpiredToken": "the session token has run out: renew it (AWS_SESSION_TOKEN, the profile or the connection)",
    "InvalidAccessKeyId": f"{_KEY_PAIR}: this server does not know the key id; check AWS_ENDPOINT_URL too",
    "InvalidBucketName": "check CLIPFARM_BUCKET",
    "InvalidToken": f"{_KEY_PAIR}: the session token (AWS_SESSION_TOKEN) does not belong to it",
    "RequestTimeTooSkewed": "this machine's clock or the server's is wrong: set it, by NTP for example",
    "SignatureDoesNotMatch": f"{_KEY_PAIR}: the secret does not belong to the key id; check the region too",
    "ServiceUnavailable": "the server is overloaded: lower CLIPFARM_S3_CONCURRENCY if this stays",
    "SlowDown": "the server is overloaded: lower CLIPFARM_S3_CONCURRENCY if this stays",
    "Connection refused": "no server listens there: check AWS_ENDPOINT_URL and whether the server runs",
    "lookup address": "the name of the server cannot be resolved: check AWS_ENDPOINT_URL and the DNS",
}


class AlreadyThereError(ClipfarmError):
    """A conditional create met an existing object."""


def no_such_bucket(error: Exception) -> bool:
    """Whether a "not found" is about the bucket; the answer to a HEAD never says so."""
    return "NoSuchBucket" in str(error)


def named(error: Exception, where: str, settings: Settings) -> ClipfarmError:
    """Name what happened at ``where``: wrong bucket or key pair, missing, changed, already there, or transient."""
    text = str(error)
    result: ClipfarmError
    if isinstance(error, NOT_FOUND) and not no_such_bucket(error):
        result = MissingObjectError(f"expected an object at {where}, got none")
    elif isinstance(error, AlreadyExistsError | PreconditionError) and not _CONFLICT.search(text):
        result = AlreadyThereError(where) if isinstance(error, AlreadyExistsError) else changed(where)
    else:
        refused = isinstance(error, PermissionDeniedError | UnauthenticatedError)
        result = refusal(text, where, settings, refused=refused) or TransientError(
            f"expected an answer for {where}, got none after retries: {said(text)}"
        )
    return result


def refusal(text: str, where: str, settings: Settings, *, refused: bool = False) -> ClipfarmError | None:
    """What an error's text says that a person has to mend, or None when nothing tells that it will not heal.

    Args:
        text: of an error of obstore or Lance.
        where: the object it is about.
        settings: of the bucket, for the message.
        refused: whether the error's type says already that permission is lacking.
    """
    server = settings.endpoint_url or "AWS"
    certificate = _CERTIFICATE.search(text)
    message = ""
    if "NoSuchBucket" in text:
        message = (
            f"expected bucket {settings.bucket} to exist at {server}, got NoSuchBucket: check CLIPFARM_BUCKET and "
            "AWS_ENDPOINT_URL"
        )
    elif certificate:
        message = (
            f"expected a certificate that this machine trusts from {server}, got a certificate error "
            f"({certificate[1] or certificate[2]}), for {where}: name the file of its CA in AWS_CA_BUNDLE, and check "
            "the server's name and this machine's clock"
        )
    elif _OF_CREDENTIALS in text:
        kind, _, message = _first_line(text).partition(_OF_CREDENTIALS)[2].partition(": ")
        if kind == TransientError.__name__:
            return TransientError(message)
    elif _COME_AGAIN.search(text):
        pass
    elif refused or _REFUSED.search(text):
        message = f"expected permission for {where}, got refused: {said(text, _KEY_PAIR)}"
    elif _CLIENT_ERROR.search(text):
        place = f"check region and endpoint (AWS_REGION is {settings.region}, AWS_ENDPOINT_URL {server})"
        message = f"expected a valid request for {where}, got refused: {said(text, place)}"
    return ConfigError(message) if message else None


def changed(where: str) -> ChangedObjectError:
    """What to say of an object that is not the version asked for."""
    return ChangedObjectError(
        f"expected {where} as it was when the run was resolved, got another version: somebody overwrote it; "
        "start a new run"
    )


def said(text: str, advice: str = "") -> str:
    """S3's own code and message, or the system's cause, then what to do, then the beginning of the error's text."""
    body = html.unescape(text)
    code, message, cause = _CODE.search(body), _MESSAGE.search(body), _CAUSE.search(body)
    if code:
        told = f"{code[1]} ({message[1]})" if message else code[1]
    else:
        told = next(filter(None, cause.groups())) if cause else ""
    fitting = next((words for sign, words in _ADVICE.items() if sign in told), advice)
    return "; ".join(filter(None, [told, fitting, _first_line(text)[:_SHOWN]]))


def _first_line(text: str) -> str:
    return " ".join(text.split("Debug source", 1)[0].split())
