"""From a study file, flags or a mapping to tasks: the grid, what overrides what, and every way to be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convbench.errors import UsageError
from convbench.sweeps.settings import settings_from, settings_from_flags
from convbench.sweeps.study import DEFAULT_TIMEOUT_S, Study, make_study
from convbench.sweeps.study_file import settings_from_file
from convbench.sweeps.task import Task


def study_of(**content: object) -> Study:
    return make_study(settings_from(content, lambda place: ".".join(map(str, place))))


def from_text(folder: Path, text: str, **flags: list[str]) -> Study:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return make_study(settings_from_file(path), [settings_from_flags(flags, ())])


def test_the_grid_is_every_combination_targets_slowest() -> None:
    study = study_of(targets=["MRFA", "PyConv"], dims=[32, 64], sizes=[14, 28], measures="cost")
    assert [(task.case.target, task.case.dim, task.case.size) for task in study.tasks] == [
        (target, dim, size) for target in ("MRFA", "PyConv") for dim in (32, 64) for size in (14, 28)
    ]
    assert {task.measures for task in study.tasks} == {("cost",)}


@given(
    dims=st.lists(st.integers(1, 512), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 512), min_size=1, max_size=4),
    batches=st.lists(st.integers(1, 64), min_size=1, max_size=3),
    modes=st.lists(st.sampled_from(["inference", "training"]), min_size=1, max_size=3),
)
def test_every_combination_is_there_once(
    dims: list[int], sizes: list[int], batches: list[int], modes: list[str]
) -> None:
    study = study_of(targets="Conv3x3", dims=dims, sizes=sizes, batches=batches, modes=modes)
    found = {(task.case.dim, task.case.size, task.case.batch, task.case.mode) for task in study.tasks}
    assert found == {(d, s, b, m) for d in dims for s in sizes for b in batches for m in modes}
    assert len(study.tasks) == len(found)


def test_singular_keys_and_single_values_mean_the_same() -> None:
    assert study_of(target="MRFA", dim=32, size=14).tasks == study_of(targets=["MRFA"], dims=[32], sizes=[14]).tasks


def test_without_targets_every_registered_block_is_meant_and_no_network() -> None:
    from convbench.registry import select

    assert [task.case.target for task in study_of(measures="params").tasks] == [e.name for e in select(kind="block")]


def test_wildcards_case_and_overlap_give_each_target_once() -> None:
    study = study_of(targets=["pyconv*", "PyConv", "mrfa"], measures="params")
    names = [task.case.target for task in study.tasks]
    assert len(names) == len(set(names))
    assert {"PyConv", "PyConvBottleneck", "MRFA"} <= set(names)


def test_a_network_has_no_dim_and_stands_once_for_all_dims() -> None:
    study = study_of(targets=["MRFA", "timm:resnet18"], dims=[32, 64])
    assert [(task.case.target, task.case.dim) for task in study.tasks] == [
        ("MRFA", 32),
        ("MRFA", 64),
        ("timm:resnet18", None),
    ]


def test_options_of_one_target_override_those_of_all() -> None:
    study = study_of(
        targets=["MRFA", "PyConv"],
        measures="params",
        options={"bias": [True, False], "PyConv": {"kernels": [[3, 5], [3, 5, 7]], "bias": True}},
    )
    assert [(task.case.target, dict(task.case.options)) for task in study.tasks] == [
        ("MRFA", {"bias": True}),
        ("MRFA", {"bias": False}),
        ("PyConv", {"bias": True, "kernels": [3, 5]}),
        ("PyConv", {"bias": True, "kernels": [3, 5, 7]}),
    ]


def test_each_grid_takes_what_stands_above_and_says_what_differs(tmp_path: Path) -> None:
    study = from_text(
        tmp_path,
        """
        targets = "MRFA"
        sizes = [14, 28]
        measures = "cost"
        [options.MRFA]
        alpha = 1
        [[grid]]
        modes = "training"
        [[grid]]
        targets = "timm:resnet18"
        sizes = 224
        """,
    )
    assert [(task.case.target, task.case.size, task.case.mode) for task in study.tasks] == [
        ("MRFA", 14, "training"),
        ("MRFA", 28, "training"),
        ("timm:resnet18", 224, "inference"),
    ]


def test_overlapping_grids_give_a_case_once() -> None:
    study = study_of(targets="MRFA", measures="cost", grid=[{"sizes": [14, 28]}, {"sizes": [28, 56]}])
    assert [task.case.size for task in study.tasks] == [14, 28, 56]


def test_shapes_are_one_case_each_and_several_inputs_are_joined() -> None:
    study = study_of(targets="MRFA", shapes=["1,64,56,56", [2, 64, 28, 28], "1,64,8,8;1,64,8,8"], measures="cost")
    assert [task.case.shapes for task in study.tasks] == [
        ((1, 64, 56, 56),),
        ((2, 64, 28, 28),),
        ((1, 64, 8, 8), (1, 64, 8, 8)),
    ]


def test_flags_override_the_file_and_a_shape_overrides_its_sizes(tmp_path: Path) -> None:
    text = 'targets = ["MRFA", "PyConv"]\nsizes = [14, 28]\nmeasures = "cost"\n'
    study = from_text(tmp_path, text, targets=["RefConv"], shapes=["1,64,8,8"], measures=["params,cost"])
    assert [(task.case.target, task.case.shapes, task.case.size) for task in study.tasks] == [
        ("RefConv", ((1, 64, 8, 8),), None)
    ]
    assert study.tasks[0].measures == ("params", "cost")


def test_flags_hold_several_values_lists_are_one_value_each() -> None:
    flags = settings_from_flags(
        {"dims": ["32,64", "128"], "targets": ["Conv3x3"], "measures": ["params"]},
        ["kernels=[3,5],[3,5,7]", "groups=4,8", "norm=batch,layer", "name='a,b'", "bias=true"],
    )
    assert flags[("dims",)].value == [32, 64, 128]
    values = {path[1]: given.value for path, given in flags.items() if path[0] == "options"}
    assert values == {
        "kernels": [[3, 5], [3, 5, 7]],
        "groups": [4, 8],
        "norm": ["batch", "layer"],
        "name": ["a,b"],
        "bias": [True],
    }
    assert len(make_study([flags]).tasks) == 3 * 2 * 2 * 2


def test_what_a_device_cannot_do_is_left_out_where_others_can() -> None:
    study = study_of(targets="MRFA", devices=["cpu", "meta"], measures=["cost", "latency"])
    assert [task.measures for task in study.tasks] == [("cost", "latency"), ("cost",)]
    with pytest.raises(UsageError, match="measures: measure 'latency' cannot be taken on meta"):
        study_of(targets="MRFA", devices="meta", measures="latency")


def test_timing_belongs_to_a_task_only_where_something_is_timed() -> None:
    timed = study_of(targets="MRFA", measures=["cost", "latency"], max_time=2, processes=2, rigorous=True)
    assert dict(timed.tasks[0].latency) == {"max_time_s": 2.0, "processes": 2, "rigorous": True}
    assert (
        study_of(targets="MRFA", measures="cost", max_time=2).tasks == study_of(targets="MRFA", measures="cost").tasks
    )


def test_the_time_limit_is_the_sweeps_and_part_of_no_task() -> None:
    assert study_of(targets="MRFA", timeout=7).timeout_s == 7
    assert study_of(targets="MRFA", timeout=7).tasks == study_of(targets="MRFA").tasks
    assert study_of(targets="MRFA").timeout_s == DEFAULT_TIMEOUT_S


def test_a_task_survives_json_and_its_key_is_that_of_its_contents() -> None:
    for task in study_of(
        targets=["MRFA", "PyConv"], options={"kernels": [[3, 5]]}, modes="training", autocasts="bfloat16", strict=True
    ).tasks:
        assert Task.from_json(task.to_json()) == task
        assert Task.from_json(task.to_json()).key == task.key


def test_an_edited_file_is_another_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    keys = set()
    for body in ("a = 1", "a = 2", "a = 1"):
        path.write_text(body)
        keys.add(study_of(targets=f"{path}:Block", measures="cost").tasks[0].key)
    assert len(keys) == 2


WRONG = [
    ("dims = [32, -1]", "line 1, dims: dim must be a whole number of at least 1, got -1"),
    ("dims = [32, true]", "line 1, dims: must be a whole number, got True"),
    ('dims = "64"', "line 1, dims: must be a whole number, got '64'"),
    ("sizes = [14.5]", "line 1, sizes: must be a whole number, got 14.5"),
    ("dims = []", "line 1, dims: the list is empty"),
    ("\n\ndimz = 3", "line 3, dimz: no study has the key 'dimz'. Did you mean 'dim'?"),
    ("dim = 3\ndims = 4", "line 2, dims: 'dims' says the same as 'dim'"),
    ('targets = ["MRFA", "MFRA"]', "line 1, targets: nothing is registered as 'MFRA'. Did you mean 'MRFA'?"),
    ('targets = "a.py:"', "line 1, targets: 'a.py:' is no reference"),
    ('targets = "no_such.py:A"', "line 1, targets: no_such.py:A: no_such.py cannot be read"),
    ('dtypes = ["float32", "float31"]', "line 1, dtypes: dtype 'float31' is not one of"),
    ('devices = "gpu"', "line 1, devices: device 'gpu' is not one of cpu"),
    (
        'modes = "train"',
        "line 1, modes: mode 'train' is not one of inference, forward, training. Did you mean 'training'?",
    ),
    ('memory_formats = "nhwc"', "line 1, memory_formats: memory_format 'nhwc'"),
    ('executions = "jit"', "line 1, executions: execution 'jit'"),
    ('measures = ["cost", "speed"]', "line 1, measures: measure 'speed' is not one of"),
    ('shapes = "1,64,0,8"', "line 1, shapes: shape 1,64,0,8"),
    ('shapes = "1,64,8,8"\nsizes = 14', "line 2, sizes: a shape already says batch and size"),
    ("timeout = 0", "line 1, timeout: must be more than zero and at most 1e+07, got 0"),
    ("timeout = nan", "line 1, timeout: must be more than zero and at most 1e+07, got nan"),
    ("max_time = inf", "line 1, max_time: must be more than zero"),
    ("seeds = -1", "line 1, seeds: seed must be a whole number from 0"),
    (f"dims = {'9' * 4400}", "not TOML: "),
    ("dims = 99999999999", "line 1, dims: dim must be at most 2147483647"),
    (f"x = {'[' * 5000}", "nested more than 40 levels deep"),
    (f"targets = '{'x' * 5000}'", "line 1, targets: a value has more than 1000 characters"),
    (f"dims = {[*range(1, 999)]}\nsizes = {[*range(1, 999)]}", "line 1, dims: the grid has 996004 combinations"),
    ("targets = 'MRFA'\n[options]\nalpha = inf", "cannot be written as JSON"),
    ("timeout = [1, 2]", "line 1, timeout: takes one value, not a list"),
    ("processes = 1.5", "line 1, processes: must be a whole number, got 1.5"),
    ('metric = "cycles"', "line 1, metric: must be time or instructions, got 'cycles'"),
    ('strict = "yes"', "line 1, strict: must be true or false, got 'yes'"),
    ("options = 3", "line 1, options: write a table"),
    ('targets = "MRFA"\n[options.PyConv]\nkernels = [[3]]', "line 3, options.PyConv.kernels: options of 'PyConv'"),
    ("[options.MRFA.deep]\na = 1", "line 1, options.MRFA.deep: an option takes a value or a list of values"),
    ("[options]\nk = []", "line 2, options.k: the list is empty"),
    ("grid = 3", "line 1, grid: write [[grid]]"),
    ("[[grid]]\ndims = 1\n[[grid]]\n# two\ndims = 0", "line 5, dims: dim must be"),
    ("k = [\n [1, 2],\n [3]\n]\nmodes = 3", "line 1, k: no study has the key 'k'"),
    ("[options]\nk = [\n [1, 2],\n [3]\n]\nl = []", "line 6, options.l: the list is empty"),
    ("[[grid]]\n[grid.options]\nk = []", "line 3, options.k: the list is empty"),
    ("dims = [1,", "not TOML"),
    ("dims = 1\ndims = 2\nsizes = 3", "not TOML: Cannot overwrite a value (at line 2"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_study_is_told_by_its_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_text(tmp_path, text)
    assert str(tmp_path / "study.toml") in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "options", "message"),
    [
        ({"dims": ["32,x"]}, [], "--dim: must be a whole number, got 'x'"),
        ({"dims": ["32,"]}, [], "--dim: must be a whole number, got ''"),
        ({"memory_formats": ["nhwc"]}, [], "--memory-format: memory_format 'nhwc'"),
        ({"targets": ["MFRA"]}, [], "TARGET: nothing is registered as 'MFRA'"),
        ({}, ["kernel_size"], "-p 'kernel_size': write key=value"),
        ({}, ["kernel size=3"], "-p 'kernel size=3': write key=value"),
    ],
)
def test_a_wrong_flag_is_told_by_its_name(flags: dict[str, list[str]], options: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_study([settings_from_flags(flags, options)])
    assert message in str(caught.value)


def test_a_study_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read: No such file"):
        settings_from_file(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"dims = \xff")
    with pytest.raises(UsageError, match="not UTF-8 text: byte 7 is 0xff"):
        settings_from_file(tmp_path / "bytes.toml")


def test_an_option_that_cannot_be_written_down_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be written as JSON"):
        study_of(targets="MRFA", options={"norm": object()})
