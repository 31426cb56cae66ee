"""The scripts of docs/cluster.md: their syntax, and that the flags in them are those of the scenes."""

import re
import shlex
import subprocess

import pytest

from engine.runner.config import make_plan
from tests.docs.pages import fences

PAGE = "cluster.md"


def commands() -> list[str]:
    """Every command that trains, without what starts it."""
    found = list[str]()
    for fence in fences(PAGE, "bash"):
        text = fence.text.replace("\\\n", " ")
        for name, value in (("$WHERE", "--num-envs 4096 --out runs/squat"), ("2>&1", "")):
            text = text.replace(name, value)
        found += [part.split("#")[0].rstrip(" &") for part in re.findall(r"-m engine\.run (.*)", text)]
    return found


@pytest.mark.parametrize("words", [each for each in commands() if "--resume" not in each])
def test_every_command_of_the_page_has_flags_that_exist(words: str):
    plan = make_plan(shlex.split(words))
    assert plan.config.num_envs in (2048, 4096)


def test_the_script_of_slurm_is_one_that_bash_reads():
    (script,) = fences(PAGE, "bash", "train.sbatch")
    assert subprocess.run(["bash", "-n"], input=script.text, text=True, check=False).returncode == 0
    assert "--signal=B:USR1@120" in script.text and "scontrol requeue" in script.text


def test_the_job_of_kubernetes_starts_the_same_command():
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with mkdocs, of the extra dev")
    (job,) = fences(PAGE, "yaml", "train.yaml")
    worker = yaml.safe_load(job.text)["spec"]["pytorchReplicaSpecs"]["Worker"]
    words = worker["template"]["spec"]["containers"][0]["command"]
    assert words[:5] == ["torchrun", "--nproc-per-node", "4", "-m", "engine.run"]
    assert make_plan(words[5:]).config.num_envs == 4096
