"""Checks any vector environment against the contract, the way gymnasium's `check_env` does for single ones."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from mtrl.errors import UserError
from mtrl.goals import INACTIVE, EachGoalOnce
from mtrl.vector.contract import StepInfo, TaskVectorEnv

SEED = 7


@dataclass(frozen=True)
class _Step:
    """What one step returned."""

    obs: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    info: StepInfo

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it by name."""
        plain = {
            "obs": self.obs,
            "reward": self.reward,
            "terminated": self.terminated,
            "truncated": self.truncated,
        }
        return plain | {f"info['{key}']": value for key, value in self.info.items()}  # type: ignore[dict-item]


def check_vector_env(env: TaskVectorEnv) -> list[str]:
    """Plays random actions and compares what comes back with the contract of `TaskVectorEnv`.

    Args:
        env: The environment; left in a state that nobody should use without a reset.

    Returns:
        The faults, one line each; empty if there are none.
    """
    faults: list[str] = []
    checks: list[Callable[[TaskVectorEnv], Iterator[str]]] = [
        _check_slots,
        _check_steps,
        _check_seeding,
        _check_ownership,
        _check_state,
        _check_inactive,
    ]
    for check in checks:
        try:
            # One of each kind is enough: a fault in every step need not be told in every step.
            faults += [fault for fault in dict.fromkeys(check(env)) if fault not in faults]
        except UserError as error:
            faults.append(str(error))
            break
    return faults


def _play(env: TaskVectorEnv, steps: int, stream: int = 0) -> Iterator[_Step]:
    """Steps with random actions that depend on `stream` alone."""
    generator = torch.Generator().manual_seed(stream)
    shape = (env.num_envs, env.action_mask.shape[1])
    for _ in range(steps):
        yield _Step(*env.step((torch.rand(shape, generator=generator) * 2 - 1).to(env.device)))


def _longest(env: TaskVectorEnv) -> int:
    return max(task.horizon for task in env.tasks)


def _check_slots(env: TaskVectorEnv) -> Iterator[str]:
    """Task ids, masks and goals fit together."""
    ids = env.task_id.tolist()
    if env.num_envs != len(ids) or ids != sorted(ids):
        yield f"task_id {ids} is not sorted with one entry for each of {env.num_envs} slots"
    if set(ids) != set(range(len(env.tasks))):
        yield f"task_id names tasks {sorted(set(ids))}, there are {len(env.tasks)}"
    for number, task in enumerate(env.tasks):
        sizes = (int(env.obs_mask[number].sum()), int(env.action_mask[number].sum()))
        if sizes != (task.obs_dim, task.action_dim):
            yield f"task '{task.name}': masks show {sizes} numbers, its spec {(task.obs_dim, task.action_dim)}"
    if len(env.goal_set.rows) != len(env.tasks):
        yield f"goal_set has {len(env.goal_set.rows)} tables for {len(env.tasks)} tasks"


def _wrong_form(env: TaskVectorEnv, tensors: dict[str, torch.Tensor]) -> Iterator[str]:
    """Shape, type and device of tensors, by their contract."""
    wide = (env.num_envs, env.obs_mask.shape[1])
    forms = {
        "obs": (wide, torch.float32),
        "info['final_obs']": (wide, torch.float32),
        "reward": ((env.num_envs,), torch.float32),
        "info['goal_index']": ((env.num_envs,), torch.int64),
    }
    for name, tensor in tensors.items():
        shape, dtype = forms.get(name, ((env.num_envs,), torch.bool))
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            yield f"{name} is {tuple(tensor.shape)} {tensor.dtype}, the contract says {shape} {dtype}"
        if tensor.device.type != env.device.type:
            yield f"{name} is on {tensor.device}, the environment on {env.device}"
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            yield f"{name} holds numbers that are not finite"


def _check_steps(env: TaskVectorEnv) -> Iterator[str]:
    """Forms, padding, ends of episodes and the meaning of `final_obs`, over one horizon and a little more."""
    obs, info = env.reset(seed=SEED)
    yield from _wrong_form(env, {"obs": obs, **{f"info['{key}']": value for key, value in info.items()}})
    padding = ~env.obs_mask[env.task_id]
    horizon = torch.tensor([env.tasks[task].horizon for task in env.task_id.tolist()], device=env.device)
    length = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    for step in _play(env, _longest(env) + 2):
        yield from _wrong_form(env, step.tensors())
        length += 1
        ended, final_obs = step.info["final_mask"], step.info["final_obs"]
        if not torch.equal(ended, step.terminated | step.truncated):
            yield "info['final_mask'] is not where terminated or truncated is set"
        if not torch.equal(final_obs[~ended], step.obs[~ended]):
            yield "info['final_obs'] differs from the observation where no episode ended"
        # A task whose observation never changes is in order, so the one before must differ too.
        suspect = ended & (final_obs == step.obs).all(dim=1) & (final_obs != obs).any(dim=1)
        for slot in torch.nonzero(suspect).flatten().tolist():
            name = env.tasks[int(env.task_id[slot])].name
            yield f"task '{name}': final_obs is the next episode's first observation, not the last of the old one"
        if (step.obs[padding] != 0).any() or (final_obs[padding] != 0).any():
            yield "padding in observations is not zero"
        yield from _wrong_ends(env, step, length, horizon)
        length[ended] = 0
        obs = step.obs


def _wrong_ends(env: TaskVectorEnv, step: _Step, length: torch.Tensor, horizon: torch.Tensor) -> Iterator[str]:
    """Episodes that were truncated at another step than the horizon."""
    early = step.truncated & (length < horizon)
    late = (length >= horizon) & ~step.info["final_mask"]
    for wrong, word in ((early, "before"), (late, "not at")):
        for slot in torch.nonzero(wrong).flatten().tolist():
            task = env.tasks[int(env.task_id[slot])]
            yield f"task '{task.name}' is truncated {word} its horizon of {task.horizon} steps"


def _differences(env: TaskVectorEnv, one: list[_Step], other: list[_Step], what: str) -> Iterator[str]:
    """Tasks whose slots differ between two traces, each with the first difference."""
    told: set[str] = set()
    for number, (left, right) in enumerate(zip(one, other, strict=True)):
        yours = right.tensors()
        for key, tensor in left.tensors().items():
            unequal = (tensor != yours[key]).reshape(env.num_envs, -1).any(dim=1)
            for slot in torch.nonzero(unequal).flatten().tolist():
                name = env.tasks[int(env.task_id[slot])].name
                if name not in told:
                    told.add(name)
                    yield f"task '{name}': {what} (first in {key} of step {number})"


def _check_seeding(env: TaskVectorEnv) -> Iterator[str]:
    """The same seed gives the same trace twice, over the end of an episode."""
    steps = _longest(env) + 2
    first_obs, first_info = env.reset(seed=SEED)
    first = list(_play(env, steps))
    second_obs, second_info = env.reset(seed=SEED)
    for slot in torch.nonzero((first_obs != second_obs).any(dim=1)).flatten().tolist():
        yield f"task '{env.tasks[int(env.task_id[slot])].name}': one seed gave two different first observations"
    if not torch.equal(first_info["goal_index"], second_info["goal_index"]):
        yield "one seed gave two different choices of goals"
    yield from _differences(env, first, list(_play(env, steps)), "one seed and the same actions gave two traces")


def _check_ownership(env: TaskVectorEnv) -> Iterator[str]:
    """What was returned is not written again."""
    obs, _ = env.reset(seed=SEED)
    kept = [("the first obs", obs, obs.clone())]
    for number, step in enumerate(_play(env, _longest(env) + 2)):
        if number in (0, 1, _longest(env) - 2, _longest(env) - 1):
            kept += [(name, tensor, tensor.clone()) for name, tensor in step.tensors().items()]
    for name, tensor, before in kept:
        if not torch.equal(tensor, before):
            yield f"{name} was overwritten by a later step: return a copy"


def _check_state(env: TaskVectorEnv) -> Iterator[str]:
    """A saved state is plain data and leads to the same steps, over the end of an episode."""
    env.reset(seed=SEED)
    before = _longest(env) // 2 + 1
    steps = list(_play(env, before))
    file = io.BytesIO()
    torch.save(env.get_state(), file)
    first = list(_play(env, _longest(env), stream=1))
    file.seek(0)
    try:
        state = torch.load(file, weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever torch refuses is the fault looked for
        yield f"get_state holds what torch.load(weights_only=True) refuses: {str(error).splitlines()[0]}"
        return
    obs = env.set_state(state)
    if not torch.equal(obs, steps[-1].obs):
        yield "set_state returned another observation than the one at get_state"
    second = list(_play(env, _longest(env), stream=1))
    yield from _differences(env, first, second, "going on from a saved state gave another trace")


def _check_inactive(env: TaskVectorEnv) -> Iterator[str]:
    """Slots that have nothing left to play say so and return zeros."""
    schedule = EachGoalOnce(env.task_id.tolist(), env.goal_set.counts, limit=1)
    obs, info = env.reset(seed=SEED, options={"schedule": schedule})
    preview = EachGoalOnce(env.task_id.tolist(), env.goal_set.counts, limit=1)
    playing = torch.tensor([preview.first(slot) != INACTIVE for slot in range(env.num_envs)], device=env.device)
    if not torch.equal(info["active"], playing) or (obs[~playing] != 0).any():
        yield "reset does not follow the schedule: info['active'] or zero observations are wrong"
    for step in _play(env, _longest(env) + 2):
        active = step.info["active"]
        if not torch.equal(active, playing) or not torch.equal(active, step.info["goal_index"] != INACTIVE):
            yield "info['active'] is not where the schedule still had an episode before the step"
        idle = [step.reward, step.obs, step.info["final_obs"], step.info["success"], step.info["final_mask"]]
        if any((tensor[~active] != 0).any() for tensor in idle):
            yield "inactive slots do not return zeros"
        playing = playing & ~step.info["final_mask"]
        if (step.obs[~playing] != 0).any():
            yield "the observation of a slot that has just become inactive is not zero"
    if playing.any():
        yield "a slot whose schedule has one episode was still active after it"
