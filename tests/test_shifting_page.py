"""The table of `experiments/shifting.py`."""

import json

import shifting


def test_a_row_is_the_mean_of_the_runs_that_are_over(tmp_path):
    for seed, (rates, steps, over) in enumerate(
        (((0.5, 1.0), (30, 10), True), ((0.0, 0.8), (20, 20), True), ((0.9, 0.9), (1, 1), False))
    ):
        folder = tmp_path / str(seed)
        folder.mkdir()
        lines = [{"steps_per_task": 10 * (n + 1), "summary": {"success_any": rate}} for n, rate in enumerate(rates)]
        (folder / "eval.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "metrics.jsonl").write_text(json.dumps({"steps/a": steps[0], "steps/b": steps[1]}) + "\n")
        if over:
            per_task = {name: {"success_any": rates[-1] - away} for name, away in (("a", 0.0), ("b", 0.5))}
            (folder / "DONE").write_text(json.dumps({"summary": {"per_task": per_task}, "wall_s": 60.0 * (seed + 1)}))
    cells = shifting.row([tmp_path / str(seed) for seed in range(3)])
    assert cells == ["2", "0.90", "1.00, 0.80", "0.40", "0.35", "0.50 to 1.50", "1.5"]
    assert shifting.row([tmp_path / "2"]) == ["0", "", "", "", "", "", ""]


def test_both_arms_differ_in_who_plays_alone(tmp_path):
    plain, shift = shifting.jobs_of("MT10", "ppo-small", [3], 1_000, 0.25, tmp_path)
    assert shift.words == (*plain.words, "--shift.floor", "0.25", "--shift.every", "50")
    assert (plain.seed, plain.suite) == (shift.seed, shift.suite) == (3, "MT10") and plain.folder != shift.folder
