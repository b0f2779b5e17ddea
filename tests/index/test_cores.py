"""How many cores a process may use, in containers and units too."""

from __future__ import annotations

import os

import pytest

from index import cores as module
from index.cores import cores


@pytest.fixture
def groups(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_GROUPS", tmp_path)
    monkeypatch.setattr(module, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    return tmp_path


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_a_quota_of_version_2_limits_the_cores_and_a_part_of_one_counts_as_one(groups):
    write(groups, membership="0::/system.slice/peephole.service\n")
    assert cores() == 8
    write(groups / "system.slice/peephole.service", cpu__max="max 100000\n")
    assert cores() == 8
    write(groups / "system.slice/peephole.service", cpu__max="250000 100000\n")
    assert cores() == 3
    write(groups / "system.slice", cpu__max="20000 100000\n")
    assert cores() == 1


def test_a_quota_of_version_1_limits_the_cores(groups):
    write(groups, membership="5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n")
    write(groups / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert cores() == 8
    write(groups / "cpu", cpu__cfs_quota_us="200000\n")
    assert cores() == 2


def test_without_control_groups_or_with_strange_files_the_cores_it_may_run_on_count(groups):
    assert cores() == 8
    write(groups, membership="0::/\n", cpu__max="what\n")
    assert cores() == 8
    write(groups, cpu__max="100000 0\n")
    assert cores() == 8
