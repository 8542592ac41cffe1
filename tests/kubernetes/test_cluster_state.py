import pytest

from tests.kubernetes.api_error import ApiError
from tests.kubernetes.cluster_state import ClusterState


def test_what_is_done_to_a_predecessor_leaves_its_successor_alone():
    state = ClusterState()
    old = state.create("pods", {"metadata": {"namespace": "default", "name": "job"}})
    state.remove("pods", old)
    new = state.create("pods", {"metadata": {"namespace": "default", "name": "job"}})
    state.remove("pods", old)
    with pytest.raises(ApiError, match="not found"):
        state.update("pods", old, lambda found: found.update(spec={}))
    assert state.of_kind("pods") == [new]


def test_a_snapshot_stays_what_it_was():
    state = ClusterState()
    before = state.create("pods", {"metadata": {"namespace": "default", "name": "job"}, "status": {"phase": "Pending"}})
    after = state.update("pods", before, lambda found: found["status"].update(phase="Running"))
    assert [change.found["status"]["phase"] for change in state.changes] == ["Pending", "Running"]
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
