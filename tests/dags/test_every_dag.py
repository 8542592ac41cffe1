"""What holds for every DAG. Each walk says how many it saw."""

from datetime import timedelta

import pytest

SIZES = {"clipfarm_freshness": 1, "clipfarm_maintenance": 1, "clipfarm_training": 72, "clipfarm_tuning": 3}


def test_these_dags_and_no_import_errors(bag, dags):
    assert bag.import_errors == {}
    assert {name: len(dag.tasks) for name, dag in dags.items()} == SIZES


@pytest.mark.parametrize("name", SIZES)
def test_docstring_is_the_runbook(dags, name):
    for topic in ("Inputs", "Outputs", "Params", "Running it again is safe", "When it fails", "what to do"):
        assert topic in dags[name].doc_md
    assert dags[name].description


@pytest.mark.parametrize("name", SIZES)
def test_one_run_at_a_time_and_none_for_the_past(dags, name):
    dag = dags[name]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert str(dag.timetable.timezone) in {"UTC", "Timezone('UTC')"}
    assert dag.dagrun_timeout <= timedelta(days=1)


@pytest.mark.parametrize("name", SIZES)
def test_every_task_retries_with_backoff_ends_and_has_an_owner(dags, name):
    checked = 0
    dag = dags[name]
    for task in dag.tasks:
        assert task.retries >= 1, task.task_id
        assert task.retry_delay > timedelta(0), task.task_id
        assert task.retry_exponential_backoff > 1, task.task_id
        assert task.execution_timeout is not None, task.task_id
        assert task.execution_timeout < dag.dagrun_timeout, task.task_id
        assert task.owner == "clipfarm", task.task_id
        assert task.doc_md, task.task_id
        assert not task.depends_on_past, task.task_id
        assert not task.multiple_outputs, task.task_id  # a record is one XCom
        checked += 1
    assert checked == SIZES[name]
