"""What ``make up`` prints for another terminal, pasted into one."""

import io
import subprocess

import pytest
from rich.console import Console

from clipfarm_tasks.stack import up


class Server:
    """Stands in for both servers: what is printed is of interest."""

    endpoint_url, url = "http://127.0.0.1:1", "http://127.0.0.1:2"

    def __init__(self, *_):
        self.process = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def environment(self):
        return {"CLIPFARM_BUCKET": "a bucket", "AWS_SECRET_ACCESS_KEY": "it's $HOME"}

    def password(self):
        return "word"

    def head(self, key):
        return True

    def require_running(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["plain", "with blanks", "it's", "$(touch trap)", 'a "quote"; and & more'])
def test_the_printed_line_works_in_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.setattr(up, "SeaweedServer", Server)
    monkeypatch.setattr(up, "AirflowServer", Server)
    monkeypatch.setattr(up, "store_of", lambda s3: Server())
    checkout = tmp_path / name
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "activate").touch()
    (checkout / "state").mkdir()
    monkeypatch.chdir(checkout)
    shown = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        up.up(checkout / "state", Console(file=shown, width=40), 100)
    [line] = [line for line in shown.getvalue().splitlines() if "activate" in line]
    script = line + ' && printf "%s|" "$PWD" "$CLIPFARM_BUCKET" "$AWS_SECRET_ACCESS_KEY"'
    answer = subprocess.run(["/bin/bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.stdout == f"{checkout}|a bucket|it's $HOME|", answer.stderr
    assert (checkout / "state" / "s3.env").stat().st_mode & 0o777 == 0o600
