"""Versions of the preset file: created once, read with suspicion."""

import json
import threading

import pytest

from clipfarm_tasks import keys
from clipfarm_tasks.errors import DataError
from clipfarm_tasks.families import PRESETS, Family
from clipfarm_tasks.tuning.preset_file import parse_presets, publish_presets
from tests.tuning.made_presets import TUNED_ON, found


def published(store, depth=4):
    return publish_presets(store, TUNED_ON, {Family.GBDT: found(max_depth=depth)})


def read(store, version):
    return parse_presets(store.get(keys.presets(version)), "here")


def test_versions_are_counted_and_what_was_written_is_read(store):
    files = [published(store, depth) for depth in (4, 5, 6)]
    assert [file.version for file in files] == [1, 2, 3]
    assert [read(store, version) for version in (1, 2, 3)] == files
    assert files[1].recipe(Family.GBDT, "here").max_depth == 5
    assert files[1].recipe(Family.RIDGE, "here") == PRESETS[Family.RIDGE].hyperparams


def test_a_repeated_attempt_finds_its_version(store):
    first = published(store)
    assert published(store) == first
    assert published(store, 5).version == 2
    assert [info.key for info in store.list(keys.PRESETS)] == [keys.presets(1), keys.presets(2)]


def test_publishers_at_once_never_overwrite_each_other(store):
    start, files = threading.Barrier(4), []

    def publish(depth):
        start.wait()
        files.append(published(store, depth))

    threads = [threading.Thread(target=publish, args=(depth,)) for depth in (4, 5, 6, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(file.version for file in files) == [1, 2, 3, 4]
    assert [read(store, file.version) for file in files] == files


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"presets": {"forest": found(max_depth=4).model_dump()}}, "expected a valid PresetFile, got presets.forest"),
        ({"presets": {"gbdt": found(max_depth=99).model_dump()}}, "max_depth = 99, which is not from 3 to 10, in here"),
        ({"presets": {"gbdt": found(trees=4).model_dump()}}, "trees, which is none of .*, in here"),
        ({"presets": None}, "expected a valid PresetFile, got presets: "),
        ({"version": 0}, "expected a valid PresetFile, got version: "),
    ],
)
def test_what_this_code_does_not_allow_is_refused(store, change, problem):
    published(store)
    body = json.dumps(json.loads(store.get(keys.presets(1))) | change).encode()
    with pytest.raises(DataError, match=problem):
        parse_presets(body, "here")
