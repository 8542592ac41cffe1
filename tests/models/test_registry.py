import subprocess
import sys
from pathlib import Path

import pytest

from clipfarm_tasks.families import Family
from clipfarm_tasks.models.registry import load

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("family", list(Family), ids=str)
def test_a_folder_without_the_file_is_named(family, tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        load(family, tmp_path)


@pytest.mark.parametrize(
    ("family", "unneeded"),
    [("ridge", "torch"), ("kernel", "torch"), ("concat_mlp", "sklearn"), ("gated_fusion_mlp", "sklearn")],
)
def test_a_family_imports_only_what_it_needs(family, unneeded):
    code = (
        "import sys\n"
        "from clipfarm_tasks.models.registry import create\n"
        f"create({family!r})\n"
        f"sys.exit({unneeded!r} in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
