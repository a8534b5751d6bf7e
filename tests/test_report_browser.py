"""The dashboard in headless Chromium: what it shows, what the filters do, and that it loads nothing."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_runs import MT3, Spec, write_run, write_zoo

import mtrl.report
from mtrl import stats

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not CHROMIUM or not DRIVER:
    pytest.skip("needs chromium and chromedriver: apt-get install chromium chromium-driver", allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip
EVIL = "</script><img src=x onerror=window.hacked=1><b>%{x}</b>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("zoo")
    write_zoo(root)
    return root


@pytest.fixture(scope="module")
def page(zoo, tmp_path_factory) -> Path:
    return mtrl.report.compare([zoo], tmp_path_factory.mktemp("page") / "report.html")


def visit(browser: Any, page: Path, *, width: int = 1280, theme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.as_uri())
    browser.execute_script("localStorage.clear()")
    wait(browser, "document.documentElement.dataset.ready === 'true'")


def wait(browser: Any, condition: str) -> None:
    until = time.monotonic() + 30
    while not browser.execute_script(f"return {condition}"):
        assert time.monotonic() < until, f"still not so: {condition}; {messages(browser)}"
        time.sleep(0.05)


def ask(browser: Any, script: str, *arguments: Any) -> Any:
    return browser.execute_script(f"return {script}", *arguments)


def choose(browser: Any, box: str, value: str) -> None:
    """Clicks the chip of a filter."""
    script = "[...document.querySelectorAll(arguments[0] + ' input')].find((one) => one.value === arguments[1]).click()"
    browser.execute_script(script, box, value)


def table(browser: Any, section: int = 0) -> dict[str, dict[str, str]]:
    """Agent to its cells in the final table, from top to bottom."""
    name = 'cell.dataset.metric ? cell.dataset.metric + " " + cell.dataset.statistic : cell.dataset.label'
    script = f"""[...document.querySelectorAll(`#suite-${{arguments[0]}} tr[data-agent]`)].map((row) =>
      [row.dataset.agent, [...row.querySelectorAll("td")].map((cell) => [{name}, cell.textContent])])"""
    return {agent: dict(cells) for agent, cells in ask(browser, script, section)}


def traces(browser: Any, title: str, section: int = 0) -> list[dict[str, Any]]:
    """What plotly draws in the card of that title."""
    script = """[...document.querySelectorAll(`#suite-${arguments[1]} .card`)].find((card) =>
      card.querySelector("h3")?.textContent.startsWith(arguments[0])).querySelector(".plot").data
      .map(({ name, x, y, z }) => JSON.parse(JSON.stringify({ name: name ?? "", x, y, z })))"""
    return ask(browser, script, title, section)


def messages(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


@pytest.mark.parametrize("width", [1280, 768, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_draws_in_every_form_with_no_error_and_no_request(browser, page, width, theme):
    visit(browser, page, width=width, theme=theme)
    assert ask(browser, "document.documentElement.dataset.theme") == theme
    shape = "[one.clientWidth, one.clientHeight, one.querySelectorAll('svg').length]"
    plots = ask(browser, f"[...document.querySelectorAll('.plot')].map((one) => {shape})")
    assert len(plots) == 9  # five figures of MT3 and four of MT10, where there are too few seeds for the fifth
    assert all(w > 200 and h > 100 and svgs for w, h, svgs in plots)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.execute_script("document.querySelectorAll('.results button').forEach((one) => one.click())")
    time.sleep(0.2)
    assert ask(browser, "document.documentElement.scrollWidth <= window.innerWidth")
    background = ask(browser, "getComputedStyle(document.body).backgroundColor")
    assert (int(background.split("(")[1].split(",")[0]) < 60) == (theme == "dark")
    assert messages(browser) == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in sent if not url.startswith(("data:", "blob:"))] == [page.as_uri()]


def test_adaptation_curves_show_trained_and_new_goals_side_by_side(browser, tmp_path):
    for seed in range(2):
        write_run(tmp_path, Spec("ML1", ("reach-v3",), "rl2", seed, heldout=True, adapting=3))
    write_run(tmp_path, Spec("ML1", ("reach-v3",), "mtsac", 0))
    visit(browser, mtrl.report.compare([tmp_path], tmp_path / "page.html"))
    found = traces(browser, "Adaptation")
    labels = ["A-eval after 3 episodes", "A-heldout after 3 episodes"]
    assert [one["name"].replace("<br>", " ").split(", ")[1] for one in found] == [labels[0]] * 2 + [labels[1]] * 2
    lines = (tmp_path / "ML1/rl2/seed-1/eval.jsonl").read_text().splitlines()
    episodes = json.loads(lines[-2])["episodes"]  # the final one on training goals
    rates = [[one["success_any"] for one in episodes if one.get("number", 0) == number] for number in range(4)]
    wanted = [float(np.mean(own)) for own in rates]
    assert found[1]["x"] == [1, 2, 3, 4] and found[1]["y"] == pytest.approx(wanted)
    assert len(table(browser)) == 1  # another protocol is another comparison
    choose(browser, "#filter-metric", "at the end")
    assert traces(browser, "Adaptation")[1]["y"][3] <= wanted[3]
    assert messages(browser) == []


def test_the_table_shows_the_statistics(browser, page, zoo):
    visit(browser, page)
    rows = table(browser)
    assert list(rows) == ["mtmhsac (2 M steps/task)", "mtsac", "quick", "zero", "random", "repeat"]
    outcomes = final_outcomes(zoo, "mtsac", range(10), "success_end")
    scores, intervals = stats.task_scores(outcomes), stats.intervals(outcomes)
    assert intervals is not None
    for name, statistic in stats.STATISTICS.items():
        edges = f"{intervals[name].low:.3f} to {intervals[name].high:.3f}"
        assert rows["mtsac"][f"success_end {name}"] == f"{statistic(scores):.3f}{edges}"
    assert rows["mtsac"]["Seeds"] == "10"
    assert rows["mtsac"]["Steps/task"] == "2 M"
    few = stats.task_scores(final_outcomes(zoo, "quick", range(3), "success_any"))
    assert rows["quick"]["success_any iqm"] == f"{stats.iqm_over_seeds(few):.3f}"  # and no interval
    assert "Points only for quick (3 seeds)" in ask(browser, "document.querySelector('#suite-0 .note.few').textContent")
    assert "no ranking" in ask(browser, "document.querySelector('#suite-0 .results caption').textContent")


def final_outcomes(root: Path, agent: str, seeds: range, metric: str) -> list[np.ndarray]:
    """From the files themselves, one array a task."""
    outcomes = [np.zeros((len(seeds), 50)) for _ in MT3]
    for seed in seeds:
        lines = [
            json.loads(line) for line in (root / "MT3" / agent / f"seed-{seed}" / "eval.jsonl").read_text().splitlines()
        ]
        final = next(line for line in lines if line["final"])
        for episode in final["episodes"]:
            outcomes[MT3.index(episode["task"])][seed, episode["goal"]] = episode[metric]
    return outcomes


def test_seeds_are_filtered_in_table_and_figures(browser, page, zoo):
    visit(browser, page)
    for seed in range(6, 10):
        choose(browser, "#filter-seed", str(seed))
    row = table(browser)["mtsac"]
    outcomes = final_outcomes(zoo, "mtsac", range(6), "success_any")
    intervals = stats.intervals(outcomes)
    assert intervals is not None
    assert row["Seeds"] == "6"
    for name, statistic in stats.STATISTICS.items():
        cell = row[f"success_any {name}"]
        assert cell[:5] == f"{statistic(stats.task_scores(outcomes)):.3f}"
        edges = [float(edge) for edge in cell[5:].split(" to ")]
        # The page resamples by itself with other random numbers.
        assert edges == pytest.approx([intervals[name].low, intervals[name].high], abs=0.02)
    assert "28 of 36 runs" in ask(browser, "document.getElementById('shown').textContent")
    choose(browser, "#filter-seed", "5")
    choose(browser, "#filter-seed", "4")
    row = table(browser)["mtsac"]
    assert row["Seeds"] == "4"
    assert len(row["success_any iqm"]) == 5  # no interval any more
    assert "Needs two agents with five seeds" in ask(browser, "document.querySelector('#suite-0').textContent")
    lines = [trace for trace in traces(browser, "Success curves") if trace["name"] == "mtsac"]
    assert len(lines) == 4  # a line a seed
    browser.execute_script("document.getElementById('reset').click()")
    assert table(browser)["mtsac"]["Seeds"] == "10"


def test_agents_and_suites_are_filtered(browser, page):
    visit(browser, page)
    choose(browser, "#filter-agent", "quick")
    choose(browser, "#filter-agent", "zero")
    assert list(table(browser)) == ["mtmhsac (2 M steps/task)", "mtsac", "random", "repeat"]
    names = {trace.get("name") for trace in traces(browser, "Success curves")}
    assert not {"quick", "zero (floor)"} & names
    assert len(traces(browser, "Success by task")[0]["z"]) == 4
    # All agents left have five seeds: now there is a ranking.
    assert "Ordered by IQM" in ask(browser, "document.querySelector('#suite-0 .results caption').textContent")
    choose(browser, "#filter-suite", "MT3")
    assert ask(browser, "[...document.querySelectorAll('h2')].map((one) => one.textContent)") == ["MT10"]
    choose(browser, "#filter-suite", "MT10")
    assert "No suite is chosen" in ask(browser, "document.getElementById('content').textContent")
    assert messages(browser) == []


def test_other_conditions_are_shown_apart(browser, page):
    visit(browser, page)
    choose(browser, "#suite-0 .picker", "A-heldout, 2 M steps/task")
    assert list(table(browser)) == ["mtmhsac (2 M steps/task)"]
    labels = ask(browser, "[...document.querySelectorAll('#suite-0 .card .label')].map((one) => one.textContent)")
    assert labels.count("A-heldout, 2 M steps/task") == 4
    choose(browser, "#suite-0 .picker", "A-eval, 500 k steps/task")
    rows = table(browser)
    assert list(rows) == ["mtmhsac (500 k steps/task)", "zero", "random", "repeat"]
    assert rows["mtmhsac (500 k steps/task)"]["Steps/task"] == "500 k"


def test_metric_axis_source_and_task_can_be_chosen(browser, page, zoo):
    visit(browser, page)
    heat = traces(browser, "Success by task")[0]["z"]
    choose(browser, "#filter-metric", "at the end")
    assert np.all(np.array(traces(browser, "Success by task")[0]["z"]) <= np.array(heat) + 1e-12)
    expected = stats.task_scores(final_outcomes(zoo, "mtsac", range(10), "success_end")).mean(axis=0)
    np.testing.assert_allclose(traces(browser, "Success by task")[0]["z"][1], expected)
    curve = next(one for one in traces(browser, "Success curves") if one["name"] == "mtsac" and one["y"])
    assert curve["x"][-1] == 2_000_000
    choose(browser, "#suite-0 .controls", "wall-clock")
    hours = next(one for one in traces(browser, "Success curves") if one["name"] == "mtsac")
    assert hours["y"] == curve["y"]
    assert hours["x"][-1] == pytest.approx(2e6 * (0.004 + 0.0002 * 2) / 3600)  # mean of the ten seeds
    choose(browser, "#suite-0 .controls", "training")
    assert len(next(one for one in traces(browser, "Success curves") if one["name"] == "mtsac")["x"]) > 60
    select = "document.querySelector('#suite-0 select[aria-label=Task]')"
    browser.execute_script(f"{select}.value = 'reach-v3'; {select}.dispatchEvent(new Event('change'))")
    assert ask(browser, f"{select}.value") == "reach-v3"
    assert messages(browser) == []


def test_figures_per_task_unfold_by_keyboard(browser, page):
    visit(browser, page)
    button = browser.find_element("css selector", "tr[data-agent=mtsac] button")
    browser.execute_script("arguments[0].focus()", button)
    assert button.get_attribute("aria-expanded") == "false"
    button.send_keys("\ue007")  # Enter
    assert button.get_attribute("aria-expanded") == "true"
    more = browser.find_element("id", button.get_attribute("aria-controls"))
    assert more.is_displayed()
    assert all(task in more.text for task in MT3)
    assert "seed 0: setting up 3 s, training" in more.text and "evaluations 31 s" in more.text


def test_theme_can_be_switched(browser, page):
    visit(browser, page, theme="light")
    browser.execute_script("document.getElementById('theme').click()")
    assert ask(browser, "document.documentElement.dataset.theme") == "dark"
    assert ask(browser, "document.querySelector('.plot').layout.paper_bgcolor") == "#1a1c20"


def test_figures_have_descriptions_and_controls_have_names(browser, page):
    visit(browser, page)
    labels = ask(browser, "[...document.querySelectorAll('figure')].map((one) => one.getAttribute('aria-label'))")
    assert len(labels) == 9
    assert all(len(label) > 30 for label in labels)
    assert "mtsac: IQM 0." in labels[0]
    name = "one.labels?.[0]?.textContent || one.getAttribute('aria-label') || one.textContent"
    nameless = f"[...document.querySelectorAll('input, select, button')].filter((one) => !({name})).length"
    assert ask(browser, nameless) == 0
    titles = ask(browser, "[...document.querySelectorAll('.modebar-btn')].map((one) => one.getAttribute('data-title'))")
    assert set(titles) == {"Download plot as a PNG", "Reset axes"}  # none that sends a figure away


def test_the_pages_statistics_are_those_of_the_library(browser, page):
    visit(browser, page)
    rng = np.random.default_rng(0)
    scores, other = rng.random((7, 12)).round(1), rng.random((9, 12)).round(1)
    found = ask(browser, "Statistics.estimates(arguments[0])", scores.tolist())
    for name, statistic in stats.STATISTICS.items():
        assert found[name] == pytest.approx(float(statistic(scores)), abs=1e-12)
    thresholds = np.linspace(0, 1, 11)
    profile = ask(browser, "Statistics.profile(...arguments)", scores.tolist(), thresholds.tolist())
    np.testing.assert_allclose(profile, stats.performance_profile(scores, thresholds))
    better = ask(browser, "Statistics.improvement(...arguments)", scores.tolist(), other.tolist())
    assert better["value"] == pytest.approx(stats.probability_of_improvement(scores, other), abs=1e-12)
    edges = stats.improvement_interval(scores, other)
    assert edges is not None
    assert better["interval"] == pytest.approx([edges.low, edges.high], abs=0.02)
    for few in (scores[:4], other[:4]):
        assert ask(browser, "Statistics.improvement(...arguments)", few.tolist(), scores.tolist()) is None
        assert (
            ask(browser, "Statistics.intervals([...arguments[0]].map((row) => row.map((x) => [x])))", few.tolist())
            is None
        )


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Path:
    """Twelve agents of five seeds, one of them with a long name."""
    root = tmp_path_factory.mktemp("crowd")
    names = [f"method-{index}-small" for index in range(11)] + [
        "mtmhsac+soft_modules+hl_gauss+actor-combiner=cagrad_fast"
    ]
    for index, name in enumerate(names):
        for seed in range(5):
            write_run(root, Spec(agent=name, seed=seed, skill=0.1 * index, points=3, goals=5))
    return mtrl.report.compare([root], tmp_path_factory.mktemp("page") / "report.html")


@pytest.mark.parametrize("width", [1280, 390])
def test_many_agents_have_room(browser, crowd, width):
    visit(browser, crowd, width=width)
    assert ask(browser, "document.documentElement.scrollWidth <= window.innerWidth")
    bars = "[...document.querySelectorAll('.legend .scrollbar')].filter((bar) => bar.getAttribute('height') > 0)"
    assert ask(browser, f"{bars}.length") == 0  # no legend is cut off
    inner = "[...document.querySelectorAll('.plot')].map((one) => one._fullLayout._size.h)"
    assert min(ask(browser, inner)) > 130
    gaps = """[...document.querySelectorAll('.plot')].flatMap((plot) => {
      const ticks = [...plot.querySelectorAll('g.ytick')].map((tick) => tick.getBoundingClientRect());
      ticks.sort((one, other) => one.top - other.top);
      return ticks.slice(1).map((tick, index) => tick.top - ticks[index].bottom);
    })"""
    assert min(ask(browser, gaps)) > -3  # names of agents do not lie on each other
    looks = ask(browser, "Array.from({ length: 32 }, (_, index) => JSON.stringify(Figures.style(index)))")
    assert len(set(looks)) == 32
    browser.execute_script("document.querySelector('#filters details').open = true")
    browser.execute_script("document.getElementById('none').click()")
    assert "Nothing is left to show" in ask(browser, "document.getElementById('content').textContent")
    choose(browser, "#filter-agent", "method-3-small")
    assert list(table(browser)) == ["method-3-small"]
    browser.execute_script("document.getElementById('reset').click()")
    assert len(table(browser)) == 12
    assert messages(browser) == []


def test_names_from_run_folders_stay_names(browser, tmp_path):
    for seed in range(5):
        tasks = (EVIL, "b")
        algorithm = {EVIL: EVIL}
        write_run(
            tmp_path, Spec(suite=EVIL, tasks=tasks, agent=EVIL, seed=seed, algorithm=algorithm, folder=f"a{seed}")
        )
        write_run(tmp_path, Spec(suite=EVIL, tasks=tasks, agent="b", seed=seed, folder=f"b{seed}"))
    (tmp_path / "a0" / "videos").mkdir()
    (tmp_path / "a0" / "videos" / '"><img src=x onerror=window.hacked=1>.mp4').write_bytes(b"")
    visit(browser, mtrl.report.compare([tmp_path]))
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.execute_script("document.querySelectorAll('.results button').forEach((one) => one.click())")
    time.sleep(0.3)
    assert ask(browser, "window.hacked") is None
    assert ask(browser, "document.querySelectorAll('img').length") == 0
    assert EVIL in table(browser)
    drawn = ask(browser, "[...document.querySelectorAll('#suite-0 .plot')].map((one) => one.textContent).join()")
    assert "<b>%{x}</b>" in drawn  # as it is, and not in bold
    assert messages(browser) == []


def test_a_run_that_has_only_begun_is_shown(browser, tmp_path):
    write_run(tmp_path, Spec(finished=False))
    folder = write_run(tmp_path, Spec(seed=1, finished=False))
    for name in ("eval.jsonl", "metrics.jsonl"):
        (folder / name).write_text("")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    visit(browser, mtrl.report.compare([tmp_path]))
    text = ask(browser, "document.getElementById('content').textContent")
    assert "No final evaluation yet" in text
    assert "2 in all, 2 unfinished" in text
    assert "config.json: not the record of a run" in text
    assert any(trace["name"] == "mtmhsac" for trace in traces(browser, "Success curves"))
    assert messages(browser) == []
