"""A PlatformIO platform that works with and without PlatformIO's registry.

PlatformIO runs SCons out of a package of its own, `tool-scons`, which it downloads on the first
build. Where that package is missing and PyPI's SCons is installed beside PlatformIO, a package of
that name is written here which only calls it; otherwise PlatformIO's own download takes its course.

The compiler is found by builder/compiler.py. `custom_toolchain = platformio` in platformio.ini asks
for PlatformIO's own package of GCC, which needs the registry once.
"""

import importlib.util
import json
import os

import semantic_version
from platformio.dependencies import get_core_dependencies
from platformio.platform.base import PlatformBase


def provide_scons(packages_dir: str) -> None:
    """Writes the stand-in for tool-scons, unless it is there or SCons is not."""
    root = os.path.join(packages_dir, "tool-scons")
    if os.path.exists(root) or importlib.util.find_spec("SCons") is None:
        return
    import SCons

    wanted = get_core_dependencies()["tool-scons"]  # such as "~4.41101.0", which means SCons 4.11.1
    parts = [*(int(part) for part in SCons.__version__.split(".")[:3]), 0, 0]
    version = f"4.{parts[0]}{parts[1]:02}{parts[2]:02}.0"
    if semantic_version.Version(version) not in semantic_version.SimpleSpec(wanted):
        version = str(semantic_version.Version.coerce(wanted.lstrip("~^=> ")))
    manifest = {
        "name": "tool-scons",
        "version": version,
        "description": f"PyPI's SCons {SCons.__version__}",
        "system": "*",
    }
    spec = {
        "owner": "platformio",
        "id": None,
        "name": "tool-scons",
        "requirements": None,
        "uri": None,
    }
    installed = {"type": "tool", "name": "tool-scons", "version": version, "spec": spec}
    files = {
        "package.json": json.dumps(manifest),
        "scons.py": "from SCons.Script import main\n\nmain()\n",
        ".piopm": json.dumps(installed),
    }
    os.makedirs(root, exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(root, name), "w", encoding="utf-8") as out:
            out.write(text)


class TinykitcortexmPlatform(PlatformBase):
    def __init__(self, manifest_path):
        super().__init__(manifest_path)
        provide_scons(self.config.get("platformio", "packages_dir"))

    def configure_default_packages(self, options, targets):
        if options.get("custom_toolchain") == "platformio":
            self.packages["toolchain-gccarmnoneeabi"]["optional"] = False
        return super().configure_default_packages(options, targets)

    def is_embedded(self):
        return True
