"""The page on configurations lists every configuration and every set of terms there is."""

import re

from components.episode import RewardWidths
from scenes.motion_tracking import CONFIGS
from scenes.tasks.tracking_sets import OBSERVATIONS, REWARDS, TERMINATIONS
from systems.observations import observations
from systems.rewards import rewards
from tests.docs.pages import DOCS, fences, namespace

ROWS = [
    line.split("|")[1:-1]
    for line in (DOCS / "configurations.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]


def test_every_configuration_is_listed() -> None:
    listed = [name for row in ROWS for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(listed) == sorted(CONFIGS)


def test_every_set_is_listed() -> None:
    known = {"--observations": OBSERVATIONS, "--rewards": REWARDS, "--terminations": TERMINATIONS}
    listed = {row[0].strip(" `"): set(re.findall(r"`(\w+)`", row[1])) for row in ROWS if row[0].strip(" `") in known}
    assert {flag: names - {"dm_2real"} for flag, names in listed.items()} == {f: set(sets) for f, sets in known.items()}


def test_the_tables_of_the_page_can_be_built() -> None:
    names = namespace()
    for fence in fences("configurations.md", "python"):
        fence.run(names)
    bundle = observations(names["table"])
    assert list(bundle.axes["group_observation"].terms) == ["teacher.guided"]
    assert RewardWidths in rewards(names["rewards"]).writes
