"""MT50 as in Meta-World+: multi-task SAC with one head a task, 2 M steps of each task.

    python experiments/mt50.py 0

The argument is the seed: one process for each, on as many machines as there are, and then `mtrl compare runs/MT50`.
A script that was stopped goes on where it was.

Expected result: not measured yet.
Expected time: not measured yet.
"""

import sys

import mtrl


def main() -> None:
    """Trains and evaluates one seed."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    run = mtrl.train("MT50", agent="mtmhsac", seed=seed)
    record = run.evaluations()[-1]
    print(f"{run.path}: {record['label']}, success {record['summary']['success_any']:.3f}")


if __name__ == "__main__":  # worker processes import this file, and must not train
    main()
