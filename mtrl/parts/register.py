"""Registering parts of your own: networks, critics, combiners and scales, one decorator each."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from mtrl.errors import UserError
from mtrl.registry import Registry

from .combiner import COMBINERS, CombinerConfig
from .critic import CRITICS, CriticConfig
from .network import NETWORKS, NetworkConfig
from .part import Part, PartConfig
from .scale import SCALES, ScaleConfig

Builder = TypeVar("Builder", bound=Callable[..., Any])


def register_network(
    name: str, *, description: str, config: type[NetworkConfig] = NetworkConfig
) -> Callable[[Builder], Builder]:
    """Decorator that registers a network: a `mtrl.parts.network.Network` class, made with `(shape, config, generator)`.

    It is used as `--network NAME`, or for one side as `--algorithm.actor.name NAME`.

    Args:
        name: Under which it is found.
        description: One line.
        config: Frozen dataclass of its settings, a subclass of `NetworkConfig`, whose fields become options.
    """
    return _register_part(NETWORKS, NetworkConfig, name, config, description)


def register_critic(
    name: str, *, description: str, config: type[CriticConfig] = CriticConfig
) -> Callable[[Builder], Builder]:
    """Decorator that registers a critic: a `mtrl.parts.critic.Critic` class, made with `(setting, config)`.

    It is used as `--critic NAME`. Arguments as of `register_network`.
    """
    return _register_part(CRITICS, CriticConfig, name, config, description)


def register_combiner(
    name: str, *, description: str, config: type[CombinerConfig] = CombinerConfig
) -> Callable[[Builder], Builder]:
    """Decorator that registers a combiner: a `mtrl.parts.combiner.Combiner` class, made with `(setting, config)`.

    It is used as `--combiner NAME`, or for one side as `--algorithm.actor-combiner.name NAME`. Arguments as of
    `register_network`.
    """
    return _register_part(COMBINERS, CombinerConfig, name, config, description)


def register_scale(
    name: str, *, description: str, config: type[ScaleConfig] = ScaleConfig
) -> Callable[[Builder], Builder]:
    """Decorator that registers a scale of rewards: a `mtrl.parts.scale.Scale` class, made with `(setting, config)`.

    It is used as `--scale NAME`. Arguments as of `register_network`.
    """
    return _register_part(SCALES, ScaleConfig, name, config, description)


def _register_part(
    registry: Registry[Part[Any]], family: type[PartConfig], name: str, config: type[PartConfig], description: str
) -> Callable[[Builder], Builder]:
    own = issubclass(config, family) and "__dataclass_fields__" in vars(config)  # which it would inherit, too
    if not own:
        wanted = f"its config must be a class under @dataclass(frozen=True) derived from {family.__name__}"
        raise UserError(f"cannot register {registry.kind} '{name}': {wanted}")
    for field in dataclasses.fields(config):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"cannot register {registry.kind} '{name}': give {config.__name__}.{field.name} a default")

    def register(builder: Builder) -> Builder:
        registry.register(name, Part(config, builder), description)
        return builder

    return register
