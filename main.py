"""Trains and evaluates InceptionNeXt and related models.

    python main.py --config=configs/digits.py --workdir=out/digits               train, or resume
    python main.py --config=configs/digits.py --workdir=out/digits --mode=eval   evaluate
    python main.py --config=configs/tiny.py --mode=plan                          only show the plan

Any config key can be set: --config.optim.lr=1e-3. A config has variants: configs/tiny.py:debug.
"""

import atexit
import os
import signal
import sys
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Config file, optionally with :variant,…")
flags.DEFINE_string("workdir", None, "Folder for checkpoints and logs.")
flags.DEFINE_enum("mode", "train", ["train", "eval", "plan"], "What to do.")
flags.DEFINE_string("checkpoint", None, "With --mode=eval: weights to evaluate, as in init_from.")
flags.DEFINE_string("to", None, "With --mode=plan: a picture of the data to write, FILE.png.")
flags.DEFINE_string("coordinator", None, "With several processes: host:port of process 0.")
flags.DEFINE_integer("num_processes", None, "With several processes: their number.")
flags.DEFINE_integer("process_id", None, "With several processes: this one's, from 0.")


def main(argv: list[str]) -> int:
    if {"--help", "-h", "-help"} & set(argv[1:]):
        print(__doc__ + FLAGS.module_help(sys.modules[__name__]))
        return 0
    # Until there is something to save, a signal ends the process at once: run it again to resume.
    handle_signals(lambda *_: os._exit(75))
    # Python restores the default handlers before it unloads modules, and a signal then would
    # change the exit code of a finished run. Registered first, this runs last.
    atexit.register(handle_signals, signal.SIG_IGN)
    # Imported late: neither the help page nor the loader's processes need these.
    from inceptionnext_jax.cli.flags import parse
    from inceptionnext_jax.errors import RunError, UserError, exit_code, print_error
    from inceptionnext_jax.runtime.multihost import initialize_distributed

    logging.set_verbosity(logging.FATAL)  # Orbax logs errors that it also raises
    try:
        config = parse(FLAGS, argv)
        initialize_distributed(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
        from inceptionnext_jax.cli.job import run_job

        return run_job(config, FLAGS.workdir, FLAGS.mode, FLAGS.checkpoint, FLAGS.to)
    except (UserError, RunError) as error:
        print_error(error)
        return exit_code(error)


def handle_signals(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
