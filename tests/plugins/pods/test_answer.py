"""What the API server's answers are taken for, and how they are told."""

import json
import types

import clipfarm_pod_answer
import pytest
from clipfarm_pod_answer import is_doubtful, is_full, is_passing, message_of, told
from kubernetes.client.exceptions import ApiException
from kubernetes_asyncio.client.exceptions import ApiException as AsyncApiException
from urllib3.exceptions import ProtocolError

NO_RIGHT = 'pods is forbidden: User "system:serviceaccount:clipfarm:x" cannot create resource "pods" in API group ""'
STARTING = 'pods "x" is forbidden: not yet ready to handle request'
NO_ACCOUNT = 'pods "x" is forbidden: error looking up service account clipfarm/y: serviceaccount "y" not found'
FULL = 'pods "x" is forbidden: exceeded quota: clipfarm, requested: pods=1, used: pods=26, limited: pods=26'
STANDARD = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged'


def answer(code, message, kind=ApiException):
    body = json.dumps({"kind": "Status", "message": message, "code": code})
    response = types.SimpleNamespace(status=code, reason="Reason", data=body, getheaders=lambda: {"Audit-Id": "7"})
    return kind(http_resp=response)


@pytest.mark.parametrize("kind", [ApiException, AsyncApiException])
@pytest.mark.parametrize("message", [NO_RIGHT, STARTING, NO_ACCOUNT, ""])
def test_a_server_that_may_be_starting_is_not_believed_at_once(message, kind):
    assert is_doubtful(answer(403, message, kind))


@pytest.mark.parametrize("message", [FULL, STANDARD])
def test_what_admission_refuses_is_believed_at_once(message):
    assert not is_doubtful(answer(403, message))
    assert is_full(answer(403, message)) == (message is FULL)


@pytest.mark.parametrize("code", [400, 401, 404, 409, 422, 500])
def test_no_other_code_is_doubted(code):
    assert not is_doubtful(answer(code, NO_RIGHT))


@pytest.mark.parametrize(("code", "passes"), [(401, True), (429, True), (503, True), (403, False), (404, False)])
def test_what_passes(code, passes):
    assert is_passing(answer(code, "")) is passes
    assert is_passing(ProtocolError("cut"))
    assert not is_passing(ValueError("no answer at all"))


@pytest.mark.parametrize("kind", [ApiException, AsyncApiException])
def test_an_answer_is_told_in_one_line_without_its_headers(kind):
    error = answer(404, 'pods "x"\nnot found', kind)
    assert told(error) == '404 Reason: pods "x" not found'
    assert "Audit-Id" in str(error)


def test_an_answer_that_is_no_status_object_is_told_as_it_is():
    error = ApiException(status=502, reason="Bad Gateway")
    error.body = "<html>\n502</html>"
    assert told(error) == "502 Bad Gateway: <html> 502</html>"
    error.body = None
    assert told(error) == "502 Bad Gateway"
    error.body = '"text"'
    assert message_of(error) == "text"


@pytest.mark.parametrize(("refusals", "is_believed"), [(20, False), (40, True)])
def test_a_403_is_believed_after_a_minute(monkeypatch, refusals, is_believed):
    """Asked every 2 s; the time that passes is that of the waits."""
    waited = []
    monkeypatch.setattr("tenacity.nap.time.sleep", waited.append)
    monkeypatch.setattr("tenacity.time.monotonic", lambda: sum(waited))
    tried = []

    def request():
        tried.append(None)
        if len(tried) <= refusals:
            raise answer(403, NO_RIGHT)
        return "done"

    import tenacity

    call = clipfarm_pod_answer.believed(tenacity.Retrying).wraps(request)
    if is_believed:
        with pytest.raises(ApiException, match="403"):
            call()
        assert len(tried) == 31
    else:
        assert call() == "done"
        assert sum(waited) < 60
