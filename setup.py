"""What pyproject.toml cannot say: configs/, the only copy of the recipes, is installed as superpoint/configs."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["superpoint*"]), "superpoint.configs"],
    package_dir={"superpoint.configs": "configs"},
)
