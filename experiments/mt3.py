"""MT3 with the preset `quick`, three seeds, and the floors that learn nothing to compare with.

    python experiments/mt3.py

Runs are written to runs/MT3, the dashboard to runs/MT3/report.html. A script that was stopped goes on where it was.

Expected result: success of 0.8 or more at A-eval, 140 k steps/task, for every seed; the floors at most 0.06.
Expected time: five minutes a seed on 2 cores. Measured figures are in the README.
"""

import mtrl

SEEDS = (0, 1, 2)
FLOORS = ("zero", "random", "repeat")


def main() -> None:
    """Trains, evaluates and compares."""
    for seed in SEEDS:
        run = mtrl.train("MT3", agent="quick", seed=seed)
        print(f"seed {seed}: success {run.evaluate(goals='heldout').success_any:.3f} on goals never trained on")
    for agent in FLOORS:
        mtrl.train("MT3", agent=agent)
    print(mtrl.compare("runs/MT3"))


if __name__ == "__main__":  # worker processes import this file, and must not train
    main()
