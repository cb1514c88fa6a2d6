"""What the `tfdistill` command does: one file for each kind of thing that it works on.

=============  ==================================================================
texts          `distill`, `demo`: labelled texts to a bundle and a report
models         `compress`, `export`, `compare`: Keras files and `.tflite` files
bundles        `inspect`, `measure`, `predict`: what a device has; no TensorFlow
reports        `report`: runs side by side
servers        `serve`: a bundle or a team over HTTP
(agents)       `chat`, in `tfdistill.agents.chat_command`
=============  ==================================================================

Exit codes: 0 all is well, 1 it could not be done (one line on standard error says why), 2 the
command line is wrong, 3 the command ran and its answer is no (`compare`: the file does not agree).
"""

from tfdistill.commands.failing import Failure, told

__all__ = ["Failure", "told"]
