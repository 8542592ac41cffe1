"""Which errors are retried, by their class."""

import inspect

import pytest

from clipfarm_tasks import errors

NEVER = (errors.ConfigError, errors.DataError, errors.MissingObjectError, errors.ChangedObjectError)


def test_every_error_is_covered_here_and_documented():
    public = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__}
    assert public == {errors.ClipfarmError, errors.TransientError, *NEVER}
    assert all(cls.__doc__ for cls in public)


@pytest.mark.parametrize("kind", NEVER)
def test_what_a_person_has_to_fix_ends_with_2(kind):
    assert kind.exit_code == 2
    assert issubclass(kind, errors.ClipfarmError)
    assert not issubclass(kind, errors.TransientError)


def test_what_a_retry_may_heal_ends_with_1():
    assert errors.TransientError.exit_code == errors.ClipfarmError.exit_code == 1


def test_a_missing_object_is_a_file_not_found_and_keeps_its_message():
    message = "expected a manifest at s3://bucket/key, got no object"
    with pytest.raises(FileNotFoundError) as caught:
        raise errors.MissingObjectError(message)
    assert str(caught.value) == message
    assert isinstance(caught.value, errors.DataError)
