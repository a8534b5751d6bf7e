"""What all agents that learn to learn have in common: runs that go on exactly, evaluations that disturb nothing."""

import dataclasses

import pytest
from runner_toys import tensors_differ, without_clock

import mtrl
from mtrl.algorithm import AGENTS, learns_in_trials
from mtrl.checkpoint import find_checkpoint
from mtrl.errors import UserError
from mtrl.ranks import Ranks
from mtrl.runner.experiment import prepare

RL2 = {
    "rollout_steps": 40,
    "minibatches": 2,
    "memory": 8,
    "actor": {"width": 16},
    "critic": {"width": 16},
    "final_learning_rate": 1.0,  # what falls towards the end of a run is another for a shorter one
}
SMALL = {
    "rl2-small": {"algorithm": RL2},
    "rl2-recall-small": {"algorithm": RL2},
    "maml-small": {"algorithm": {"outer_episodes": 1}},
    "fine-tuned-small": {"algorithm": {"outer_episodes": 1}},
    "pearl-small": {
        "warmup_steps": 40,
        "updates_per_step": 0.25,
        "algorithm": {"batch_per_task": 32, "goals": 4, "context": 8, "actor": {"width": 16}},
    },
}
LENGTH, SHORT = 600, 330
"""Steps a task, and where a run is cut short: within a trial and a rollout."""


def test_all_of_them_are_here():
    found = {name for name in AGENTS if learns_in_trials(AGENTS.get(name).defaults.algorithm)}
    assert {name for name in found if name.endswith("-small")} - {"tiny-rl2"} == set(SMALL)


def train(agent, folder, **changes):
    given = {
        "slots_per_task": 4,
        "trial": {"episodes": 3, "judged": 1, "learned": 2},
        "evaluation": {"every": 0, "slots_per_task": 25},
        "steps_per_task": LENGTH,
        **SMALL[agent],
    }
    return mtrl.train("ML1:point-robot-v0", agent, run_folder=str(folder), **{**given, **changes})


@pytest.mark.parametrize("agent", SMALL)
def test_a_run_that_was_cut_short_ends_as_if_it_had_not_been(agent, tmp_path):
    whole, short = train(agent, tmp_path / "whole"), train(agent, tmp_path / "short", steps_per_task=SHORT)
    longer = short.resume(LENGTH)
    watched = train(agent, tmp_path / "watched", evaluation={"every": 100, "goals": 5, "slots_per_task": 5})
    weights = [find_checkpoint(run.folder, with_replay=False).weights() for run in (whole, longer, watched)]
    assert tensors_differ(weights[0], weights[1]) == ""
    assert tensors_differ(weights[0], weights[2]) == ""  # evaluations draw from numbers of their own
    lines = [[without_clock(line) for line in run.metrics()] for run in (whole, longer)]
    assert lines[0] == lines[1] and lines[0][-1]["updates"] > 0
    assert len(whole.evaluations()[-1]["summary"]["adaptation"]) == 4
    assert whole.evaluate(goals="heldout", count=2).label(LENGTH).startswith("A-heldout after 3 episodes")


@pytest.mark.parametrize("agent", SMALL)
def test_several_processes_are_refused(agent):
    defaults = dataclasses.replace(AGENTS.get(agent).defaults, suite="ML1:point-robot-v0")
    experiment = dataclasses.replace(prepare(defaults), ranks=Ranks(0, 2))
    with pytest.raises(UserError, match="trials of all worlds together, and this is one of 2 processes"):
        experiment.build_agent()
