"""Run in a process of its own: the kernel compiles for sm_90 without a device."""

from __future__ import annotations

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from workers.kernels.gibbs_triton import gibbs_kernel

SIGNATURE = {
    "tokens": "*i64",
    "ratios": "*fp32",
    "sites": "*i64",
    "uniforms": "*fp32",
    "out": "*i64",
    "num_tokens": "i32",
    "num_sites": "i32",
    "vocab_size": "i32",
    "threshold": "i32",
    "confidence": "i32",
    "BLOCK": "constexpr",
}


def main() -> None:
    for block in (128, 4096):
        source = ASTSource(fn=gibbs_kernel, signature=SIGNATURE, constexprs={"BLOCK": block})
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32))
        assert ".target sm_90" in compiled.asm["ptx"]
        assert len(compiled.asm["cubin"]) > 0
    print("compiled")


if __name__ == "__main__":
    main()
