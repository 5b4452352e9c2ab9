"""Board support: start-up code, serial port, clock, and the linker script for this board."""

import json
import os
import subprocess
import sys

from SCons.Script import DefaultEnvironment

env = DefaultEnvironment()
board = env.BoardConfig()
support = os.path.join(env.PioPlatform().get_dir(), "support")
build_dir = os.path.relpath(env.subst("$BUILD_DIR"), env.subst("$PROJECT_DIR"))


def linker_script() -> str:
    """MEMORY and the stack's size, then support/cortexm.ld.

    memory.json in the project folder, when it is there, overrides the manifest: "sram" and "flash"
    (bytes) and "stack" (bytes). It is not in platformio.ini because a change of that file makes
    PlatformIO throw the whole build away.
    """
    override = {}
    path = os.path.join(env.subst("$PROJECT_DIR"), "memory.json")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            override = json.load(file)
    lines = ["MEMORY", "{"]
    for name, key, access in (("FLASH", "flash", "rx"), ("RAM", "sram", "rwx")):
        size = override.get(key, board.get(f"tinykit.{key}.bytes"))
        board.update("upload.maximum_%ssize" % ("ram_" if key == "sram" else ""), size)
        origin = board.get(f"tinykit.{key}.origin")
        lines.append(f"  {name} ({access}) : ORIGIN = {origin}, LENGTH = {size}")
    lines += ["}", f"TK_STACK_SIZE = {override.get('stack', 4096)};", ""]
    with open(os.path.join(support, "cortexm.ld"), encoding="utf-8") as file:
        return "\n".join(lines) + file.read()


def write_if_changed(path: str, text: str) -> None:
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.stderr.write("error: {}\n{}\n".format(" ".join(command), done.stderr))
        env.Exit(1)
    return done.stdout.strip()


def compiler_rt() -> str:
    """clang's run-time library (soft floats, 64-bit division) for this core, built once by zig."""
    zig = env["TK_ZIG"]
    target, cpu = env["TK_MACHINE"][1], env["TK_MACHINE"][2]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = "-".join((run(zig, "version"), target, cpu[len("-mcpu=") :]))
    path = os.path.join(cache, "tinykit", "compiler-rt", name, "libcompiler_rt.a")
    if not os.path.isfile(path):
        import ast

        paths = run(zig, "env")
        lib = next(
            ast.literal_eval(line.split("=" if "=" in line else ":", 1)[1].strip().rstrip(","))
            for line in paths.splitlines()
            if line.strip().startswith((".lib_dir", '"lib_dir"'))
        )
        os.makedirs(os.path.dirname(path), exist_ok=True)
        part = f"{path}.{os.getpid()}"
        run(
            *(zig, "build-lib", os.path.join(lib, "compiler_rt.zig"), "--name", "compiler_rt"),
            *("-target", target, cpu, "-OReleaseSmall", "-fstrip"),
            *("-ffunction-sections", "-fdata-sections", "-femit-bin=" + part),
        )
        os.replace(part, path)
    return path


script = os.path.join(build_dir, "firmware.ld")
write_if_changed(script, linker_script())
env.Depends(os.path.join("$BUILD_DIR", "firmware.elf"), env.File(os.path.abspath(script)))

env.Append(CPPPATH=[support])
if env["TK_COMPILER"] == "gcc":
    env.Append(LINKFLAGS=[f"-Wl,-T,{script}"])
    library = run(env.subst("$CC"), *env["TK_MACHINE"], "-print-libgcc-file-name")
    no_calls = ["-fno-builtin", "-fno-tree-loop-distribute-patterns"]
else:
    env.Append(
        CCFLAGS=["-isystem", os.path.join(support, "libc")],
        LINKFLAGS=["-T", script],
    )
    library = compiler_rt()
    no_calls = ["-fno-builtin"]
env.Append(LIBS=[env.File(library)])
write_if_changed(os.path.join(build_dir, "compiler-library.txt"), library + "\n")

uart = board.get("build.uart")
sources = f"+<startup.c> +<clock.c> +<uart_{uart}.c>"
if uart == "stm32":
    sources += " +<stm32.c>"
env.BuildSources(os.path.join("$BUILD_DIR", "support"), support, sources)

memory_env = env.Clone()
memory_env.Append(CCFLAGS=no_calls)
target = os.path.join("$BUILD_DIR", "support", "memory.o")
env.Append(PIOBUILDFILES=memory_env.Object(target, os.path.join(support, "memory.c")))


def uncached(env, node):
    """Objects of the project itself: they differ from project to project, sharing them is waste."""
    objects = env.Object(node)
    env.NoCache(objects)
    return objects


# build_cache_dir shares the runtime's objects among projects. The ELF must not come from there: its
# map, which the linker writes beside it, would be missing.
env.AddBuildMiddleware(uncached, os.path.join(env.subst("$PROJECT_SRC_DIR"), "*"))
env.NoCache(os.path.join("$BUILD_DIR", "firmware.elf"))
