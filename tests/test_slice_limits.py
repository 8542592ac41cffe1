import pytest

from clipfarm_tasks.slice_limits import Dimension, SliceLimit, SliceMetric, parse_limit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("text_present=0:rmse_log<=2.5", (Dimension.TEXT_PRESENT, "0", SliceMetric.RMSE_LOG, True, 2.5)),
        (" creator=unseen:r2_log>=0.1 ", (Dimension.CREATOR, "unseen", SliceMetric.R2_LOG, False, 0.1)),
        ("duration=from_60:bias_log>=-.5", (Dimension.DURATION, "from_60", SliceMetric.BIAS_LOG, False, -0.5)),
        ("query=a=b: c<=1:coverage<=1", (Dimension.QUERY, "a=b: c<=1", SliceMetric.COVERAGE, True, 1.0)),
        ("country=(missing):mae_log<=2e0", (Dimension.COUNTRY, "(missing)", SliceMetric.MAE_LOG, True, 2.0)),
    ],
)
def test_a_limit_is_read_and_written_the_same(text, limit):
    assert parse_limit(text) == SliceLimit(*limit)
    assert parse_limit(str(parse_limit(text))) == SliceLimit(*limit)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("text_present", "expected <dimension>=<slice>:<metric>.* such as text_present=0:rmse_log<=2.5, got 'text"),
        ("text_present=0:rmse_log=2.5", "expected <dimension>=.*, got 'text_present=0:rmse_log=2.5'"),
        ("planet=mars:rmse_log<=2", r"expected a dimension \(text_present, .*query\), got 'planet' in 'planet=mars"),
        ("hour=noon:rmse_log<=2", r"expected a slice of hour \(00-05, .*18-23, \(missing\)\), got 'noon' in 'hour"),
        ("text_present=0:rmse<=2", r"expected a metric \(rmse_log, .*\), got 'rmse' in 'text_present=0:rmse<=2'"),
        ("text_present=0:rmse_log>=2", "expected rmse_log<=, since better is the other way, got 'text_present=0:rm"),
        ("text_present=0:r2_log<=2", "expected r2_log>=, since better is the other way, got 'text_present=0:r2"),
        ("text_present=0:rmse_log<=low", "expected a number as the limit, got 'low' in 'text_present=0:rmse_log<=l"),
        ("text_present=0:rmse_log<=nan", "expected a number as the limit, got 'nan' in"),
    ],
)
def test_what_is_no_limit_is_refused_with_rule_and_text(text, problem):
    with pytest.raises(ValueError, match=problem):
        parse_limit(text)


def test_a_limit_is_kept_on_its_own_side_and_at_its_value():
    most, least = parse_limit("query=x:rmse_log<=2"), parse_limit("query=x:r2_log>=0.5")
    assert [most.holds(value) for value in (1.9, 2.0, 2.1)] == [True, True, False]
    assert [least.holds(value) for value in (0.4, 0.5, 0.6)] == [False, True, True]
