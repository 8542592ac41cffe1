"""``python -m clipfarm_tasks``."""

from clipfarm_tasks.cli.app import main
from clipfarm_tasks.cli.first_process import end_on_sigterm

end_on_sigterm()
main()
