"""Compiling kernels with NVRTC and without a GPU or its driver: does it compile, and what does a kernel occupy?

CuPy asks the driver for which GPU to compile; here the architecture is given, so that any machine can check that a file
compiles for every GPU. The library and the headers of CUDA come with the extra "cuda-test", or from CUDA_PATH.
"""
import ctypes
import importlib.util
import os
import re
from functools import lru_cache
from pathlib import Path

from .module import OPTIONS
from .source import device_source, kernel_files, variants

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")
VERBOSE = ("--ptxas-options=-v",)
USAGE = re.compile(r"Function properties for (\w+)\n.*?(\d+) bytes spill stores, (\d+) bytes spill loads\n"
                   r".*?Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def cubin(file, dtype="float32", macros=(), architecture="sm_80", options=()):
    """(machine code, what the compiler says): arguments as in `device_source`; sm_90a is an architecture, too.

    Raises RuntimeError where the file does not compile, with the compiler's words, or where there is no NVRTC.
    """
    if not library():
        raise RuntimeError('no NVRTC: pip install "minigrad[cuda-test]", or set CUDA_PATH to the CUDA toolkit')
    arguments = [f"--gpu-architecture={architecture}", *OPTIONS, *(f"-I{p}" for p in headers()), *options]
    text, program = device_source(file, dtype, macros).encode(), ctypes.c_void_p()
    _call("CreateProgram", ctypes.byref(program), text, str(file).encode(), 0, None, None)
    try:
        given = (ctypes.c_char_p * len(arguments))(*(a.encode() for a in arguments))
        failed = library().nvrtcCompileProgram(program, len(arguments), given)
        log = _bytes("ProgramLog", program).rstrip(b"\0").decode()
        if failed:
            raise RuntimeError(f"{file} does not compile for {architecture}:\n{log}")
        return _bytes("CUBIN", program), log
    finally:
        _call("DestroyProgram", ctypes.byref(program))


def usage(file, dtype="float32", macros=(), architecture="sm_80"):
    """{kernel: (registers, bytes of static shared memory, bytes that registers spill)}, as ptxas tells."""
    return usage_in(cubin(file, dtype, macros, architecture, VERBOSE)[1])


def usage_in(log):
    """The same, from what the compiler says with the options VERBOSE."""
    found = USAGE.findall(log)
    return {name: (int(r), int(shared or 0), int(stores) + int(loads)) for name, stores, loads, r, shared in found}


@lru_cache(1)
def library():
    """NVRTC, or None where it is not installed."""
    for path in (p for folder in _folders() for p in sorted(folder.glob("lib*/libnvrtc.so*"))):
        if "alt" not in path.name:
            for builtins in path.parent.glob("libnvrtc-builtins.so*"):
                ctypes.CDLL(str(builtins))  # NVRTC looks for it by name, and finds it where it is loaded already
            return ctypes.CDLL(str(path))
    return None


def headers():
    """The folders with CUDA's headers."""
    return [folder / "include" for folder in _folders() if (folder / "include" / "cuda_fp16.h").exists()]


def _folders():
    """Where CUDA may be: the wheels of NVIDIA, and a toolkit."""
    spec = importlib.util.find_spec("nvidia")
    wheels = [p for root in (spec.submodule_search_locations if spec else ()) for p in sorted(Path(root).iterdir())]
    toolkit = os.environ.get("CUDA_PATH")
    return [*wheels, *([Path(toolkit)] if toolkit else [])]


def _bytes(what, program):
    size = ctypes.c_size_t()
    _call(f"Get{what}Size", program, ctypes.byref(size))
    data = ctypes.create_string_buffer(size.value)
    _call(f"Get{what}", program, data)
    return data.raw


def main():
    """Print what every kernel occupies on an H100, in the first variant of its file."""
    for file in kernel_files():
        dtype, macros = variants(file)[0]
        for name, (registers, shared, spilled) in usage(file, dtype, macros, "sm_90").items():
            print(f"{file:32} {name:20} {registers:4} registers {shared:6} bytes shared {spilled:5} bytes spilled")


def _call(name, *arguments):
    code = getattr(library(), f"nvrtc{name}")(*arguments)
    if code:
        raise RuntimeError(f"nvrtc{name} failed with error {code}")


if __name__ == "__main__":
    main()
