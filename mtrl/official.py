"""What Meta-World's own meta-RL evaluator would have reported, from the episodes of ours, for comparison with others.

It lets several worlds of a task play different goals, ends episodes at success, and takes for the task the first three
episodes that end in any of them: worlds that succeed soon end more of these, so that one goal in four that is solved
can look like all of them (metaworld 3.1.1, `metaworld.evaluation.metalearning_evaluation`). Published figures are such.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtrl.evaluation import Episode

WORLDS = 20
"""Of all tasks together, where upstream is left as it is; a task has its share."""
COUNTED = 3
"""Episodes of a task, of all its worlds together."""


def first_to_finish(judged: Sequence["Episode"], worlds: int) -> float:
    """The success of one task, with each goal played once by one of so many worlds that play side by side.

    Args:
        judged: The episodes after adaptation, sorted by goal and then as they were played, equally many of each goal.
        worlds: Goals that are played at the same time.
    """
    by_goal: dict[int, list[Episode]] = {}
    for episode in judged:
        by_goal.setdefault(episode.goal, []).append(episode)
    goals, found = list(by_goal.values()), []
    for start in range(0, len(goals), worlds):
        ends = [end for world, own in enumerate(goals[start : start + worlds]) for end in _ends(own, world)]
        first = sorted(ends)[:COUNTED]
        found.append(sum(solved for _, _, solved in first) / len(first))
    return sum(found) / len(found)


def _ends(episodes: Sequence["Episode"], world: int) -> list[tuple[int, int, bool]]:
    """When a world ends its first episodes, and whether with success; where there are fewer it plays them again."""
    time, ends = 0, []
    for number in range(COUNTED):
        episode = episodes[number % len(episodes)]
        time += episode.solved_after or episode.length
        ends.append((time, world, episode.solved_after > 0))
    return ends
