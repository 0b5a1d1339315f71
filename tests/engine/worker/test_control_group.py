import pytest

from vllm_local.worker.control_group import ControlGroups

GIB = 2**30


@pytest.fixture
def groups(tmp_path):
    """Makes the files of a process that is in the given groups: {path under the mount: content}."""

    def make(membership, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(membership)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")
        return ControlGroups(tmp_path / "proc", tmp_path / "cgroup")

    return make


def memory_v2(folder, limit, usage, inactive=0):
    stat = f"anon 1\nfile {inactive}\ninactive_file {inactive}\nslab 3"
    return {f"{folder}memory.max": limit, f"{folder}memory.current": usage, f"{folder}memory.stat": stat}


def memory_v1(folder, limit, usage, inactive=0):
    names = ("limit_in_bytes", "usage_in_bytes", "stat")
    values = (limit, usage, f"cache 9\ninactive_file 7\ntotal_inactive_file {inactive}")
    return {f"memory/{folder}memory.{name}": value for name, value in zip(names, values, strict=True)}


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", memory_v2("", 4 * GIB, GIB), 3 * GIB),
        ("0::/", memory_v2("", "max", GIB), None),
        ("0::/", memory_v2("", 4 * GIB, 3 * GIB, inactive=2 * GIB), 3 * GIB),
        ("0::/", memory_v2("", GIB, 2 * GIB), 0),
        ("0::/a/b", {**memory_v2("a/b/", "max", GIB), **memory_v2("a/", 2 * GIB, GIB)}, GIB),
        ("0::/a/b", {**memory_v2("a/b/", 2 * GIB, GIB), **memory_v2("a/", 9 * GIB, 4)}, GIB),
        ("0::/host/path", memory_v2("", 2 * GIB, GIB), GIB),
        ("0::/a", memory_v2("elsewhere/", 2 * GIB, GIB), None),
        ("4:memory:/x", memory_v1("x/", 4 * GIB, 3 * GIB, inactive=GIB), 2 * GIB),
        ("4:memory:/host/path", memory_v1("", 4 * GIB, GIB), 3 * GIB),
        ("4:cpu,memory:/", memory_v1("", 9223372036854771712, GIB), None),
        ("5:pids:/x", memory_v1("x/", 4 * GIB, GIB), None),
        ("4:memory:/x\n0::/", {**memory_v1("x/", 4 * GIB, GIB), **memory_v2("unified/", 2 * GIB, GIB)}, GIB),
        ("", {}, None),
    ],
    ids=[
        "v2",
        "v2 without a limit",
        "v2 file cache is free",
        "v2 above its limit",
        "v2 outer group limits",
        "v2 inner group limits",
        "v2 path of the host",
        "v2 another group",
        "v1",
        "v1 path of the host",
        "v1 without a limit",
        "v1 another controller",
        "both versions",
        "none",
    ],
)
def test_memory_left(groups, membership, files, expected):
    assert groups(membership, files).memory_left() == expected


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a", {"a/cpu.max": "400000 100000", "cpu.max": "max 100000"}, 4.0),
        ("2:cpuacct,cpu:/x", {"cpu/x/cpu.cfs_quota_us": 50_000, "cpu/x/cpu.cfs_period_us": 100_000}, 0.5),
        ("2:cpu:/x", {"cpu/x/cpu.cfs_quota_us": -1, "cpu/x/cpu.cfs_period_us": 100_000}, None),
        ("", {}, None),
    ],
    ids=["v2", "v2 without a limit", "v2 inner", "v1", "v1 without a limit", "none"],
)
def test_cpu_quota(groups, membership, files, expected):
    assert groups(membership, files).cpu_quota() == expected


def test_a_system_without_control_groups_limits_nothing(tmp_path):
    groups = ControlGroups(tmp_path / "proc", tmp_path / "cgroup")
    assert groups.memory_left() is None
    assert groups.cpu_quota() is None
