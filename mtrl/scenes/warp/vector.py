"""The vector environment of tasks on scenes, on a device: nothing in a step waits for it."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from mtrl.goals import INACTIVE, GoalSet
from mtrl.logger.console import warn
from mtrl.scenes.columns import Columns
from mtrl.scenes.native import BOUND
from mtrl.scenes.scene import Scene
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.warp.episodes import DeviceEpisodes
from mtrl.scenes.warp.requirements import require
from mtrl.scenes.warp.settings import WarpSettings
from mtrl.scenes.worlds import SceneWorlds
from mtrl.tasks import TaskDefinition
from mtrl.types import Actions, Flags, Observations, Rewards, State
from mtrl.vector.contract import StepInfo, schedule_of

REPORT_EVERY = 32
"""Steps between two looks of the host at the device."""
UNSOUND = "the state was not finite, or beyond bounds"


class WarpVectorEnv(SceneWorlds):
    """Worlds of one or several tasks with equal rules, stepped by mujoco_warp on a GPU, or a few of them on the CPU.

    A step is recorded work: the rules' controls, the physics, the rules' judgement with all bookkeeping, and the
    placing of the worlds whose episodes ended. A world whose physics fails (not finite, beyond bounds, or contacts or
    constraint rows that did not fit) is truncated with reward 0 and its last sound observation, begins its next
    episode, and is counted.

    Args:
        definitions: The suite's tasks, in order.
        goal_set: Their goals.
        slots_per_task: Worlds of each task.
        workers: Not used: there are no threads.
        goal_visible: Whether observations show the goal.
        device: Where everything lives.
        settings: How worlds are arranged.

    Raises:
        UserError: The extra `gpu` or the device is missing, or a task has no scene.
    """

    engine = "warp"
    report_every = REPORT_EVERY
    has_settings = True

    def __init__(
        self,
        definitions: Sequence[TaskDefinition],
        *,
        goal_set: GoalSet,
        slots_per_task: int = 1,
        workers: int = 0,
        goal_visible: bool = True,
        device: str | torch.device = "cpu",
        settings: WarpSettings | None = None,
    ) -> None:
        device = require(torch.device(device))
        from mtrl.scenes.warp.engine import WarpEngine
        from mtrl.scenes.warp.group import OVERFLOWS
        from mtrl.scenes.warp.program import TorchProgram

        settings = settings or WarpSettings()
        settings.check()
        super().__init__(
            definitions,
            goal_set,
            slots_per_task,
            goal_visible=goal_visible,
            device=device,
            rules_device=device,
            dtype=torch.float32,
        )
        with torch.no_grad():
            inputs = self._evaluator.control(self._action, self._memory)
        widths = {name: value.shape[1] for name, value in inputs.items()}
        self._engine = WarpEngine(self._layout, self._starts(), widths, settings)
        counts = [goal_set.counts[task] for task in self._task_of_slot]
        self._episodes = DeviceEpisodes(
            self._horizon,
            counts,
            self._world,
            interval=self.report_every,
            shortest=1 if self._may_terminate() else int(self._horizon.min()),
            device=device,
        )
        self._kinds = {UNSOUND: 0, **{name: bit for bit, name in OVERFLOWS.items()}}
        self._allocate()
        self._use_snapshots()
        self._control = TorchProgram("controls", self._write_controls, device)
        self._conclude = TorchProgram("judgement", self._judge_step, device)
        self._recorded = self._ready = self._stepped = False

    @torch.no_grad()
    def _may_terminate(self) -> bool:
        """Whether the rules end episodes themselves; before the first reset, when memory means nothing yet."""
        return self._judge(self._engine.views, self._action, self._memory).terminated is not None

    def _allocate(self) -> None:
        """All tensors that a step writes, by world; a recording knows where they lie."""
        worlds, device = self.num_envs, self.device
        self._task_of_world = torch.empty(worlds, dtype=torch.int64, device=device)
        self._task_of_world[torch.from_numpy(self._world).to(device)] = self.task_id
        self._bits = torch.tensor(list(self._kinds.values())[1:], dtype=torch.int32, device=device)
        self._faults = torch.zeros(len(self.tasks), 1 + len(self._kinds), dtype=torch.int64, device=device)
        self._obs = torch.zeros(worlds, self._rules.obs_dim, device=device)
        self._final_obs = torch.zeros_like(self._obs)
        self._reward = torch.zeros(worlds, device=device)
        self._played = torch.full((worlds,), INACTIVE, dtype=torch.int64, device=device)
        flags = ("success", "terminated", "truncated", "ended")
        self._flags = {name: torch.zeros(worlds, dtype=torch.bool, device=device) for name in flags}

    def _starts(self) -> list[Snapshots]:
        """Of each task, in the layout's order."""
        return [self._snapshots[task] for task in self._order]

    def _use_snapshots(self) -> None:
        """Takes the starts to the device: observation and memory of each, and which rows belong to which world."""
        starts, visible = self._starts(), self._layout.goal_visible
        obs = np.concatenate([own.visible if visible else own.hidden for own in starts])
        memory = np.concatenate([own.memory for own in starts])
        tables = [torch.from_numpy(table.astype(np.float32)).to(self.device) for table in (obs, memory)]
        if hasattr(self, "_first_obs"):
            for own, table in zip((self._first_obs, self._first_memory), tables, strict=True):
                own.copy_(table)  # in place: a recording knows this memory
            self._engine.load_starts(starts)
            return
        self._first_obs, self._first_memory = tables
        first = np.repeat(np.cumsum([0, *[len(own) for own in starts]])[:-1], self._layout.counts)
        self._first_row = torch.from_numpy(first).to(self.device)

    @property
    def _views(self) -> Columns:
        return self._engine.views

    @property
    def faults(self) -> np.ndarray:
        """Episodes that ended because their physics failed, `[task]`; asking waits for the device."""
        return self._faults[:, -1].cpu().numpy().copy()

    @property
    def fault_reasons(self) -> dict[str, int]:
        """How often each thing that can go wrong has cut an episode short; asking waits for the device."""
        counts = self._faults[:, :-1].sum(dim=0).tolist()
        return {name: count for name, count in zip(self._kinds, counts, strict=True) if count}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """See `TaskVectorEnv.reset`."""
        self._record()
        progress = bool((options or {}).get("random_progress"))
        self._episodes.begin(seed, schedule_of(options), random_progress=progress)
        active = self._episodes.goal >= 0
        self._obs.zero_()
        self._restart(active)
        self._engine.place()
        self._ready, self._stepped = True, False
        return self._own_by_slot(self._obs), {
            "goal_index": self._own_by_slot(self._episodes.goal),
            "active": self._own_by_slot(active),
        }

    def _record(self) -> None:
        """Records the torch part of a step, once: it plays steps of no meaning, before a reset or a saved state."""
        if self._recorded:
            return
        faults = self._faults.clone()
        for program in (self._control, self._conclude):
            program.record()
        self._faults.copy_(faults)
        self._recorded = True
        if self.recording_faults:
            warn(
                f"{len(self.recording_faults)} programs of the warp engine could not be recorded and run launch by "
                f"launch, much slower: {'; '.join(self.recording_faults)}"
            )

    @property
    def recording_faults(self) -> list[str]:
        """Programs that could not be recorded, each with the reason."""
        programs = (*self._engine.programs, self._control, self._conclude)
        return [f"{program.name}: {program.fault}" for program in programs if program.fault]

    @torch.no_grad()
    def _restart(self, worlds: torch.Tensor) -> None:
        """Begins episodes of the goals as they are now: observation, memory, and what `place` shall do."""
        row = self._first_row + self._episodes.goal.clamp(min=0)
        mask = worlds.unsqueeze(1)
        memory = self._memory.table
        memory.copy_(torch.where(mask, self._first_memory.index_select(0, row), memory))
        self._obs.copy_(torch.where(mask, self._first_obs.index_select(0, row), self._obs))
        self._engine.mask.copy_(worlds)
        self._engine.goal.copy_(self._episodes.goal)

    def step_async(self, actions: Actions) -> None:
        """See `TaskVectorEnv.step_async`: everything is queued on the device."""
        if not self._ready or self._stepped:
            raise gymnasium.error.ResetNeeded("call reset before step, and step_wait after step_async")
        self._check_actions(actions)
        actions = actions.detach()
        self._action.copy_(actions if self._slot_of_world is None else actions[self._slot_of_world])
        self._control()
        self._engine.step()
        self._conclude()
        self._engine.place()
        self._episodes.keep_supplied()
        self._stepped = True

    @torch.no_grad()
    def _write_controls(self) -> None:
        for name, value in self._evaluator.control(self._action, self._memory).items():
            self._engine.controls[name].copy_(value)

    @torch.no_grad()
    def _judge_step(self) -> None:
        """Judges the state, ends episodes and begins the next ones, all by mask."""
        outcome = self._judge(self._engine.views, self._action, self._memory)
        self._outcome = outcome
        self._played.copy_(self._episodes.goal)
        active = self._played >= 0
        wrong = self._note_faults(active)
        truncated = (self._episodes.stepped() | wrong) & active
        sound = active & ~wrong
        terminated = torch.zeros_like(sound) if outcome.terminated is None else outcome.terminated & sound
        # Not by multiplication: what failed may be NaN.
        obs = torch.where(wrong.unsqueeze(1), self._obs, outcome.observation)
        self._final_obs.copy_(obs.masked_fill_(~active.unsqueeze(1), 0))
        self._reward.copy_(outcome.reward.masked_fill(~sound, 0))
        ended = terminated | truncated
        results = {"success": outcome.success & sound, "terminated": terminated, "truncated": truncated, "ended": ended}
        for name, value in results.items():
            self._flags[name].copy_(value)
        restarted = self._episodes.end(ended)
        self._obs.copy_(self._final_obs.masked_fill((ended & ~restarted).unsqueeze(1), 0))
        self._restart(restarted)

    def _note_faults(self, active: torch.Tensor) -> torch.Tensor:
        """Counts what went wrong by task and kind; returns in which worlds, `[world]` bool."""
        unsound = ~(self._engine.views.table.abs().amax(dim=1) <= BOUND)  # NaN compares as false
        overflows = (self._engine.overflow.unsqueeze(1) & self._bits) != 0
        kinds = torch.cat((unsound.unsqueeze(1), overflows), dim=1) & active.unsqueeze(1)
        wrong = kinds.any(dim=1)
        self._faults.index_add_(0, self._task_of_world, torch.cat((kinds, wrong.unsqueeze(1)), dim=1).long())
        return wrong

    def step_wait(self) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """See `TaskVectorEnv.step_wait`; nothing is waited for on a GPU."""
        if not self._stepped:
            raise gymnasium.error.NoAsyncCallError("call step_async before step_wait", "step_wait")
        self._stepped = False
        played, flags = self._own_by_slot(self._played), self._flags
        success, terminated, truncated, ended = (self._own_by_slot(flag) for flag in flags.values())
        info: StepInfo = {
            "success": success,
            "final_obs": self._own_by_slot(self._final_obs),
            "final_mask": ended,
            "goal_index": played,
            "active": played >= 0,
        }
        return self._own_by_slot(self._obs), self._own_by_slot(self._reward), terminated, truncated, info

    def get_state(self) -> State:
        """See `TaskVectorEnv.get_state`: the whole state of every simulation, on the CPU."""
        if not self._ready or self._stepped:
            raise RuntimeError("get_state is for between steps, after a reset")
        return {
            **self._identity(),
            **self._episodes.get_state(),
            "faults": self._faults.cpu().clone(),
            "obs": self._obs.cpu().clone(),
            "memory": self._memory.table.cpu().clone(),
            "simulations": self._engine.get_state(),
        }

    def set_state(self, state: State) -> Observations:
        """See `TaskVectorEnv.set_state`.

        Raises:
            UserError: The state belongs to another environment.
        """
        self._check_state(state)
        self._record()
        self._episodes.set_state(state)
        for own, name in ((self._faults, "faults"), (self._obs, "obs"), (self._memory.table, "memory")):
            own.copy_(state[name])
        self._engine.set_state(state["simulations"])
        self._ready, self._stepped = True, False
        return self._own_by_slot(self._obs)

    def compile(self) -> None:
        """See `TaskVectorEnv.compile`; before the first reset."""
        super().compile()
        self._recorded = False

    def _simulation_of(self, task: int, slot: int) -> tuple[Scene, np.ndarray, np.ndarray] | None:
        goal = int(self._episodes.goal[self._world[slot]])
        return None if goal < 0 else self._engine.simulation_of(task, slot % self._per_task, goal)

    def close_extras(self, **_: Any) -> None:
        """Waits for the device, and frees what draws."""
        self._engine.close()
        super().close_extras()
