"""The words of processes that train together: which rows, which GPU, which run; without starting any."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.errors import SceneError
from engine.ranks.ranks import Ranks, asked_for
from engine.runner.config import RunPlan, make_plan
from engine.runner.run import main
from engine.runner.together import _again, pin, shards_asked_for

CARTPOLE = ["scenes/cartpole.py"]


def ranks(size: int = 2, local: int = 1, attempt: int = 0) -> Any:
    return SimpleNamespace(size=size, rank=local, local=local, local_size=size, attempt=attempt)


def shared(*words: str, size: int = 2, local: int = 1) -> RunPlan:
    plan = make_plan([*CARTPOLE, *words])
    plan.share(ranks(size, local))
    return plan


def test_every_process_has_its_part_of_the_rows_and_blocks_follow_from_all_of_them():
    for size in (1, 2, 4):
        plan = shared("--num-envs", "256", size=size)
        assert plan.settings.row_blocks == 32 and plan.config.num_envs == 256
        assert plan.experiment().train().tables[0].rows == 256 // size
    assert shared("--num-envs", "256", "--row-blocks", "64").settings.row_blocks == 64


def test_each_process_takes_the_gpu_of_its_own_number(monkeypatch: pytest.MonkeyPatch):
    chosen = list[int]()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert [shared("--device", "cuda", local=local).settings.device for local in (0, 1)] == ["cuda:0", "cuda:1"]
    assert chosen == [0, 1]
    with pytest.raises(SceneError, match=r"--device cuda:0 would put 2 processes onto one GPU\. Say --device cuda"):
        shared("--device", "cuda:0")
    with pytest.raises(SceneError, match=r"Process 2 of this host has no GPU of its own: there are 2\."):
        shared("--device", "cuda", "--num-envs", "128", size=4, local=2)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--num-envs", "100"], "100 rows cannot be cut into blocks of a multiple of 32 rows. The nearest numbers of rows that fit are 96 and 128."),
        (["--num-envs", "128", "--row-blocks", "20"], "Blocks of 20 rows are not possible; give a multiple of 32, such as 32."),
        (["--audit"], "--audit is done by one process; start it without torchrun and without --shards."),
    ],
)  # fmt: skip
def test_what_processes_cannot_share_is_refused(words: list[str], text: str):
    with pytest.raises(SceneError) as error:
        shared(*words)
    assert str(error.value) == text


def test_processes_that_were_started_again_go_on_with_the_run_of_out(tmp_path: Path):
    words = [*CARTPOLE, "--out", str(tmp_path / "run"), "--seed", "3"]
    assert _again(words, ranks(attempt=0)) == words and _again(words, ranks(attempt=1)) == words
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}", encoding="utf-8")
    assert _again(words, ranks(attempt=1)) == [*CARTPOLE, "--seed", "3", "--resume", str(tmp_path / "run")]
    with pytest.raises(SceneError, match=r"nothing says which run they are to go on with\. Name its folder"):
        _again(CARTPOLE, ranks(attempt=1))


def test_shards_are_a_number_or_found_out(capsys: pytest.CaptureFixture[str]):
    assert (
        shards_asked_for(CARTPOLE) == 0
        and shards_asked_for([*CARTPOLE, "--shards", "3"]) == 3
        and shards_asked_for(["--shards=2"]) == 2
    )
    assert 1 <= shards_asked_for(["--shards", "auto"]) <= (os.cpu_count() or 1)
    assert main([*CARTPOLE, "--shards", "many"]) == 2 and main([*CARTPOLE, "--shards", "1000"]) == 2
    errors = capsys.readouterr().err
    assert "error: --shards takes a number of processes, or auto, but was given 'many'." in errors
    assert "error: --shards 1000 asks for more processes than this machine has processors" in errors


def test_processes_of_one_host_take_different_processors(monkeypatch: pytest.MonkeyPatch):
    taken = list[list[int]]()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(5)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, processors: taken.append(processors))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for local in (0, 1):
        pin(ranks(2, local))
    assert [len(each) for each in taken] == [2, 2] and not {*taken[0]} & {*taken[1]}


def test_a_process_knows_its_place_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    assert asked_for({"RANK": "0", "WORLD_SIZE": "1"}) and not asked_for({"WORLD_SIZE": "2"}) and not asked_for({})
    for name, value in {"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SceneError, match=r"RANK=2 of WORLD_SIZE=2 in the environment: ranks are counted from 0\."):
        Ranks.join()
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(SceneError, match=r"RANK='one' in the environment is no number from 0"):
        Ranks.join()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("MASTER_PORT", "")
    with pytest.raises(SceneError, match=r"do not say where the processes meet"):
        Ranks.join()


@pytest.mark.slow
def test_blocks_in_one_process_are_kept_in_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    few = ["--num-envs", "64", "--horizon", "8", "--hidden", "8", "--iterations", "2", "--no-film", "--debug", "off"]
    run = str(tmp_path / "run")
    assert main([*CARTPOLE, *few, "--row-blocks", "32", "--out", run]) == 0
    assert main(["--resume", run, "--iterations", "3"]) == 0
    assert make_plan(["--resume", run]).settings.row_blocks == 32
    assert main(["--resume", run, "--row-blocks", "64"]) == 2
    assert "--row-blocks is 32 in the run's configuration, but 64 was asked for." in capsys.readouterr().err
