"""Reading what a listing told: no body of a wrong length, no 404 that is not true, never more bytes than the cap."""

import random

import pyarrow as pa
import pytest

from clipfarm_tasks.errors import TransientError
from clipfarm_tasks.storage import ObjectInfo, open_store
from clipfarm_tasks.vectors.listed import Listed
from tests.faulty_s3 import (
    FaultyS3,
    always,
    at_random,
    cut,
    first,
    list_also,
    listing,
    meanwhile,
    not_found,
    of,
    reading,
    refuse,
    reset,
    shorten,
)

pytestmark = pytest.mark.integration

BODY = bytes(range(256)) * 40
OTHER = b"overwritten" * 900


@pytest.fixture
def proxy(s3_server):
    with FaultyS3(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy, bucket, s3_session):
    """Open the test's bucket behind the proxy, with other settings."""

    def connect(**settings):
        behind = {"endpoint_url": proxy.endpoint_url, "retry_timeout_s": 20.0}
        return open_store(bucket.model_copy(update=behind | settings), s3_session)

    return connect


@pytest.fixture
def faulty(proxy, store, connect):
    """The bucket behind the proxy, with one object of which the listing is known: store and listing."""
    store.put("x", BODY)
    behind = connect()
    listed = behind.list("")
    proxy.log.clear()
    return behind, listed


def the_only(arriving):
    [(_, fetched)] = arriving
    return fetched


def methods(proxy):
    return [request.method for request in proxy.log]


def test_a_body_as_listed_takes_one_request(proxy, faulty):
    store, listed = faulty
    [(info, fetched)] = store.get_listed(listed)
    assert (info, fetched.key, fetched.body, fetched.etag) == (listed[0], "x", BODY, listed[0].etag)
    assert methods(proxy) == ["GET"]


def test_a_body_cut_short_with_a_length_that_agrees_is_read_again(proxy, faulty):
    store, listed = faulty
    proxy.rule = first(2, shorten, reading())
    assert the_only(store.get_listed(listed)).body == BODY
    assert store.retries == 2
    proxy.rule = first(1, shorten, reading())
    assert len(store.get("x")) == len(BODY) // 2  # why the size has to be known


def test_a_body_that_is_always_cut_short_is_transient_and_names_the_object(proxy, faulty, connect):
    _, listed = faulty
    store = connect(retry_timeout_s=0.0)
    proxy.rule = always(shorten, reading())
    size = len(BODY)
    with pytest.raises(TransientError, match=rf"expected {size} bytes, got {size // 2}, in s3://{store.bucket}/x$"):
        list(store.get_listed(listed))


def test_an_object_overwritten_since_the_listing_is_taken_as_it_is_now(proxy, faulty, store):
    behind, listed = faulty
    proxy.rule = first(1, meanwhile(lambda key: store.put(key, OTHER)), reading())
    [(info, fetched)] = behind.get_listed(listed)
    assert (info, fetched.body, fetched.etag) == (listed[0], OTHER, store.head("x").etag)
    assert methods(proxy) == ["GET", "HEAD"]
    assert behind.retries == 0


def test_an_object_overwritten_and_cut_short_is_read_again(proxy, faulty, store):
    behind, listed = faulty

    def overwritten_and_cut(exchange):
        store.put("x", OTHER)
        shorten(exchange)

    proxy.rule = first(1, overwritten_and_cut, reading())
    assert the_only(behind.get_listed(listed)).body == OTHER
    assert behind.retries == 1


def test_an_object_overwritten_again_before_its_size_is_asked_for_is_read_again(proxy, faulty, store):
    """The body is of a version of which nobody knows the size any more; here it has that of the next by accident."""
    behind, listed = faulty
    store.put("x", OTHER * 2)
    cut_short = first(1, shorten, reading())
    replaced = first(1, meanwhile(lambda key: store.put(key, OTHER[::-1])), of("HEAD"))
    proxy.rule = lambda request: cut_short(request) or replaced(request)
    fetched = the_only(behind.get_listed(listed))
    assert (fetched.body, fetched.etag) == (OTHER[::-1], store.head("x").etag)
    assert methods(proxy) == ["GET", "HEAD", "GET", "HEAD"]
    assert behind.retries == 1


def test_an_object_overwritten_and_then_deleted_is_gone(proxy, faulty, store):
    behind, listed = faulty
    store.put("x", OTHER)
    proxy.rule = first(1, meanwhile(lambda key: store.delete([key])), of("HEAD"))
    assert the_only(behind.get_listed(listed)) is None


def test_an_object_listed_but_gone_is_none(proxy, faulty, store):
    behind, listed = faulty
    store.delete(["x"])
    assert the_only(behind.get_listed(listed)) is None
    assert methods(proxy) == ["GET", "HEAD"]
    assert behind.retries == 0


def test_a_vanished_key_that_is_still_listed_is_none(proxy, store, connect):
    store.put("a/there", BODY)
    proxy.rule = always(list_also([ObjectInfo("a/gone", 7, '"e"'), ObjectInfo("b/elsewhere", 7, '"e"')]), listing)
    behind = connect()
    listed = behind.list("a/")
    assert {info.key: info.size for info in listed} == {"a/there": len(BODY), "a/gone": 7}
    found = {info.key: fetched and fetched.body for info, fetched in behind.get_listed(listed)}
    assert found == {"a/there": BODY, "a/gone": None}


def test_a_404_that_is_a_lie_is_asked_again(proxy, faulty):
    store, listed = faulty
    proxy.rule = first(2, not_found, reading())
    assert the_only(store.get_listed(listed)).body == BODY
    assert store.retries == 2


def test_a_404_that_nothing_confirms_is_transient_and_never_a_missing_object(proxy, faulty, connect):
    _, listed = faulty
    store = connect(retry_timeout_s=0.0)
    proxy.rule = always(not_found, reading())
    with pytest.raises(TransientError, match=rf"expected s3://{store.bucket}/x, which HEAD finds, got 404 to GET"):
        list(store.get_listed(listed))
    proxy.rule = lambda request: not_found if request.method == "GET" else refuse(503, "SlowDown")
    with pytest.raises(TransientError, match=rf"expected an answer for s3://{store.bucket}/x"):
        list(store.get_listed(listed))


def test_one_in_four_requests_fails_or_lies_and_every_answer_is_right(proxy, store, connect):
    bodies = {f"k{number:03d}": random.Random(number).randbytes(1 + number) for number in range(200)}
    store.put_many(bodies.items())
    behind = connect(concurrency=16)
    listed = behind.list("")
    gone, changed = [*bodies][::10], [*bodies][5::10]
    store.delete(gone)
    store.put_many((key, OTHER + key.encode()) for key in changed)
    expected = bodies | dict.fromkeys(gone) | {key: OTHER + key.encode() for key in changed}
    lies = [shorten, not_found, shorten, not_found]
    proxy.rule = at_random(
        3, 0.25, [*lies, refuse(503, "SlowDown"), refuse(500, "InternalError"), reset, cut(reset=True)], reading()
    )
    found = {info.key: fetched and fetched.body for info, fetched in behind.get_listed(listed)}
    assert found == expected
    assert behind.retries > 20


def test_faults_at_random_depend_on_the_seed_alone(proxy, faulty):
    store, listed = faulty
    struck = {}
    for run, seed in {"a": 1, "again": 1, "b": 2}.items():
        proxy.log.clear()
        proxy.rule = at_random(seed, 0.5, [shorten, not_found], reading("x"))
        for _ in range(8):
            list(store.get_listed(listed))
        struck[run] = methods(proxy)
    assert struck["a"] == struck["again"] != struck["b"]


def test_no_more_bytes_under_way_or_unconsumed_than_the_setting_allows(proxy, store, connect):
    store.put_many((f"k{number:02d}", bytes(400_000)) for number in range(8))
    store.put("larger", bytes(3_000_000))
    behind = connect(in_flight_mib=1)
    listed = behind.list("")
    proxy.log.clear()
    arriving = behind.get_listed(listed)
    sizes = []
    for asked in (2, 3, 4):
        sizes.append(len(next(arriving)[1].body))
        assert len(proxy.log) <= asked
    sizes += [len(fetched.body) for _, fetched in arriving]
    assert sorted(sizes) == [400_000] * 8 + [3_000_000]


def test_a_size_that_is_known_is_required_of_one_object_too(proxy, faulty, tmp_path):
    store, [info] = faulty
    proxy.rule = first(1, shorten, reading())
    assert store.get("x", info.etag, info.size) == BODY
    proxy.rule = first(1, shorten, reading())
    assert store.download("x", tmp_path / "file", size=info.size) == info.size
    assert (tmp_path / "file").read_bytes() == BODY
    assert store.retries == 2


def test_listings_side_by_side_find_what_each_finds(store):
    store.put_many([(f"list/{folder}/{number}", b"x" * number) for folder in "abc" for number in range(5)])
    together = Listed(pages=store.list_many([f"list/{folder}/" for folder in "abcd"]))
    assert dict(together) == {info.key: info for folder in "abc" for info in store.list(f"list/{folder}/")}


@pytest.mark.parametrize("stray", ["list//a", "list/../a", "list/./a", "list/a//b", "list/line\nend"])
def test_a_key_that_nothing_can_address_is_left_out_of_a_listing_and_counted(proxy, connect, caplog, stray):
    store = connect()
    store.put_many([("list/a", b"1"), ("list/b", b"22")])
    proxy.rule = always(list_also([ObjectInfo(stray, 7, '"e"')]), listing)
    assert [(info.key, info.size) for info in store.list("list/")] == [("list/a", 1), ("list/b", 2)]
    assert len(Listed(pages=store.list_many(["list/"]))) == 2
    assert store.exists_under("list/")
    assert store.retries == 0
    assert any("1 objects left out" in record.getMessage() for record in caplog.records)
    store.delete([stray, "list/a"])
    assert (store.head("list/a"), store.head(stray)) == (None, None)
    assert caplog.records[-1].getMessage() == "1 objects not deleted whose keys nothing can address"


def test_a_listing_by_key_holds_and_finds_each_object_in_few_bytes():
    infos = [ObjectInfo(f"clipfarm/embeddings/video/{n:011d}.npy", n, f'"{n:032x}"') for n in range(5_000)]
    before = pa.total_allocated_bytes()
    listed = Listed(reversed(infos))
    assert pa.total_allocated_bytes() == before  # all of it lies in the system's heap, which can be given back
    assert [listed.by_key[info.key] for info in infos] == infos
    assert len(listed) == len(infos)
    assert [*listed] == [info.key for info in infos]
    assert "clipfarm/embeddings/video/x.npy" not in listed
    assert listed.get("") is None
    assert sum(column.nbytes for column in (listed._keys, listed._sizes, listed._etags)) < 72 * len(infos)


def test_a_listing_finds_keys_outside_of_ascii_and_is_empty_without_objects():
    infos = [ObjectInfo(key, 2**40, "") for key in ("a", "\u00e9", "\uffff", "\U0001f3ac", "b/\U0001f3ac")]
    assert dict(Listed(infos)) == {info.key: info for info in infos}
    assert dict(Listed()) == {}


@pytest.mark.parametrize("etag", ['"{:032x}"', '"{:032x}-2"', "{:.0s}"])
@pytest.mark.parametrize("size", [7, 2**40])
def test_a_listing_tells_etags_and_sizes_of_the_objects_that_are_named(etag, size):
    infos = [ObjectInfo(f"list/{n}", size + n, etag.format(n if "x" in etag else "")) for n in range(20)]
    names = pa.chunked_array([["list/12", "nobody"], ["list/3", "list/12"]], pa.string())
    listed = Listed(infos)
    found = [infos[12], None, infos[3], infos[12]]
    assert listed.etags(names).to_pylist() == [info.etag if info else "" for info in found]
    assert listed.sizes(names).to_pylist() == [info.size if info else 0 for info in found]
    assert listed.etags(names[:0]).to_pylist() == []
    assert dict(listed) == {info.key: info for info in infos}


@pytest.mark.parametrize("form", ["{}", 'W/"{}"', '"{}"'])
def test_an_etag_written_in_another_way_is_the_same_version(proxy, connect, form):
    store = connect()
    value = store.put("x", BODY).strip('"')

    def rewritten(exchange):
        status, headers, body = exchange.ask()
        exchange.answer(status, {**headers, "Etag": form.format(value.upper())}, body)

    proxy.rule = always(rewritten)
    assert store.get("x", f'"{value}"') == BODY
    assert store.head("x").etag == f'"{value}"'
