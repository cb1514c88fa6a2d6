"""The `tfdistill` command: one file for each kind of thing that it works on.

=============  ==================================================================
distill        `distill`, `demo`: labeled texts to a bundle and a report
models         `compress`, `export`, `compare`: Keras files and `.tflite` files
bundles        `inspect`, `measure`, `predict`: what a device has; no TensorFlow
policies       `learn-policy`: a team's record to a policy
reports        `report`: runs side by side
serve          `serve`: a bundle or a team over HTTP
chat           `chat`: a conversation with a language bundle
=============  ==================================================================

Exit codes: 0 all is well, 1 it could not be done (one line on standard error says why), 2 the
command line is wrong, 3 the command ran and its answer is no (`compare`: the file does not agree).
"""
