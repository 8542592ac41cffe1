from clipfarm_tasks.stack.patience import Patience


def lost(limit_s, *moments):
    """What is said at each moment; a moment is seconds since the start, and what is seen then."""
    seconds = iter([0.0, *(second for second, _ in moments)])
    patience = Patience(limit_s, seconds.__next__)
    return [patience.is_lost(seen) for _, seen in moments]


def test_it_is_lost_when_nothing_changed_for_longer_than_the_limit():
    assert lost(10, (0, "a"), (10, "a"), (10.1, "a")) == [False, False, True]


def test_each_change_starts_it_anew():
    assert lost(10, *[(second, second) for second in range(0, 1000, 9)]) == [False] * 112
    assert lost(10, (0, "a"), (9, "b"), (18, "a"), (28, "a"), (29, "a")) == [False, False, False, False, True]
