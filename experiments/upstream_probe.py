"""Upstream's reward functions, made to say how far each of their comparisons is from turning out otherwise."""

import ast
import functools
import inspect
import operator
import sys
import textwrap
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.utils import reward_utils

from mtrl.envs.metaworld.lean import LeanSteps
from mtrl.envs.metaworld.upstream import CORRECTIONS, upstream_class

ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
}
CHOICES = {"min": min, "max": max}
SIGNS = {"Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "min": "or", "max": "or"}
Key = tuple[str, str, tuple[int, ...], int]
"""A comparison: the function that holds it (or `max`, `min`), its text, its line and those that led there, and how many
times it has been asked from there before."""
LEVELS = 3
"""How many lines tell comparisons apart."""
Notes = dict[Key, tuple[bool, float]]
"""How each comparison turned out, and left side minus right side."""


class _Noting(ast.NodeTransformer):
    """Puts calls of `_compare` in place of comparisons by order, and of `max` and `min` of two numbers."""

    def _pair(self, function: str, kind: str, a: ast.expr, b: ast.expr) -> ast.expr:
        text = f"{ast.unparse(a)} {SIGNS[kind]} {ast.unparse(b)}"
        arguments = [ast.Constant(text), ast.Constant(kind), self.visit(a), self.visit(b)]
        return ast.Call(ast.Name(function, ast.Load()), arguments, [])

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """A chain `a < b < c` becomes `a < b and b < c`."""
        kinds = [type(order).__name__ for order in node.ops]
        if not all(kind in SIGNS for kind in kinds):
            return node
        sides = [node.left, *node.comparators]
        pairs = [self._pair("_compare", *parts) for parts in zip(kinds, sides, sides[1:], strict=False)]
        return pairs[0] if len(pairs) == 1 else ast.BoolOp(ast.And(), pairs)

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """What upstream checks of itself is no threshold."""
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        """Nor is what it checks of arguments."""
        return node if isinstance(node.body[0], ast.Raise) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A choice turns where its two sides are equal."""
        if isinstance(node.func, ast.Name) and node.func.id in CHOICES and len(node.args) == 2:
            return self._pair("_choose", node.func.id, *node.args)
        return self.generic_visit(node)


class Probe:
    """Judges states with upstream's own code while noting its comparisons.

    Args:
        task: Name of the task.
    """

    def __init__(self, task: str) -> None:
        self._notes: Notes = {}
        plain, upstream = upstream_class(task), ALL_V3_ENVIRONMENTS[task]
        below = type(plain.__name__, (plain,), {})
        self._class = type(plain.__name__, (below,), {})
        self._helpers = {"_compare": self._compare, "_choose": self._choose}
        names = ("tolerance", "rect_prism_tolerance")
        rewards = {name: self._noting(getattr(reward_utils, name)) for name in names}
        self._helpers["tolerance"] = rewards["tolerance"]
        self._helpers["reward_utils"] = types.SimpleNamespace(**{**vars(reward_utils), **rewards})
        # Upstream calls static methods by the class's name.
        self._helpers[upstream.__name__] = self._class
        caging = {"_gripper_caging_reward": SawyerXYZEnv._gripper_caging_reward}
        self._add(below, caging | dict(vars(upstream)))
        for correction in CORRECTIONS.get(task, ()):
            self._add(self._class, vars(correction))

    def _add(self, target: type, methods: Mapping[str, Any]) -> None:
        for name, method in methods.items():
            if name.startswith("__") or name in vars(LeanSteps):
                continue
            if isinstance(method, staticmethod):
                setattr(target, name, staticmethod(self._noting(method.__func__)))
            elif isinstance(method, types.FunctionType):
                setattr(target, name, self._noting(method))

    def _noting(self, function: Any) -> Callable[..., Any]:
        """The function with notes; the one within, where upstream has wrapped it to check that a goal was set."""
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        if "func" in cells:
            return self._noting(cells["func"].cell_contents)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        definition = tree.body[0]
        assert isinstance(definition, ast.FunctionDef)
        definition.decorator_list, definition.returns = [], None
        for argument in ast.walk(definition.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        noting = _Noting()
        definition.body = [noting.visit(statement) for statement in definition.body]
        maker = ast.parse(f"def _make({', '.join(cells)}):\n    return {definition.name}").body[0]
        assert isinstance(maker, ast.FunctionDef)
        maker.body.insert(0, definition)
        module = ast.fix_missing_locations(ast.Module([maker], []))
        names = {**function.__globals__, **self._helpers}
        # Helpers that are made later, such as the class's own name, are looked up when a method is called.
        exec(compile(module, inspect.getfile(function), "exec"), names)
        # `super()` of a correction is then what is below it here.
        contents = {name: cell.cell_contents for name, cell in cells.items()} | {"__class__": self._class}
        return names["_make"](*(contents[name] for name in cells))

    def _note(self, name: str, text: str, result: Any, a: Any, b: Any) -> None:
        caller = sys._getframe(2)
        function = caller.f_code.co_name
        if function == "tolerance" and (a == 0 or b == 0):
            return  # a lower bound of zero: no distance is below it
        lines: list[int] = []
        while caller is not None and len(lines) < LEVELS:
            lines.append(caller.f_lineno)
            caller = caller.f_back
        key = (name or function, text, tuple(lines), 0)
        while key in self._notes:
            key = (*key[:3], key[3] + 1)
        self._notes[key] = (bool(result), float(a) - float(b))

    def _compare(self, text: str, order: str, a: Any, b: Any) -> Any:
        result = ORDERS[order](a, b)
        if np.ndim(result) == 0:
            self._note("", text, result, a, b)
        return result

    def _choose(self, text: str, which: str, a: Any, b: Any) -> Any:
        self._note(which, text, a > b, a, b)
        return CHOICES[which](a, b)

    def notes(self, env: Any, observation: np.ndarray, action: np.ndarray) -> Notes:
        """The comparisons made in judging an environment's present state."""
        self._notes = {}
        plain = type(env)
        env.__class__ = self._class
        try:
            env.evaluate_state(observation, action)
        finally:
            env.__class__ = plain
        return self._notes


@functools.cache
def probe_of(task: str) -> Probe:
    """The probe of a task, made once."""
    return Probe(task)
