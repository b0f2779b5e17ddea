"""What tests share: one thread, because the arrays are tiny; small data folders; models of random weights."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:  # the tests of the index need no torch
    from retrieval.model.config import ModelConfig
    from retrieval.towers.two_tower import TwoTower

os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes depends on what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Split -> query id -> document id -> grade.
Judged = Mapping[str, Mapping[str, Mapping[str, int]]]
WriteBeir = Callable[[Path, Mapping[str, str], Mapping[str, str], Judged], Path]

DOCUMENT_TEXTS = (
    "list the files of a directory",
    "copy a whole folder to another disk",
    "unpack a tar archive with tar -xzf",
    "启动 nginx 服务",
    "wait until every thread is done",
    "turn text into a date",
    "multiply two matrices",
    "send mail with an attachment",
)
QUERY_TEXTS = (
    "show what is in this directory",
    "copy folder",
    "extract archive",
    "启动服务",
    "join threads",
    "parse a date",
    "matrix product",
    "mail a file",
)


def _write_beir(
    folder: Path, documents: Mapping[str, str], queries: Mapping[str, str], qrels: Judged
) -> Path:
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": id_, "text": text}) + "\n" for id_, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    for split, judged in qrels.items():
        rows = [f"{q}\t{d}\t{grade}\n" for q, grades in judged.items() for d, grade in grades.items()]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


@pytest.fixture(scope="session", autouse=True)
def never_frozen() -> Iterator[None]:
    """Let garbage be collected that verbs leave in this process: frozen, it would keep its files open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.freeze", lambda: None)
        yield


@pytest.fixture(scope="session")
def write_beir() -> WriteBeir:
    """Writes a BEIR folder: texts by id, and the judgements of each split."""
    return _write_beir


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is reached as store://, and not as a local path."""
    fs = pytest.importorskip("pyarrow.fs", reason="needs the extra parquet")
    from retrieval.data import locations

    local = locations.file_system

    def file_system(root: str) -> tuple[Any, str]:
        if root.startswith("store://"):
            inner = fs.SubTreeFileSystem(str(tmp_path / "store"), fs.LocalFileSystem())
            return inner, root.removeprefix("store://").partition("?")[0]
        return local(root)

    monkeypatch.setattr(locations, "file_system", file_system)
    return tmp_path / "store"


@pytest.fixture(scope="session")
def random_model() -> Callable[..., TwoTower]:
    """Makes a model of a config with every weight random and none zero, peepholes and biases included."""

    def make(
        config: ModelConfig, seed: int = 0, texts: Sequence[str] = ("list files", "启动服务")
    ) -> TwoTower:
        import torch

        from retrieval.text.vocabulary import learn_vocabulary
        from retrieval.towers.two_tower import TwoTower

        torch.manual_seed(seed)
        model = TwoTower(config, learn_vocabulary(texts, buckets=11, min_count=1))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(std=0.25 if name.endswith("table") else 0.5)
        return model

    return make


@dataclass(frozen=True)
class Made:
    """A data folder, the model trained on it and the index of both, made by the command; not to change."""

    data: Path
    model: Path
    index: Path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, write_beir: WriteBeir) -> Made:
    """The whole path once: eight documents, trained on, built."""
    from click.testing import CliRunner

    from cli import verbs

    folder = tmp_path_factory.mktemp("made")
    documents = {f"d{n}": text for n, text in enumerate(DOCUMENT_TEXTS)}
    queries = {f"q{n}": text for n, text in enumerate(QUERY_TEXTS)}
    pairs = {f"q{n}": {f"d{n}": 1} for n in range(len(QUERY_TEXTS))}
    made = Made(folder / "data", folder / "model", folder / "index")
    write_beir(made.data, documents, queries, {"train": pairs, "dev": pairs, "test": pairs})
    for args in (
        ["train", made.data, "-o", made.model, "--tower", "lstm", "--epochs", "4"],
        ["build", made.data, "-m", made.model, "-o", made.index],
    ):
        result = CliRunner().invoke(verbs, [str(arg) for arg in args])
        assert result.exit_code == 0, result.output
    import torch

    torch.set_float32_matmul_precision("highest")  # as it was before training asked for speed
    return made


@pytest.fixture(scope="session")
def calibrated(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The same data and model with a calibration, as eight dev queries are too few to fit; not to change."""
    import shutil

    from click.testing import CliRunner

    from cli import verbs
    from retrieval.model.calibration import Calibration, ModeCalibration, to_json
    from retrieval.model.folder import FILES
    from retrieval.search.modes import MODES

    folder = tmp_path_factory.mktemp("calibrated")
    calibrated = Made(made.data, folder / "model", folder / "index")
    shutil.copytree(made.model, calibrated.model)
    fitted = ModeCalibration(
        (-2.0, 2.0, 1.0, 2.0, 0.1, 0.0, 0.0), (-3.0, 2.0, 1.0, 2.0, 0.1, 0.0, 0.0, 1.5, 0.5)
    )
    (calibrated.model / FILES.calibration).write_text(to_json(Calibration(dict.fromkeys(MODES, fitted), 100)))
    args = ["build", made.data, "-m", calibrated.model, "-o", calibrated.index]
    result = CliRunner().invoke(verbs, [str(arg) for arg in args])
    assert result.exit_code == 0, result.output
    return calibrated


@pytest.fixture
def like_nfs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that this process removes while it has them open or mapped stay in their folder, as over NFS."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    unlink = os.unlink

    def remove(path: str | Path, *, dir_fd: int | None = None) -> None:
        status = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if status.st_ino not in _in_use():
            unlink(path, dir_fd=dir_fd)
        elif Path(path).name.startswith(".nfs"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        else:
            hidden = Path(path).with_name(f".nfs{status.st_ino:x}")
            os.rename(path, hidden, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", remove)


def _in_use() -> set[int]:
    """Inode numbers of the files that this process has open or mapped."""
    found = {int(line.split()[4]) for line in Path("/proc/self/maps").read_text().splitlines()}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(link.stat().st_ino)
    return found
