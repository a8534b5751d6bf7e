"""What agents that learn to learn refuse: networks that know which task they are in, and several processes."""

from mtrl.algorithm import Problem
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


def refuse_several_processes(problem: Problem, name: str) -> None:
    """For agents whose updates are of whole trials, of all worlds together.

    Args:
        problem: What the agent is built for.
        name: What it is called.

    Raises:
        UserError: Several processes are to train together.
    """
    if problem.ranks.size > 1:
        raise UserError(
            f"{name} learns from the trials of all worlds together, and this is one of {problem.ranks.size} processes: "
            "start it without torchrun"
        )
