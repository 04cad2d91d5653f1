"""What a graph must not contain to run right on every phone's GPU.

Two delegates have to be content: ML Drift, which today's LiteRT ships, and the classic one of the
Android library and of older runtimes. The rules are what was seen to be refused or, worse, computed
wrongly, here or by others on phones; TensorFlow's own analyzer finds most of this compatible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_skd.export.gpu import findings

if TYPE_CHECKING:
    from keras_skd.export.flatbuffer import Graph

ML_DRIFT, CLASSIC = "ML Drift", "classic"
BOTH = (ML_DRIFT, CLASSIC)

_HERE = "run in software, LiteRT 2.3.0"
_CLASSIC_HERE = "run in software, tensorflow-lite-gpu 2.16.1"
_BOTH_HERE = "run in software, both"
_MALI = "measured by edge-compat on Mali (Pixel 8a), LiteRT 2.1.3"


@dataclass(frozen=True)
class Rule:
    """What is looked for.

    Attributes:
        find: Function of a graph and an operation; see :mod:`keras_skd.export.gpu.findings`.
        accelerators: Those that mind: :data:`ML_DRIFT`, :data:`CLASSIC`.
        source: Where the fault was seen.
        fatal: Whether the file must not be used. What is only slow, depends on the values or was
            mended in newer runtimes is a warning.
    """

    find: Callable
    accelerators: tuple
    source: str
    fatal: bool = True


RULES = {
    "rank": Rule(findings.rank, BOTH, _BOTH_HERE),
    "dynamic shape": Rule(findings.dynamic_shape, BOTH, "documentation of both"),
    "run-time sizes": Rule(findings.run_time_sizes, BOTH, _CLASSIC_HERE),
    "unsupported operation": Rule(
        findings.unsupported_operation,
        BOTH,
        f"{_BOTH_HERE}; `gpu_compatibility.cc` of TensorFlow Lite; TRANSPOSE_CONV: {_MALI}",
    ),
    "adj flag": Rule(findings.adjoint, (CLASSIC,), _CLASSIC_HERE),
    "matmul rank": Rule(findings.matmul_rank, BOTH, _BOTH_HERE),
    "matmul broadcast": Rule(findings.matmul_broadcast, BOTH, _BOTH_HERE),
    "run-time weights": Rule(findings.run_time_weights, (ML_DRIFT,), _HERE),
    "constant left side": Rule(
        findings.constant_left_side,
        BOTH,
        f"{_BOTH_HERE}; measured by edge-compat on Adreno (Galaxy S26), LiteRT 2.2.0",
    ),
    "dropped axis": Rule(findings.dropped_axis, BOTH, _BOTH_HERE),
    "split": Rule(findings.split, (ML_DRIFT,), _HERE),
    "broadcast": Rule(findings.broadcast, (CLASSIC,), _CLASSIC_HERE),
    "lower rank": Rule(
        findings.lower_rank, BOTH, "parsers of 2024 and newer; LiteRT issues 8980 and 10445"
    ),
    "height broadcast": Rule(
        findings.height_broadcast,
        (ML_DRIFT,),
        f"{_MALI} to 2.1.5; LiteRT issue 8593, mended in 2.1.6",
        fatal=False,
    ),
    "several axes": Rule(findings.several_axes, (ML_DRIFT,), _MALI),
    "baked constant": Rule(
        findings.baked_constant, (ML_DRIFT,), "measured by edge-compat", fatal=False
    ),
    "unscaled square": Rule(findings.unscaled_square, BOTH, "arithmetic of float16", fatal=False),
    "constant operation": Rule(
        findings.constant_operation, BOTH, f"{_MALI}; STRIDED_SLICE: {_CLASSIC_HERE}"
    ),
    "wide integers": Rule(findings.wide_integers, BOTH, f"{_MALI}; {_CLASSIC_HERE}"),
    "weight-only int8": Rule(
        findings.weight_only_int8,
        (ML_DRIFT,),
        "measured by edge-compat on Adreno (Galaxy S26), LiteRT 2.2.0",
    ),
    "texture": Rule(findings.texture, (ML_DRIFT,), _HERE),
    "large texture": Rule(findings.large_texture, (ML_DRIFT,), "limits of WebGPU", fatal=False),
    "float island": Rule(findings.float_island, (), "time on a CPU", fatal=False),
}


@dataclass(frozen=True)
class Violation:
    """A rule that an operation breaks.

    Attributes:
        rule: Its name, a key of :data:`RULES`.
        operation: Kind and position of the operation.
        layer: The Keras layer that it computes.
        problem: What is wrong.
        remedy: What to do.
    """

    rule: str
    operation: str
    layer: str
    problem: str
    remedy: str

    @property
    def fatal(self) -> bool:
        """Whether the file must not be used."""
        return RULES[self.rule].fatal

    def __str__(self) -> str:
        minding = " and ".join(RULES[self.rule].accelerators)
        where = f" ({minding}; {RULES[self.rule].source})" if minding else ""
        return (
            f"{self.rule}: {self.operation} of {self.layer} {self.problem}; {self.remedy}{where}."
        )


def check_rules(graph: Graph) -> list[Violation]:
    """Walks a graph.

    Args:
        graph: A :class:`keras_skd.export.flatbuffer.Graph`.

    Returns:
        A list of :class:`Violation`, in order of execution, those of one operation together.
    """
    found = []
    for operation in graph.operations:
        for name, rule in RULES.items():
            broken = rule.find(graph, operation)
            if broken is not None:
                problem, remedy = broken
                found.append(
                    Violation(
                        name,
                        f"{operation.kind} {operation.index}",
                        operation.layer,
                        problem,
                        remedy,
                    )
                )
    return found
