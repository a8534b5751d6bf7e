"""The checker finds what is broken and nothing else."""

import re

import pytest
import torch
from toy_envs import ConstantEnv, RaisingEnv, RandomEnv, toy_goals, toy_task

from mtrl.vector.checker import check_vector_env
from mtrl.vector.processes import ProcessVectorEnv

TASKS = (toy_task("one", wall=0.9), toy_task("two", obs_dim=6, action_dim=3, horizon=7))


class ReusingEnv(ProcessVectorEnv):
    """Returns one and the same observation tensor."""

    def step_wait(self):
        obs, *rest = super().step_wait()
        self.kept = getattr(self, "kept", obs)
        self.kept[:] = obs
        return self.kept, *rest


class NoFinalObsEnv(ProcessVectorEnv):
    """Gives the next episode's observation as the last one."""

    def step_wait(self):
        obs, reward, terminated, truncated, info = super().step_wait()
        return obs, reward, terminated, truncated, {**info, "final_obs": obs.clone()}


class WrongTypesEnv(ProcessVectorEnv):
    """Float success, double reward."""

    def step_wait(self):
        obs, reward, terminated, truncated, info = super().step_wait()
        return obs, reward.double(), terminated, truncated, {**info, "success": info["success"].float()}


class ForgetfulEnv(ProcessVectorEnv):
    """Takes up the next goal too early."""

    def set_state(self, state):
        return super().set_state({**state, "goal": state["next_goal"]})


class UnplainStateEnv(ProcessVectorEnv):
    """Puts a live object into its state."""

    def get_state(self):
        return {**super().get_state(), "schedule_object": self._book.schedule}


class NeverInactiveEnv(ProcessVectorEnv):
    """Claims that every slot is always active."""

    def step_wait(self):
        *rest, info = super().step_wait()
        return *rest, {**info, "active": torch.ones(self.num_envs, dtype=torch.bool)}


class UnsortedEnv(ProcessVectorEnv):
    """Numbers its slots backwards."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.task_id = self.task_id.flip(0)


def faults(env):
    found = check_vector_env(env)
    env.close()
    return found


def test_a_right_environment_has_no_faults():
    assert faults(ProcessVectorEnv(TASKS, goal_set=toy_goals(*TASKS), slots_per_task=2)) == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ReusingEnv, "obs was overwritten by a later step"),
        (NoFinalObsEnv, "task 'two': final_obs is the next episode's first observation"),
        (WrongTypesEnv, r"reward is \(4,\) torch.float64"),
        (WrongTypesEnv, r"info\['success'\] is \(4,\) torch.float32"),
        (ForgetfulEnv, "is not deterministic"),
        (UnplainStateEnv, "weights_only=True"),
        (NeverInactiveEnv, r"info\['active'\] is not where"),
        (UnsortedEnv, "is not sorted"),
    ],
)
def test_a_broken_vector_environment_is_found_out(kind, message):
    found = faults(kind(TASKS, goal_set=toy_goals(*TASKS), slots_per_task=2))
    assert any(re.search(message, fault) for fault in found), found


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (toy_task("dice", RandomEnv), "task 'dice': one seed and the same actions gave two traces"),
        (toy_task("bad", RaisingEnv), "task 'bad' failed in step: ZeroDivisionError: the point fell off"),
    ],
)
def test_a_broken_task_is_named(task, message):
    found = faults(ProcessVectorEnv([task], goal_set=toy_goals(task)))
    assert any(fault.startswith(message) for fault in found), found
    assert len(found) <= 2


@pytest.mark.parametrize(("claimed", "word"), [(9, "not at"), (12, "before")])
def test_a_wrong_horizon_is_named(claimed, word):
    task = toy_task("long", horizon=10)
    task = type(task)(**{**task.__dict__, "horizon": claimed})
    found = faults(ProcessVectorEnv([task], goal_set=toy_goals(task)))
    assert f"task 'long' is truncated {word} its horizon of {claimed} steps" in found


def test_a_constant_observation_is_no_fault():
    task = toy_task("constant", ConstantEnv, horizon=3)
    assert faults(ProcessVectorEnv([task], goal_set=toy_goals(task))) == []
