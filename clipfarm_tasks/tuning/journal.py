"""Optuna's journal in the bucket: one object for each record, created once, so that no database is needed."""

import json
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError, TransientError
from clipfarm_tasks.storage import Store
from clipfarm_tasks.storage.documents import read_own

_MOST_AT_ONCE = 64


class StoreJournal(BaseJournalBackend):
    """The journal of one study.

    Records are numbered without a gap: whoever appends takes the first number that is free, and goes on at the next
    one where another worker was faster. Which worker a trial belongs to, and whether it exists, follows from that
    order alone, so that any number of workers may write.
    """

    def __init__(self, store: Store, study: str) -> None:
        """No request is made."""
        self._store = store
        self._study = study
        self._known = 0  # records that are there for sure

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add records behind all others.

        Two records of two workers are never equal, because each holds its worker's id: an equal one is the record
        itself, whose answer was lost, and `Store.create` counts it as written.

        Raises:
            TransientError: the server cannot be reached.
        """
        for record in logs:
            body = json.dumps(record).encode()
            while not self._store.create(keys.tuning_record(self._study, self._known), body):
                self._known += 1
            self._known += 1

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """All records from this number on.

        They are asked for by number, two and then ever more at once: a listing would bring all of them every time.

        Raises:
            DataError: a record is not JSON.
            TransientError: the server cannot be reached, or hides a record that is there.
        """
        records: list[dict[str, Any]] = []
        at_once = 2
        while True:
            start = log_number_from + len(records)
            wanted = [keys.tuning_record(self._study, start + offset) for offset in range(at_once)]
            found = dict(self._store.get_many(wanted))
            for key in wanted:
                fetched = found[key]
                if fetched is None:
                    return self._whole(records, log_number_from)
                records.append(self._parsed(key, fetched.body))
            at_once = min(2 * at_once, _MOST_AT_ONCE)

    def _whole(self, records: list[dict[str, Any]], start: int) -> list[dict[str, Any]]:
        end = start + len(records)
        if end < self._known:  # without its own record, Optuna would take another worker's trial for its own
            raise TransientError(
                f"expected {self._known} records, got no answer for number {end}, in "
                f"{self._store.uri(keys.tuning_record(self._study, end))}"
            )
        self._known = end
        return records

    def _parsed(self, key: str, body: bytes) -> dict[str, Any]:
        try:
            return _record(body, self._store.uri(key))
        except DataError:  # cut short on its way?
            return read_own(self._store, key, _record)


def _record(body: bytes, where: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise DataError(f"expected a record of a journal, got {error}, in {where}") from error
    return record
