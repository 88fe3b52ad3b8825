"""Every check passes what is right, and fails what is wrong in the one thing it is about, saying what that is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from convbench.case import Case
from convbench.errors import UnknownNameError, UsageError
from convbench.verify import CHECKS, CheckResult, carry_out, choose_checks
from convbench.verify.run import prepare, run_check
from convbench.workers.pool import Answer, Failure
from convbench.workers.worker import find_job

BROKEN = Path(__file__).parent / "broken.py"
SLOW = ("compile",)


def results(target: str, *checks: str, **case: object) -> dict[str, CheckResult]:
    trial = prepare(Case(f"{BROKEN}:{target}", **(case or {"dim": 4, "size": 8})))
    return {check.name: run_check(trial, check) for check in choose_checks(checks)}


def only(target: str, check: str, **case: object) -> CheckResult:
    return results(target, check, **case)[check]


@pytest.mark.parametrize("check", [check.name for check in CHECKS if check.name not in SLOW])
def test_a_right_module_passes(check: str) -> None:
    result = only("Right", check)
    assert (result.status, result.check) == ("pass", check), result.reason


@pytest.mark.parametrize(
    ("target", "check", "reason"),
    [
        ("InfiniteOutput", "forward", "not finite"),
        ("FailingForward", "forward", "RuntimeError: the kernel is missing"),
        ("CutGraph", "backward", "no output carries a gradient"),
        ("NoInputGradient", "backward", "the input gets no gradient"),
        ("NothingLearns", "backward", "every gradient is zero"),
        ("InfiniteGradient", "backward", "not finite"),
        ("WrongGradient", "gradients", "conv.bias has slope"),
        ("WrongTrainingGradient", "gradients", "training mode: 1 (conv.bias) of 3"),
        ("ManyTensors", "gradients", "scales.77 has slope"),
        ("SinglePrecision", "gradients", "RuntimeError"),
        ("MixesBatch", "batch-independence", "beside another sample"),
        ("Random", "determinism", "a second call"),
        ("RandomBuild", "determinism", "a second module of the same seed"),
        ("TwoFaced", "eval-train", "training mode: differs by 5.0e-01"),
        ("WritesInput", "keeps-input", "writes into its input"),
        ("EvenOnly", "odd-sizes", "RuntimeError"),
        ("ShrinksOdd", "odd-sizes", "keeps the size of even inputs, but 7×11 gives 2×4×6×10"),
        ("NeedsSamples", "empty-batch", "RuntimeError"),
        ("KeepsOneSample", "empty-batch", "gives 1×4×8×8"),
        ("RealOnMeta", "meta", "RuntimeError"),
        ("ReadsData", "meta", "RuntimeError"),
        ("MemoryOrder", "channels-last", "channels_last inference"),
        ("FixedDtype", "autocast-bf16", "dtype"),
        ("FixedDtype", "autocast-fp16", "dtype"),
        ("LosesPrecision", "autocast-bf16", "differs from float32"),
        ("HiddenState", "state-dict", "with the loaded state"),
        ("SharedCopy", "deepcopy", "the original after a deep copy was changed"),
        ("Lambda", "pickle", "cannot be pickled"),
        ("Branches", "trace", "the trace: differs"),
        ("Branches", "export", ""),
        ("Branches", "onnx", ""),
    ],
)
def test_what_is_wrong_is_found_and_named(target: str, check: str, reason: str) -> None:
    result = only(target, check)
    assert result.status == "fail"
    assert reason in result.reason


@pytest.mark.parametrize(
    ("target", "check", "reason"),
    [
        ("Pooled", "batch-independence", "no batch dimension"),
        ("Pooled", "empty-batch", "no batch dimension"),
        ("TwoOutputs", "eval-train", "training mode gives other outputs"),
        ("WantsTargets", "eval-train", "training needs a target"),
        ("RefusesOdd", "odd-sizes", "refuses 7×11: ValueError: the width must be even"),
    ],
)
def test_what_means_nothing_for_a_target_is_not_held_against_it(target: str, check: str, reason: str) -> None:
    result = only(target, check)
    assert result.status == "not applicable"
    assert reason in result.reason


@pytest.mark.parametrize(
    ("target", "check", "reason"),
    [
        ("IdleParameter", "backward", "1 (idle) without a gradient"),
        ("WantsTargets", "backward", "in eval mode"),
        ("WantsTargets", "gradients", "not in training mode"),
        ("ModeDependent", "eval-train", "but for BatchNorm2d, Dropout"),
        ("ModeDependent", "determinism", ""),
        ("ModeDependent", "gradients", "tensors agree"),
        ("HardChoice", "gradients", "piecewise constant in guide.weight, guide.bias"),
        ("FixedSize", "trace", "for the traced shape only"),
        ("Right", "trace", "other sizes too"),
        ("FixedBatch", "export", "for the exported batch size only"),
        ("Right", "export", "any batch size"),
        ("Right", "channels-last", "channels_last too"),
        ("Lambda", "deepcopy", ""),
    ],
)
def test_a_pass_says_what_is_worth_knowing(target: str, check: str, reason: str) -> None:
    result = only(target, check)
    assert result.status == "pass", result.reason
    assert reason in result.reason


def test_a_right_network_passes_however_steep_it_is_and_many_its_kinks() -> None:
    result = only("Steep", "gradients", dim=8, size=16)
    assert (result.status, result.reason) == ("pass", "65 tensors agree")


def test_the_hard_choice_of_a_block_does_not_hide_a_wrong_gradient_elsewhere() -> None:
    result = only("HardChoiceWithWrongBias", "gradients")
    assert result.status == "fail"
    assert "conv.bias has slope" in result.reason


def test_layer_scales_and_zeros_do_not_hide_what_is_behind_them() -> None:
    result = only("ScaledAway", "eval-train")
    assert result.status == "fail"


def test_several_inputs_and_a_mapping_of_outputs() -> None:
    checks = [check.name for check in CHECKS if check.name not in SLOW]
    found = results("TwoImages", *checks, dim=4, shapes=((2, 4, 6, 6), (2, 4, 6, 6)))
    assert {name: result.status for name, result in found.items() if result.status != "pass"} == {}


def in_this_process(request: Mapping[str, Any]) -> Answer:
    return Answer(request, json.loads(json.dumps(find_job(request["do"])(request, lambda _: None))))


def test_a_failing_forward_pass_leaves_nothing_else_to_ask() -> None:
    target = carry_out.prepare(in_this_process, Case(f"{BROKEN}:FailingForward", dim=4, size=8), "FailingForward")
    found = {result.check: result for result in carry_out.results(in_this_process, target, CHECKS)}
    assert found["forward"].failed
    assert {result.status for name, result in found.items() if name != "forward"} == {"skipped"}
    assert "the kernel is missing" in found["compile"].reason
    assert not any(result.ended for result in found.values())


def test_a_check_that_the_target_ends_fails_and_the_others_go_on() -> None:
    def ask(request: Mapping[str, Any]) -> Answer:
        if request.get("check") == "pickle":
            return Answer(request, failure=Failure("timeout", "no sign of life", "WorkerTimeout"))
        return in_this_process(request)

    target = carry_out.prepare(ask, Case(f"{BROKEN}:Right", dim=4, size=8), "Right")
    found = list(carry_out.results(ask, target, choose_checks(["forward", "pickle", "deepcopy"], require=["deepcopy"])))
    assert [(result.check, result.status, result.ended) for result in found] == [
        ("forward", "pass", False),
        ("deepcopy", "pass", False),
        ("pickle", "fail", True),
    ]
    assert found[2].reason == "no sign of life"


def test_a_target_that_cannot_even_be_prepared_fails_its_forward_pass() -> None:
    gone = Answer({}, failure=Failure("error", "the process ended", "WorkerCrash"))
    target = carry_out.prepare(lambda _: gone, Case("MRFA"), "MRFA")
    forward, meta = carry_out.results(lambda _: gone, target, choose_checks(["forward", "meta"]))
    assert (forward.status, forward.reason, forward.ended) == ("fail", "the process ended", True)
    assert (meta.status, meta.ended) == ("skipped", True)


def test_the_first_size_that_the_target_takes() -> None:
    assert prepare(Case(f"{BROKEN}:Right", dim=4)).shapes == ((2, 4, 16, 16),)
    assert prepare(Case(f"{BROKEN}:SmallImagesRefused")).shapes == ((2, 3, 224, 224),)
    assert only("SmallImagesRefused", "odd-sizes", seed=0).status == "not applicable"


def test_the_global_random_state_is_left_alone() -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    results("ModeDependent", "forward", "gradients", "determinism", "state-dict", "channels-last")
    assert torch.equal(torch.rand(4), expected)


def test_verifying_on_meta_is_refused() -> None:
    with pytest.raises(UsageError, match="--device cpu"):
        prepare(Case(f"{BROKEN}:Right", device="meta"))


def test_a_wrong_option_is_refused_before_any_check() -> None:
    with pytest.raises(UsageError, match="multiple of 4"):
        prepare(Case("MRFA", dim=30, size=8))


@pytest.mark.slow
def test_compiling() -> None:
    right, wrong = only("Right", "compile"), only("WrongWhenCompiled", "compile")
    assert (right.status, "one graph" in right.reason) == ("pass", True), right.reason
    assert wrong.status == "fail"
    assert "the compiled module: differs" in wrong.reason


@pytest.mark.slow
def test_graph_breaks_are_told() -> None:
    result = only("ReadsData", "compile")
    assert result.status == "pass"
    assert "graph breaks" in result.reason


class TestChoosing:
    def test_every_row_of_the_table_names_a_function(self) -> None:
        assert all(callable(check.load()) for check in CHECKS)
        assert len({check.name for check in CHECKS}) == len(CHECKS)

    def test_all_in_the_order_of_the_table(self) -> None:
        assert choose_checks() == CHECKS
        assert [check.name for check in choose_checks(["onnx", "forward"])] == ["forward", "onnx"]

    def test_skipped_checks_keep_their_place(self) -> None:
        chosen = choose_checks(skip=["backward"])
        assert [check.name for check in chosen if check.skipped] == ["backward"]
        assert len(chosen) == len(CHECKS)

    def test_an_optional_check_can_be_required(self) -> None:
        (check,) = choose_checks(["onnx"], require=["onnx"])
        assert check.required
        assert not next(row for row in CHECKS if row.name == "onnx").required

    def test_an_unknown_name_suggests_the_nearest(self) -> None:
        with pytest.raises(UnknownNameError, match="Did you mean 'gradients'"):
            choose_checks(["gradient"])
        with pytest.raises(UnknownNameError, match="Did you mean 'compile'"):
            choose_checks(skip=["compil"])

    def test_skipping_all_that_was_asked_for_is_refused(self) -> None:
        with pytest.raises(UsageError, match="nothing is left"):
            choose_checks(["trace"], skip=["trace"])


def test_an_optional_failure_does_not_fail_the_target() -> None:
    assert not CheckResult("onnx", False, "fail", "", 0.0).failed
    assert CheckResult("forward", True, "fail", "", 0.0).failed
    assert not CheckResult("forward", True, "skipped", "", 0.0).failed
