"""The metadata of the distribution, and the only place that has it."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent


def version():
    """Read the version where it is stated; importing the package would need what it depends on."""
    text = (HERE / "chi" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE).group(1)


def readme():
    """Return the README, or nothing where a package is built from a tree without it."""
    path = HERE / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


setup(
    name="cgminerhttpinterface",
    version=version(),
    description="HTTP endpoint for CGMiner RPC conforming interfaces",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["cgminer", "sgminer", "mining", "api", "http", "monitor"],
    classifiers=[
        "Development Status :: 5 - Production/Stable",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Bottle",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Internet :: WWW/HTTP :: WSGI :: Server",
        "Topic :: System :: Monitoring",
        "Typing :: Typed",
    ],
    packages=["chi", "chi.miner", "chi.server", "chi.status", "chi.status.firmware"],
    package_data={"chi": ["*.html", "py.typed"]},
    python_requires=">=3.11",
    # Nothing more: the appliance's flash is small, and these two are packaged wherever it runs.
    install_requires=["bottle>=0.12.23", "waitress>=2.1.2"],
    extras_require={
        # coverage 7.10 is the first that measures the processes which the tests start.
        "test": ["pytest>=8", "pytest-cov>=7", "coverage>=7.10", "hypothesis>=6", "pytest-xdist>=3",
                 "ruff>=0.12", "mypy>=1.15", "import-linter>=2"],
    },
    entry_points={"console_scripts": ["chi-server = chi.cli:main"]},
)
