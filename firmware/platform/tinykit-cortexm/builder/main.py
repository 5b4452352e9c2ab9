"""Compiler, flags and targets of a build; the board support is in frameworks/tinykit.py."""

import os
import sys

from SCons.Script import COMMAND_LINE_TARGETS, AlwaysBuild, Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
board = env.BoardConfig()
sys.path.insert(0, os.path.join(env.PioPlatform().get_dir(), "builder"))
from compiler import find_compiler, machine_flags  # noqa: E402

kind, compiler = find_compiler(
    env.GetProjectOption("custom_toolchain", ""),
    env.PioPlatform().get_package_dir("toolchain-gccarmnoneeabi"),
)
if kind is None:
    sys.stderr.write(f"error: {compiler}\n")
    env.Exit(1)

# Relative, so that a project in a folder with spaces in its name can be linked.
build_dir = os.path.relpath(env.subst("$BUILD_DIR"), env.subst("$PROJECT_DIR"))
machine = machine_flags(kind, board.get("build.cpu"), board.get("build.fpu", ""))
warnings = ["-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion"]
if env.GetProjectOption("custom_warnings", "") != "allow":  # a compiler that nobody has tried yet
    warnings.append("-Werror")

env.Replace(
    TK_COMPILER=kind,
    TK_MACHINE=machine,
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    ARFLAGS=["rcs"],
    SIZEPROGREGEXP=r"^(?:\.text|\.data)\s+([0-9]+).*",
    SIZEDATAREGEXP=r"^(?:\.stack|\.data|\.bss)\s+([0-9]+).*",
    SIZECHECKCMD="",
    SIZEPRINTCMD="",
)
# PlatformIO keeps SCons's memory of what is up to date beside a shared build cache, by relative
# path: projects would believe each other's objects to be their own.  Here each has its own.
env.SConsignFile(os.path.join("$BUILD_DIR", ".sconsign"))

env.Append(
    ASPPFLAGS=["-x", "assembler-with-cpp", *machine],
    ASFLAGS=machine,
    CFLAGS=["-std=c11"],
    CXXFLAGS=["-std=gnu++17", "-fno-rtti", "-fno-exceptions"],
    CCFLAGS=[
        *machine,
        "-O2",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fno-common",
        "-ffunction-sections",
        "-fdata-sections",
        *warnings,
    ],
    CPPDEFINES=list(board.get("build.defines", {}).items()),
    LINKFLAGS=[
        # custom_keep_all = yes links what nobody calls, too: for measuring it
        "--no-gc-sections" if env.GetProjectOption("custom_keep_all", "") else "--gc-sections",
        "-Map=" + os.path.join(build_dir, "firmware.map"),
    ],
)

if kind == "gcc":
    env.Replace(
        AR=compiler + "ar",
        AS=compiler + "gcc",
        CC=compiler + "gcc",
        CXX=compiler + "g++",
        LINK=compiler + "gcc",
        OBJCOPY=compiler + "objcopy",
        RANLIB=compiler + "ranlib",
        SIZETOOL=compiler + "size",
        SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
        SIZEPRINTCMD="$SIZETOOL -A -d $SOURCES",
        LINKFLAGS=[*machine, "-nostdlib", *["-Wl," + str(f) for f in env["LINKFLAGS"]]],
    )
    env.Append(CCFLAGS=["-fstack-usage", "-fno-merge-constants"])
else:
    env.Replace(
        AR=f'"{compiler}" ar',
        AS=f'"{compiler}" cc',
        CC=f'"{compiler}" cc',
        CXX=f'"{compiler}" c++',
        LINK=f'"{compiler}" ld.lld',
        OBJCOPY=f'"{compiler}" objcopy',
        RANLIB=f'"{compiler}" ranlib',
        LINKCOM="$LINK -o $TARGET $LINKFLAGS $SOURCES $_LIBDIRFLAGS $_LIBFLAGS",
        LINKFLAGS=[
            "-m",
            "armelf",
            "-O0",
            "--strip-debug",
            "-z",
            "max-page-size=8",
            *env["LINKFLAGS"],
        ],
        TK_ZIG=compiler,
    )
    env.Append(CCFLAGS=["-fno-sanitize=all", "-fomit-frame-pointer", "-fno-stack-protector", "-g0"])

env.Append(
    BUILDERS={
        "ElfToBin": Builder(
            action=env.VerboseAction("$OBJCOPY -O binary $SOURCES $TARGET", "Writing $TARGET"),
            suffix=".bin",
        )
    }
)

elf = os.path.join("$BUILD_DIR", "firmware.elf")
if "nobuild" not in COMMAND_LINE_TARGETS:
    elf = env.BuildProgram()
AlwaysBuild(env.Alias("nobuild", elf))
program = env.Alias("buildprog", elf, elf)

if env.subst("$UPLOAD_PROTOCOL") == "pyocd" or board.get("upload.protocol", "") == "pyocd":
    target = board.get("tinykit.pyocd", "cortex_m")
    env.Replace(
        # without --no-wait it waits for a probe for ever
        UPLOADCMD=f'"$PYTHONEXE" -m pyocd load --no-wait --target {target} $UPLOAD_FLAGS $SOURCE'
    )
upload = env.VerboseAction("$UPLOADCMD", "Uploading $SOURCE")
env.AddPlatformTarget("upload", elf, [upload], "Upload")
image = env.ElfToBin(os.path.join("$BUILD_DIR", "firmware"), elf)
env.AddPlatformTarget("bin", image, None, "Binary image")
if machine := board.get("tinykit.qemu", ""):
    command = f"qemu-system-arm -M {machine} -nographic -monitor none -serial stdio -kernel $SOURCE"
    env.AddPlatformTarget(
        "emulate",
        elf,
        env.VerboseAction(command, "Running $SOURCE in QEMU"),
        "Emulate",
        "Run the firmware in QEMU, its serial port on this terminal",
    )

Default([program])
