"""Networks trained by the worker of a device, with the CPU in the device's place, which gives the very bits of the session's
own CPU; and what becomes of a training where the worker is lost, full or not there."""

import os
import pathlib
import signal
import time

import psycopg
import pytest
from conftest import MEASURED, Background, one, wait_for
from test_checkpoints import artifact, epoch
from test_device import device, found, system  # noqa: F401, fixtures

PICTURES = """CREATE TABLE pictures AS
    SELECT i AS id, CASE WHEN i % 2 = 0 THEN 'left' ELSE 'right' END AS side,
           (SELECT string_agg(set_byte('\\x00', 0, CASE WHEN (k % 16 < 8) = (i % 2 = 0) THEN 200 + (i * 7 + k) % 50
                                                        ELSE (i * 13 + k * 3) % 60 END), '' ORDER BY k)
            FROM generate_series(0, 255) k) AS image
    FROM generate_series(1, 400) i"""
LAYERS = """[{"type": "conv2d", "filters": 12}, {"type": "batch_norm"}, {"type": "relu"}, {"type": "dropout", "rate": 0.2},
    {"type": "max_pool2d"}, {"type": "conv2d", "filters": 20}, {"type": "relu"}, {"type": "global_avg_pool"}]"""


def train(name, epochs=3, more="", arguments=""):
    params = f'{{"epochs": {epochs}, "batch_size": 16, "augment": "flip_crop", "layers": {LAYERS} {more}}}'
    return f"""SELECT version FROM damson.train('{name}', 'SELECT image, side FROM pictures ORDER BY id', 'side', 'cnn',
        split => 'none', preprocess => '{{"image": [16, 16, 1]}}', params => '{params}', seed => 5 {arguments})"""


def told(connection):
    """What the view tells of trainings."""
    columns = "trainings, training_memory, epochs, pid"
    row = connection.execute(f"SELECT {columns} FROM damson.devices WHERE device = 'software'").fetchone()
    return dict(zip(columns.split(", "), row))


@pytest.fixture
def pictures(db):
    db.execute(PICTURES)
    db.execute("SET damson.device = cpu")
    return db


@pytest.fixture
def learner(device):  # noqa: F811
    """A function that connects as `device` does, for trainings that may take long enough to tell how far they are."""

    def open_one():
        session = device()
        session.execute("SET damson.progress = off")
        return session

    return open_one


@pytest.fixture
def watcher(learner):
    """A session that looks at the device while others use it."""
    return learner()


def begin(session, watcher, sql, epochs=1):
    """Begins a training, and waits until it has got so far in the device."""
    before = told(watcher)["epochs"]
    work = Background(lambda: session.execute(sql).fetchall())
    wait_for(lambda: told(watcher)["epochs"] >= before + epochs or work.ended, "epochs in the device")
    assert not work.ended, work.outcome
    return work


def test_a_device_trains_the_model_that_the_session_does(pictures, learner):
    session = learner()
    for name, more, arguments in [
        ("plain", "", ""),
        ("stops", ', "early_stopping": true, "ema_decay": 0.9', ""),
        ("mixes", ', "mixup": 0.4, "optimizer": "sgd", "max_grad_norm": 1, "freeze": ["0"]', ""),
        ("folds", ', "learning_rate": 0.001', ", folds => 2"),
    ]:
        before = told(session)["epochs"] or 0
        pictures.execute(train(f"{name}_here", more=more, arguments=arguments))
        session.execute(train(f"{name}_there", more=more, arguments=arguments))
        assert artifact(pictures, f"{name}_there") == artifact(pictures, f"{name}_here"), name
        assert told(session)["epochs"] == before + (9 if arguments else 3), name
        wait_for(lambda: told(session)["trainings"] == 0, "the training to be forgotten")
        assert told(session)["training_memory"] == 0
    # Numbers go the same way, and so do models of the background's jobs.
    numbers = """SELECT version FROM damson.train(%s, 'SELECT i AS x, i %% 7 + 0.5 AS y FROM generate_series(1, 300) i', 'y',
        'cnn', params => '{"epochs": 2, "architecture": "mlp"}', seed => 1)"""
    one(pictures, numbers, "numbers_here")
    one(session, numbers, "numbers_there")
    assert artifact(pictures, "numbers_there") == artifact(pictures, "numbers_here")
    assert session.warnings == []


def test_it_shows_while_it_trains_and_scores_go_on(pictures, learner, watcher):
    pictures.execute(train("side"))
    session = learner()
    expected = one(pictures, "SELECT sum(damson.probability('side', 'left', image)) FROM pictures")
    assert one(watcher, "SELECT sum(damson.probability('side', 'left', image)) FROM pictures") == expected
    rows = found(watcher)["rows"]
    work = begin(session, watcher, train("long", epochs=5000))
    now = told(watcher)
    assert now["trainings"] == 1 and now["training_memory"] > 0
    begun = time.monotonic()
    assert one(watcher, "SELECT sum(damson.probability('side', 'left', image)) FROM pictures") == expected
    MEASURED.append(f"scoring beside a training in the software device: {1000 * (time.monotonic() - begun):.0f} ms")
    assert found(watcher)["rows"] == rows + 400 and watcher.warnings == []
    session.cancel()
    assert isinstance(work.result(), psycopg.errors.QueryCanceled)


def test_two_learners_take_turns(pictures, learner, watcher):
    sessions = [learner(), learner()]
    works = [Background(lambda s=s, i=i: s.execute(train(f"m{i}")).fetchall()) for i, s in enumerate(sessions)]
    assert [w.result() for w in works] == [[(1,)], [(1,)]]
    assert artifact(pictures, "m0") == artifact(pictures, "m1")
    assert told(watcher)["epochs"] == 6


@pytest.mark.parametrize("ends", ["cancel", "timeout", "terminate"])
def test_who_trains_can_be_ended(pictures, learner, watcher, ends):
    session = learner()
    if ends == "timeout":
        session.execute("SET statement_timeout = '3s'")
    work = begin(session, watcher, train("long", epochs=5000))
    pid, begun = told(watcher)["pid"], time.monotonic()
    if ends == "cancel":
        session.cancel()
    elif ends == "terminate":
        one(pictures, "SELECT pg_terminate_backend(%s)", session.info.backend_pid)
    outcome = work.result()
    if ends != "timeout":
        MEASURED.append(f"{ends} of a training in the device: {1000 * (work.ended - begun):.0f} ms")
        assert work.ended - begun < 2
    expected = psycopg.errors.AdminShutdown if ends == "terminate" else psycopg.errors.QueryCanceled
    assert isinstance(outcome, (expected, psycopg.OperationalError)), outcome
    wait_for(lambda: told(watcher)["trainings"] == 0, "the training to be forgotten")
    assert told(watcher)["pid"] == pid
    # The worker is none the worse for it.
    watcher.execute(train("next"))
    assert watcher.warnings == [] and told(watcher)["pid"] == pid


def test_a_lost_worker_leaves_the_training_to_the_session(pictures, learner, watcher):
    pictures.execute(train("here", epochs=60))
    session = learner()
    work = begin(session, watcher, train("there", epochs=60), epochs=3)
    one(pictures, "SELECT pg_terminate_backend(%s)", told(watcher)["pid"])
    assert work.result() == [(1,)]
    (warning,) = session.warnings
    assert warning.startswith("the network goes on, from its last epoch, by the CPU: the worker of the device"), warning
    assert artifact(pictures, "there") == artifact(pictures, "here")
    # The next one finds another worker.
    session.execute(train("again", epochs=2))
    assert len(session.warnings) == 1 and told(watcher)["epochs"] == 2


def test_memory_is_capped_before_the_first_step(pictures, learner, system):  # noqa: F811
    pictures.execute(train("here"))
    system("damson.device_memory", "'1MB'")
    session = learner()
    session.execute(train("there"))
    (warning,) = session.warnings
    assert warning.startswith("the network is trained by the CPU: the training takes "), warning
    assert warning.endswith("bytes of the device, damson.device_memory is 1048576")
    assert artifact(pictures, "there") == artifact(pictures, "here")
    assert told(session)["trainings"] == 0 and told(session)["epochs"] == 0


def test_no_driver_means_the_cpu_and_one_warning(pictures, learner):
    if pathlib.Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    pictures.execute(train("here"))
    session = learner()
    for setting, warnings in [("cuda", ["the network is trained by the CPU: no CUDA driver found"]), ("auto", [])]:
        session.warnings.clear()
        session.execute(f"SET damson.device = {setting}")
        session.execute(train(setting))
        assert session.warnings == warnings
        assert artifact(pictures, setting) == artifact(pictures, "here")


def test_a_checkpoint_of_the_device_is_gone_on_from_by_the_cpu_and_back(pictures, learner, watcher):
    pictures.execute(train("whole", epochs=60))
    session = learner()
    session.execute("SET damson.checkpoint_interval = 0")
    begin_here = train("broken", epochs=60)
    work = begin(session, watcher, begin_here, epochs=4)
    session.cancel()
    assert isinstance(work.result(), psycopg.errors.QueryCanceled)
    reached = epoch(pictures)[0]
    assert 3 <= reached < 60
    resume = train("broken", epochs=60, arguments=", resume => true")
    # On with the CPU, which is broken off again, and to the end by the device.
    session.execute("SET damson.device = cpu")
    work = Background(lambda: session.execute(resume).fetchall())
    wait_for(lambda: (epoch(pictures) or [60])[0] > reached or work.ended, "another checkpoint")
    session.cancel()
    outcome = work.result()
    if isinstance(outcome, psycopg.errors.QueryCanceled):
        assert epoch(pictures)[0] > reached
        session.execute("SET damson.device = software")
        before = told(watcher)["epochs"]
        session.execute(resume)
        assert told(watcher)["epochs"] > before
    assert artifact(pictures, "broken") == artifact(pictures, "whole")


def test_a_stopped_worker_can_be_waited_for_no_longer(pictures, learner, watcher):
    session = learner()
    work = begin(session, watcher, train("long", epochs=5000))
    pid = told(watcher)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        session.cancel()
        assert isinstance(work.result(), psycopg.errors.QueryCanceled)
        assert work.ended - begun < 2
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: told(watcher)["trainings"] == 0, "the training to be forgotten")


def test_a_job_trains_by_the_device(pictures, learner, watcher):
    def train_by_job(session, name):
        session.execute(train(name, arguments=", wait => false").replace("SELECT version", "SELECT job"))
        wait_for(lambda: one(pictures, "SELECT count(*) FROM damson.models WHERE name = %s", name), "the job")

    before = told(watcher)["epochs"] or 0
    train_by_job(learner(), "there")
    assert told(watcher)["epochs"] == before + 3
    train_by_job(pictures, "here")
    assert told(watcher)["epochs"] == before + 3
    assert artifact(pictures, "there") == artifact(pictures, "here")
