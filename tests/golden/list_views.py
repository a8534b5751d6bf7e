"""Writes `views.json`, what each task reads of a simulation, for `make_golden.py`: python tests/golden/list_views.py"""

import json
from pathlib import Path

from mtrl.envs.metaworld.tasks.families import TASKS


def main() -> None:
    """Writes it: the task, the view, and where it is read."""
    lines = [
        f"{json.dumps(name)}: "
        + json.dumps({key: [view.field, view.name, view.width] for key, view in task.scene_task.views.items()})
        for name, task in sorted(TASKS.items())
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (Path(__file__).parent / "views.json").write_text(text, encoding="utf-8")
    print(f"{len(TASKS)} tasks")


if __name__ == "__main__":
    main()
