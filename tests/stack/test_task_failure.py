from clipfarm_tasks.stack.task_failure import explain


def error(kind, text, *frames):
    return {
        "exc_type": kind,
        "exc_value": text,
        "frames": [{"filename": name, "lineno": line, "name": function} for name, line, function in frames],
    }


def test_the_last_exception_is_shown_with_the_place_it_was_raised_at():
    messages = [
        {"event": "Task failed", "level": "error", "error_detail": [error("KeyError", "an earlier one")]},
        {"event": "noise", "level": "info"},
        {
            "event": "Task failed with exception",
            "level": "error",
            "error_detail": [
                error("DataError", "expected 12 rows, got 3", ("runner.py", 1, "run"), ("split.py", 40, "split"))
            ],
        },
        {"event": "Task instance in failure state", "level": "info"},
    ]
    assert explain(messages) == "DataError: expected 12 rows, got 3\n  at split.py:40 in split"


def test_a_cause_is_shown_unless_it_says_the_same():
    fail = error("AirflowFailException", "expected a manifest, got none", ("plugin.py", 9, "fail"))
    same = error("MissingObjectError", "expected a manifest, got none", ("storage.py", 5, "get"))
    other = error("NotFoundError", "404", ("obstore.py", 2, "get"))
    shown = explain([{"event": "failed", "error_detail": [fail, same, other]}])
    assert shown == (
        "AirflowFailException: expected a manifest, got none\n  at plugin.py:9 in fail\n"
        "caused by NotFoundError: 404\n  at obstore.py:2 in get"
    )


def test_without_an_exception_the_error_messages_are_shown():
    messages = [
        {"event": "start", "level": "info"},
        {"event": "Process terminated by signal SIGKILL", "level": "critical"},
        {"event": "end", "level": "info"},
    ]
    assert explain(messages) == "Process terminated by signal SIGKILL"


def test_a_log_without_errors_shows_its_last_message_and_an_empty_one_says_so():
    assert explain([{"event": "one"}, {"event": "two"}]) == "two"
    assert explain([]) == "the task left no log"
