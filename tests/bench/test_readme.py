"""The README quotes the newest report, word for word."""

import re

from bench.report import markdown
from bench.result import newest, read_report


def test_the_readme_shows_the_newest_report(request):
    path = newest()
    assert path is not None, "no report in bench/results: make bench writes one"
    blocks = re.findall(
        r"^<!-- bench -->\n(.*?)^<!-- /bench -->$",
        (request.config.rootpath / "README.md").read_text(),
        flags=re.DOTALL | re.MULTILINE,
    )
    assert [block.strip() for block in blocks] == [markdown(read_report(path)).strip()]
