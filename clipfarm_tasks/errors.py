"""Errors, named by what the operator should do about them.

A message states the rule, the received value and the object: ``expected ..., got ..., in s3://...``.
"""


class ClipfarmError(Exception):
    """Base of every error raised on purpose.

    ``exit_code`` is what the command line, and so a pod, ends with: 2 means "do not retry", 1 means "retry may help".
    """

    exit_code = 1


class ConfigError(ClipfarmError):
    """Settings, parameters or permissions are wrong. A person has to change them; never retried."""

    exit_code = 2


class DataError(ClipfarmError):
    """The input breaks a rule of the data. Trying again reads the same input; never retried."""

    exit_code = 2


class MissingObjectError(DataError, FileNotFoundError):
    """An object the run cannot do without does not exist."""


class ChangedObjectError(DataError):
    """An input object was overwritten after the run pinned its ETag."""


class TransientError(ClipfarmError):
    """Throttling, timeout, reset or server error that outlasted the built-in retries. Retried with backoff.

    ``retried`` says that the time for retries of the call it comes from is over.
    """

    retried = False
