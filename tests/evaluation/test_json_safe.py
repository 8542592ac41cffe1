import json
import math

import numpy as np

from clipfarm_tasks.evaluation.json_safe import json_safe


def test_every_undefined_number_becomes_null_and_every_array_a_list():
    value = {
        7: np.float32(0.5),
        "a": [math.nan, np.float64("inf"), -math.inf, np.int64(3)],
        "b": (np.bool_(True), None, "nan"),
        "c": np.array([1.0, np.nan]),
    }
    safe = json_safe(value)
    assert safe == {"7": 0.5, "a": [None, None, None, 3], "b": [True, None, "nan"], "c": [1.0, None]}
    assert json.loads(json.dumps(safe, allow_nan=False)) == safe
