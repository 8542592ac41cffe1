"""The few lines of a failed task's log that say why it failed."""

from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN_ERRORS = 5


def explain(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last exception of a log with where it was raised, else its last error messages, else its last message.

    Args:
        messages: structured messages as `AirflowClient.log` returns them, oldest first.
    """
    for message in reversed(messages):
        if detail := message.get("error_detail"):
            return _exception(detail)
    errors = [str(message["event"]) for message in messages if message.get("level") in {"error", "critical"}]
    if errors:
        return "\n".join(errors[-_SHOWN_ERRORS:])
    return str(messages[-1]["event"]) if messages else "the task left no log"


def _exception(chain: Sequence[Mapping[str, Any]]) -> str:
    """Type and message, then where it was raised; a cause that says something else follows."""
    lines: list[str] = []
    for position, error in enumerate(chain):
        lead = "" if position == 0 else "caused by "
        text = f"{lead}{error['exc_type']}: {error['exc_value']}"
        if any(str(error["exc_value"]) in line for line in lines):
            continue
        lines.append(text)
        if frames := error.get("frames"):
            last = frames[-1]
            lines.append(f"  at {last['filename']}:{last['lineno']} in {last['name']}")
    return "\n".join(lines)
