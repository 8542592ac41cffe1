"""Errors of the local stack."""

from clipfarm_tasks.errors import ClipfarmError


class StackError(ClipfarmError):
    """A server of the local stack did not start, stopped by itself or answered with an error."""
