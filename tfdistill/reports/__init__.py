"""What an experiment shows: metrics, the results table, an HTML page and plots.

==================================  =============================================================
`accuracy`, `macro_f1`              numbers from labels and predictions
`expected_calibration_error`        how far confidences are from the share that is right
`auroc`                             how well a score tells two kinds of examples apart
`metric_score`                      one of many metrics: classes, several labels, numbers
`label_scores`                      F1 label by label, where a text may have several
`compare_with_rivals`               whether the student won: intervals from the same test rows
`shipped`                           which candidate to ship, from held-out rows and bytes
`StageRow`, `PoolRow`               rows of the results table and of the agents' throughput
`write_report`                      the results table of all stages: JSON, Markdown and a plot
`write_page`                        the same as a page that opens with the verdict
`run_facts`                         data set, date, command and versions, for both
`format_table`, `markdown_table`    the same table for the terminal and for a README
==================================  =============================================================

Nothing here imports TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
