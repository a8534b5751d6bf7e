"""MT3 with the preset `quick`, three seeds, and the floors that learn nothing to compare with.

    python experiments/mt3.py

Runs are written to runs/MT3, the dashboard to runs/MT3/report.html. A script that was stopped goes on where it was.

Expected result: not measured yet.
Expected time: not measured yet.
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
