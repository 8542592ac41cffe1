"""One module per line of the benchmark's table, or per few that share their runs."""

from collections.abc import Callable

from bench.result import Row
from bench.rows.airflow_overhead import airflow_overhead
from bench.rows.cold_assembly import cold_assembly
from bench.rows.epochs import epochs
from bench.rows.gpu import gpu
from bench.rows.growth import growth
from bench.rows.incremental import incremental
from bench.rows.matrix import matrix
from bench.rows.memory import memory
from bench.workbench import Workbench

# In the order of the table; what shares a data set or a measurement stands together.
ROWS: dict[str, Callable[[Workbench], list[Row]]] = {
    "cold": cold_assembly,
    "incremental": incremental,
    "growth": growth,
    "memory": memory,
    "epochs": epochs,
    "matrix": matrix,
    "airflow": airflow_overhead,
    "gpu": gpu,
}
