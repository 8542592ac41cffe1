import numpy as np
import pytest

from clipfarm_tasks.models import text_neighbours
from clipfarm_tasks.models.text_neighbours import TextNeighbours


@pytest.fixture
def texts():
    rng = np.random.default_rng(0)
    text = rng.normal(size=(300, 8)).astype(np.float32) * rng.uniform(0.1, 9, (300, 1)).astype(np.float32)
    present = (rng.random(300) > 0.1).astype(np.float32)
    return text * present[:, None], present, rng.normal(size=300).astype(np.float32)


def by_hand(row, text, target, others):
    """Straight from the definition, one row at a time."""
    unit = (text / np.linalg.norm(text, axis=1, keepdims=True).clip(1e-30)).astype(np.float16).astype(np.float64)
    similarity = unit[others] @ unit[row]
    order = np.argsort(-similarity)
    means = [target[others][order[:count]].mean() for count in (5, 20, 50)]
    return [*means, similarity[order[:20]].mean()]


def test_a_row_is_told_what_became_of_its_nearest_texts_but_not_of_itself(texts):
    text, present, target = texts
    _, features = TextNeighbours.fit(text, present, target, seed=1)
    for row in np.flatnonzero(present)[:40]:
        others = np.setdiff1d(np.flatnonzero(present), row)
        np.testing.assert_allclose(features[row], by_hand(row, text, target, others), atol=1e-5)
    assert np.isnan(features[present == 0]).all()


def test_the_own_label_of_a_row_changes_none_of_its_columns(texts):
    text, present, target = texts
    _, before = TextNeighbours.fit(text, present, target, seed=1)
    row, changed = np.flatnonzero(present)[3], target.copy()
    changed[row] += 100
    _, after = TextNeighbours.fit(text, present, changed, seed=1)
    np.testing.assert_array_equal(before[row], after[row])
    assert (before != after).any()


def test_other_rows_see_all_that_was_indexed(texts):
    text, present, target = texts
    index, _ = TextNeighbours.fit(text[:250], present[:250], target[:250], seed=1)
    found = index(text[250:], present[250:])
    for row in np.flatnonzero(present[250:]):
        expected = by_hand(250 + row, text, target, np.flatnonzero(present[:250]))
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_a_saved_index_answers_the_same(texts, tmp_path):
    text, present, target = texts
    index, _ = TextNeighbours.fit(text, present, target, seed=1)
    index.save(tmp_path / "index.arrow")
    loaded = TextNeighbours.load(tmp_path / "index.arrow")
    np.testing.assert_array_equal(loaded(text, present), index(text, present))


def test_of_many_rows_a_seeded_choice_is_searched_and_no_row_finds_itself(texts, monkeypatch):
    text, present, target = texts
    monkeypatch.setattr(text_neighbours, "MOST_ROWS", 60)
    index, features = TextNeighbours.fit(text, present, target, seed=1)
    same, again = TextNeighbours.fit(text, present, target, seed=1)
    other, _ = TextNeighbours.fit(text, present, target, seed=2)
    assert len(index.target) == len(set(index.target)) == 60
    np.testing.assert_array_equal(features, again)
    assert set(other.target) != set(index.target) == set(same.target)
    assert (features[present == 1, 3] < 0.99).all()  # its own text would be at 1


def test_a_row_that_was_not_chosen_sees_all_that_were(texts, monkeypatch):
    text, present, target = texts
    monkeypatch.setattr(text_neighbours, "MOST_ROWS", 120)
    index, features = TextNeighbours.fit(text, present, target, seed=1)
    chosen = np.flatnonzero(np.isin(target, index.target))
    for row in np.setdiff1d(np.flatnonzero(present), chosen)[:20]:
        np.testing.assert_allclose(features[row], by_hand(row, text, target, chosen), atol=1e-5)


def test_blocks_of_any_size_find_the_same(texts, monkeypatch):
    text, present, target = texts
    index, features = TextNeighbours.fit(text, present, target, seed=1)
    monkeypatch.setattr(text_neighbours, "_BLOCK", 16)
    again, in_blocks = TextNeighbours.fit(text, present, target, seed=1)
    np.testing.assert_array_equal(again.texts, index.texts)
    np.testing.assert_allclose(in_blocks, features, atol=1e-6)
    np.testing.assert_allclose(index(text, present), again(text, present), atol=1e-6)
    assert np.isfinite(index(text, present)[present == 1]).all()


def test_of_thousands_exactly_the_nearest_fifty_count():
    rng = np.random.default_rng(2)
    text, target = rng.normal(size=(3020, 8)).astype(np.float32), rng.normal(size=3020).astype(np.float32)
    index, _ = TextNeighbours.fit(text[20:], np.ones(3000, np.float32), target[20:], seed=1)
    for row, found in enumerate(index(text[:20], np.ones(20, np.float32))):
        np.testing.assert_allclose(found, by_hand(row, text, target, np.arange(20, 3020)), atol=1e-5)


def test_one_other_text_has_a_similarity():
    text, target = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32), np.array([1, 2], np.float32)
    _, features = TextNeighbours.fit(text, np.ones(2, np.float32), target, seed=1)
    np.testing.assert_allclose(features[:, 3], 0.6, atol=1e-3)


def test_a_mean_of_nearly_all_other_labels_which_tells_the_own_one_is_missing(texts):
    text, _, target = texts
    for rows in (10, 11, 40, 41, 100, 101):
        _, features = TextNeighbours.fit(text[:rows], np.ones(rows, np.float32), target[:rows], seed=1)
        assert np.isfinite(features[:, :3]).all(axis=0).tolist() == [rows > 2 * count for count in (5, 20, 50)]
        assert np.isnan(features[:, :3]).all(axis=0).tolist() == [rows <= 2 * count for count in (5, 20, 50)]


def test_few_texts_have_a_similarity_and_none_are_missing():
    text, target = np.eye(3, dtype=np.float32), np.array([1, 2, 6], np.float32)
    index, features = TextNeighbours.fit(text, np.ones(3, np.float32), target, seed=1)
    np.testing.assert_allclose(features, 3 * [[np.nan, np.nan, np.nan, 0]])
    np.testing.assert_allclose(index(text[:1], np.ones(1, np.float32)), [[np.nan, np.nan, np.nan, 1 / 3]])
    _, features = TextNeighbours.fit(text[:1], np.ones(1, np.float32), target[:1], seed=1)
    assert np.isnan(features).all()
    nothing, _ = TextNeighbours.fit(text, np.zeros(3, np.float32), target, seed=1)
    assert np.isnan(nothing(text, np.ones(3, np.float32))).all()


def test_a_text_vector_of_zeros_is_as_far_from_all_texts(texts):
    text, present, target = texts
    index, _ = TextNeighbours.fit(text, present, target, seed=1)
    found = index(np.zeros((1, 8), np.float32), np.ones(1, np.float32))
    assert np.isfinite(found).all()
    assert found[0, 3] == 0
