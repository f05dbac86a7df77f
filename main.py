"""Trains and evaluates InceptionNeXt and its relatives.

    python main.py --config=configs/digits.py --workdir=out/digits               train, or go on
    python main.py --config=configs/digits.py --workdir=out/digits --mode=eval   evaluate
    python main.py --config=configs/tiny.py --mode=plan                          only show the plan

Any config key can be set: --config.optim.lr=1e-3. A config takes variants: configs/tiny.py:debug.
"""

import atexit
import os
import signal
import sys
from typing import Any

from absl import flags, logging
from ml_collections import config_flags

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Config file, with :variant,… if any.")
flags.DEFINE_string("workdir", None, "Folder for checkpoints and logs.")
flags.DEFINE_enum("mode", "train", ["train", "eval", "plan"], "What to do.")
flags.DEFINE_string("checkpoint", None, "With --mode=eval: what to evaluate, as in init_from.")
flags.DEFINE_string("coordinator", None, "Of several processes: host:port of process 0.")
flags.DEFINE_integer("num_processes", None, "Of several processes: how many.")
flags.DEFINE_integer("process_id", None, "Of several processes: which one this is.")


def main(argv: list[str]) -> int:
    if {"--help", "-h", "-help"} & set(argv[1:]):
        print(__doc__ + FLAGS.module_help(sys.modules[__name__]))
        return 0
    # Until there is something to save, a stop only has to say: run it again to go on.
    handle_stops(lambda *_: os._exit(75))
    # Python gives up its handlers before its modules, and a signal then would end a run that is
    # done as if it were not. Registered first, this comes last.
    atexit.register(handle_stops, signal.SIG_IGN)
    # Imported late: the help page needs none of it, nor do the loader's processes.
    from inceptionnext_jax.cli.flags import parse
    from inceptionnext_jax.errors import RunError, UserError
    from inceptionnext_jax.runtime.multihost import initialize_distributed

    logging.set_verbosity(logging.FATAL)  # what Orbax reports as an error reaches us as one
    try:
        config = parse(FLAGS, argv)
        initialize_distributed(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
        from inceptionnext_jax.cli.job import run_job

        return run_job(config, FLAGS.workdir, FLAGS.mode, FLAGS.checkpoint)
    except (UserError, RunError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1


def handle_stops(handler: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
