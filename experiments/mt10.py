"""MT10 as in Meta-World+: multi-task SAC with one head a task against all layers shared, 2 M steps of each task.

    python experiments/mt10.py

Runs are written to runs/MT10, the dashboard to runs/MT10/report.html. A script that was stopped goes on where it was.

Expected result: not reproduced here. The authors of Meta-World+ report 74.8 % for `mtmhsac` under the same protocol
(A-eval, 2 M steps/task, interquartile mean over seeds).
Expected time: about four days a run on 2 CPU cores, where 5.5 updates a second were measured (the progress line of
`mtrl train MT10 --agent mtmhsac` shows them), and 2 M are made.
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
