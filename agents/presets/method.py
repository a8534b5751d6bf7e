"""A published method as two presets: with its own settings, and in a small form for two CPU cores."""

from dataclasses import dataclass, replace
from typing import Any

from mtrl.algorithm import AGENTS, AgentPreset
from mtrl.config import RunConfig
from mtrl.parts.part import PartConfig

from ..networks.multi_head import MultiHeadConfig
from ..sac import SAC
from ..sac_config import SACConfig
from .quick import QUICK

META_WORLD_PLUS = "McLean et al., Meta-World+, NeurIPS 2025"
FULL_COST = "MT10 at 2 M steps/task: days on 2 CPU cores; experiments/bench_agents.py measures an update"

WIDTH, DEPTH = 128, 2
"""Of the networks of small forms."""
SIZE: dict[str, Any] = {"width": WIDTH, "depth": DEPTH, "layer_norm": True}
SMALL = MultiHeadConfig(**SIZE)
"""The network of small forms that do not differ in it."""


@dataclass(frozen=True)
class Method:
    """A method, registered as `NAME` and `NAME-small`.

    Attributes:
        name: Of the preset.
        description: One line.
        source: Paper, venue and year.
        algorithm: Settings of the source.
        small: Fields of the small form's algorithm that differ from those of `quick`; None: there is no small form.
        notes: Where our settings differ from the source's.
        run: Fields of the run's configuration that differ from its defaults.
        small_run: The same of the small form, from those of `quick`.
    """

    name: str
    description: str
    source: str
    algorithm: SACConfig
    small: dict[str, Any] | None
    notes: str = ""
    run: tuple[tuple[str, Any], ...] = ()
    small_run: tuple[tuple[str, Any], ...] = ()

    def register(self) -> None:
        """Adds the presets."""
        defaults = RunConfig(agent=self.name, algorithm=self.algorithm, **dict(self.run))
        preset = AgentPreset(self.name, defaults, SAC, FULL_COST, self.source, notes=self.notes)
        AGENTS.register(self.name, preset, self.description)
        if self.small is None:
            return
        name = f"{self.name}-small"
        algorithm = replace(QUICK.algorithm, **{**both(SMALL), **self.small})
        small = replace(QUICK, agent=name, algorithm=algorithm, **dict(self.small_run))
        notes = f"What {self.name} is made of at a small size ({WIDTH} units), trained with the settings of quick."
        cost = "MT3: 3 to 7 minutes of training beside another run on 2 CPU cores (measured)"
        AGENTS.register(
            name,
            AgentPreset(name, small, SAC, cost, f"{self.source}; settings of this project", notes=notes),
            f"small form of {self.name} for a laptop",
        )


def both(config: PartConfig) -> dict[str, Any]:
    """The same network for actor and critics."""
    return {"actor": config, "critic": config}


def combined(config: PartConfig) -> dict[str, Any]:
    """The same combiner for actor and critics."""
    return {"actor_combiner": config, "critic_combiner": config}
