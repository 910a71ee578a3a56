"""Networks' weights against PyTorch: a recorded state_dict goes in, and the answers are PyTorch's.

crates/nn/tests/reference/record_layers.py recorded it: weights, inputs and outputs of a network with every kind of norm.
Where torch is there, it reads what goes out, too.
"""

import json
import pathlib
import struct

import numpy as np
import psycopg
import pytest
from conftest import one

RECORDED = pathlib.Path(__file__).parent.parent / "crates/nn/tests/reference/layers.safetensors"
LAYERS = [
    {"type": "conv2d", "filters": 20, "bias": False}, {"type": "batch_norm"}, {"type": "relu"},
    {"type": "conv2d", "filters": 12}, {"type": "group_norm", "groups": 3}, {"type": "relu"}, {"type": "layer_norm"},
    {"type": "flatten"}, {"type": "dense", "units": 18}, {"type": "batch_norm"}, {"type": "silu"}, {"type": "layer_norm"}]


def read(data):
    """The tensors of safetensors, by name."""
    (length,) = struct.unpack("<Q", data[:8])
    head, body = json.loads(data[8:8 + length]), data[8 + length:]
    tensors = {}
    for name, about in head.items():
        if name != "__metadata__":
            start, end = about["data_offsets"]
            tensors[name] = np.frombuffer(body[start:end], dtype="<f4").reshape(about["shape"])
    return tensors


def write(tensors):
    head, body = {}, b""
    for name, values in tensors.items():
        raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
        head[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.fixture
def recorded():
    everything = read(RECORDED.read_bytes())
    return {name.removeprefix("norms/"): values for name, values in everything.items() if name.startswith("norms/")}


@pytest.fixture
def network(db, recorded):
    """A network of those layers, trained a little on the recorded inputs, so that it normalises them alike."""
    db.execute("CREATE TABLE seen (id int, v real[], label int)")
    rows = zip(recorded["inputs"].reshape(20, -1).tolist(), recorded["labels"].tolist())
    for i, (v, label) in enumerate(rows):
        db.execute("INSERT INTO seen VALUES (%s, %s, %s)", [i, v, int(label)])
    params = json.dumps({"epochs": 1, "shape": [8, 7, 3], "layers": LAYERS})
    db.execute("""SELECT * FROM damson.train('net', 'SELECT v, label::text FROM seen ORDER BY id', 'label', 'cnn', %s,
        preprocess => '{"scale": "none"}', split => 'none')""", [params])
    return db


def start(recorded):
    return {name.removeprefix("start/"): v for name, v in recorded.items() if name.startswith("start/")}


def test_weights_of_pytorch_give_what_pytorch_gives(network, recorded):
    version = one(network, "SELECT damson.import_weights('net', %s, description => 'from PyTorch')", write(start(recorded)))
    assert version == 2
    # Nothing serves it before it is deployed.
    assert one(network, "SELECT version FROM damson.aliases WHERE model = 'net' AND alias = 'production'") == 1
    sql = "SELECT damson.probability('net@2', c::text, v) FROM seen, generate_series(0, 3) c ORDER BY id, c"
    found = np.array([row[0] for row in network.execute(sql)]).reshape(20, 4)
    z = recorded["outputs"].astype(float)
    expected = np.exp(z - z.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    assert np.abs(found - expected).max() < 1e-5
    # And out again, as they came.
    out = read(one(network, "SELECT damson.export_weights('net@2')"))
    given = start(recorded)
    assert sorted(out) == sorted(given)
    assert all(np.array_equal(out[name], given[name]) for name in given)
    # A layer's values are those of the weights that follow it.
    last = np.array([row[0] for row in network.execute("SELECT damson.embed('net@2', v) FROM seen ORDER BY id")])
    assert np.abs(last @ out["12.weight"].T + out["12.bias"] - z).max() < 1e-4


def test_a_training_goes_on_from_imported_weights(network, recorded):
    network.execute("SELECT damson.import_weights('net', %s)", [write(start(recorded))])
    params = json.dumps({"epochs": 1, "shape": [8, 7, 3], "layers": LAYERS, "freeze": ["0", "1"]})
    network.execute("""SELECT * FROM damson.train('net', 'SELECT v, label::text FROM seen ORDER BY id', 'label', 'cnn', %s,
        split => 'none', init_model => 'net@2')""", [params])
    after = read(one(network, "SELECT damson.export_weights('net@3')"))
    given = start(recorded)
    assert np.array_equal(after["0.weight"], given["0.weight"])
    assert not np.array_equal(after["3.weight"], given["3.weight"])


def test_torch_reads_what_goes_out(network):
    torch = pytest.importorskip("torch")
    load = pytest.importorskip("safetensors.torch").load
    nn = torch.nn

    class PixelNorm(nn.LayerNorm):
        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    model = nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1, bias=False), nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 12, 3, padding=1),
        nn.GroupNorm(3, 12), nn.ReLU(), PixelNorm(12), nn.Flatten(), nn.Linear(12 * 56, 18), nn.BatchNorm1d(18), nn.SiLU(),
        nn.LayerNorm(18), nn.Linear(18, 4))
    missing = model.load_state_dict(load(one(network, "SELECT damson.export_weights('net')")), strict=False)
    assert not missing.unexpected_keys and all("num_batches" in key for key in missing.missing_keys)
    about = dict(network.execute("SELECT property, value FROM damson.describe('net')").fetchall())
    mean, std = (np.array([float(v) for v in about[name].split(", ")]) for name in ("input_mean", "input_std"))
    x = np.array([row[0] for row in network.execute("SELECT v FROM seen ORDER BY id")]).reshape(20, 8, 7, 3)
    model.eval()
    with torch.no_grad():
        p = model(torch.tensor(((x - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)).softmax(1).numpy()
    sql = "SELECT damson.probability('net', c::text, v) FROM seen, generate_series(0, 3) c ORDER BY id, c"
    found = np.array([row[0] for row in network.execute(sql)]).reshape(20, 4)
    assert np.abs(found - p).max() < 1e-5


def test_weights_are_the_owners(network, connect, role):
    alice = role("weights_alice")
    hers = connect(user=alice)
    network.execute(f"CALL damson.grant_model('net', '{alice}')")
    assert len(hers.execute("SELECT damson.embed('net', v) FROM (SELECT array_fill(0.5::real, '{168}') AS v) s").fetchone()[0]) == 18
    for sql in ("SELECT damson.export_weights('net')", "SELECT damson.import_weights('net', 'x')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match='model "net"'):
            hers.execute(sql)


def test_damaged_files_are_refused_and_leave_nothing(network, recorded):
    whole = write(start(recorded))
    wrong = {
        "the weights are no safetensors": whole[:100],
        'the weights have no tensor "0.weight"': write({n: v for n, v in start(recorded).items() if n != "0.weight"}),
        'tensor "99.weight" belongs to no layer': write({**start(recorded), "99.weight": np.zeros(3)}),
        "expected F32 of": write({**start(recorded), "12.bias": np.zeros(5)}),
        'tensor "12.bias" holds values that are not finite': write({**start(recorded), "12.bias": np.full(4, np.nan)}),
    }
    for message, data in wrong.items():
        with pytest.raises(psycopg.errors.DataException, match=message) as error:
            network.execute("SELECT damson.import_weights('net', %s)", [data])
        assert "state_dict" in error.value.diag.message_hint
    assert one(network, "SELECT newest FROM damson.models WHERE name = 'net'") == 1
