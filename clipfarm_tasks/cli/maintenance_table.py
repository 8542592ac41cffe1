"""What `maintain` did, as a table for the terminal."""

from rich import box
from rich.table import Table

from clipfarm_tasks.contracts import MaintenanceRecord

_MIB = 2**20


def maintenance_table(record: MaintenanceRecord) -> Table:
    """One line for each vector table: fragments before and after, versions dropped, left and pinned, MiB freed."""
    params = record.params
    did = "Dry run, nothing was changed: would drop" if params.dry_run else "Dropped"
    table = Table(
        title=f"{record.runs} kept runs\n{did} what was superseded {params.keep_days} days ago and is not pinned",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("table", no_wrap=True)
    # Two lines, so that the table fits 80 columns.
    for heading in (
        "fragments\ncompacted",
        "\ninto",
        "versions\ndropped",
        "\nkept",
        "\npinned",
        "pins\nlost",
        "MiB\nfreed",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, upkeep in record.tables.items():
        counts = (
            upkeep.fragments_removed,
            upkeep.fragments_added,
            upkeep.versions_dropped,
            upkeep.versions_kept,
            upkeep.versions_pinned,
            upkeep.pins_lost,
        )
        table.add_row(name, *map(str, counts), f"{upkeep.bytes_freed / _MIB:,.1f}")
    return table
