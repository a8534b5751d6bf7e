"""What all tests share."""

import os

import pytest
import torch

import mtrl  # noqa: F401 - chooses MuJoCo's renderer, before a test imports MuJoCo

# Thousands of tiny runs would each start wandb's service; the tests of wandb itself take this back.
os.environ["WANDB_MODE"] = "disabled"

TOGETHER = {
    "test_warp_": "warp",
    "test_bench_gpu": "warp",
    "test_no_task_loses_goals_on_the_warp_engine": "warp",
    "test_two_processes_take_the_steps_of_one": "ranks",
    "test_tutorial": "tutorial",
    "test_report_browser": "browser",
}
"""Tests that one process runs, by a part of their names: they share what is long to make (kernels, a browser)."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        for part, group in TOGETHER.items():
            if part in item.nodeid:
                item.add_marker(pytest.mark.xdist_group(group))
    if config.getoption("loadgroup", False):
        items.sort(key=lambda item: not any(item.iter_markers("xdist_group")))  # long ones first


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    """A test that draws from torch's own generator draws the same whatever ran before it."""
    torch.manual_seed(0)
