"""What the progress bar prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from holdfast.evaluation.evaluate import Evaluation
from holdfast.runs.folder import RunFolder
from holdfast.runs.replicas import Replica
from holdfast.runs.settings import Settings
from holdfast.training.hooks import Block, Evaluated, Progress, Start, by_setting

SWEPT = [Replica(f"x-{x}-seed-{s}", s, {"x": float(x)}, None) for x in (1, 2) for s in (0, 1)]


def test_replicas_are_grouped_by_their_settings() -> None:
    assert by_setting(SWEPT) == [[0, 1], [2, 3]]
    assert by_setting([Replica("seed-0", 0, {}, None), Replica("seed-1", 1, {}, None)]) == [[0, 1]]


@pytest.mark.parametrize(("replicas", "said"), [(SWEPT, "best setting's return 35"), (SWEPT[:2], "  return 15")])
def test_no_return_is_an_average_over_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], replicas: list[Replica], said: str
) -> None:
    progress = Progress()
    progress.start(Start(RunFolder(tmp_path), Settings("bc", data="a log"), replicas, 10, 0))
    returns = np.array([[10.0], [20.0], [30.0], [40.0]])[: len(replicas)]
    played = Evaluation("Pendulum-v1", "best", returns, returns.astype(int), returns.astype(int))
    progress.evaluated(Evaluated(10, played))
    progress.block(Block("offline", 10, {}, 1.0, 10))
    assert said in capsys.readouterr().err
