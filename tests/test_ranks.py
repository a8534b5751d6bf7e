"""Two processes with half of the transitions each take the steps that one process takes with all of them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import rank_work
import torch
from runner_toys import tensors_differ, without_clock

from mtrl.checkpoint import find_checkpoint
from mtrl.errors import UserError
from mtrl.ranks import ALONE, Ranks
from mtrl.run_folder import RunFolder, read_json, read_jsonl

TESTS = Path(__file__).parent


def torchrun(processes, *words, **options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}"]
    return subprocess.run([*launch, *words], capture_output=True, text=True, timeout=600, **options)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(2, str(TESTS / "rank_work.py"), str(folder), cwd=TESTS)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(2)], rank_work.all_weights()


CASES = [*(f"SAC {name}" for name in rank_work.SAC_CASES), *(f"PPO {name}" for name in rank_work.PPO_CASES)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_steps_of_one(weights, case):
    (first, second), whole = weights
    for name, right in whole[case].items():
        assert torch.equal(first[case][name], second[case][name]), name
        assert torch.allclose(first[case][name], right, rtol=1e-4, atol=2e-5), name


def test_one_test_process_has_them_all(request):
    """Both would otherwise make the weights above, and whatever else tests/conftest.py lists."""
    if os.environ.get("PYTEST_XDIST_WORKER") is None:
        pytest.skip("one process has all tests here")
    of_group = [item for item in request.session.items if item.name.startswith("test_two_processes_take_the_steps")]
    assert len(of_group) == len(CASES) and all(item.nodeid.endswith("@ranks") for item in of_group)


def test_alone_nothing_is_changed():
    tensors = torch.randn(3), torch.randn(2, 2)
    assert all(one is other for one, other in zip(ALONE.mean(*tensors), tensors, strict=True))
    assert ALONE.largest(tensors[0]) is tensors[0] and ALONE.seed(5) == 5 and ALONE.share(7, "it") == 7
    assert ALONE.any(True) and ALONE.smallest(3) == 3


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(UserError, match=r"--slots-per-task 3 cannot be divided among 2 processes"):
        Ranks(1, 2).share(3, "--slots-per-task")
    assert len({Ranks(rank, 8).seed(0) for rank in range(8)}) == 8


def trained(folder, *words):
    return torchrun(2, str(TESTS / "rank_train.py"), str(folder), *words, cwd=TESTS)


def weights_of(folder):
    return find_checkpoint(RunFolder(folder), with_replay=False).weights()


@pytest.mark.parametrize("agent", [pytest.param("tiny", marks=pytest.mark.slow), "tiny-ppo"])
def test_a_run_of_two_processes_goes_on_exactly_after_one_was_killed(tmp_path, agent):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = trained(whole, agent, "80")
    assert done.returncode == 0, done.stderr
    assert (whole / "DONE").exists() and read_json(whole / "config.json")["processes"] == 2
    assert read_jsonl(whole / "eval.jsonl")[-1]["steps_per_task"] == 80
    assert tensors_differ(weights_of(whole), weights_of(whole / "ranks" / "1")) == ""

    killed = trained(cut, agent, "80", "53")
    assert killed.returncode != 0 and not (cut / "DONE").exists()
    assert "cannot reach the others any more" in killed.stderr and "Checkpoints are whole" in killed.stderr
    again = trained(cut, agent, "80")
    assert again.returncode == 0, again.stderr
    assert tensors_differ(weights_of(whole), weights_of(cut)) == ""
    lines = [[without_clock(line) for line in read_jsonl(folder / "metrics.jsonl")] for folder in (whole, cut)]
    assert lines[0] == lines[1]

    alone = subprocess.run(
        [sys.executable, str(TESTS / "rank_train.py"), str(cut), agent, "90"], capture_output=True, text=True, cwd=TESTS
    )
    assert alone.returncode == 1 and "was begun with 2 processes, and here are 1" in alone.stderr
