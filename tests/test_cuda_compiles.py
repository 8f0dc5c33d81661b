"""Every kernel file compiles for every GPU, without a warning: with NVRTC, which needs no GPU (extra "cuda-test")."""
from pathlib import Path

import pytest

from minigrad.kernels.cuda import nvrtc, source

needs_nvrtc = pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC (extra cuda-test)")
HEALTHY = Path(__file__).parent / "data" / "product.cu"
VARIANTS = [(file, *variant) for file in source.kernel_files() for variant in source.variants(file)]
CASES = [  # everything for the oldest and the newest, float32 for all
    (file, dtype, macros, architecture)
    for file, dtype, macros in VARIANTS
    for architecture in (nvrtc.ARCHITECTURES if dtype == "float32" else ("sm_75", "sm_90"))
]


@needs_nvrtc
@pytest.mark.parametrize(("file", "dtype", "macros", "architecture"), CASES, ids=str)
def test_it_compiles_without_a_warning_and_spills_no_register(file, dtype, macros, architecture):
    code, log = nvrtc.cubin(file, dtype, macros, architecture, nvrtc.VERBOSE)
    assert code[:4] == b"\x7fELF"
    assert [line for line in log.splitlines() if not line.startswith(("ptxas info ", "ptxas   "))] == []
    found = nvrtc.usage_in(log)
    assert set(found) == set(source.kernels(file))
    assert {spilled for _, _, spilled in found.values()} == {0}


@needs_nvrtc
@pytest.mark.parametrize("architecture", (*nvrtc.ARCHITECTURES, "sm_90a"))
def test_the_helpers_for_all_kernels_compile(architecture):
    code, log = nvrtc.cubin(HEALTHY, "float32", (), architecture)
    assert log == ""
    assert all(name.encode() in code for name in source.kernels(HEALTHY))


@needs_nvrtc
def test_a_warning_and_an_error_show(tmp_path):
    file = tmp_path / "careless.cu"
    file.write_text('extern "C" __global__ void careless(T *x) {\n    int unused;\n    x[0] = (T)1;\n}\n')
    assert f'{file}(2): warning' in nvrtc.cubin(file)[1]
    file = tmp_path / "broken.cu"
    file.write_text('extern "C" __global__ void broken(T *x) { x[0] = y; }\n')
    with pytest.raises(RuntimeError, match=r'broken\.cu does not compile for sm_80:\n.*"y" is undefined'):
        nvrtc.cubin(file)


@needs_nvrtc
def test_usage_counts_registers_shared_memory_and_spills():
    found = nvrtc.usage(HEALTHY)
    assert set(found) == set(source.kernels(HEALTHY))
    registers, shared, spilled = found["product"]
    assert 8 <= registers <= 64 and shared == 2 * 8 * 8 * 4 and spilled == 0


def test_without_nvrtc_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(nvrtc, "library", lambda: None)
    with pytest.raises(RuntimeError, match=r"minigrad\[cuda-test\]"):
        nvrtc.cubin(HEALTHY)


def test_the_files_and_their_variants_are_found():
    assert "conv/direct.cu" in source.kernel_files()
    assert ("float16", (("FLIP", 1),)) in source.variants("conv/direct.cu")
    assert source.variants(HEALTHY) == [(dtype, ()) for dtype in source.TYPES]


def test_a_file_that_is_included_is_inserted_once_and_lines_keep_their_numbers(tmp_path):
    (tmp_path / "part.cuh").write_text("#pragma once\nint one;\n")
    file = tmp_path / "whole.cu"
    file.write_text('int before;\n#include "part.cuh"\n#include "part.cuh"\nint after;\n')
    text = source.device_source(file)
    assert text.count("int one;") == 1
    assert text.endswith(f'#line 3 "{file}"\n#line 4 "{file}"\nint after;\n\n')
