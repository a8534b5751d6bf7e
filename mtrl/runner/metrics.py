"""Names of the numbers in `metrics.jsonl` and in trackers."""

from collections.abc import Sequence

from mtrl.algorithm import Metrics
from mtrl.evaluation import EvaluationResult


def flat_metrics(metrics: Metrics, task_names: Sequence[str]) -> dict[str, float]:
    """What an update reported as plain numbers: `NAME`, a mean where there is one number a task, and `NAME/TASK`."""
    result: dict[str, float] = {}
    for name, value in metrics.items():
        numbers = value.tolist()
        if isinstance(numbers, list):
            result[name] = sum(numbers) / len(numbers)
            result |= {f"{name}/{task}": number for task, number in zip(task_names, numbers, strict=True)}
        else:
            result[name] = numbers
    return result


def flat_evaluation(result: EvaluationResult) -> dict[str, float]:
    """Means of an evaluation, `eval/success_any`, and of each task, `eval/success_any/TASK`.

    Other goals than the training ones have their own prefix, `heldout` or `test`.
    """
    prefix = {"train": "eval"}.get(result.goal_set, result.goal_set)
    flat: dict[str, float] = {}
    for name in ("success_any", "success_end", "return"):
        flat[f"{prefix}/{name}"] = result.summary[name]
        flat |= {f"{prefix}/{name}/{task}": row[name] for task, row in result.per_task.items()}
    return flat
