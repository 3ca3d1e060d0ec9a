"""The distribution: its top-level names are nobody else's."""

from importlib.metadata import packages_distributions


def test_no_other_distribution_owns_our_packages() -> None:
    owners = packages_distributions()
    for name in ("pipeline", "stages", "export", "run_pipeline"):
        assert set(owners[name]) == {"framewire"}
