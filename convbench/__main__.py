"""``python -m convbench`` and the ``convbench`` script."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from convbench.cli.main import app

    app(prog_name="convbench")


if __name__ == "__main__":
    main()
