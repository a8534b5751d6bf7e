"""Every preset: its settings are sound, its sizes are the published ones, and it updates."""

import dataclasses

import pytest
import torch
from agent_toys import batch_of, problem

from mtrl.agents.sac_config import SACConfig
from mtrl.algorithm import AGENTS, learns_in_trials
from mtrl.config import from_dict, to_dict, validate

TRAINABLE = [name for name in AGENTS if AGENTS.get(name).trainable and not name.startswith("toy")]
COUNTS = {  # at observations of 39 numbers and actions of 4: actor and both critics, by preset and tasks
    ("mtsac", 10): (344_008, 685_602),
    ("mtsac", 50): (360_008, 717_602),
    ("mtmhsac", 10): (372_880, 692_820),
    ("mtmhsac", 50): (517_200, 756_900),
    ("soft-modules", 10): (691_022, 1_381_646),
    ("soft-modules-mt50", 50): (1_606_140, 3_211_882),
    ("care", 10): (420_564, 837_914),
    ("care-mt50", 50): (451_168, 900_722),
    ("film", 10): (377_414, 749_614),
    ("film", 50): (379_414, 753_614),
    ("paco", 10): (1_700_095, 3_388_120),
    ("paco-mt50", 50): (6_801_180, 13_554_080),
    ("moore", 10): (1_379_320, 2_715_300),
    ("moore-mt50", 50): (2_181_500, 4_101_500),
}
ACTORS = {  # of the wide forms, on 10, 25 and 50 tasks
    256: (164_944, 199_624, 257_424),
    512: (591_952, 661_192, 776_592),
    1024: (2_232_400, 2_370_760, 2_601_360),
    2048: (8_659_024, 8_935_624, 9_396_624),
    4096: (34_095_184, 34_648_264, 35_570_064),
}


def build(name, tasks, obs=39, act=4):
    preset = AGENTS.get(name)
    return preset.build(preset.defaults.algorithm, problem(tasks, obs, act))


@pytest.mark.parametrize(("name", "tasks"), list(COUNTS))
def test_parameter_counts_equal_the_published_ones(name, tasks):
    actor, critics = COUNTS[name, tasks]
    assert build(name, tasks).parameter_counts() == {"actor": actor, "critics": critics}


@pytest.mark.parametrize("width", [width for width in ACTORS if width < 2048])
def test_wide_actors_have_the_published_counts(width):
    counts = [build(f"mtmhsac-{width}", tasks).parameter_counts()["actor"] for tasks in (10, 25, 50)]
    assert tuple(counts) == ACTORS[width]


@pytest.mark.slow
@pytest.mark.parametrize("width", [width for width in ACTORS if width >= 2048])
def test_the_widest_actors_have_the_published_counts(width):
    test_wide_actors_have_the_published_counts(width)


@pytest.mark.slow
def test_brc_has_the_published_counts():
    assert build("brc", 50).parameter_counts() == {"actor": 153_608, "critics": 135_784_202}


@pytest.mark.parametrize("name", TRAINABLE)
def test_settings_are_sound_and_survive_being_written_down(name):
    defaults = AGENTS.get(name).defaults
    assert validate(defaults) == defaults
    assert from_dict(defaults, to_dict(defaults)) == defaults
    assert AGENTS.describe(name) and AGENTS.get(name).source


def learns_by(config, name):
    algorithm = AGENTS.get(name).defaults.algorithm
    return isinstance(algorithm, config) and not learns_in_trials(algorithm)  # which have tests of their own


SMALL = [name for name in TRAINABLE if name.endswith("-small") or name == "quick"]


@pytest.mark.parametrize("name", [name for name in SMALL if learns_by(SACConfig, name)])
def test_small_forms_update(name):
    p = problem(3, 39, 4)
    agent = AGENTS.get(name).build(dataclasses.replace(AGENTS.get(name).defaults.algorithm, batch_per_task=4), p)
    before = {key: value.clone() for key, value in agent.weights().items()}
    for seed in range(2):
        metrics = agent.update(batch_of(p, per_task=4, seed=seed))
    assert all(torch.isfinite(value).all() for value in metrics.values())
    after = agent.weights()
    for part in ("actor.", "critics.", "target_critics.", "log_temperature"):
        assert any(not torch.equal(before[key], after[key]) for key in after if key.startswith(part))


def test_every_method_has_a_small_form():
    full = {name for name in TRAINABLE if not name.endswith(("-small", "-mt10", "-mt50")) and name != "quick"}
    without = {name for name in full if f"{name}-small" not in TRAINABLE}
    assert without == {f"mtmhsac-{width}" for width in ACTORS}
