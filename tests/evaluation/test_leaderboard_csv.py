import io
import math

import pandas as pd

from clipfarm_tasks.config import RankMetric
from clipfarm_tasks.evaluation.leaderboard_csv import leaderboard_frame

METRICS = ("rmse_log", "mae_log", "r2_log", "rmse_raw", "mae_raw")


def test_columns_order_and_ranks():
    models = {
        name: {part: {m: base + i for i, m in enumerate(METRICS)} for part, base in (("val", v), ("test", v + 10))}
        for name, v in (("ridge", 2.0), ("gbdt", 1.0))
    }
    models["ridge"]["test"]["r2_log"] = math.nan
    table = leaderboard_frame(models, RankMetric.RMSE_LOG)
    header = "rank,model," + ",".join(f"{part}_{m}" for part in ("val", "test") for m in METRICS)
    text = table.to_csv(index=False)
    assert text.splitlines()[0] == header
    back = pd.read_csv(io.StringIO(text))
    assert back[["rank", "model"]].to_numpy().tolist() == [[1, "gbdt"], [2, "ridge"]]
    assert back.loc[0, ["val_mae_log", "test_mae_log"]].tolist() == [2.0, 12.0]
    assert math.isnan(back.loc[1, "test_r2_log"])
    assert leaderboard_frame(models, RankMetric.R2_LOG)["model"].tolist() == ["ridge", "gbdt"]
