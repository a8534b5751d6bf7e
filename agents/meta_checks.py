"""What agents that learn to learn refuse: networks that know which task they are in."""

from mtrl.errors import UserError
from mtrl.parts.network import Network, NetworkConfig, split_parameters


def refuse_task_codes(config: NetworkConfig, name: str) -> None:
    """Lets no network be told the task.

    Args:
        config: Of the network.
        name: Its field in the algorithm's settings.

    Raises:
        UserError: It is told.
    """
    if config.code.code != "hidden":
        raise UserError(
            f"--algorithm.{name}.task.code {config.task.code} tells the network which task it is in, and this agent is "
            f"to find out: give --algorithm.{name}.task.code hidden"
        )


def refuse_own_parts(network: Network, config: NetworkConfig) -> None:
    """Lets no network have parts of a task's own.

    Raises:
        UserError: It has.
    """
    if split_parameters(network).specific:
        raise UserError(
            f"network '{config.name}' has parts of each task's own, which tasks never met before would lack: take one "
            "that has none, such as --network one_hot"
        )
