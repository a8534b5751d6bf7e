"""What the dashboard reads from run folders, how it sorts runs, and what goes into the page."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import MT3, Spec, write_floor, write_lines, write_run

import mtrl.report
from mtrl import stats
from mtrl.errors import UserError
from mtrl.report.comparisons import group_runs
from mtrl.report.load import format_steps, load_runs
from mtrl.report.page import payload


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def loaded(root: Path) -> tuple[list, list[str]]:
    lines: list[str] = []
    return load_runs([root], lines.append), lines


def grouped(root: Path) -> tuple[list, list[str]]:
    runs, lines = loaded(root)
    return group_runs(runs, lines.append), lines


def episodes_of(folder: Path, line: int = -1) -> list[dict]:
    return json.loads((folder / "eval.jsonl").read_text().splitlines()[line])["episodes"]


def test_a_run_is_read_as_it_was_written(tmp_path):
    folder = write_run(tmp_path, Spec(seed=3, heldout=True))
    (run,), lines = loaded(tmp_path)
    assert not lines
    assert (run.suite, run.agent, run.seed, run.finished, run.fixed_policy) == ("MT3", "mtmhsac", 3, True, False)
    final = run.evaluations[-2]
    assert (final.label, final.final, final.goal_set) == ("A-eval, 2 M steps/task", True, "train")
    assert run.evaluations[-1].label == "A-heldout, 2 M steps/task"
    for episode in episodes_of(folder, -2):
        assert final.success_any[episode["task"]][episode["goal"]] == episode["success_any"]
        assert final.success_end[episode["task"]][episode["goal"]] == episode["success_end"]
    assert len(run.training) <= 120
    assert run.training[-1].steps == 2_000_000


def test_training_metrics_are_averaged_and_null_is_no_zero(tmp_path):
    folder = write_run(tmp_path, Spec())
    values = [None, 0.5, 0.25, 0.75]
    lines = [
        {"steps_per_task": step, "wall_s": 1.0, "train/success": value, "loss/critic": None}
        for step, value in enumerate(values)
    ]
    write_lines(folder / "metrics.jsonl", [line for line in lines for _ in range(60)])
    (run,), _ = loaded(tmp_path)
    assert len(run.training) == 120
    assert [run.training[i].success for i in (0, 30, 60, 90)] == values


def test_unfinished_and_torn_runs_are_read_without_a_warning(tmp_path):
    folder = write_run(tmp_path, Spec(finished=False))
    whole = len(loaded(tmp_path)[0][0].evaluations)
    for name in ("eval.jsonl", "metrics.jsonl"):
        with (folder / name).open("a") as file:
            file.write('{"protocol": "A-eval", "episodes": [{"ta')
    (run,), lines = loaded(tmp_path)
    assert not run.finished
    assert len(run.evaluations) == whole
    assert not lines


@pytest.mark.parametrize(
    "damage",
    ["not json\n", "[]\n", '{"protocol": "A-eval"}\n', "\xff\n", "[" * 100_000 + "\n", "null\n"],
)
def test_damaged_lines_give_one_warning_that_names_the_file(tmp_path, damage):
    folder = write_run(tmp_path, Spec())
    path = folder / "eval.jsonl"
    path.write_text(damage * 2 + path.read_text(), encoding="latin-1")
    (run,), lines = loaded(tmp_path)
    assert len(run.evaluations) == 9
    assert len(lines) == 1
    assert str(path) in lines[0]
    assert "restore" in lines[0]
    assert "\n" not in lines[0]


@pytest.mark.parametrize("value", ["1", None, float("nan"), float("inf"), 2, -1, []])
def test_success_that_is_no_rate_is_damage(tmp_path, value):
    folder = write_run(tmp_path, Spec())
    lines = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    lines[0]["episodes"][5]["success_end"] = value
    write_lines(folder / "eval.jsonl", lines)
    (run,), warnings = loaded(tmp_path)
    assert len(run.evaluations) == 8
    assert "line 1" in warnings[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"config": {}, "agent": "a", "suite": {}}',
        '{"config": {"seed": "x"}, "agent": "a", "suite": {"name": "b"}}',
    ],
)
def test_a_damaged_record_leaves_out_that_run_alone(tmp_path, text):
    write_run(tmp_path, Spec(seed=0))
    broken = write_run(tmp_path, Spec(seed=1)) / "config.json"
    broken.write_text(text)
    runs, lines = loaded(tmp_path)
    assert [run.seed for run in runs] == [0]
    assert len(lines) == 1
    assert str(broken) in lines[0]


def test_folders_are_found_once_at_any_depth(tmp_path):
    folder = write_run(tmp_path / "a" / "b", Spec())
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "config.json").write_text("{}")  # belongs to the run
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    runs = load_runs([tmp_path, folder, tmp_path / "a"])
    assert [run.folder for run in runs] == [folder.resolve()]


def test_nothing_to_compare_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(UserError, match="mtrl train"):
        mtrl.report.compare([tmp_path])
    with pytest.raises(UserError, match="no folder"):
        mtrl.report.compare([tmp_path / "missing"])
    with pytest.raises(UserError, match="no folder"):
        mtrl.report.compare([])
    write_run(tmp_path, Spec())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="-o"):
        mtrl.report.compare([tmp_path], tmp_path / "file" / "report.html")


def test_only_equal_conditions_are_compared(tmp_path):
    for seed in range(2):
        write_run(tmp_path, Spec(seed=seed, heldout=True))
        write_run(tmp_path, Spec(seed=seed, agent="mtsac"))
    write_run(tmp_path, Spec(steps=500_000, folder="short"))
    write_run(tmp_path, Spec(goal_seed=7, folder="other-goals"))
    write_run(tmp_path, Spec(goals=20, agent="few-goals"))
    write_run(tmp_path, Spec(agent="unfinished", finished=False))
    write_floor(tmp_path, Spec(agent="zero"), 0.1)
    (suite,), lines = grouped(tmp_path)
    assert not lines
    found = [
        (one.label, [(entry.agent.runs[0].agent, len(entry.runs)) for entry in one.entries])
        for one in suite.comparisons
    ]
    assert found[0] == ("A-eval, 2 M steps/task", [("mtmhsac", 2), ("mtsac", 2), ("zero", 1)])
    assert sorted(found[1:]) == [
        ("A-eval, 2 M steps/task", [("few-goals", 1)]),
        ("A-eval, 2 M steps/task", [("mtmhsac", 1)]),  # goals of another seed; its floor would need that seed too
        ("A-eval, 500 k steps/task", [("mtmhsac", 1), ("zero", 1)]),
        ("A-heldout, 2 M steps/task", [("mtmhsac", 2)]),
    ]
    assert len({one.details for one in suite.comparisons if one.label == "A-eval, 2 M steps/task"}) == 3


def test_configurations_of_one_preset_are_agents_of_their_own(tmp_path):
    for seed in range(2):
        write_run(tmp_path, Spec(seed=seed))
        write_run(tmp_path, Spec(seed=seed, algorithm={**Spec().algorithm, "actor_lr": 1e-3}, folder=f"fast-{seed}"))
    (suite,), _ = grouped(tmp_path)
    assert [(agent.label, len(agent.runs)) for agent in suite.agents] == [
        ("mtmhsac (actor_lr=0.0003)", 2),
        ("mtmhsac (actor_lr=0.001)", 2),
    ]


def test_the_same_seed_twice_counts_once(tmp_path):
    write_run(tmp_path, Spec())
    partly = write_run(tmp_path, Spec(finished=False, folder="again"))
    (suite,), lines = grouped(tmp_path)
    assert [run.finished for run in suite.agents[0].runs] == [True]
    assert len(lines) == 1
    assert str(partly) in lines[0]


def test_figures_in_the_page_are_those_of_the_statistics(tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(6):
        write_run(tmp_path, Spec(seed=seed, skill=rng.normal(1, 0.5)))
        write_run(tmp_path, Spec(seed=seed, agent="mtsac", skill=0.3))
    data = payload(load_runs([tmp_path]), tmp_path, pytest.fail)
    (comparison,) = data["suites"][0]["comparisons"]
    scores = {}
    for index, agent in enumerate(("mtmhsac", "mtsac")):
        entry = comparison["entries"][index]
        outcomes = [np.zeros((6, 50)) for _ in MT3]  # from the files and not through the loader
        for seed in range(6):
            for episode in episodes_of(tmp_path / "MT3" / agent / f"seed-{seed}"):
                outcomes[MT3.index(episode["task"])][seed, episode["goal"]] = episode["success_end"]
        assert np.array_equal(np.array(entry["success_end"]), np.stack(outcomes, axis=1))
        expected = stats.intervals(outcomes)
        assert expected is not None
        assert entry["intervals"]["success_end"] == {name: (one.low, one.high) for name, one in expected.items()}
        scores[index] = stats.task_scores(outcomes)
    cell = next(c for c in comparison["improvement"] if (c["metric"], c["one"]) == ("success_end", 0))
    assert cell["value"] == stats.probability_of_improvement(scores[0], scores[1])


def test_controls_are_comparisons_of_their_own_and_in_no_curve(tmp_path):
    path = write_run(tmp_path, Spec(agent="rl2", adapting=3)) / "eval.jsonl"
    before = payload(load_runs([tmp_path]), tmp_path, pytest.fail)["suites"][0]
    last = json.loads(path.read_text().splitlines()[-1])
    failed = [{**episode, "success_any": 0, "success_end": 0} for episode in last["episodes"]]
    control = {**last, "context": "other", "protocol": last["protocol"] + " on other goals", "episodes": failed}
    with path.open("a") as file:
        file.write(json.dumps(control) + "\n")
    after = payload(load_runs([tmp_path]), tmp_path, pytest.fail)["suites"][0]
    assert after["runs"][0]["evaluations"] == before["runs"][0]["evaluations"] != []
    labels = [one["label"] for one in after["comparisons"]]
    assert labels == [
        "A-eval after 3 episodes on other goals, 2 M steps/task",
        "A-eval after 3 episodes, 2 M steps/task",
    ]


def test_settings_that_older_runs_have_not_are_what_they_are_by_default(tmp_path):
    folders = [write_run(tmp_path, Spec(seed=seed)) for seed in range(3)]
    for folder, trial in zip(folders[1:], ({"episodes": 10, "judged": 3}, {"episodes": 4, "judged": 3}), strict=True):
        record = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**record, "config": {**record["config"], "trial": trial}}))
    (suite,) = group_runs(load_runs([tmp_path]), print)
    found = [(agent.label, [run.seed for run in agent.runs]) for agent in suite.agents]
    assert found == [("mtmhsac (trial.episodes=10)", [0, 1]), ("mtmhsac (trial.episodes=4)", [2])]


def test_differences_name_the_field_and_every_value(tmp_path):
    write_run(tmp_path, Spec())
    other = {**Spec().algorithm, "actor_lr": 1e-3}
    for seed, torch in ((0, "2.13.0"), (1, "2.14.0")):
        spec = Spec(agent="mtsac", seed=seed, algorithm=other)
        write_run(tmp_path, replace(spec, versions={**spec.versions, "torch": torch}))
    data = payload(load_runs([tmp_path]), tmp_path, pytest.fail)
    rows = {row["field"]: row["values"] for row in data["suites"][0]["differences"]}
    assert rows == {
        "config.algorithm.actor_lr": ["0.0003", "0.001"],
        "versions.torch": ["2.13.0", "2.13.0 | 2.14.0"],
    }


def test_videos_are_embedded_while_small_and_linked_otherwise(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "runs", Spec())
    (folder / "videos").mkdir()
    (folder / "videos" / "drawer open.mp4").write_bytes(b"x" * 100)
    (folder / "videos" / "reach-v3.mp4").write_bytes(b"y" * 10)
    monkeypatch.setattr("mtrl.report.page.LARGEST_VIDEO", 50)
    data = payload(load_runs([tmp_path]), tmp_path, pytest.fail)
    large, small = data["suites"][0]["runs"][0]["videos"]
    assert large == {"task": "drawer open", "link": "runs/MT3/mtmhsac/seed-0/videos/drawer%20open.mp4", "source": ""}
    assert small["source"] == "data:video/mp4;base64,eXl5eXl5eXl5eQ=="


def test_the_page_is_one_file_that_loads_nothing(tmp_path):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    write_run(tmp_path, Spec(agent=evil, folder="evil"))
    page = mtrl.report.compare([tmp_path], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "\\u003cscript>alert(1)" in page  # as data it is there
    tags = Tags()
    tags.feed(page)
    assert [tag for tag, _ in tags.found].count("script") == 3
    links = [value for _, attributes in tags.found for name, value in attributes.items() if name in ("src", "href")]
    assert sorted(links) == ["#content", "data:,"]
    policy = next(attributes["content"] for _, attributes in tags.found if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "url(" not in page.split("<style>")[1].split("</style>")[0]


def test_steps_are_written_with_units():
    assert [format_steps(n) for n in (0, 800, 1000, 250_000, 999_999, 2_000_000, 1_500_000)] == [
        "0", "800", "1 k", "250 k", "1 M", "2 M", "1.5 M",
    ]  # fmt: skip
