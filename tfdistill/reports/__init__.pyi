from .metrics import (
    accuracy as accuracy,
    agreement as agreement,
    auroc as auroc,
    expected_calibration_error as expected_calibration_error,
    macro_f1 as macro_f1,
)
from .stage_table import (
    PoolRow as PoolRow,
    StageRow as StageRow,
    format_table as format_table,
    markdown_table as markdown_table,
    write_report as write_report,
)
