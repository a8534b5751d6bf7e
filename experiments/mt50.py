"""MT50 as in Meta-World+: multi-task SAC with one head a task, 2 M steps of each task.

    python experiments/mt50.py 0

The argument is the seed: one process for each, on as many machines as there are, and then `mtrl compare runs/MT50`.
A script that was stopped goes on where it was.

Expected result: not reproduced here. The authors of Meta-World+ report about 60 % for `mtmhsac` under the same protocol
(A-eval, 2 M steps/task), later figures of theirs 54.9 %.
Expected time: not for a CPU. Batches are five times those of MT10, which takes four days a run on 2 cores.
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
