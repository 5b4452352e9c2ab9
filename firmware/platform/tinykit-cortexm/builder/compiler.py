"""Which compiler builds the firmware. Plain Python: no SCons, no tinykit.

In this order:
 1. `custom_toolchain` in platformio.ini, or the environment variable ARM_NONE_EABI_PREFIX:
    a prefix such as /opt/gcc/bin/arm-none-eabi-, or "zig", or "platformio";
 2. arm-none-eabi-gcc on PATH;
 3. clang from PyPI's `ziglang`, which needs no more than pip.
"""

import importlib.util
import os
import shutil

MISSING = (
    "no compiler for Cortex-M found; install one: `apt install gcc-arm-none-eabi "
    "libnewlib-arm-none-eabi` (Debian, Ubuntu), `brew install --cask gcc-arm-embedded` (macOS), or "
    "`pip install ziglang` (anywhere); or set ARM_NONE_EABI_PREFIX to the prefix of one you have"
)


def zig_executable():
    """The zig of PyPI's ziglang beside this Python, else one on PATH, else None."""
    spec = importlib.util.find_spec("ziglang")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for name in ("zig", "zig.exe"):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                return path
    return shutil.which("zig")


def find_compiler(wanted="", package_dir=None):
    """("gcc", prefix), ("zig", executable), or (None, message).

    `wanted` is custom_toolchain; `package_dir` is where PlatformIO's own GCC package lies, if it
    is installed.
    """
    wanted = os.path.expanduser(wanted or os.environ.get("ARM_NONE_EABI_PREFIX", ""))
    if wanted == "platformio":
        if package_dir:
            return "gcc", os.path.join(package_dir, "bin", "arm-none-eabi-")
        return None, "custom_toolchain = platformio, but the package is not installed"
    if wanted == "zig":
        zig = zig_executable()
        return ("zig", zig) if zig else (None, "zig was asked for: `pip install ziglang`")
    if wanted:
        if shutil.which(wanted + "gcc"):
            return "gcc", wanted
        return None, f"{wanted}gcc does not exist (custom_toolchain or ARM_NONE_EABI_PREFIX)"
    if shutil.which("arm-none-eabi-gcc"):
        return "gcc", "arm-none-eabi-"
    if package_dir:
        return "gcc", os.path.join(package_dir, "bin", "arm-none-eabi-")
    zig = zig_executable()
    return ("zig", zig) if zig else (None, MISSING)


# -mcpu and -mfpu of GCC → zig's names. The FPU is always named: the CPU's default is the largest.
_ZIG_CPU = {
    "cortex-m0plus": "cortex_m0plus",
    "cortex-m3": "cortex_m3",
    "cortex-m4": "cortex_m4",
    "cortex-m7": "cortex_m7",
    "cortex-m33": "cortex_m33",
    "cortex-m55": "cortex_m55",
}
_ZIG_FPU = {
    "": "",
    "fpv4-sp-d16": "+vfp4d16sp",
    "fpv5-sp-d16": "+fp_armv8d16sp",
    "fpv5-d16": "+fp_armv8d16",
    "auto": "",
}


def machine_flags(kind, cpu, fpu):
    """What tells the compiler the core: a list of flags for compiling (and, with GCC, linking).

    Armv6-M has no TBB: a switch through a table would jump through a register, and what is behind
    that the bound of the stack cannot follow.
    """
    tables = ["-fno-jump-tables"] if cpu == "cortex-m0plus" else []
    if kind == "gcc":
        floats = ["-mfpu=" + fpu, "-mfloat-abi=hard"] if fpu else ["-mfloat-abi=soft"]
        return ["-mcpu=" + cpu, "-mthumb", *floats, *tables]
    abi = "eabihf" if fpu else "eabi"
    return [
        "-target",
        "thumb-freestanding-" + abi,
        "-mcpu=" + _ZIG_CPU[cpu] + _ZIG_FPU[fpu],
        *tables,
    ]
