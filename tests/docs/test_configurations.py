"""The page on configurations lists every configuration and every set of terms there is."""

import re
from types import ModuleType

import pytest

from components.episode import RewardWidths
from scenes.motion_tracking import CONFIGS
from scenes.tasks import locomotion, tracking_sets
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


@pytest.mark.parametrize(("scene", "sets"), [("motion_tracking", tracking_sets), ("velocity", locomotion)])
def test_every_set_is_listed(scene: str, sets: ModuleType) -> None:
    text = (DOCS / "configurations.md").read_text(encoding="utf-8")
    after = text.partition(f"| flag | sets of `scenes/{scene}.py` |\n")[2]
    rows = [line.split("|")[1:-1] for line in after.partition("\n\n")[0].splitlines()[1:]]
    listed = {flag.strip(" `"): set(re.findall(r"`(\w+)`", names)) - {"dm_2real"} for flag, names in rows}
    known = {"--observations": sets.OBSERVATIONS, "--rewards": sets.REWARDS, "--terminations": sets.TERMINATIONS}
    assert listed == {flag: set(names) for flag, names in known.items()}


def test_the_tables_of_the_page_can_be_built() -> None:
    names = namespace()
    for fence in fences("configurations.md", "python"):
        fence.run(names)
    bundle = observations(names["table"])
    assert list(bundle.axes["group_observation"].terms) == ["teacher.guided"]
    assert RewardWidths in rewards(names["rewards"]).writes
