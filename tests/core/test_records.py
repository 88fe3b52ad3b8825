"""The schema of a record is a promise to whoever reads the files."""

from __future__ import annotations

from convbench.notation import format_options, format_shapes
from convbench.records import COLUMNS, SCHEMA_VERSION, Record

SCHEMA = (
    "target kind options given input_shape device device_name dtype memory_format mode execution threads params "
    "trainable_params buffers weight_bytes macs algorithmic_macs sampling_macs flops bytes_moved "
    "arithmetic_intensity uncounted padding_macs batch_independent_macs latency_ms latency_low_ms latency_high_ms "
    "latency_p10_ms latency_p90_ms latency_first_ms export_ms session_ms latency_samples latency_processes "
    "latency_noise latency_allocator throughput_per_s device_latency_ms device_latency_low_ms "
    "device_latency_high_ms launch_bound device_cache peak_bytes activation_peak_bytes saved_for_backward_bytes "
    "erf_sigma erf_r20 erf_r30 erf_r50 erf_r99 erf_agd energy_mj energy_low_mj energy_high_mj power_w idle_power_w "
    "baseline ratio ratio_low ratio_high verdict margin adjusted_p control_ratio control_low control_high "
    "device_ratio device_ratio_low device_ratio_high device_verdict verdict_reason status error notes "
    "schema_version convbench_version torch_version created_at"
)


def test_columns_and_their_order_are_fixed() -> None:
    assert " ".join(COLUMNS) == SCHEMA


def test_a_record_survives_its_row() -> None:
    record = Record("MRFA", kind="block", macs=3, status="oom", error="latency: out of memory")
    assert record.to_row()["schema_version"] == SCHEMA_VERSION
    assert Record.from_row({**record.to_row(), "column_of_the_future": 1}) == record


def test_shapes_and_options_as_text() -> None:
    assert format_shapes(((1, 64, 56, 56), (2, 3))) == "1x64x56x56;2x3"
    assert (
        format_options({"dim": 64, "kernels": [3, 5], "scale": None}) == '{"dim": 64, "kernels": [3, 5], "scale": null}'
    )
