"""A network in a file: the same bits again, or an error; never anything else."""

import errno
import json
import math
import os
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import pytest
from kinds import LAYERS, network, problem

import mgresnet as mg
from mgresnet.arrays.checks import members
from mgresnet.arrays.files import read_arrays, write_arrays
from mgresnet.control import Control
from mgresnet.layers.protocol import Layer, Map
from mgresnet.saving.description import RECORDS, describe_network, restore_network

DTYPES = [np.float64, np.float32]
FIRST = mg.Network(mg.Dense(3), 6, 3, opening=mg.Widen(2, 3, "copies"))
SECOND = mg.Network(
    mg.Dense(4, "smooth_relu", "scalar"),
    8,
    0.1,
    opening=mg.Linear(3, 4, "relu", "none"),
    head=mg.Linear(4, 2),
    control=mg.BSpline(5, degree=2),
)
SHARED = mg.Network(mg.Dense(2), np.int64(4), 1e-90, control=mg.Shared())
IMAGES = mg.resnet((2, 4, 4), 3, channels=(2, 3), depth=4, bridge="pool", norm="group")
CHAIN = mg.Chain([FIRST, SECOND])
NETWORKS = {"opening": FIRST, "spline": SECOND, "shared": SHARED, "chain": CHAIN}
NETWORKS["images"] = IMAGES
NETWORKS["sequences"] = mg.Network(
    mg.GRU(2, 3, 2, implicit=False, masked=True), 5, 5, control=mg.Shared()
)


def bits(params):
    """All that there is of parameters, None where there is none."""
    if type(params) is tuple:
        return [bits(tree) for tree in params]
    return [x if x is None else (x.dtype, x.shape, x.tobytes()) for x in params]


def own_layer(net):
    """What mg.load has to be given."""
    return None if isinstance(net.layer, mg.Dense | mg.Conv2d | mg.GRU) else net.layer


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.npz"


@pytest.fixture
def saved(path):
    """A file of the chain, and its parameters."""
    params = CHAIN.init(seed=90601)
    mg.save(path, CHAIN, params)
    return path, params


# --- There and back --------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer_comes_back(path, name, maps, dtype):
    net, params, *_ = problem(name, maps, dtype=dtype)
    mg.save(path, net, params)
    found, values = mg.load(str(path), layer=own_layer(net))
    assert found == net
    assert bits(values) == bits(params)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_comes_back(path, name, dtype):
    net = NETWORKS[name]
    params = net.init(seed=90602, dtype=dtype)
    mg.save(path, net, params)
    found, values = mg.load(path)
    assert found == net
    assert bits(values) == bits(params)
    assert [path.name] == os.listdir(path.parent)


def test_unusual_numbers_keep_their_bits(path):
    body = np.resize([-0.0, np.nan, np.inf, 5e-324, np.pi], (6, 12))
    params = FIRST.init()._replace(body=np.asfortranarray(body))
    mg.save(path, FIRST, params)
    assert bits(mg.load(path)[1]) == bits(params)


def test_own_layers_of_a_chain_are_given_one_by_one(path):
    own = LAYERS["antisymmetric"]
    chain = mg.Chain([FIRST, mg.Network(own, 5, opening=mg.Linear(3, 4))])
    params = chain.init(seed=90603)
    mg.save(path, chain, params)
    found, values = mg.load(path, layer=(None, own))
    assert found == chain
    assert bits(values) == bits(params)
    for layer, message in (
        (None, r"layer is Explicit\(page\.Antisymmetric\), of the user.*layer\[1\]="),
        (own, r"needed a tuple with one for each of the 2 networks"),
        ((own, own), r"layer\[0\] is .* one of this package.*leave layer\[0\] out"),
        ((own,), r"needed a tuple with one for each of the 2 networks"),
    ):
        with pytest.raises(ValueError, match=message):
            mg.load(path, layer=layer)


# --- Descriptions ----------------------------------------------------------


def takes_part(record):
    """Whether networks can be made of a public record."""
    if record in (mg.Network, mg.Chain):
        return True
    has = {*dir(record), *(field.name for field in fields(record))}
    return any(has.issuperset(members(one)) for one in (Layer, Map, Control))


def test_every_public_record_that_a_network_is_made_of_is_known():
    public = [x for x in vars(mg).values() if isinstance(x, type) and is_dataclass(x)]
    made_of = {record.__name__ for record in public if takes_part(record)}
    assert made_of - {"Explicit", "Stepwise"} == {*RECORDS}
    text = json.dumps([describe_network(net) for net in NETWORKS.values()])
    free = json.dumps(describe_network(FIRST))
    assert all(f'"{name}"' in text + free for name in RECORDS), "no example"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_survives_json(name):
    net = NETWORKS[name]
    text = json.dumps(describe_network(net), allow_nan=False)
    assert restore_network(json.loads(text)) == net


def test_of_an_own_layer_there_are_name_and_shapes():
    description = describe_network(network("gated"))["layer"]
    assert description == {
        "own": "Stepwise(page.GRU)",
        "state_shape": [3],
        "input_shape": [2],
        "n_params": LAYERS["gated"].n_params,
    }


@dataclass(frozen=True)
class Doubled:
    """A head of the user's own."""

    n_inputs: int = 3
    n_outputs: int = 3
    n_params: int = 0

    def init(self, rng, n_maps=1):
        return np.zeros((n_maps, 0))

    def apply(self, theta, x):
        return 2.0 * x

    def pull_back(self, theta, x, seed):
        return theta, 2.0 * seed


def test_an_own_map_is_refused_and_there_is_another_way(path):
    net = mg.Network(mg.Dense(3), 4, head=Doubled())
    with pytest.raises(TypeError, match=r"head is Doubled\(.*np\.?.*mg\.state_dict"):
        mg.save(path, net, net.init())
    assert not path.exists()
    params = net.init(seed=90604)
    found = mg.from_state_dict(net, mg.state_dict(net, params))
    assert bits(found) == bits(params)


def test_a_number_that_json_would_round_is_refused(path):
    net = mg.Network(mg.Dense(3), 4, np.float32(0.1))
    with pytest.raises(TypeError, match=r"final_time is .*0\.1.*float\(x\)"):
        mg.save(path, net, net.init())


def changed(description, **values):
    return {**description, **values}


WRONG = {
    "nothing": (lambda d: None, r"description of a Network or a Chain, got None"),
    "unknown": (
        lambda d: changed(d, layer={"record": "Conv3d", "kernel": 3}),
        r"there is a Conv3d, which this mgresnet does not know; known are Chain",
    ),
    "field": (
        lambda d: changed(d, dropout=0.5),
        r"a Network cannot be made as it is described \(.*'dropout'.*use the mgresnet",
    ),
    "depth": (lambda d: changed(d, depth=0), r"depth must be at least 1, got 0"),
    "no record": (lambda d: changed(d, head={}), r"there is a None"),
    "only a map": (
        lambda d: describe_network(SECOND)["head"],
        r"description of a Network or a Chain, got \{'record': 'Linear'",
    ),
    "no stages": (
        lambda d: {"record": "Chain", "networks": [1]},
        r"a chain is described by its networks, got \[1\]",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_descriptions_are_refused(path, case):
    change, message = WRONG[case]
    mg.save(path, FIRST, FIRST.init())
    header, arrays = read_arrays(path)
    header["network"] = change(header["network"])
    write_arrays(path, header, arrays)
    with pytest.raises(ValueError, match=message):
        mg.load(path)


# --- Layers of the user's own ----------------------------------------------


def test_the_layer_is_asked_for_and_compared(path):
    net, params, *_ = problem("antisymmetric")
    mg.save(path, net, params)
    for layer, error in (
        (None, r"network\.npz: the layer is Explicit\(page\.Anti.*give the same again"),
        (LAYERS["convolution"], r"'state_shape': \[2, 5, 5\].*needed.*\[4\].*page\.An"),
        (LAYERS["gated"], r"'input_shape': \[2\].*needed"),
        (
            LAYERS["antisymmetric"].rate,
            r"has no .*march.*something like Explicit\(rate",
        ),
    ):
        with pytest.raises(ValueError, match=error):
            mg.load(path, layer=layer)


def test_a_layer_that_is_not_needed_is_refused(path):
    mg.save(path, FIRST, FIRST.init())
    with pytest.raises(ValueError, match=r"layer is Dense.*leave layer out"):
        mg.load(path, layer=mg.Dense(3))


# --- What cannot be saved --------------------------------------------------


def test_parameters_that_do_not_fit_are_refused(path):
    params = SECOND.init()
    chain = CHAIN.init()
    rank = chain[0]._replace(body=chain[0].body[:2])
    for net, wrong, message in (
        (SECOND, params._replace(head=None), r"head is None, needed all: a rank has"),
        (SECOND, params._replace(body=params.body[:4]), r"needed \(5, 17\): the rows"),
        (CHAIN, (rank, chain[1]), r"0\.body has 2 of 6 rows.*whole_params"),
        (CHAIN, params, r"a chain of 2 networks has a tuple of as many Params"),
    ):
        with pytest.raises(ValueError, match=message):
            mg.save(path, net, wrong)
    with pytest.raises(TypeError, match=r"params is a dict, needed Params"):
        mg.save(path, FIRST, {})
    with pytest.raises(TypeError, match=r"net is 3, which has no layer"):
        mg.save(path, 3, params)
    assert not path.exists()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none; make it"):
        mg.save(tmp_path / "none" / "network.npz", FIRST, FIRST.init())
    with pytest.raises(FileNotFoundError, match=r"network\.npz"):
        mg.load(tmp_path / "network.npz")


# --- Files of others, and damaged ones -------------------------------------


def test_formats_and_versions_are_compared(path):
    for header, message in (
        ([1], r"it holds no network; needed a file that mg\.save wrote"),
        ({"format": "checkpoint"}, r"it holds no network"),
        (
            {"format": "mgresnet network", "version": 2, "mgresnet": "7.0"},
            r"version 2 of the format, written by mgresnet 7\.0; needed version 1",
        ),
    ):
        write_arrays(path, header, {"body": np.zeros(3)})
        with pytest.raises(ValueError, match=message):
            mg.load(path)
    np.savez(path, body=np.zeros(3))
    with pytest.raises(ValueError, match=r"needed a file that mgresnet has written"):
        mg.load(path)


def test_arrays_are_compared_with_the_network(saved):
    path, _ = saved
    header, arrays = read_arrays(path)
    head, single = arrays["1.head"], {k: x.astype("f4") for k, x in arrays.items()}
    for change, message in (
        ({**arrays, "more": head}, r"the arrays .*'more'.*the network needs"),
        ({k: x for k, x in arrays.items() if k != "1.head"}, r"needs.*'1\.head'"),
        ({**arrays, "1.head": head[1:]}, r"1\.head has shape \(9,\), needed \(10,\)"),
        ({**arrays, "1.head": head.astype(int)}, r"1\.head has dtype int64, another"),
        ({**single, "1.head": head}, r"1\.head has dtype float64, another array has"),
    ):
        write_arrays(path, header, change)
        with pytest.raises(ValueError, match=message):
            mg.load(path)


def test_nothing_is_unpickled(saved):
    path, _ = saved
    header, arrays = read_arrays(path)
    arrays["1.head"] = np.array([print, print], dtype=object)
    with pytest.raises(ValueError, match=r"Object arrays cannot be saved"):
        write_arrays(path, header, arrays)
    text = np.frombuffer(json.dumps([header, [*arrays]]).encode(), np.uint8)
    np.savez(path, **{"header.json": text}, **arrays)
    with pytest.raises(ValueError, match=r"Object arrays cannot be loaded"):
        mg.load(path)


def test_every_truncation_is_refused(saved):
    path, _ = saved
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"network\.npz"):
            mg.load(path)


@pytest.mark.parametrize("depth", [6, 3000])
def test_a_flipped_bit_is_refused_or_changes_nothing(path, depth):
    """Also in a file that NumPy reads in more than one piece."""
    net = mg.Network(mg.Dense(3), depth)
    params = net.init(seed=90605)
    mg.save(path, net, params)
    whole, rng = path.read_bytes(), np.random.default_rng(90606)
    margin = min(len(whole), 1200)  # headers; between them are numbers
    places = [*range(margin), *range(len(whole) - margin, len(whole))]
    refused = 0
    for place, bit in zip(
        rng.choice(places, 200), rng.integers(0, 8, 200), strict=True
    ):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(bit)
        path.write_bytes(damaged)
        try:
            found, values = mg.load(path)
        except ValueError:
            refused += 1
        else:
            assert found == net
            assert bits(values) == bits(params)
    assert refused > 100


# --- Mishaps while writing -------------------------------------------------


def fails(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def writes_half(file, **options):
    file.write(b"PK\x03\x04")
    fails()


FAULTS = {
    "write": (np, "savez", writes_half),
    "fsync": (os, "fsync", fails),
    "rename": (os, "replace", fails),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_old_file_is_still_there(saved, monkeypatch, fault):
    path, params = saved
    with monkeypatch.context() as patch:
        patch.setattr(*FAULTS[fault])
        with pytest.raises(OSError, match=r"No space left"):
            mg.save(path, FIRST, FIRST.init())
    found, values = mg.load(path)
    assert found == CHAIN
    assert bits(values) == bits(params)
    assert [path.name] == os.listdir(path.parent)
    mg.save(path, FIRST, FIRST.init())
    assert mg.load(path)[0] == FIRST


def test_the_bytes_of_a_file_follow_from_what_is_saved(saved, tmp_path):
    """So that files of equal networks can be compared."""
    path, params = saved
    mg.save(tmp_path / "again.npz", CHAIN, params)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_a_file_is_as_large_as_its_numbers(path):
    net = mg.Network(mg.Dense(30), 100)
    mg.save(path, net, net.init())
    numbers = 8 * math.prod(net.init().body.shape)
    assert numbers < path.stat().st_size < numbers + 2000
