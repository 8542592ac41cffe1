"""The journal in the bucket: no record lost, doubled or misread, however many workers append."""

import json
import threading

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.tuning.journal import StoreJournal

STUDY = "a-study"


@pytest.fixture
def journal(store):
    return StoreJournal(store, STUDY)


def record(number):
    return {"op_code": 2, "worker_id": "w", "number": number}


def test_records_come_back_in_order_from_any_number(journal):
    written = [record(number) for number in range(9)]
    for each in written:
        journal.append_logs([each])
    for start in (0, 1, 8, 9):
        assert journal.read_logs(start) == written[start:]


def test_each_record_is_one_object_that_is_numbered_without_a_gap(store, journal):
    journal.append_logs([record(0), record(1)])
    listed = sorted(info.key for info in store.list(f"clipfarm/tuning/{STUDY}/"))
    assert listed == [f"clipfarm/tuning/{STUDY}/journal/{number:08d}.json" for number in range(2)]
    assert json.loads(store.get(listed[1])) == record(1)


def test_equal_records_that_are_meant_are_both_kept(journal):
    journal.append_logs([record(0)])
    journal.append_logs([record(0)])
    assert journal.read_logs(0) == [record(0)] * 2


def test_workers_at_once_lose_and_double_nothing(store):
    workers, each = 4, 25
    start = threading.Barrier(workers)

    def work(worker):
        mine = StoreJournal(store, STUDY)
        start.wait()
        for number in range(each):
            mine.append_logs([{"worker_id": worker, "number": number}])
            if number % 5 == 0:
                mine.read_logs(0)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = StoreJournal(store, STUDY).read_logs(0)
    assert len(found) == workers * each
    for worker in range(workers):
        assert [one["number"] for one in found if one["worker_id"] == worker] == list(range(each))


def test_a_lost_answer_is_recognised(store, journal, monkeypatch):
    """The first create reaches the server, its answer does not; the client asks again, as the store's retries do."""
    create = store.create
    monkeypatch.setattr(store, "create", lambda key, body: create(key, body) and create(key, body))
    journal.append_logs([record(0)])
    journal.append_logs([record(1)])
    assert journal.read_logs(0) == [record(0), record(1)]


def test_a_record_that_is_known_and_not_answered_is_transient(store, journal):
    journal.append_logs([record(0), record(1)])
    store.delete([keys.tuning_record(STUDY, 1)])
    with pytest.raises(
        TransientError, match=r"expected 2 records, got no answer for number 1, in s3://.*/00000001.json"
    ):
        journal.read_logs(0)


def test_a_damaged_record_is_named(store, journal):
    store.put(keys.tuning_record(STUDY, 0), b'{"op_code": ')
    with pytest.raises(DataError, match=r"expected a record of a journal, got .*, in s3://.*/00000000.json"):
        journal.read_logs(0)
