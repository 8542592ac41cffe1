import pytest

from clipfarm_tasks.cli.run_pipeline import _exit_code
from clipfarm_tasks.errors import ConfigError, DataError, TransientError
from clipfarm_tasks.pipeline import Outcome, State

GATE = {"gate": DataError("1 missing")}


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ({"a": DataError("x")} | GATE, 2),
        ({"a": ConfigError("x")}, 2),
        # Not the gate, which fails for any reason, but what went wrong before it tells whether a retry may help.
        ({"a": TransientError("x")} | GATE, 1),
        ({"a": ZeroDivisionError("x")} | GATE, 1),
        ({"a": TransientError("x"), "b": DataError("x")} | GATE, 2),
        (GATE, 2),
        ({"gate": TransientError("x")}, 1),
    ],
)
def test_exit_code_is_that_of_the_cause(errors, code):
    assert _exit_code(Outcome(dict.fromkeys(errors, State.FAILED), errors)) == code


def test_complete_run_exits_0():
    assert _exit_code(Outcome({"gate": State.SUCCESS})) == 0
