#!/usr/bin/env bash
# torch 2.13.0: with aot_inductor.link_libtorch=False Inductor takes a CPU with AVX2 for one without vectors.
#
# What it does: before it writes vector code, Inductor compiles a probe that calls Sleef (in libtorch_cpu) and loads it in
#   a process that has not imported torch (cpu_vec_isa.py). link_libtorch=False is meant for the compiled model, but the
#   probe is linked by the same setting: without libtorch, so it does not load.
# Expected: AVX2 is found whatever the model is linked with, or a warning that it is not.
# Seen: all generated code is scalar, without a word. The probe's file stays in the cache under a name that does not depend
#   on the setting: with the same cache, an ordinary compilation afterwards is scalar too.
# A way round: cpp.vec_isa_ok=True where the CPU has been checked otherwise; a cache of its own.
# Needs: an x86-64 CPU with AVX2, g++, Python 3.11 with venv. Ends with 1 when this has changed.
set -euo pipefail
grep -qw avx2 /proc/cpuinfo || { echo "this CPU has no AVX2: nothing to see here" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" --disable-pip-version-check install --quiet --no-input)
# Either build shows it. The CPU build is smaller, and in PyTorch's own index; what it needs then comes from PyPI.
"${pip[@]}" --no-deps --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu || true
"${pip[@]}" torch==2.13.0

found() { # found CACHE LINK_LIBTORCH: the instructions that Inductor would write code for
    TORCHINDUCTOR_CACHE_DIR=$folder/$1 "$folder/venv/bin/python" -W ignore -c "
import torch
from torch._inductor import config, cpu_vec_isa

with config.patch({'aot_inductor.link_libtorch': $2, 'cpp.simdlen': 256}):
    print(cpu_vec_isa.pick_vec_isa())
"
}

"$folder/venv/bin/python" -W ignore -c "import torch; print('torch', torch.__version__)"
linked=$(found linked True)
unlinked=$(found unlinked False)
after=$(found unlinked True)
echo "link_libtorch=True, a new cache:             $linked"
echo "link_libtorch=False, a new cache:            $unlinked"
echo "link_libtorch=True, with that second cache:  $after"

# Seen with torch 2.13.0+cpu, g++ 12.2, Python 3.11:
#   link_libtorch=True, a new cache:             avx2
#   link_libtorch=False, a new cache:            INVALID_VEC_ISA
#   link_libtorch=True, with that second cache:  INVALID_VEC_ISA
[[ "$linked $unlinked $after" == "avx2 INVALID_VEC_ISA INVALID_VEC_ISA" ]] || { echo "this has changed" >&2; exit 1; }
