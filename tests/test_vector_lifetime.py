"""How workers begin and end with the process that started them, however that one was started or ended."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from toy_envs import PointEnv, is_worker, toy_goals, toy_task, worker_processes

from mtrl.vector.processes import ProcessVectorEnv

TESTS = str(Path(__file__).parent)
BODY = """
import sys, time
sys.path.insert(0, {tests!r})
import torch
from toy_envs import PointEnv, sample_points, toy_goals, toy_task
from mtrl.tasks import TaskDefinition
from mtrl.vector.processes import ProcessVectorEnv

print("main module runs")

class HereEnv(PointEnv):
    def step(self, action):
        if action[0] > 0.9:
            time.sleep(600)
        return super().step(action)

task = TaskDefinition("here", "defined in the main module", lambda visible: HereEnv(visible), sample_points, 4, 2, 10,
                      "gymnasium")
env = ProcessVectorEnv([task], goal_set=toy_goals(task), slots_per_task=2, workers=2)
env.reset()
print("first step", tuple(env.step(torch.zeros(2, 2))[0].shape), flush=True)
{then}
"""


def body(then=""):
    return textwrap.dedent(BODY).format(tests=TESTS, then=textwrap.dedent(then))


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def named_memory(processes):
    """Names in /dev/shm that processes have open or mapped; what other tests have there meanwhile does not count."""
    lines = []
    for process in processes:
        lines += Path(f"/proc/{process}/maps").read_text().splitlines()
        lines += [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir() if entry.is_symlink()]
    return {line.split("/dev/shm/")[1].split()[0] for line in lines if "/dev/shm/" in line}


def start(tmp_path, then):
    """A script that has made its first step, and its workers."""
    script = tmp_path / "script.py"
    script.write_text(body(then))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == "main module runs\n"
    assert process.stdout.readline() == "first step (2, 4)\n"
    workers = worker_processes(process.pid)
    assert len(workers) == 2
    return process, workers


@pytest.mark.parametrize("form", ["script", "module", "command", "stdin"])
def test_any_kind_of_main_module_runs_once_and_may_define_tasks(tmp_path, form):
    (tmp_path / "program.py").write_text(body())
    command = {
        "script": [str(tmp_path / "program.py")],
        "module": ["-m", "program"],
        "command": ["-c", body()],
        "stdin": ["-"],
    }[form]
    done = subprocess.run(
        [sys.executable, *command],
        input=body() if form == "stdin" else "",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    # Nothing on stderr either: the script does not close its environment, and nobody complains.
    assert (done.stdout, done.stderr, done.returncode) == ("main module runs\nfirst step (2, 4)\n", "", 0)


@pytest.mark.parametrize(
    "then",
    [
        "print('go', flush=True); time.sleep(600)",
        "print('go', flush=True)\nwhile True: env.step(torch.zeros(2, 2))",
        "env.step_async(torch.ones(2, 2)); time.sleep(0.3); print('go', flush=True); time.sleep(600)",
    ],
    ids=["idle", "stepping", "hanging"],
)
def test_workers_end_when_the_parent_is_killed(tmp_path, then):
    process, workers = start(tmp_path, then)
    assert process.stdout.readline() == "go\n"
    assert named_memory([process.pid, *workers]) == set()  # what has no name ends with those who have it open
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert wait_until(lambda: not any(is_worker(worker) for worker in workers))
    assert process.stderr.read() == ""


def test_ctrl_c_reaches_the_parent_alone_and_the_environment_can_go_on(tmp_path):
    then = """
    try:
        print("stepping", flush=True)
        while True:
            env.step(torch.zeros(2, 2))
    except KeyboardInterrupt:
        env.reset()
        print("went on", tuple(env.step(torch.zeros(2, 2))[0].shape), flush=True)
    """
    process, workers = start(tmp_path, then)
    assert process.stdout.readline() == "stepping\n"
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    for worker in workers:
        os.kill(worker, signal.SIGINT)
    assert process.stdout.readline() == "went on (2, 4)\n"
    assert process.wait(timeout=20) == 0
    assert process.stderr.read() == ""
    assert wait_until(lambda: not any(is_worker(worker) for worker in workers))


class Pressing:
    """A connection that Ctrl-C is pressed at, in the middle of sending or of receiving."""

    def __init__(self, connection, when):
        self.connection, self.when = connection, when

    def send_bytes(self, message):
        self.press("send")
        self.connection.send_bytes(message)

    def recv_bytes(self):
        self.press("receive")
        return self.connection.recv_bytes()

    def press(self, when):
        if self.when == when:
            self.when = ""
            signal.raise_signal(signal.SIGINT)

    def __getattr__(self, name):
        return getattr(self.connection, name)


@pytest.mark.parametrize("when", ["send", "receive"])
def test_ctrl_c_within_a_message_waits_for_its_end(when):
    task = toy_task("near", PointEnv)
    env = ProcessVectorEnv([task], goal_set=toy_goals(task), slots_per_task=2, workers=1)
    env.reset(seed=1)
    wanted = env.step(torch.zeros(2, 2))[0]
    (worker,) = env._pool.workers
    worker._connection = Pressing(worker._connection, when)
    with pytest.raises(KeyboardInterrupt):
        env.step(torch.zeros(2, 2))
    assert worker.awaiting == (when == "send")
    env.reset(seed=1)
    assert torch.equal(env.step(torch.zeros(2, 2))[0], wanted)
    env.close()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_workers_import_has_no_torch():
    code = "import sys, mtrl.vector.worker, mtrl.envs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
