"""Jobs on real clusters of Ray on this machine, and on a local server of S3: the same files as threads make."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lichen.batch.manifest import read_manifest
from tests.small import scene

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray's modules, when they are loaded
PATIENCE = 300  # seconds
ROOT = Path(__file__).parents[2]


def lichen(*arguments: str, code: int = 0, environment: dict[str, str] | None = None) -> str:
    """What the command says, which must end with this code."""
    command = [sys.executable, "-m", "lichen", *arguments]
    whole = os.environ | (environment or {})
    ended = subprocess.run(command, env=whole, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == code and "Traceback" not in ended.stderr, ended.stderr[-3000:]
    return ended.stderr


def files_in(folder: Path) -> dict[str, bytes]:
    """All files of a folder, also hidden ones, by their names within it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_time(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(({**row, "seconds": 0} for row in rows), key=lambda row: str(row["source"]))


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """A folder with pictures, odd names, one that is none, and one with a permission of its own."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(["a.png", "_b#1?.png", "deep/ü c.png", "deep/100%;.jpg", "deep/_er/d.png", "e.jpg"]):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        scene(60 + i, 40, i).save(Path("in", name))
    scene(50, 40).convert("CMYK").save("in/print.tif")
    Path("in/broken.png").write_bytes(b"no picture")
    Path("in/empty.png").touch()
    Path("in/notes.txt").write_text("left out")
    Path("in/a.png").chmod(0o600)
    return tmp_path


def test_a_job_on_ray_makes_the_files_that_threads_make(pictures):
    """By a cluster of this machine that ends with the job: files, permissions, messages, manifest and exit code."""
    here = lichen("encode", "in", "-r", "-o", "threads", "--psnr", "--manifest", "a.jsonl", code=3)
    there = lichen("encode", "in", "-r", "-o", "ray", "--psnr", "--manifest", "b.parquet", "--ray", code=3)
    assert files_in(Path("ray")) == files_in(Path("threads")) and len(files_in(Path("ray"))) == 7
    assert Path("ray/a.lic").stat().st_mode == Path("threads/a.lic").stat().st_mode
    assert Path("ray/a.lic").stat().st_mtime_ns == Path("in/a.png").stat().st_mtime_ns
    rows, others = read_manifest(Path("a.jsonl")), read_manifest(Path("b.parquet"))
    for row in others:
        row["target"] = str(row["target"]).replace("ray/", "threads/", 1)
        assert row["seconds"] > 0 or row["outcome"] == "failed"
    assert without_time(rows) == without_time(others) and len(rows) == 9
    assert sorted(here.splitlines()) == sorted(there.replace("-> ray/", "-> threads/").splitlines())


class Cluster:
    """A cluster of nodes with one processor each, on this machine."""

    def __init__(self, memory_bytes: list[int]) -> None:
        from ray.cluster_utils import Cluster as RaysCluster

        sizes = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        self.cluster = RaysCluster(initialize_head=True, head_node_args={**sizes, "memory": memory_bytes[0]})
        self.others = [self.cluster.add_node(**sizes, memory=memory) for memory in memory_bytes[1:]]
        self.address = self.cluster.address

    def kill(self) -> None:
        """One of its machines, with all that it was doing."""
        self.cluster.remove_node(self.others.pop(), allow_graceful=False)


@pytest.fixture
def start(request) -> Iterator[object]:
    """Clusters that end with the test."""
    begun: list[Cluster] = []
    yield lambda *memory_bytes: begun.append(Cluster(list(memory_bytes))) or begun[-1]
    for cluster in begun:
        cluster.cluster.shutdown()


def begin(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lichen", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until so many files are in a folder, while the process is at work."""
    until = time.monotonic() + PATIENCE
    while len(list(folder.glob("*.lic"))) < count:
        assert process.poll() is None and time.monotonic() < until, process.communicate()[1][-3000:]
        time.sleep(0.05)


@pytest.mark.slow
def test_a_machine_that_is_lost_loses_nothing(start, tmp_path, monkeypatch):
    """2000 pictures on two machines, of which one is killed in the middle; one picture is none."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(2000):
        scene(48 + i % 17, 32 + i % 13, i).save(f"in/{i}.png")
    Path("in/7.png").write_bytes(b"no picture")
    lichen("encode", "in", "-o", "threads", "--quiet", code=3)
    cluster = start(4 * 10**9, 4 * 10**9)
    job = begin("encode", "in", "-o", "ray", "--ray", cluster.address, "--manifest", "rows.parquet")
    wait_for(Path("ray"), 700, job)
    cluster.kill()
    assert len(list(Path("ray").glob("*.lic"))) < 1900  # it was in the middle
    said = job.communicate(timeout=2 * PATIENCE)[1]
    assert job.returncode == 3 and "1999 done, 1 failed" in said, said[-3000:]
    assert files_in(Path("ray")) == files_in(Path("threads")) and len(files_in(Path("ray"))) == 1999
    rows = read_manifest(Path("rows.parquet"))
    assert len({row["source"] for row in rows}) == len(rows) == 2000
    assert {row["source"]: row["error_kind"] for row in rows if row["outcome"] != "done"} == {"in/7.png": "BadPicture"}
    assert all(row["size_out_bytes"] == Path(row["target"]).stat().st_size for row in rows if row["outcome"] == "done")


@pytest.mark.slow
def test_a_job_that_was_killed_goes_on(start, tmp_path, monkeypatch):
    """Also where a result is damaged: its size is not the one that its row states, or it is empty."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(300):
        scene(60, 40, i).save(f"in/{i}.png")
    cluster = start(4 * 10**9, 4 * 10**9)
    command = ("encode", "in", "-o", "ray", "--ray", cluster.address, "--manifest", "rows.jsonl")
    job = begin(*command)
    wait_for(Path("ray"), 60, job)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert not Path("rows.jsonl").exists()
    said = lichen(*command, code=3)  # what is there is not overwritten
    assert "exists" in said and files_in(Path("ray")).keys() == {f"{i}.lic" for i in range(300)}
    sound = files_in(Path("ray"))
    Path("ray/5.lic").write_bytes(sound["5.lic"][:-1])
    Path("ray/6.lic").write_bytes(b"")
    Path("ray/8.lic").unlink()
    lichen("encode", "in/5.png", "in/8.png", "-o", "other", "--manifest", "rows.jsonl", "--force")
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    moved = [json.dumps({**row, "target": row["target"].replace("other/", "ray/")}) for row in rows]
    Path("rows.jsonl").write_text("\n".join(moved) + "\n")
    assert "3 done, 297 skipped, 0 failed" in lichen(*command, "--skip-existing")
    assert files_in(Path("ray")) == sound and len(read_manifest(Path("rows.jsonl"))) == 300


@pytest.mark.slow
def test_ctrl_c_ends_a_job_and_its_cluster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for i in range(300):
        scene(60, 40, i).save(f"in/{i}.png")
    job = begin("encode", "in", "-o", "out", "--ray", "--manifest", "rows.parquet")
    wait_for(Path("out"), 100, job)  # rows come with their blocks
    job.send_signal(signal.SIGINT)
    said = job.communicate(timeout=PATIENCE)[1]
    assert job.returncode == 130 and "to go on, add --skip-existing" in said
    rows = read_manifest(Path("rows.parquet"))
    assert 0 < len(rows) < 300 and {row["outcome"] for row in rows} == {"done"}
    until = time.monotonic() + PATIENCE
    while processes_with(f"--driver-pid={job.pid}") or processes_with(str(tmp_path)):
        assert time.monotonic() < until, "the cluster outlives its job"
        time.sleep(0.5)


def processes_with(text: str) -> list[str]:
    """The command lines that contain a text, but this process's own."""
    lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if text in line and int(line.split()[0]) != os.getpid()]


@pytest.fixture
def bucket(monkeypatch) -> Iterator[object]:
    """A client of a server of S3 on this machine; processes that are started find its address in their environment."""
    moto = pytest.importorskip("moto.server")
    import boto3

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    names = {"ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret", "DEFAULT_REGION": "us-east-1"}
    for name, value in {**names, "ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    server.stop()


def objects(client: object, prefix: str) -> dict[str, bytes]:
    """What is in the bucket, by names behind the prefix."""
    listed = client.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
    keys = [found["Key"] for found in listed]
    return {key.removeprefix(prefix): client.get_object(Bucket="bucket", Key=key)["Body"].read() for key in keys}


@pytest.mark.slow
def test_from_bucket_to_bucket_and_back(bucket, pictures):
    for name, data in files_in(Path("in")).items():
        bucket.put_object(Bucket="bucket", Key=f"photos/{name}", Body=data)
    here = lichen("encode", "in", "-r", "-o", "threads", code=3)
    command = ("encode", "s3://bucket/photos", "-r", "-o", "s3://bucket/lic", "--ray", "--manifest", "rows.parquet")
    there = lichen(*command, code=3)
    shown = here.replace("-> threads/", "-> s3://bucket/lic/").replace("in/", "s3://bucket/photos/")
    assert sorted(shown.splitlines()) == sorted(there.splitlines())
    assert objects(bucket, "lic/") == files_in(Path("threads"))
    assert {row["source"] for row in read_manifest(Path("rows.parquet"))} >= {"s3://bucket/photos/_b#1?.png"}
    bucket.delete_object(Bucket="bucket", Key="lic/a.lic")
    assert "1 done, 6 skipped, 2 failed" in lichen(*command, "--skip-existing", code=3)
    assert objects(bucket, "lic/") == files_in(Path("threads"))
    lichen("decode", "s3://bucket/lic", "-r", "-o", "back", "--to", ".webp", "--ray")
    lichen("decode", "threads", "-r", "-o", "back of threads", "--to", ".webp")
    assert files_in(Path("back")) == files_in(Path("back of threads")) and len(files_in(Path("back"))) == 7
    assert "s3://none/photos: cannot be read" in lichen("encode", "s3://none/photos", "-o", "out.lic", "--ray", code=3)


@pytest.mark.slow
def test_a_large_picture_gets_an_actor_of_its_own(start, pictures):
    """One that needs more than a processor's share of memory is done; one that no machine can do is not."""
    from lichen.codec import Codec

    scene(1200, 900).save("in/large.png")
    Path("in/huge.png").write_bytes(Path("in/large.png").read_bytes())
    ordinary, large = (Codec().memory_to_encode_bytes(*size) for size in ((70, 40), (1200, 900)))
    assert large > ordinary + 50_000_000
    room = 150_000_000 + 200_000_000 + 10_000_000  # for reading, for Ray, and some
    cluster = start(ordinary + room, large + room)
    lichen("encode", "in", "-r", "-o", "threads", code=3)
    said = lichen("encode", "in", "-r", "-o", "ray", "--ray", cluster.address, code=3)
    assert files_in(Path("ray")) == files_in(Path("threads")), said
    scene(4000, 3000).save("in/huge.png", compress_level=1)
    said = lichen("encode", "in/huge.png", "in/a.png", "-o", "more", "--ray", cluster.address, code=3)
    assert "in/huge.png: needs about" in said and "no machine has more than" in said and Path("more/a.lic").exists()


@pytest.mark.slow
def test_what_ends_its_actor_ends_nothing_else(start, pictures, monkeypatch):
    """A picture whose actor ends each time is a failed row, and those of its block are done."""
    from lichen.batch.manifest import read_manifest as read
    from lichen.batch.ray import encode_files
    from tests.batch.deadly import work_that_kills

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    cluster = start(4 * 10**9)
    rows = list(encode_files("in", "ray", address=cluster.address, manifest=Path("rows.jsonl"), codec=work_that_kills))
    failed = {row.source: row.error_kind for row in rows if row.error}
    assert failed == {"in/broken.png": "BadPicture", "in/empty.png": "BadPicture", "in/a.png": "ClusterError"}
    assert len(rows) == len(read(Path("rows.jsonl"))) == 9 and len(files_in(Path("ray"))) == 6
