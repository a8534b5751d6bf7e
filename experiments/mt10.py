"""MT10 as in Meta-World+: multi-task SAC with one head a task against all layers shared, 2 M steps of each task.

    python experiments/mt10.py

Runs are written to runs/MT10, the dashboard to runs/MT10/report.html. A script that was stopped goes on where it was.

Expected result: not measured yet.
Expected time: not measured yet.
"""

import mtrl

AGENTS = ("mtmhsac", "mtsac")
SEEDS = (0, 1, 2, 3, 4)
"""Under five seeds the dashboard gives no interval and no ranking."""


def main() -> None:
    """Trains, evaluates and compares."""
    for agent in AGENTS:
        for seed in SEEDS:
            mtrl.train("MT10", agent=agent, seed=seed, tracking={"video": seed == SEEDS[0]})
    mtrl.train("MT10", agent="random")
    print(mtrl.compare("runs/MT10"))


if __name__ == "__main__":  # worker processes import this file, and must not train
    main()
