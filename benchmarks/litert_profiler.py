"""Time of each kind of operation of a ``.tflite`` file on the CPU, from LiteRT's own profiler.

The Python interface has no profiler, the C interface of the same library has: this calls it.
``python benchmarks/litert_profiler.py MODEL [--runs 20] [--threads 2]`` prints the table.
"""

import argparse
import collections
import ctypes
import re
from pathlib import Path

_CPU = 1  # LiteRT's flag of the CPU as hardware accelerator
# A line of the summary: kind, start, first, average (ms), %, cumulative %, memory, calls, name.
_LINE = re.compile(
    r"\s*(\S.*?)\s+[\d.]+\s+[\d.]+\s+([\d.]+)\s+[\d.]+%\s+[\d.]+%\s+[\d.]+\s+(\d+)\s"
)


class _Library:
    """``libLiteRt.so``; every function returns a status, zero if all went well."""

    def __init__(self):
        import ai_edge_litert

        folder = Path(ai_edge_litert.__file__).parent
        self._functions = ctypes.CDLL(str(folder / "libLiteRt.so"))

    def __call__(self, name, *arguments):
        function = getattr(self._functions, f"LiteRt{name}")
        function.restype = ctypes.c_int
        status = function(*arguments)
        if status:
            raise RuntimeError(f"LiteRt{name} failed with status {status}.")

    def made(self, name, *arguments):
        """Calls a function whose last argument is the handle that it gives."""
        handle = ctypes.c_void_p()
        self(name, *arguments, ctypes.byref(handle))
        return handle


def profile_operations(path, runs=20, threads=2):
    """Runs a file with the profiler on.

    Args:
        path: A ``.tflite`` file of one input and one output.
        runs: Calls.
        threads: CPU threads.

    Returns:
        A dict of the kind of operation, as the CPU's kernels name it, to ``(calls, milliseconds)``
        of one run, the longest first.

    Raises:
        RuntimeError: LiteRT cannot run the file.
    """
    call = _Library()
    index = ctypes.c_size_t(0)
    environment = call.made("CreateEnvironment", ctypes.c_int(0), None)
    model = call.made("CreateModelFromFile", environment, str(path).encode())
    options = call.made("CreateOptions")
    call("SetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
    destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda payload: None)
    payloads = {
        b"runtime_options_string": b"enable_profiling = true\n",
        b"xnnpack": f"num_threads = {threads}\n".encode(),
    }
    buffers = {name: ctypes.create_string_buffer(text) for name, text in payloads.items()}
    for name, text in buffers.items():
        opaque = call.made("CreateOpaqueOptions", name, text, destructor)
        call("AddOpaqueOptions", options, opaque)
    compiled = call.made("CreateCompiledModel", environment, model, options)
    profiler = call.made("CompiledModelGetProfiler", compiled)
    signature = call.made("GetModelSignature", model, index)

    def tensor_buffer(side):
        tensor = call.made(f"GetSignature{side}TensorByIndex", signature, index)
        kind = ctypes.create_string_buffer(256)  # larger than the struct
        call("GetRankedTensorType", tensor, kind)
        requirements = call.made(
            f"GetCompiledModel{side}BufferRequirements", compiled, index, index
        )
        return call.made(
            "CreateManagedTensorBufferFromRequirements", environment, kind, requirements
        )

    one = ctypes.c_size_t(1)
    image, restored = tensor_buffer("Input"), tensor_buffer("Output")
    arguments = (compiled, index, one, ctypes.byref(image), one, ctypes.byref(restored))
    call("RunCompiledModel", *arguments)  # to warm up
    call("StartProfiler", profiler)
    for _ in range(runs):
        call("RunCompiledModel", *arguments)
    call("StopProfiler", profiler)
    summary = ctypes.c_char_p()
    call("GetProfileSummary", profiler, compiled, ctypes.byref(summary))
    return _totals(summary.value.decode(), runs)


def _totals(summary, runs):
    calls, times = collections.Counter(), collections.Counter()
    for line in summary.split("Top by")[0].splitlines():
        found = _LINE.match(line)
        if found:
            kind = found[1].removeprefix("Delegate/")
            calls[kind] += int(found[3])
            times[kind] += float(found[2]) * int(found[3])
    return {kind: (calls[kind] // runs, time / runs) for kind, time in times.most_common()}


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", metavar="MODEL", help=".tflite file")
    parser.add_argument("--runs", type=int, default=20, help="calls (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: %(default)s)")
    options = parser.parse_args()
    rows = profile_operations(options.model, options.runs, options.threads)
    total = sum(time for _, time in rows.values())
    for kind, (calls, time) in rows.items():
        print(f"{time:9.2f} ms {100 * time / total:6.1f}% {calls:5d}  {kind}")
    print(f"{total:9.2f} ms in all")


if __name__ == "__main__":
    main()
