"""Trains and evaluates InceptionNeXt and its relatives.

    python main.py --config=configs/digits.py --workdir=out/digits             train, or go on
    python main.py --config=configs/digits.py --workdir=out/digits --mode=eval evaluate
    python main.py --config=configs/tiny.py --mode=plan                        only show the plan

Any config key can be set: --config.optim.lr=1e-3. A config takes variants: configs/tiny.py:debug.
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Config file, with :variant,… if any.")
flags.DEFINE_string("workdir", None, "Folder for checkpoints and logs.")
flags.DEFINE_enum("mode", "train", ["train", "eval", "plan"], "What to do.")
flags.DEFINE_string("checkpoint", None, "With --mode=eval: workdir, step or .safetensors.")


def parse(argv: list[str]) -> None:
    """Parses the flags and loads the config; raises UserError for a mistake in them."""
    from inceptionnext_jax.errors import UserError

    try:
        rest = FLAGS(argv)
        config = FLAGS.config  # a missing or broken config file shows only here
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(" ".join(str(error).split())) from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; flags start with --")
    if config is None:
        raise UserError("--config is required: a file such as configs/tiny.py")


def main(argv: list[str]) -> int:
    if {"--help", "-h", "-help"} & set(argv[1:]):
        print(__doc__ + "\n" + FLAGS.module_help(sys.modules[__name__]))
        return 0
    from inceptionnext_jax.errors import RunError, UserError

    try:
        parse(argv)
        from inceptionnext_jax.cli.job import run_job

        # Absolute: Orbax refuses relative paths.
        workdir = Path(FLAGS.workdir).expanduser().absolute() if FLAGS.workdir else None
        return run_job(FLAGS.config, workdir, FLAGS.mode, FLAGS.checkpoint)
    except (UserError, RunError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
