"""What the Kubernetes API answers when it does not do what it was asked: a status code and a Status object."""

from http import HTTPStatus

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """An answer that is not a success; ``reason`` is the machine-readable word, by default that of the code."""

    def __init__(self, code: int, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status(code, message, reason)


def status(code: int, message: str, reason: str | None = None) -> dict[str, object]:
    """A Status object."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or REASONS.get(code, HTTPStatus(code).phrase),
        "code": code,
    }


def not_found(kind: str, name: str) -> ApiError:
    """No object of this name."""
    return ApiError(404, f'{kind} "{name}" not found')
