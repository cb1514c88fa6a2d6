"""Agents: the exported files at work, without TensorFlow.

=============  ====================================================================================
`Agent`        one bundle in this process: `Agent("bundle/").predict(["oil prices rose"])`
`AgentPool`    several agents of one bundle: on threads, in Ray workers, or as a plain loop
`Executor`     what an executor of one's own derives from: `AgentPool(executor=MyExecutor())`
`RayAgent`     one bundle in a Ray worker: `ray.get(agent.predict.remote(texts))`
`Prediction`   the answer to one text; equal whichever of the three gave it. Of a bundle of
               several labels it is a `LabelsPrediction`, of a number a `NumberPrediction`
`Team`         several agents that answer one request together: `Plan`, `Message`, `Policy`
`Generator`    a language model's bundle that continues texts; `chat_prompt` writes its prompts
`SlotWriter`   a language model in a team: says in a sentence what the others found
`NGrams`       words and pieces of words in place of tokens, for `students.bag_of_words`
`open_team`    a team from a folder, as `save_team` wrote it
=============  ====================================================================================

`calibrate_bundle` makes a bundle's confidences mean something, by held-out texts: it fits the
temperature, and the score below which a text belongs to none of the classes. `fit_confidence` does
so from logits. `calibrate_thresholds` finds from which probability each of several labels is given.

Nothing here imports TensorFlow, Keras or TF-MOT: a process that only answers needs about 50 MB and
starts in a fraction of a second. Ray is imported when `RayAgent` or `AgentPool(executor="ray")` is
first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
